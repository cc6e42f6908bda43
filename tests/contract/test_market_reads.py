"""What is read of the market is the exchange's: quotes, depth, chains and candles."""

from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from brokers.clock import IST, trading_day
from brokers.domain.capabilities import Operation
from brokers.domain.enums import CandleInterval, Exchange, OptionRight
from brokers.domain.errors import UnsupportedFeature
from brokers.domain.market import Candle
from brokers.simulator import hours
from tests.contract.world import MARKET_TIME, Trader

#: NIFTY in the made-up market, whose prices stand still here.
SPOT = Decimal(22_250)


@pytest.mark.proves(Operation.QUOTES)
def test_quotes_of_several_come_in_their_order(trader: Trader) -> None:
    trader.needs(Operation.QUOTES)
    wanted = [trader.share, trader.option, trader.future]
    quotes = trader.adapter.fetch_quotes(wanted)
    assert [(quote.symbol, quote.exchange) for quote in quotes] == [
        (each.symbol, each.exchange.value) for each in wanted
    ]
    assert [quote.last_price for quote in quotes] == [trader.adapter.fetch_quote(each).last_price for each in wanted]


@pytest.mark.proves(Operation.QUOTE)
def test_an_index_is_quoted(trader: Trader) -> None:
    assert trader.adapter.fetch_quote(trader.index).last_price == SPOT


@pytest.mark.proves(Operation.DEPTH)
def test_depth_has_the_best_first(trader: Trader) -> None:
    trader.needs(Operation.DEPTH)
    depth, quote = trader.adapter.fetch_depth(trader.option), trader.adapter.fetch_quote(trader.option)
    assert (depth.symbol, depth.exchange) == (trader.option.symbol, "NFO")
    assert (depth.bids[0].price, depth.bids[0].quantity) == (quote.bid_price, quote.bid_quantity)
    assert (depth.asks[0].price, depth.asks[0].quantity) == (quote.ask_price, quote.ask_quantity)
    assert depth.bids[0].price < depth.asks[0].price
    assert all(better.price > worse.price for better, worse in pairwise(depth.bids))
    assert all(better.price < worse.price for better, worse in pairwise(depth.asks))


@pytest.mark.proves(Operation.YEAR_RANGE)
def test_the_year_range_holds_the_last_price(trader: Trader) -> None:
    trader.needs(Operation.YEAR_RANGE)
    found, quote = trader.adapter.fetch_year_range(trader.share), trader.adapter.fetch_quote(trader.share)
    assert (found.symbol, found.exchange) == (trader.share.symbol, "NSE")
    assert quote.last_price is not None
    assert 0 < found.low <= quote.last_price <= found.high


@pytest.mark.proves(Operation.OPTION_CHAIN)
@pytest.mark.parametrize("strikes", [1, 3])
def test_an_option_chain_is_around_the_money(strikes: int, trader: Trader) -> None:
    trader.needs(Operation.OPTION_CHAIN)
    assert trader.option.expiry is not None
    chain = trader.adapter.fetch_option_chain(trader.index, trader.option.expiry, strikes)
    assert (chain.underlying, chain.exchange, chain.expiry) == ("NIFTY", "NFO", trader.option.expiry)
    assert chain.spot_price in (None, SPOT)
    for side in (chain.calls, chain.puts):
        listed = [each.strike for each in side]
        assert listed == sorted(set(listed))
        assert sum(strike < SPOT for strike in listed) == strikes
        assert sum(strike > SPOT for strike in listed) == strikes
        # Neighbours: none between was left out.
        assert {later - earlier for earlier, later in pairwise(listed)} == {Decimal(50)}


@pytest.mark.proves(Operation.OPTION_CHAIN)
def test_an_option_of_a_chain_can_be_traded_by_its_symbol(trader: Trader) -> None:
    trader.needs(Operation.OPTION_CHAIN)
    assert trader.option.expiry is not None
    chain = trader.adapter.fetch_option_chain(trader.index, trader.option.expiry, 2)
    for right, side in ((OptionRight.CALL, chain.calls), (OptionRight.PUT, chain.puts)):
        for each in side:
            found = trader.catalogue.resolve(each.symbol, Exchange.NFO)
            assert (found.strike, found.right, found.expiry) == (each.strike, right, chain.expiry)
            assert each.right is right
            quoted = trader.adapter.fetch_quote(found).last_price
            assert None not in (each.last_price, quoted, found.tick_size)
            # An option loses value between the two calls.
            assert abs(each.last_price - quoted) <= found.tick_size  # type: ignore[operator]


@pytest.mark.proves(Operation.CANDLES)
def test_candles_are_whole_over_many_pages(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    first, end = _ist(16, 9, 0), MARKET_TIME
    candles = trader.adapter.fetch_candles(trader.future, CandleInterval.MINUTE, first, end)
    assert [each.opened_at for each in candles] == _openings(Exchange.NFO, CandleInterval.MINUTE, first, end)
    assert len(candles) > 1000


@pytest.mark.proves(Operation.CANDLES)
@pytest.mark.parametrize("interval", list(CandleInterval))
def test_a_candle_is_never_given_twice(interval: CandleInterval, trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    # Long enough for several answers of a thousand candles, but for the longest intervals.
    length = min(2_500 * interval.length, timedelta(days=60))
    end = _ist(20, 15, 30)
    candles: list[Candle] | None = None
    with suppress(UnsupportedFeature):
        candles = trader.adapter.fetch_candles(trader.share, interval, end - length, end)
    if candles is None:
        return  # How it is refused, the next test shows.
    openings = [each.opened_at for each in candles]
    assert openings == sorted(set(openings))
    assert openings == _openings(Exchange.NSE, interval, end - length, end)


def test_an_interval_that_the_broker_lacks_is_refused_with_those_it_has(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    refusals: dict[CandleInterval, str] = {}
    for interval in CandleInterval:
        try:
            trader.adapter.fetch_candles(trader.share, interval, _ist(20, 15, 0), _ist(20, 15, 10))
        except UnsupportedFeature as refused:
            refusals[interval] = refused.message
    offered = [each.value for each in CandleInterval if each not in refusals]
    assert offered
    for message in refusals.values():
        assert ", ".join(offered) in message


def test_candles_open_from_the_start_and_before_the_end(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    first, end = _ist(20, 10, 0), _ist(20, 10, 5)
    candles = trader.adapter.fetch_candles(trader.option, CandleInterval.MINUTE, first, end)
    assert [each.opened_at for each in candles] == [first + timedelta(minutes=minute) for minute in range(5)]
    inside = trader.adapter.fetch_candles(
        trader.option, CandleInterval.MINUTE, first + timedelta(seconds=1), end - timedelta(seconds=1)
    )
    assert inside == candles[1:]


def test_no_candle_opens_while_the_exchange_is_closed(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    weekend = trader.adapter.fetch_candles(trader.share, CandleInterval.MINUTE, _ist(21, 0, 0), _ist(23, 9, 15))
    assert weekend == []


def test_a_days_candle_is_one_a_trading_day(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    candles = trader.adapter.fetch_candles(trader.share, CandleInterval.DAY, _ist(9, 0, 0), _ist(21, 0, 0))
    assert [trading_day(each.opened_at) for each in candles] == [
        date(2026, 11, day) for day in (9, 10, 11, 12, 13, 16, 17, 18, 19, 20)
    ]


def test_a_candle_holds_its_prices(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    candles = trader.adapter.fetch_candles(
        trader.option, CandleInterval.FIVE_MINUTES, _ist(20, 9, 15), _ist(20, 15, 30)
    )
    assert candles
    assert all(_is_sound(each) for each in candles)


@pytest.mark.proves(Operation.CANDLES)
def test_the_last_candle_ends_with_the_last_price(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    candles = trader.adapter.fetch_candles(
        trader.share, CandleInterval.MINUTE, MARKET_TIME - timedelta(minutes=5), MARKET_TIME + timedelta(minutes=1)
    )
    assert candles[-1].close == trader.adapter.fetch_quote(trader.share).last_price
    assert candles[-1].volume > 0


def test_an_index_has_candles_without_a_volume(trader: Trader) -> None:
    trader.needs(Operation.CANDLES)
    candles = trader.adapter.fetch_candles(trader.index, CandleInterval.DAY, _ist(16, 0, 0), _ist(21, 0, 0))
    assert [(each.close, each.volume, each.open_interest) for each in candles] == [(SPOT, 0, None)] * 5


def _is_sound(candle: Candle) -> bool:
    return 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high


def _ist(day: int, hour: int, minute: int) -> datetime:
    """A time of November 2026."""
    return datetime(2026, 11, day, hour, minute, tzinfo=IST)


def _openings(exchange: Exchange, interval: CandleInterval, first: datetime, end: datetime) -> list[datetime]:
    """When the simulated exchange's candles open; a day's at midnight."""
    found: list[datetime] = []
    day = trading_day(first)
    while day <= trading_day(end):
        if day.weekday() < 5 and interval is CandleInterval.DAY:
            found.append(datetime.combine(day, datetime.min.time(), IST))
        elif day.weekday() < 5:
            opens, closes = hours.session(exchange, day)
            step = int(interval.length.total_seconds())
            found += [datetime.fromtimestamp(second, IST) for second in range(int(opens), int(closes), step)]
        day += timedelta(days=1)
    return [each for each in found if first <= each < end]
