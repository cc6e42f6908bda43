"""The further reads over the real SDK: what is asked, how often, and what a refusal becomes."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from brokers.adapters.kotakneo import building
from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.adapters.kotakneo.tests.stub import CALL, INDEX, SHARE, Heard, Said, Stub, fixture, option
from brokers.adapters.kotakneo.tests.test_building import ORDER
from brokers.domain.enums import CandleInterval, InstrumentKind, OptionRight, OrderType, Product, Side
from brokers.domain.errors import (
    BrokerUnavailable,
    OrderDenied,
    RateLimited,
    SessionExpired,
    UnreadableReply,
    UnsupportedFeature,
)

QUOTES = "/script-details/1.0/quotes/neosymbol/"
CHAIN = "/market-data/1.0/watchlist/option-chain"
CANDLES = "/market-data/1.0/historical/details"
HOLDINGS, LIMITS = "/portfolio/v1/holdings", "/quick/user/limits"
MARGIN, HISTORY = "/quick/user/check-margin", "/quick/order/history"
EXPIRY = date(2026, 11, 24)
STARTS, ENDS = datetime(2026, 11, 19, 18, 30, tzinfo=UTC), datetime(2026, 11, 20, 18, 30, tzinfo=UTC)

#: Path -> a read that asks it first.
READS: dict[str, Callable[[NeoAPI], object]] = {
    QUOTES: lambda adapter: adapter.fetch_quotes([CALL, SHARE]),
    CHAIN: lambda adapter: adapter.fetch_option_chain(INDEX, EXPIRY, 2),
    CANDLES: lambda adapter: adapter.fetch_candles(CALL, CandleInterval.MINUTE, STARTS, ENDS),
    HOLDINGS: lambda adapter: adapter.fetch_holdings(),
    LIMITS: lambda adapter: adapter.fetch_segment_margins(),
    MARGIN: lambda adapter: adapter.fetch_margin_required([ORDER]),
    HISTORY: lambda adapter: adapter.fetch_order_history("261123000000001", CALL),
}
each_path = pytest.mark.parametrize("path", READS)


def query(heard: Heard) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(heard.path).query).items()}


@each_path
@pytest.mark.parametrize(
    "answer",
    [
        Said(content=b"<html>down</html>", headers={"Content-Type": "text/html"}),
        Said(content=b"<html>down</html>", status=502, headers={"Content-Type": "text/html"}),
        Said(content=None),
        Said(content=b""),
        Said(content={}),
        Said(content={"data": []}),
        Said(content={"stat": "Ok", "stCode": 200}),
        Said(content={"stat": "Not_Ok", "stCode": 1005, "errMsg": "internal"}),
        Said(content=fixture("market_fault"), status=400),
        Said(content=fixture("quotes_not_ok")),
        Said(content=fixture("margin_refused"), status=400),
        Said(drop=True),
    ],
)
def test_what_is_no_answer_is_never_an_empty_one(path: str, answer: Said, adapter: NeoAPI, stub: Stub) -> None:
    stub.says(path, answer)
    with pytest.raises(BrokerUnavailable) as caught:
        READS[path](adapter)
    assert "Traceback" not in str(caught.value)


@each_path
@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7), ({}, 1)])
def test_too_many_calls_say_when_to_come_again(
    path: str, headers: dict[str, str], seconds: int, adapter: NeoAPI, stub: Stub
) -> None:
    stub.says(path, Said(content=fixture("rate_limited"), status=429, headers=headers))
    with pytest.raises(RateLimited) as caught:
        READS[path](adapter)
    assert caught.value.retry_after == timedelta(seconds=seconds)


@each_path
def test_a_dead_session_asks_for_a_login(path: str, adapter: NeoAPI, stub: Stub) -> None:
    stub.says(path, Said(content={"stat": "Not_Ok", "stCode": 100022, "errMsg": "invalid session token"}, status=401))
    with pytest.raises(SessionExpired):
        READS[path](adapter)


@pytest.mark.parametrize("path", [HOLDINGS, HISTORY])
def test_no_data_is_none(path: str, adapter: NeoAPI, stub: Stub) -> None:
    stub.says(path, Said(content=fixture("no_data")))
    assert READS[path](adapter) == []


def test_quotes_are_asked_for_in_fifties(adapter: NeoAPI, stub: Stub) -> None:
    wanted = [option(20000 + 50 * step, OptionRight.PUT) for step in range(120)]
    tokens = [each.identifiers["kotakneo"]["token"] for each in wanted]
    rows = [fixture("quotes")[0] | {"exchange_token": token} for token in tokens]
    stub.says(QUOTES, *(Said(content=rows[start : start + 50][::-1]) for start in (0, 50, 100)))
    quotes = adapter.fetch_quotes(wanted)
    assert [quote.symbol for quote in quotes] == [each.symbol for each in wanted]
    paths = [unquote(heard.path.removeprefix(QUOTES)) for heard in stub.calls(QUOTES)]
    assert [path.count("nse_fo|") for path in paths] == [50, 50, 20]
    assert all(path.endswith("/all") for path in paths)


def test_a_quote_that_is_missing_fails_the_others(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(QUOTES, Said(content=fixture("quotes")))
    with pytest.raises(BrokerUnavailable, match="RELIANCE"):
        adapter.fetch_quotes([CALL, SHARE])


def test_a_symbol_that_is_not_known_is_no_matter_of_lots(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(QUOTES, Said(content=fixture("quotes_not_ok")))
    with pytest.raises(BrokerUnavailable, match=r"invalid symbol .*refresh the instruments"):
        adapter.fetch_quote(CALL)


def test_the_year_is_asked_for_by_its_type(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(QUOTES, Said(content=fixture("quotes_52w")))
    assert adapter.fetch_year_range(SHARE).low == Decimal("2026.65")
    assert [unquote(heard.path) for heard in stub.heard] == [f"{QUOTES}nse_cm|2885/52w"]


@pytest.mark.parametrize(("strikes", "count"), [(1, "10"), (3, "10"), (4, "20"), (10, "30"), (100, "210")])
def test_a_chain_is_asked_for_in_tens(
    strikes: int, count: str, adapter: NeoAPI, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.says(CHAIN, Said(content=fixture("option_chain")))
    found = adapter.fetch_option_chain(INDEX, EXPIRY, strikes)
    assert (found.underlying, found.exchange) == ("NIFTY", "NFO")
    # Two strikes are among the instruments here.
    assert f"has {2 * min(2 * strikes + 1, 7) - 4} options" in caplog.text
    [heard] = stub.heard
    assert query(heard) == {
        "exchange": "nse_fo",
        "underlying": "NIFTY",
        "expiry": "2026-11-24",
        "instrument_type": "option",
        "count": count,
    }
    assert "auth" not in heard.headers


@pytest.mark.parametrize(
    "instrument", [CALL, replace(SHARE, kind=InstrumentKind.FUTURE), replace(SHARE, identifiers={})]
)
def test_a_chain_of_what_has_no_options_is_not_asked_for(instrument: Any, adapter: NeoAPI, stub: Stub) -> None:
    with pytest.raises(OrderDenied):
        adapter.fetch_option_chain(instrument, EXPIRY, 2)
    assert stub.heard == []


def minutes(*stamps: str) -> dict[str, Any]:
    rows = [[f"{stamp}+0530", 100, 101, 99, 100.5, 65, None] for stamp in stamps]
    return {"status": "success", "interval": "1min", "data": {"candles": rows}}


def test_candles_are_paged_deduped_sorted_and_cut(adapter: NeoAPI, stub: Stub) -> None:
    pages = [
        Said(content=minutes("2026-09-01T09:14:00", "2026-09-01T09:16:00", "2026-09-01T09:15:00")),
        Said(content=fixture("candles_none"), status=400),
        Said(content=minutes("2026-11-02T09:15:00", "2026-09-01T09:16:00", "2026-11-02T09:17:00")),
    ]
    stub.says(CANDLES, *pages)
    starts_at, ends_at = datetime(2026, 9, 1, 3, 45, tzinfo=UTC), datetime(2026, 11, 2, 3, 47, tzinfo=UTC)
    candles = adapter.fetch_candles(CALL, CandleInterval.MINUTE, starts_at, ends_at)
    assert [f"{candle.opened_at:%m-%d %H:%M}" for candle in candles] == ["09-01 03:45", "09-01 03:46", "11-02 03:45"]
    asked = [query(heard) for heard in stub.calls(CANDLES)]
    assert [(each["fromdate"], each["todate"]) for each in asked] == [
        ("2026-09-01", "2026-09-30"),
        ("2026-10-01", "2026-10-30"),
        ("2026-10-31", "2026-11-02"),
    ]
    assert {(each["neosymbol"], each["interval"]) for each in asked} == {("nse_fo|71472", "1min")}


def test_of_a_candle_that_comes_twice_the_later_counts(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(CANDLES, Said(content=fixture("candles_odd")))
    candles = adapter.fetch_candles(CALL, CandleInterval.MINUTE, STARTS, ENDS)
    assert [(candle.opened_at.minute, candle.close) for candle in candles] == [
        (45, Decimal("120.6")),
        (47, Decimal("120.00")),
    ]


@pytest.mark.parametrize("name", ["candles_none", "candles_too_early"])
def test_a_stretch_without_candles_has_none(name: str, adapter: NeoAPI, stub: Stub) -> None:
    stub.says(CANDLES, Said(content=fixture(name), status=400))
    assert READS[CANDLES](adapter) == []


def test_those_words_under_another_status_are_a_failure(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(CANDLES, Said(content=fixture("candles_none"), status=500))
    with pytest.raises(BrokerUnavailable):
        READS[CANDLES](adapter)


def test_an_index_is_tried_by_its_name_when_its_token_is_not_known(adapter: NeoAPI, stub: Stub) -> None:
    unknown = Said(content=fixture("candles_unknown_symbol"), status=400)
    stub.says(CANDLES, unknown, Said(content=fixture("candles_1min")))
    starts_at = ENDS - timedelta(days=40)
    assert len(adapter.fetch_candles(INDEX, CandleInterval.MINUTE, starts_at, ENDS)) == 2
    assert [query(heard)["neosymbol"] for heard in stub.heard] == [
        "nse_cm|26000", "nse_cm|Nifty 50", "nse_cm|Nifty 50",
    ]  # fmt: skip


def test_a_symbol_that_has_no_candles_at_kotak_is_no_empty_series(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(CANDLES, Said(content=fixture("candles_unknown_symbol"), status=400))
    with pytest.raises(BrokerUnavailable, match="Invalid neosymbol"):
        READS[CANDLES](adapter)
    assert len(stub.heard) == 1


def test_an_interval_that_kotak_lacks_is_refused_with_those_it_has(adapter: NeoAPI, stub: Stub) -> None:
    with pytest.raises(UnsupportedFeature, match="1s; ask for one of 1m, 5m, 15m, 30m, 1h, 1d"):
        adapter.fetch_candles(CALL, CandleInterval.SECOND, STARTS, ENDS)
    assert stub.heard == []


def test_candles_of_a_segment_that_kotak_does_not_serve_are_not_asked_for(adapter: NeoAPI, stub: Stub) -> None:
    ids = {"kotakneo": {"exchange_segment": "mcx_fo", "trading_symbol": "CRUDEOIL26DECFUT", "token": "1"}}
    with pytest.raises(OrderDenied):
        adapter.fetch_candles(replace(CALL, identifiers=ids), CandleInterval.DAY, STARTS, ENDS)
    assert stub.heard == []


@pytest.mark.parametrize(
    ("interval", "days"),
    [("1m", 30), ("5m", 30), ("15m", 60), ("30m", 90), ("1h", 90), ("1d", 180)],
)
def test_no_call_spans_more_days_than_kotak_takes(interval: str, days: int) -> None:
    pages = building.candle_arguments(CandleInterval(interval), STARTS - timedelta(days=400), ENDS)
    spans = [(date.fromisoformat(page["from_date"]), date.fromisoformat(page["to_date"])) for page in pages]
    assert all((last - first).days < days for first, last in spans)
    covered = [first + timedelta(days=step) for first, last in spans for step in range((last - first).days + 1)]
    assert covered == [date(2025, 10, 16) + timedelta(days=step) for step in range(401)]


def test_holdings_take_their_prices_from_quotes_and_leave_no_file(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(HOLDINGS, Said(content=fixture("holdings")))
    stub.says(QUOTES, Said(content=[row for row in fixture("quotes_many") if row["exchange_token"] == "2885"]))
    folder = Path(os.environ["NEO_HOLDINGS_CACHE_DIR"])
    before = set(folder.iterdir())
    known, unknown = adapter.fetch_holdings()
    assert (known.symbol, known.last_price, unknown.last_price) == ("RELIANCE", Decimal("2500.1"), None)
    assert [unquote(heard.path) for heard in stub.heard] == [HOLDINGS, f"{QUOTES}nse_cm|2885/ltp"]
    assert set(folder.iterdir()) == before


def test_a_folder_that_cannot_be_written_loses_no_holdings(
    adapter: NeoAPI, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NEO_HOLDINGS_CACHE_DIR", str(tmp_path / "file" / "below"))
    stub.says(HOLDINGS, Said(content={"data": fixture("holdings")["data"][1:]}))
    assert [holding.symbol for holding in adapter.fetch_holdings()] == ["[GONE]"]


def test_holdings_without_their_prices_are_not_told(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(HOLDINGS, Said(content=fixture("holdings")))
    stub.says(QUOTES, Said(drop=True))
    with pytest.raises(BrokerUnavailable):
        adapter.fetch_holdings()


def test_a_margin_is_asked_for_order_by_order(adapter: NeoAPI, stub: Stub) -> None:
    stop = replace(
        ORDER,
        instrument=SHARE,
        side=Side.SELL,
        quantity=7,
        order_type=OrderType.STOP_LIMIT,
        limit_price=Decimal(2500),
        trigger_price=Decimal("2500.5"),
        product=Product.CNC,
    )
    stub.says(MARGIN, Said(content=fixture("margin_required")))
    needed = adapter.fetch_margin_required([ORDER, stop])
    assert (needed.required, needed.is_netted) == (Decimal("3001.00"), False)
    first, second = (heard.form for heard in stub.heard)
    assert (first["exSeg"], first["tok"], first["prcTp"], first["prc"], first["qty"], first["trnsTp"]) == (
        "nse_fo", "71472", "L", "100.50", "130", "B",
    )  # fmt: skip
    assert (second["tok"], second["prcTp"], second["trgPrc"], second["prod"]) == ("2885", "SL", "2500.5", "CNC")
    assert [heard.path for heard in stub.heard] == [MARGIN, MARGIN]


def test_one_bad_order_and_none_is_asked_for(adapter: NeoAPI, stub: Stub) -> None:
    with pytest.raises(OrderDenied):
        adapter.fetch_margin_required([ORDER, replace(ORDER, quantity=1)])
    assert stub.heard == []


def test_a_history_is_oldest_first(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(HISTORY, Said(content=fixture("order_history")))
    events = adapter.fetch_order_history("261123000000001", CALL)
    assert [event.filled_quantity for event in events] == [0, 0, 65, 130]
    with pytest.raises(UnreadableReply):
        adapter.fetch_order_history("261123000000002", CALL)
