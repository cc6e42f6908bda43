"""Breeze's face of the simulated exchange, spoken to over loopback: by hand, and by Breeze's own SDK."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from brokers.adapters.breeze.simulator import play_person
from brokers.clock import IST, SimulatedClock
from brokers.simulator.accounts import SimulatedAccount, default, numbered
from tests.support import real_data
from tests.support.processes import CHECKOUT, Child, wait_for

MORNING = datetime(2026, 11, 23, 10, 0, tzinfo=IST)
EXPIRY = "2026-11-24T06:00:00.000Z"
TODAY = {"from_date": "2026-11-23T06:00:00.000Z", "to_date": "2026-11-23T06:00:00.000Z"}


class Client:
    """One account's calls, signed as the protocol asks."""

    def __init__(self, url: str, account: SimulatedAccount) -> None:
        self.url = url
        self.account = account
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=10)
        self.token = ""

    def log_in(self) -> Mapping[str, Any]:
        session = play_person(f"{self.url}/apiuser/login?api_key={self.account.api_key}")
        body = json.dumps({"SessionToken": session, "AppKey": self.account.api_key})
        details: dict[str, Any] = self.http.request("GET", "/breezeapi/api/v1/customerdetails", content=body).json()[
            "Success"
        ]
        self.token = details["session_token"]
        return details

    def send(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any] | None = None,
        *,
        skew: float = 0,
        secret: str = "",
        token: str = "",
    ) -> httpx.Response:
        body = json.dumps(values or {}, separators=(",", ":"))
        stamp = f"{datetime.now(UTC) + timedelta(seconds=skew):%Y-%m-%dT%H:%M:%S}.000Z"
        checksum = hashlib.sha256((stamp + body + (secret or self.account.api_secret)).encode()).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Checksum": f"token {checksum}",
            "X-Timestamp": stamp,
            "X-AppKey": self.account.api_key,
            "X-SessionToken": token or self.token,
        }
        return self.http.request(method, f"/breezeapi/api/v1/{path}", content=body, headers=headers)

    def ask(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.send(method, path, values).json()
        return answer

    def control(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> httpx.Response:
        reply = self.http.request(method, f"/_sim/{path}", json=values or {})
        assert reply.status_code == 200, reply.text
        return reply

    def fault(self, **values: Any) -> None:
        self.control("POST", "faults", values)

    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.control("GET", "truth").text.splitlines()]

    def accepted(self) -> list[str]:
        return [line["order_id"] for line in self.truth() if line["event"] == "accepted"]

    def pin(self, price: str, symbol: str = "NIFTY26NOV22250CE", exchange: str = "NFO") -> None:
        self.control("POST", "price", {"exchange": exchange, "symbol": symbol, "price": price})


def option(**changes: str) -> dict[str, str]:
    return {
        "stock_code": "NIFTY", "exchange_code": "NFO", "product": "options", "action": "buy", "order_type": "limit",
        "quantity": "65", "price": "45", "validity": "day", "expiry_date": EXPIRY, "right": "call",
        "strike_price": "22250", "settlement_id": "", "order_segment_code": "", "lots": "", "user_remark": "mc01",
    } | changes  # fmt: skip


def share(**changes: str) -> dict[str, str]:
    return {
        "stock_code": "STABAN", "exchange_code": "NSE", "product": "cash", "action": "buy", "order_type": "limit",
        "quantity": "10", "price": "900", "validity": "day", "user_remark": "",
    } | changes  # fmt: skip


def start(home: Path, *more: str) -> Child:
    command = [
        sys.executable,
        "-m",
        "brokers.simulator",
        "--home",
        str(home),
        "--port",
        "0",
        "--broker",
        "breeze",
        *more,
    ]
    child = Child("simulator", command, log=home / f"simulator-{time.monotonic_ns()}.log")
    child.start()
    wait_for(lambda: "ready" in child.read_log() or not child.is_running(), "the simulator to listen")
    assert child.is_running(), child.read_log()
    return child


def url_of(child: Child) -> str:
    (line,) = [line for line in child.read_log().splitlines() if line.startswith("{")]
    url: str = json.loads(line)["urls"]["breeze"]
    return url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    SimulatedClock(home / "simulated-clock.json").set(MORNING)
    child = start(home)
    yield url_of(child)
    assert child.stop() == 0
    assert child.read_log().count("\n") == 1, child.read_log()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts simulators in the test's own folder, and ends those that the test leaves."""
    children: list[Child] = []

    def begin(*more: str) -> Child:
        children.append(start(tmp_path, *more))
        return children[-1]

    yield begin
    for child in children:
        child.kill()


_numbers = iter(range(2, 500))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A logged-in account that no other test has used, in a market whose prices are known."""
    made = Client(url, numbered("breeze", next(_numbers)))
    made.control("POST", "clock", {"at": MORNING.isoformat()})
    made.control("POST", "settings", {"ack_seconds": 0, "fill_lots": 20, "limits": True})
    made.pin("50")
    made.pin("950", "SBIN", "NSE")
    made.log_in()
    yield made
    made.control("DELETE", "faults")
    made.http.close()


def own(client: Client) -> list[dict[str, Any]]:
    return [line for line in client.truth() if line["account"] == client.account.user_id]


def test_a_login_gives_the_token_that_signs_calls(client: Client) -> None:
    details = client.log_in()

    user, _, key = base64.b64decode(details["session_token"]).decode().partition(":")
    assert user == details["idirect_userid"] == client.account.user_id
    assert key.isdigit()
    assert details["exg_trade_date"]["NSE"] == "23-Nov-2026"
    assert client.send("GET", "funds").json()["Status"] == 200


def test_customer_details_tell_a_wrong_key_a_wrong_session_and_an_ended_one_apart(client: Client) -> None:
    def details(session: str, key: str) -> str:
        body = json.dumps({"SessionToken": session, "AppKey": key})
        answer: str = client.http.request("GET", "/breezeapi/api/v1/customerdetails", content=body).json()["Error"]
        return answer

    session = play_person(f"{client.url}/apiuser/login?api_key={client.account.api_key}")
    client.control("POST", "sessions/kill", {"account": client.account.user_id})

    assert details(session, client.account.api_key) == "Resource not available."
    assert details("123", client.account.api_key) == "Invalid session."
    assert details(session, "nobody") == "Public Key does not exist."


@pytest.mark.parametrize("terms", [{"secret": "wrong"}, {"skew": -75}, {"skew": 75}, {"token": "d3Jvbmc6MQ=="}])
def test_a_call_that_is_not_signed_right_does_nothing(client: Client, terms: dict[str, Any]) -> None:
    reply = client.send("POST", "order", option(), **terms)

    assert reply.status_code == 401
    assert set(reply.json()) == {"Status", "Error"}
    assert own(client) == []


def test_a_session_ends_at_midnight_of_the_market(client: Client) -> None:
    client.control("POST", "clock", {"at": "2026-11-24T00:00:01+05:30"})

    assert client.send("GET", "funds").status_code == 401
    client.log_in()
    assert client.send("GET", "funds").status_code == 200


def test_an_order_row_has_the_documented_form_and_no_remark(client: Client) -> None:
    placed = client.ask("POST", "order", option())["Success"]
    row = client.ask("GET", "order", {"order_id": placed["order_id"], "exchange_code": "NFO"})["Success"][0]
    listed = client.ask("GET", "order", {"exchange_code": "NFO", **TODAY})["Success"]

    assert placed == {"order_id": row["order_id"], "message": "Successfully Placed the order", "user_remark": ""}
    assert len(row["order_id"]) == 18
    assert listed == [row]
    assert (row["status"], row["pending_quantity"], row["average_price"]) == ("Ordered", "65", "0")
    assert (row["stock_code"], row["right"], row["strike_price"], row["price"]) == ("NIFTY", "Call", 22250.0, "45")
    assert row["user_remark"] is None
    assert re.fullmatch(r"23-Nov-2026 10:0\d:\d\d", row["order_datetime"])
    assert [line["tag"] for line in own(client)] == ["mc01"]


def test_a_cancelled_order_keeps_its_open_quantity_in_its_row(client: Client) -> None:
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]

    cancelled = client.ask("DELETE", "order", {"order_id": order_id, "exchange_code": "NFO"})
    again = client.ask("DELETE", "order", {"order_id": order_id, "exchange_code": "NFO"})
    row = client.ask("GET", "order", {"order_id": order_id, "exchange_code": "NFO"})["Success"][0]

    assert cancelled["Success"]["message"] == "Your Order Canceled successfully."
    assert (again["Success"], again["Status"]) == (None, 500)
    assert (row["status"], row["pending_quantity"], row["cancelled_quantity"]) == ("Cancelled", "65", "65")


def test_a_share_order_has_minutes_only_and_its_own_form(client: Client) -> None:
    order_id = client.ask("POST", "order", share())["Success"]["order_id"]
    row = client.ask("GET", "order", {"order_id": order_id, "exchange_code": "NSE"})["Success"][0]

    assert order_id.startswith("20261123N")
    assert re.fullmatch(r"23-Nov-2026 10:0\d", row["order_datetime"])
    assert (row["exchange_order_id"], row["price"], row["expiry_date"]) == (None, "900.00", None)


def test_lists_are_by_exchange_and_empty_ones_are_null(client: Client) -> None:
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]

    assert client.ask("GET", "order", {"exchange_code": "NSE", **TODAY})["Success"] is None
    assert client.ask("GET", "trades", {"exchange_code": "NFO"})["Error"] == "No Data Found"
    assert client.ask("GET", "portfoliopositions")["Error"] == "No Positions available."
    wrong = client.ask("DELETE", "order", {"order_id": order_id, "exchange_code": "BFO"})
    assert wrong["Error"] == "No Data Found"


def test_a_fill_shows_in_trades_positions_and_funds(client: Client) -> None:
    client.control("POST", "settings", {"fill_lots": 1})
    order_id = client.ask("POST", "order", option(price="60", quantity="130"))["Success"]["order_id"]
    detail = {"order_id": order_id, "exchange_code": "NFO"}
    assert client.ask("GET", "order", detail)["Success"][0]["status"] == "Partially Executed"
    wait_for(lambda: client.ask("GET", "order", detail)["Success"][0]["status"] == "Executed", "the second fill")

    (total,) = client.ask("GET", "trades", {"exchange_code": "NFO", **TODAY})["Success"]
    fills = client.ask("GET", "trades", detail)["Success"]
    (position,) = client.ask("GET", "portfoliopositions")["Success"]
    funds = client.ask("GET", "funds")["Success"]

    assert (total["quantity"], total["action"], total["strike_price"]) == ("130", "Buy", "22250")
    assert [fill["executed_quantity"] for fill in fills] == ["65", "65"]
    assert len({fill["exchange_trade_id"] for fill in fills}) == 2
    assert (position["quantity"], position["action"], position["pnl"]) == ("130", "Buy", None)
    assert funds["total_bank_balance"] < 2_500_000
    assert isinstance(funds["unallocated_balance"], str)


def test_a_closed_position_stays_with_action_na(client: Client) -> None:
    client.ask("POST", "order", option(price="60"))
    client.ask("POST", "order", option(price="40", action="sell"))

    (position,) = client.ask("GET", "portfoliopositions")["Success"]

    assert (position["quantity"], position["action"]) == ("0", "NA")


def test_an_open_order_blocks_margin(client: Client) -> None:
    future = option(product="futures", right="others", strike_price="0", price="22000")
    client.ask("POST", "order", future)

    margin = client.ask("GET", "margin", {"exchange_code": "NFO"})["Success"]

    assert margin["block_by_trade"] == pytest.approx(65 * 22000 * 0.13)
    assert margin["limit_list"] == [{"amount": -margin["block_by_trade"]}]


def test_a_modified_order_has_its_new_terms(client: Client) -> None:
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]
    change = {"order_id": order_id, "exchange_code": "NFO", "price": "46.5", "quantity": "130"}

    assert client.ask("PUT", "order", change)["Success"]["message"] == "Successfully Modified the order"

    row = client.ask("GET", "order", {"order_id": order_id, "exchange_code": "NFO"})["Success"][0]
    assert (row["price"], row["quantity"], row["status"]) == ("46.5", "130", "Ordered")


def test_a_cash_quote_has_a_row_for_each_exchange(client: Client) -> None:
    shares = client.ask("GET", "quotes", {"stock_code": "STABAN", "exchange_code": "NSE"})["Success"]
    (contract,) = client.ask(
        "GET",
        "quotes",
        {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options", "right": "call",
         "strike_price": "22250", "expiry_date": EXPIRY},
    )["Success"]  # fmt: skip

    assert [row["exchange_code"] for row in shares] == ["NSE", "BSE"]
    assert shares[0]["ltp"] == 950.0
    assert (contract["ltp"], contract["best_bid_price"], contract["right"]) == (50.0, 49.95, "C")
    assert isinstance(contract["best_bid_quantity"], str)
    unknown = client.ask("GET", "quotes", {"stock_code": "NOBODY", "exchange_code": "NSE"})
    assert (unknown["Success"], unknown["Status"]) == (None, 500)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"order_type": "market"}, "Invalid Market/Limit indicator:"),
        ({"order_type": "whatever"}, "Invalid Market/Limit indicator:"),
        ({"quantity": "64"}, "multiple of the lot"),
        ({"strike_price": "22251"}, "Invalid stock code or contract"),
        ({"product": "margin"}, "Invalid product type"),
        ({"price": "nan"}, "Invalid price"),
        ({"product": "futures", "right": "others", "strike_price": "0", "price": "22000", "quantity": "1755"}, "funds"),
    ],
)
def test_a_bad_order_is_refused_with_a_text(client: Client, terms: dict[str, str], text: str) -> None:
    answer = client.ask("POST", "order", option(**terms))

    assert (answer["Success"], answer["Status"]) == (None, 500)
    assert text in answer["Error"]
    assert own(client) == []


@pytest.mark.parametrize(("terms", "status"), [({"quantity": "1820"}, "Freezed"), ({"price": "9000"}, "Rejected")])
def test_what_the_exchange_refuses_is_seen_in_the_book(client: Client, terms: dict[str, str], status: str) -> None:
    order_id = client.ask("POST", "order", option(**terms))["Success"]["order_id"]

    row = client.ask("GET", "order", {"order_id": order_id, "exchange_code": "NFO"})["Success"][0]
    assert row["status"] == status


def test_a_new_order_is_requested_until_the_exchange_confirms_it(client: Client) -> None:
    client.control("POST", "settings", {"ack_seconds": 60})
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]
    detail = {"order_id": order_id, "exchange_code": "NFO"}
    assert client.ask("GET", "order", detail)["Success"][0]["status"] == "Requested"

    client.control("POST", "clock", {"at": (MORNING + timedelta(minutes=2)).isoformat()})

    assert client.ask("GET", "order", detail)["Success"][0]["status"] == "Ordered"


def test_an_open_order_expires_at_the_close(client: Client) -> None:
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]
    client.control("POST", "clock", {"at": "2026-11-23T15:41:00+05:30"})

    row = client.ask("GET", "order", {"order_id": order_id, "exchange_code": "NFO"})["Success"][0]
    assert row["status"] == "Expired"
    assert client.ask("POST", "order", option())["Error"] == "Market is closed for trading."


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("drop", httpx.RemoteProtocolError),
        ("bad_gateway", 502),
        ("html", "<html>"),
        ("null", "null"),
        ("empty", ""),
        ("garbage", "half of it"),
        ("redirect", 307),
    ],
)
def test_a_spoiled_reply_says_nothing_of_whether_the_order_was_taken(
    client: Client, kind: str, seen: Any, when: str
) -> None:
    client.fault(endpoint="place", kind=kind, when=when, account=client.account.user_id)

    if isinstance(seen, type):
        with pytest.raises(seen):
            client.send("POST", "order", option())
    else:
        reply = client.send("POST", "order", option())
        assert reply.status_code == seen if isinstance(seen, int) else seen in reply.text
        assert b"order_id" not in reply.content

    assert len(own(client)) == (1 if when == "after" else 0)
    assert client.ask("POST", "order", option())["Status"] == 200, "the switch is for one call"


def test_a_hanging_call_is_cut_off_in_the_end_and_others_go_on(client: Client) -> None:
    client.fault(endpoint="funds", kind="hang", seconds=0.3)
    with pytest.raises(httpx.RemoteProtocolError):
        client.send("GET", "funds")
    assert client.send("GET", "funds").status_code == 200


def test_the_simulator_stops_at_once_while_a_client_hangs(started: Callable[..., Child]) -> None:
    child = started()
    client = Client(url_of(child), default("breeze"))
    client.log_in()
    client.fault(endpoint="funds", kind="hang")
    with httpx.Client(base_url=client.url, trust_env=False, timeout=0.2) as impatient:
        client.http, patient = impatient, client.http
        with pytest.raises(httpx.ReadTimeout):
            client.send("GET", "funds")
    patient.close()

    assert child.stop(seconds=5) == 0
    assert child.read_log().count("\n") == 1, child.read_log()


def test_a_dripping_reply_is_right_and_slow(client: Client) -> None:
    client.fault(endpoint="positions", kind="drip", seconds=0.002)
    started = time.monotonic()

    assert client.ask("GET", "portfoliopositions")["Error"] == "No Positions available."
    assert time.monotonic() - started > 0.1


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ({"kind": "rate_limit"}, 401, "Limit exceed: API call per minute:Try after some time"),
        ({"kind": "static_ip"}, 200, "static IP"),
        ({"kind": "refuse", "body": "RMS says no"}, 200, "RMS says no"),
        ({"kind": "session_dead"}, 401, "Authentication Failed"),
        ({"kind": "custom", "status": 503, "body": '{"Status":503}'}, 503, '"Status":503'),
    ],
)
def test_a_refusal_on_purpose_takes_no_order(client: Client, fault: dict[str, Any], status: int, text: str) -> None:
    client.fault(endpoint="place", account=client.account.user_id, **fault)

    reply = client.send("POST", "order", option())

    assert (reply.status_code, text in reply.text) == (status, True)
    assert own(client) == []
    dead = fault["kind"] == "session_dead"
    assert client.send("GET", "funds").status_code == (401 if dead else 200)


def test_the_book_can_lie(client: Client) -> None:
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]
    client.fault(endpoint="orders", kind="no_data")
    client.fault(endpoint="cancel", kind="no_effect")
    client.fault(endpoint="place", kind="duplicate")

    assert client.ask("GET", "order", {"exchange_code": "NFO", **TODAY})["Success"] is None
    assert client.ask("DELETE", "order", {"order_id": order_id, "exchange_code": "NFO"})["Status"] == 200
    client.ask("POST", "order", option())

    rows = client.ask("GET", "order", {"exchange_code": "NFO", **TODAY})["Success"]
    assert [row["status"] for row in rows] == ["Ordered"] * 3


def test_limits_are_enforced_and_counted(client: Client) -> None:
    replies = [client.send("GET", "portfoliopositions") for _ in range(100)]

    assert [reply.status_code for reply in replies] == [200] * 99 + [401], "the login was the first call"
    assert replies[-1].json()["Error"].startswith("Limit exceed: API call per minute")
    counters = client.control("GET", "counters").json()[client.account.user_id]
    assert counters["calls"]["max_in_minute"] == 101
    client.control("POST", "settings", {"limits": False})
    assert client.send("GET", "portfoliopositions").status_code == 200


def test_an_order_typed_by_a_person_is_in_the_book_without_a_tag(client: Client) -> None:
    user = client.account.user_id
    typed = client.control(
        "POST",
        "orders",
        {"account": user, "exchange": "NFO", "symbol": "NIFTY26NOV22250CE", "side": "BUY", "quantity": 65,
         "price": "44", "product": "NRML"},
    ).json()  # fmt: skip

    (row,) = client.ask("GET", "order", {"exchange_code": "NFO", **TODAY})["Success"]
    assert row["order_id"] == typed["order_id"]
    assert [(line["source"], line["tag"]) for line in own(client)] == [("PERSON", "")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "faults", {"kind": "nonsense"}, 400, "kind"),
        ("POST", "faults", {"kind": "drop", "endpoint": "nowhere"}, 400, "nowhere"),
        ("POST", "clock", {"at": "soon"}, 400, "at"),
        ("POST", "price", {"exchange": "NFO", "symbol": "NOPE", "price": "1"}, 404, "NOPE"),
        ("GET", "nothing", {}, 404, "GET /_sim/health"),
        ("POST", "sessions/kill", {"account": "nobody"}, 404, "nobody"),
    ],
)
def test_bad_control_requests_get_a_sentence(
    client: Client, method: str, path: str, body: dict[str, Any], status: int, text: str
) -> None:
    reply = client.http.request(method, f"/_sim/{path}", json=body)

    assert reply.status_code == status
    assert text in reply.json()["error"]


def test_a_restarted_simulator_has_its_book_and_takes_the_old_session(
    tmp_path: Path, started: Callable[..., Child]
) -> None:
    SimulatedClock(tmp_path / "simulated-clock.json").set(MORNING)
    first = started()
    client = Client(url_of(first), default("breeze"))
    client.log_in()
    order_id = client.ask("POST", "order", option())["Success"]["order_id"]
    first.kill()
    client.http.close()

    second = started()
    again = Client(url_of(second), default("breeze"))
    again.token = client.token
    rows = again.ask("GET", "order", {"exchange_code": "NFO", **TODAY})["Success"]
    again.http.close()

    assert second.stop() == 0
    assert [(row["order_id"], row["status"]) for row in rows] == [(order_id, "Ordered")]


def test_a_taken_port_is_one_sentence_and_status_one(tmp_path: Path, started: Callable[..., Child]) -> None:
    port = url_of(started()).rpartition(":")[2]
    command = [sys.executable, "-m", "brokers.simulator", "--home", str(tmp_path), "--broker", "breeze", "--port", port]

    second = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60)

    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"Port {port}" in second.stderr


def test_the_made_up_master_has_the_real_layout(client: Client) -> None:
    archive = zipfile.ZipFile(io.BytesIO(client.http.get("/SecurityMaster.zip").content))
    tables = {
        name: list(csv.DictReader(io.StringIO(archive.read(name).decode()), skipinitialspace=True))
        for name in archive.namelist()
    }

    (call,) = [
        row
        for row in tables["FONSEScripMaster.txt"]
        if (row["ShortName"], row["ExpiryDate"], row["StrikePrice"], row["OptionType"])
        == ("NIFTY", "24-Nov-2026", "22250", "CE")
    ]
    assert (call["LotSize"], call["TickSize"], call["FreezeQty"], call["InstrumentName"]) == ("65", "5", "0", "OPTIDX")
    (bank,) = [row for row in tables["NSEScripMaster.txt"] if row["ShortName"] == "STABAN"]
    assert (bank["ExchangeCode"], bank["Series"], bank["ticksize"]) == ("SBIN", "EQ", "0.01")
    assert tables["CDNSEScripMaster.txt"]
    assert tables["FOBSEScripMaster.txt"][0]["InstrumentName"] == "FUTIND"


@real_data.needed(real_data.BREEZE)
def test_real_masters_are_served_as_they_are_and_their_contracts_trade(
    tmp_path: Path, started: Callable[..., Child]
) -> None:
    SimulatedClock(tmp_path / "simulated-clock.json").set(datetime(2026, 7, 30, 10, 0, tzinfo=IST))
    child = started("--master-dir", str(real_data.BREEZE))
    client = Client(url_of(child), default("breeze"))
    client.log_in()
    served = client.http.get("/SecurityMaster.zip").content
    real = max(real_data.BREEZE.glob("SecurityMaster*.zip")).read_bytes()
    client.pin("1300", "RELIANCE", "NSE")
    terms = {"stock_code": "RELIND", "strike_price": "1300", "expiry_date": "2026-08-25T06:00:00.000Z"}
    quote = client.ask("GET", "quotes", {**terms, "exchange_code": "NFO", "product_type": "options", "right": "call"})
    placed = client.ask("POST", "order", option(**terms, quantity="500", price="20"))
    client.http.close()
    child.stop()

    assert served == real
    assert quote["Success"][0]["ltp"] > 0
    assert placed["Status"] == 200, placed


SDK_SCRIPT = """
import importlib.util, json, sys
url, key, secret, token = sys.argv[1:5]
package = importlib.util.find_spec("breeze_connect").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("config", package + "/config.py")
config = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config)
config.API_URL = url + "/breezeapi/api/v1/"
config.SECURITY_MASTER_URL = url + "/SecurityMaster.zip"
sys.modules["config"] = config
import breeze_connect.breeze_connect as sdk
client = sdk.BreezeConnect(key)
client.generate_session(secret, token)
order = dict(stock_code="NIFTY", exchange_code="NFO", product="options", action="buy", order_type="limit", stoploss="",
             quantity="65", price="45", validity="day", expiry_date="2026-11-24T06:00:00.000Z", right="call",
             strike_price="22250", user_remark="sdk")
day = "2026-11-23T06:00:00.000Z"
placed = client.place_order(**order)
order_id = placed["Success"]["order_id"]
print(json.dumps({
    "user": client.user_id,
    "details": client.get_customer_details(token),
    "placed": placed,
    "modified": client.modify_order(order_id=order_id, exchange_code="NFO", quantity="65", price="46"),
    "detail": client.get_order_detail("NFO", order_id),
    "cancelled": client.cancel_order("NFO", order_id),
    "orders": client.get_order_list("NFO", day, day),
    "filled": client.place_order(**{**order, "price": "60"}),
    "trades": client.get_trade_list(from_date=day, to_date=day, exchange_code="NFO"),
    "positions": client.get_portfolio_positions(),
    "funds": client.get_funds(),
    "margin": client.get_margin("NFO"),
    "quote": client.get_quotes(stock_code="STABAN", exchange_code="NSE", product_type="cash"),
    "names": client.get_names("nse", "SBIN"),
}))
"""


@pytest.mark.skipif(find_spec("breeze_connect") is None, reason="Breeze's SDK is not installed")
def test_the_real_sdk_works_against_the_face(client: Client, tmp_path: Path) -> None:
    token = play_person(f"{client.url}/apiuser/login?api_key={client.account.api_key}")
    command = [sys.executable, "-c", SDK_SCRIPT, client.url, client.account.api_key, client.account.api_secret, token]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=90, env={**os.environ, "NO_PROXY": "*"}
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["user"] == client.account.user_id
    assert {name: answer["Status"] for name, answer in seen.items() if name not in ("user", "names")} == {
        name: 200 for name in seen if name not in ("user", "names")
    }
    assert seen["detail"]["Success"][0]["price"] == "46"
    assert [row["status"] for row in seen["orders"]["Success"]] == ["Cancelled"]
    assert seen["trades"]["Success"][0]["quantity"] == "65"
    assert seen["positions"]["Success"][0]["action"] == "Buy"
    assert seen["names"]["isec_stock_code"] == "STABAN"
