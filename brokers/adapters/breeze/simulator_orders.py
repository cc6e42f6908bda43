"""Breeze's order fields as the simulated exchange understands them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from brokers.adapters.breeze.simulator_master import Names
from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight, OrderType, Product, Side, TimeInForce
from brokers.simulator.book import Change, Ticket
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange

ORDER_TYPES = {"limit": OrderType.LIMIT, "stoploss": OrderType.STOP_LIMIT, "market": OrderType.MARKET}
VALIDITIES = {"day": TimeInForce.DAY, "ioc": TimeInForce.IOC}
RIGHTS = {"call": OptionRight.CALL, "put": OptionRight.PUT}
SIDES = {"buy": Side.BUY, "sell": Side.SELL}
#: What may be written since 2026-03-27 (README of the SDK); margin and optionplus are prohibited.
PRODUCTS = {
    "cash": Product.CNC,
    "btst": Product.CNC,
    "mtf": Product.MTF,
    "futures": Product.NRML,
    "options": Product.NRML,
}


class BadField(Exception):
    """A field that the broker does not take. The message is the broker's text."""


def text_of(values: Mapping[str, Any], name: str) -> str:
    """A field as text; empty when it is null or absent."""
    value = values.get(name)
    return "" if value is None else str(value).strip()


def number_of(values: Mapping[str, Any], name: str) -> Decimal | None:
    """:raises BadField: it is neither a number nor blank."""
    text = text_of(values, name)
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadField(f"Invalid {name} {text}") from None
    if not number.is_finite():
        raise BadField(f"Invalid {name} {text}")
    return number


def whole_of(values: Mapping[str, Any], name: str) -> int | None:
    """:raises BadField: it is neither a whole number nor blank."""
    number = number_of(values, name)
    if number is None:
        return None
    if number != int(number):
        raise BadField(f"Invalid {name} {number}")
    return int(number)


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        pass
    try:
        return datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=IST).date()
    except ValueError:
        raise BadField(f"Invalid {name} {text}") from None


def exchange_of(values: Mapping[str, Any]) -> Exchange:
    """:raises BadField: there is no such exchange."""
    code = text_of(values, "exchange_code").upper()
    if code not in Exchange.__members__:
        raise BadField(f"Invalid exchange code {code}".rstrip())
    return Exchange[code]


def day_of(values: Mapping[str, Any], name: str) -> date | None:
    """The date part of an ISO time, which is the IST trading day; None when blank."""
    text = text_of(values, name)
    return _day(text, name) if text else None


def find_contract(values: Mapping[str, Any], exchange: SimulatedExchange, names: Names) -> Contract | None:
    """The contract that stock code, exchange, expiry, right and strike name; None when there is none today."""
    place, underlying = (
        Exchange[text_of(values, "exchange_code").upper()],
        names.underlying(text_of(values, "stock_code")),
    )
    if not place.is_derivative:
        return exchange.universe.by_terms(place, underlying)
    expiry, right = day_of(values, "expiry_date"), RIGHTS.get(text_of(values, "right").lower())
    strike = number_of(values, "strike_price") if right else None
    return exchange.universe.by_terms(place, underlying, expiry, strike, right)


def ticket_of(values: Mapping[str, Any], exchange: SimulatedExchange, names: Names) -> Ticket:
    """The order that a body asks for.

    :raises BadField: a field is missing or says something unknown.
    """
    if text_of(values, "exchange_code").upper() not in Exchange.__members__:
        raise BadField("Invalid exchange code")
    product, side = PRODUCTS.get(text_of(values, "product").lower()), SIDES.get(text_of(values, "action").lower())
    if product is None:
        raise BadField("Invalid product type")
    if side is None:
        raise BadField("Invalid action")
    contract = find_contract(values, exchange, names)
    if contract is None or contract.kind is InstrumentKind.INDEX:
        raise BadField("Invalid stock code or contract")
    trigger = number_of(values, "stoploss") or Decimal(0)
    return Ticket(
        contract=contract,
        side=side,
        quantity=whole_of(values, "quantity") or 0,
        order_type=_order_type(values) or OrderType.MARKET,
        price=number_of(values, "price") or Decimal(0),
        trigger_price=trigger,
        product=product,
        time_in_force=_validity(values) or TimeInForce.DAY,
        disclosed_quantity=whole_of(values, "disclosed_quantity") or 0,
        tag=text_of(values, "user_remark"),
    )


def change_of(values: Mapping[str, Any]) -> Change:
    """The modification that a body asks for; blank fields leave as it is.

    :raises BadField: a field says something unknown.
    """
    return Change(
        quantity=whole_of(values, "quantity"),
        order_type=_order_type(values),
        price=number_of(values, "price"),
        trigger_price=number_of(values, "stoploss"),
        time_in_force=_validity(values),
        disclosed_quantity=whole_of(values, "disclosed_quantity"),
    )


def _order_type(values: Mapping[str, Any]) -> OrderType | None:
    text = text_of(values, "order_type").lower()
    if text and text not in ORDER_TYPES:
        raise BadField("Invalid Market/Limit indicator:")
    return ORDER_TYPES.get(text)


def _validity(values: Mapping[str, Any]) -> TimeInForce | None:
    text = text_of(values, "validity").lower()
    if text and text not in VALIDITIES:
        raise BadField("Invalid validity")
    return VALIDITIES.get(text)
