"""The rows of ``docs/faults.md`` that need real processes: callers at once, a worker that dies, a broker that hangs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from brokers.discovery import specs
from tests.support.processes import wait_for
from tests.support.stack import Stack

MakeOrder = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("no_faults")

FACES = {broker: face for face, broker in enumerate(specs())}
each_broker = pytest.mark.parametrize("broker", FACES)

CALLERS = 5
SLOW_SECONDS = 20
#: Longer than the ledger waits for an answer.
GIVEN_UP_SECONDS = 20
#: In market time: all timeouts of a sender have passed; an order that is there shows in the book.
SENDER_IS_LATE_SECONDS, BOOK_IS_SURE_SECONDS = 30, 240


def _held(stack: Stack, broker: str, order: dict[str, Any]) -> int:
    """How many orders at the order's own price the exchange took."""
    return sum(
        (line["broker"], line["symbol"]) == (broker, order["symbol"]) and float(line["price"]) == float(order["price"])
        for line in stack.truth("accepted")
    )


def _looks(stack: Stack, broker: str, order: dict[str, Any], *states: str) -> dict[str, Any]:
    """Have the order looked up, as beat does, until it is in one of ``states``."""

    def looked() -> dict[str, Any] | None:
        if not stack.waiting(broker):
            stack.do("send", task="tasks.reconciliation.recover", broker=broker, account=order["account"])
        intent = stack.intent(order["client_order_id"])
        return intent if intent["state"] in states else None

    found = wait_for(looked, f"{order['client_order_id']} to be found {' or '.join(states)}")
    assert found is not None
    return found


def _reaches(stack: Stack, order: dict[str, Any], *states: str, seconds: float = 30) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        intent = stack.intent(order["client_order_id"])
        return intent if intent["state"] in states else None

    found = wait_for(reached, f"{order['client_order_id']} to be {' or '.join(states)}", seconds=seconds)
    assert found is not None
    return found


@each_broker
def test_five_identical_requests_at_once_are_one_order(stack: Stack, an_order: MakeOrder, broker: str) -> None:
    order = an_order(broker)

    placed = stack.do("place_at_once", times=CALLERS, **order)

    assert len({each["intent_id"] for each in placed}) == 1
    intent = _reaches(stack, order, "WORKING")
    stack.wait_for_performance(broker, placed[0]["task_id"])
    assert _held(stack, broker, order) == intent["attempts"] == 1


@each_broker
def test_a_slow_broker_and_a_caller_who_gives_up_after_five_seconds(
    stack: Stack, an_order: MakeOrder, broker: str
) -> None:
    order = an_order(broker)
    slow = {"endpoint": "place", "kind": "delay", "seconds": SLOW_SECONDS, "when": "after"}
    stack.control(FACES[broker], "POST", "faults", slow)

    first = stack.do("place", **order)
    wait_for(lambda: _held(stack, broker, order), "the order to be at the broker")
    again = stack.do("place", **order)
    messages = stack.do("deliver_again", intent_id=first["intent_id"], broker=broker, times=2)

    assert again["intent_id"] == first["intent_id"]
    assert _reaches(stack, order, "UNKNOWN", seconds=GIVEN_UP_SECONDS)["attempts"] == 1
    stack.wait_for_performance(broker, *messages)
    assert _held(stack, broker, order) == 1


@each_broker
def test_a_read_is_answered_while_an_order_call_hangs(stack: Stack, an_order: MakeOrder, broker: str) -> None:
    order = an_order(broker)
    stack.control(FACES[broker], "POST", "faults", {"endpoint": "place", "kind": "hang", "when": "after"})
    stack.do("place", **order)
    wait_for(lambda: _held(stack, broker, order), "the order to be at the broker")
    before = len(stack.do("snapshots", kind="margin"))

    stack.do("send", task="tasks.snapshots.snapshot_margin", broker=broker, account=order["account"])

    wait_for(lambda: len(stack.do("snapshots", kind="margin")) > before, "the margin to be read")
    assert stack.do("snapshots", kind="margin")[-1]["status"] == "OK"
    assert stack.intent(order["client_order_id"])["state"] == "ARMED", "its answer is still waited for"
    _reaches(stack, order, "UNKNOWN", seconds=GIVEN_UP_SECONDS)
    assert _held(stack, broker, order) == 1


@each_broker
def test_a_worker_killed_during_the_call_leaves_one_order_that_is_found_again(
    stack: Stack, an_order: MakeOrder, broker: str
) -> None:
    order = an_order(broker)
    stack.control(FACES[broker], "POST", "faults", {"endpoint": "place", "kind": "hang", "when": "after"})

    placed = stack.do("place", **order)
    wait_for(lambda: _held(stack, broker, order), "the order to be at the broker")
    stack.children[f"worker-{broker}"].kill()
    stack.start_workers(broker)
    messages = stack.do("deliver_again", intent_id=placed["intent_id"], broker=broker, times=3)
    stack.do("send", task="tasks.orders.sweep")

    stack.wait_for_performance(broker, *messages)
    stack.do("pass_time", seconds=SENDER_IS_LATE_SECONDS)
    _looks(stack, broker, order, "UNKNOWN", "WORKING")
    stack.do("pass_time", seconds=BOOK_IS_SURE_SECONDS)

    if specs()[broker].capabilities.echoes_client_tag:
        assert _looks(stack, broker, order, "WORKING")["attempts"] == 1
    else:
        # It may also be an order that a person placed, so that a person is asked.
        assert _looks(stack, broker, order, "NEEDS_HUMAN")["attempts"] == 1
        told = [alert["kind"] for alert in stack.do("alerts") if alert["client_order_id"] == order["client_order_id"]]
        assert told == ["needs_human"]
    assert _held(stack, broker, order) == 1
