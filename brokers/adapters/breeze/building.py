"""Domain orders and instruments turned into the SDK's arguments, all of them strings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from brokers.adapters.breeze import tables
from brokers.domain.enums import InstrumentKind, OrderType
from brokers.domain.errors import InvalidSymbol, OrderDenied, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest


def day(moment: date) -> str:
    """A day as the API wants it in lists and contracts; only the date part is read."""
    return f"{moment.isoformat()}T06:00:00.000Z"


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


def place(request: OrderRequest) -> dict[str, str]:
    """Arguments of ``place_order``.

    :raises OrderDenied: a market order, a stop without its trigger, or a quantity or price the exchange would refuse.
    :raises UnsupportedFeature: Breeze has no such product, order type or validity for the instrument.
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

    :raises OrderDenied: a market order, a stop without its trigger, or a quantity or price the exchange would refuse.
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
        raise OrderDenied(f"Breeze is sent no {order.order_type} order; give a limit price.")
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
