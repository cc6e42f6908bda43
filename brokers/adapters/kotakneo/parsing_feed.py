"""From a message of Kotak's market feed, as the SDK decodes it, to a quote and to depth.

Prices are whole numbers on the wire and come as binary fractions; their shortest text is the price again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, DepthLevel, Quote

#: A time of trade further away than this is a blank of the exchange's.
_REACH = timedelta(days=10)


def quote(message: Any, instrument: Instrument, *, as_of: datetime) -> Quote:
    """A touch line, depth or an index message (SDK 3.0.9, models.py). What is zero or missing is not stated."""
    bid, ask = _best(message, "buy"), _best(message, "sell")
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=_price(message, "last_traded_price"),
        bid_price=_price(bid, "price"),
        bid_quantity=_whole(bid, "quantity"),
        ask_price=_price(ask, "price"),
        ask_quantity=_whole(ask, "quantity"),
        open=_price(message, "open_price"),
        high=_price(message, "high_price"),
        low=_price(message, "low_price"),
        previous_close=_price(message, "close_price"),
        lower_circuit=_price(message, "lower_circuit_limit"),
        upper_circuit=_price(message, "upper_circuit_limit"),
        volume=_whole(message, "volume_traded_today"),
        open_interest=_whole(message, "open_interest") if instrument.exchange.is_derivative else None,
        traded_at=_moment(message, as_of),
        as_of=as_of,
    )


def depth(message: Any, instrument: Instrument, *, as_of: datetime) -> Depth:
    """A message of level 8: five rows a side, of which those with zeros are no levels."""
    bids, asks = _levels(message, "buy"), _levels(message, "sell")
    return Depth(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        bids=tuple(sorted(bids, key=lambda level: -level.price)),
        asks=tuple(sorted(asks, key=lambda level: level.price)),
        total_bid_quantity=_total(message, "total_buy_quantity", bids),
        total_ask_quantity=_total(message, "total_sell_quantity", asks),
        as_of=as_of,
    )


def _levels(message: Any, side: str) -> list[DepthLevel]:
    found = []
    for row in getattr(message, side, None) or ():
        price, quantity = _price(row, "price"), _whole(row, "quantity")
        if price is not None and quantity:
            found.append(DepthLevel(price=price, quantity=quantity, orders=_whole(row, "orders") or None))
    return found


def _total(message: Any, name: str, levels: list[DepthLevel]) -> int | None:
    """Units over the whole book; not stated where it is zero beside full levels."""
    total = _whole(message, name)
    return None if not total and levels else total


def _best(message: Any, side: str) -> Any:
    rows = getattr(message, side, None)
    return rows[0] if rows else None


def _price(source: Any, name: str) -> Decimal | None:
    value = getattr(source, name, None)
    return _decimal(value) if value is not None and value > 0 else None


@lru_cache(maxsize=1 << 16)
def _decimal(value: float) -> Decimal:
    """Kept, since an instrument's open, close and circuits come with each of its ticks, and its prices again and again."""
    return Decimal(str(value))


def _whole(source: Any, name: str) -> int | None:
    value = getattr(source, name, None)
    return int(value) if value is not None and value >= 0 else None


def _moment(message: Any, as_of: datetime) -> datetime | None:
    try:
        moment = datetime.fromtimestamp(message.last_trade_time, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return moment if abs(moment - as_of) < _REACH else None
