"""From the domain's orders to the SDK's arguments: every value is text, and checked, for the SDK checks little.

SDK 3.0.9 lets ``nan`` prices, any ``transaction_type`` and any trigger price through to the wire (measured
2026-11-22). All functions are pure and raise ``OrderDenied``, so that nothing doubtful is ever sent.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from brokers.adapters.kotakneo import SPEC
from brokers.adapters.kotakneo.tables import (
    CANDLE_DAYS,
    CASH_PRODUCTS,
    CHAIN_SEGMENTS,
    CHAIN_STEP,
    INDEX_NAMES,
    INTERVALS,
    ORDER_TYPE_WORDS,
    SEGMENTS,
    SIDE_WORDS,
    TIME_IN_FORCE_WORDS,
)
from brokers.clock import trading_day
from brokers.domain.enums import CandleInterval, InstrumentKind, OrderType, TimeInForce
from brokers.domain.errors import OrderDenied, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest

#: What has been seen to work: up to 20 characters. Kotak documents neither length nor characters (2026-11-22).
_TAG = re.compile(r"[A-Za-z0-9-]{1,20}")
#: yymmdd and nine digits in all samples; anything without a sign that could change a path passes.
_ORDER_ID = re.compile(r"[A-Za-z0-9]{1,32}")


def place_arguments(request: OrderRequest) -> dict[str, str]:
    """Arguments of ``place_order``.

    :raises OrderDenied: the order cannot be expressed, or a value is not one Kotak takes.
    """
    instrument = request.instrument
    ids = _identifiers(instrument)
    if instrument.kind is InstrumentKind.INDEX:
        raise OrderDenied(f"{instrument.symbol} is an index and cannot be traded; use one of its futures or options.")
    if request.product in CASH_PRODUCTS and instrument.exchange.is_derivative:
        raise OrderDenied(
            f"Product {request.product} is for shares; trade {instrument.symbol} of {instrument.exchange} as NRML or MIS."
        )
    if not _TAG.fullmatch(request.client_tag):
        raise OrderDenied(f"Tag {request.client_tag!r} is not 1 to 20 letters, digits or hyphens; give another.")
    return {
        "exchange_segment": ids["exchange_segment"],
        "trading_symbol": ids["trading_symbol"],
        "transaction_type": SIDE_WORDS[request.side],
        "product": request.product.value,
        "tag": request.client_tag,
        "amo": "NO",
        **_terms(
            instrument,
            quantity=request.quantity,
            order_type=request.order_type,
            limit_price=request.limit_price,
            trigger_price=request.trigger_price,
            time_in_force=request.time_in_force,
        ),
    }


def margin_arguments(request: OrderRequest) -> dict[str, str]:
    """Arguments of ``margin_required``.

    :raises OrderDenied: as for :func:`place_arguments`.
    """
    order = place_arguments(request)
    same = ("exchange_segment", "transaction_type", "product", "order_type", "quantity", "price", "trigger_price")
    return {"instrument_token": _identifiers(request.instrument)["token"], **{name: order[name] for name in same}}


def modify_arguments(change: OrderChange) -> dict[str, str]:
    """Arguments of ``modify_order``.

    :raises OrderDenied: as for :func:`place_arguments`.
    """
    return {
        "order_id": order_id(change.broker_order_id),
        "amo": "NO",
        **_terms(
            change.instrument,
            quantity=change.quantity,
            order_type=change.order_type,
            limit_price=change.limit_price,
            trigger_price=change.trigger_price,
            time_in_force=change.time_in_force,
        ),
    }


def cancel_arguments(request: CancelRequest) -> dict[str, str]:
    """Arguments of ``cancel_order``.

    :raises OrderDenied: the order id is not one of Kotak's.
    """
    return {"order_id": order_id(request.broker_order_id), "amo": "NO"}


def quote_token(instrument: Instrument) -> dict[str, str]:
    """One entry of ``instrument_tokens``: segment and token, or an index's name.

    :raises OrderDenied: Kotak's master does not have the instrument.
    :raises UnsupportedFeature: an index whose name at Kotak is not known.
    """
    ids = _identifiers(instrument)
    token = ids["token"]
    if instrument.kind is InstrumentKind.INDEX:
        if ids["trading_symbol"] not in INDEX_NAMES:
            raise UnsupportedFeature(
                f"Kotak quotes indices by a name, and that of {instrument.symbol} is not known; "
                f"ask for one of {', '.join(INDEX_NAMES)} or for a future."
            )
        token = INDEX_NAMES[ids["trading_symbol"]]
    return {"exchange_segment": ids["exchange_segment"], "instrument_token": token}


def chain_arguments(underlying: Instrument, expiry: date, strikes: int) -> dict[str, Any]:
    """Arguments of ``option_chain``: enough tens of strikes for so many on each side of the money.

    :raises OrderDenied: it is no index or share, or Kotak's master does not have it.
    """
    segment = _identifiers(underlying)["exchange_segment"]
    if underlying.kind not in (InstrumentKind.INDEX, InstrumentKind.EQUITY):
        raise OrderDenied(
            f"{underlying.symbol} has no options; ask for those of {underlying.underlying}, which is an index or share."
        )
    # One at the money, and one more on each side, since Kotak does not say which side has the odd one.
    tens = -(-(2 * strikes + 3) // CHAIN_STEP)
    return {
        "exchange": CHAIN_SEGMENTS[segment],
        "underlying": underlying.underlying,
        "expiry": expiry.isoformat(),
        "instrument_type": "option",
        "count": tens * CHAIN_STEP,
    }


def neosymbols(instrument: Instrument) -> list[str]:
    """What candles may be asked for by, the likeliest first: the token and, for an index, its name, too.

    :raises OrderDenied: Kotak's master does not have the instrument.
    """
    ids = _identifiers(instrument)
    names = [ids["token"]]
    if instrument.kind is InstrumentKind.INDEX and ids["trading_symbol"] in INDEX_NAMES:
        names.append(INDEX_NAMES[ids["trading_symbol"]])
    return [f"{ids['exchange_segment']}|{name}" for name in names]


def candle_arguments(interval: CandleInterval, starts_at: datetime, ends_at: datetime) -> list[dict[str, str]]:
    """Arguments of ``historical_data`` without the symbol, one for each call, oldest first.

    :raises UnsupportedFeature: Kotak has no candles of this interval.
    """
    if interval not in INTERVALS:
        raise UnsupportedFeature(
            f"Kotak has no candles of {interval.value}; ask for one of {', '.join(each.value for each in INTERVALS)}."
        )
    first, last, span = trading_day(starts_at), trading_day(ends_at - timedelta(microseconds=1)), CANDLE_DAYS[interval]
    starts = [first + timedelta(days=offset) for offset in range(0, (last - first).days + 1, span)]
    return [
        {
            "interval": INTERVALS[interval],
            "from_date": start.isoformat(),
            "to_date": min(last, start + timedelta(days=span - 1)).isoformat(),
        }
        for start in starts
    ]


def order_id(text: str) -> str:
    """The order id as it may go into a request or a path.

    :raises OrderDenied: it is not one of Kotak's.
    """
    if not _ORDER_ID.fullmatch(text):
        raise OrderDenied(f"Order id {text!r} is not one of Kotak's; take it from the order book.")
    return text


def _terms(
    instrument: Instrument,
    *,
    quantity: int,
    order_type: OrderType,
    limit_price: Decimal,
    trigger_price: Decimal | None,
    time_in_force: TimeInForce,
) -> dict[str, str]:
    if order_type not in ORDER_TYPE_WORDS:
        raise UnsupportedFeature(f"Order type {order_type} is never sent to Kotak; send LIMIT or STOP_LIMIT.")
    if (order_type is OrderType.STOP_LIMIT) is not (trigger_price is not None):
        raise OrderDenied(f"Trigger price {trigger_price} does not go with {order_type}; STOP_LIMIT alone has one.")
    instrument.check_quantity(quantity)
    instrument.check_price(limit_price)
    if trigger_price is not None:
        instrument.check_price(trigger_price)
    return {
        "order_type": ORDER_TYPE_WORDS[order_type],
        "quantity": str(quantity),
        "price": _rupees(limit_price),
        "trigger_price": _rupees(trigger_price) if trigger_price is not None else "0",
        "disclosed_quantity": "0",
        "validity": TIME_IN_FORCE_WORDS[time_in_force],
    }


def _identifiers(instrument: Instrument) -> dict[str, str]:
    ids = dict(instrument.identifiers.get(SPEC.name, {}))
    missing = [name for name in ("exchange_segment", "trading_symbol", "token") if not ids.get(name)]
    if missing or ids["exchange_segment"] not in SEGMENTS:
        raise OrderDenied(
            f"Kotak's instrument master of {instrument.master_day} does not have {instrument.symbol} of "
            f"{instrument.exchange}; refresh the instruments and try again."
        )
    return ids


def _rupees(price: Decimal) -> str:
    return format(price, "f")
