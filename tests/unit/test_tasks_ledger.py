"""An order is in the ledger before it is in the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import time_machine
from django.db import transaction

from brokers.clock import configured_clock, trading_day
from brokers.domain.errors import CredentialsNotFound
from brokers.domain.order_states import IntentKind, IntentState
from brokers.models import BrokerAccount, BrokerOrder, OrderIntent
from tasks import orders
from tasks.ledger import SWEPT_LASTS, NotRecorded, _ring_shortly, ring
from tasks.routing import Priority

BROKER = "kotakneo"
#: How kombu names the list of a priority.
SEPARATOR = "\x06\x16"

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> BrokerAccount:
    return BrokerAccount.objects.create(broker=BROKER, name="of-this-test")


@pytest.fixture
def queued(redis_url: str) -> Iterator[Callable[[Priority], list[dict[str, Any]]]]:
    """The messages of a priority in the broker's queue, oldest first; the queue is emptied before and after."""

    def name(priority: Priority) -> str:
        return f"{BROKER}{SEPARATOR}{priority}" if priority else BROKER

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.delete(*(name(priority) for priority in Priority))
        yield lambda priority: [json.loads(text) for text in reversed(client.lrange(name(priority), 0, -1))]
        client.delete(*(name(priority) for priority in Priority))


def _intent(account: BrokerAccount, kind: IntentKind = IntentKind.PLACE, **changes: Any) -> OrderIntent:
    now = configured_clock().now()
    values: dict[str, Any] = {
        "client_order_id": f"{kind}-{OrderIntent.objects.count()}",
        "client_tag": f"TAG{OrderIntent.objects.count()}",
        "mode": "simulated",
        "trading_day": trading_day(now),
        "symbol": "NIFTY26DECFUT",
        "side": "BUY",
        "quantity": 65,
        "state": IntentState.READY,
        "not_before": now,
        "not_after": now + timedelta(seconds=30),
        "created_at": now,
        "updated_at": now,
    }
    return OrderIntent.objects.create(account=account, kind=kind, **(values | changes))


def _target(account: BrokerAccount) -> BrokerOrder:
    now = configured_clock().now()
    return BrokerOrder.objects.create(
        account=account,
        trading_day=trading_day(now),
        broker_order_id="1",
        origin=BrokerOrder.Origin.OURS,
        exchange="NFO",
        symbol="NIFTY26DECFUT",
        side="BUY",
        order_type="LIMIT",
        quantity=65,
        status="OPEN",
        first_seen_at=now,
        last_seen_at=now,
    )


def test_the_message_of_an_order_holds_its_id_and_nothing_of_the_order(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    intent = _intent(account)
    with django_capture_on_commit_callbacks(execute=True):
        ring(intent)

    [message] = queued(Priority.ORDER)
    assert message["headers"]["task"] == "tasks.orders.place_order"
    assert message["headers"]["id"] == f"intent-{intent.pk}"
    assert message["headers"]["kwargsrepr"] == repr({"intent_id": intent.pk, "broker": BROKER})
    assert "NIFTY26DECFUT" not in json.dumps(message)


def test_nothing_is_published_before_the_intent_is_committed(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        ring(_intent(account))
        assert queued(Priority.ORDER) == []

    assert len(queued(Priority.ORDER)) == 1


def test_what_the_sweeper_rings_lapses_soon_and_an_order_s_own_message_with_the_order(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    now = configured_clock().now()
    old = now - timedelta(seconds=10)
    intent = _intent(account, not_before=old, not_after=now + timedelta(minutes=5), created_at=old, updated_at=old)
    with django_capture_on_commit_callbacks(execute=True):
        ring(intent)
        orders.sweep()

    began = datetime.now(UTC)
    own, swept = (datetime.fromisoformat(message["headers"]["expires"]) for message in queued(Priority.ORDER))
    assert timedelta(minutes=4) < own - began < timedelta(minutes=6)
    assert timedelta(0) < swept - began <= SWEPT_LASTS


def test_a_cancel_and_an_exit_go_before_orders(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    cancel = _intent(account, IntentKind.CANCEL, target=_target(account))
    leaving = _intent(account, reduce_only=True)
    with django_capture_on_commit_callbacks(execute=True):
        ring(cancel)
        ring(leaving)

    names = [message["headers"]["task"] for message in queued(Priority.URGENT)]
    assert names == ["tasks.orders.cancel_order", "tasks.orders.place_order"]
    assert queued(Priority.ORDER) == []


@pytest.mark.parametrize(("seconds", "messages"), [(-10, 0), (-0.5, 1), (1.5, 1), (10, 0)])
def test_an_order_put_off_for_moments_is_rung_for_even_if_they_are_over(
    account: BrokerAccount,
    queued: Callable[[Priority], list[dict[str, Any]]],
    django_capture_on_commit_callbacks: Any,
    seconds: float,
    messages: int,
) -> None:
    intent = _intent(account, not_before=configured_clock().now() + timedelta(seconds=seconds))
    with django_capture_on_commit_callbacks(execute=True):
        _ring_shortly(intent)

    assert len(queued(Priority.ORDER)) == messages


def test_an_order_of_an_unknown_account_is_refused_before_anything_is_published(
    queued: Callable[[Priority], list[dict[str, Any]]],
) -> None:
    with pytest.raises(CredentialsNotFound, match="has no account yet"):
        orders.place_order.delay(broker=BROKER, account="nobody", symbol="NIFTY26DECFUT", action="B", quantity=65)

    assert queued(Priority.ORDER) == []


def test_an_order_cannot_be_put_off_in_the_queue() -> None:
    with pytest.raises(TypeError, match="as soon as it is recorded"):
        orders.place_order.apply_async(kwargs={"broker": BROKER, "symbol": "NIFTY26DECFUT"}, countdown=60)


@pytest.mark.parametrize("content", [{"account": "nobody"}, {"account": "nobody", "disclosed_quantity": 5}, {}])
def test_a_whole_order_that_is_refused_on_arrival_shows_its_id_only(content: dict[str, Any]) -> None:
    order = {"symbol": "NIFTY26DECFUT", "action": "B", "quantity": 65, "client_order_id": "whole-1"} | content

    with pytest.raises(NotRecorded) as refused:
        orders.place_order(broker=BROKER, **order)

    assert str(refused.value).startswith("whole-1: ")
    assert "NIFTY26DECFUT" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("key", [{}, {"client_order_id": None}, {"client_order_id": ""}])
@pytest.mark.parametrize(
    ("task", "content"),
    [
        (orders.place_order, {"symbol": "NIFTY26DECFUT", "action": "B", "quantity": 65}),
        (orders.cancel_order, {"order_id": "1"}),
        (orders.modify_order, {"order_id": "1", "quantity": 130}),
    ],
    ids=lambda value: value.name.rpartition(".")[2] if hasattr(value, "name") else "",
)
def test_a_whole_order_that_nothing_tells_from_the_next_is_not_recorded(
    account: BrokerAccount, caplog: pytest.LogCaptureFixture, task: Any, content: dict[str, Any], key: dict[str, Any]
) -> None:
    _target(account)
    for _ in range(2):
        with pytest.raises(NotRecorded, match="publish it with a client_order_id"):
            task(broker=BROKER, account=account.name, **content, **key)

    assert not OrderIntent.objects.exists()
    assert "has no client order id, and its message no id" in caplog.text
    assert "NIFTY26DECFUT" not in caplog.text


def test_a_whole_order_without_a_client_order_id_is_known_by_its_message(account: BrokerAccount) -> None:
    _target(account)
    task = orders.cancel_order
    for message in ("message-1", "message-1", "message-2"):
        task.push_request(id=message)
        try:
            task.run(broker=BROKER, account=account.name, order_id="1")
        finally:
            task.pop_request()
    # The second message finds the first one's cancel still open.
    assert OrderIntent.objects.get().client_order_id == "message-1"


def test_a_message_that_comes_again_changes_nothing(account: BrokerAccount) -> None:
    done = _intent(account, state=IntentState.WORKING, version=3)

    for _ in range(3):
        orders.place_order(broker=BROKER, intent_id=done.pk, from_a_newer_version=True)

    done.refresh_from_db()
    assert (done.state, done.version, done.attempts.count()) == (IntentState.WORKING, 3, 0)


def test_a_message_that_comes_too_early_breeds_no_other(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    waiting = _intent(account, not_before=configured_clock().now() + timedelta(seconds=1.5))

    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            orders.place_order(broker=BROKER, intent_id=waiting.pk)

    assert queued(Priority.ORDER) == []


def test_an_order_that_was_put_off_is_rung_for_once(
    account: BrokerAccount, queued: Callable[[Priority], list[dict[str, Any]]], django_capture_on_commit_callbacks: Any
) -> None:
    intent = _intent(account)  # without credentials it cannot be sent, and waits for a second

    # On a busy machine the second would be made after that second has passed.
    with time_machine.travel(datetime.now(UTC), tick=False), django_capture_on_commit_callbacks(execute=True):
        orders.place_order(broker=BROKER, intent_id=intent.pk)
        orders.place_order(broker=BROKER, intent_id=intent.pk)

    [message] = queued(Priority.ORDER)
    assert message["headers"]["eta"]


@pytest.mark.django_db(transaction=True)
def test_order_events_can_be_cleared_between_tests_and_by_nobody_else(account: BrokerAccount) -> None:
    from django.db import DatabaseError

    from brokers.models import OrderEvent

    event = OrderEvent.objects.create(
        intent=_intent(account),
        sequence=1,
        to_state="READY",
        actor="CALLER",
        cause="recorded",
        at=configured_clock().now(),
    )
    with pytest.raises(DatabaseError, match="append-only"):
        OrderEvent.objects.filter(pk=event.pk).delete()
