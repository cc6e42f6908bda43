"""Domain orders, instruments and questions turned into the SDK's arguments, all of them strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from brokers.adapters.breeze import tables
from brokers.clock import IST, trading_day
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind, OptionRight, OrderType
from brokers.domain.errors import InvalidSymbol, OrderDenied, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest

#: How much of the market's time one call for candles covers: a day has 385 minutes of trading at most.
_PAGE = {
    CandleInterval.SECOND: timedelta(minutes=15),
    CandleInterval.MINUTE: timedelta(days=2),
    CandleInterval.FIVE_MINUTES: timedelta(days=10),
    CandleInterval.THIRTY_MINUTES: timedelta(days=60),
    CandleInterval.DAY: timedelta(days=900),
}
#: What the margin calculator takes besides, for orders with a second leg at the broker, of which there are none.
_NO_COVER = {
    "cover_order_flow": "N",
    "fresh_order_type": "N",
    "cover_limit_rate": "0",
    "cover_sltp_price": "0",
    "fresh_limit_rate": "0",
    "open_quantity": "0",
}


def day(moment: date) -> str:
    """A day as the API wants it in lists and contracts; only the date part is read."""
    return f"{moment.isoformat()}T06:00:00.000Z"


def days(first: date, last: date) -> dict[str, str]:
    """Arguments of a list: the IST days from ``first`` to ``last``, both included."""
    return {"from_date": day(first), "to_date": day(last)}


def plain(number: Decimal) -> str:
    """A number without exponent and without idle zeros: ``22250``, ``100.5``."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def identifiers(instrument: Instrument) -> Mapping[str, str]:
    """What Breeze calls the instrument.

    :raises InvalidSymbol: its master of the day does not have it.
    """
    found = instrument.identifiers.get(tables.NAME)
    if not found or not found.get("stock_code"):
        raise InvalidSymbol(
            f"{instrument.symbol} is not in Breeze's instrument master of {instrument.master_day}; "
            "choose another instrument or refresh the instruments."
        )
    return found


def feed_token(instrument: Instrument, *, depth: bool = False) -> str:
    """What the rate feed calls the instrument's quotes, e.g. ``4.1!2885``, or its depth, e.g. ``4.2!2885``.

    An index has a name for a token.

    :raises InvalidSymbol: Breeze's master of the day does not have it.
    """
    return f"{tables.FEED_EXCHANGES[instrument.exchange]}.{2 if depth else 1}!{identifiers(instrument)['token']}"


def contract(instrument: Instrument) -> dict[str, str]:
    """The arguments that name an instrument in an order or a quote.

    :raises InvalidSymbol: Breeze's master of the day does not have it.
    """
    names = identifiers(instrument)
    arguments = {"stock_code": names["stock_code"], "exchange_code": instrument.exchange.value}
    if instrument.expiry is not None:
        arguments |= {
            "expiry_date": day(instrument.expiry),
            "right": tables.RIGHT_TO_WIRE[instrument.right],
            "strike_price": plain(instrument.strike or Decimal(0)),
        }
    return arguments


def quote(instrument: Instrument) -> dict[str, str]:
    """Arguments of ``get_quotes``.

    :raises InvalidSymbol: Breeze's master of the day does not have it.
    """
    segment = {InstrumentKind.FUTURE: "futures", InstrumentKind.OPTION: "options"}.get(instrument.kind, "cash")
    return contract(instrument) | {"product_type": segment}


def option_chain(underlying: Instrument, expiry: date, right: OptionRight) -> dict[str, str]:
    """Arguments of ``get_option_chain_quotes``: every call or every put of one expiry.

    :raises InvalidSymbol: Breeze's master of the day does not have the underlying.
    """
    exchange = tables.OPTIONS_EXCHANGE.get(underlying.exchange, underlying.exchange)
    return {
        "stock_code": identifiers(underlying)["stock_code"],
        "exchange_code": exchange.value,
        "product_type": "options",
        "expiry_date": day(expiry),
        "right": tables.RIGHT_TO_WIRE[right],
    }


def history(instrument: Instrument, interval: CandleInterval, first: datetime, last: datetime) -> dict[str, str]:
    """Arguments of ``get_historical_data_v2``: candles that open from ``first`` to ``last``, both included.

    :raises UnsupportedFeature: Breeze has no candles of this interval.
    :raises InvalidSymbol: Breeze's master of the day does not have the instrument.
    """
    if interval not in tables.INTERVAL_TO_WIRE:
        offered = ", ".join(tables.INTERVAL_TO_WIRE)
        raise UnsupportedFeature(f"Breeze has no candles of {interval}; ask for {offered}.")
    return quote(instrument) | {
        "interval": tables.INTERVAL_TO_WIRE[interval],
        "from_date": _wall_clock(first),
        "to_date": _wall_clock(last),
    }


def history_pages(
    interval: CandleInterval, starts_at: datetime, ends_at: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """First and last moment of each call, so short that no answer comes near the most candles it may hold.

    Whole days are asked for, but of seconds: more is answered than was wanted, and nothing is missed.
    """
    if interval is CandleInterval.SECOND:
        start, length = starts_at.astimezone(IST).replace(microsecond=0), _PAGE[interval]
    else:
        start, length = datetime.combine(trading_day(starts_at), time(), IST), _PAGE.get(interval, timedelta(days=1))
    while start < ends_at:
        yield start, start + length - timedelta(seconds=1)
        start += length


def _wall_clock(moment: datetime) -> str:
    """A time of the history: IST, although it ends with the letter of UTC (Breeze-Python-SDK issue 201, 2025-05)."""
    return f"{moment.astimezone(IST):%Y-%m-%dT%H:%M:%S}.000Z"


def margin_legs(requests: Sequence[OrderRequest]) -> dict[Exchange, list[dict[str, str]]]:
    """The positions of ``margin_calculator``, by exchange: it takes those of one exchange in a call.

    :raises UnsupportedFeature: there is an order in shares, for which Breeze calculates no margin.
    :raises InvalidSymbol: Breeze's master of the day does not have an instrument.
    """
    legs: dict[Exchange, list[dict[str, str]]] = {}
    for request in requests:
        instrument = request.instrument
        if not instrument.exchange.is_derivative or instrument.expiry is None:
            raise UnsupportedFeature(
                f"Breeze calculates margins of derivatives only, and {instrument.symbol} is a share at "
                f"{instrument.exchange}: none of its calls states what an order in shares blocks. Hold price times "
                "quantity and charges against the funds, and ask for the others without it."
            )
        named = quote(instrument)
        legs.setdefault(instrument.exchange, []).append(
            {
                "strike_price": named["strike_price"],
                "quantity": str(request.quantity),
                "right": named["right"],
                "product": named["product_type"],
                "action": tables.SIDE_TO_WIRE[request.side],
                "price": plain(request.limit_price),
                "expiry_date": f"{instrument.expiry:%d-%b-%Y}",
                "stock_code": named["stock_code"],
                **_NO_COVER,
            }
        )
    return legs


def place(request: OrderRequest) -> dict[str, str]:
    """Arguments of ``place_order``.

    :raises OrderDenied: a stop without its trigger, or a quantity or price the exchange would refuse.
    :raises UnsupportedFeature: Breeze has no such product or order type for the instrument.
    """
    product = tables.PRODUCT_TO_WIRE.get((request.product, request.instrument.kind))
    if product is None:
        raise UnsupportedFeature(
            f"Breeze takes no {request.product} order in {request.instrument.symbol}; "
            "use CNC for shares and NRML for derivatives."
        )
    return (
        contract(request.instrument)
        | _terms(request, resting_trigger="")
        | {
            "product": product,
            "action": tables.SIDE_TO_WIRE[request.side],
            "user_remark": request.client_tag,
        }
    )


def modify(change: OrderChange) -> dict[str, str]:
    """Body of the modification; absolute values.

    A stop turned into a limit order needs its trigger sent as "0" (Breeze-Python-SDK issue 138, read 2026-11-22).

    :raises OrderDenied: a stop without its trigger, or a quantity or price the exchange would refuse.
    :raises UnsupportedFeature: a market order.
    """
    names = {"order_id": change.broker_order_id, "exchange_code": change.instrument.exchange.value}
    return names | _terms(change, resting_trigger="0")


def cancel(request: CancelRequest) -> dict[str, str]:
    """Arguments of ``cancel_order``. A BFO order is not found under NFO."""
    return {"exchange_code": request.instrument.exchange.value, "order_id": request.broker_order_id}


def _terms(order: OrderRequest | OrderChange, *, resting_trigger: str) -> dict[str, str]:
    """What an order and a change of one share. The SDK checks none of it, so nothing odd may come this far."""
    if order.order_type not in tables.ORDER_TYPE_TO_WIRE:
        # The SDK would fake a market order by a quote of its own and a float price, so it never gets one.
        raise UnsupportedFeature(f"Breeze is sent no {order.order_type} order; give a limit price.")
    order.instrument.check_quantity(order.quantity)
    order.instrument.check_price(order.limit_price)
    return {
        "order_type": tables.ORDER_TYPE_TO_WIRE[order.order_type],
        "stoploss": _trigger(order, resting=resting_trigger),
        "quantity": str(order.quantity),
        "price": plain(order.limit_price),
        "validity": tables.TIME_IN_FORCE_TO_WIRE[order.time_in_force],
        "disclosed_quantity": "0",
    }


def _trigger(order: OrderRequest | OrderChange, *, resting: str) -> str:
    if order.order_type is not OrderType.STOP_LIMIT:
        return resting
    if order.trigger_price is None:
        raise OrderDenied("A stop-limit order needs a trigger price in rupees; none was given.")
    order.instrument.check_price(order.trigger_price)
    return plain(order.trigger_price)
