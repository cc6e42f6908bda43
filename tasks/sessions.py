"""Sessions, opened before the market and kept valid while it trades."""

from __future__ import annotations

from typing import Any

from brokers import session_alerts, sessions
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.factory import find_account
from mcube.celery import app
from tasks.base import BaseTask, PollTask, log
from tasks.routing import Priority
from tasks.ticks import Tick, each_account, trading_day_is_near


@app.task(name="tasks.sessions.refresh_session", base=PollTask, rank=Priority.SESSION, expires=120)
def refresh_session(*, broker: str, account: str = "default", **_: Any) -> None:
    """Make sure the account has a session. What stands in the way is in its session row; nothing is repeated here."""
    row, clock = find_account(spec_of(broker).name, account), configured_clock()
    try:
        sessions.ensure(row, clock=clock)
    except sessions.LoginInProgress as error:
        log.info("No session for %s yet: %s", row, error)
    except BrokerError as error:
        log.warning("No session for %s: %s", row, error)
        session_alerts.tell(row, error.message, at=clock.now())
    except (CredentialsNotFound, SDKMissing) as error:
        log.warning("No session for %s: %s", row, error)
    else:
        session_alerts.take_back(row, at=clock.now())


@app.task(name="tasks.sessions.schedule", base=BaseTask, expires=60)
def schedule(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """Before and during market hours: every active account's session."""
    if trading_day_is_near():
        each_account(refresh_session, Tick.of(slot_at, cadence_seconds))
