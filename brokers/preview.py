"""Orders as they would be sent, for questions about them. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brokers import instruments
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import OrderRequest
from brokers.ledger.operations import place_content
from brokers.models import BrokerAccount
from brokers.risk.pricing import protected_limit

_WORDS = ("symbol", "action", "quantity", "order_type", "price", "trigger_price", "exchange", "product")


def request_of(
    account: BrokerAccount, order: Mapping[str, Any], *, quote: Callable[[Instrument], Quote]
) -> OrderRequest:
    """An order written as for ``place_order``, complete; a market order is priced by a fresh quote.

    :raises OrderDenied: a word is missing or unknown, or it breaks a rule of the instrument or the broker.
    """
    unknown, missing = set(order) - {*_WORDS, "time_in_force"}, {"symbol", "action", "quantity"} - set(order)
    if unknown or missing:
        raise OrderDenied(
            f"An order has no {', '.join(sorted(unknown))}; write it as for place_order."
            if unknown
            else f"An order's {', '.join(sorted(missing))} is missing; write it as for place_order."
        )
    content = place_content(
        account,
        symbol=order["symbol"],
        side=order["action"],
        quantity=order["quantity"],
        order_type=order.get("order_type", "MKT"),
        limit_price=order.get("price"),
        trigger_price=order.get("trigger_price"),
        exchange=order.get("exchange"),
        product=order.get("product"),
        time_in_force=order.get("time_in_force", "DAY"),
        reduce_only=False,
    )
    instrument = instruments.lookup().resolve(content["symbol"], Exchange(content["exchange"]))
    side, order_type, price = Side(content["side"]), OrderType(content["order_type"]), content["limit_price"]
    if order_type is OrderType.MARKET:
        order_type, price = OrderType.LIMIT, protected_limit(instrument, side, quote(instrument))
    return OrderRequest(
        client_order_id="preview",
        client_tag="PREVIEW",
        instrument=instrument,
        side=side,
        quantity=content["quantity"],
        order_type=order_type,
        limit_price=price,
        trigger_price=content["trigger_price"],
        time_in_force=TimeInForce(content["time_in_force"]),
        product=Product(content["product"]),
    )
