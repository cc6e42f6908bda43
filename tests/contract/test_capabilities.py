"""What a broker does not offer is refused by its name before anything is sent; every word of an order arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest

from brokers.clock import trading_day
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, OrderType, Product
from brokers.domain.errors import UnsupportedFeature
from brokers.domain.orders import OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from tests.contract.customer import Customer
from tests.contract.test_reads import READS
from tests.contract.world import MARKET_TIME, PLACE_OF, WORDS, Catalogue, Simulator, Trader

TODAY = trading_day(MARKET_TIME)
PAST = TODAY - timedelta(days=7)
#: How a trader asks for what not every broker offers.
ASKED: dict[Operation, Callable[[BrokerGateway], object]] = {
    Operation.SEGMENT_MARGINS: lambda gateway: gateway.get_segment_margins(),
    Operation.MARGIN_REQUIRED: lambda gateway: gateway.get_margin_required([{"symbol": "RELIANCE"}]),
    Operation.HOLDINGS: lambda gateway: gateway.get_holdings(),
    Operation.DEMAT_HOLDINGS: lambda gateway: gateway.get_demat_holdings(),
    Operation.ORDER_HISTORY: lambda gateway: gateway.get_order_history("1"),
    Operation.ORDERS_BETWEEN: lambda gateway: gateway.get_orders_between(PAST, TODAY),
    Operation.TRADES_BETWEEN: lambda gateway: gateway.get_trades_between(PAST, TODAY),
    Operation.DEPTH: lambda gateway: gateway.get_depth("RELIANCE"),
    Operation.YEAR_RANGE: lambda gateway: gateway.get_year_range("RELIANCE"),
    Operation.OPTION_CHAIN: lambda gateway: gateway.get_option_chain("NIFTY"),
    Operation.CANDLES: lambda gateway: gateway.get_candles("RELIANCE", "1m", PAST.isoformat(), TODAY.isoformat()),
    Operation.GTT_SINGLE: lambda gateway: gateway.place_gtt("RELIANCE", "S", 1, trigger_price="90", price="89"),
    Operation.GTT_THREE_LEG: lambda gateway: gateway.place_gtt_three_leg(
        "RELIANCE",
        "B",
        1,
        price="100",
        target_trigger_price="120",
        target_price="119",
        stop_trigger_price="90",
        stop_price="89",
    ),
    Operation.LIVE_FEED: lambda gateway: gateway.subscribe_live_feed(["RELIANCE"]),
}


@pytest.fixture
def customer(operation: Operation, trader: Trader, simulator: Simulator, settings: Any, db: None) -> Iterator[Customer]:
    """Of a broker that does not offer the operation; at one that does the test is skipped."""
    if trader.spec.capabilities.offers(operation):
        pytest.skip(f"Operation.{operation.name} is in Capabilities.operations")
    settings.HOME = simulator.home
    settings.BROKER_URLS = dict(simulator.urls)
    yield Customer(trader)
    BrokerFactory.close_all()


@pytest.mark.parametrize(
    "operation", [pytest.param(each, marks=pytest.mark.proves(each), id=each.value) for each in ASKED]
)
def test_what_is_not_offered_is_refused_by_name_before_anything_is_sent(
    operation: Operation, customer: Customer
) -> None:
    trader = customer.trader
    trader.adapter.place(trader.order())
    before = trader.calls()
    with pytest.raises(UnsupportedFeature, match=operation.words):
        ASKED[operation](customer.gateway)
    for read in READS.values():
        if read.operation is operation:
            with pytest.raises(UnsupportedFeature, match=operation.words):
                read.of(trader, trader.adapter)
    assert trader.calls() == before


@pytest.mark.parametrize("word", [pytest.param(each, marks=pytest.mark.proves(each), id=each.value) for each in WORDS])
def test_a_word_of_an_order_arrives_or_is_refused_before_anything_is_sent(word: StrEnum, trader: Trader) -> None:
    request = order_with(trader, word)
    adapter, before = trader.adapter, trader.calls()
    if trader.spec.capabilities.offers(word):
        adapter.place(request)
        [accepted] = [line for line in trader.truth() if line["event"] == "accepted"]
        assert (accepted["symbol"], accepted[PLACE_OF[type(word)]]) == (request.instrument.symbol, word)
    else:
        with pytest.raises(UnsupportedFeature, match=word):
            adapter.place(request)
        assert trader.calls() == before


def order_with(trader: Trader, word: StrEnum) -> OrderRequest:
    """An order with this word in it that every broker would take if it knew the word."""
    if isinstance(word, Exchange):
        assert isinstance(trader.catalogue, Catalogue)
        instrument = trader.catalogue.traded_on(word)
        product = Product.NRML if word.is_derivative else Product.CNC
        return trader.order(
            instrument=instrument,
            quantity=instrument.lot_size or 1,
            limit_price=trader.lowest(instrument),
            product=product,
        )
    if isinstance(word, Product) and word is not Product.NRML:
        return trader.order(instrument=trader.share, quantity=1, limit_price=trader.lowest(trader.share), product=word)
    if word is OrderType.STOP_LIMIT:
        limit = trader.highest(trader.option)
        return trader.order(order_type=word, limit_price=limit, trigger_price=limit)
    return trader.order(**{PLACE_OF[type(word)]: word})
