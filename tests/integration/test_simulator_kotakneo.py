"""Kotak Neo's face on the simulated exchange, by plain HTTP and by the real SDK."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pyotp
import pytest

from brokers.adapters.kotakneo import sdk
from brokers.clock import IST
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from tests.support import real_data
from tests.support.processes import CHECKOUT

BROKER = "kotakneo"
CALL, FUTURE = "NIFTY26NOV22250CE", "NIFTY26NOVFUT"
HOSTS = ("mis.kotaksecurities.com", "lapi.kotaksecurities.com")
numbers = itertools.count(1)
opened: list[httpx.Client] = []


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The face of a simulator at ten on a Monday, its prices standing still."""
    command = [sys.executable, "-m", "brokers.simulator", "--home", str(tmp_path_factory.mktemp("home")), "--port", "0"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        face: str = json.loads(process.stdout.readline())["urls"][BROKER]
        httpx.post(f"{face}/_sim/clock", json={"at": "2026-11-23T10:00:00"}).raise_for_status()
        httpx.post(f"{face}/_sim/settings", json={"moving": False}).raise_for_status()
        yield face
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Neo:
    """One account that speaks plain HTTP; every test has its own."""

    def __init__(self, url: str) -> None:
        self.account: SimulatedAccount = accounts.numbered(BROKER, next(numbers))
        self.http = httpx.Client(base_url=url, timeout=5)
        opened.append(self.http)
        self.headers: dict[str, str] = {}

    def otp(self, *, steps: int = 0) -> str:
        return pyotp.TOTP(self.account.totp_secret).at(datetime.now(UTC) + timedelta(seconds=30 * steps))

    def view(self, **changed: str) -> httpx.Response:
        body = {"mobileNumber": self.account.mobile_number, "ucc": self.account.ucc, "totp": self.otp()}
        headers = {"Authorization": self.account.api_key, "neo-fin-key": "neotradeapi"}
        return self.http.post("/login/1.0/tradeApiLogin", json=body | changed, headers=headers)

    def validate(self, view: dict[str, Any], *, mpin: str | None = None) -> httpx.Response:
        headers = {"Authorization": self.account.api_key, "neo-fin-key": "neotradeapi"}
        headers |= {"sid": view["sid"], "Auth": view["token"]}
        body = {"mpin": self.account.mpin if mpin is None else mpin}
        return self.http.post("/login/1.0/tradeApiValidate", json=body, headers=headers)

    def login(self) -> dict[str, Any]:
        session: dict[str, Any] = self.validate(self.view().json()["data"]).json()["data"]
        self.headers = {"Authorization": self.account.api_key, "Sid": session["sid"], "Auth": session["token"]}
        return session

    def form(self, path: str, **values: Any) -> httpx.Response:
        return self.http.post(path, data={"jData": json.dumps(values)}, headers=self.headers)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path, headers=self.headers)

    def place(self, **changed: Any) -> httpx.Response:
        order = {
            "am": "NO", "dq": "0", "es": "nse_fo", "mp": "0", "pc": "NRML", "pr": "10.00", "pt": "L", "qt": "65",
            "rt": "DAY", "tp": "0", "ts": CALL, "tt": "B", "ig": None, "os": "NEOTRADEAPI",
        }  # fmt: skip
        return self.form("/quick/order/rule/ms/place", **(order | changed))

    def order(self, number: str) -> dict[str, Any]:
        row: dict[str, Any] = self.get(f"/quick/user/orders/{number}").json()["data"][0]
        return row

    def fault(self, **values: Any) -> None:
        sent = self.http.post("/_sim/faults", json={"account": self.account.user_id, **values})
        assert sent.status_code == 200, sent.text


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def neo(url: str) -> Iterator[Neo]:
    """An account of its own, logged in."""
    one = Neo(url)
    one.login()
    yield one
    one.http.delete("/_sim/faults")


# Login


def test_login_needs_the_headers_of_the_api(url: str) -> None:
    neo = Neo(url)
    reply = neo.http.post("/login/1.0/tradeApiLogin", json={}, headers={"Authorization": neo.account.api_key})
    assert reply.json() == {"error": [{"code": "10512", "message": "Required header not found."}]}


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_a_one_time_password_is_good_one_step_early_or_late(url: str, steps: int) -> None:
    neo = Neo(url)
    assert neo.view(totp=neo.otp(steps=steps)).json()["data"]["kType"] == "View"


@pytest.mark.parametrize("changed", [{"totp": "000000"}, {"ucc": "ZZ999"}, {"mobileNumber": "+910000000000"}])
def test_a_wrong_first_step_is_refused(url: str, changed: dict[str, str]) -> None:
    reply = Neo(url).view(**changed)
    assert reply.status_code == 401
    assert reply.json()["error"][0]["message"].startswith("Invalid")


def test_a_wrong_mpin_and_a_wrong_view_token_are_refused(url: str) -> None:
    neo = Neo(url)
    view = neo.view().json()["data"]
    assert neo.validate(view, mpin="000000").json()["error"][0]["message"] == "Invalid MPIN"
    assert neo.validate(view | {"token": "a.b.c"}).json()["error"][0]["message"] == "Invalid view token"


def test_the_token_ends_at_midnight_in_india(url: str) -> None:
    session = Neo(url).login()
    claims = json.loads(base64.urlsafe_b64decode(session["token"].split(".")[1] + "=="))
    assert datetime.fromtimestamp(claims["exp"], IST) == datetime(2026, 11, 24, tzinfo=IST)
    assert (claims["iss"], session["kType"], session["baseUrl"]) == ("login-service", "Trade", url)


def test_a_session_is_shared_and_ends_for_everybody(neo: Neo) -> None:
    other = Neo(str(neo.http.base_url).rstrip("/"))
    other.headers = neo.headers
    assert other.form("/quick/user/limits", seg="ALL").json()["stat"] == "Ok"
    neo.http.post("/_sim/sessions/kill", json={"account": neo.account.user_id})
    reply = other.form("/quick/user/limits", seg="ALL")
    assert (reply.status_code, reply.json()["stCode"]) == (401, 100022)
    neo.login()
    assert neo.form("/quick/user/limits", seg="ALL").json()["stCode"] == 200


@pytest.mark.parametrize(("header", "code"), [("Auth", 100022), ("Sid", 100022), ("Authorization", 100022)])
def test_a_wrong_header_is_no_session(neo: Neo, header: str, code: int) -> None:
    neo.headers = neo.headers | {header: "wrong"}
    assert neo.place().json()["stCode"] == code


def test_another_applications_key_is_unauthorized(neo: Neo) -> None:
    neo.headers = {name: value for name, value in neo.headers.items() if name != "Authorization"}
    assert neo.place().json()["stCode"] == 100008
    assert neo.get("/quick/user/orders").json()["stCode"] == 5203


# Orders


def test_an_accepted_order_stands_in_the_book(neo: Neo) -> None:
    placed = neo.place(ig="MC1").json()
    assert placed["stat"] == "Ok"
    assert placed["nOrdNo"].startswith("261123")
    row = neo.order(placed["nOrdNo"])
    assert (row["GuiOrdId"], row["ordSt"], row["trdSym"], row["qty"], row["unFldSz"]) == ("MC1", "open", CALL, 65, 65)
    assert (row["exSeg"], row["trnsTp"], row["prc"], row["prod"]) == ("nse_fo", "B", "10.00", "NRML")
    assert row["ordDtTm"].startswith("23-Nov-2026 10:")


def test_a_tag_is_taken_once_even_after_a_cancellation(neo: Neo) -> None:
    number = neo.place(ig="MC2").json()["nOrdNo"]
    duplicate = neo.place(ig="MC2").json()
    assert (duplicate["stCode"], duplicate["errMsg"]) == (32, "error from core")
    assert "Client OrderID already exists" in duplicate["stat"]
    neo.form("/quick/order/cancel", on=number, am="NO")
    assert neo.place(ig="MC2").json()["stCode"] == 32
    assert len(neo.get("/quick/user/orders").json()["data"]) == 1


def test_a_tag_changes_when_its_order_does(neo: Neo) -> None:
    changed, cancelled = (neo.place(ig=tag).json()["nOrdNo"] for tag in ("MC3", "MC4"))
    change = {"no": changed, "pr": "9.50", "pt": "L", "qt": "65", "vd": "DAY", "tp": "0", "dq": "0", "am": "NO"}
    assert neo.form("/quick/order/vr/modify", **change).json() == {"stat": "Ok", "nOrdNo": changed, "stCode": 200}
    neo.form("/quick/order/cancel", on=cancelled, am="NO")
    assert neo.order(changed)["GuiOrdId"].endswith("-ADMINAPI")
    assert neo.order(changed)["prc"] == "9.50"
    assert neo.order(cancelled)["GuiOrdId"].startswith("MC4-")
    assert neo.order(cancelled)["ordSt"] == "cancelled"


def test_an_order_without_a_tag_gets_one_of_the_servers(neo: Neo) -> None:
    assert neo.order(neo.place().json()["nOrdNo"])["GuiOrdId"].endswith("ADMINAPI")


def test_a_finished_order_is_completed_already(neo: Neo) -> None:
    number = neo.place(pr="999").json()["nOrdNo"]
    assert neo.order(number)["ordSt"] == "complete"
    reply = neo.form("/quick/order/cancel", on=number, am="NO").json()
    assert (reply["stCode"], reply["errMsg"]) == (1021, "order is completed")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"qt": "many"}, 1009),
        ({"qt": "0"}, 1009),
        ({"pr": ""}, 1009),
        ({"pr": "nan"}, 1009),
        ({"ts": "NIFTY26NOV1CE"}, 1007),
        ({"es": "cde_fo"}, 5202),
        ({"tt": "Buy"}, 5202),
        ({"pc": "BO"}, 5202),
        ({"rt": "GTC"}, 5202),
        ({"am": "maybe"}, 5202),
        ({"pt": "SL-M"}, 1017),
        ({"es": "nse_cm", "ts": "RELIANCE", "pc": "CNC"}, 1007),
    ],
)
def test_a_bad_form_is_refused_with_its_code(neo: Neo, changed: dict[str, str], code: int) -> None:
    reply = neo.place(**changed).json()
    assert (reply["stat"], reply["stCode"]) == ("Not_Ok", code)
    assert neo.get("/quick/user/orders").json()["stCode"] == 5203


def test_a_body_that_is_no_form_is_invalid(neo: Neo) -> None:
    reply = neo.http.post("/quick/order/rule/ms/place", json={"qt": "65"}, headers=neo.headers)
    assert reply.json()["errMsg"] == "body invalid"


@pytest.mark.parametrize(
    "changed", [{"qt": "66"}, {"qt": "1885"}, {"pr": "10.01"}, {"tt": "S", "qt": "1755", "ts": FUTURE, "pr": "22300"}]
)
def test_what_risk_management_refuses_is_taken_and_then_rejected(neo: Neo, changed: dict[str, str]) -> None:
    placed = neo.place(**changed).json()
    assert placed["stat"] == "Ok"
    row = neo.order(placed["nOrdNo"])
    assert row["ordSt"] == "rejected"
    assert row["rejRsn"] != "--"


def test_a_market_order_becomes_a_protected_limit(neo: Neo) -> None:
    row = neo.order(neo.place(pt="MKT", pr="0").json()["nOrdNo"])
    assert (row["prcTp"], row["ordSt"]) == ("L", "complete")
    assert float(row["prc"]) > float(row["avgPrc"]) > 0


def test_a_stop_waits_for_its_trigger(neo: Neo) -> None:
    row = neo.order(neo.place(pt="SL", pr="400", tp="300").json()["nOrdNo"])
    assert (row["ordSt"], row["prcTp"], row["trgPrc"]) == ("trigger pending", "SL", "300.00")


def test_a_share_is_traded_under_its_series(neo: Neo) -> None:
    placed = neo.place(es="nse_cm", ts="RELIANCE-EQ", pc="CNC", qt="1", pr="1500").json()
    row = neo.order(placed["nOrdNo"])
    assert (row["trdSym"], row["series"], row["optTp"], row["ordSt"]) == ("RELIANCE-EQ", "EQ", "- ", "complete")


def test_history_has_the_states_newest_first(neo: Neo) -> None:
    number = neo.place().json()["nOrdNo"]
    neo.form("/quick/order/cancel", on=number, am="NO")
    rows = neo.form("/quick/order/history", nOrdNo=number).json()["data"]
    assert rows[0]["ordSt"] == "cancelled"
    assert rows[-1]["ordSt"] in ("put order req received", "open")


# Reads


def test_empty_lists_are_said_in_words(neo: Neo) -> None:
    for path in ("/quick/user/orders", "/quick/user/trades", "/portfolio/v2/positions", "/portfolio/v1/holdings"):
        reply = neo.get(path)
        assert (reply.status_code, reply.json()["stCode"], reply.json()["errMsg"]) == (200, 5203, "No Data")


def test_a_fill_shows_in_trades_positions_and_limits(neo: Neo) -> None:
    before = neo.form("/quick/user/limits", seg="ALL").json()
    number = neo.place(ts=FUTURE, pr="23000", ig="MC9").json()["nOrdNo"]
    (fill,) = neo.get("/quick/user/trades").json()["data"]
    assert (fill["nOrdNo"], fill["fldQty"], fill["flLeg"], fill["tok"], fill["qty"]) == (number, 65, 1, "", 0)
    (held,) = neo.get("/portfolio/v2/positions").json()["data"]
    assert (held["flBuyQty"], held["flSellQty"], held["trdSym"], held["optTp"]) == ("65", "0", FUTURE, "XX")
    assert float(held["buyAmt"]) == pytest.approx(65 * float(fill["avgPrc"]))
    assert datetime.fromtimestamp(int(held["exp"]), IST).date() == date(2026, 11, 24)
    after = neo.form("/quick/user/limits", seg="ALL").json()
    assert float(after["Net"]) == pytest.approx(float(after["CollateralValue"]) - float(after["MarginUsed"]))
    assert float(after["Net"]) < float(before["Net"])


def test_the_margin_of_an_order_is_told_before(neo: Neo) -> None:
    token = _row(neo, "nse_fo", FUTURE)["pSymbol"]
    asked = {"exSeg": "nse_fo", "prc": "22250", "prcTp": "L", "prod": "NRML", "qty": "65", "tok": token, "trnsTp": "S"}
    reply = neo.form("/quick/user/check-margin", **asked).json()
    assert (reply["rmsVldtd"], reply["stCode"]) == ("OK", 200)
    assert float(reply["ordMrgn"]) > 100_000


def test_quotes_come_as_a_list_of_text(neo: Neo) -> None:
    token = _row(neo, "nse_fo", CALL)["pSymbol"]
    path = f"/script-details/1.0/quotes/neosymbol/nse_fo|{token},nse_cm|Nifty%2050/all"
    call, index = neo.http.get(path, headers={"Authorization": neo.account.api_key}).json()
    assert (call["exchange_token"], call["display_symbol"], call["exchange"]) == (token, CALL, "nse_fo")
    assert float(call["depth"]["sell"][0]["price"]) > float(call["depth"]["buy"][0]["price"])
    assert float(index["ltp"]) == pytest.approx(22_250, rel=0.05)
    assert "depth" not in neo.http.get(path.replace("/all", "/ltp"), headers=neo.headers).json()[0]


def test_a_quote_of_nothing_is_a_fault_of_market_data(neo: Neo) -> None:
    reply = neo.get("/script-details/1.0/quotes/neosymbol/nse_fo|1/all").json()
    assert (reply["status"], reply["fault"]["code"]) == ("ERROR", 400)


def _paths(neo: Neo) -> dict[str, str]:
    headers = {"Authorization": neo.account.api_key}
    found = neo.http.get("/script-details/1.0/masterscrip/file-paths", headers=headers).json()["data"]["filesPaths"]
    return {path.rpartition("/")[2].removesuffix(".csv").removesuffix("-v1"): path for path in found}


def _row(neo: Neo, segment: str, symbol: str) -> dict[str, str]:
    lines = csv.DictReader(io.StringIO(httpx.get(_paths(neo)[segment]).text))
    return next(row for row in lines if row["pTrdSymbol"] == symbol)


def test_the_master_has_kotaks_own_layout(neo: Neo) -> None:
    assert sorted(_paths(neo)) == ["bse_cm", "bse_fo", "nse_cm", "nse_fo"]
    option, future = _row(neo, "nse_fo", CALL), _row(neo, "nse_fo", FUTURE)
    assert len(option) == 79
    assert (option["dStrikePrice;"], option["dTickSize "], option["lLotSize"]) == ("2.225e+06", "5", "65")
    assert (option["pOptionType"], future["pOptionType"], option["lFreezeQty"]) == ("CE", "XX", "1801")
    expiry = datetime(1980, 1, 1, tzinfo=UTC) + timedelta(seconds=int(option["lExpiryDate "]))
    assert expiry == datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    assert _row(neo, "nse_cm", "RELIANCE-EQ")["surveillanceMessage"] == ""
    sensex = _row(neo, "bse_fo", "SENSEX26NOVFUT")
    assert datetime.fromtimestamp(int(sensex["lExpiryDate "]), IST).date() == date(2026, 11, 26)


def test_a_path_that_is_not_there_is_404(neo: Neo) -> None:
    assert neo.get("/quick/user/nothing").status_code == 404
    assert neo.http.get("/wso2-scripmaster/v1/prod/2026-11-23/mcx_fo.csv").status_code == 404


# Faults


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("session_dead", "", 401, 100022),
        ("static_ip", "", 403, 100008),
        ("static_ip", "1037", 403, 1037),
        ("refuse", "1009 please provide valid quantity", 400, 1009),
        ("no_data", "", 200, 5203),
    ],
)
def test_a_switch_answers_in_kotaks_words(neo: Neo, kind: str, body: str, status: int, code: int) -> None:
    neo.fault(endpoint="orders", kind=kind, body=body)
    reply = neo.get("/quick/user/orders")
    assert (reply.status_code, reply.json()["stCode"]) == (status, code)


def test_too_many_calls_are_told_when_to_come_again(neo: Neo) -> None:
    neo.fault(endpoint="place", kind="rate_limit")
    reply = neo.place()
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (429, 429, "1")


def test_ten_order_requests_a_second_are_the_most(neo: Neo) -> None:
    seen = [neo.place().status_code for _ in range(25)]
    assert 429 in seen


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [("bad_gateway", 502, "<html>"), ("null", 200, "null"), ("empty", 200, ""), ("redirect", 307, "")],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_spoiled_answer_may_hide_an_order(neo: Neo, kind: str, status: int, content: str, when: str) -> None:
    neo.fault(endpoint="place", kind=kind, when=when)
    reply = neo.place(ig="MC7")
    assert reply.status_code == status
    assert reply.text.startswith(content)
    booked = neo.get("/quick/user/orders").json()
    assert booked["stCode"] == (200 if when == "after" else 5203)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection_may_hide_an_order(neo: Neo, when: str) -> None:
    neo.fault(endpoint="place", kind="drop", when=when)
    with pytest.raises(httpx.TransportError):
        neo.place(ig="MC8")
    booked = neo.get("/quick/user/orders").json()
    assert booked["stCode"] == (200 if when == "after" else 5203)


def test_a_reply_may_hang_after_the_order_was_taken(neo: Neo) -> None:
    neo.fault(endpoint="place", kind="hang", when="after", seconds=1)
    neo.http.timeout = httpx.Timeout(0.5)
    with pytest.raises(httpx.ReadTimeout):
        neo.place(ig="MC8")
    assert neo.get("/quick/user/orders").json()["data"][0]["GuiOrdId"] == "MC8"


def test_a_reply_may_drip(neo: Neo) -> None:
    neo.fault(endpoint="place", kind="drip", seconds=0.001)
    assert neo.place().json()["stat"] == "Ok"


# The real SDK


class _Rerouted(httpx.BaseTransport):
    """Sends Kotak's hosts to the face."""

    def __init__(self, url: str) -> None:
        self._inner, self._url = httpx.HTTPTransport(), httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host in (*HOSTS, "127.0.0.1"), request.url
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        request.headers["host"] = f"{self._url.host}:{self._url.port}"
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """The SDK, logged in."""
    neo = Neo(url)
    client = sdk.load().NeoAPI(consumer_key=neo.account.api_key, environment="prod", transport=_Rerouted(url))
    client.totp_login(mobile_number=neo.account.mobile_number, ucc=neo.account.ucc, totp=neo.otp())
    client.totp_validate(mpin=neo.account.mpin)
    yield client
    client.api_client.rest_client.close()


def _order(**changed: str) -> dict[str, str]:
    order = {
        "exchange_segment": "nse_fo", "product": "NRML", "price": "10", "order_type": "L", "quantity": "65",
        "validity": "DAY", "trading_symbol": CALL, "transaction_type": "B", "tag": "MC1",
    }  # fmt: skip
    return order | changed


def test_the_sdk_logs_in_and_knows_its_hosts(client: Any, url: str) -> None:
    assert client.configuration.edit_token
    assert client.configuration.base_url == url
    assert client.configuration.sfeed_websocket_url.startswith("http://127.0.0.1")


def test_the_sdk_places_changes_and_cancels(client: Any) -> None:
    number = client.place_order(**_order())["nOrdNo"]
    changed = client.modify_order(order_id=number, price="9", order_type="L", quantity="65", validity="DAY")
    assert changed["stat"] == "Ok"
    assert client.order_report(order_id=number)["data"][0]["prc"] == "9.00"
    assert client.cancel_order(order_id=number)["nOrdNo"] == number
    assert client.order_history(order_id=number)["data"]["data"][0]["ordSt"] == "cancelled"
    assert client.cancel_order(order_id=number)["stCode"] == 1021


def test_the_sdk_reads_everything(client: Any) -> None:
    assert client.order_report()["stCode"] == 5203
    client.place_order(**_order(price="999"))
    assert client.trade_report()["data"][0]["fldQty"] == 65
    assert client.positions()["data"][0]["flBuyQty"] == "65"
    assert client.limits()["stat"] == "Ok"
    assert client.whatsmyip()["stCode"] == 1000
    path = client.scrip_master(exchange_segment="nse_fo")
    assert path.endswith("/2026-11-23/transformed/nse_fo.csv")
    quotes = client.quotes(instrument_tokens=[{"exchange_segment": "nse_cm", "instrument_token": "Nifty 50"}])
    assert quotes[0]["display_symbol"] == "NIFTY 50"


@real_data.needed(real_data.KOTAKNEO)
def test_the_whole_real_files_are_read_and_served() -> None:
    from brokers.adapters.kotakneo.simulator_master import master_file, read_contracts

    contracts = read_contracts(real_data.FOLDER)
    assert len(contracts) > 32_000
    served = master_file("nse_fo", [], real_data.FOLDER).decode().splitlines()
    assert len(served) == 30_440
    assert served[0].startswith("pSymbol,pGroup,pExchSeg")
