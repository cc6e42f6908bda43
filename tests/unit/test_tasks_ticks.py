"""Slots of the market's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from brokers.models import BrokerAccount
from tasks.ticks import Tick, floor, in_turn

AT = datetime(2026, 11, 23, 4, 30, 44, 987654, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cadence", "start"),
    [
        (timedelta(seconds=3), datetime(2026, 11, 23, 4, 30, 42, tzinfo=UTC)),
        (timedelta(seconds=30), datetime(2026, 11, 23, 4, 30, 30, tzinfo=UTC)),
        (timedelta(seconds=60), datetime(2026, 11, 23, 4, 30, tzinfo=UTC)),
        (timedelta(seconds=300), datetime(2026, 11, 23, 4, 30, tzinfo=UTC)),
    ],
)
def test_a_slot_starts_at_a_multiple_of_its_cadence(cadence: timedelta, start: datetime) -> None:
    assert floor(AT, cadence) == start


def test_every_moment_of_a_slot_has_the_same_start() -> None:
    minute = timedelta(minutes=1)
    assert floor(AT, minute) == floor(AT + timedelta(seconds=15), minute) != floor(AT + minute, minute)


def test_a_tick_is_the_one_that_beat_says() -> None:
    tick = Tick.of("2026-11-23T04:30:30+00:00", 30.0)
    assert (tick.slot_at, tick.cadence) == (datetime(2026, 11, 23, 4, 30, 30, tzinfo=UTC), timedelta(seconds=30))


def test_one_tick_in_six_is_due_for_what_comes_once_a_minute() -> None:
    ticks = [
        Tick(slot_at=datetime(2026, 11, 23, 4, 30, second, tzinfo=UTC), cadence=timedelta(seconds=10))
        for second in range(0, 60, 10)
    ]
    assert [tick.is_due(timedelta(minutes=1)) for tick in ticks] == [True, False, False, False, False, False]
    assert all(tick.is_due(timedelta(seconds=10)) for tick in ticks)


def test_a_slot_is_read_once_and_as_long_after_its_start_as_it_is_told() -> None:
    def read(every: int, offset: int, ticks_every: int = 10) -> list[str]:
        ticks = [
            Tick(slot_at=AT.replace(minute=m, second=s, microsecond=0), cadence=timedelta(seconds=ticks_every))
            for m in (30, 31)
            for s in range(0, 60, ticks_every)
        ]
        read = [(tick, tick.reads(timedelta(seconds=every), timedelta(seconds=offset))) for tick in ticks]
        return [f"{slot:%M:%S} at {tick.slot_at:%M:%S}" for tick, slot in read if slot]

    assert read(60, 0) == ["30:00 at 30:00", "31:00 at 31:00"]
    assert read(60, 40) == ["30:00 at 30:40", "31:00 at 31:40"]
    assert read(30, 20) == ["30:00 at 30:20", "30:30 at 30:50", "31:00 at 31:20", "31:30 at 31:50"]
    assert read(60, 50, ticks_every=20) == ["30:00 at 30:40", "31:00 at 31:40"]


def test_each_account_is_among_the_first_now_and_then_and_the_order_is_the_ticks_alone() -> None:
    accounts = [BrokerAccount(broker="kotakneo", name=f"account-{number:03}") for number in range(100)]
    ticks = [Tick(slot_at=AT + number * timedelta(seconds=30), cadence=timedelta(seconds=10)) for number in range(60)]
    rounds = [[account.name for account in in_turn(accounts, tick)] for tick in ticks]
    assert all(len(set(names)) == len(accounts) for names in rounds)
    # A queue that has room for nine in ten leaves nobody out for long.
    served = [set(names[:90]) for names in rounds]
    assert all(set().union(*served[at : at + 10]) == {account.name for account in accounts} for at in range(50))
    assert [account.name for account in in_turn(reversed(accounts), ticks[0])] == rounds[0]
