"""The call budget over a real server."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from brokers import limits
from brokers.clock import IST
from brokers.discovery import specs
from brokers.domain.errors import BrokerUnavailable, RateLimited
from brokers.limits import CallLimiter, Urgency
from tests.support.processes import Valkey, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
DAY = "2026-11-23"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=IST)


@pytest.fixture
def limiter(redis_url: str) -> Iterator[CallLimiter]:
    limiter = CallLimiter(redis_url)
    yield limiter
    limiter.close()


@pytest.fixture
def key() -> str:
    return f"test/{uuid.uuid4().hex}"


def _grants(limiter: CallLimiter, key: str, tries: int, *, urgency: Urgency = Urgency.ORDER, **limits: object) -> int:
    granted = 0
    for _ in range(tries):
        try:
            limiter.acquire(key, urgency=urgency, **({"windows": [], "per_day": None, "day": DAY} | limits))  # type: ignore[arg-type]
        except RateLimited:
            continue
        granted += 1
    return granted


def _grant_in_another_process(redis_url: str, key: str, tries: int) -> int:
    return _grants(CallLimiter(redis_url), key, tries, windows=[(10, 60)])


def test_no_window_is_overdrawn(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 50, windows=[(10, 60), (30, 3600)]) == 10


def test_one_call_in_twenty_is_left_alone(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 150, windows=[(100, 60)]) == 95


def test_the_tightest_window_decides(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 50, windows=[(10, 60), (7, 3600)]) == 7


def test_a_refused_call_uses_nothing_of_any_window(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 5, windows=[(2, 60), (10, 3600)]) == 2

    assert _grants(limiter, key, 20, windows=[(10, 3600)]) == 8


def test_processes_share_one_budget(redis_url: str, key: str) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        granted = pool.starmap(_grant_in_another_process, [(redis_url, key, 15)] * 3)

    assert sum(granted) == 10


def test_a_full_window_says_how_long_to_wait_and_opens_again_then(limiter: CallLimiter, key: str) -> None:
    limiter.acquire(key, windows=[(1, 1)], per_day=None, day=DAY)
    with pytest.raises(RateLimited) as refused:
        limiter.acquire(key, windows=[(1, 1)], per_day=None, day=DAY)

    assert 0 < refused.value.retry_after.total_seconds() <= 1.2
    wait_for(lambda: _grants(limiter, key, 1, windows=[(1, 1)]), "the window to open", seconds=2)


def test_the_day_is_counted_and_the_next_day_starts_afresh(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 30, per_day=10) == 10
    with pytest.raises(RateLimited, match=DAY):
        limiter.acquire(key, windows=[], per_day=10, day=DAY, urgency=Urgency.ORDER)

    assert _grants(limiter, key, 30, per_day=10, day="2026-11-24") == 10


def test_reads_leave_a_reserve_that_orders_may_use(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 50, urgency=Urgency.POLL, windows=[(100, 60)], per_day=40) == 36
    assert _grants(limiter, key, 50, urgency=Urgency.ORDER, windows=[(100, 60)], per_day=40) == 4


def test_questions_leave_orders_some_of_a_window_and_of_the_day(limiter: CallLimiter, key: str) -> None:
    # Of 100 calls of a minute 5 are nobody's, and 10 are for a cancel, or for an exit with what it asks first.
    assert _grants(limiter, key, 200, urgency=Urgency.QUESTION, windows=[(100, 60)]) == 85
    assert _grants(limiter, key, 200, urgency=Urgency.ORDER, windows=[(100, 60)]) == 10
    assert _grants(limiter, f"{key}-day", 50, urgency=Urgency.QUESTION, windows=[(100, 60)], per_day=40) == 38
    assert _grants(limiter, f"{key}-day", 50, urgency=Urgency.ORDER, windows=[(100, 60)], per_day=40) == 2


def test_reads_leave_a_quarter_of_a_window(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 20, urgency=Urgency.POLL, windows=[(8, 60)]) == 6
    assert _grants(limiter, key, 20, urgency=Urgency.ORDER, windows=[(8, 60)]) == 2


def test_a_limit_of_one_still_lets_reads_through(limiter: CallLimiter, key: str) -> None:
    assert _grants(limiter, key, 3, urgency=Urgency.POLL, windows=[(1, 60)]) == 1


def test_the_count_survives_a_flush_of_scripts(limiter: CallLimiter, key: str, redis_url: str) -> None:
    first = _grants(limiter, key, 6, windows=[(10, 60)])
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()

    assert first + _grants(limiter, key, 20, windows=[(10, 60)]) == 10


def test_after_a_flush_each_process_brings_its_calls_back(limiter: CallLimiter, key: str, redis_url: str) -> None:
    first = _grants(limiter, key, 6, windows=[(20, 60)], per_day=8)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter(f"mcube:calls:{{{key}}}:*"))

    # Of the 19 that may be granted 9 are taken for what processes made that have ended since.
    assert first + _grants(limiter, key, 20, windows=[(20, 60)], per_day=50) == 10
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter(f"mcube:calls:{{{key}}}:*"))
    with pytest.raises(RateLimited, match=DAY):
        limiter.acquire(key, windows=[], per_day=10, day=DAY, urgency=Urgency.ORDER)


def test_what_is_brought_back_twice_counts_once(
    limiter: CallLimiter, key: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its answer was lost, the process brings the same again."""
    assert _grants(limiter, key, 6, windows=[(20, 60)]) == 6
    bring_back = limiter._bring_back

    def answer_late(**arguments: Any) -> None:
        bring_back(**arguments)
        raise redis.TimeoutError

    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter(f"mcube:calls:{{{key}}}:*"))
        monkeypatch.setattr(limiter, "_bring_back", answer_late)
        with pytest.raises(BrokerUnavailable):
            limiter.acquire(key, windows=[(20, 60)], per_day=None, day=DAY)
        monkeypatch.setattr(limiter, "_bring_back", bring_back)
        assert _grants(limiter, key, 1, windows=[(20, 60)]) == 1
        assert int(client.get(f"mcube:calls:{{{key}}}:{DAY}") or 0) == 7


def test_a_forked_process_brings_back_nothing_of_its_parents(limiter: CallLimiter, key: str, redis_url: str) -> None:
    assert _grants(limiter, key, 6, windows=[(10, 60)]) == 6
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_granted_before, [key]) == 0


def _granted_before(key: str) -> int:
    return len(limits._memories[key].recent) if key in limits._memories else 0


def test_the_count_survives_a_restart_of_the_server(tmp_path: Path, key: str) -> None:
    server = Valkey(tmp_path)
    server.start()
    limiter = CallLimiter(server.url)
    try:
        first = _grants(limiter, key, 6, windows=[(10, 600)])
        server.stop()
        server.start()

        assert first + _grants(limiter, key, 20, windows=[(10, 600)]) == 10
    finally:
        limiter.close()
        server.stop()


def test_calls_that_a_killed_server_forgot_are_brought_back(tmp_path: Path, key: str) -> None:
    """A server that is killed while the disk is busy may keep what it counted but for the last second or two."""
    server, kept = Valkey(tmp_path), tmp_path / "kept"
    server.start()
    limiter = CallLimiter(server.url)
    try:
        assert _grants(limiter, key, 3, windows=[(20, 600)], per_day=500) == 3
        with redis.Redis.from_url(server.url) as client:
            client.waitaof(1, 0, 5000)
        shutil.copytree(tmp_path / "appendonlydir", kept)
        assert _grants(limiter, key, 5, windows=[(20, 600)], per_day=500) == 5
        server.kill()
        shutil.rmtree(tmp_path / "appendonlydir")
        shutil.copytree(kept, tmp_path / "appendonlydir")
        server.start()

        assert _grants(limiter, key, 20, windows=[(10, 600)], per_day=500) == 2
        with redis.Redis.from_url(server.url) as client:
            assert client.get(f"mcube:calls:{{{key}}}:{DAY}") == b"10"
            assert client.zcard(f"mcube:calls:{{{key}}}:log") == 10
    finally:
        limiter.close()
        server.kill()


def test_a_call_of_a_window_long_past_is_counted_once_over_a_restart(tmp_path: Path, key: str) -> None:
    server = Valkey(tmp_path)
    server.start()
    limiter = CallLimiter(server.url)
    try:
        for _ in range(2):
            assert _grants(limiter, key, 1, windows=[(1, 1)]) == 1
            with redis.Redis.from_url(server.url) as client:
                wait_for(lambda: not client.exists(f"mcube:calls:{{{key}}}:log"), "the window to be over", seconds=5)
            server.stop()
            server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get(f"mcube:calls:{{{key}}}:{DAY}") == b"2"
    finally:
        limiter.close()
        server.kill()


def test_a_process_remembers_no_call_that_no_window_counts_any_more(limiter: CallLimiter, key: str) -> None:
    for _ in range(3):
        wait_for(lambda: _grants(limiter, key, 1, windows=[(1, 1)]), "the window to open", seconds=5)
    assert len(limits._memories[key].recent) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("opened", [None, "2026-11-22", DAY])
def test_a_new_process_takes_lost_calls_of_a_session_for_made(
    limiter: CallLimiter, key: str, redis_url: str, opened: str | None
) -> None:
    from brokers.models import BrokerAccount, SessionState

    account = BrokerAccount.objects.create(broker="breeze", name=key[-12:])
    if opened:
        SessionState.objects.create(account=account, opened_at=datetime.fromisoformat(f"{opened}T09:00:00+05:30"))
    for _ in range(2):
        limiter.count(account, NOON, urgency=Urgency.ORDER)
        limits.forget()

    with redis.Redis.from_url(redis_url) as client:
        counted = client.zcard(f"mcube:calls:{{{account}}}:log")
    assert counted == 2 + (95 // limits.FORGOTTEN_PART if opened == DAY else 0)


@pytest.mark.django_db
@pytest.mark.parametrize("lost", [False, True])
def test_a_call_that_could_not_wait_for_redis_is_counted_when_it_is_back(tmp_path: Path, key: str, lost: bool) -> None:
    # Not above: the processes that these tests start import this file without Django.
    from brokers.models import BrokerAccount

    server, account = Valkey(tmp_path), BrokerAccount(broker="breeze", name=key)
    server.start()
    limiter = CallLimiter(server.url)
    limiter.count(account, NOON, urgency=Urgency.POLL)
    with redis.Redis.from_url(server.url) as client:
        # A server that is killed on a busy disk may otherwise have this count no more, and all before it.
        client.waitaof(1, 0, 5000)
    server.kill()
    for _ in range(3):
        limiter.count(account, NOON, urgency=Urgency.ORDER)
    for waits in (Urgency.POLL, Urgency.QUESTION):
        with pytest.raises(BrokerUnavailable, match="cannot be counted"):
            limiter.count(account, NOON, urgency=waits)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        if lost:
            client.flushall()
        limiter.count(account, NOON, urgency=Urgency.ORDER)
        limiter.count(account, NOON, urgency=Urgency.ORDER)

        assert limiter.spent([account], NOON.date()) == [6]
        of_others = client.zcount(f"mcube:calls:{{{account}}}:log", "-inf", "+inf") - 6
    assert of_others == (95 // limits.FORGOTTEN_PART if lost else 0)
    limiter.close()
    server.kill()


def test_without_redis_no_call_is_granted(tmp_path: Path, key: str) -> None:
    server = Valkey(tmp_path)
    limiter = CallLimiter(server.url)

    with pytest.raises(BrokerUnavailable, match="cannot be counted"):
        limiter.acquire(key, windows=[(10, 60)], per_day=None, day=DAY, urgency=Urgency.ORDER)
    limiter.close()


@pytest.mark.parametrize("broker", list(specs()))
def test_processes_that_read_all_they_can_pass_no_limit_as_the_broker_counts(
    broker: str, redis_url: str, tmp_path: Path
) -> None:
    """Login and first calls included, over the real SDK; one of six processes makes calls that cannot wait."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")}
    environment |= {
        "MCUBE_HOME": str(tmp_path / "home"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'calls.sqlite3'}",
        "MCUBE_REDIS_URL": redis_url,
        "PYTHONPATH": str(CHECKOUT),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("calls_driver.py")), broker, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    calls = {seconds: limit for limit, seconds in specs()[broker].capabilities.call_limits}
    counted = result["counted"]
    assert counted["total"] >= result["made"] + result["login"]
    if 1 in calls:
        # Two of the broker's ten are left to what arrives late.
        assert calls[1] - 2 <= counted["max_in_second"] <= calls[1] + 2
    if 60 in calls:
        assert calls[60] * 0.95 - 5 <= counted["max_in_minute"] <= calls[60] * 0.95
    assert result["refused"] > 0
    assert result["urgent"] > 0
