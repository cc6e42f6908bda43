"""How the simulated brokers count calls and switch faults."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from brokers.simulator.counters import Counters
from brokers.simulator.faults import CONDUCT, REPLIES, Fault, Faults, Kind
from brokers.simulator.rules import BrokerRules
from tests.support.simulator import BROKER, MONDAY

RULES = BrokerRules(
    order_id=lambda day, sequence, contract: str(sequence),
    late=frozenset(),
    calls_per_minute=5,
    calls_per_day=8,
    order_calls_per_second=2,
)


class Wall:
    def __init__(self) -> None:
        self.at = 1_000.5

    def __call__(self) -> float:
        return self.at


def call(counters: Counters, *, is_order: bool = False, day: date = MONDAY) -> str:
    counters.count("b:U1", "place" if is_order else "funds", is_order=is_order, day=day)
    return counters.exceeded("b:U1", RULES, is_order=is_order)


def test_the_third_order_of_a_second_is_over_the_limit_and_reads_are_not() -> None:
    wall = Wall()
    counters = Counters(wall)

    assert [call(counters, is_order=True) for _ in range(3)] == ["", "", "second"]
    assert call(counters) == ""
    wall.at += 1
    assert call(counters, is_order=True) == ""
    assert counters.summary("b")["U1"]["orders"] == {
        "total": 4,
        "today": 4,
        "max_in_second": 3,
        "max_in_minute": 4,
        "max_in_day": 4,
    }


def test_the_minute_rolls_and_the_day_is_the_markets() -> None:
    wall = Wall()
    counters = Counters(wall)
    assert [call(counters) for _ in range(6)] == [""] * 5 + ["minute"]

    wall.at += 60
    assert [call(counters) for _ in range(3)] == ["", "", "day"]

    assert call(counters, day=date(2026, 11, 24)) == ""
    assert counters.summary("b")["U1"]["calls"] == {
        "total": 10,
        "today": 1,
        "max_in_second": 6,
        "max_in_minute": 6,
        "max_in_day": 9,
    }


def test_a_fault_hits_its_endpoint_account_and_number_of_calls_only() -> None:
    faults = Faults()
    faults.add(Fault(broker=BROKER, endpoint="place", kind=Kind.DROP, account="U1", skip=1, count=2))

    def hit(endpoint: str = "place", user: str = "U1") -> bool:
        return faults.take(BROKER, endpoint, user, REPLIES) is not None

    assert not hit("cancel")
    assert not hit(user="U2")
    assert faults.take("other", "place", "U1", REPLIES) is None
    assert faults.take(BROKER, "place", "U1", CONDUCT) is None
    assert [hit() for _ in range(4)] == [False, True, True, False]
    assert faults.active() == []


def test_a_fault_without_a_count_stays_until_it_is_cleared() -> None:
    faults = Faults()
    faults.add(Fault(broker=BROKER, kind=Kind.HTML, count=0))
    assert all(faults.take(BROKER, "funds", "U1", REPLIES) for _ in range(20))

    faults.clear("other")
    assert faults.active()
    faults.clear(BROKER)
    assert not faults.active()


@pytest.mark.parametrize("values", [{"endpoint": "nowhere"}, {"kind": "odd"}, {"count": -1}, {"colour": "red"}])
def test_a_fault_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate({"broker": BROKER, "kind": "drop", **values})


def test_a_fault_that_is_only_likely_hits_its_share_and_the_same_calls_every_time() -> None:
    def hits(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(broker=BROKER, kind=Kind.HTML, count=0, probability=0.3, seed=seed))
        return [faults.take(BROKER, "place", "U1", REPLIES) is not None for _ in range(400)]

    assert 80 <= sum(hits(1)) <= 160
    assert hits(1) == hits(1)
    assert hits(1) != hits(2)


def test_a_fault_of_a_session_ends_with_that_accounts_next_login() -> None:
    faults = Faults()
    faults.add(Fault(broker=BROKER, endpoint="orders", kind=Kind.STALE_BOOK, count=0, account="U1", until_login=True))

    faults.logged_in(BROKER, "U2")
    assert faults.take(BROKER, "orders", "U1", CONDUCT)
    faults.logged_in(BROKER, "U1")
    assert faults.take(BROKER, "orders", "U1", CONDUCT) is None
