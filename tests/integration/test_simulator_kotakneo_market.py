"""Market data of Kotak Neo's face, by plain HTTP: shapes, refusals, and one story in quotes, chains and candles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from brokers.clock import IST
from brokers.simulator import accounts
from tests.support.processes import CHECKOUT

BROKER = "kotakneo"
QUOTES = "/script-details/1.0/quotes/neosymbol/"
CHAIN = "/market-data/1.0/watchlist/option-chain"
CANDLES = "/market-data/1.0/historical/details"
KEY = accounts.numbered(BROKER, 1).api_key
SHARE = "nse_cm|90001"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The face of a simulator at ten on a Monday, for one who has a consumer key and no session."""
    command = [sys.executable, "-m", "brokers.simulator", "--home", str(tmp_path_factory.mktemp("home")), "--port", "0"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        face: str = json.loads(process.stdout.readline())["urls"][BROKER]
        with httpx.Client(base_url=face, headers={"Authorization": KEY}, timeout=10) as client:
            client.post("/_sim/clock", json={"at": "2026-11-23T10:00:00"}).raise_for_status()
            yield client
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def candles(market: httpx.Client, **changed: str) -> httpx.Response:
    asked = {"neosymbol": SHARE, "interval": "1min", "fromdate": "2026-11-20", "todate": "2026-11-20"}
    return market.get(CANDLES, params=asked | changed)


def chain(market: httpx.Client, **changed: str) -> httpx.Response:
    asked = {"exchange": "nse_fo", "underlying": "NIFTY", "expiry": "2026-11-24", "count": "10"}
    return market.get(CHAIN, params=asked | changed)


def test_a_candle_is_a_row_of_seven(market: httpx.Client) -> None:
    reply = candles(market).json()
    assert (reply["status"], reply["interval"]) == ("success", "1min")
    rows: list[list[Any]] = reply["data"]["candles"]
    assert (len(rows), {len(row) for row in rows}) == (375, {7})
    assert (rows[0][0], rows[-1][0]) == ("2026-11-20T09:15:00+0530", "2026-11-20T15:29:00+0530")
    assert all(row[3] <= min(row[1], row[4]) and max(row[1], row[4]) <= row[2] for row in rows)
    assert {row[6] for row in rows} == {None}


def test_a_candle_is_the_same_whenever_it_is_asked_for(market: httpx.Client) -> None:
    assert candles(market).json() == candles(market).json()


@pytest.mark.parametrize(("interval", "count"), [("5min", 75), ("15min", 25), ("30min", 13), ("60min", 7), ("D", 1)])
def test_candles_of_a_day(interval: str, count: int, market: httpx.Client) -> None:
    assert len(candles(market, interval=interval).json()["data"]["candles"]) == count


def test_derivatives_trade_ten_minutes_longer(market: httpx.Client) -> None:
    token = chain(market).json()["data"]["call"][0]["instrument"]["neoSymbol"]
    rows = candles(market, neosymbol=token).json()["data"]["candles"]
    assert rows[-1][0] == "2026-11-20T15:39:00+0530"


def test_the_candle_that_is_open_ends_with_the_price_of_now(market: httpx.Client) -> None:
    rows = candles(market, fromdate="2026-11-23", todate="2026-11-23").json()["data"]["candles"]
    now = datetime.fromtimestamp(float(market.get(f"{QUOTES}{SHARE}/all").json()[0]["lstup_time"]), IST)
    last = datetime.fromisoformat(rows[-1][0])
    assert (now - last).total_seconds() < 120
    assert last <= now


@pytest.mark.parametrize(
    ("interval", "days", "taken"),
    [
        ("1min", 30, True),
        ("1min", 31, False),
        ("15min", 61, False),
        ("60min", 91, False),
        ("D", 180, True),
        ("D", 181, False),
    ],
)
def test_a_call_may_span_so_many_days(interval: str, days: int, taken: bool, market: httpx.Client) -> None:
    first = datetime.fromordinal(datetime(2026, 11, 20).toordinal() - days + 1).date()  # noqa: DTZ001
    reply = candles(market, interval=interval, fromdate=first.isoformat())
    assert reply.status_code == (200 if taken else 400)
    assert ("fault" in reply.json()) is not taken


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"interval": "2min"}, "Invalid interval value"),
        ({"neosymbol": "mcx_fo|1"}, "Invalid neosymbol"),
        ({"neosymbol": "nse_cm|1"}, "Invalid neosymbol"),
        ({"fromdate": ""}, "Invalid or missing fromdate"),
        ({"todate": "20-11-2026"}, "Invalid or missing todate"),
        ({"fromdate": "2026-11-21", "todate": "2026-11-22"}, "No data found"),
    ],
)
def test_what_has_no_candles_is_a_fault(changed: dict[str, str], text: str, market: httpx.Client) -> None:
    reply = candles(market, **changed)
    assert (reply.status_code, reply.json()["status"], reply.json()["fault"]) == (
        400, "ERROR", {"code": 400, "message": text},
    )  # fmt: skip


def test_an_index_is_known_by_token_and_by_name(market: httpx.Client) -> None:
    by_token, by_name = (candles(market, neosymbol=f"nse_cm|{name}").json() for name in ("26000", "Nifty 50"))
    assert by_token == by_name


@pytest.mark.parametrize(("count", "strikes"), [("10", 10), ("20", 20), ("100", 41)])
def test_a_chain_has_so_many_strikes_around_the_money(count: str, strikes: int, market: httpx.Client) -> None:
    data = chain(market, count=count).json()["data"]
    for side in ("call", "put"):
        words = [row["instrument"] for row in data[side]]
        assert (len(words), [each["moneyness"] for each in words].count("ATM")) == (strikes, 1)
    assert data["common_data"]["expiryDt"] == "2026-11-24"


def test_a_chain_tells_what_quotes_tell(market: httpx.Client) -> None:
    market.post("/_sim/settings", json={"moving": False}).raise_for_status()
    row = next(row for row in chain(market).json()["data"]["put"] if row["instrument"]["moneyness"] == "ATM")
    quote = market.get(f"{QUOTES}{row['instrument']['neoSymbol']}/all").json()[0]
    market.post("/_sim/settings", json={"moving": True}).raise_for_status()
    # An option loses value between the two calls, by a tick at most.
    assert abs(Decimal(str(row["quote"]["ltp"])) - Decimal(str(quote["ltp"]))) <= Decimal("0.05")
    assert type(row["quote"]["ltp"]) is type(quote["ltp"])
    assert str(row["openInterest"]["current"]) == quote["open_int"]
    assert (type(row["quote"]["volume"]), row["quote"]["close"]) == (int, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"count": "15"},
        {"count": "0"},
        {"count": "x"},
        {"exchange": "nse_cm"},
        {"underlying": "NIFT"},
        {"expiry": "2026-11-25"},
    ],
)
def test_a_chain_of_nothing_is_a_fault(changed: dict[str, str], market: httpx.Client) -> None:
    reply = chain(market, **changed)
    assert (reply.status_code, reply.json()["fault"]["code"]) == (400, 400)


@pytest.mark.parametrize("path", [CHAIN, CANDLES, f"{QUOTES}{SHARE}/all"])
def test_market_data_needs_the_consumer_key(path: str, market: httpx.Client) -> None:
    reply = market.get(path, headers={"Authorization": "another"})
    assert (reply.status_code, reply.json()["fault"]["code"]) == (401, 401)


@pytest.mark.parametrize(("endpoint", "path"), [("chain", CHAIN), ("candles", CANDLES)])
def test_too_many_calls_are_told_when_to_come_again(endpoint: str, path: str, market: httpx.Client) -> None:
    market.post("/_sim/faults", json={"kind": "rate_limit", "endpoint": endpoint}).raise_for_status()
    reply = market.get(path)
    assert (reply.status_code, reply.headers["retry-after"], reply.json()["code"]) == (429, "1", 429)
