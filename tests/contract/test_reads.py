"""What is read is true, or it says that it is not."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest

from brokers.adapter_interface import BrokerAdapter
from brokers.domain.capabilities import Operation
from brokers.domain.enums import CandleInterval, OrderStatus, Side
from brokers.domain.errors import BrokerUnavailable, RateLimited, SessionExpired
from tests.contract.world import IMPATIENT_SECONDS, MARKET_TIME, Trader, nobody_listens, one_call


class Read(NamedTuple):
    """A read of the contract: the endpoint that fails, the call, and what a broker must offer for it."""

    #: ``*`` where it takes several endpoints, or not the same one at every broker.
    endpoint: str
    of: Callable[[Trader, BrokerAdapter], object]
    #: None for what is no operation of a caller.
    operation: Operation | None


def placed(trader: Trader) -> str:
    return str(trader.truth()[0]["order_id"])


READS: dict[str, Read] = {
    "margin": Read("*", lambda trader, adapter: adapter.fetch_margin(), Operation.MARGIN),
    "positions": Read("positions", lambda trader, adapter: adapter.fetch_positions(), Operation.POSITIONS),
    "orders": Read("orders", lambda trader, adapter: adapter.fetch_orders(), Operation.ORDERS),
    "order": Read("*", lambda trader, adapter: adapter.fetch_order(placed(trader), trader.option), Operation.ORDER),
    "trades": Read("*", lambda trader, adapter: adapter.fetch_trades(), Operation.TRADES),
    "quote": Read("quote", lambda trader, adapter: adapter.fetch_quote(trader.option), Operation.QUOTE),
    "master": Read("master", lambda trader, adapter: list(adapter.read_master()), None),
    "quotes": Read(
        "quote", lambda trader, adapter: adapter.fetch_quotes([trader.share, trader.option]), Operation.QUOTES
    ),
    "depth": Read("quote", lambda trader, adapter: adapter.fetch_depth(trader.option), Operation.DEPTH),
    "year range": Read("*", lambda trader, adapter: adapter.fetch_year_range(trader.share), Operation.YEAR_RANGE),
    "option chain": Read(
        "*",
        lambda trader, adapter: adapter.fetch_option_chain(trader.index, trader.option.expiry or date.max, 2),
        Operation.OPTION_CHAIN,
    ),
    "candles": Read(
        "*",
        lambda trader, adapter: adapter.fetch_candles(
            trader.option, CandleInterval.MINUTE, MARKET_TIME - timedelta(minutes=5), MARKET_TIME
        ),
        Operation.CANDLES,
    ),
    "holdings": Read("*", lambda trader, adapter: adapter.fetch_holdings(), Operation.HOLDINGS),
    "demat holdings": Read("*", lambda trader, adapter: adapter.fetch_demat_holdings(), Operation.DEMAT_HOLDINGS),
    "segment margins": Read("*", lambda trader, adapter: adapter.fetch_segment_margins(), Operation.SEGMENT_MARGINS),
    "margin required": Read(
        "*", lambda trader, adapter: adapter.fetch_margin_required([trader.order()]), Operation.MARGIN_REQUIRED
    ),
    "order history": Read(
        "*",
        lambda trader, adapter: adapter.fetch_order_history(placed(trader), trader.option),
        Operation.ORDER_HISTORY,
    ),
    "orders between": Read(
        "*",
        lambda trader, adapter: adapter.fetch_orders_between(
            MARKET_TIME.date() - timedelta(days=7), MARKET_TIME.date()
        ),
        Operation.ORDERS_BETWEEN,
    ),
    "trades between": Read(
        "*",
        lambda trader, adapter: adapter.fetch_trades_between(
            MARKET_TIME.date() - timedelta(days=7), MARKET_TIME.date()
        ),
        Operation.TRADES_BETWEEN,
    ),
}
#: Of no account's limits at every broker.
FREE = ("quote", "quotes", "depth", "year range", "master")
#: A broker may state these without a session.
OF_THE_MARKET = (*FREE, "option chain", "candles")
each_read = pytest.mark.parametrize("name", READS)
of_the_account = pytest.mark.parametrize("name", [name for name in READS if name not in OF_THE_MARKET])
of_the_market = pytest.mark.parametrize("name", OF_THE_MARKET)
counted = pytest.mark.parametrize("name", [name for name in READS if name not in FREE])


def offered(trader: Trader, name: str) -> Read:
    """The read, where the broker offers it; the test is skipped where not."""
    read = READS[name]
    if read.operation is not None:
        trader.needs(read.operation)
    return read


@pytest.mark.proves(Operation.MARGIN)
def test_margin_is_blocked_by_an_order(trader: Trader) -> None:
    before = trader.adapter.fetch_margin()
    request = trader.order()
    trader.adapter.place(request)
    after = trader.adapter.fetch_margin()
    assert isinstance(after.available, Decimal)
    assert before.available == trader.account.funds
    assert before.available - after.available == request.limit_price * request.quantity
    assert after.details


@pytest.mark.proves(Operation.QUOTE)
def test_a_quote_is_the_exchanges(trader: Trader) -> None:
    quote = trader.adapter.fetch_quote(trader.option)
    pinned = quote.last_price
    assert pinned is not None
    assert bool(quote)
    assert (quote.symbol, quote.exchange) == (trader.option.symbol, "NFO")
    assert quote.bid_price is not None
    assert quote.ask_price is not None
    assert quote.bid_price <= pinned <= quote.ask_price
    assert trader.option.lower_band is not None
    assert trader.option.upper_band is not None
    assert trader.option.lower_band <= pinned <= trader.option.upper_band


@pytest.mark.proves(Operation.QUOTE)
def test_a_quote_of_a_share_is_the_exchanges(trader: Trader) -> None:
    quote = trader.adapter.fetch_quote(trader.share)
    assert quote.last_price == Decimal(1400)


@pytest.mark.proves(Operation.ORDER, Operation.ORDERS)
def test_an_order_is_followed_through_its_life(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    order_id = trader.adapter.place(trader.order(quantity=2 * lot)).broker_order_id
    seen = []
    for filled in (0, lot, lot):
        if filled:
            trader.fill(order_id, filled)
        order = trader.adapter.fetch_order(order_id, trader.option)
        [listed] = trader.adapter.fetch_orders()
        assert (listed.status, listed.filled_quantity) == (order.status, order.filled_quantity)
        seen.append((order.status, order.filled_quantity, order.pending_quantity))
    assert seen == [
        (OrderStatus.OPEN, 0, 2 * lot),
        (OrderStatus.PARTIALLY_FILLED, lot, lot),
        (OrderStatus.FILLED, 2 * lot, 0),
    ]


def test_an_order_rejected_by_the_exchange_ended_for_the_brokers_own_reason_or_none(trader: Trader) -> None:
    why = "RMS: Rejected on purpose"
    trader.fault("reject", "place", body=why)
    order_id = trader.adapter.place(trader.order()).broker_order_id
    [order] = trader.adapter.fetch_orders()
    assert (order.broker_order_id, order.status) == (order_id, OrderStatus.REJECTED)
    assert (order.pending_quantity, order.filled_quantity) == (0, 0)
    assert order.reason in ("", why)


@pytest.mark.proves("echoes_client_tag")
def test_an_order_is_found_by_its_tag_where_the_broker_echoes_it(trader: Trader) -> None:
    requests = [trader.order(), trader.order()]
    ids = [trader.adapter.place(request).broker_order_id for request in requests]
    echoed = [request.client_tag if trader.spec.capabilities.echoes_client_tag else "" for request in requests]
    found = {order.broker_order_id: order.client_tag for order in trader.adapter.fetch_orders()}
    assert found == dict(zip(ids, echoed, strict=True))


@pytest.mark.proves("book_by_exchange")
def test_the_book_takes_as_many_calls_as_it_has_parts(trader: Trader) -> None:
    adapter, capabilities, before = trader.adapter, trader.spec.capabilities, trader.calls()
    adapter.fetch_orders()
    assert (trader.calls() - before > 1) is capabilities.book_by_exchange
    adapter.fetch_trades()
    adapter.fetch_positions()
    assert trader.calls() - before == capabilities.calls_to_read_all


def test_an_order_typed_by_a_person_is_in_the_book(trader: Trader) -> None:
    request = trader.order()
    trader.control(
        "POST",
        "orders",
        exchange="NFO",
        symbol=request.instrument.symbol,
        side="SELL",
        quantity=request.quantity,
        price=str(request.instrument.upper_band),
        product="NRML",
    )
    [order] = trader.adapter.fetch_orders()
    assert (order.side, order.symbol) == (Side.SELL, request.instrument.symbol)


@pytest.mark.proves(Operation.TRADES)
def test_fills_are_the_exchanges(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    request = trader.order(quantity=3 * lot)
    order_id = trader.adapter.place(request).broker_order_id
    trader.fill(order_id, lot)
    trader.fill(order_id, 2 * lot)
    fills = trader.adapter.fetch_trades()
    assert {fill.broker_order_id for fill in fills} == {order_id}
    assert sum(fill.quantity for fill in fills) == 3 * lot
    assert {fill.price for fill in fills} == {request.limit_price}
    assert len({fill.fill_id for fill in fills}) == len(fills)


@pytest.mark.proves(Operation.POSITIONS)
def test_a_position_is_what_was_traded(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    request = trader.order(quantity=2 * lot)
    order_id = trader.adapter.place(request).broker_order_id
    trader.fill(order_id, 2 * lot)
    [position] = trader.adapter.fetch_positions()
    assert (position.symbol, position.exchange) == (trader.option.symbol, "NFO")
    assert (position.quantity, position.average_price) == (2 * lot, request.limit_price)
    assert (position.underlying, position.strike) == ("NIFTY", trader.option.strike)
    quote = trader.adapter.fetch_quote(trader.option)
    assert quote.last_price is not None
    assert position.last_price == quote.last_price
    assert position.pnl == (quote.last_price - request.limit_price) * 2 * lot


@pytest.mark.proves(Operation.POSITIONS)
def test_a_short_position_is_negative(trader: Trader) -> None:
    instrument = trader.option
    assert instrument.upper_band is not None
    lot, price = instrument.lot_size or 0, instrument.round_to_tick(instrument.upper_band, up=False)
    order_id = trader.adapter.place(trader.order(side=Side.SELL, limit_price=price)).broker_order_id
    trader.fill(order_id, lot)
    [position] = trader.adapter.fetch_positions()
    assert position.quantity == -lot
    assert position.last_price is not None
    assert position.pnl == (price - position.last_price) * lot


@pytest.mark.parametrize(
    "name", ["positions", "orders", "trades", "holdings", "demat holdings", "orders between", "trades between"]
)
def test_nothing_is_empty_when_the_broker_says_so(name: str, trader: Trader) -> None:
    assert offered(trader, name).of(trader, trader.adapter) == []


FAILURES = ("bad_gateway", "html", "null", "empty", "garbage", "drop", "hang")


@each_read
@pytest.mark.parametrize("kind", FAILURES)
def test_a_read_that_fails_raises_and_is_never_empty(name: str, kind: str, trader: Trader) -> None:
    endpoint, read, _ = offered(trader, name)
    trader.adapter.place(trader.order())
    trader.fault(kind, endpoint, count=0)
    order_id_known = trader.truth()
    assert order_id_known
    with pytest.raises(BrokerUnavailable) as caught, one_call(trader.adapter, total_seconds=IMPATIENT_SECONDS):
        read(trader, trader.adapter)
    assert str(caught.value)


@each_read
def test_a_read_at_a_broker_that_is_down_raises(name: str, trader: Trader) -> None:
    read = offered(trader, name)
    trader.adapter.place(trader.order())
    _, grant = trader.log_in()
    with nobody_listens() as url:
        cut_off = trader.new_adapter(at=url)
        cut_off.use_session(grant)
        with pytest.raises(BrokerUnavailable):
            read.of(trader, cut_off)


@of_the_account
def test_a_read_with_a_dead_session_asks_for_a_login(name: str, trader: Trader) -> None:
    read = offered(trader, name)
    trader.adapter.place(trader.order())
    trader.kill_session()
    with pytest.raises(SessionExpired):
        read.of(trader, trader.adapter)


@of_the_market
def test_a_price_with_a_dead_session_is_there_or_asks_for_a_login(name: str, trader: Trader) -> None:
    read = offered(trader, name)
    trader.kill_session()
    try:
        assert read.of(trader, trader.adapter)
    except SessionExpired as asked:
        assert str(asked)  # noqa: PT017 -- both are right, by what the broker asks of its callers


@counted
def test_a_read_over_the_budget_says_when_to_come_again(name: str, trader: Trader) -> None:
    read = offered(trader, name)
    trader.adapter.place(trader.order())
    trader.fault("rate_limit", "*", count=0, account=trader.account.user_id)
    with pytest.raises(RateLimited) as caught:
        read.of(trader, trader.adapter)
    assert caught.value.retry_after > timedelta(0)
