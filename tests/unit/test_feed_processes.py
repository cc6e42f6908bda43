"""The processes of live feeds: one that keeps a feed goes on without a database, and one that hangs is replaced."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.db import DatabaseError, OperationalError

from mcube import feeds

#: A look closes connections, and another test of the process may have opened one.
pytestmark = pytest.mark.django_db

ACCOUNT = "kotakneo/default"


class Keeper:
    """Notes when it is asked to look and to pump, on a clock that it moves; a look takes so many seconds and may fail."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.now, self.seconds, self.error = 1000.0, seconds, error
        self.looks: list[float] = []
        self.pumps: list[float] = []

    def look(self) -> None:
        self.looks.append(self.now)
        self.now += self.seconds
        if self.error is not None:
            raise self.error

    def pump(self) -> None:
        self.pumps.append(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        keeper: Any = self
        feeds.run(keeper, ACCOUNT, lambda: self.now >= end, monotonic=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize("error", [None, OperationalError("no route"), DatabaseError("gone"), redis.ConnectionError()])
def test_ticks_are_written_however_a_look_ends(error: Exception | None) -> None:
    keeper = Keeper(error=error)
    keeper.run(10.0)
    assert 9 <= len(keeper.looks) <= 10
    assert len(keeper.pumps) >= 190


def test_looks_that_wait_for_a_database_leave_time_for_ticks() -> None:
    keeper = Keeper(5.0, OperationalError("timeout expired"))
    keeper.run(60.0)
    assert len(keeper.looks) == 10
    assert len(keeper.pumps) >= 190


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that stand for those of feeds and do nothing, in the order in which they were started."""
    made: list[subprocess.Popen[bytes]] = []

    def start(account: str) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return made[-1]

    monkeypatch.setattr(feeds, "_start", start)
    yield made
    for child in made:
        child.kill()
        child.wait()


def test_a_process_that_shows_no_life_for_a_minute_is_replaced(started: list[subprocess.Popen[bytes]]) -> None:
    children: dict[str, feeds._Child] = {}
    for second in range(100):
        feeds._adjust(children, [ACCOUNT], {ACCOUNT}, now=1000.0 + second)
    (first,) = started
    first.send_signal(signal.SIGSTOP)
    for second in range(100, 160):
        feeds._adjust(children, [ACCOUNT], set(), now=1000.0 + second)
    assert first.poll() is None
    feeds._adjust(children, [ACCOUNT], set(), now=1160.0)
    assert first.wait(10) == -signal.SIGKILL
    feeds._adjust(children, [ACCOUNT], set(), now=1161.0)
    assert len(started) == 2
    # The new one has a minute of its own.
    for second in range(161, 221):
        feeds._adjust(children, [ACCOUNT], set(), now=1000.0 + second)
    assert started[1].poll() is None


def test_a_process_is_not_judged_by_what_cannot_be_asked(started: list[subprocess.Popen[bytes]]) -> None:
    children: dict[str, feeds._Child] = {}
    for second in range(0, 300, 50):
        feeds._adjust(children, [ACCOUNT], set(), now=1000.0 + second)
        feeds._judge_anew(children)
    assert started[0].poll() is None
    # A sign of life ends a silence as well.
    for second in range(300, 600, 50):
        feeds._adjust(children, [ACCOUNT], set(), now=1000.0 + second)
        feeds._adjust(children, [ACCOUNT], {ACCOUNT}, now=1000.0 + second)
    assert len(started) == 1
    assert started[0].poll() is None
