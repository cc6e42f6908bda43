"""Which candles are missing: trading time for which a broker stated nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time, timedelta

from brokers.calendar import MarketCalendar
from brokers.clock import IST, trading_day
from brokers.domain.enums import CandleInterval, Exchange
from brokers.domain.market import Candle

Stretch = tuple[datetime, datetime]


def gaps_in(
    candles: Sequence[Candle],
    interval: CandleInterval,
    starts_at: datetime,
    ends_at: datetime,
    *,
    calendar: MarketCalendar,
    exchange: Exchange,
    share_class: str,
) -> tuple[Stretch, ...]:
    """Stretches of an instrument's continuous trading between the two moments that no candle covers, in order.

    An instrument that did not trade for a while has such stretches, too.
    """
    have = {candle.opened_at for candle in candles}
    days = _trading(starts_at, ends_at, calendar, exchange, share_class)
    expected = _openings(interval, starts_at, ends_at, days)
    if interval is CandleInterval.DAY:
        known = {trading_day(opened_at) for opened_at in have}
        missing = (opening for opening in expected if trading_day(opening) not in known)
    else:
        missing = (opening for opening in expected if opening not in have)
    return tuple(_joined(missing, interval.length))


def _trading(
    starts_at: datetime, ends_at: datetime, calendar: MarketCalendar, exchange: Exchange, share_class: str
) -> Iterator[list[Stretch]]:
    """Each trading day's stretches of continuous trading."""
    day = trading_day(starts_at)
    while day <= trading_day(ends_at):
        if trading := calendar.trading(exchange, day, share_class=share_class):
            yield trading
        day += timedelta(days=1)


def _openings(
    interval: CandleInterval, starts_at: datetime, ends_at: datetime, days: Iterable[list[Stretch]]
) -> Iterator[datetime]:
    """When candles open; a day's candle opens at midnight."""
    for trading in days:
        if interval is CandleInterval.DAY:
            opening = datetime.combine(trading_day(trading[0][0]), time(), IST)
            if starts_at <= opening < ends_at:
                yield opening
            continue
        for opening, closes_at in trading:
            while opening < min(closes_at, ends_at):
                if opening >= starts_at:
                    yield opening
                opening += interval.length


def _joined(openings: Iterable[datetime], length: timedelta) -> Iterator[Stretch]:
    """Neighbours as one stretch."""
    current: Stretch | None = None
    for opening in openings:
        if current is not None and current[1] == opening:
            current = current[0], opening + length
            continue
        if current is not None:
            yield current
        current = opening, opening + length
    if current is not None:
        yield current
