"""The README's programs and its one order, run as a trader runs them, in good times and bad."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from brokers.discovery import specs
from tests.support.processes import CHECKOUT, clean_environment
from tests.support.stack import Stack, running_stack

BREEZE, KOTAKNEO = 0, 1
ORDER = re.compile(r"^Order \w+$", re.MULTILINE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Simulators and a prepared database with today's instruments; no worker, since the programs need none."""
    with running_stack(tmp_path_factory.mktemp("examples")) as stack:
        for broker in specs():
            stack.manage("shell", "-c", f"from tasks.instruments import refresh_instruments as r; r(broker={broker!r})")
        yield stack


@pytest.fixture(autouse=True)
def _no_faults(alone: Stack) -> Iterator[None]:
    yield
    for face in (BREEZE, KOTAKNEO):
        alone.control(face, "DELETE", "faults")


def run(stack: Stack, program: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{program}", *arguments],
        cwd=CHECKOUT,
        env=clean_environment() | stack.environment | changes,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def break_down(stack: Stack, face: int) -> None:
    """From now on the broker closes every connection without a byte."""
    stack.control(face, "POST", "faults", {"endpoint": "*", "kind": "drop", "count": 0})


def test_the_one_order_is_in_the_ledger_once(alone: Stack) -> None:
    shown = re.search(r"### One order\n.*?```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert shown
    for _ in range(2):
        alone.manage("shell", "-c", shown[1])
    recorded = [one for one in alone.do("intents") if one["client_order_id"] == "my-strategy-1"]
    assert [one["state"] for one in recorded] == ["READY"]


def test_the_broker_with_the_most_margin_gets_the_order(alone: Stack) -> None:
    done = run(alone, "most_margin", "RELIANCE", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "breeze: Rs 2,5" in done.stdout
    assert "kotakneo: Rs 2,5" in done.stdout
    assert ORDER.search(done.stdout)


def test_a_broker_that_is_down_is_named_and_the_other_is_used(alone: Stack) -> None:
    break_down(alone, BREEZE)
    done = run(alone, "most_margin", "INFY", "1")
    assert re.search(r"^breeze: \S.+", done.stdout, re.MULTILINE)
    assert "kotakneo: Rs" in done.stdout
    assert ORDER.search(done.stdout)


def test_no_broker_with_enough_margin_is_said(alone: Stack) -> None:
    done = run(alone, "most_margin", "RELIANCE", "1", "99000000")
    assert done.returncode == 1
    assert done.stderr == "No broker has Rs 99,000,000.00 available; add funds or ask for less.\n"


def test_a_wrong_symbol_is_said_with_the_nearest(alone: Stack) -> None:
    done = run(alone, "most_margin", "RELIANEC", "1")
    assert done.returncode == 1
    assert "RELIANEC" in done.stderr
    assert "RELIANCE" in done.stderr.replace("RELIANEC", "")


def test_an_order_beyond_the_margin_is_refused_by_the_word_margin(alone: Stack) -> None:
    done = run(alone, "most_margin", "MARUTI", "5000")
    assert done.returncode == 1
    assert "margin" in done.stderr.lower() or "fund" in done.stderr.lower()
    assert "Order" not in done.stdout


def test_positions_and_profit_of_every_broker(alone: Stack) -> None:
    future = alone.future("NIFTY")
    held = {"symbol": future["symbol"], "quantity": future["lot_size"], "price": "22000"}
    alone.control(KOTAKNEO, "POST", "positions", {"exchange": "NFO", "product": "NRML"} | held)
    done = run(alone, "positions")
    assert done.returncode == 0
    assert re.search(r"^breeze: \d+ positions, P&L Rs -?[\d,]+\.\d\d$", done.stdout, re.MULTILINE)
    assert re.search(r"^kotakneo: [1-9]\d* positions, P&L Rs -?[\d,]+\.\d\d$", done.stdout, re.MULTILINE)
    assert re.search(rf"^  {future['symbol']}: -?\d+", done.stdout, re.MULTILINE)


def test_positions_are_not_called_empty_when_a_broker_is_down(alone: Stack) -> None:
    break_down(alone, KOTAKNEO)
    done = run(alone, "positions")
    assert "kotakneo: 0 positions" not in done.stdout
    assert re.search(r"^kotakneo: \S.+", done.stdout, re.MULTILINE)
    assert re.search(r"^breeze: \d+ positions", done.stdout, re.MULTILINE)


def test_a_session_that_expired_is_renewed_where_no_person_is_needed(alone: Stack) -> None:
    assert run(alone, "positions").returncode == 0
    alone.control(KOTAKNEO, "POST", "sessions/kill", {})
    done = run(alone, "positions")
    assert re.search(r"^kotakneo: \d+ positions", done.stdout, re.MULTILINE), done.stdout


def test_missing_credentials_name_the_command(alone: Stack) -> None:
    alone.manage(
        "shell",
        "-c",
        "from credentials.models import CredentialStore as C; C.objects.filter(service='breeze').update(name='away')",
    )
    try:
        done = run(alone, "one_order", "breeze", "SBIN", "1")
    finally:
        alone.manage(
            "shell",
            "-c",
            "from credentials.models import CredentialStore as C; C.objects.filter(name='away').update(name='default')",
        )
    assert done.returncode == 1
    assert "Credentials not found: run `python manage.py setup_credentials --setup-breeze`" in done.stderr


def test_one_order_after_every_check(alone: Stack) -> None:
    done = run(alone, "one_order", "breeze", "SBIN", "1")
    assert re.search(r"^SBIN at Rs \d+", done.stdout), done.stdout + done.stderr
    assert ORDER.search(done.stdout)


def test_an_unknown_broker_is_said_with_those_there_are(alone: Stack) -> None:
    done = run(alone, "one_order", "zerodha", "SBIN", "1")
    assert done.returncode == 1
    assert "breeze" in done.stderr
    assert "kotakneo" in done.stderr


def test_a_login_that_the_broker_refuses_is_said(alone: Stack) -> None:
    alone.control(KOTAKNEO, "POST", "sessions/kill", {})
    alone.control(
        KOTAKNEO, "POST", "faults", {"endpoint": "login", "kind": "refuse", "count": 0, "body": "Invalid MPIN"}
    )
    done = run(alone, "one_order", "kotakneo", "SBIN", "1")
    assert done.returncode == 1
    assert "ogin" in done.stderr


def test_a_closed_market_is_said(alone: Stack) -> None:
    before = alone.control(BREEZE, "GET", "clock")["market_time"]
    alone.control(BREEZE, "POST", "clock", {"at": f"{before[:10]}T19:00:00+05:30"})
    try:
        done = run(alone, "one_order", "breeze", "SBIN", "1")
    finally:
        alone.control(BREEZE, "POST", "clock", {"at": before})
    assert done.returncode == 1
    assert done.stderr == "The market is closed; no order was placed.\n"
