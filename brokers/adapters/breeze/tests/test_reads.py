"""The reads of the market and of the account over the real SDK: what is asked, and what becomes of each envelope."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from brokers.adapters.breeze import building
from brokers.adapters.breeze.adapter import BreezeAPI
from brokers.adapters.breeze.tests.harness import (
    API_KEY,
    FUTURE,
    GRANT,
    NOW,
    OPTION,
    SHARE,
    Answer,
    Seen,
    breeze,
    fixture,
    refusal,
    success,
)
from brokers.adapters.breeze.tests.test_building import REQUEST
from brokers.adapters.breeze.tests.test_parsing_market import INDEX
from brokers.clock import IST
from brokers.domain.enums import CandleInterval, Exchange, OptionRight, Side
from brokers.domain.errors import (
    BrokerUnavailable,
    InvalidSymbol,
    RateLimited,
    SessionExpired,
    UnreadableReply,
    UnsupportedFeature,
)

EXPIRY = date(2026, 11, 24)
NOTHING = refusal("No Data Found", status=200)
MORNING = datetime(2026, 11, 24, 9, 15, tzinfo=IST)


def query(seen: Seen) -> dict[str, str]:
    return {name: given[0] for name, given in parse_qs(urlsplit(seen.path).query).items()}


def cash_candle(opened_at: datetime, close: float = 309.0) -> dict[str, Any]:
    row: dict[str, Any] = fixture("history_cash")["Success"][0]
    return row | {"datetime": opened_at.strftime("%Y-%m-%d %H:%M:%S"), "close": close}


# The market


def test_a_chain_is_every_call_and_every_put_of_an_expiry(caplog: pytest.LogCaptureFixture) -> None:
    with breeze(fixture("chain_calls"), fixture("chain_puts")) as (adapter, stub):
        chain = adapter.fetch_option_chain(INDEX, EXPIRY, 3)
    assert (chain.underlying, chain.exchange, chain.expiry) == ("NIFTY", "NFO", EXPIRY)
    assert (chain.spot_price, chain.as_of) == (Decimal("24790.1"), NOW)
    # The instruments of this test are one option; the other rows name nothing and are said to.
    assert [each.symbol for each in chain.calls] == [OPTION.symbol]
    assert chain.puts == ()
    assert "11 rows" in caplog.text
    asked = {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options"}
    asked["expiry_date"] = "2026-11-24T06:00:00.000Z"
    assert [seen.json for seen in stub.seen] == [asked | {"right": "call"}, asked | {"right": "put"}]
    assert {(seen.method, seen.path) for seen in stub.seen} == {("GET", "/breezeapi/api/v1/optionchain")}


def test_the_options_of_what_bse_lists_are_at_bfo() -> None:
    sensex = replace(INDEX, exchange=Exchange.BSE, identifiers={"breeze": {"stock_code": "BSESEN"}})
    assert building.option_chain(sensex, EXPIRY, OptionRight.PUT)["exchange_code"] == "BFO"


def test_the_money_is_asked_for_where_no_row_states_it() -> None:
    puts = fixture("chain_puts") | {"Success": fixture("chain_puts")["Success"][:1]}
    spot = fixture("quote_cash")["Success"][0] | {"stock_code": "NIFTY", "ltp": 24790.1}
    with breeze(NOTHING, puts, success([spot])) as (adapter, stub):
        assert adapter.fetch_option_chain(INDEX, EXPIRY, 3).spot_price == Decimal("24790.1")
    assert stub.seen[2].json == {"stock_code": "NIFTY", "exchange_code": "NSE", "product_type": "cash"}


def test_a_chain_without_its_money_is_not_guessed() -> None:
    with (
        breeze(NOTHING, NOTHING, success([fixture("quote_cash")["Success"][0] | {"ltp": 0.0}])) as (adapter, _),
        pytest.raises(BrokerUnavailable, match="no price of NIFTY"),
    ):
        adapter.fetch_option_chain(INDEX, EXPIRY, 3)


def test_a_chain_of_what_breeze_does_not_have_is_refused_before_it_is_asked() -> None:
    with breeze() as (adapter, stub), pytest.raises(InvalidSymbol):
        adapter.fetch_option_chain(replace(INDEX, identifiers={}), EXPIRY, 3)
    assert stub.seen == []


def test_candles_are_asked_of_the_second_history_in_ist() -> None:
    with breeze(fixture("history_cash")) as (adapter, stub):
        candles = adapter.fetch_candles(SHARE, CandleInterval.MINUTE, MORNING, MORNING + timedelta(minutes=3))
    # The one of the day before was answered and not asked for.
    assert [each.opened_at for each in candles] == [MORNING, MORNING + timedelta(minutes=2)]
    [seen] = stub.seen
    assert urlsplit(seen.path).path == "/api/v2/historicalcharts"
    assert query(seen) == {
        "interval": "1minute",
        "from_date": "2026-11-24T00:00:00.000Z",
        "to_date": "2026-11-25T23:59:59.000Z",
        "stock_code": "ITC",
        "exch_code": "NSE",
        "product_type": "cash",
    }
    assert (seen.headers["apikey"], seen.headers["X-SessionToken"]) == (API_KEY, GRANT.sid)


def test_candles_of_a_derivative_name_its_contract() -> None:
    with breeze(fixture("history_option"), fixture("history_empty")) as (adapter, stub):
        found = adapter.fetch_candles(OPTION, CandleInterval.FIVE_MINUTES, MORNING, MORNING + timedelta(hours=1))
        adapter.fetch_candles(FUTURE, CandleInterval.DAY, MORNING - timedelta(days=1), MORNING)
    assert len(found) == 2
    option, future = (query(seen) for seen in stub.seen)
    assert (option["expiry_date"], option["right"], option["strike_price"]) == (
        "2026-11-24T06:00:00.000Z",
        "call",
        "24800",
    )
    assert (future["product_type"], future["right"], future["strike_price"]) == ("futures", "others", "0")


def test_pages_follow_each_other_and_a_candle_at_their_edge_is_given_once() -> None:
    edge = MORNING + timedelta(minutes=15)
    pages = [
        success([cash_candle(MORNING), cash_candle(edge, close=1.0)]),
        success([cash_candle(edge, close=2.0), cash_candle(edge + timedelta(seconds=1))]),
        fixture("history_empty"),
    ]
    with breeze(*pages) as (adapter, stub):
        found = adapter.fetch_candles(SHARE, CandleInterval.SECOND, MORNING, MORNING + timedelta(minutes=31))
    assert [(each.opened_at, each.close) for each in found][1] == (edge, Decimal("2.0"))
    assert len(found) == 3
    asked = [query(seen) for seen in stub.seen]
    assert [(each["from_date"][11:19], each["to_date"][11:19]) for each in asked] == [
        ("09:15:00", "09:29:59"),
        ("09:30:00", "09:44:59"),
        ("09:45:00", "09:59:59"),
    ]


@pytest.mark.parametrize("interval", [CandleInterval.SECOND, CandleInterval.MINUTE, CandleInterval.FIVE_MINUTES])
def test_pages_cover_the_time_without_a_hole_and_stay_far_from_the_most(interval: CandleInterval) -> None:
    pages = list(building.history_pages(interval, MORNING, MORNING + timedelta(days=11, seconds=1)))
    assert pages[0][0] <= MORNING
    assert pages[-1][1] >= MORNING + timedelta(days=11)
    for (_, last), (first, _) in pairwise(pages):
        assert first - last == timedelta(seconds=1)
    traded_a_day = timedelta(hours=6, minutes=25)
    for first, last in pages:
        traded = min(last - first, traded_a_day * ((last - first).days + 1))
        assert traded / interval.length < 1000


def test_a_page_as_long_as_can_be_may_be_cut_and_is_refused() -> None:
    page = [cash_candle(MORNING + timedelta(minutes=minute)) for minute in range(1000)]
    with breeze(success(page)) as (adapter, _), pytest.raises(UnreadableReply, match="some may be missing"):
        adapter.fetch_candles(SHARE, CandleInterval.MINUTE, MORNING, MORNING + timedelta(hours=1))


@pytest.mark.parametrize("interval", [CandleInterval.FIFTEEN_MINUTES, CandleInterval.HOUR])
def test_an_interval_that_breeze_lacks_is_refused_before_it_is_asked(interval: CandleInterval) -> None:
    with breeze() as (adapter, stub), pytest.raises(UnsupportedFeature, match="1s, 1m, 5m, 30m, 1d"):
        adapter.fetch_candles(SHARE, interval, MORNING, MORNING + timedelta(hours=1))
    assert stub.seen == []


def test_the_years_range_is_asked_in_one_call_of_days() -> None:
    with breeze(fixture("history_days")) as (adapter, stub):
        found = adapter.fetch_year_range(SHARE)
    assert (found.symbol, found.low, found.high) == ("ITC", Decimal("299.0"), Decimal("312.0"))
    [seen] = stub.seen
    assert (query(seen)["interval"], query(seen)["from_date"][:10]) == ("1day", "2025-11-24")


def test_depth_is_one_quote() -> None:
    with breeze(fixture("quote_cash")) as (adapter, stub):
        assert adapter.fetch_depth(SHARE).bids[0].price == Decimal("309.65")
    assert stub.seen[0].path.endswith("/quotes")


# The account


def test_holdings_are_asked_at_nse_and_at_bse() -> None:
    with breeze(fixture("holdings_nse"), NOTHING) as (adapter, stub):
        held = adapter.fetch_holdings()
    assert [each.quantity for each in held] == [5175, 10, 3]
    assert [(seen.path[-17:], seen.json) for seen in stub.seen] == [
        ("portfolioholdings", {"exchange_code": "NSE"}),
        ("portfolioholdings", {"exchange_code": "BSE"}),
    ]


def test_one_exchange_that_fails_makes_the_holdings_fail() -> None:
    with (
        breeze(fixture("holdings_nse"), Answer(b"", status=503)) as (adapter, _),
        pytest.raises(BrokerUnavailable, match="holdings at BSE"),
    ):
        adapter.fetch_holdings()


def test_demat_holdings_are_one_call() -> None:
    with breeze(fixture("demat_holdings")) as (adapter, stub):
        assert [each.quantity for each in adapter.fetch_demat_holdings()] == [5175, 1]
    assert (stub.seen[0].method, stub.seen[0].path) == ("GET", "/breezeapi/api/v1/dematholdings")


def test_segment_margins_are_the_funds() -> None:
    with breeze(fixture("funds")) as (adapter, stub):
        assert len(adapter.fetch_segment_margins()) == 4
    assert stub.seen[0].path.endswith("/funds")


def test_a_basket_is_weighed_in_one_call() -> None:
    bought = replace(REQUEST, instrument=FUTURE, side=Side.BUY, quantity=500, limit_price=Decimal("1500.50"))
    with breeze(fixture("margin_calculator")) as (adapter, stub):
        assert adapter.fetch_margin_required([REQUEST, bought]).is_netted
    [seen] = stub.seen
    assert (seen.method, seen.path, seen.json["exchange_code"]) == (
        "POST",
        "/breezeapi/api/v1/margincalculator",
        "NFO",
    )
    option, future = seen.json["list_of_positions"]
    assert option == {
        "strike_price": "24800",
        "quantity": "75",
        "right": "call",
        "product": "options",
        "action": "sell",
        "price": "118.2",
        "expiry_date": "24-Nov-2026",
        "stock_code": "NIFTY",
        "cover_order_flow": "N",
        "fresh_order_type": "N",
        "cover_limit_rate": "0",
        "cover_sltp_price": "0",
        "fresh_limit_rate": "0",
        "open_quantity": "0",
    }
    assert (future["strike_price"], future["right"], future["product"]) == ("0", "others", "futures")


def test_a_basket_over_two_exchanges_is_two_calls() -> None:
    at_bse = replace(REQUEST, instrument=replace(OPTION, exchange=Exchange.BFO))
    with breeze(fixture("margin_calculator"), fixture("margin_calculator")) as (adapter, stub):
        assert not adapter.fetch_margin_required([REQUEST, at_bse, REQUEST]).is_netted
    assert [(seen.json["exchange_code"], len(seen.json["list_of_positions"])) for seen in stub.seen] == [
        ("NFO", 2),
        ("BFO", 1),
    ]


def test_the_margin_of_a_share_cannot_be_asked() -> None:
    with (
        breeze() as (adapter, stub),
        pytest.raises(UnsupportedFeature, match="ITC is a share at NSE: none of its calls states"),
    ):
        adapter.fetch_margin_required([REQUEST, replace(REQUEST, instrument=SHARE)])
    assert stub.seen == []


def test_past_orders_are_one_call_an_exchange_and_their_fills_of_the_same_days() -> None:
    answers = (NOTHING, NOTHING, fixture("orders_nfo"), fixture("trades_nfo"), NOTHING)
    with breeze(*answers) as (adapter, stub):
        orders = {order.broker_order_id: order for order in adapter.fetch_orders_between(date(2026, 11, 2), EXPIRY)}
    assert orders["202611243800000004"].filled_quantity == 75
    assert {(seen.json["from_date"][:10], seen.json["to_date"][:10]) for seen in stub.seen} == {
        ("2026-11-02", "2026-11-24")
    }
    assert len(stub.seen) == 5


def test_past_trades_are_one_call_an_exchange() -> None:
    with breeze(NOTHING, NOTHING, fixture("trades_nfo"), NOTHING) as (adapter, stub):
        fills = adapter.fetch_trades_between(date(2026, 11, 2), EXPIRY)
    assert fills[0].quantity == 75
    assert [seen.json["exchange_code"] for seen in stub.seen] == ["NSE", "BSE", "NFO", "BFO"]


def test_the_history_of_an_order_is_its_present_row() -> None:
    answer = fixture("orders_nfo") | {"Success": fixture("orders_nfo")["Success"][:1]}
    with breeze(answer) as (adapter, _):
        [event] = adapter.fetch_order_history("202611243800000001", OPTION)
    assert event.broker_status == "Ordered"


# Every envelope

READS: dict[str, Callable[[BreezeAPI], object]] = {
    "depth": lambda adapter: adapter.fetch_depth(SHARE),
    "chain": lambda adapter: adapter.fetch_option_chain(INDEX, EXPIRY, 2),
    "candles": lambda adapter: adapter.fetch_candles(SHARE, CandleInterval.DAY, MORNING - timedelta(days=9), MORNING),
    "year range": lambda adapter: adapter.fetch_year_range(SHARE),
    "holdings": lambda adapter: adapter.fetch_holdings(),
    "demat": lambda adapter: adapter.fetch_demat_holdings(),
    "segments": lambda adapter: adapter.fetch_segment_margins(),
    "margin": lambda adapter: adapter.fetch_margin_required([REQUEST]),
    "orders": lambda adapter: adapter.fetch_orders_between(EXPIRY, EXPIRY),
    "trades": lambda adapter: adapter.fetch_trades_between(EXPIRY, EXPIRY),
}
CRASH = {"Message": "An error has occurred.", "ExceptionMessage": "Object reference", "StackTrace": ""}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(refusal("Historical Data Fail")), BrokerUnavailable),
        (Answer({"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}, 401), RateLimited),
        (Answer({"Status": 5, "Error": "Authentication Failed"}, 401), SessionExpired),
        (Answer(CRASH, 500), BrokerUnavailable),
        (Answer(b"<html>An error occurred</html>", 502), BrokerUnavailable),
        (Answer(b"<html>An error occurred</html>"), BrokerUnavailable),
        (Answer(b"null"), BrokerUnavailable),
        (Answer(b""), BrokerUnavailable),
        (Answer(success("a text")), BrokerUnavailable),
        (Answer(success([5])), BrokerUnavailable),
        (Answer(success(None)), BrokerUnavailable),
        (Answer(close=True), BrokerUnavailable),
    ],
    ids=["B", "C-limit", "C-session", "E", "F-502", "F-200", "G", "nothing", "text", "number", "null", "closed"],
)
def test_an_envelope_without_a_value_raises(name: str, answer: Answer, error: type[Exception]) -> None:
    with breeze(answer) as (adapter, _), pytest.raises(error):
        READS[name](adapter)


@pytest.mark.parametrize("name", ["depth", "chain", "holdings", "demat", "margin", "orders", "trades"])
def test_an_empty_list_is_not_believed_but_of_the_history(name: str) -> None:
    with breeze(success([])) as (adapter, _), pytest.raises(UnreadableReply):
        READS[name](adapter)
    with breeze(success([])) as (adapter, _):
        assert READS["candles"](adapter) == []


@pytest.mark.parametrize(("name", "calls"), [("holdings", 2), ("demat", 1), ("orders", 4), ("trades", 4)])
def test_nothing_in_so_many_words_is_nothing(name: str, calls: int) -> None:
    with breeze(*[NOTHING] * calls) as (adapter, stub):
        assert READS[name](adapter) == []
    assert len(stub.seen) == calls
