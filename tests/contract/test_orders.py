"""Placing, changing and cancelling, held against the exchange's truth log."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from brokers.domain.capabilities import Operation
from brokers.domain.enums import OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import NotSent, OrderDenied, OrderRejected
from brokers.domain.orders import CancelRequest, Order
from tests.contract.world import EVENT_OF, Trader, one_call

each_mutation = pytest.mark.parametrize("verb", EVENT_OF)


def only_order(trader: Trader) -> Order:
    [order] = trader.adapter.fetch_orders()
    return order


@pytest.mark.proves(Operation.PLACE)
def test_an_order_reaches_the_exchange_once_and_as_it_was_meant(trader: Trader) -> None:
    request = trader.order()
    with one_call(trader.adapter) as trace:
        ack = trader.adapter.place(request)
    assert len(trace.records) == 1
    [accepted] = [line for line in trader.truth() if line["event"] == "accepted"]
    assert accepted["order_id"] == ack.broker_order_id
    assert (accepted["exchange"], accepted["symbol"]) == ("NFO", request.instrument.symbol)
    assert (accepted["side"], accepted["quantity"]) == ("BUY", request.quantity)
    assert (accepted["order_type"], accepted["product"]) == ("LIMIT", "NRML")
    assert Decimal(accepted["price"]) == request.limit_price


def test_an_acknowledgement_carries_its_evidence(trader: Trader) -> None:
    ack = trader.adapter.place(trader.order())
    assert ack.evidence is not None
    assert (ack.evidence.http_status, ack.evidence.left_this_machine) == (200, True)
    assert len(ack.evidence.body_sha256) == 64
    assert ack.evidence.exceptions == ()
    assert "?" not in ack.evidence.target


def test_a_stop_order_waits_for_its_trigger(trader: Trader) -> None:
    instrument = trader.option
    assert instrument.tick_size is not None
    assert instrument.upper_band is not None
    limit = instrument.round_to_tick(instrument.upper_band, up=False)
    request = trader.order(
        order_type=OrderType.STOP_LIMIT, limit_price=limit, trigger_price=limit - 2 * instrument.tick_size
    )
    trader.adapter.place(request)
    accepted = trader.truth()[0]
    assert (accepted["order_type"], Decimal(accepted["price"])) == ("STOP_LIMIT", limit)
    assert Decimal(accepted["trigger_price"]) == request.trigger_price
    order = only_order(trader)
    # A broker without a word of its own for it lists such an order as open.
    assert order.status in (OrderStatus.TRIGGER_PENDING, OrderStatus.OPEN)
    assert (order.order_type, order.pending_quantity) == (OrderType.STOP_LIMIT, request.quantity)
    assert (order.limit_price, order.trigger_price) == (limit, request.trigger_price)


def test_a_share_is_bought_for_delivery(trader: Trader) -> None:
    request = trader.order(
        instrument=trader.share, quantity=7, limit_price=trader.lowest(trader.share), product=Product.CNC
    )
    trader.adapter.place(request)
    accepted = trader.truth()[0]
    assert (accepted["exchange"], accepted["symbol"], accepted["product"]) == ("NSE", "RELIANCE", "CNC")
    assert accepted["quantity"] == 7


def test_a_future_is_sold(trader: Trader) -> None:
    instrument = trader.future
    assert instrument.upper_band is not None
    request = trader.order(
        instrument=instrument,
        side=Side.SELL,
        quantity=instrument.lot_size,
        limit_price=instrument.round_to_tick(instrument.upper_band, up=False),
    )
    trader.adapter.place(request)
    accepted = trader.truth()[0]
    assert (accepted["symbol"], accepted["side"]) == (instrument.symbol, "SELL")


def test_an_immediate_order_does_not_rest(trader: Trader) -> None:
    trader.adapter.place(trader.order(time_in_force=TimeInForce.IOC))
    assert trader.truth()[0]["time_in_force"] == "IOC"
    assert only_order(trader).status in (OrderStatus.CANCELLED, OrderStatus.EXPIRED)


@pytest.mark.proves(Operation.MODIFY)
def test_a_change_takes_effect_once(trader: Trader) -> None:
    request = trader.order()
    order_id = trader.adapter.place(request).broker_order_id
    change = trader.change(order_id, request, quantity=2 * request.quantity)
    ack = trader.adapter.modify(change)
    assert ack.broker_order_id == order_id
    assert trader.happened()["modified"] == 1
    order = only_order(trader)
    assert (order.quantity, order.limit_price) == (change.quantity, change.limit_price)


@pytest.mark.proves(Operation.CANCEL)
def test_a_cancel_takes_effect_once(trader: Trader) -> None:
    request = trader.order()
    order_id = trader.adapter.place(request).broker_order_id
    ack = trader.adapter.cancel(CancelRequest(broker_order_id=order_id, instrument=request.instrument))
    assert ack.broker_order_id == order_id
    assert trader.happened()["cancelled"] == 1
    order = only_order(trader)
    assert (order.status, order.pending_quantity) == (OrderStatus.CANCELLED, 0)


@pytest.mark.parametrize("end", ["filled", "cancelled"])
@pytest.mark.parametrize("verb", ["modify", "cancel"])
def test_an_order_that_ended_cannot_be_changed_or_cancelled(verb: str, end: str, trader: Trader) -> None:
    request = trader.order()
    order_id = trader.adapter.place(request).broker_order_id
    cancel = CancelRequest(broker_order_id=order_id, instrument=request.instrument)
    change = trader.change(order_id, request)
    if end == "filled":
        trader.fill(order_id, request.quantity)
    else:
        trader.adapter.cancel(cancel)
    before = trader.happened()
    again = partial(trader.adapter.cancel, cancel) if verb == "cancel" else partial(trader.adapter.modify, change)
    with pytest.raises(OrderRejected) as caught:
        again()
    assert caught.value.reason
    assert caught.value.evidence is not None
    assert trader.happened() == before


def test_an_order_without_funds_is_refused_at_once_or_in_the_book(trader: Trader) -> None:
    instrument = trader.future
    assert instrument.freeze_quantity is not None
    assert instrument.lot_size is not None
    request = trader.order(
        instrument=instrument,
        quantity=instrument.freeze_quantity // instrument.lot_size * instrument.lot_size,
        limit_price=trader.lowest(instrument),
    )
    at_once = ""
    try:
        trader.adapter.place(request)
    except OrderRejected as error:
        at_once = error.reason
    if at_once:
        assert not trader.happened()
    else:
        assert only_order(trader).status is OrderStatus.REJECTED


@each_mutation
def test_an_address_that_is_not_allowed_is_a_refusal(verb: str, trader: Trader) -> None:
    send = trader.mutation(verb)
    before = trader.happened()
    trader.fault("static_ip", verb)
    with pytest.raises(OrderRejected) as caught:
        send(trader.adapter)
    assert caught.value.reason
    assert trader.happened() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_price": Decimal("nan")},
        {"limit_price": Decimal("inf")},
        {"limit_price": Decimal("-1")},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.STOP_LIMIT},
        {"quantity": 0},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_never_sent(wrong: dict[str, Any], trader: Trader) -> None:
    request = trader.order(**wrong)
    with one_call(trader.adapter) as trace, pytest.raises(OrderDenied):
        trader.adapter.place(request)
    assert not trace.left_this_machine
    assert not trader.happened()


@each_mutation
def test_the_last_gate_keeps_the_first_byte_back(verb: str, trader: Trader) -> None:
    send = trader.mutation(verb)
    before = trader.happened()

    def gate() -> None:
        raise NotSent("The send deadline has passed.")

    with pytest.raises(NotSent, match="deadline"), one_call(trader.adapter, before_first_byte=gate) as trace:
        send(trader.adapter)
    assert not trace.left_this_machine
    assert trader.happened() == before
