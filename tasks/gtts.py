"""GTTs, which a broker keeps until a trigger: place, modify, cancel, and following their book.

They are recorded and delivered like orders (:mod:`tasks.orders`): the same client order id again is the same GTT. How
long the broker keeps one is the broker's rule. Prices in rupees a unit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.domain.gtt import GttRole
from brokers.domain.inputs import moment
from brokers.domain.order_states import IntentKind
from brokers.factory import BrokerFactory, find_account
from brokers.gateway import no_waiting
from brokers.gtt import book, recording
from brokers.models import OrderIntent
from mcube.celery import app
from tasks.answers import AnsweredTask
from tasks.base import BaseTask, PollTask
from tasks.ledger import OrderTask
from tasks.routing import Priority
from tasks.ticks import market_is_active

#: A book that nobody read by then is read at the next tick.
EXPIRES_SECONDS = 50


class GttTask(OrderTask):
    abstract = True
    kind: ClassVar[IntentKind] = IntentKind.GTT

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _three_leg(**content) if "target_price" in content else _single(**content)


class GttModifyTask(OrderTask):
    abstract = True
    kind: ClassVar[IntentKind] = IntentKind.GTT_MODIFY

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _change(**content)


class GttCancelTask(OrderTask):
    abstract = True
    rank = Priority.URGENT
    kind: ClassVar[IntentKind] = IntentKind.GTT_CANCEL

    def record(self, content: dict[str, Any]) -> OrderIntent:
        return _cancel(**content)


@app.task(name="tasks.gtts.place_gtt", base=GttTask, bind=True)
def place_gtt(self: GttTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Have the broker send a limit order at its trigger, or enter at once and leave a target and a stop with it.

    It has three legs where ``target_price`` is given. docs/tasks.md lists what each takes.
    """
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.gtts.modify_gtt", base=GttModifyTask, bind=True)
def modify_gtt(self: GttModifyTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Give an active GTT (``gtt_order_id``) new prices; what is not given stays."""
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.gtts.cancel_gtt", base=GttCancelTask, bind=True)
def cancel_gtt(self: GttCancelTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Cancel an active GTT (``gtt_order_id``). Asking twice is asking once."""
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.gtts.get_gtts", base=AnsweredTask, bind=True)
def get_gtts(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    first: str | None = None,
    last: str | None = None,
    **how: Any,
) -> None:
    """The GTTs placed on the IST days from ``first`` to ``last``, ISO text; from the oldest active one until today."""
    self.answer(broker, account, how, first=first, last=last)


@app.task(name="tasks.gtts.sync_gtts", base=PollTask, expires=EXPIRES_SECONDS)
def sync_gtts(*, broker: str, account: str = "default", **_: Any) -> None:
    """Bring the ledger up to the broker's GTT book."""
    row = find_account(spec_of(broker).name, account)
    with no_waiting():
        book.read(row, BrokerFactory.get_broker(row.broker, row.name))


@app.task(name="tasks.gtts.schedule_sync", base=BaseTask, expires=EXPIRES_SECONDS)
def schedule_sync(**_: Any) -> None:
    """Have the GTT books read that are due: of accounts with an active GTT."""
    if market_is_active():
        for account in book.accounts_to_follow(configured_clock().now()):
            sync_gtts.apply_async(kwargs={"broker": account.broker, "account": account.name}, expires=EXPIRES_SECONDS)


def _single(
    *,
    broker: str,
    symbol: str,
    action: str,
    quantity: int,
    trigger_price: str | int,
    price: str | int,
    client_order_id: str,
    account: str = "default",
    exchange: str | None = None,
    product: str | None = None,
    strategy: str = "",
    not_after: str | datetime | None = None,
    reduce_only: bool = False,
    has_own_key: bool = True,
) -> OrderIntent:
    return recording.record_single(
        broker=broker,
        account=account,
        symbol=symbol,
        side=action,
        quantity=quantity,
        trigger_price=trigger_price,
        limit_price=price,
        exchange=exchange,
        product=product,
        client_order_id=client_order_id,
        strategy=strategy,
        not_after=moment(not_after, "not_after"),
        reduce_only=reduce_only,
        has_own_key=has_own_key,
    )


def _three_leg(
    *,
    broker: str,
    symbol: str,
    action: str,
    quantity: int,
    price: str | int,
    target_trigger_price: str | int,
    target_price: str | int,
    stop_trigger_price: str | int,
    stop_price: str | int,
    client_order_id: str,
    account: str = "default",
    exchange: str | None = None,
    product: str | None = None,
    strategy: str = "",
    not_after: str | datetime | None = None,
    has_own_key: bool = True,
) -> OrderIntent:
    return recording.record_three_leg(
        broker=broker,
        account=account,
        symbol=symbol,
        side=action,
        quantity=quantity,
        limit_price=price,
        target_trigger_price=target_trigger_price,
        target_price=target_price,
        stop_trigger_price=stop_trigger_price,
        stop_price=stop_price,
        exchange=exchange,
        product=product,
        client_order_id=client_order_id,
        strategy=strategy,
        not_after=moment(not_after, "not_after"),
        has_own_key=has_own_key,
    )


def _change(
    *,
    broker: str,
    gtt_order_id: str,
    client_order_id: str,
    account: str = "default",
    strategy: str = "",
    trigger_price: str | int | None = None,
    price: str | int | None = None,
    target_trigger_price: str | int | None = None,
    target_price: str | int | None = None,
    stop_trigger_price: str | int | None = None,
    stop_price: str | int | None = None,
) -> OrderIntent:
    return recording.record_change(
        broker=broker,
        account=account,
        gtt_order_id=gtt_order_id,
        client_order_id=client_order_id,
        strategy=strategy,
        prices={
            GttRole.ORDER: (trigger_price, price),
            GttRole.TARGET: (target_trigger_price, target_price),
            GttRole.STOP: (stop_trigger_price, stop_price),
        },
    )


def _cancel(
    *, broker: str, gtt_order_id: str, client_order_id: str, account: str = "default", strategy: str = ""
) -> OrderIntent:
    return recording.record_cancel(
        broker=broker, account=account, gtt_order_id=gtt_order_id, client_order_id=client_order_id, strategy=strategy
    )
