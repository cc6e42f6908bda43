"""Live feeds: ticks are the exchange's prices, refusals are noticed, a cut is mended, order events lead to a read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from brokers.domain.capabilities import Operation
from brokers.domain.errors import BrokerError, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, Quote
from brokers.feed_interface import BrokerFeed, FeedState
from brokers.wire import Wire
from tests.contract.world import Trader

#: Longer than anything here takes; how long a feed may take to be whole again is told by its test.
PATIENCE_SECONDS = 15.0


@dataclass
class Listener:
    """Keeps what a feed tells."""

    ticks: list[Quote] = field(default_factory=list)
    depths: list[Depth] = field(default_factory=list)
    orders: int = 0
    replaced: int = 0
    states: list[tuple[FeedState, str]] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def on_tick(self, tick: Quote) -> None:
        with self._news:
            self.ticks.append(tick)
            self._news.notify_all()

    def on_depth(self, depth: Depth) -> None:
        with self._news:
            self.depths.append(depth)
            self._news.notify_all()

    def on_replaced(self, count: int) -> None:
        with self._news:
            self.replaced += count
            self._news.notify_all()

    def on_order(self) -> None:
        with self._news:
            self.orders += 1
            self._news.notify_all()

    def on_state(self, state: FeedState, words: str) -> None:
        with self._news:
            self.states.append((state, words))
            self._news.notify_all()

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        with self._news:
            assert self._news.wait_for(condition, seconds), (self.states, len(self.ticks), self.orders)

    def until_state(self, state: FeedState) -> str:
        self.until(lambda: state in dict(self.states))
        return dict(self.states)[state]

    def of(self, instrument: Instrument) -> list[Quote]:
        return [tick for tick in self.ticks if tick.symbol == instrument.symbol]


@dataclass
class Feeds:
    """Starts feeds of one trader and stops them."""

    trader: Trader
    _started: list[BrokerFeed] = field(default_factory=list)

    def start(self, *instruments: Instrument, depth: bool = False) -> tuple[BrokerFeed, Listener]:
        adapter, grant = self.trader.log_in()
        return self.start_with(adapter.make_feed(grant), *instruments, depth=depth)

    def start_with(
        self, feed: BrokerFeed, *instruments: Instrument, depth: bool = False
    ) -> tuple[BrokerFeed, Listener]:
        listener = Listener()
        self._started.append(feed)
        feed.start(listener)
        feed.subscribe(instruments, depth=depth)
        return feed, listener

    def stop(self) -> None:
        for feed in self._started:
            feed.stop()


@pytest.fixture
def feeds(trader: Trader) -> Iterator[Feeds]:
    trader.needs(Operation.LIVE_FEED)
    made = Feeds(trader)
    yield made
    made.stop()
    trader.simulator.ask(trader.spec.name, "POST", "feeds", {})


def test_a_broker_without_feeds_says_so(trader: Trader) -> None:
    if Operation.LIVE_FEED in trader.spec.capabilities.operations:
        assert trader.spec.capabilities.most_fed > 0
        return
    adapter, grant = trader.log_in()
    with pytest.raises(UnsupportedFeature, match="live feed"):
        adapter.make_feed(grant)
    with pytest.raises(UnsupportedFeature, match="live feed"):
        adapter.check_feed(trader.share)


@pytest.mark.proves(Operation.LIVE_FEED)
def test_a_tick_is_the_exchanges_price(feeds: Feeds, trader: Trader) -> None:
    wanted = [trader.share, trader.option, trader.future]
    _, listener = feeds.start(*wanted)
    listener.until(lambda: all(map(listener.of, wanted)))
    for instrument in wanted:
        tick, quote = listener.of(instrument)[-1], trader.adapter.fetch_quote(instrument)
        assert (tick.exchange, tick.last_price) == (quote.exchange, quote.last_price)
        assert (tick.bid_price, tick.ask_price) == (quote.bid_price, quote.ask_price)
        assert (tick.lower_circuit, tick.upper_circuit) == (quote.lower_circuit, quote.upper_circuit)
        assert tick.traded_at is not None
        assert tick.traded_at <= tick.as_of


def test_an_index_ticks(feeds: Feeds, trader: Trader) -> None:
    _, listener = feeds.start(trader.index)
    listener.until(lambda: bool(listener.of(trader.index)))
    assert listener.ticks[-1].last_price == trader.adapter.fetch_quote(trader.index).last_price


@pytest.mark.proves(Operation.LIVE_FEED)
def test_a_tick_follows_the_price(feeds: Feeds, trader: Trader) -> None:
    _, listener = feeds.start(trader.share)
    listener.until(lambda: bool(listener.ticks))
    before = listener.ticks[-1].last_price
    assert before is not None
    price = {"exchange": "NSE", "symbol": trader.share.symbol, "price": str(before + Decimal("0.50"))}
    try:
        trader.simulator.ask(trader.spec.name, "POST", "price", price)
        listener.until(lambda: listener.ticks[-1].last_price == before + Decimal("0.50"))
    finally:
        trader.simulator.ask(trader.spec.name, "POST", "price", price | {"price": None})


@pytest.mark.proves(Operation.DEPTH_FEED)
def test_depth_comes_beside_ticks_where_it_is_wanted(feeds: Feeds, trader: Trader) -> None:
    trader.needs(Operation.DEPTH_FEED)
    wanted = [trader.share, trader.option, trader.future]
    feed, listener = feeds.start(*wanted, depth=True)
    feed.subscribe([trader.index])
    listener.until(lambda: {each.symbol for each in listener.depths} == {each.symbol for each in wanted})
    listener.until(lambda: all(map(listener.of, [*wanted, trader.index])))
    for instrument in wanted:
        depth = next(each for each in reversed(listener.depths) if each.symbol == instrument.symbol)
        tick = listener.of(instrument)[-1]
        assert (depth.exchange, len(depth.bids), len(depth.asks)) == (tick.exchange, 5, 5)
        # The best first, a tick apart in this exchange.
        step = instrument.tick_size
        assert step is not None
        assert [level.price for level in depth.bids] == [depth.bids[0].price - step * number for number in range(5)]
        assert [level.price for level in depth.asks] == [depth.asks[0].price + step * number for number in range(5)]
        assert all(level.quantity > 0 and level.orders == 3 for level in (*depth.bids, *depth.asks))
        assert depth.asks[0].price - depth.bids[0].price == 2 * step
    assert trader.index.symbol not in {each.symbol for each in listener.depths}


def test_the_best_of_depth_is_the_quotes(feeds: Feeds, trader: Trader) -> None:
    trader.needs(Operation.DEPTH_FEED)
    pinned = {"exchange": "NSE", "symbol": trader.share.symbol, "price": "1400.50"}
    trader.simulator.ask(trader.spec.name, "POST", "price", pinned)
    try:
        _, listener = feeds.start(trader.share, depth=True)
        listener.until(lambda: bool(listener.depths))
        asked = trader.adapter.fetch_depth(trader.share)
        fed = listener.depths[-1]
        assert (fed.bids[0].price, fed.asks[0].price) == (asked.bids[0].price, asked.asks[0].price)
    finally:
        trader.simulator.ask(trader.spec.name, "POST", "price", pinned | {"price": None})


def test_depth_that_is_wanted_no_more_ends_and_ticks_go_on(feeds: Feeds, trader: Trader) -> None:
    trader.needs(Operation.DEPTH_FEED)
    feed, listener = feeds.start(trader.share, depth=True)
    listener.until(lambda: bool(listener.depths) and bool(listener.ticks))
    feed.subscribe([trader.share])
    # Ticks show that time has passed.
    seen = len(listener.ticks)
    listener.until(lambda: len(listener.ticks) >= seen + 2)
    silent_since = len(listener.depths)
    listener.until(lambda: len(listener.ticks) >= seen + 4)
    assert len(listener.depths) == silent_since
    feed.subscribe([trader.share], depth=True)
    listener.until(lambda: len(listener.depths) > silent_since)


def test_what_is_unsubscribed_ticks_no_more(feeds: Feeds, trader: Trader) -> None:
    feed, listener = feeds.start(trader.share, trader.option)
    listener.until(lambda: bool(listener.of(trader.share)) and bool(listener.of(trader.option)))
    feed.unsubscribe([trader.share])
    # The other's ticks show that time has passed.
    seen = len(listener.of(trader.option))
    listener.until(lambda: len(listener.of(trader.option)) >= seen + 2)
    silent_since = len(listener.of(trader.share))
    listener.until(lambda: len(listener.of(trader.option)) >= seen + 4)
    assert len(listener.of(trader.share)) == silent_since


def test_a_token_that_is_given_to_another_instrument_ticks_under_its_name(feeds: Feeds, trader: Trader) -> None:
    other = replace(trader.share, symbol="OTHER", underlying="OTHER")
    feed, listener = feeds.start(trader.share, trader.option, depth=True)
    listener.until(lambda: bool(listener.of(trader.share)) and bool(listener.depths))
    feed.unsubscribe([trader.share])
    feed.subscribe([other], depth=True)
    listener.until(lambda: bool(listener.of(other)))
    listener.until(lambda: "OTHER" in {each.symbol for each in listener.depths})
    silent_since, seen = len(listener.of(trader.share)), len(listener.of(other))
    listener.until(lambda: len(listener.of(other)) >= seen + 2)
    assert len(listener.of(trader.share)) == silent_since


def test_an_unknown_instrument_is_refused_in_words(feeds: Feeds, trader: Trader) -> None:
    stranger = replace(trader.share, symbol="NOSUCH", identifiers={})
    with pytest.raises(BrokerError, match="NOSUCH"):
        trader.adapter.check_feed(stranger)


def test_a_refused_login_is_noticed(feeds: Feeds, trader: Trader) -> None:
    adapter, grant = trader.log_in()
    trader.kill_session()
    _, listener = feeds.start_with(adapter.make_feed(grant), trader.share)
    assert "log in" in listener.until_state(FeedState.REFUSED)
    assert not listener.ticks


def test_a_session_that_ends_is_noticed(feeds: Feeds, trader: Trader) -> None:
    _, listener = feeds.start(trader.share)
    listener.until_state(FeedState.UP)
    trader.kill_session()
    listener.until_state(FeedState.DOWN)


def test_a_cut_is_noticed_and_another_feed_is_whole(feeds: Feeds, trader: Trader) -> None:
    _, listener = feeds.start(trader.share, trader.option)
    listener.until(lambda: bool(listener.of(trader.option)))
    trader.simulator.ask(trader.spec.name, "POST", "feeds", {"up": False})
    listener.until_state(FeedState.DOWN)
    _, refused = feeds.start(trader.share)
    refused.until_state(FeedState.DOWN)
    trader.simulator.ask(trader.spec.name, "POST", "feeds", {})
    began = time.monotonic()
    _, again = feeds.start(trader.share, trader.option)
    again.until(lambda: bool(again.of(trader.share)) and bool(again.of(trader.option)))
    assert time.monotonic() - began < 10


def test_silence_is_a_cut_and_no_refusal(feeds: Feeds, trader: Trader) -> None:
    trader.simulator.ask(trader.spec.name, "POST", "feeds", {"silent": True})
    began = time.monotonic()
    _, listener = feeds.start(trader.share)
    listener.until_state(FeedState.DOWN)
    # Soon enough for another try to be whole within ten seconds of the line's return.
    assert time.monotonic() - began < 7
    assert FeedState.REFUSED not in dict(listener.states)


@pytest.mark.proves(Operation.ORDER_FEED)
def test_an_order_event_leads_to_a_read(feeds: Feeds, trader: Trader) -> None:
    trader.needs(Operation.ORDER_FEED)
    _, listener = feeds.start()
    listener.until_state(FeedState.UP)
    # What was missed before is read for as well.
    listener.until(lambda: listener.orders == 1)
    request = trader.order()
    order_id = trader.adapter.place(request).broker_order_id
    listener.until(lambda: listener.orders >= 2)
    seen = listener.orders
    trader.fill(order_id, request.quantity)
    listener.until(lambda: listener.orders > seen)


def test_a_feed_leads_nowhere_but_to_the_hosts_of_the_wire(feeds: Feeds, trader: Trader) -> None:
    adapter, grant = trader.log_in()
    wire = Wire(clock=trader.clock, allowed_hosts=frozenset({"127.0.0.2"}))
    elsewhere = type(adapter)(replace(adapter.context, wire=wire))
    _, listener = feeds.start_with(elsewhere.make_feed(grant), trader.share)
    assert "allow-list" in listener.until_state(FeedState.DOWN)
