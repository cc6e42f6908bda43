"""Slots of the market's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.ticks import Tick, floor

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
