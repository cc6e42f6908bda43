"""Orders that a broker keeps until a price is reached, held against the exchange's truth log."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from brokers.clock import trading_day
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight, OrderStatus, OrderType, Product, Side
from brokers.domain.errors import (
    BrokerUnavailable,
    NotSent,
    OrderDenied,
    OrderEnded,
    OrderRejected,
    SessionExpired,
    UnsupportedFeature,
)
from brokers.domain.gtt import GttCancel, GttChange, GttEntry, GttKind, GttRequest, GttRole, GttStatus, GttTrigger
from tests.contract.gtt_desk import EVENT_OF, TODAY, Desk
from tests.contract.test_ambiguity import LOST
from tests.contract.world import Catalogue, Trader, one_call

each_mutation = pytest.mark.parametrize("verb", EVENT_OF)
each_kind = pytest.mark.parametrize("kind", GttKind)


@pytest.mark.proves(Operation.GTT_SINGLE)
def test_a_broker_that_keeps_none_is_not_asked(trader: Trader) -> None:
    if Operation.GTT_SINGLE in trader.spec.capabilities.operations:
        pytest.skip("Operation.GTT_SINGLE is in Capabilities.operations")
    trigger = GttTrigger(role=GttRole.ORDER, side=Side.BUY, trigger_price=Decimal(10), limit_price=Decimal(9))
    request = GttRequest(instrument=trader.put, product=Product.NRML, quantity=65, triggers=(trigger,))
    change = GttChange(gtt_order_id="1", kind=GttKind.SINGLE, instrument=trader.put, triggers=(trigger,))
    cancel = GttCancel(gtt_order_id="1", kind=GttKind.SINGLE, instrument=trader.put)
    adapter = trader.adapter
    asked: list[Callable[[], object]] = [
        lambda: adapter.submit_gtt(request),
        lambda: adapter.alter_gtt(change),
        lambda: adapter.withdraw_gtt(cancel),
        lambda: adapter.fetch_gtts(TODAY, TODAY),
    ]
    for ask in asked:
        with one_call(adapter) as trace, pytest.raises(UnsupportedFeature, match="offers no gtt single"):
            ask()
        assert not trace.records


# One order at its trigger


@pytest.mark.proves(Operation.GTT_SINGLE)
def test_a_gtt_reaches_the_broker_once_and_as_it_was_meant(desk: Desk) -> None:
    request = desk.single()
    with one_call(desk.adapter) as trace:
        ack = desk.adapter.submit_gtt(request)
    assert len(trace.records) == 1
    [accepted] = desk.trader.truth()
    assert (accepted["event"], accepted["gtt_order_id"], accepted["kind"]) == (
        "gtt_accepted",
        ack.gtt_order_id,
        "SINGLE",
    )
    assert (accepted["exchange"], accepted["symbol"], accepted["product"]) == ("NFO", desk.option.symbol, "NRML")
    assert accepted["quantity"] == request.quantity
    [leg] = accepted["legs"]
    assert (leg["role"], leg["side"], leg["state"]) == ("ORDER", "BUY", "ACTIVE")
    assert (Decimal(leg["trigger_price"]), Decimal(leg["limit_price"])) == (desk.at(-10), desk.at(-12))


def test_an_acknowledgement_carries_its_evidence(desk: Desk) -> None:
    ack = desk.adapter.submit_gtt(desk.single())
    assert ack.message
    assert ack.evidence is not None
    assert (ack.evidence.http_status, ack.evidence.left_this_machine) == (200, True)


def test_the_book_shows_a_gtt_as_it_was_placed(desk: Desk) -> None:
    ack = desk.adapter.submit_gtt(desk.single())
    gtt = desk.only()
    assert (gtt.gtt_order_id, gtt.kind, gtt.status) == (ack.gtt_order_id, GttKind.SINGLE, GttStatus.ACTIVE)
    assert (gtt.symbol, gtt.exchange, gtt.product) == (desk.option.symbol, "NFO", Product.NRML)
    assert (gtt.quantity, gtt.entry_order_id) == (desk.option.lot_size, "")
    [leg] = gtt.legs
    assert (leg.role, leg.side) == (GttRole.ORDER, Side.BUY)
    assert (leg.trigger_price, leg.limit_price) == (desk.at(-10), desk.at(-12))
    assert gtt.placed_at is not None
    assert trading_day(gtt.placed_at) == TODAY


@pytest.mark.parametrize(
    ("exchange", "underlying", "kind"),
    [
        (Exchange.NFO, "NIFTY", InstrumentKind.FUTURE),
        (Exchange.NFO, "RELIANCE", InstrumentKind.FUTURE),
        (Exchange.BFO, "SENSEX", InstrumentKind.FUTURE),
        (Exchange.BFO, "SENSEX", InstrumentKind.OPTION),
    ],
)
def test_every_derivative_may_be_kept(
    exchange: Exchange, underlying: str, kind: InstrumentKind, desk: Desk, catalogue: Catalogue
) -> None:
    right = OptionRight.CALL if kind is InstrumentKind.OPTION else None
    instrument = catalogue.nearest(kind, right, underlying=underlying, exchange=exchange)
    low = desk.trader.lowest(instrument)
    order = GttTrigger(role=GttRole.ORDER, side=Side.BUY, trigger_price=low, limit_price=low)
    request = desk.single(instrument=instrument, quantity=instrument.lot_size, triggers=(order,))
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    desk.adapter.alter_gtt(desk.change(gtt_id, request))
    gtt = desk.only()
    assert (gtt.gtt_order_id, gtt.symbol, gtt.exchange) == (gtt_id, instrument.symbol, exchange)
    desk.adapter.withdraw_gtt(desk.cancel(gtt_id, request))
    assert desk.only().status is GttStatus.CANCELLED


def test_an_untriggered_gtt_is_no_order(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.single())
    assert desk.adapter.fetch_orders() == []
    assert desk.adapter.fetch_trades() == []


@pytest.mark.parametrize(
    ("trigger", "limit", "side", "short_of_it"), [(-10, -12, Side.BUY, -9), (10, 12, Side.SELL, 9)]
)
def test_what_triggers_becomes_an_ordinary_order(
    trigger: int, limit: int, side: Side, short_of_it: int, desk: Desk
) -> None:
    desk.adapter.submit_gtt(desk.single(triggers=(desk.trigger(GttRole.ORDER, side, trigger, limit),)))
    desk.move(desk.at(short_of_it))
    assert desk.only().status is GttStatus.ACTIVE
    desk.move(desk.at(trigger))
    assert desk.only().status is GttStatus.TRIGGERED
    [order] = desk.adapter.fetch_orders()
    assert (order.symbol, order.side, order.order_type) == (desk.option.symbol, side, OrderType.LIMIT)
    assert (order.quantity, order.limit_price, order.status) == (desk.option.lot_size, desk.at(limit), OrderStatus.OPEN)
    assert desk.trader.happened()["accepted"] == 1


def test_a_trigger_that_goes_by_twice_sends_one_order(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.single())
    for rupees in (-11, 0, -11):
        desk.move(desk.at(rupees))
    assert desk.trader.happened() == {"gtt_accepted": 1, "accepted": 1, "gtt_triggered": 1}


def test_a_change_takes_effect_once(desk: Desk) -> None:
    request = desk.single()
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    with one_call(desk.adapter) as trace:
        ack = desk.adapter.alter_gtt(desk.change(gtt_id, request))
    assert ack.gtt_order_id == gtt_id
    assert len(trace.records) == 1
    assert desk.trader.happened()["gtt_modified"] == 1
    [leg] = desk.only().legs
    assert (leg.trigger_price, leg.limit_price) == (desk.at(-9), desk.at(-11))


def test_a_cancel_takes_effect_once(desk: Desk) -> None:
    request = desk.single()
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    ack = desk.adapter.withdraw_gtt(desk.cancel(gtt_id, request))
    assert ack.gtt_order_id == gtt_id
    assert desk.trader.happened()["gtt_cancelled"] == 1
    assert desk.only().status is GttStatus.CANCELLED
    desk.move(desk.at(-20))
    assert desk.adapter.fetch_orders() == []


@pytest.mark.parametrize("end", ["triggered", "cancelled"])
@pytest.mark.parametrize("verb", ["gtt_modify", "gtt_cancel"])
def test_a_gtt_that_ended_cannot_be_changed_or_cancelled(verb: str, end: str, desk: Desk) -> None:
    request = desk.single()
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    if end == "triggered":
        desk.move(desk.at(-11))
    else:
        desk.adapter.withdraw_gtt(desk.cancel(gtt_id, request))
    before = desk.trader.happened()
    with pytest.raises(OrderEnded) as caught:
        desk.alter(verb, gtt_id, request)(desk.adapter)
    assert caught.value.reason
    assert caught.value.evidence is not None
    assert desk.trader.happened() == before


@pytest.mark.parametrize("verb", ["gtt_modify", "gtt_cancel"])
def test_a_gtt_that_nobody_placed_is_refused(verb: str, desk: Desk) -> None:
    request, nobodys = desk.single(), "2026112399999999"
    with pytest.raises(OrderRejected):
        desk.alter(verb, nobodys, request)(desk.adapter)
    assert not desk.trader.happened()


def test_a_triggered_order_without_funds_is_told_in_the_book(desk: Desk) -> None:
    option = desk.option
    lots = (option.freeze_quantity or 0) // (option.lot_size or 1)
    request = desk.single(
        quantity=lots * (option.lot_size or 0), triggers=(desk.trigger(GttRole.ORDER, Side.SELL, 10, 12),)
    )
    desk.adapter.submit_gtt(request)
    desk.move(desk.at(11))
    assert desk.only().status is GttStatus.REJECTED
    assert desk.adapter.fetch_orders() == []


# An entry, and the first of its target and its stop


@pytest.mark.proves(Operation.GTT_THREE_LEG)
def test_the_entry_of_a_three_leg_gtt_goes_out_at_once(desk: Desk) -> None:
    ack = desk.adapter.submit_gtt(desk.three_leg())
    [order] = desk.adapter.fetch_orders()
    assert (order.side, order.limit_price, order.status) == (Side.BUY, desk.at(-5), OrderStatus.OPEN)
    gtt = desk.only()
    assert (gtt.gtt_order_id, gtt.kind, gtt.status) == (ack.gtt_order_id, GttKind.THREE_LEG, GttStatus.ACTIVE)
    assert gtt.entry_order_id == order.broker_order_id
    assert {leg.role: (leg.side, leg.trigger_price, leg.limit_price) for leg in gtt.legs} == {
        GttRole.TARGET: (Side.SELL, desk.at(10), desk.at(8)),
        GttRole.STOP: (Side.SELL, desk.at(-10), desk.at(-12)),
    }


def test_nothing_is_sold_before_the_entry_is_filled(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.three_leg())
    desk.move(desk.at(11))
    assert len(desk.adapter.fetch_orders()) == 1
    assert desk.only().status is GttStatus.ACTIVE


@pytest.mark.parametrize(("fires", "at"), [(GttRole.TARGET, 10), (GttRole.STOP, -10)])
def test_the_first_leg_to_trigger_ends_the_other(fires: GttRole, at: int, desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.three_leg())
    desk.move(desk.at(-6))
    desk.move(desk.at(at))
    gtt = desk.only()
    assert {leg.role: leg.status for leg in gtt.legs} == {
        GttRole.TARGET: GttStatus.CANCELLED,
        GttRole.STOP: GttStatus.CANCELLED,
        fires: GttStatus.TRIGGERED,
    }
    assert gtt.status is GttStatus.TRIGGERED
    desk.move(desk.at(-at))
    bought, sold = desk.adapter.fetch_orders()
    assert (bought.side, bought.status, sold.side) == (Side.BUY, OrderStatus.FILLED, Side.SELL)
    assert sold.quantity == bought.quantity


def test_both_legs_are_changed_together(desk: Desk) -> None:
    request = desk.three_leg()
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    desk.adapter.alter_gtt(desk.change(gtt_id, request))
    assert desk.trader.happened()["gtt_modified"] == 1
    assert {leg.trigger_price for leg in desk.only().legs} == {desk.at(11), desk.at(-9)}


def test_a_cancel_ends_both_legs_and_leaves_the_entry(desk: Desk) -> None:
    request = desk.three_leg()
    gtt_id = desk.adapter.submit_gtt(request).gtt_order_id
    desk.adapter.withdraw_gtt(desk.cancel(gtt_id, request))
    assert {leg.status for leg in desk.only().legs} == {GttStatus.CANCELLED}
    [entry] = desk.adapter.fetch_orders()
    assert entry.status is OrderStatus.OPEN


def test_legs_without_an_entry_are_over(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.three_leg())
    desk.trader.control("DELETE", "orders", order_id=desk.only().entry_order_id)
    assert desk.only().status is GttStatus.CANCELLED


# The book


def test_an_empty_book_is_empty_when_the_broker_says_so(desk: Desk) -> None:
    assert desk.book() == []


def test_the_book_is_of_the_days_that_were_asked_for(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.single())
    yesterday = TODAY - timedelta(days=1)
    assert desk.book(yesterday, yesterday) == []
    assert len(desk.book(yesterday, TODAY)) == 1


@pytest.mark.parametrize("kind", [*LOST, "partial", "reset"])
def test_a_book_that_cannot_be_read_is_never_empty(kind: str, desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.single())
    desk.trader.fault(kind, "gtts", skip=1)
    with pytest.raises(BrokerUnavailable):
        desk.book()


def test_a_book_that_is_an_empty_list_is_not_believed(desk: Desk) -> None:
    desk.trader.fault("custom", "gtts", body='{"Success":[],"Status":200,"Error":null}')
    with pytest.raises(BrokerUnavailable):
        desk.book()


def test_a_dead_session_reads_no_book(desk: Desk) -> None:
    desk.adapter.submit_gtt(desk.single())
    desk.trader.fault("session_dead", "gtts")
    with pytest.raises(SessionExpired):
        desk.book()


# What is refused


@each_mutation
@each_kind
def test_a_refusal_is_told_in_the_brokers_words(kind: GttKind, verb: str, desk: Desk) -> None:
    send = desk.mutation(verb, kind)
    before = desk.trader.happened()
    desk.trader.fault("refuse", verb, body="Invalid product type for this GTT")
    with pytest.raises(OrderRejected, match="Invalid product type for this GTT") as caught:
        send(desk.adapter)
    assert caught.value.evidence is not None
    assert desk.trader.happened() == before


@each_mutation
def test_an_address_that_is_not_allowed_is_a_refusal(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    before = desk.trader.happened()
    desk.trader.fault("static_ip", verb)
    with pytest.raises(OrderRejected) as caught:
        send(desk.adapter)
    assert caught.value.reason
    assert desk.trader.happened() == before


def test_an_entry_without_funds_refuses_the_whole(desk: Desk) -> None:
    option = desk.option
    lots = (option.freeze_quantity or 0) // (option.lot_size or 1)
    request = desk.three_leg(
        quantity=lots * (option.lot_size or 0),
        entry=GttEntry(side=Side.SELL, limit_price=desk.at(5)),
        triggers=(desk.trigger(GttRole.TARGET, Side.BUY, -10, -8), desk.trigger(GttRole.STOP, Side.BUY, 10, 12)),
    )
    with pytest.raises(OrderRejected):
        desk.adapter.submit_gtt(request)
    assert not desk.trader.happened()
    assert desk.book() == []


@each_kind
@pytest.mark.parametrize("wrong", ["quantity", "no legs", "off the tick", "not a number", "share", "product"])
def test_what_cannot_be_meant_is_never_sent(wrong: str, kind: GttKind, desk: Desk) -> None:
    request = desk.request(kind)
    first, *others = request.triggers
    off, nan = Decimal("0.01"), Decimal("nan")
    wrongs: dict[str, GttRequest] = {
        "quantity": replace(request, quantity=request.quantity + 1),
        "no legs": replace(request, triggers=()),
        "off the tick": replace(request, triggers=(replace(first, trigger_price=first.trigger_price + off), *others)),
        "not a number": replace(request, triggers=(replace(first, limit_price=nan), *others)),
        "share": replace(request, instrument=desk.trader.share),
        "product": replace(request, product=Product.MIS),
    }
    with one_call(desk.adapter) as trace, pytest.raises((OrderDenied, UnsupportedFeature)):
        desk.adapter.submit_gtt(wrongs[wrong])
    assert not trace.left_this_machine
    assert not desk.trader.happened()


@each_mutation
@each_kind
def test_the_last_gate_keeps_the_first_byte_back(kind: GttKind, verb: str, desk: Desk) -> None:
    send = desk.mutation(verb, kind)
    before = desk.trader.happened()

    def gate() -> None:
        raise NotSent("The send deadline has passed.")

    with pytest.raises(NotSent, match="deadline"), one_call(desk.adapter, before_first_byte=gate) as trace:
        send(desk.adapter)
    assert not trace.left_this_machine
    assert desk.trader.happened() == before
