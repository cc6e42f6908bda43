"""A plan is in the ledger before it is in the queue, and its messages may come any number of times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.db import transaction

from brokers.domain.enums import Product
from brokers.domain.errors import CredentialsNotFound, OrderDenied
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.models import OrderIntent, OrderPlan
from brokers.plans import running
from tasks import orders, plans
from tasks.ledger import NotRecorded
from tasks.routing import Priority
from tests.support import plan_desk
from tests.support.plan_desk import CALL, FAR_CALL, PlanDesk, leg
from tests.support.scripted_broker import ScriptedAdapter

BROKER = "kotakneo"
#: How kombu names the list of a priority.
SEPARATOR = "\x06\x16"
Queued = Callable[[Priority], list[dict[str, Any]]]

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlanDesk]:
    monkeypatch.setattr(ScriptedAdapter, "read_master", plan_desk.strangle_master)
    yield plan_desk.install(BROKER)
    BrokerFactory._gateways.clear()


@pytest.fixture
def queued(redis_url: str) -> Iterator[Queued]:
    """The messages of a priority in the broker's queue, oldest first; the queue is emptied before and after."""

    def name(priority: Priority) -> str:
        return f"{BROKER}{SEPARATOR}{priority}" if priority else BROKER

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.delete(*(name(priority) for priority in Priority))
        yield lambda priority: [json.loads(text) for text in reversed(client.lrange(name(priority), 0, -1))]
        client.delete(*(name(priority) for priority in Priority))


def _basket(**changes: Any) -> Any:
    basket = {"broker": BROKER, "legs": [leg(CALL, "S", 1)], "client_order_id": "p1"}
    return orders.place_basket.delay(**basket | changes)


def test_the_message_of_a_plan_holds_its_id_and_nothing_of_its_legs(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        recorded = _basket()
        assert queued(Priority.ORDER) == []

    [message] = queued(Priority.ORDER)
    assert message["headers"]["task"] == "tasks.orders.place_basket"
    assert message["headers"]["id"] == f"plan-{recorded.plan_id}"
    assert message["headers"]["kwargsrepr"] == repr({"plan_id": recorded.plan_id, "broker": BROKER})
    assert CALL not in json.dumps(message)


def test_a_slice_that_only_reduces_goes_before_orders(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    desk.hold(CALL, 65)
    desk.hold(FAR_CALL, 65)
    with django_capture_on_commit_callbacks(execute=True):
        exits = _basket(legs=[leg(CALL, "S", 1, reduce_only=True)], client_order_id="exits")
        plans.move_on(exits.plan_id)
        plans.move_on(_basket().plan_id)

    [urgent] = [each for each in queued(Priority.URGENT) if each["headers"]["task"] == "tasks.orders.place_order"]
    [normal] = [each for each in queued(Priority.ORDER) if each["headers"]["task"] == "tasks.orders.place_order"]
    assert OrderIntent.objects.get(plan=exits.plan_id).pk == int(urgent["headers"]["id"].removeprefix("intent-"))
    assert urgent["headers"]["id"] != normal["headers"]["id"]


def test_a_closing_is_recorded_here_and_reads_the_positions_there(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    desk.hold(CALL, 65)
    with django_capture_on_commit_callbacks(execute=True):
        closing = orders.close_position.delay(broker=BROKER, symbol=CALL)
    assert "positions" not in desk.adapter.reads

    [message] = queued(Priority.URGENT)
    assert message["headers"]["task"] == "tasks.orders.close_position"
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            orders.close_position(broker=BROKER, plan_id=closing.plan_id)
    rung = [each["headers"]["task"] for each in queued(Priority.URGENT)][1:]
    assert rung == ["tasks.orders.place_order"]
    assert OrderIntent.objects.get().quantity == 65


def test_a_round_that_is_over_has_the_positions_read_in_the_broker_s_queue(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.fill()
    with django_capture_on_commit_callbacks(execute=True):
        plans.advance()
    assert [each["headers"]["task"] for each in queued(Priority.URGENT)] == ["tasks.orders.close_position"]


def test_a_plan_that_fails_takes_no_other_s_turn(desk: PlanDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = (desk.record(leg(CALL, "S", 1), key=key) for key in ("broken", "sound"))
    step = running.advance
    monkeypatch.setattr(running, "advance", lambda number: 1 // 0 if number == broken.pk else step(number))
    with pytest.raises(ZeroDivisionError):
        plans.advance()
    assert desk.states(sound) == [IntentState.READY]


def test_a_settled_order_moves_its_plan_on_at_once(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    plan = desk.record(leg(CALL, "S", 40), pace_seconds=0)
    [first] = running.advance(plan.pk).intents
    with django_capture_on_commit_callbacks(execute=True):
        orders.place_order(broker=BROKER, intent_id=first.pk)
    [message] = queued(Priority.ORDER)
    assert message["headers"]["id"] == f"intent-{OrderIntent.objects.exclude(pk=first.pk).get().pk}"


def test_the_book_is_read_while_a_plan_waits_for_what_it_shows(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    plan = desk.record(leg(CALL, "S", 1), leg(FAR_CALL, "B", 1))
    desk.tick(plan)
    slot = "2026-11-23T04:30:00+00:00"
    with django_capture_on_commit_callbacks(execute=True):
        plans.advance(slot_at=slot, cadence_seconds=2)
        plans.advance(slot_at=slot.replace("00+", "02+"), cadence_seconds=2)
    assert [each["headers"]["task"] for each in queued(Priority.ORDER)] == ["tasks.orders.sync_orders"]


def test_a_reading_of_the_book_moves_the_plans_of_its_account_on(
    desk: PlanDesk, queued: Queued, django_capture_on_commit_callbacks: Any
) -> None:
    plan = desk.record(leg(CALL, "S", 1), leg(FAR_CALL, "B", 1))
    desk.tick(plan)
    desk.fill()
    with django_capture_on_commit_callbacks(execute=True):
        orders.sync_orders(broker=BROKER)
    [message] = queued(Priority.ORDER)
    assert message["headers"]["task"] == "tasks.orders.place_order"


def test_a_basket_of_an_unknown_account_is_refused_before_anything_is_published(queued: Queued) -> None:
    with pytest.raises(CredentialsNotFound, match="has no account yet"):
        _basket(account="nobody")
    assert queued(Priority.ORDER) == []


def test_a_plan_cannot_be_put_off_in_the_queue() -> None:
    with pytest.raises(TypeError, match="as soon as it is recorded"):
        orders.place_basket.apply_async(kwargs={"broker": BROKER}, countdown=60)


def test_a_time_that_is_none_is_refused_in_one_sentence(desk: PlanDesk) -> None:
    with pytest.raises(OrderDenied, match="not_after 'noon' is not an ISO time"):
        _basket(not_after="noon")


@pytest.mark.parametrize("content", [{"legs": []}, {"legs": [leg(CALL, "S", 1)], "iceberg": 5}, {}])
def test_a_whole_basket_that_is_refused_on_arrival_shows_its_id_only(desk: PlanDesk, content: dict[str, Any]) -> None:
    with pytest.raises(NotRecorded) as refused:
        orders.place_basket(broker=BROKER, client_order_id="whole-1", **content)
    assert str(refused.value).startswith("whole-1: ")
    assert refused.value.__cause__ is None
    assert not OrderPlan.objects.exists()


def test_a_whole_basket_through_the_queue_is_one_however_often_it_comes(desk: PlanDesk) -> None:
    for _ in range(3):
        orders.place_basket(broker=BROKER, client_order_id="whole-1", legs=[leg(CALL, "S", 1)])
    assert OrderIntent.objects.count() == 1


@pytest.mark.parametrize("key", [{}, {"client_order_id": None}, {"client_order_id": ""}])
def test_a_whole_plan_that_nothing_tells_from_the_next_is_not_recorded(desk: PlanDesk, key: dict[str, Any]) -> None:
    desk.hold(CALL, 65, Product.NRML)
    with pytest.raises(NotRecorded, match="publish it with a client_order_id"):
        orders.close_position(broker=BROKER, symbol=CALL, **key)
    with pytest.raises(NotRecorded, match="publish it with a client_order_id"):
        orders.close_all_positions(broker=BROKER, **key)
    with pytest.raises(NotRecorded):
        orders.place_basket(broker=BROKER, legs=[leg(CALL, "S", 1)], **key)
    assert not OrderPlan.objects.exists()


@pytest.mark.parametrize("symbol", [{}, {"symbol": None}, {"symbol": ""}])
def test_a_closing_that_lost_its_symbol_does_not_close_everything(desk: PlanDesk, symbol: dict[str, Any]) -> None:
    desk.hold(CALL, 65, Product.NRML)
    with pytest.raises((OrderDenied, TypeError), match="symbol"):
        orders.close_position.delay(broker=BROKER, **symbol)
    with pytest.raises(NotRecorded):
        orders.close_position(broker=BROKER, client_order_id="close-1", **symbol)
    assert not OrderPlan.objects.exists()


def test_closing_everything_takes_no_symbol(desk: PlanDesk) -> None:
    desk.hold(CALL, 65, Product.NRML)
    with pytest.raises(TypeError, match="symbol"):
        orders.close_all_positions.delay(broker=BROKER, symbol=CALL)
    assert not OrderPlan.objects.exists()


def test_a_whole_closing_through_the_queue_is_known_by_its_message(desk: PlanDesk) -> None:
    desk.hold(CALL, 65, Product.NRML)
    task = orders.close_position
    task.push_request(id="message-1")
    try:
        for _ in range(3):
            task.run(broker=BROKER, symbol=CALL)
    finally:
        task.pop_request()
    assert OrderPlan.objects.get().client_order_id == "message-1"
