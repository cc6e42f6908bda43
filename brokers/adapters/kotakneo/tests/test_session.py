"""Logging in, and using a session that another process opened."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pyotp
import pytest

from brokers.adapters.kotakneo import session
from brokers.adapters.kotakneo.tests.stub import SECRETS, Said, Stub, adapter_at, fixture, grant_for, web_token
from brokers.domain.errors import BrokerUnavailable, LoginFailed, SessionExpired

LOGIN, VALIDATE = "/login/1.0/tradeApiLogin", "/login/1.0/tradeApiValidate"


def answers(stub: Stub, **trade: Any) -> None:
    """Both steps succeed; ``trade`` changes the second one's data."""
    view = {"token": "view-token", "sid": "view-sid", "ucc": "ZZ001", "kType": "View", "status": "success"}
    data = {
        **view,
        "token": web_token(datetime.now(UTC) + timedelta(hours=9)),
        "sid": "trade-sid",
        "rid": "trade-rid",
        "baseUrl": stub.url,
        "dataCenter": "E43",
        "feedUrl": "ws://127.0.0.1:1/apifeed",
        "rtUrl": "ws://127.0.0.1:1/realtime",
        "kType": "Trade",
        "kId": "ZZZZZ0001Z",
    }
    stub.says(LOGIN, Said(content={"data": view}))
    stub.says(VALIDATE, Said(content={"data": data | trade}))


def test_a_login_gives_all_that_another_process_needs(stub: Stub) -> None:
    answers(stub)
    grant = adapter_at(stub.url).open_session()
    assert grant.sid == "trade-sid"
    assert grant.details["base_url"] == stub.url
    assert (grant.details["edit_rid"], grant.details["data_center"]) == ("trade-rid", "E43")
    assert timedelta(hours=8, minutes=54) < grant.expires_at - datetime.now(UTC) < timedelta(hours=8, minutes=56)
    assert "trade-sid" not in repr(grant)
    assert "ZZZZZ0001Z" not in json.dumps(dict(grant.details))
    password = json.loads(stub.calls(LOGIN)[0].body)["totp"]
    assert pyotp.TOTP(SECRETS["totp_secret"]).verify(password, valid_window=1)
    assert json.loads(stub.calls(VALIDATE)[0].body) == {"mpin": SECRETS["neo_password"]}


def test_a_session_is_used_without_any_call(stub: Stub) -> None:
    adapter = adapter_at(stub.url)
    adapter.use_session(grant_for(stub.url))
    assert stub.heard == []
    stub.says("/quick/user/limits", Said(content=fixture("limits")))
    adapter.fetch_margin()
    assert stub.heard[0].headers["auth"] == "trade-token"


@pytest.mark.parametrize("missing", ["base_url"])
def test_a_stored_session_that_lacks_something_asks_for_a_login(missing: str, stub: Stub) -> None:
    grant = grant_for(stub.url)
    object.__setattr__(grant, "details", {k: v for k, v in grant.details.items() if k != missing})
    with pytest.raises(SessionExpired):
        adapter_at(stub.url).use_session(grant)


def test_after_close_nothing_is_kept(stub: Stub) -> None:
    adapter = adapter_at(stub.url)
    adapter.use_session(grant_for(stub.url))
    adapter.close()
    with pytest.raises(SessionExpired):
        adapter.fetch_margin()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("Invalid TOTP", "totp_secret"),
        ("Invalid mobile number", "mobile_number"),
        ("Invalid UCC", "ucc"),
        ("Required header not found.", "api_key"),
    ],
)
def test_a_refused_one_time_password_says_what_to_check(words: str, sentence: str, stub: Stub) -> None:
    stub.says(LOGIN, Said(content={"error": [{"code": "10512", "message": words}]}, status=401))
    with pytest.raises(LoginFailed, match=sentence) as caught:
        adapter_at(stub.url).open_session()
    assert (caught.value.reason, caught.value.code) == (words, "10512")
    assert stub.calls(VALIDATE) == []


def test_a_clock_that_is_off_is_named(stub: Stub) -> None:
    ahead = format_datetime(datetime.now(UTC) + timedelta(seconds=95), usegmt=True)
    refusal = {"error": [{"code": "10522", "message": "Invalid TOTP"}]}
    stub.says(LOGIN, Said(content=refusal, status=401, headers={"Date": ahead}))
    with pytest.raises(LoginFailed, match=r"clock is -9[456] s away"):
        adapter_at(stub.url).open_session()


def test_a_wrong_mpin_is_named(stub: Stub) -> None:
    answers(stub)
    stub.says(VALIDATE, Said(content={"error": [{"code": "10524", "message": "Invalid MPIN"}]}, status=401))
    with pytest.raises(LoginFailed, match="Check the MPIN"):
        adapter_at(stub.url).open_session()


def test_a_broken_totp_secret_is_named_and_not_shown(stub: Stub) -> None:
    with pytest.raises(LoginFailed, match="no base32 text") as caught:
        adapter_at(stub.url, totp_secret="not base32 at all!").open_session()
    assert "not base32 at all" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert stub.heard == []


@pytest.mark.parametrize(
    "answer",
    [
        Said(content=b"<html>", status=502),
        Said(content=b"null"),
        Said(content=[]),
        Said(content={"data": None}),
        Said(drop=True),
        Said(content={"message": "dependency failed, retry in 5 seconds"}, status=424),
    ],
)
@pytest.mark.parametrize("step", [LOGIN, VALIDATE])
def test_a_broker_that_cannot_answer_is_no_refused_login(step: str, answer: Said, stub: Stub) -> None:
    answers(stub)
    stub.says(step, answer)
    with pytest.raises(BrokerUnavailable):
        adapter_at(stub.url).open_session()


def test_a_view_session_is_no_session(stub: Stub) -> None:
    answers(stub, kType="View")
    with pytest.raises((LoginFailed, BrokerUnavailable)):
        adapter_at(stub.url).open_session()


@pytest.mark.parametrize("address", ["", "http://10.0.0.1:80", "e43.kotaksecurities.com"])
def test_a_login_that_names_no_safe_server_is_refused(address: str, stub: Stub) -> None:
    answers(stub, baseUrl=address)
    adapter = adapter_at(stub.url)
    object.__setattr__(adapter.context, "base_url", None)
    with pytest.raises(LoginFailed, match="https"):
        adapter.open_session()


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.bnVsbA.c"])
def test_a_token_without_an_end_is_given_up_at_midnight_in_india(token: str) -> None:
    now = datetime(2026, 11, 23, 18, 29, tzinfo=UTC)
    assert session.expiry(token, now=now) == datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
    assert session.expiry(token, now=now + timedelta(minutes=1)) == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)


def test_a_token_is_given_up_five_minutes_early() -> None:
    now = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    end = now + timedelta(hours=15)
    assert session.expiry(web_token(end), now=now) == end - timedelta(minutes=5)
    assert session.expiry(web_token(end), now=end - timedelta(minutes=3)) == end


CHILD = """
import sys
from brokers.adapters.kotakneo.tests.stub import adapter_at, grant_for
adapter = adapter_at(sys.argv[1])
adapter.use_session(grant_for(sys.argv[1]))
print(adapter.fetch_margin().available)
"""


def test_another_process_continues_the_session(stub: Stub) -> None:
    stub.says("/quick/user/limits", Said(content=fixture("limits")))
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, stub.url], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "10157.08"
    assert [heard.path for heard in stub.heard] == ["/quick/user/limits"]


def test_a_secret_of_sixteen_letters_is_enough(stub: Stub) -> None:
    answers(stub)
    adapter_at(stub.url, totp_secret="GEZDGNBVGY3TQOJQ").open_session()
    assert re.fullmatch(r"\d{6}", json.loads(stub.calls(LOGIN)[0].body)["totp"])
