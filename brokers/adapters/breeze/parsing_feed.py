"""From a ``stock`` event of Breeze's rate feed to a quote or to depth. The SDK's own reading writes times in the process's time zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, DepthLevel, Quote

#: Where what stands, by the number of items: shares and indices, derivatives (SDK 1.0.69, parse_data, read 2026-11-28).
_COMMON = {"open": 1, "last": 2, "high": 3, "low": 4, "bid": 6, "bid_quantity": 7, "ask": 8, "ask_quantity": 9}
_PLACES: Mapping[int, Mapping[str, int]] = {
    21: {**_COMMON, "volume": 12, "lower": 17, "upper": 18, "traded_at": 19, "close": 20},
    23: {**_COMMON, "open_interest": 12, "volume": 14, "lower": 19, "upper": 20, "traded_at": 21, "close": 22},
}
#: Price, quantity and number of orders of the two sides in a row of depth, by the number of items: BSE, BFO, and
#: NSE and NFO (SDK 1.0.69, parse_market_depth, read 2026-11-28). BSE does not state the orders.
_SIDES: Mapping[int, tuple[tuple[int, int, int | None], tuple[int, int, int | None]]] = {
    4: ((0, 1, None), (2, 3, None)),
    6: ((0, 1, 2), (3, 4, 5)),
    8: ((0, 1, 2), (4, 5, 6)),
}


def token(row: object) -> str:
    """Whose prices these are, e.g. ``4.1!2885``; empty when it does not say."""
    return row[0] if isinstance(row, list) and row and isinstance(row[0], str) else ""


def is_depth(token: str) -> bool:
    """Whether it names depth, e.g. ``4.2!2885``."""
    return token.partition("!")[0].endswith(".2")


def quote(row: Sequence[object], instrument: Instrument, *, as_of: datetime) -> Quote:
    """What is zero or missing is not stated.

    :raises UnreadableReply: it is no quote; nothing of it is used.
    """
    places = _PLACES.get(len(row))
    if places is None:
        raise UnreadableReply(f"A tick of {instrument.symbol} has {len(row)} items, which no quote has.")
    values = {name: _number(row[place], name, instrument) for name, place in places.items()}
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=_price(values["last"]),
        bid_price=_price(values["bid"]),
        bid_quantity=_units(values["bid_quantity"]),
        ask_price=_price(values["ask"]),
        ask_quantity=_units(values["ask_quantity"]),
        open=_price(values["open"]),
        high=_price(values["high"]),
        low=_price(values["low"]),
        previous_close=_price(values["close"]),
        lower_circuit=_price(values["lower"]),
        upper_circuit=_price(values["upper"]),
        volume=_units(values["volume"]),
        open_interest=_units(values.get("open_interest")),
        traded_at=_moment(values["traded_at"]),
        as_of=as_of,
    )


def depth(row: Sequence[object], instrument: Instrument, *, as_of: datetime) -> Depth:
    """Token, time and five rows of both sides. Levels with zeros are none.

    :raises UnreadableReply: it is no depth; nothing of it is used.
    """
    rows = row[2] if len(row) == 3 else None
    if not isinstance(rows, list) or not all(isinstance(each, list) and len(each) in _SIDES for each in rows):
        raise UnreadableReply(f"The depth of {instrument.symbol} is not laid out as one; nothing of it is used.")
    bids, asks = (
        [level for each in rows if (level := _level(each, _SIDES[len(each)][side], instrument))] for side in (0, 1)
    )
    return Depth(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        bids=tuple(sorted(bids, key=lambda level: -level.price)),
        asks=tuple(sorted(asks, key=lambda level: level.price)),
        as_of=as_of,
    )


def _level(row: Sequence[object], places: tuple[int, int, int | None], instrument: Instrument) -> DepthLevel | None:
    price = _price(_number(row[places[0]], "price", instrument))
    quantity = _units(_number(row[places[1]], "quantity", instrument))
    orders = _units(_number(row[places[2]], "orders", instrument)) if places[2] is not None else None
    return DepthLevel(price=price, quantity=quantity, orders=orders or None) if price and quantity else None


def _number(value: object, name: str, instrument: Instrument) -> Decimal | None:
    if value is None or value == "":
        return None
    number = _decimal(value) if type(value) in (float, int, str) else Decimal("NaN")
    if not number.is_finite():
        raise UnreadableReply(f"A tick of {instrument.symbol} has {name} {str(value)[:40]!r}, which is no number.")
    return number


@lru_cache(maxsize=1 << 16, typed=True)
def _decimal(value: object) -> Decimal:
    """Kept, since an instrument's open, close and circuits come with each of its ticks, and its prices again and again."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal("NaN")


def _price(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value > 0 else None


def _units(value: Decimal | None) -> int | None:
    return int(value) if value is not None and value >= 0 else None


def _moment(value: Decimal | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(value), UTC) if value else None
    except (OverflowError, OSError, ValueError):
        return None
