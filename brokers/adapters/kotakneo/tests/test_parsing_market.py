"""What Kotak's market data means."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import building, parsing_market
from brokers.adapters.kotakneo.tests.stub import CALL, INDEX, SHARE, Shelf, fixture, option
from brokers.domain.enums import CandleInterval, Exchange, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, OptionChain

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
EXPIRY = date(2026, 11, 24)
#: The options of the fixture.
CHAIN_SHELF = Shelf(*(option(strike, right) for strike in range(22100, 22450, 50) for right in OptionRight))


def asked(*instruments: Instrument) -> list[tuple[dict[str, str], Instrument]]:
    return [(building.quote_token(each), each) for each in instruments]


TOKEN = {"exchange_segment": "nse_fo", "instrument_token": "71472"}


def test_a_quote_is_read_whole() -> None:
    quote = parsing_market.quotes(fixture("quotes"), [(TOKEN, CALL)], as_of=NOW)[0]
    assert bool(quote)
    assert (quote.last_price, quote.bid_price, quote.ask_price) == (
        Decimal("100.5"),
        Decimal("100.45"),
        Decimal("100.55"),
    )
    assert (quote.bid_quantity, quote.previous_close, quote.volume) == (100, Decimal("99.7"), 65000)
    assert quote.traded_at == datetime.fromtimestamp(1795409881, UTC)


def test_a_quote_without_a_price_is_falsy() -> None:
    row = fixture("quotes")[0] | {"ltp": "0.0000", "depth": {"buy": [], "sell": None}, "ohlc": {}, "lstup_time": "0"}
    quote = parsing_market.quotes([row], [(TOKEN, CALL)], as_of=NOW)[0]
    assert not quote
    assert (quote.bid_price, quote.traded_at) == (None, None)


@pytest.mark.parametrize("body", [[], [{"exchange": "nse_fo", "exchange_token": "1"}]])
def test_a_quote_of_something_else_is_no_quote(body: list[dict[str, str]]) -> None:
    with pytest.raises(UnreadableReply):
        parsing_market.quotes(body, [(TOKEN, CALL)], as_of=NOW)


@pytest.mark.parametrize("echoed", ["Nifty 50", "26000"])
def test_an_index_is_found_by_either_of_its_names(echoed: str) -> None:
    ids = {"kotakneo": {"exchange_segment": "nse_cm", "trading_symbol": "NIFTY", "token": "26000"}}
    index, row = replace(SHARE, symbol="NIFTY 50", identifiers=ids), fixture("quotes")[0]
    asked = {"exchange_segment": "nse_cm", "instrument_token": "Nifty 50"}
    row |= {"exchange": "nse_cm", "exchange_token": echoed}
    [quote] = parsing_market.quotes([row], [(asked, index)], as_of=NOW)
    assert quote.last_price == Decimal("100.5")


def test_quotes_come_in_the_order_they_were_asked_for() -> None:
    quotes = parsing_market.quotes(fixture("quotes_many"), asked(SHARE, INDEX, CALL, SHARE), as_of=NOW)
    assert [quote.symbol for quote in quotes] == ["RELIANCE", "NIFTY 50", "NIFTY26NOV22250CE", "RELIANCE"]
    assert [quote.open_interest for quote in quotes] == [None, None, 1071525, None]


def test_one_missing_quote_is_named() -> None:
    with pytest.raises(BrokerUnavailable, match="RELIANCE") as caught:
        parsing_market.quotes(fixture("quotes"), asked(CALL, SHARE), as_of=NOW)
    assert "NIFTY26NOV22250CE" not in str(caught.value)


def test_last_prices_are_of_those_that_have_one() -> None:
    rows = [row | {"ltp": "0.0000"} if row["exchange"] == "nse_fo" else row for row in fixture("quotes_many")]
    assert parsing_market.last_prices(rows, asked(SHARE, CALL, option(22300, OptionRight.PUT))) == {
        (Exchange.NSE, "RELIANCE"): Decimal("2500.1")
    }


def test_depth_has_the_levels_where_somebody_stands() -> None:
    [(token, call)] = asked(CALL)
    depth = parsing_market.depth(fixture("quotes_many"), token, call, as_of=NOW)
    assert [(level.price, level.quantity, level.orders) for level in depth.bids] == [
        (Decimal("100.45"), 650, 1),
        (Decimal("100.4"), 130, 2),
    ]
    assert depth.asks == ()
    # Beside levels a zero says nothing; on an empty side it is the truth.
    assert (depth.total_bid_quantity, depth.total_ask_quantity) == (None, 0)


def test_depth_of_a_share_has_five_levels_and_totals() -> None:
    [(token, share)] = asked(SHARE)
    depth = parsing_market.depth(fixture("quotes_many"), token, share, as_of=NOW)
    assert (len(depth.bids), len(depth.asks)) == (5, 5)
    assert (depth.total_bid_quantity, depth.total_ask_quantity) == (90733, 288387)


@pytest.mark.parametrize("depth", [None, {}, {"buy": []}, {"buy": None, "sell": []}, {"buy": [1], "sell": []}, "NA"])
def test_no_depth_is_not_an_empty_one(depth: Any) -> None:
    [(token, call)] = asked(CALL)
    with pytest.raises(UnreadableReply):
        parsing_market.depth([fixture("quotes")[0] | {"depth": depth}], token, call, as_of=NOW)


def test_the_year_has_a_low_and_a_high() -> None:
    [(token, share)] = asked(SHARE)
    year = parsing_market.year_range(fixture("quotes_52w"), token, share, as_of=NOW)
    assert (year.low, year.high) == (Decimal("2026.65"), Decimal("2837.7"))


@pytest.mark.parametrize(
    "broken", [{"year_low": "0"}, {"year_high": None}, {"year_low": "9999"}, {"exchange": "bse_cm"}]
)
def test_half_a_year_is_none(broken: dict[str, Any]) -> None:
    [(token, share)] = asked(SHARE)
    with pytest.raises(UnreadableReply):
        parsing_market.year_range([fixture("quotes_52w")[0] | broken], token, share, as_of=NOW)


def chain(data: Any, strikes: int = 50) -> OptionChain:
    return parsing_market.option_chain(data, INDEX, EXPIRY, strikes, CHAIN_SHELF, exchange=Exchange.NFO, as_of=NOW)[0]


def chain_data() -> dict[str, Any]:
    data: dict[str, Any] = fixture("option_chain")["data"]
    return data


@pytest.mark.parametrize(("strikes", "listed"), [(1, 3), (2, 5), (3, 7), (50, 7)])
def test_a_chain_is_cut_around_the_money(strikes: int, listed: int) -> None:
    found = chain(chain_data(), strikes)
    assert (found.underlying, found.exchange, found.expiry, found.spot_price) == ("NIFTY", "NFO", EXPIRY, None)
    for side in (found.calls, found.puts):
        around = [option.strike for option in side]
        assert around == sorted(around)
        assert len(around) == listed
        assert around[listed // 2] == 22250


def test_an_option_of_a_chain_is_read_whole() -> None:
    call = next(option for option in chain(chain_data()).calls if option.strike == 22250)
    assert (call.symbol, call.right, call.last_price) == ("NIFTY26NOV22250CE", OptionRight.CALL, Decimal("150.75"))
    assert (call.previous_close, call.volume) == (Decimal("99.7"), 65000)
    assert (call.open_interest, call.open_interest_change) == (1071525, -293215)
    assert (call.bid_price, call.ask_price) == (None, None)


def test_what_has_not_traded_has_no_price() -> None:
    found = chain(chain_data())
    assert (found.calls[-1].last_price, found.calls[-1].open_interest) == (None, 0)
    assert found.puts[0].last_price is None
    assert (found.puts[1].open_interest, found.puts[1].open_interest_change) == (None, None)


def test_an_option_that_no_instrument_is_is_left_out_and_counted() -> None:
    some = Shelf(*(option(strike, right) for strike in (22200, 22250) for right in OptionRight))
    found, unknown = parsing_market.option_chain(chain_data(), INDEX, EXPIRY, 1, some, exchange=Exchange.NFO, as_of=NOW)
    assert [each.strike for each in found.calls] == [each.strike for each in found.puts] == [22200, 22250]
    assert unknown == 2


def test_a_chain_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(UnreadableReply, match="instruments"):
        parsing_market.option_chain(chain_data(), INDEX, EXPIRY, 1, Shelf(SHARE), exchange=Exchange.NFO, as_of=NOW)


def test_a_chain_without_the_money_is_kept_whole() -> None:
    data = chain_data()
    for row in data["call"] + data["put"]:
        row["instrument"]["moneyness"] = None
    assert len(chain(data, 1).calls) == 7


def spoiled_chains() -> dict[str, Any]:
    """Name -> a chain that must not be used."""
    spoiled = {name: chain_data() for name in ("expiry", "no expiry", "no calls", "no puts", "side", "strike", "twice")}
    spoiled["expiry"]["common_data"]["expiryDt"] = "2026-12-01"
    spoiled["no expiry"]["common_data"] = None
    spoiled["no calls"]["call"] = []
    spoiled["no puts"].pop("put")
    spoiled["side"]["call"][0]["instrument"]["optionType"] = "PE"
    spoiled["strike"]["put"][0]["instrument"]["strikePrice"] = "22050"
    spoiled["twice"]["put"].append(deepcopy(spoiled["twice"]["put"][0]))
    return spoiled


@pytest.mark.parametrize("name", spoiled_chains())
def test_a_chain_that_contradicts_is_refused(name: str) -> None:
    with pytest.raises(UnreadableReply):
        chain(spoiled_chains()[name])


def read(name: str, interval: CandleInterval, instrument: Instrument = CALL) -> list[Candle]:
    return parsing_market.candles(fixture(name), instrument, interval)


def test_candles_are_utc_and_exact() -> None:
    first, second = read("candles_1min", CandleInterval.MINUTE)
    assert first.opened_at == datetime(2026, 11, 20, 3, 45, tzinfo=UTC)
    assert second.opened_at == datetime(2026, 11, 20, 3, 46, tzinfo=UTC)
    assert (first.open, first.high, first.low, first.close) == (
        Decimal("120.9"), Decimal("121.35"), Decimal("119.25"), Decimal("120.5"),
    )  # fmt: skip
    assert (first.volume, first.open_interest, second.open_interest) == (16250, None, None)


def test_a_minute_without_prices_is_a_gap() -> None:
    minutes = [candle.opened_at.minute for candle in read("candles_odd", CandleInterval.MINUTE)]
    assert minutes == [47, 45, 45]


def test_a_days_candle_opens_at_midnight_in_india() -> None:
    days = read("candles_day", CandleInterval.DAY, SHARE)
    assert [day.opened_at for day in days] == [
        datetime(2026, 11, 18, 18, 30, tzinfo=UTC), datetime(2026, 11, 19, 18, 30, tzinfo=UTC),
    ]  # fmt: skip


def test_an_index_trades_no_units() -> None:
    body = fixture("candles_1min")
    body["data"]["candles"] = [[*row[:5], None] for row in body["data"]["candles"]]
    assert {candle.volume for candle in parsing_market.candles(body, INDEX, CandleInterval.MINUTE)} == {0}
    with pytest.raises(UnreadableReply):
        parsing_market.candles(body, CALL, CandleInterval.MINUTE)


@pytest.mark.parametrize(
    "row",
    [
        None,
        {},
        "2026-11-20",
        [],
        ["2026-11-20T09:15:00+0530", 1, 1, 1],
        ["2026-11-20T09:15:00", 1, 1, 1, 1, 1],
        ["20-Nov-2026", 1, 1, 1, 1, 1],
        ["0001-01-01T00:00:00+0530", 1, 1, 1, 1, 1],
        ["2026-11-20T09:15:00+0530", "one", 1, 1, 1, 1],
        ["2026-11-20T09:15:00+0530", 1, 1, 1, 1, -1],
        ["2026-11-20T09:15:00+0530", 1, 1, 1, 1, 0.5],
        ["2026-11-20T09:15:00+0530", 1, 1, 1, 1, 1, 1, 1],
    ],
)
def test_a_row_that_is_no_candle_fails_them_all(row: object) -> None:
    body = fixture("candles_1min")
    body["data"]["candles"].append(row)
    with pytest.raises(UnreadableReply):
        parsing_market.candles(body, CALL, CandleInterval.MINUTE)


def test_candles_of_another_interval_are_refused() -> None:
    with pytest.raises(UnreadableReply):
        read("candles_1min", CandleInterval.FIVE_MINUTES)
