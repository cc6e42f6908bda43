"""Baskets and closings: recorded in the caller's process, moved on by beat's ticks and by whatever settles an order.

Call these from a strategy::

    place_basket.delay(broker="kotakneo", client_order_id="strangle-7", pace_seconds=20, legs=[
        {"symbol": "NIFTY26NOV23000CE", "action": "B", "lots": 40},
        {"symbol": "NIFTY26NOV22250CE", "action": "S", "lots": 40},
    ])

The call returns when the plan and all of its orders are in the ledger. The same client order id again is the same plan.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from celery.result import AsyncResult
from django.db import transaction
from kombu.exceptions import OperationalError

from brokers.domain.errors import AccountNotFound, BrokerError, CredentialsNotFound, OrderDenied, SDKMissing
from brokers.domain.inputs import moment
from brokers.gateway import no_waiting
from brokers.models import BrokerAccount, OrderPlan
from brokers.plans import closing, recording, running
from mcube.celery import app
from tasks.base import BaseTask, log
from tasks.ledger import NotRecorded, key_of, ring
from tasks.routing import Priority
from tasks.ticks import Tick

#: How often the book is read while a plan waits for what it shows.
BOOK_PERIOD = timedelta(seconds=6)
#: Seconds after which a closing's call for the positions is dropped, since the next tick makes another.
LOOK_EXPIRES = 5


class RecordedPlan(AsyncResult):  # type: ignore[type-arg]
    """What enqueueing a plan returns: the ids under which the ledger knows it. How far it is, is in its rows."""

    def __init__(self, plan: OrderPlan, task: PlanTask) -> None:
        super().__init__(task_id_of(plan), app=task.app)
        self.plan_id = plan.pk
        self.client_order_id = plan.client_order_id
        self.broker = plan.account.broker


class PlanTask(BaseTask):
    """Records in the caller's process, publishes the plan's id on commit; a worker takes the plan's first step."""

    abstract = True
    acks_late = False
    rank = Priority.ORDER
    max_retries = 0

    def record(self, content: dict[str, Any]) -> OrderPlan:
        """Write the plan or find it.

        :raises OrderDenied: it breaks a rule; nothing is written.
        """
        raise NotImplementedError

    def delay(self, *args: Any, **kwargs: Any) -> RecordedPlan:
        """Record the plan and ring for it; returns the ids under which the ledger knows it."""
        recorded: RecordedPlan = self.apply_async(args, kwargs)
        return recorded

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Record the plan, then ring for it. The queue being away is no error: beat's next tick moves the plan on.

        :raises OrderDenied: the plan breaks a rule; nothing is recorded.
        :raises AccountNotFound, CredentialsNotFound: there is no such broker or account.
        """
        content = dict(kwargs or {})
        if args or "plan_id" in content:
            return super().apply_async(args, kwargs, *rest, **options)
        if options.get("countdown") or options.get("eta"):
            raise TypeError("A plan starts as soon as it is recorded; call this when it is due.")
        plan = self.record(content)
        transaction.on_commit(partial(self.publish, plan))
        return RecordedPlan(plan, self)

    def publish(self, plan: OrderPlan, expires: int = 60) -> None:
        """Tell the workers of a plan. May be called any number of times."""
        try:
            self.apply_async(
                kwargs={"plan_id": plan.pk, "broker": plan.account.broker}, task_id=task_id_of(plan), expires=expires
            )
        except (OperationalError, OSError) as error:
            log.warning(
                "The queue did not take plan %s (%s); the next tick moves it on.", plan.pk, type(error).__name__
            )

    def recorded(self, plan_id: int | None, content: dict[str, Any]) -> int:
        """The plan that a message is about; a whole one is recorded on arrival.

        :raises NotRecorded: the ledger refused it.
        """
        if plan_id is not None:
            return plan_id
        try:
            return self.record(content).pk
        except (OrderDenied, AccountNotFound, CredentialsNotFound, TypeError) as error:
            log.error("A plan that came through the queue was not recorded: %s", error)
            # Its details stay out of events and Flower.
            raise NotRecorded(f"{content.get('client_order_id')}: {type(error).__name__}") from None


class BasketTask(PlanTask):
    abstract = True

    def record(self, content: dict[str, Any]) -> OrderPlan:
        return _basket(**content)


class CloseTask(PlanTask):
    abstract = True
    rank = Priority.URGENT

    def record(self, content: dict[str, Any]) -> OrderPlan:
        key = content.get("client_order_id") or uuid.uuid4().hex
        return self.close(**content | {"client_order_id": key})

    def close(self, **words: Any) -> OrderPlan:
        """Write the wish to be flat."""
        raise NotImplementedError

    def perform(self, plan_id: int | None, content: dict[str, Any]) -> None:
        """Read the positions if that is due, and move the closing on."""
        if plan_id is None:
            content = content | {"client_order_id": key_of(content, self.request.id)}
        plan_id = self.recorded(plan_id, content)
        try:
            with no_waiting():
                closing.look(plan_id)
        except (BrokerError, CredentialsNotFound, SDKMissing) as error:
            closing.note_unread(plan_id, error)
        step = running.advance(plan_id)
        for intent in step.intents:
            ring(intent)


@app.task(name="tasks.orders.place_basket", base=BasketTask, bind=True)
def place_basket(self: BasketTask, /, *, broker: str, plan_id: int | None = None, **content: Any) -> None:
    """Place several legs in slices, what is bought before what is sold.

    docs/tasks.md lists what it takes.
    """
    move_on(self.recorded(plan_id, {"broker": broker, **content}))


class CloseOneTask(CloseTask):
    abstract = True

    def close(self, **words: Any) -> OrderPlan:
        return _close(**words)


class CloseAllTask(CloseTask):
    abstract = True

    def close(self, **words: Any) -> OrderPlan:
        return _close_all(**words)


@app.task(name="tasks.orders.close_position", base=CloseOneTask, bind=True)
def close_position(self: CloseOneTask, /, *, broker: str, plan_id: int | None = None, **content: Any) -> None:
    """Close what is held of ``symbol``, until the broker says flat.

    docs/tasks.md lists what it takes.
    """
    self.perform(plan_id, {"broker": broker, **content})


@app.task(name="tasks.orders.close_all_positions", base=CloseAllTask, bind=True)
def close_all_positions(self: CloseAllTask, /, *, broker: str, plan_id: int | None = None, **content: Any) -> None:
    """Close every position of the account, until the broker says flat."""
    self.perform(plan_id, {"broker": broker, **content})


@app.task(name="tasks.plans.advance", base=BaseTask, rank=Priority.URGENT, expires=10)
def advance(*, slot_at: str | None = None, cadence_seconds: float | None = None, **_: Any) -> None:
    """Move every unfinished plan on; have the books read that they wait for."""
    waiting: set[int] = set()
    with ExitStack() as turns:  # one that fails takes no other's turn, and is raised when all had theirs
        for plan_id in reversed(running.unfinished()):
            turns.callback(_take_turn, plan_id, waiting)
    if waiting and Tick.of(slot_at, cadence_seconds).is_due(BOOK_PERIOD):
        _read_books(waiting)


def _take_turn(plan_id: int, waiting: set[int]) -> None:
    if move_on(plan_id).needs_book:
        waiting.add(plan_id)


def move_on(plan_id: int) -> running.Step:
    """Do what is due of a plan, and ring for it."""
    step = running.advance(plan_id)
    for intent in step.intents:
        ring(intent)
    if step.needs_positions:
        close_position.publish(OrderPlan.objects.select_related("account").get(pk=plan_id), expires=LOOK_EXPIRES)
    return step


def _read_books(plan_ids: set[int]) -> None:
    from tasks.orders import sync_orders

    for account in BrokerAccount.objects.filter(plans__in=plan_ids).distinct():
        sync_orders.apply_async(
            kwargs={"broker": account.broker, "account": account.name},
            priority=Priority.ORDER,
            expires=BOOK_PERIOD.total_seconds(),
        )


def task_id_of(plan: OrderPlan) -> str:
    """The same for every message about one plan."""
    return f"plan-{plan.pk}"


def _basket(
    *,
    broker: str,
    legs: list[dict[str, Any]],
    client_order_id: str,
    account: str = "default",
    strategy: str = "",
    lots_per_order: int | None = None,
    pace_seconds: int | None = None,
    not_after: str | datetime | None = None,
) -> OrderPlan:
    return recording.record_basket(
        broker=broker,
        account=account,
        legs=legs,
        # JSON's null is no name; as text it would be one, and the same for every basket.
        client_order_id=client_order_id or "",
        strategy=strategy,
        lots_per_order=lots_per_order,
        pace_seconds=pace_seconds,
        not_after=moment(not_after, "not_after"),
    )


def _close(
    *,
    broker: str,
    symbol: str,
    client_order_id: str,
    account: str = "default",
    exchange: str | None = None,
    product: str | None = None,
    strategy: str = "",
    pace_seconds: int | None = None,
) -> OrderPlan:
    return closing.record_close(
        broker=broker,
        account=account,
        symbol=closing.named(symbol),
        exchange=exchange,
        product=product,
        client_order_id=client_order_id,
        strategy=strategy,
        pace_seconds=pace_seconds,
    )


def _close_all(
    *,
    broker: str,
    client_order_id: str,
    account: str = "default",
    strategy: str = "",
    pace_seconds: int | None = None,
) -> OrderPlan:
    return closing.record_close(
        broker=broker, account=account, client_order_id=client_order_id, strategy=strategy, pace_seconds=pace_seconds
    )
