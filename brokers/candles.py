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
) -> tuple[Stretch, ...]:
    """Stretches of continuous trading between the two moments that no candle covers, in order.

    An instrument that did not trade for a while has such stretches, too.
    """
    have = {candle.opened_at for candle in candles}
    expected = _openings(interval, starts_at, ends_at, calendar, exchange)
    if interval is CandleInterval.DAY:
        days = {trading_day(opened_at) for opened_at in have}
        missing = (opening for opening in expected if trading_day(opening) not in days)
    else:
        missing = (opening for opening in expected if opening not in have)
    return tuple(_joined(missing, interval.length))


def _openings(
    interval: CandleInterval, starts_at: datetime, ends_at: datetime, calendar: MarketCalendar, exchange: Exchange
) -> Iterator[datetime]:
    """When candles open, by the calendar; a day's candle opens at midnight."""
    day = trading_day(starts_at)
    while day <= trading_day(ends_at):
        session = calendar.session(exchange, day)
        if session is not None and interval is CandleInterval.DAY:
            opening = datetime.combine(day, time(), IST)
            if starts_at <= opening < ends_at:
                yield opening
        elif session is not None:
            opening, closes_at = session
            while opening < min(closes_at, ends_at):
                if opening >= starts_at:
                    yield opening
                opening += interval.length
        day += timedelta(days=1)


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
