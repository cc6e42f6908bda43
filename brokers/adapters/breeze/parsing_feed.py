"""From a ``stock`` event of Breeze's rate feed to a quote. The SDK's own reading writes times in the process's time zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote

#: Where what stands, by the number of items: shares and indices, derivatives (SDK 1.0.69, parse_data, read 2026-11-28).
_COMMON = {"open": 1, "last": 2, "high": 3, "low": 4, "bid": 6, "bid_quantity": 7, "ask": 8, "ask_quantity": 9}
_PLACES: Mapping[int, Mapping[str, int]] = {
    21: {**_COMMON, "volume": 12, "lower": 17, "upper": 18, "traded_at": 19, "close": 20},
    23: {**_COMMON, "open_interest": 12, "volume": 14, "lower": 19, "upper": 20, "traded_at": 21, "close": 22},
}


def token(row: object) -> str:
    """Whose prices these are, e.g. ``4.1!2885``; empty when it does not say."""
    return row[0] if isinstance(row, list) and row and isinstance(row[0], str) else ""


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


def _number(value: object, name: str, instrument: Instrument) -> Decimal | None:
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise UnreadableReply(f"A tick of {instrument.symbol} has {name} {str(value)[:40]!r}, which is no number.")
    return number


def _price(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value > 0 else None


def _units(value: Decimal | None) -> int | None:
    return int(value) if value is not None and value >= 0 else None


def _moment(value: Decimal | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(value), UTC) if value else None
    except (OverflowError, OSError, ValueError):
        return None
