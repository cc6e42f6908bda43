"""How an order reaches the ledger before it reaches the queue, and how the bell is rung for it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from celery.result import AsyncResult
from django.db import transaction
from kombu.exceptions import OperationalError

from brokers.clock import configured_clock
from brokers.domain.errors import AccountNotFound, CredentialsNotFound, OrderDenied
from brokers.domain.order_states import CANCEL_KINDS, PLACING_KINDS, IntentKind, IntentState
from brokers.gateway import no_waiting
from brokers.ledger.delivery import try_to_deliver
from brokers.models import OrderIntent
from tasks.base import BaseTask, log
from tasks.routing import Priority

#: An order that has to wait no longer than this is rung for by a delayed message; the sweeper does the rest.
SHORT_WAIT = timedelta(seconds=2)
#: What the sweeper rings lapses so soon, since it rings again every three seconds. Else workers that are behind would
#: find ever more rings for the same orders, and nothing but these.
SWEPT_LASTS = timedelta(seconds=6)


class NotRecorded(Exception):
    """A whole order came through the queue and the ledger refused it. The log says why; this says which."""


def key_of(content: dict[str, Any], message_id: str | None) -> str:
    """What an order or a plan that came whole through the queue is known by: its client order id, else its message's id.

    :raises NotRecorded: it has neither, so that a message that comes again could not be told from a second order.
    """
    if key := content.get("client_order_id") or message_id:
        return str(key)
    problem = NotRecorded(
        "What came through the queue has no client order id, and its message no id. Nothing was recorded; publish it "
        "with a client_order_id."
    )
    log.error("%s", problem)
    raise problem


class RecordedOrder(AsyncResult):  # type: ignore[type-arg]
    """What enqueueing an order returns: the ids under which the ledger knows it. Outcomes are rows, not results."""

    def __init__(self, intent: OrderIntent, task: OrderTask) -> None:
        super().__init__(task_id_of(intent), app=task.app)
        self.intent_id = intent.pk
        self.client_order_id = intent.client_order_id
        self.broker = intent.account.broker


class OrderTask(BaseTask):
    """Records in the caller's process, publishes the intent's id on commit, delivers in a worker.

    Acknowledged early: whatever is lost with a worker is in the ledger, and the sweeper rings again.
    """

    abstract = True
    acks_late = False
    rank = Priority.ORDER
    max_retries = 0
    kind: ClassVar[IntentKind]

    def record(self, content: dict[str, Any]) -> OrderIntent:
        """Write the intent or find it.

        :raises OrderDenied: it breaks a rule; nothing is written.
        """
        raise NotImplementedError

    def delay(self, *args: Any, **kwargs: Any) -> RecordedOrder:
        """Record the order and ring for it; returns the ids under which the ledger knows it."""
        recorded: RecordedOrder = self.apply_async(args, kwargs)
        return recorded

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Record the order, then ring for it. The queue being away is no error: the sweeper rings again.

        :raises OrderDenied: the order breaks a rule; nothing is recorded.
        :raises AccountNotFound, CredentialsNotFound: there is no such broker or account.
        """
        content = dict(kwargs or {})
        if args or "intent_id" in content:
            return super().apply_async(args, kwargs, *rest, **options)
        if options.get("countdown") or options.get("eta"):
            raise TypeError("An order is sent as soon as it is recorded; call this when it is due.")
        intent = self.record(self._keyed(content, uuid.uuid4().hex))
        ring(intent)
        return RecordedOrder(intent, self)

    def perform(self, intent_id: int | None, content: dict[str, Any]) -> None:
        """Deliver a recorded intent; record a whole order first, under its message's id if it brought none."""
        if intent_id is None:
            intent_id = self._record_on_arrival(self._keyed(content, key_of(content, self.request.id)))
        began = configured_clock().now()
        with no_waiting():
            intent, obstacle = try_to_deliver(intent_id)
        # Only the delivery that put it off rings again. A message that came too early would otherwise breed
        # another each time, and the sweeper adds messages every few seconds.
        if intent.state == IntentState.READY and (obstacle is not None or intent.updated_at >= began):
            _ring_shortly(intent)
        if intent.plan_id is not None:
            _move_plan_on(intent.plan_id)

    def _keyed(self, content: dict[str, Any], made_up: str) -> dict[str, Any]:
        """The order with a client order id, and for a new one whether the caller gave it."""
        key = content.get("client_order_id")
        own = {"has_own_key": bool(key)} if self.kind in PLACING_KINDS else {}
        return content | {"client_order_id": key or made_up} | own

    def _record_on_arrival(self, content: dict[str, Any]) -> int:
        try:
            return self.record(content).pk
        except (OrderDenied, AccountNotFound, CredentialsNotFound, TypeError) as error:
            log.error("An order that came through the queue was not recorded: %s", error)
            # The order's details stay out of events and Flower.
            raise NotRecorded(f"{content['client_order_id']}: {type(error).__name__}") from None


def ring(intent: OrderIntent, *, countdown: float | None = None, lasts: timedelta = timedelta.max) -> None:
    """Tell the workers of an intent, after the transaction that recorded it. May be called any number of times.

    The message lapses with the intent, or after ``lasts``.
    """
    transaction.on_commit(partial(_publish, intent, countdown, lasts))


def task_id_of(intent: OrderIntent) -> str:
    """The same for every message about one intent."""
    return f"intent-{intent.pk}"


def _publish(intent: OrderIntent, countdown: float | None, lasts: timedelta) -> None:
    from tasks import gtts, orders

    task = {
        IntentKind.PLACE: orders.place_order,
        IntentKind.CANCEL: orders.cancel_order,
        IntentKind.MODIFY: orders.modify_order,
        IntentKind.GTT: gtts.place_gtt,
        IntentKind.GTT_CANCEL: gtts.cancel_gtt,
        IntentKind.GTT_MODIFY: gtts.modify_gtt,
    }[IntentKind(intent.kind)]
    left = min(intent.not_after - configured_clock().now(), lasts)
    try:
        task.apply_async(
            kwargs={"intent_id": intent.pk, "broker": intent.account.broker},
            task_id=task_id_of(intent),
            priority=Priority.URGENT if intent.kind in CANCEL_KINDS or intent.reduce_only else Priority.ORDER,
            expires=max(1.0, left.total_seconds()),
            countdown=countdown,
        )
    except (OperationalError, OSError) as error:
        log.warning(
            "The queue did not take intent %s (%s); it is recorded, and the sweeper rings again.",
            intent.pk,
            type(error).__name__,
        )


def _ring_shortly(intent: OrderIntent) -> None:
    wait = intent.not_before - configured_clock().now()
    # A pause may have ended while it was written down; one that ended long ago is the sweeper's.
    if -SHORT_WAIT < wait <= SHORT_WAIT:
        ring(intent, countdown=max(0.0, wait.total_seconds()))


def _move_plan_on(plan_id: int) -> None:
    """The order may have been what the next of its plan waits for."""
    from tasks import plans

    plans.move_on(plan_id)
