"""Symbols and broker keys lead to one instrument, or to a sentence that helps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers import instruments
from brokers.adapter_interface import MasterRow
from brokers.domain.enums import Exchange, InstrumentKind
from brokers.domain.errors import InvalidSymbol
from brokers.instruments import InstrumentStore
from brokers.models import BrokerAccount
from tests.support.masters import DAY, MarketClock, future, index, option, serving, share

pytestmark = pytest.mark.django_db

ROWS = [
    index(),
    future("TESTIDX26NOVFUT"),
    *[option(f"TESTIDX26NOV{strike}CE", strike=strike, token=str(strike)) for strike in range(24000, 24500, 50)],
    option("TESTIDX26NOV24000CE", exchange=Exchange.BFO, key="bfo", token="1"),
    share("RELYON", token="2885", name="RELYON INDUSTRIES"),
    share("RELYON", exchange=Exchange.BSE, token="500325", key="bse|RELYON", name="RELYON INDUSTRIES"),
    share("RELAX", token="3"),
    share("BAJAJ-AUTO", token="4"),
    share("TRADEONLY", series="BE", token="5"),
    share("TRADEONLY", exchange=Exchange.BSE, token="500400", key="bse|TRADEONLY"),
    share("TWICE", series="BE", token="6", key="a"),
    share("TWICE", series="SM", token="7", key="b"),
    share("DOUBLE", exchange=Exchange.BSE, token="500500", key="c"),
    share("DOUBLE", exchange=Exchange.BSE, token="500501", key="d", name="DOUBLE OFFER FOR SALE"),
    share("BSEONLY", exchange=Exchange.BSE, token="500600", key="e"),
]


class Ticker:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def load(rows: list[MasterRow], clock: MarketClock | None = None) -> None:
    instruments.refresh(BrokerAccount(broker="alpha"), adapter=serving(rows), clock=clock or MarketClock())


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


@pytest.fixture
def store(ticker: Ticker) -> Iterator[InstrumentStore]:
    load(ROWS)
    yield InstrumentStore(monotonic=ticker)
    instruments.forget()


@pytest.mark.parametrize(
    ("written", "symbol", "exchange"),
    [
        ("RELYON", "RELYON", Exchange.NSE),
        ("relyon", "RELYON", Exchange.NSE),
        ("  Relyon-eq ", "RELYON", Exchange.NSE),
        ("BAJAJ-AUTO", "BAJAJ-AUTO", Exchange.NSE),
        ("BAJAJ-AUTO-EQ", "BAJAJ-AUTO", Exchange.NSE),
        ("TRADEONLY", "TRADEONLY-BE", Exchange.NSE),
        ("tradeonly-be", "TRADEONLY-BE", Exchange.NSE),
        ("TESTIDX", "TESTIDX", Exchange.NSE),
        ("TESTIDX26NOVFUT", "TESTIDX26NOVFUT", Exchange.NFO),
        ("testidx26nov24050ce", "TESTIDX26NOV24050CE", Exchange.NFO),
        ("TESTIDX26NOV24000CE", "TESTIDX26NOV24000CE", Exchange.NFO),
        ("BSEONLY", "BSEONLY", Exchange.BSE),
    ],
)
def test_a_symbol_as_traders_write_it_is_found(
    store: InstrumentStore, written: str, symbol: str, exchange: Exchange
) -> None:
    found = store.resolve(written)
    assert (found.symbol, found.exchange) == (symbol, exchange)
    assert store.resolve(written) is found


@pytest.mark.parametrize(
    ("symbol", "exchange"),
    [("RELYON", Exchange.BSE), ("TRADEONLY", Exchange.BSE), ("TESTIDX26NOV24000CE", Exchange.BFO)],
)
def test_a_named_exchange_is_kept_to(store: InstrumentStore, symbol: str, exchange: Exchange) -> None:
    assert store.resolve(symbol, exchange).exchange is exchange
    assert store.resolve(symbol).exchange is not exchange
    assert store.resolve(symbol, exchange).exchange is exchange


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("TESTIDX26NOV24010CE", "TESTIDX26NOV24050CE"),
        ("RELYN", "RELYON"),
        ("TELYON", "RELYON"),
        ("TESTIDX26NOVFUTT", "TESTIDX26NOVFUT"),
    ],
)
def test_an_unknown_symbol_is_refused_with_the_nearest(store: InstrumentStore, written: str, nearest: str) -> None:
    with pytest.raises(InvalidSymbol) as refusal:
        store.resolve(written)
    assert f"Symbol {written!r} is not in the instruments of 23 Nov 2026" in str(refusal.value)
    assert nearest in str(refusal.value)


@pytest.mark.parametrize(
    "written", ["", "   ", "QQQQQQQQ", "%", "_", "'; DROP TABLE x; --", "X" * 500, "ÄÖ\0Ü", "\ud800"]
)
def test_nonsense_is_refused_with_a_sentence(store: InstrumentStore, written: str) -> None:
    with pytest.raises(InvalidSymbol, match="is not in the instruments"):
        store.resolve(written)


def test_a_symbol_only_the_other_exchange_has_is_refused_there(store: InstrumentStore) -> None:
    with pytest.raises(InvalidSymbol, match="on NSE"):
        store.resolve("BSEONLY", Exchange.NSE)


@pytest.mark.parametrize(
    ("written", "candidates"),
    [("TWICE", ["TWICE-BE", "TWICE-SM"]), ("DOUBLE", ["DOUBLE OFFER FOR SALE", "BSE"])],
)
def test_an_ambiguous_symbol_is_refused_with_what_it_may_be(
    store: InstrumentStore, written: str, candidates: list[str]
) -> None:
    with pytest.raises(InvalidSymbol, match="2 instruments") as refusal:
        store.resolve(written)
    for candidate in candidates:
        assert candidate in str(refusal.value)


def test_a_brokers_key_leads_to_its_instrument(store: InstrumentStore) -> None:
    found = store.find("alpha", "bse|RELYON")
    assert found is not None
    assert (found.symbol, found.exchange, found.identifiers) == ("RELYON", Exchange.BSE, {"alpha": {"code": "RELYON"}})
    assert store.find("alpha", "bse|RELYON") is found
    assert store.find("beta", "bse|RELYON") is None
    assert store.find("alpha", "nothing") is None
    assert store.find("alpha", "no\0thing") is None


def test_numbers_come_back_plain(store: InstrumentStore) -> None:
    share_of_nse, call = store.resolve("RELYON"), store.resolve("TESTIDX26NOV24100CE")
    assert (str(share_of_nse.tick_size), str(call.strike), str(call.lower_band)) == ("0.1", "24100", "0.05")
    assert call.upper_band == Decimal(900)
    assert call.kind is InstrumentKind.OPTION


def test_without_any_master_it_says_so(ticker: Ticker) -> None:
    store = InstrumentStore(monotonic=ticker)
    assert store.day is None
    assert store.find("alpha", "x") is None
    assert store.search("RELYON") == []
    with pytest.raises(InvalidSymbol, match="no instruments are loaded"):
        store.resolve("RELYON")


def test_a_newer_master_is_noticed_within_a_second(store: InstrumentStore, ticker: Ticker) -> None:
    assert store.resolve("RELYON").lot_size == 1
    load([*ROWS[:12], share("RELYON", token="2885", lot_size=5)], MarketClock(DAY + timedelta(days=1)))
    ticker.seconds = 1.0
    assert store.resolve("RELYON").lot_size == 5
    assert store.day == DAY + timedelta(days=1)


def test_a_book_cleared_away_meanwhile_is_not_taken_for_an_unknown_symbol(store: InstrumentStore) -> None:
    assert store.resolve("RELYON").symbol == "RELYON"
    load([*ROWS, share("EXTRA", token="77")])
    assert store.resolve("RELAX").symbol == "RELAX"
    load([*ROWS, share("MORE", token="78")])
    assert store.find("alpha", "NSE|RELAX") is not None


def test_known_symbols_cost_no_query(store: InstrumentStore, django_assert_num_queries: object) -> None:
    store.resolve("RELYON")
    store.find("alpha", "NSE|RELYON")
    with django_assert_num_queries(0):  # type: ignore[operator]
        store.resolve("RELYON")
        store.find("alpha", "NSE|RELYON")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("relyon", ["RELYON", "RELYON"]),
        ("testidx 24050", ["TESTIDX26NOV24050CE"]),
        ("offer for sale", ["DOUBLE"]),
        ("TESTIDX", ["TESTIDX", "TESTIDX26NOVFUT"]),
        ("", []),
        ("nothing like it", []),
        ("zz\0zz \ud800", []),
    ],
)
def test_search_finds_by_words_of_symbol_or_name(store: InstrumentStore, text: str, first: list[str]) -> None:
    assert [each.symbol for each in store.search(text)][: len(first) or None] == first


def test_search_keeps_to_its_limit(store: InstrumentStore) -> None:
    assert len(store.search("TESTIDX", limit=3)) == 3
    assert store.search("TESTIDX", limit=0) == []
    assert store.search("TESTIDX", limit=-1) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("TESTIDX 24050 CE", ["TESTIDX26NOV24050CE"]),
        ("testidx 24 nov 24050 ce", ["TESTIDX26NOV24050CE"]),
        ("TESTIDX 24NOV26 24050", ["TESTIDX26NOV24050CE"]),
        ("testidx 26 nov 24050", ["TESTIDX26NOV24050CE"]),
        ("TESTIDX 2026-11-24 24050 call", ["TESTIDX26NOV24050CE"]),
        ("24050ce", ["TESTIDX26NOV24050CE"]),
        ("TESTIDX26NOV2405", ["TESTIDX26NOV24050CE"]),
        ("testidx nov fut", ["TESTIDX26NOVFUT"]),
        ("nov fut", ["TESTIDX26NOVFUT"]),
        ("testidx 24000 ce", ["TESTIDX26NOV24000CE", "TESTIDX26NOV24000CE"]),
        ("TESTIDX 24050 PE", []),
        ("TESTIDX 25 nov 24050", []),
        ("TESTIDX dec", []),
        ("RELYON 24050 CE", []),
        ("ind rely", ["RELYON", "RELYON"]),
        ("auto", ["BAJAJ-AUTO"]),
    ],
)
def test_search_reads_underlying_expiry_strike_and_right(store: InstrumentStore, text: str, found: list[str]) -> None:
    assert [each.symbol for each in store.search(text)] == found


def test_search_shows_exact_symbols_before_those_that_begin_so(store: InstrumentStore) -> None:
    assert [each.symbol for each in store.search("rel")][:3] == ["RELAX", "RELYON", "RELYON"]
    assert [each.symbol for each in store.search("relyon")] == ["RELYON", "RELYON"]


def test_search_follows_a_new_edition(store: InstrumentStore, ticker: Ticker) -> None:
    assert store.search("newcomer") == []
    load([*ROWS, share("NEWCOMER", token="99")])
    ticker.seconds += 2
    assert [each.symbol for each in store.search("newcomer")] == ["NEWCOMER"]


@settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
@given(
    text=st.text(max_size=40)
    | st.lists(st.sampled_from(["TESTIDX", "24050", "CE", "NOV", "26", "24", "REL"])).map(" ".join)
)
def test_search_answers_anything_within_its_limit_and_shows_nothing_twice(store: InstrumentStore, text: str) -> None:
    found = store.search(text, limit=7)
    assert len(found) <= 7
    shown = [(each.exchange, each.symbol, each.kind, each.name) for each in found]
    assert len(set(shown)) == len(shown)


def test_every_instrument_is_found_by_its_symbol_and_every_option_by_its_terms(store: InstrumentStore) -> None:
    for row in ROWS:
        # A share of another series is listed with its series behind the name.
        assert any(each.symbol.startswith(row.symbol) for each in store.search(row.symbol))
        if row.strike is not None and row.expiry is not None and row.right is not None:
            terms = f"{row.underlying} {row.expiry:%d %b %Y} {row.strike} {row.right}"
            assert row.symbol in [each.symbol for each in store.search(terms)]


def test_expiries_are_answered_by_the_index_alone(store: InstrumentStore) -> None:
    assert store.expiries("testidx") == [date(2026, 11, 24)]
    if connection.vendor != "sqlite":
        return
    with CaptureQueriesContext(connection) as asked:
        store.expiries("TESTIDX")
    with connection.cursor() as cursor:
        plan = cursor.execute(f"EXPLAIN QUERY PLAN {asked[-1]['sql']}").fetchall()
    assert "COVERING INDEX instrument_by_contract" in str(plan)
