"""Opening, sharing and losing a session."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from brokers.adapter_interface import MasterRow
from brokers.domain.errors import BrokerError, BrokerUnavailable, LoginFailed, NotSent, PersonNeeded, SessionExpired
from tests.contract.world import CHECKOUT, MARKET_TIME, Trader, nobody_listens, one_call


def test_a_login_opens_a_session_that_reads(trader: Trader) -> None:
    assert trader.adapter.fetch_margin().available > 0


@pytest.mark.proves("unattended_login")
def test_a_login_needs_a_person_or_nobody(trader: Trader) -> None:
    adapter = trader.new_adapter()
    if trader.spec.capabilities.unattended_login:
        assert adapter.open_session().session_token
    else:
        with pytest.raises(PersonNeeded) as needed:
            adapter.open_session()
        assert needed.value.login_url


def test_a_session_ends_within_the_day(trader: Trader) -> None:
    _, grant = trader.log_in()
    midnight = (MARKET_TIME + timedelta(days=1)).replace(hour=0, minute=0)
    assert trader.clock.now() < grant.expires_at <= midnight


def test_a_grant_shows_no_secret(trader: Trader) -> None:
    _, grant = trader.log_in()
    shown = f"{grant!r} {json.dumps(dict(grant.details))}"
    for secret in (grant.session_token, grant.sid, *trader.account.credentials().values()):
        assert secret not in shown or secret in (trader.account.ucc, trader.account.user_id)


def log_in_and_read(trader: Trader, **secrets: str) -> None:
    adapter, grant = trader.log_in(**secrets)
    adapter.use_session(grant)
    adapter.fetch_margin()


def test_every_wrong_credential_is_refused(trader: Trader) -> None:
    for column in trader.spec.required_credentials:
        right = trader.account.credentials()[column]
        wrong = "".join(chr(ord(c) ^ 1) if c.isdigit() else c.swapcase() if c.isalpha() else c for c in right)
        if column == "totp_secret":
            wrong = right[1:] + right[:1]
        with pytest.raises(BrokerError) as caught:
            log_in_and_read(trader, **{column: wrong})
        assert right not in str(caught.value)
        assert wrong not in str(caught.value)


def test_the_first_required_credential_wrong_is_a_failed_login(trader: Trader) -> None:
    column = trader.spec.required_credentials[0]
    with pytest.raises(LoginFailed) as caught:
        trader.new_adapter(**{column: "nobody-knows-this-key"}, session_token="123456").open_session()
    assert str(caught.value).endswith(".")


def test_a_login_at_a_broker_that_is_down_is_no_refusal(trader: Trader) -> None:
    with nobody_listens() as url, pytest.raises(BrokerUnavailable):
        trader.new_adapter(at=url, session_token="123456").open_session()


def test_a_session_that_ended_is_found_out_by_a_read(trader: Trader) -> None:
    trader.adapter.fetch_margin()
    trader.kill_session()
    with pytest.raises(SessionExpired):
        trader.adapter.fetch_margin()
    _, grant = trader.log_in()
    trader.adapter.use_session(grant)
    assert trader.adapter.fetch_margin().available > 0


def test_a_session_that_ended_is_found_out_by_an_order(trader: Trader) -> None:
    request = trader.order()
    trader.adapter.fetch_margin()
    trader.kill_session()
    with pytest.raises(SessionExpired) as caught, one_call(trader.adapter):
        trader.adapter.place(request)
    assert caught.value.evidence is not None
    assert caught.value.evidence.left_this_machine
    assert not trader.happened()


CHILD = """
import json, sys
from datetime import datetime
from pathlib import Path
from brokers.discovery import specs
from brokers.adapter_interface import SessionGrant
from brokers.simulator import accounts
from tests.contract.world import NoCatalogue, Simulator, Trader

told = json.load(sys.stdin)
simulator = Simulator(Path(told["home"]))
simulator.urls = told["urls"]
account = accounts.numbered(told["broker"], told["number"])
trader = Trader(specs()[told["broker"]], simulator, account, NoCatalogue())
adapter = trader.new_adapter()
grant = told["grant"] | {"expires_at": datetime.fromisoformat(told["grant"]["expires_at"])}
with adapter.context.wire.call() as trace:
    adapter.use_session(SessionGrant(**grant))
calls = len(trace.records)
print(json.dumps({"calls": calls, "available": str(adapter.fetch_margin().available)}))
"""


def test_another_process_continues_a_session_without_a_call(trader: Trader) -> None:
    _, grant = trader.log_in()
    told = {
        "home": str(trader.simulator.home),
        "urls": trader.simulator.urls,
        "broker": trader.spec.name,
        "number": trader.account.number,
        "grant": {
            "session_token": grant.session_token,
            "sid": grant.sid,
            "details": dict(grant.details),
            "expires_at": grant.expires_at.isoformat(),
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=CHECKOUT,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard["calls"] == 0
    assert float(heard["available"]) > 0


def test_after_close_nothing_works_until_a_session_is_used_again(trader: Trader) -> None:
    adapter, grant = trader.log_in()
    adapter.use_session(grant)
    adapter.close()
    with pytest.raises(SessionExpired):
        adapter.fetch_margin()
    with pytest.raises(NotSent):
        adapter.place(trader.order())
    adapter.use_session(grant)
    assert adapter.fetch_margin().available > 0
    adapter.close()


@pytest.mark.proves("has_public_master")
def test_a_master_is_read_before_anybody_logged_in_where_it_is_published(trader: Trader) -> None:
    master = trader.new_adapter().read_master()
    if trader.spec.capabilities.has_public_master:
        assert any(isinstance(each, MasterRow) for each in master)
    else:
        with pytest.raises(SessionExpired):
            next(master)
