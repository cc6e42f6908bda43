"""Whatever dies, no intent is lost and no order is sent twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from brokers.discovery import specs
from mcube.processes import queues
from tests.support.processes import wait_for
from tests.support.stack import Stack, StrategyError

MakeOrder = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("no_faults")

BROKERS = list(specs())
OUTAGE_SECONDS = 10
BACK_SECONDS = 20
#: A call of a broker that answers late enough for a worker to be killed meanwhile.
SLOW_SECONDS = 3


def _wait_for_state(stack: Stack, client_order_id: str, *states: str, seconds: float = 30) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        intent = stack.intent(client_order_id)
        return intent if intent["state"] in states else None

    found = wait_for(reached, f"{client_order_id} to be {' or '.join(states)}", seconds=seconds)
    assert found is not None
    return found


def _accepted(stack: Stack, broker: str) -> int:
    return sum(1 for line in stack.truth("accepted") if line["broker"] == broker)


@pytest.mark.parametrize("broker", BROKERS)
def test_an_order_delivered_many_times_is_one_order_at_the_exchange(
    stack: Stack, an_order: MakeOrder, broker: str
) -> None:
    before, order = _accepted(stack, broker), an_order(broker)

    placed = stack.do("place", **order)
    messages = stack.do("deliver_again", intent_id=placed["intent_id"], broker=broker, times=3)
    again = stack.do("place", **order)
    _wait_for_state(stack, order["client_order_id"], "WORKING")
    messages += stack.do("deliver_again", intent_id=placed["intent_id"], broker=broker, times=3)
    stack.wait_for_performance(broker, *messages)

    assert again["intent_id"] == placed["intent_id"]
    assert stack.intent(order["client_order_id"])["attempts"] == 1
    assert _accepted(stack, broker) == before + 1


def test_a_worker_killed_while_it_sends_neither_loses_nor_repeats_the_order(stack: Stack, an_order: MakeOrder) -> None:
    broker, face = BROKERS[0], 0
    before, order, next_one = _accepted(stack, broker), an_order(broker), an_order(broker)
    stack.control(
        face, "POST", "faults", {"endpoint": "place", "kind": "delay", "seconds": SLOW_SECONDS, "when": "after"}
    )

    placed = stack.do("place", **order)
    wait_for(lambda: _accepted(stack, broker) == before + 1, "the order to be at the exchange")
    stack.children[f"worker-{broker}"].kill()
    stack.do("place", **next_one)
    stack.start_workers(broker)
    messages = stack.do("deliver_again", intent_id=placed["intent_id"], broker=broker, times=3)
    stack.do("send", task="tasks.orders.sweep")

    _wait_for_state(stack, next_one["client_order_id"], "WORKING")
    stack.wait_for_performance(broker, *messages)
    assert stack.intent(order["client_order_id"])["state"] in ("ARMED", "UNKNOWN")
    assert stack.intent(order["client_order_id"])["attempts"] == 1
    assert _accepted(stack, broker) == before + 2


def test_an_order_whose_message_was_lost_is_sent_by_the_sweeper(stack: Stack, an_order: MakeOrder) -> None:
    broker = BROKERS[1]
    order = an_order(broker)
    order |= {"side": order.pop("action"), "limit_price": order.pop("price")}
    stack.do("place_quietly", **order)

    def swept() -> bool:
        stack.do("send", task="tasks.orders.sweep")
        return bool(stack.intent(order["client_order_id"])["state"] == "WORKING")

    wait_for(swept, "the sweeper to ring and the order to be sent")


def test_a_producer_without_the_database_may_publish_a_whole_order(stack: Stack, an_order: MakeOrder) -> None:
    broker = BROKERS[0]
    before, order = _accepted(stack, broker), an_order(broker)

    messages = [stack.do("send_whole", **order) for _ in range(3)]

    wait_for(
        lambda: any(one["client_order_id"] == order["client_order_id"] for one in stack.do("intents")), "the order"
    )
    _wait_for_state(stack, order["client_order_id"], "WORKING")
    stack.wait_for_performance(broker, *messages)
    assert _accepted(stack, broker) == before + 1


def test_an_order_for_an_unknown_broker_or_symbol_is_refused_where_it_is_placed(
    stack: Stack, an_order: MakeOrder
) -> None:
    known = len(stack.do("intents"))

    with pytest.raises(StrategyError, match="zerodha"):
        stack.do("place", **an_order(BROKERS[0]) | {"broker": "zerodha"})
    with pytest.raises(StrategyError, match="InvalidSymbol"):
        stack.do("place", **an_order(BROKERS[0], symbol="NIFTY99ZZZFUT"))

    assert len(stack.do("intents")) == known


def test_a_queue_server_away_for_ten_seconds_loses_no_order(stack: Stack, an_order: MakeOrder) -> None:
    if stack.queue is None:
        pytest.skip("This run uses a Redis server that is not the tests' own to stop.")
    orders = [an_order(broker) for broker in BROKERS]
    before = {broker: _accepted(stack, broker) for broker in BROKERS}
    workers = {queue: stack.children[f"worker-{queue}"].pid for queue in queues()}

    stack.queue.stop()
    stopped_at = time.monotonic()
    for order in orders:
        stack.do("place", **order)
    wait_for(lambda: time.monotonic() - stopped_at > OUTAGE_SECONDS, "the outage to last", seconds=OUTAGE_SECONDS + 5)
    stack.queue.start()
    back_at = time.monotonic()

    def all_sent() -> bool:
        stack.do("send", task="tasks.orders.sweep")
        return all(stack.intent(order["client_order_id"])["state"] == "WORKING" for order in orders)

    wait_for(all_sent, "every worker to consume again and every order to be sent", seconds=BACK_SECONDS)
    assert time.monotonic() - back_at <= BACK_SECONDS
    assert {queue: stack.children[f"worker-{queue}"].pid for queue in queues()} == workers
    assert all(stack.children[f"worker-{queue}"].is_running() for queue in queues())
    assert {broker: _accepted(stack, broker) for broker in BROKERS} == {b: n + 1 for b, n in before.items()}


def test_a_broker_that_hangs_delays_only_its_own_queue(stack: Stack, an_order: MakeOrder) -> None:
    hanging, other = BROKERS
    stuck, quick = an_order(hanging), an_order(other)
    stack.control(0, "POST", "faults", {"endpoint": "*", "kind": "hang", "count": 0, "seconds": 30})
    for _ in range(6):
        stack.do("send", task="tasks.snapshots.snapshot_margin", broker=hanging)
    stack.do("place", **stuck)

    stack.do("place", **quick)

    _wait_for_state(stack, quick["client_order_id"], "WORKING", seconds=5)
    assert stack.intent(stuck["client_order_id"])["state"] in ("READY", "ARMED", "UNKNOWN")
