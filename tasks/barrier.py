"""The start-up barrier of live accounts, tried again until it is green."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from brokers import barrier, cadences
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.domain.enums import Mode
from brokers.domain.errors import CredentialsNotFound, SDKMissing
from brokers.factory import BrokerFactory, find_account
from brokers.gateway import no_waiting
from brokers.ledger import book
from brokers.models import BrokerAccount, SnapshotKind
from mcube.celery import app
from tasks.base import BaseTask, PollTask, log
from tasks.instruments import load_missing
from tasks.routing import Priority
from tasks.snapshots import snapshot_margin, snapshot_positions
from tasks.ticks import Tick, each_account, market_is_active, trading_day_is_near

#: How often it is tried while it is not green; where a day's calls are counted, they are saved.
EVERY = timedelta(seconds=15)
EVERY_WHERE_BUDGETED = timedelta(seconds=60)


@app.task(name="tasks.barrier.check_account", base=PollTask, rank=Priority.SESSION, expires=15)
def check_account(*, broker: str, account: str = "default", **_: Any) -> None:
    """Make the start-up checks of a live account. What is red is in its row and its alert."""
    row = find_account(spec_of(broker).name, account)
    try:
        gateway = BrokerFactory.get_broker(row.broker, row.name)
    except (CredentialsNotFound, SDKMissing) as error:
        log.warning("The start-up checks of %s could not be made: %s", row, error)
        return
    is_first = barrier.waits_for_session_that_came(row)
    with no_waiting():
        barrier.run(row, gateway, configured_clock().now(), sync_book=lambda account: book.sync_orders(account.pk))
    if barrier.has_passed(row, configured_clock().now()) and market_is_active():
        _take_readings(row)
    elif is_first:
        load_missing()


def _take_readings(account: BrokerAccount) -> None:
    """Live orders are held against readings that are young: what waited for a session does not wait for the next slot."""
    found = cadences.current()
    for task, kind in ((snapshot_positions, SnapshotKind.POSITIONS), (snapshot_margin, SnapshotKind.MARGIN)):
        cadence = found.of(account, kind) or cadences.USUAL[kind]
        kwargs = {"broker": account.broker, "account": account.name}
        task.apply_async(kwargs=kwargs, priority=Priority.SESSION, expires=cadence.total_seconds())


@app.task(name="tasks.barrier.schedule", base=BaseTask, expires=15)
def schedule(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """On trading days: every live account that has not passed since its worker's last start."""
    if settings.MODE is Mode.LIVE and trading_day_is_near():
        tick = Tick.of(slot_at, cadence_seconds)
        each_account(check_account, tick, where=lambda account: _is_due(account, tick))


def _is_due(account: BrokerAccount, tick: Tick) -> bool:
    budgeted = spec_of(account.broker).capabilities.calls_per_day is not None
    return (
        account.is_live_enabled
        and not barrier.has_passed(account, configured_clock().now())
        # What waited for a login is not kept waiting longer.
        and (tick.is_due(EVERY_WHERE_BUDGETED if budgeted else EVERY) or barrier.waits_for_session_that_came(account))
    )
