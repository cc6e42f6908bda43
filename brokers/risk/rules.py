"""The rules of instruments, exchanges and brokers that an order must keep before it is recorded."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import InstrumentKind, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import MarketClosed, OrderDenied, UnsupportedFeature
from brokers.domain.inputs import parse_or_deny
from brokers.domain.instruments import Instrument
from brokers.interfaces import AdapterSpec
from brokers.models import BrokerAccount


def product_of(account: BrokerAccount, instrument: Instrument, product: str | None) -> Product:
    """The product the caller named, or the account's default for the segment."""
    if product:
        return parse_or_deny(Product, product)
    if instrument.exchange.is_derivative:
        return parse_or_deny(Product, account.default_derivative_product)
    return parse_or_deny(Product, account.default_cash_product)


def check_order(spec: AdapterSpec, instrument: Instrument, content: dict[str, Any], today: date) -> None:
    """Refuse what the exchange or the broker cannot take.

    ``today`` is the market's IST date: lots, ticks and freeze quantities of another day are not used.

    :raises OrderDenied: a sentence with the value that is wrong.
    :raises MarketClosed: the instruments are of an earlier day, since today is none on which the exchange trades.
    """
    order_type = OrderType(content["order_type"])
    capabilities = spec.capabilities
    if instrument.master_day != today:
        raise _of_another_day(instrument, today)
    if instrument.kind is InstrumentKind.INDEX:
        raise OrderDenied(f"{instrument.symbol} is an index and cannot be traded; name one of its futures or options.")
    if instrument.exchange not in capabilities.exchanges:
        raise UnsupportedFeature(f"{spec.verbose_name} does not trade on {instrument.exchange}.")
    if spec.name not in instrument.identifiers:
        raise OrderDenied(f"{instrument.symbol} is not in {spec.verbose_name}'s instrument master of today.")
    if order_type is not OrderType.MARKET and order_type not in capabilities.order_types:
        raise UnsupportedFeature(f"{spec.verbose_name} takes no {order_type} orders.")
    if (product := Product(content["product"])) not in capabilities.products:
        raise UnsupportedFeature(f"{spec.verbose_name} does not offer product {product} through its API.")
    if (validity := TimeInForce(content["time_in_force"])) not in capabilities.times_in_force:
        raise UnsupportedFeature(f"{spec.verbose_name} does not offer time in force {validity}.")
    instrument.check_quantity(content["quantity"])
    _check_prices(instrument, order_type, content)


def check_lifetime(not_after: datetime, now: datetime) -> None:
    """An intent belongs to one trading day, and so does the book in which it is followed."""
    if not isinstance(not_after, datetime):
        raise OrderDenied(f"not_after {not_after!r} is not a time; give an aware datetime.")
    if not_after.tzinfo is None:
        raise OrderDenied(f"not_after {not_after.isoformat()} has no time zone; give an aware time.")
    if trading_day(not_after) > trading_day(now):
        raise OrderDenied(
            f"not_after {not_after.isoformat()} is on a later day than today, {trading_day(now):%d %b %Y} in India; "
            "record the order on the day on which it is to be sent."
        )


def _of_another_day(instrument: Instrument, today: date) -> OrderDenied:
    """Nobody publishes or loads masters on a day without trading; then loading them again would not help."""
    calendar = MarketCalendar(configured_clock())
    if not calendar.is_trading_day(instrument.exchange, today):
        return MarketClosed(calendar.why_closed(instrument.exchange))
    return OrderDenied(
        f"The instruments are of {instrument.master_day:%d %b %Y} and today is {today:%d %b %Y}; "
        "refresh the instruments and try again."
    )


def _check_prices(instrument: Instrument, order_type: OrderType, content: dict[str, Any]) -> None:
    limit, trigger = content["limit_price"], content["trigger_price"]
    if order_type is OrderType.MARKET:
        if limit is not None:
            raise OrderDenied(f"A market order takes no price, but {limit} was given; make it a LIMIT order.")
    elif limit is None:
        raise OrderDenied(f"A {order_type} order of {instrument.symbol} needs a price in rupees a unit.")
    else:
        instrument.check_price(limit)
    if order_type is not OrderType.STOP_LIMIT:
        if trigger is not None:
            raise OrderDenied(f"Only a STOP_LIMIT order takes a trigger price, but {trigger} was given.")
        return
    if trigger is None:
        raise OrderDenied(f"A STOP_LIMIT order of {instrument.symbol} needs a trigger price in rupees a unit.")
    instrument.check_price(trigger)
    if (trigger > limit) if content["side"] == Side.BUY else (trigger < limit):
        raise OrderDenied(
            f"Trigger {trigger} and price {limit} do not go together: a stop that buys triggers at or below its price, "
            "one that sells at or above."
        )
