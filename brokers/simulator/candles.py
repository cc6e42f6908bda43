"""What an exchange's history says of a contract: candles, made from the price function alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zlib import crc32

from brokers.clock import IST
from brokers.domain.enums import CandleInterval, InstrumentKind
from brokers.simulator.contracts import Contract
from brokers.simulator.hours import Hours, session
from brokers.simulator.prices import Prices

#: How many moments of a candle its high and low are taken from.
SAMPLES, SAMPLES_OF_A_DAY = 4, 12
#: A derivative is listed this long before it expires.
LISTED_FOR = timedelta(days=100)


@dataclass(frozen=True, kw_only=True, slots=True)
class PastCandle:
    """What traded from an IST moment on. Rupees and units."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    open_interest: int


def candles(
    contract: Contract,
    interval: CandleInterval,
    first: datetime,
    last: datetime,
    *,
    prices: Prices,
    hours: Hours,
    now: datetime,
) -> Iterator[PastCandle]:
    """The candles that open from ``first`` to ``last``, both included, oldest first.

    Only trading hours have some, and the one that lasts now ends now. A day's opens at midnight.
    """
    day, step = first.astimezone(IST).date(), int(interval.length.total_seconds())
    if contract.expiry is not None:
        day = max(day, contract.expiry - LISTED_FOR)
    while day <= min(last, now).astimezone(IST).date():
        if hours.is_trading_day(day):
            opens, closes = (int(each) for each in session(contract.exchange, day))
            end = min(closes, int(now.timestamp()) + 1)
            spans = (
                [(_midnight(day), opens, end)]
                if interval is CandleInterval.DAY
                else [
                    (datetime.fromtimestamp(start, IST), start, min(start + step, end))
                    for start in range(opens, end, step)
                ]
            )
            for opened_at, start, stop in spans:
                if first <= opened_at <= last and start < stop:
                    yield _candle(contract, opened_at, start, stop, prices)
        day += timedelta(days=1)


def _candle(contract: Contract, opened_at: datetime, start: int, stop: int, prices: Prices) -> PastCandle:
    """Of the seconds from ``start`` up to ``stop``."""
    close = stop - 1
    samples = SAMPLES_OF_A_DAY if stop - start > 3_600 else SAMPLES
    seen = [prices.at(contract, second) for second in range(start, close, max(1, (close - start) // samples))]
    seen.append(prices.at(contract, close))
    weight = crc32(contract.symbol.encode())
    traded = contract.kind is not InstrumentKind.INDEX
    return PastCandle(
        opened_at=opened_at,
        open=seen[0],
        high=max(seen),
        low=min(seen),
        close=seen[-1],
        volume=contract.lot_size * (weight % 50 + 1) * (stop - start) if traded else 0,
        open_interest=contract.lot_size * (weight % 9_000 + 100) if contract.expiry is not None else 0,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)
