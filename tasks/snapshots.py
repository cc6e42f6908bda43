"""Margins, positions, holdings, orders and trades, one row for each account and slot; and what a day ended with."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from brokers import book_slots, budgets, cadences, day_records, slot_watch, snapshots
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.factory import find_account
from brokers.gateway import no_waiting
from brokers.models import BrokerAccount, SnapshotKind
from brokers.risk import loss
from mcube.celery import app
from tasks.base import BaseTask, PollTask
from tasks.ticks import Tick, active_accounts, each_account, enqueue, in_turn, market_is_active, slot_of


@app.task(name="tasks.snapshots.snapshot_margin", base=PollTask)
def snapshot_margin(
    *,
    broker: str,
    account: str = "default",
    slot_at: str | None = None,
    cadence_seconds: float | None = None,
    **_: Any,
) -> None:
    """Write the account's margin into the row of its slot; a failure is a row that says so."""
    with no_waiting():
        snapshots.take_margin(_account(broker, account), slot_of(slot_at), every_of(cadence_seconds))


@app.task(name="tasks.snapshots.snapshot_positions", base=PollTask)
def snapshot_positions(
    *,
    broker: str,
    account: str = "default",
    slot_at: str | None = None,
    cadence_seconds: float | None = None,
    **_: Any,
) -> None:
    """Write the account's positions into the row of their slot; a failure is a row that says so.

    A loss that reaches the day's limit leaves the account with exits only.
    """
    row = _account(broker, account)
    with no_waiting():
        snapshots.take_positions(row, slot_of(slot_at), every_of(cadence_seconds))
    loss.check(row, at=configured_clock().now())


@app.task(name="tasks.snapshots.snapshot_holdings", base=PollTask)
def snapshot_holdings(
    *,
    broker: str,
    account: str = "default",
    slot_at: str | None = None,
    cadence_seconds: float | None = None,
    **_: Any,
) -> None:
    """Write the account's holdings into the row of their slot; a failure is a row that says so."""
    with no_waiting():
        snapshots.take_holdings(_account(broker, account), slot_of(slot_at), every_of(cadence_seconds))


@app.task(name="tasks.snapshots.snapshot_trades", base=PollTask)
def snapshot_trades(
    *,
    broker: str,
    account: str = "default",
    slot_at: str | None = None,
    cadence_seconds: float | None = None,
    **_: Any,
) -> None:
    """Write the account's fills of today into the ledger, and that they were read into the row of the slot."""
    with no_waiting():
        book_slots.take_trades(_account(broker, account), slot_of(slot_at), every_of(cadence_seconds))


@app.task(name="tasks.snapshots.record_day", base=PollTask)
def record_day(*, broker: str, account: str = "default", day: str, **_: Any) -> None:
    """Write what the account's day ended with, unless that is written already; a failure is a record that says so."""
    with no_waiting():
        day_records.take(_account(broker, account), date.fromisoformat(day))


#: How often it is written down how many calls of the day are spent.
CALLS_NOTED_EVERY = timedelta(minutes=1)
#: Orders have a schedule of their own: what is open is followed at another pace than what is not.
_TASKS = {
    SnapshotKind.MARGIN: snapshot_margin,
    SnapshotKind.POSITIONS: snapshot_positions,
    SnapshotKind.HOLDINGS: snapshot_holdings,
    SnapshotKind.TRADES: snapshot_trades,
}


@app.task(name="tasks.snapshots.schedule", base=BaseTask, expires=10)
def schedule(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """While the market is active: what is due of every active account by its own cadences.

    Slower where the day's calls run short, which people are told.
    """
    if not market_is_active():
        return
    tick, accounts, found = Tick.of(slot_at, cadence_seconds), list(active_accounts()), cadences.current()
    plans = budgets.plans(accounts, configured_clock())
    for account in in_turn(accounts, tick):
        stretch = plans[account.pk].stretch if account.pk in plans else 1
        for kind, task in _TASKS.items():
            if (every := found.of(account, kind, stretch=stretch)) is None:
                continue
            if (slot := tick.reads(every, cadences.offset(account, kind, every))) is not None:
                enqueue(task, account, slot, tick.cadence, every)
    budgets.tell(accounts, plans, configured_clock().now())
    if tick.is_due(CALLS_NOTED_EVERY):
        budgets.note(accounts, configured_clock())


@app.task(name="tasks.snapshots.schedule_days", base=BaseTask, expires=240)
def schedule_days(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """After the last close of a trading day: the record of every active account that has none of today."""
    clock = configured_clock()
    day_records.note_missed(list(active_accounts()), clock)
    # What failed at the tick before this one.
    slot_watch.tell_of_days(slot_watch.unwritten_days(clock), clock.now())
    if (day := day_records.due_day(clock)) is not None:
        each_account(
            record_day,
            Tick.of(slot_at, cadence_seconds),
            where=lambda account: not day_records.is_written(account, day),
            more={"day": day.isoformat()},
        )


@app.task(name="tasks.snapshots.watch", base=BaseTask, expires=240)
def watch(**_: Any) -> None:
    """Tell people of readings of the last hour that failed or are missing."""
    clock, accounts = configured_clock(), list(active_accounts())
    troubles = slot_watch.of_last_hour(accounts, clock, budgets.plans(accounts, clock))
    slot_watch.tell(accounts, troubles, clock.now())


def every_of(cadence_seconds: float | None) -> timedelta | None:
    """The cadence that a call was made by; None for one by hand."""
    return timedelta(seconds=cadence_seconds) if cadence_seconds else None


def _account(broker: str, account: str) -> BrokerAccount:
    return find_account(spec_of(broker).name, account)
