"""What is read of an account is what the exchange holds: shares, money by segment, margins of plans, past books."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from brokers.clock import trading_day
from brokers.domain.capabilities import Operation
from brokers.domain.enums import OrderStatus, OrderType, Product, Side
from brokers.domain.instruments import Instrument
from tests.contract.world import MARKET_TIME, Trader

TODAY = trading_day(MARKET_TIME)


def carry(trader: Trader, instrument: Instrument, quantity: int, price: Decimal, product: Product) -> None:
    """Something that the account held when the day began."""
    trader.control(
        "POST",
        "positions",
        exchange=instrument.exchange.value,
        symbol=instrument.symbol,
        quantity=quantity,
        price=str(price),
        product=product.value,
    )


@pytest.mark.proves(Operation.HOLDINGS)
def test_holdings_are_what_was_delivered(trader: Trader) -> None:
    trader.needs(Operation.HOLDINGS)
    carry(trader, trader.share, 10, Decimal(1350), Product.CNC)
    [holding] = trader.adapter.fetch_holdings()
    assert (holding.symbol, holding.exchange, holding.quantity) == ("RELIANCE", "NSE", 10)
    assert (holding.average_price, holding.last_price) == (Decimal(1350), Decimal(1400))
    assert holding.pnl == Decimal(500)


def test_no_holdings_are_none(trader: Trader) -> None:
    trader.needs(Operation.HOLDINGS)
    assert trader.adapter.fetch_holdings() == []


def test_derivatives_are_no_holdings(trader: Trader) -> None:
    trader.needs(Operation.HOLDINGS)
    carry(trader, trader.option, trader.option.lot_size or 0, Decimal(100), Product.NRML)
    assert trader.adapter.fetch_holdings() == []


@pytest.mark.proves(Operation.DEMAT_HOLDINGS)
def test_demat_holdings_are_without_a_cost(trader: Trader) -> None:
    trader.needs(Operation.DEMAT_HOLDINGS)
    carry(trader, trader.share, 10, Decimal(1350), Product.CNC)
    [holding] = trader.adapter.fetch_demat_holdings()
    assert (holding.symbol, holding.quantity) == ("RELIANCE", 10)
    assert holding.isin
    assert (holding.average_price, holding.pnl) == (None, None)


@pytest.mark.proves(Operation.SEGMENT_MARGINS)
def test_what_an_order_blocks_is_blocked_in_a_segment(trader: Trader) -> None:
    trader.needs(Operation.SEGMENT_MARGINS)
    before = {each.segment: each for each in trader.adapter.fetch_segment_margins()}
    request = trader.order()
    trader.adapter.place(request)
    after = {each.segment: each for each in trader.adapter.fetch_segment_margins()}
    assert before.keys() == after.keys()
    [changed] = [name for name in after if after[name].blocked != before[name].blocked]
    assert after[changed].blocked - before[changed].blocked == request.limit_price * request.quantity
    assert before[changed].available - after[changed].available == request.limit_price * request.quantity


@pytest.mark.proves(Operation.MARGIN_REQUIRED)
def test_a_planned_order_states_its_margin(trader: Trader) -> None:
    trader.needs(Operation.MARGIN_REQUIRED)
    request = trader.order()
    stated = trader.adapter.fetch_margin_required([request])
    before = trader.adapter.fetch_margin()
    trader.adapter.place(request)
    assert before.available - trader.adapter.fetch_margin().available == stated.required
    assert stated.available in (None, before.available)


def test_asking_for_a_margin_sends_no_order(trader: Trader) -> None:
    trader.needs(Operation.MARGIN_REQUIRED)
    trader.adapter.fetch_margin_required([trader.order(), trader.order(side=Side.SELL)])
    assert trader.truth() == []
    assert trader.adapter.fetch_orders() == []


@pytest.mark.proves(Operation.MARGIN_REQUIRED)
def test_a_basket_states_whether_its_margin_is_netted(trader: Trader) -> None:
    trader.needs(Operation.MARGIN_REQUIRED)
    short = trader.order(side=Side.SELL, limit_price=trader.highest(trader.option))
    hedge = trader.order(instrument=trader.put, limit_price=trader.lowest(trader.put))
    alone = [trader.adapter.fetch_margin_required([each]).required for each in (short, hedge)]
    basket = trader.adapter.fetch_margin_required([short, hedge])
    assert basket.required <= sum(alone)
    assert basket.is_netted or basket.required == sum(alone)


@pytest.mark.proves(Operation.ORDER_HISTORY)
def test_the_history_of_an_order_ends_with_its_present_state(trader: Trader) -> None:
    trader.needs(Operation.ORDER_HISTORY)
    lot = trader.option.lot_size or 0
    request = trader.order(quantity=2 * lot)
    order_id = trader.adapter.place(request).broker_order_id
    trader.fill(order_id, 2 * lot)
    history = trader.adapter.fetch_order_history(order_id, trader.option)
    order = trader.adapter.fetch_order(order_id, trader.option)
    assert {event.broker_order_id for event in history} == {order_id}
    assert (history[-1].status, history[-1].filled_quantity) == (order.status, 2 * lot)
    assert order.status is OrderStatus.FILLED
    assert not any(event.status.is_terminal for event in history[:-1])


@pytest.mark.proves(Operation.ORDERS_BETWEEN)
def test_orders_of_past_days_include_those_of_today(trader: Trader) -> None:
    trader.needs(Operation.ORDERS_BETWEEN)
    share = trader.order(
        instrument=trader.share, quantity=1, limit_price=trader.lowest(trader.share), product=Product.CNC
    )
    ids = {trader.adapter.place(request).broker_order_id for request in (trader.order(), share)}
    found = trader.adapter.fetch_orders_between(TODAY - timedelta(days=7), TODAY)
    assert {order.broker_order_id for order in found} == ids
    assert {order.broker_order_id: order for order in found} == {
        order.broker_order_id: order for order in trader.adapter.fetch_orders()
    }


def test_days_without_orders_or_trades_have_none(trader: Trader) -> None:
    trader.needs(Operation.ORDERS_BETWEEN)
    trader.fill(trader.adapter.place(trader.order()).broker_order_id, trader.option.lot_size or 0)
    past = TODAY - timedelta(days=7), TODAY - timedelta(days=1)
    assert trader.adapter.fetch_orders_between(*past) == []
    if Operation.TRADES_BETWEEN in trader.spec.capabilities.operations:
        assert trader.adapter.fetch_trades_between(*past) == []


@pytest.mark.proves(Operation.TRADES_BETWEEN)
def test_trades_of_past_days_add_up_to_what_was_executed(trader: Trader) -> None:
    trader.needs(Operation.TRADES_BETWEEN)
    lot = trader.option.lot_size or 0
    request = trader.order(quantity=3 * lot)
    order_id = trader.adapter.place(request).broker_order_id
    trader.fill(order_id, lot)
    trader.fill(order_id, 2 * lot)
    fills = trader.adapter.fetch_trades_between(TODAY - timedelta(days=7), TODAY)
    assert {(fill.broker_order_id, fill.symbol, fill.side) for fill in fills} == {
        (order_id, trader.option.symbol, Side.BUY)
    }
    assert sum(fill.quantity for fill in fills) == 3 * lot
    assert {fill.price for fill in fills} == {request.limit_price}
    assert len({fill.fill_id for fill in fills}) == len(fills)


@pytest.mark.proves(Operation.POSITIONS)
def test_a_position_says_what_was_carried_into_the_day(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    price = trader.lowest(trader.option)
    carry(trader, trader.option, 2 * lot, Decimal(100), Product.NRML)
    order_id = trader.adapter.place(trader.order(limit_price=price)).broker_order_id
    trader.fill(order_id, lot)
    [position] = trader.adapter.fetch_positions()
    assert position.quantity == 3 * lot
    assert position.carried_quantity in (None, 2 * lot)


def test_what_was_closed_today_is_carried_no_more(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    carry(trader, trader.option, 2 * lot, Decimal(100), Product.NRML)
    sale = replace(trader.order(side=Side.SELL), order_type=OrderType.LIMIT, limit_price=trader.highest(trader.option))
    trader.fill(trader.adapter.place(sale).broker_order_id, lot)
    [position] = trader.adapter.fetch_positions()
    assert position.quantity == lot
    assert position.carried_quantity in (None, lot)
