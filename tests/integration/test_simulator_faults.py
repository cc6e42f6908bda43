"""What only a checker asks of the simulated exchange: who asked, when the first byte came, and faults of the network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests.integration.test_simulator_kotakneo import BROKER, Neo, opened
from tests.support.processes import CHECKOUT, wait_for

PLACE = "/quick/order/rule/ms/place"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """The face of a simulator that keeps a log of requests."""
    command = [sys.executable, "-m", "brokers.simulator", "--home", str(home), "--port", "0", "--log-requests"]
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


@pytest.fixture
def neo(url: str) -> Iterator[Neo]:
    neo = Neo(url)
    neo.login()
    yield neo
    neo.http.delete("/_sim/faults")
    while opened:
        opened.pop().close()


def truth(home: Path, neo: Neo) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (home / "simulator" / "truth.jsonl").read_text().splitlines()]
    return [line for line in lines if line["account"] == neo.account.user_id]


def requests(home: Path, neo: Neo) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (home / "simulator" / "requests.jsonl").read_text().splitlines()]
    return [line for line in lines if line["account"] == neo.account.user_id]


def test_the_truth_log_says_who_asked_and_the_broker_never_does(home: Path, neo: Neo) -> None:
    neo.headers["X-Reference"] = "mine#1"
    number = neo.place().json()["nOrdNo"]
    neo.headers["X-Reference"] = "mine#2"
    neo.form("/quick/order/cancel", on=number, am="NO")

    lines = truth(home, neo)
    assert [(line["event"], line["reference"], line.get("by")) for line in lines] == [
        ("accepted", "mine#1", None),
        ("cancelled", "mine#1", "mine#2"),
    ]
    assert "mine#" not in neo.get("/quick/user/orders").text


def test_a_person_s_order_has_no_reference(home: Path, neo: Neo) -> None:
    typed = {"account": neo.account.user_id, "exchange": "NFO", "symbol": "NIFTY26NOV22250CE", "side": "BUY"}
    sent = neo.http.post("/_sim/orders", json=typed | {"quantity": 65, "price": "10", "product": "NRML"})

    assert sent.status_code == 200, sent.text
    assert [line["reference"] for line in truth(home, neo)] == [""]


def test_the_request_log_has_what_was_refused_and_what_was_lost(home: Path, neo: Neo) -> None:
    neo.headers["X-Reference"] = "lost"
    neo.fault(kind="drop", endpoint="place", when="before")
    with pytest.raises(httpx.RemoteProtocolError):
        neo.place()
    neo.headers["X-Reference"] = "refused"
    neo.place(qt="0")

    lines = requests(home, neo)
    assert [(line["reference"], line["endpoint"], line["fault"]) for line in lines] == [
        ("lost", "place", "drop before"),
        ("refused", "place", ""),
    ]
    assert abs(datetime.fromisoformat(lines[0]["wall_at"]) - datetime.now(UTC)).total_seconds() < 30
    assert truth(home, neo) == []


def test_a_request_is_dated_by_its_first_byte_and_needs_its_last(home: Path, neo: Neo, url: str) -> None:
    order = {
        "am": "NO", "dq": "0", "es": "nse_fo", "mp": "0", "pc": "NRML", "pr": "10.00", "pt": "L", "qt": "65",
        "rt": "DAY", "tp": "0", "ts": "NIFTY26NOV22250CE", "tt": "B", "ig": None, "os": "NEOTRADEAPI",
    }  # fmt: skip
    body = urlencode({"jData": json.dumps(order)}).encode()
    headers = {**neo.headers, "Host": "x", "Content-Length": str(len(body)), "X-Reference": "slow"}
    head = f"POST {PLACE} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    address = (urlsplit(url).hostname, urlsplit(url).port)

    with socket.create_connection(address) as cut_off:
        cut_off.sendall(head.encode() + body[:50])
    with socket.create_connection(address) as slow:
        began = time.time()
        slow.sendall(head.encode() + body[:50])
        time.sleep(0.3)
        slow.sendall(body[50:])
        assert b'"Ok"' in slow.recv(4096)

    wait_for(lambda: requests(home, neo), "the request to be logged")
    (line,) = requests(home, neo)
    assert datetime.fromisoformat(line["wall_at"]).timestamp() == pytest.approx(began, abs=0.2)
    assert [each["event"] for each in truth(home, neo)] == ["accepted"]


@pytest.mark.parametrize(("kind", "error"), [("partial", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
def test_a_reply_that_breaks_off_hides_an_order_that_was_taken(
    home: Path, neo: Neo, kind: str, error: type[Exception]
) -> None:
    neo.fault(kind=kind, endpoint="place", when="after")

    with pytest.raises(error):
        neo.place()

    assert [line["event"] for line in truth(home, neo)] == ["accepted"]


def test_a_session_gone_bad_shows_an_old_book_until_the_next_login(neo: Neo) -> None:
    first = neo.place().json()["nOrdNo"]
    neo.fault(kind="stale_book", endpoint="orders", count=0, until_login=True)
    second = neo.place().json()["nOrdNo"]

    assert [row["nOrdNo"] for row in neo.get("/quick/user/orders").json()["data"]] == [first]
    neo.login()
    assert {row["nOrdNo"] for row in neo.get("/quick/user/orders").json()["data"]} == {first, second}
