"""Rounds of readings of many accounts over real processes; ``benchmarks/rounds.py`` has the thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from brokers.discovery import specs
from brokers.simulator.accounts import numbered
from tests.support.processes import wait_for
from tests.support.stack import Stack

#: Of each broker, and the simulator's number of the first.
ACCOUNTS, FIRST = 20, 1501
NAMES = [f"round-{number}" for number in range(ACCOUNTS)]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def accounts(stack: Stack) -> Iterator[set[str]]:
    """They are polled for as long as the test lasts."""
    for broker in specs():
        for place, name in enumerate(NAMES):
            stack.do("open_account", broker=broker, name=name, number=FIRST + place)
    yield {f"{broker}/{name}" for broker in specs() for name in NAMES}
    for broker in specs():
        stack.do("pause", broker=broker, names=NAMES)


def _rows(stack: Stack, accounts: set[str], slot_at: datetime) -> Counter[tuple[str, str, str]]:
    """How many rows there are of account, kind and status in a slot."""
    found: Counter[tuple[str, str, str]] = Counter()
    for kind in ("margin", "position"):
        for row in stack.do("snapshots", kind=kind):
            if row["account"] in accounts and datetime.fromisoformat(row["slot_at"]) == slot_at:
                found[row["account"], kind, row["status"]] += 1
    return found


def _calls(stack: Stack) -> Iterator[tuple[Any, dict[str, int]]]:
    """What each account has called, by the count of the simulator, with its broker's spec."""
    for face, (broker, spec) in enumerate(specs().items()):
        counted = stack.control(face, "GET", "counters")
        for place in range(ACCOUNTS):
            yield spec, counted[numbered(broker, FIRST + place).user_id]["calls"]


def test_every_account_has_its_row_of_every_slot_within_its_broker_s_limits(stack: Stack, accounts: set[str]) -> None:
    now = datetime.fromisoformat(stack.control(0, "GET", "clock")["market_time"])
    first = now.replace(second=0, microsecond=0)
    # In the first everybody logs in, and what comes meanwhile may fail.
    for number in range(3):
        slot_at = first + number * MINUTE
        stack.do("send", task="tasks.snapshots.schedule", slot_at=slot_at.isoformat(), cadence_seconds=10)
        wait_for(
            lambda slot_at=slot_at: len(_rows(stack, accounts, slot_at)) == 2 * len(accounts),  # type: ignore[misc]
            f"a row of every account in the slot of {slot_at}",
            seconds=60,
        )
    for number in (1, 2):
        wanted = {(account, kind, "OK"): 1 for account in accounts for kind in ("margin", "position")}
        assert _rows(stack, accounts, first + number * MINUTE) == wanted
    for spec, calls in _calls(stack):
        for limit, seconds in spec.capabilities.call_limits:
            assert calls["max_in_second" if seconds == 1 else "max_in_minute"] <= limit
