"""GTTs, which a broker keeps until a trigger: place, modify, cancel, and following their book.

They are recorded and delivered like orders (:mod:`tasks.orders`): the same client order id again is the same GTT. How
long the broker keeps one is the broker's rule. Prices in rupees a unit.
"""

from __future__ import annotations

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
        given = {"account": "default", **content}
        given |= {"side": given.pop("action", ""), "not_after": moment(given.get("not_after"), "not_after")}
        given["limit_price"] = given.pop("price", None)
        if "target_price" in given:
            return recording.record_three_leg(**given)
        return recording.record_single(**given)


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
        return recording.record_cancel(**{"account": "default", **content})


@app.task(name="tasks.gtts.place_gtt", base=GttTask, bind=True)
def place_gtt(self: GttTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Have a limit order sent at its trigger: ``symbol``, ``action``, ``quantity``, ``trigger_price``, ``price``.

    With ``target_trigger_price``, ``target_price``, ``stop_trigger_price`` and ``stop_price`` instead of
    ``trigger_price`` it enters at ``price`` at once, and target and stop wait.
    """
    self.perform(intent_id, {"broker": broker, **content})


@app.task(name="tasks.gtts.modify_gtt", base=GttModifyTask, bind=True)
def modify_gtt(self: GttModifyTask, /, *, broker: str, intent_id: int | None = None, **content: Any) -> None:
    """Give an active GTT (``gtt_order_id``) new prices, named as in :func:`place_gtt`; what is not given stays."""
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
