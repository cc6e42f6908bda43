"""The tamed import, the signed requests, the login and the reads, through the real SDK over loopback."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.adapter_interface import SessionGrant
from brokers.adapters.breeze import sdk
from brokers.adapters.breeze.tests.harness import (
    API_KEY,
    API_SECRET,
    GRANT,
    NOW,
    OPTION,
    SHARE,
    Answer,
    breeze,
    fixture,
    make_adapter,
    refusal,
)
from brokers.clock import end_of_day
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import BrokerUnavailable, LoginFailed, PersonNeeded, SessionExpired

CHECKOUT = Path(__file__).resolve().parents[4]
#: Runs in a fresh interpreter: no socket may be opened while the SDK is imported.
IMPORT = """
import os, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
{before}
from brokers.adapters.breeze import sdk
import urllib3.util.connection as connection
path, ipv6, threads = list(sys.path), connection.HAS_IPV6, __import__("threading").active_count()
module = sdk.load()
assert sdk.load() is module
assert sys.path == path, sys.path
assert connection.HAS_IPV6 == ipv6
assert os.getcwd() == {folder!r}
{after}
print(sorted(os.listdir(".")))
"""


def _import_in(folder: Path, *, before: str = "", after: str = "") -> str:
    code = IMPORT.format(before=before, after=after, folder=str(folder))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{CHECKOUT}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_the_sdk_leaves_nothing_behind(tmp_path: Path) -> None:
    assert _import_in(tmp_path, after='assert "config" not in sys.modules') == "[]"


def test_an_applications_own_config_module_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("OWNER = 'application'\n")
    after = 'import config\nassert config.OWNER == "application"\nassert module.config is not config'
    assert _import_in(tmp_path, before="import config", after=after) == "['config.py']"


def test_a_config_module_imported_later_is_the_applications(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("OWNER = 'application'\n")
    assert _import_in(tmp_path, after='import config\nassert config.OWNER == "application"') == "['config.py']"


def test_a_read_only_folder_is_no_hindrance(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert _import_in(tmp_path) == "[]"
    finally:
        tmp_path.chmod(0o700)


def test_the_sdk_logs_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), breeze(fixture("funds"), fixture("margin")) as (adapter, _):
        adapter.fetch_margin()
    assert not [record for record in caplog.records if record.name in sdk.SDK_LOGGERS]
    assert capfd.readouterr() == ("", "")
    for name in sdk.SDK_LOGGERS:
        assert not logging.getLogger(name).isEnabledFor(logging.CRITICAL)


def test_requests_are_signed_over_what_is_sent() -> None:
    with breeze(fixture("funds"), fixture("margin")) as (adapter, stub):
        adapter.fetch_margin()
    funds, margin = stub.seen
    assert (funds.method, funds.path, funds.body) == ("GET", "/breezeapi/api/v1/funds", b"{}")
    assert margin.json == {"exchange_code": "NFO"}
    signed = funds.headers["X-Timestamp"] + "{}" + API_SECRET
    assert funds.headers["X-Checksum"] == "token " + hashlib.sha256(signed.encode()).hexdigest()
    assert funds.headers["X-SessionToken"] == GRANT.sid
    assert funds.headers["X-AppKey"] == API_KEY


def test_the_sdk_is_not_called_outside_of_a_client() -> None:
    with pytest.raises(RuntimeError, match="outside of its client"):
        sdk.load().requests.get("http://127.0.0.1:9/")


def test_a_url_keeps_its_path_on_another_host() -> None:
    assert sdk.redirected("https://api.icicidirect.com/a/b", "http://127.0.0.1:8101") == "http://127.0.0.1:8101/a/b"
    assert sdk.redirected("https://api.icicidirect.com/a/b", None) == "https://api.icicidirect.com/a/b"


def test_login_turns_the_token_into_a_session_for_every_process() -> None:
    with breeze(fixture("customer_details")) as (adapter, stub):
        grant = adapter.open_session()
    (seen,) = stub.seen
    assert (seen.path, seen.json) == ("/breezeapi/api/v1/customerdetails", {"SessionToken": "45053", "AppKey": API_KEY})
    assert (grant.session_token, grant.sid, grant.details) == ("45053", GRANT.sid, {"user_id": "TE123456"})
    assert grant.expires_at == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    assert "45053" not in repr(grant)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 11, 24, 18, 29, tzinfo=UTC), datetime(2026, 11, 24, 18, 30, tzinfo=UTC)),
        (datetime(2026, 11, 24, 18, 30, tzinfo=UTC), datetime(2026, 11, 25, 18, 30, tzinfo=UTC)),
    ],
)
def test_a_session_ends_at_midnight_in_india(now: datetime, end: datetime) -> None:
    assert end_of_day(now) == end


def test_without_a_token_a_person_is_shown_the_login_page() -> None:
    adapter = make_adapter("http://127.0.0.1:9", session_token="")
    with pytest.raises(PersonNeeded) as raised:
        adapter.open_session()
    assert raised.value.login_url == "http://127.0.0.1:9/apiuser/login?api_key=synthetic%2Bkey%3D1"
    assert raised.value.login_url in raised.value.message


@pytest.mark.parametrize("words", ["Invalid session.", "Resource not available."])
def test_a_token_that_is_over_asks_a_person_again(words: str) -> None:
    with breeze(refusal(words)) as (adapter, _), pytest.raises(PersonNeeded, match="hand the new apisession"):
        adapter.open_session()


def test_a_wrong_key_is_a_matter_of_configuration() -> None:
    with (
        breeze(refusal("Public Key does not exist.")) as (adapter, _),
        pytest.raises(LoginFailed, match="setup_credentials") as raised,
    ):
        adapter.open_session()
    assert not isinstance(raised.value, PersonNeeded)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html></html>", status=503),
        Answer(close=True),
        Answer(b"null"),
        Answer({"Success": None, "Status": 200, "Error": None}),
        Answer({"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}, status=401),
    ],
)
def test_a_login_that_got_no_answer_says_so(answer: Answer) -> None:
    with breeze(answer) as (adapter, _), pytest.raises(BrokerUnavailable, match="try again"):
        adapter.open_session()


@pytest.mark.parametrize("sid", ["", "%%%", "bm9jb2xvbg==", "Og=="])
def test_a_stored_session_that_cannot_be_read_asks_for_a_login(sid: str) -> None:
    broken = SessionGrant(session_token="45053", sid=sid, expires_at=GRANT.expires_at)
    with pytest.raises(SessionExpired, match="log in again"):
        make_adapter("http://127.0.0.1:9").use_session(broken)


def test_continuing_a_session_makes_no_call() -> None:
    with breeze() as (adapter, stub):
        adapter.use_session(GRANT)
    assert stub.seen == []


def test_the_book_is_read_at_every_exchange() -> None:
    nothing = refusal("No Data Found", status=200)
    answers = (fixture("orders_nse"), nothing, fixture("orders_nfo"), fixture("trades_nfo"), nothing)
    with breeze(*answers) as (adapter, stub):
        orders = {order.broker_order_id: order for order in adapter.fetch_orders()}
    assert len(orders) == 9
    assert orders["202611243800000004"].filled_quantity == 75
    assert [(seen.path[-6:], seen.json["exchange_code"]) for seen in stub.seen] == [
        ("/order", "NSE"),
        ("/order", "BSE"),
        ("/order", "NFO"),
        ("trades", "NFO"),
        ("/order", "BFO"),
    ]
    assert {seen.json["from_date"] for seen in stub.seen} == {"2026-11-24T06:00:00.000Z"}


def test_one_exchange_that_fails_makes_the_whole_book_fail() -> None:
    nothing = refusal("No Data Found", status=200)
    with (
        breeze(fixture("orders_nse"), nothing, Answer(b"", status=503)) as (adapter, _),
        pytest.raises(BrokerUnavailable, match="order book of NFO"),
    ):
        adapter.fetch_orders()


def test_one_order_is_read_at_its_exchange() -> None:
    answer = fixture("orders_nfo") | {"Success": fixture("orders_nfo")["Success"][:1]}
    with breeze(answer) as (adapter, stub):
        order = adapter.fetch_order("202611243800000001", OPTION)
    assert order.status is OrderStatus.OPEN
    assert stub.seen[0].json == {"exchange_code": "NFO", "order_id": "202611243800000001"}


def test_an_order_that_is_not_shown_is_not_known() -> None:
    with (
        breeze(refusal("No Data Found", status=200)) as (adapter, _),
        pytest.raises(BrokerUnavailable, match="does not show order 202611243800000001"),
    ):
        adapter.fetch_order("202611243800000001", OPTION)


def test_executions_are_read_again_only_when_an_order_traded_more() -> None:
    nothing, row = refusal("No Data Found", status=200), fixture("trades_nfo")["Success"][0]
    listed = {"Success": [row], "Status": 200, "Error": None}
    day = (nothing, nothing, listed)
    with breeze(*day, fixture("trade_detail"), nothing, *day, nothing) as (adapter, stub):
        first = adapter.fetch_trades()
        again = adapter.fetch_trades()
    assert first == again
    assert sum(fill.quantity for fill in first) == 75
    assert len(stub.seen) == 9


def test_executions_that_another_process_has_read_are_not_asked_for() -> None:
    nothing, row = refusal("No Data Found", status=200), fixture("trades_nfo")["Success"][0]
    listed = {"Success": [row], "Status": 200, "Error": None}
    day = (nothing, nothing, listed)
    with breeze(*day, fixture("trade_detail"), nothing) as (adapter, _):
        recorded = adapter.fetch_trades()
    with breeze(*day, nothing) as (adapter, stub):
        adapter.context = replace(adapter.context, recorded_fills=lambda: recorded)
        assert adapter.fetch_trades() == recorded
    assert len(stub.seen) == 4


def test_of_an_order_that_traded_more_than_is_recorded_the_executions_are_read() -> None:
    nothing, row = refusal("No Data Found", status=200), fixture("trades_nfo")["Success"][0]
    listed = {"Success": [row], "Status": 200, "Error": None}
    day = (nothing, nothing, listed)
    with breeze(*day, fixture("trade_detail"), nothing, *day, fixture("trade_detail"), nothing) as (adapter, stub):
        read = adapter.fetch_trades()
        adapter.close()
        adapter.use_session(GRANT)
        adapter.context = replace(adapter.context, recorded_fills=lambda: [replace(read[0], quantity=1)])
        assert adapter.fetch_trades() == read
    assert len(stub.seen) == 10


def test_a_quote_names_its_contract() -> None:
    with breeze(fixture("quote_option"), fixture("quote_cash")) as (adapter, stub):
        assert not adapter.fetch_quote(OPTION)
        quote = adapter.fetch_quote(SHARE)
    assert quote.last_price == Decimal("309.65")
    assert quote.as_of == NOW
    assert stub.seen[0].json["product_type"] == "options"
    assert stub.seen[1].json == {"stock_code": "ITC", "exchange_code": "NSE", "product_type": "cash"}


def test_two_accounts_in_two_threads_keep_their_own_wires() -> None:
    count, results = 20, {}

    def read(name: str, balance: float) -> None:
        funds = fixture("funds") | {"Success": fixture("funds")["Success"] | {"total_bank_balance": balance}}
        answers = [funds, fixture("margin")] * count
        with breeze(*answers) as (adapter, _):
            results[name] = {adapter.fetch_margin().cash for _ in range(count)}

    threads = [threading.Thread(target=read, args=(name, value)) for name, value in (("a", 1.5), ("b", 2.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": {Decimal("1.5")}, "b": {Decimal("2.5")}}
