"""Of those who want the same at once one asks, over a real server, threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from brokers import single_flight
from brokers.domain.errors import BrokerUnavailable, RateLimited, UnreadableReply
from brokers.single_flight import Landed, SingleFlight
from tests.support.processes import Valkey, wait_for

NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
CROWD = 100


def landed(text: str) -> Landed:
    return Landed(text=text, as_of=NOON, version="")


def always(_: Landed) -> bool:
    return True


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def flights(redis_url: str) -> SingleFlight:
    return SingleFlight(redis_url)


class Asking:
    """A broker that counts, and answers when it is told to."""

    def __init__(self, act: Callable[[int], Landed]) -> None:
        self.calls = 0
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._act = act
        self._lock = threading.Lock()

    def __call__(self) -> Landed:
        with self._lock:
            self.calls += 1
            number = self.calls
        self.asked.set()
        assert self.go_on.wait(30)
        return self._act(number)


def _waiting(redis_url: str) -> int:
    """How many clients are blocked on the end of a flight."""
    with redis.Redis.from_url(redis_url) as client:
        return int(client.info("clients")["blocked_clients"])


def test_a_crowd_costs_one_call_and_all_get_its_answer(flights: SingleFlight, redis_url: str, key: str) -> None:
    ask = Asking(lambda number: landed(f"answer {number}"))
    with ThreadPoolExecutor(CROWD) as pool:
        waiting = [pool.submit(flights.fetch, key, ask=ask, serves=always) for _ in range(CROWD)]
        wait_for(lambda: _waiting(redis_url) >= CROWD // 2, "the others to wait")
        ask.go_on.set()
        assert {each.result(30).text for each in waiting} == {"answer 1"}
    assert ask.calls == 1


def test_a_failure_is_told_to_those_who_wait_and_kept_for_nobody(
    flights: SingleFlight, redis_url: str, key: str
) -> None:
    def act(number: int) -> Landed:
        if number == 1:
            raise UnreadableReply("It answered HTML.", reason="<html>", code="500")
        return landed("good")

    ask = Asking(act)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(flights.fetch, key, ask=ask, serves=always) for _ in range(5)]
        wait_for(lambda: _waiting(redis_url) >= 4, "the others to wait")
        ask.go_on.set()
        failures = [each.exception(30) for each in waiting]
    assert ask.calls == 1
    assert {(type(each), str(each), each.code) for each in failures} == {  # type: ignore[union-attr]
        (UnreadableReply, "It answered HTML.", "500")
    }

    assert flights.fetch(key, ask=ask, serves=always).text == "good"
    assert ask.calls == 2


def test_when_the_leader_breaks_one_of_the_others_takes_over(flights: SingleFlight, redis_url: str, key: str) -> None:
    def act(number: int) -> Landed:
        if number == 1:
            raise ZeroDivisionError
        return landed(f"answer {number}")

    ask = Asking(act)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(flights.fetch, key, ask=ask, serves=always) for _ in range(6)]
        wait_for(lambda: _waiting(redis_url) >= 5, "the others to wait")
        ask.go_on.set()
        broken = [each for each in waiting if isinstance(each.exception(30), ZeroDivisionError)]
        assert {each.result().text for each in waiting if each not in broken} == {"answer 2"}
    assert len(broken) == 1
    assert ask.calls == 2


def _ask_for_ever(redis_url: str, key: str, asked: Path) -> None:
    def ask() -> Landed:
        asked.touch()
        threading.Event().wait()
        raise AssertionError

    SingleFlight(redis_url).fetch(key, ask=ask, serves=always)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_when_the_leader_dies_or_freezes_exactly_one_of_the_others_takes_over(
    flights: SingleFlight, redis_url: str, key: str, tmp_path: Path, how: signal.Signals
) -> None:
    asked = tmp_path / "asked"
    leader = multiprocessing.get_context("spawn").Process(target=_ask_for_ever, args=(redis_url, key, asked))
    leader.start()
    assert leader.pid is not None
    try:
        wait_for(asked.exists, "the leader to ask")
        ask = Asking(lambda number: landed(f"answer {number}"))
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(flights.fetch, key, ask=ask, serves=always) for _ in range(8)]
            wait_for(lambda: _waiting(redis_url) >= 8, "the others to wait")
            assert not ask.asked.is_set()
            os.kill(leader.pid, how)
            assert ask.asked.wait(30)
            ask.go_on.set()
            assert {each.result(30).text for each in waiting} == {"answer 1"}
        assert ask.calls == 1
    finally:
        leader.kill()
        leader.join()


def test_a_leader_at_work_keeps_its_lease(
    flights: SingleFlight, redis_url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_flight, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(single_flight, "RENEWED_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(single_flight, "LOOK_MS", 50)
    monkeypatch.setattr(single_flight, "PATIENCE_SECONDS", 2.5)
    ask, other = Asking(lambda number: landed("slow")), Asking(lambda number: landed("other"))
    other.go_on.set()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(flights.fetch, key, ask=ask, serves=always)
        assert ask.asked.wait(30)
        with pytest.raises(BrokerUnavailable, match="without an answer; try again"):
            flights.fetch(key, ask=other, serves=always)
        ask.go_on.set()
        assert slow.result(30).text == "slow"
    assert other.calls == 0


def test_what_does_not_serve_is_asked_for_anew(flights: SingleFlight, key: str) -> None:
    ask = Asking(lambda number: landed(f"answer {number}"))
    ask.go_on.set()
    assert flights.fetch(key, ask=ask, serves=always).text == "answer 1"
    assert flights.fetch(key, ask=ask, serves=always).text == "answer 1"
    assert flights.fetch(key, ask=ask, serves=lambda found: found.text != "answer 1").text == "answer 2"
    assert flights.fetch(key, ask=ask, serves=always).text == "answer 2"


def test_an_answer_of_another_version_of_the_code_is_asked_for_anew(
    flights: SingleFlight, redis_url: str, key: str
) -> None:
    ask = Asking(lambda number: landed(f"answer {number}"))
    ask.go_on.set()
    with redis.Redis.from_url(redis_url) as client:
        client.set(single_flight._value(key), '{"other": 1}')
    assert flights.fetch(key, ask=ask, serves=always).text == "answer 1"


def test_a_budget_that_is_used_up_is_told_with_the_time_to_wait(flights: SingleFlight, key: str) -> None:
    from datetime import timedelta

    def refuse() -> Landed:
        raise RateLimited("Wait.", retry_after=timedelta(seconds=2))

    with pytest.raises(RateLimited) as told:
        flights.fetch(key, ask=refuse, serves=always)
    assert told.value.retry_after == timedelta(seconds=2)


def test_without_redis_nothing_is_asked(tmp_path: Path, key: str) -> None:
    ask = Asking(lambda number: landed("never"))
    with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
        SingleFlight(Valkey(tmp_path).url).fetch(key, ask=ask, serves=always)
    assert ask.calls == 0


def test_an_answer_is_not_lost_to_who_asked_when_redis_goes_away_meanwhile(tmp_path: Path, key: str) -> None:
    server = Valkey(tmp_path)
    server.start()

    def ask() -> Landed:
        server.stop()
        return landed("answer")

    assert SingleFlight(server.url).fetch(key, ask=ask, serves=always).text == "answer"
