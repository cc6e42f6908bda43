"""Orders: place, modify, cancel, baskets and closings; following the book; ringing again for what was not taken.

Call these from a strategy::

    place_order.delay(broker="kotakneo", account="default", symbol="NIFTY26NOV22250CE", action="B",
                      quantity=65, order_type="LIMIT", price="100.5", client_order_id="strangle-7-call")

The call returns when the order is in the ledger. The same client order id again is the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from brokers import book_slots, cadences
from brokers.budgets import DayPlan
from brokers.cadences import Cadences
from brokers.discovery import spec_of
from brokers.domain.inputs import moment
from brokers.domain.order_states import IntentKind
from brokers.factory import find_account
from brokers.gateway import no_waiting
from brokers.ledger import operations, queries
from brokers.models import BrokerAccount, OrderIntent, SnapshotKind
from brokers.models.snapshots import Snapshot
from brokers.plans import running
from mcube.celery import app
from tasks.base import BaseTask, PollTask, log
from tasks.ledger import SWEPT_LASTS, OrderTask, ring
from tasks.plans import close_all_positions as close_all_positions
from tasks.plans import close_position as close_position
from tasks.plans import move_on
from tasks.plans import place_basket as place_basket
from tasks.routing import Priority
from tasks.snapshots import every_of
from tasks.ticks import Tick, day_plans, each_account, market_is_active, slot_of

#: How often the book is read while something of the account is open; its cadence is for when nothing is.
BUSY_SYNC = timedelta(seconds=10)


class PlaceTask(OrderTask):
    abstract = True
    kind: ClassVar[IntentKind] = IntentKind.PLACE

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _place(**content)


class ModifyTask(OrderTask):
    abstract = True
    kind: ClassVar[IntentKind] = IntentKind.MODIFY

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _modify(**content)


class CancelTask(OrderTask):
    abstract = True
    rank = Priority.URGENT
    kind: ClassVar[IntentKind] = IntentKind.CANCEL

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _cancel(**content)


@app.task(name="tasks.orders.place_order", base=PlaceTask, bind=True)
def place_order(self: PlaceTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Place an order.

    docs/tasks.md lists what it takes, and what this, a change and a cancel return.
    """
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.orders.modify_order", base=ModifyTask, bind=True)
def modify_order(self: ModifyTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Give a working order (``order_id``) new absolute values; what is not given stays."""
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.orders.cancel_order", base=CancelTask, bind=True)
def cancel_order(self: CancelTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Cancel a working order (``order_id``). Asking twice is asking once."""
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.orders.sync_orders", base=PollTask)
def sync_orders(
    *,
    broker: str,
    account: str = "default",
    slot_at: str | None = None,
    cadence_seconds: float | None = None,
    **_: Any,
) -> None:
    """Bring the ledger up to the broker's order book, and write that into the row of the slot."""
    row = find_account(spec_of(broker).name, account)
    with no_waiting():
        taken = book_slots.take_orders(row, slot_of(slot_at), every_of(cadence_seconds))
    if taken.status == Snapshot.Status.FAILED:
        log.warning("The order book of %s could not be read: %s", row, taken.error)
        return
    for plan_id in running.unfinished(account_id=row.pk):
        move_on(plan_id)


@app.task(name="tasks.orders.sweep", base=BaseTask, rank=Priority.URGENT, expires=10)
def sweep(**_: Any) -> None:
    """Let lapse what is too old, and ring again for what was recorded and not taken."""
    for intent in operations.sweep():
        ring(intent, lasts=SWEPT_LASTS)


@app.task(name="tasks.orders.schedule_sync", base=BaseTask, expires=10)
def schedule_sync(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """Have every account's book read that is due: often while something is open, seldom otherwise."""
    if market_is_active():
        plans, found = day_plans(), cadences.current()
        each_account(
            sync_orders,
            Tick.of(slot_at, cadence_seconds),
            every=lambda account: _every(account, found, plans),
            offset=lambda account, every: cadences.offset(account, SnapshotKind.ORDERS, every),
        )


def _every(account: BrokerAccount, found: Cadences, plans: Mapping[int, DayPlan]) -> timedelta | None:
    """Open orders are followed at the same pace however few calls are left; quiet accounts wait first."""
    quiet = found.of(account, SnapshotKind.ORDERS)
    if queries.has_open_orders(account.pk):
        slower = cadences.BUDGETED_STRETCH if spec_of(account.broker).capabilities.calls_per_day else 1
        return min(BUSY_SYNC * slower, quiet or timedelta.max)
    plan = plans.get(account.pk)
    return found.of(account, SnapshotKind.ORDERS, stretch=plan.stretch) if plan else quiet


def _place(
    *,
    broker: str,
    symbol: str,
    action: str,
    quantity: int,
    client_order_id: str,
    account: str = "default",
    order_type: str = "MARKET",
    price: str | int | None = None,
    trigger_price: str | int | None = None,
    exchange: str | None = None,
    product: str | None = None,
    time_in_force: str = "DAY",
    strategy: str = "",
    not_after: str | datetime | None = None,
    reduce_only: bool = False,
    has_own_key: bool = True,
) -> OrderIntent:
    return operations.record_place(
        broker=broker,
        account=account,
        symbol=symbol,
        side=action,
        quantity=quantity,
        order_type=order_type,
        limit_price=price,
        trigger_price=trigger_price,
        exchange=exchange,
        product=product,
        time_in_force=time_in_force,
        client_order_id=client_order_id,
        strategy=strategy,
        not_after=moment(not_after, "not_after"),
        reduce_only=reduce_only,
        has_own_key=has_own_key,
    )


def _modify(
    *,
    broker: str,
    order_id: str,
    client_order_id: str,
    account: str = "default",
    quantity: int | None = None,
    price: str | int | None = None,
    trigger_price: str | int | None = None,
    order_type: str | None = None,
    strategy: str = "",
) -> OrderIntent:
    return operations.record_modify(
        broker=broker,
        account=account,
        broker_order_id=order_id,
        client_order_id=client_order_id,
        quantity=quantity,
        limit_price=price,
        trigger_price=trigger_price,
        order_type=order_type,
        strategy=strategy,
    )


def _cancel(
    *, broker: str, order_id: str, client_order_id: str, account: str = "default", strategy: str = ""
) -> OrderIntent:
    return operations.record_cancel(
        broker=broker, account=account, broker_order_id=order_id, client_order_id=client_order_id, strategy=strategy
    )
