"""Puts an intent into the domain's words for the broker, with today's instrument and a price."""

from __future__ import annotations

from brokers.domain.enums import OrderType, Product, Side, TimeInForce
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import IntentKind
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest
from brokers.gateway import BrokerGateway
from brokers.models import BrokerOrder, OrderIntent
from brokers.risk import pricing

Operation = OrderRequest | OrderChange | CancelRequest


def operation_of(intent: OrderIntent, gateway: BrokerGateway) -> Operation:
    """What is to be sent. A market order is priced here, from a quote read now.

    :raises OrderDenied: it cannot be priced, or breaks a rule of today's instrument.
    :raises BrokerError: there is no quote.
    """
    instrument = gateway.resolve(intent.symbol, intent.exchange)
    if intent.kind == IntentKind.CANCEL:
        return CancelRequest(broker_order_id=_target(intent).broker_order_id, instrument=instrument)
    order_type, price = OrderType(intent.order_type), intent.limit_price
    if order_type is OrderType.MARKET:
        quote = gateway.quote(instrument, urgent=True)
        price = pricing.protected_limit(instrument, Side(intent.side), quote)
        order_type = OrderType.LIMIT
    if price is None:
        raise OrderDenied(f"{intent} has no price.")
    instrument.check_quantity(intent.quantity)
    instrument.check_price(price)
    if intent.kind == IntentKind.MODIFY:
        return OrderChange(
            broker_order_id=_target(intent).broker_order_id,
            instrument=instrument,
            quantity=intent.quantity,
            order_type=order_type,
            limit_price=price,
            trigger_price=intent.trigger_price,
            time_in_force=TimeInForce(intent.time_in_force),
        )
    return OrderRequest(
        client_order_id=intent.client_order_id,
        client_tag=intent.client_tag,
        instrument=instrument,
        side=Side(intent.side),
        quantity=intent.quantity,
        order_type=order_type,
        limit_price=price,
        trigger_price=intent.trigger_price,
        time_in_force=TimeInForce(intent.time_in_force),
        product=Product(intent.product),
    )


def _target(intent: OrderIntent) -> BrokerOrder:
    if intent.target is None:
        raise OrderDenied(f"{intent} names no order.")
    return intent.target
