"""Sessions, opened before the market and kept valid while it trades."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from brokers import sessions
from brokers.alerts import close_alert, raise_alert
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.factory import find_account
from brokers.models import BrokerAccount, SessionState, Severity
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
        _tell(row, error, clock.now())
    except (CredentialsNotFound, SDKMissing) as error:
        log.warning("No session for %s: %s", row, error)
    else:
        close_alert("no_session", str(row.pk), because="it has a session", at=clock.now())


def _tell(account: BrokerAccount, error: BrokerError, at: datetime) -> None:
    """Call a person who alone can log in; tell of anything else, which is tried again."""
    waits_for_person = SessionState.objects.filter(account=account, status=SessionState.Status.NEEDS_PERSON).exists()
    raise_alert(
        "no_session",
        str(account.pk),
        severity=Severity.CRITICAL if waits_for_person else Severity.WARNING,
        happened=f"Account {account} has no session: {error}",
        meaning="No order of it goes out and nothing of it can be read, until it has one.",
        to_do=(
            f"Log in: `python manage.py session_token {account.broker}` names the page and takes the token."
            if waits_for_person
            else "Nothing yet, it is tried again; if it stays, look at the account's session in the admin."
        ),
        at=at,
        account=account,
    )


@app.task(name="tasks.sessions.schedule", base=BaseTask, expires=60)
def schedule(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """Before and during market hours: every active account's session."""
    if trading_day_is_near():
        each_account(refresh_session, Tick.of(slot_at, cadence_seconds))
