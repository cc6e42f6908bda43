"""Puts an intent into the domain's words for the broker, with today's instrument and a price."""

from __future__ import annotations

from brokers.domain.enums import OrderType, Product, Side, TimeInForce
from brokers.domain.errors import OrderDenied
from brokers.domain.gtt import GttCancel, GttChange, GttEntry, GttKind, GttRequest, GttTrigger
from brokers.domain.instruments import Instrument
from brokers.domain.order_states import GTT_KINDS, IntentKind
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest
from brokers.gateway import BrokerGateway
from brokers.limits import Urgency
from brokers.models import BrokerOrder, GttOrder, OrderIntent
from brokers.risk import pricing

GttOperation = GttRequest | GttChange | GttCancel
Operation = OrderRequest | OrderChange | CancelRequest | GttOperation


def operation_of(intent: OrderIntent, gateway: BrokerGateway) -> Operation:
    """What is to be sent. A market order is priced here, from a quote read now.

    :raises OrderDenied: it cannot be priced, or breaks a rule of today's instrument.
    :raises BrokerError: there is no quote.
    """
    instrument = gateway.resolve(intent.symbol, intent.exchange)
    if intent.kind in GTT_KINDS:
        return _gtt_operation(intent, instrument)
    if intent.kind == IntentKind.CANCEL:
        return CancelRequest(broker_order_id=_target(intent).broker_order_id, instrument=instrument)
    order_type, price = OrderType(intent.order_type), intent.limit_price
    if order_type is OrderType.MARKET:
        quote = gateway.quote(instrument, urgency=Urgency.ORDER)
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


def _gtt_operation(intent: OrderIntent, instrument: Instrument) -> GttOperation:
    triggers = tuple(GttTrigger.of(each) for each in intent.triggers or ())
    for price in (each for trigger in triggers for each in (trigger.trigger_price, trigger.limit_price)):
        instrument.on_any_day.check_price(price)
    if intent.kind != IntentKind.GTT:
        gtt = _gtt(intent)
        gtt_order_id, kind = gtt.gtt_order_id, GttKind(gtt.kind)
        if intent.kind == IntentKind.GTT_CANCEL:
            return GttCancel(gtt_order_id=gtt_order_id, kind=kind, instrument=instrument)
        return GttChange(gtt_order_id=gtt_order_id, kind=kind, instrument=instrument, triggers=triggers)
    instrument.check_quantity(intent.quantity)
    entry = None
    if len(triggers) > 1:
        if intent.limit_price is None:
            raise OrderDenied(f"{intent} has no price to enter at.")
        instrument.check_price(intent.limit_price)
        entry = GttEntry(side=Side(intent.side), limit_price=intent.limit_price)
    return GttRequest(
        instrument=instrument,
        product=Product(intent.product),
        quantity=intent.quantity,
        triggers=triggers,
        entry=entry,
    )


def _gtt(intent: OrderIntent) -> GttOrder:
    if intent.gtt is None:
        raise OrderDenied(f"{intent} names no GTT.")
    return intent.gtt


def _target(intent: OrderIntent) -> BrokerOrder:
    if intent.target is None:
        raise OrderDenied(f"{intent} names no order.")
    return intent.target
