"""From a message of Kotak's market feed, as the SDK decodes it, to a quote.

Prices are whole numbers on the wire and come as binary fractions; their shortest text is the price again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote

#: A time of trade further away than this is a blank of the exchange's.
_REACH = timedelta(days=10)


def quote(message: Any, instrument: Instrument, *, as_of: datetime) -> Quote:
    """A touch line or an index message (SDK 3.0.9, models.py). What is zero or missing is not stated."""
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


def _best(message: Any, side: str) -> Any:
    rows = getattr(message, side, None)
    return rows[0] if rows else None


def _price(source: Any, name: str) -> Decimal | None:
    value = getattr(source, name, None)
    return Decimal(str(value)) if value is not None and value > 0 else None


def _whole(source: Any, name: str) -> int | None:
    value = getattr(source, name, None)
    return int(value) if value is not None and value >= 0 else None


def _moment(message: Any, as_of: datetime) -> datetime | None:
    try:
        moment = datetime.fromtimestamp(message.last_trade_time, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return moment if abs(moment - as_of) < _REACH else None
