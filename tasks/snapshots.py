"""Margins and positions, one row for each account and slot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from brokers import budgets, snapshots
from brokers.budgets import DayPlan
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.factory import find_account
from brokers.gateway import no_waiting
from brokers.risk import loss
from mcube.celery import app
from tasks.base import BaseTask, PollTask
from tasks.ticks import Tick, active_accounts, day_plans, each_account, market_is_active, stretched


@app.task(name="tasks.snapshots.snapshot_margin", base=PollTask)
def snapshot_margin(*, broker: str, account: str = "default", slot_at: str | None = None, **_: Any) -> None:
    """Write the account's margin into the row of its slot; a failure is a row that says so."""
    with no_waiting():
        snapshots.take_margin(_account_id(broker, account), _slot(slot_at))


@app.task(name="tasks.snapshots.snapshot_positions", base=PollTask)
def snapshot_positions(*, broker: str, account: str = "default", slot_at: str | None = None, **_: Any) -> None:
    """Write the account's positions into the row of their slot; a failure is a row that says so.

    A loss that reaches the day's limit leaves the account with exits only.
    """
    row = find_account(spec_of(broker).name, account)
    with no_waiting():
        snapshots.take_positions(row.pk, _slot(slot_at))
    loss.check(row, at=configured_clock().now())


@app.task(name="tasks.snapshots.schedule_margins", base=BaseTask, expires=30)
def schedule_margins(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """While the market is active: every active account's margin, and a word to people when its calls run short."""
    if market_is_active():
        plans = day_plans()
        _each(snapshot_margin, Tick.of(slot_at, cadence_seconds), plans)
        budgets.tell(active_accounts(), plans, configured_clock().now())


@app.task(name="tasks.snapshots.schedule_positions", base=BaseTask, expires=30)
def schedule_positions(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """While the market is active: every active account's positions."""
    if market_is_active():
        _each(snapshot_positions, Tick.of(slot_at, cadence_seconds), day_plans())


def _each(task: PollTask, tick: Tick, plans: Mapping[int, DayPlan]) -> None:
    """Slower where the day's calls run short."""
    each_account(task, tick, where=lambda account: stretched(tick, tick.cadence, account, plans))


def _account_id(broker: str, account: str) -> int:
    return find_account(spec_of(broker).name, account).pk


def _slot(slot_at: str | None) -> datetime:
    return Tick.of(slot_at, None).slot_at
