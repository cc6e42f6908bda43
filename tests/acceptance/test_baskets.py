"""A basket is sent whole and no more than whole, whatever dies while it goes out; a closing ends flat."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from brokers.discovery import specs
from tests.support.processes import CHECKOUT, clean_environment, wait_for
from tests.support.stack import Stack, StrategyError

BROKERS = list(specs())
#: Shortens the waits after a lost answer: an order that a killed worker was sending is looked for within seconds.
SCALE = "0.05"
LOTS, LOTS_PER_ORDER = 8, 2
SLICES = LOTS // LOTS_PER_ORDER
#: Workers are killed twice in it, and each start of one takes seconds on a busy machine.
pytestmark = pytest.mark.timeout(400)

#: A basket takes about 20 s; one with an open question waits for its sender's timeouts and the proof.
ENDS_WITHIN = 120


class QuickStack(Stack):
    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MCUBE_SAFETY_SCALE": SCALE}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Workers and beat with today's instruments, at brokers where nobody trades by hand."""
    stack = QuickStack(tmp_path_factory.mktemp("baskets"))
    try:
        stack.prepare()
        stack.start_simulators()
        for broker in BROKERS:
            stack.manage("shell", "-c", f"from tasks.instruments import refresh_instruments as r; r(broker={broker!r})")
            stack.do("trades_alone", broker=broker)
        stack.start_workers()
        stack.start_beat()
        yield stack
    finally:
        stack.stop()


def _options(stack: Stack) -> tuple[str, str]:
    """A call to sell and one further out that hedges it."""
    calls = sorted(one["symbol"] for one in stack.do("find", symbol="NIFTY CE") if one["symbol"].endswith("CE"))
    return calls[0], calls[-1]


def _accepted(stack: Stack, broker: str) -> list[dict[str, Any]]:
    return [line for line in stack.truth("accepted") if line["broker"] == broker]


def _wait_until_ended(stack: Stack, plan_id: int) -> dict[str, Any]:
    wait_for(lambda: stack.do("plan", plan_id=plan_id)["ended"], f"plan {plan_id} to end", seconds=ENDS_WITHIN)
    ended: dict[str, Any] = stack.do("plan", plan_id=plan_id)
    return ended


def _held(stack: Stack, broker: str) -> dict[str, Any]:
    """The positions, once there is a call left to ask for them; a closing may have used up the minute's."""
    found: dict[str, Any] = {}

    def ask() -> bool:
        try:
            found["held"] = stack.do("held", broker=broker)
        except StrategyError as error:
            if error.kind != "RateLimited":
                raise
            return False
        return True

    wait_for(ask, f"a call left at {broker}", seconds=ENDS_WITHIN)
    held: dict[str, Any] = found["held"]
    return held


def test_a_basket_survives_its_workers_and_is_sent_exactly_once(desk: Stack) -> None:
    sold, hedge = _options(desk)
    plans = {
        broker: desk.do(
            "basket",
            broker=broker,
            client_order_id="strangle-1",
            lots_per_order=LOTS_PER_ORDER,
            pace_seconds=1,
            legs=[
                {"symbol": sold, "action": "S", "lots": LOTS},
                {"symbol": hedge, "action": "B", "lots": LOTS},
            ],
        )
        for broker in BROKERS
    }
    for killed_at in (2, SLICES + 2):
        for broker in BROKERS:
            wait_for(
                lambda broker=broker, killed_at=killed_at: len(_accepted(desk, broker)) >= killed_at,  # type: ignore[misc]
                f"slice {killed_at} at {broker}\n{desk.logs()}",
                seconds=ENDS_WITHIN,
            )
            desk.children[f"worker-{broker}"].kill()
            desk.start_workers(broker)

    for broker, plan_id in plans.items():
        ended = _wait_until_ended(desk, plan_id)
        assert ended["state"] == "DONE", (ended, desk.logs())
        at_exchange: Counter[str] = Counter()
        for line in _accepted(desk, broker):
            at_exchange[line["symbol"]] += line["quantity"]
        asked = LOTS * next(one["lot_size"] for one in desk.do("find", symbol=sold))
        assert at_exchange == {sold: asked, hedge: asked}
        sides = [line["side"] for line in _accepted(desk, broker)]
        assert sides == ["BUY"] * SLICES + ["SELL"] * SLICES


def test_the_example_sells_a_strangle_behind_its_hedges(desk: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.hedged_strangle", BROKERS[1], "4"],
        cwd=CHECKOUT,
        env=clean_environment() | desk.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_WITHIN,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "DONE", done.stdout


def test_everything_is_closed_until_the_broker_says_flat(desk: Stack) -> None:
    for broker in BROKERS:
        assert any(_held(desk, broker).values())
    plans = [desk.do("close_all", broker=broker) for broker in BROKERS]
    assert [desk.do("close_all", broker=broker) for broker in BROKERS] == plans
    for plan_id in plans:
        assert _wait_until_ended(desk, plan_id)["state"] == "DONE", desk.logs()
    for broker in BROKERS:
        assert not any(_held(desk, broker).values())
