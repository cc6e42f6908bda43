"""Which candles are missing: those of the time in which the instrument itself trades."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from brokers import calendar
from brokers.calendar import MarketCalendar, ShareClass
from brokers.candles import gaps_in
from brokers.clock import IST
from brokers.domain.enums import CandleInterval, Exchange
from brokers.domain.market import Candle
from brokers.models import SpecialDay

pytestmark = pytest.mark.django_db

MONDAY, SATURDAY = date(2026, 11, 23), date(2026, 11, 28)
MINUTE = timedelta(minutes=1)


class Still:
    def now(self) -> datetime:
        return datetime(2026, 11, 30, tzinfo=UTC)

    real_now = now

    def monotonic(self) -> float:
        return 0.0


def at(day: date, clock: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), IST)


def candles(first: datetime, end: datetime) -> list[Candle]:
    """One for each minute."""
    price = Decimal(100)
    return [
        Candle(opened_at=first + number * MINUTE, open=price, high=price, low=price, close=price, volume=1)
        for number in range((end - first) // MINUTE)
    ]


def gaps(
    found: list[Candle], day: date, exchange: Exchange, share_class: ShareClass
) -> list[tuple[datetime, datetime]]:
    calendar.forget()
    return list(
        gaps_in(
            found,
            CandleInterval.MINUTE,
            at(day, "00:00"),
            at(day, "23:59"),
            calendar=MarketCalendar(Still()),
            exchange=exchange,
            share_class=share_class,
        )
    )


def test_a_share_with_derivatives_misses_nothing_in_its_closing_auction() -> None:
    until_the_auction = candles(at(MONDAY, "09:15"), at(MONDAY, "15:15"))
    assert gaps(until_the_auction, MONDAY, Exchange.NSE, ShareClass.DERIVATIVES) == []
    assert gaps(until_the_auction, MONDAY, Exchange.NSE, ShareClass.OTHER) == [
        (at(MONDAY, "15:15"), at(MONDAY, "15:30"))
    ]
    for share_class in ShareClass:
        assert gaps(until_the_auction, MONDAY, Exchange.NFO, share_class) == [
            (at(MONDAY, "15:15"), at(MONDAY, "15:40"))
        ]


def test_nothing_is_missed_between_two_sessions_of_a_day() -> None:
    for start, end in (("09:15", "10:00"), ("11:45", "13:00")):
        SpecialDay.objects.create(
            exchange="NSE",
            date=SATURDAY,
            kind="SESSION",
            phase="CONTINUOUS",
            start_time=time.fromisoformat(start),
            end_time=time.fromisoformat(end),
            source="test",
        )
    first_half = candles(at(SATURDAY, "09:15"), at(SATURDAY, "10:00"))
    second_half = candles(at(SATURDAY, "11:45"), at(SATURDAY, "13:00"))
    assert gaps([*first_half, *second_half], SATURDAY, Exchange.NSE, ShareClass.OTHER) == []
    assert gaps(first_half, SATURDAY, Exchange.NSE, ShareClass.OTHER) == [
        (at(SATURDAY, "11:45"), at(SATURDAY, "13:00"))
    ]
