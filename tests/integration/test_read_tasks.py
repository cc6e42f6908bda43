"""Read tasks: whoever asks finds the answer, or the failure, under the words of the question."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.conf import settings

from brokers.clock import configured_clock
from brokers.domain.errors import BrokerUnavailable, InvalidSymbol, UnsupportedFeature
from brokers.interfaces import BrokerInterface
from brokers.models import BrokerAccount
from mcube.celery import app
from tasks import account as accounts
from tasks import market
from tasks.answers import Answer, AnsweredTask
from tasks.routing import Priority, route
from tests.support import scripted_broker
from tests.support.scripted_broker import OPEN_MARKET, SHARE, ScriptedAdapter

app.loader.import_default_modules()
READS = {name.rpartition(".")[2]: task for name, task in sorted(app.tasks.items()) if isinstance(task, AnsweredTask)}
BROKER = "kotakneo"
#: Reads that cost no call, or are made of others.
NOT_ASKED = {"get_expiries", "get_available_margin", "get_position_pnl"}


@pytest.fixture
def adapter(transactional_db: None) -> Iterator[ScriptedAdapter]:
    yield scripted_broker.install(BROKER)[1]
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(*client.scan_iter("mcube:answers:*"), "mcube:answers")


def run(task: Any, **words: Any) -> Any:
    """As a worker runs it, in this process."""
    return task.apply(kwargs={"broker": BROKER, **words})


def newest(task: Any, **words: Any) -> Answer:
    """The answer that must be there."""
    answer: Answer | None = task.latest(**words)
    assert answer is not None
    return answer


def test_every_read_of_the_contract_has_a_task_with_its_words() -> None:
    contract = {name for name in dir(BrokerInterface) if name.startswith("get_")} - NOT_ASKED
    assert set(READS) == contract
    for name, task in READS.items():
        words = set(inspect.signature(task.run).parameters) - {"broker", "account", "how"}
        assert words == set(inspect.signature(getattr(BrokerInterface, name)).parameters) - {"self"}


@pytest.mark.parametrize("name", sorted(READS))
def test_reads_come_last_expire_and_are_acknowledged_late(name: str) -> None:
    task: Any = READS[name]
    assert route(task.name, (), {"broker": BROKER}, {}, task) == {"queue": BROKER, "priority": int(Priority.READ)}
    assert task.expires
    assert task.acks_late
    assert task.ignore_result
    assert task.max_retries == 3


def test_an_answer_waits_for_who_asked_in_the_same_words(adapter: ScriptedAdapter) -> None:
    assert market.get_quote.latest(broker=BROKER, symbol=SHARE) is None
    run(market.get_quote, symbol=SHARE)
    answer = newest(market.get_quote, broker="KotakNeo", account="default", symbol=SHARE.lower())
    assert answer.value.last_price == Decimal("100.00")
    assert answer.as_of == answer.value.as_of
    assert market.get_quote.latest(broker=BROKER, symbol=SHARE, exchange="BSE") is None


def test_an_empty_answer_says_when(adapter: ScriptedAdapter) -> None:
    run(accounts.get_positions)
    answer = newest(accounts.get_positions, broker=BROKER)
    assert answer.value == []
    assert timedelta(0) <= configured_clock().now() - answer.as_of < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("task", "words", "error"),
    [
        (market.get_quote, {"symbol": "NOSUCHTHING"}, InvalidSymbol),
        (market.get_candles, {"symbol": SHARE, "interval": "1m", "starts_at": "x", "ends_at": "y"}, Exception),
    ],
)
def test_a_failure_waits_as_a_failure(
    adapter: ScriptedAdapter, task: Any, words: dict[str, Any], error: type[Exception]
) -> None:
    run(task, **words)
    answer = newest(task, broker=BROKER, **words)
    assert answer.failure is not None
    with pytest.raises(error):
        _ = answer.value


def test_a_failure_replaces_an_older_answer_and_a_new_answer_replaces_it(adapter: ScriptedAdapter) -> None:
    run(accounts.get_margin)
    adapter.margin = UnsupportedFeature("It states no margin.")
    run(accounts.get_margin, max_age_seconds=-3600)
    answer = newest(accounts.get_margin, broker=BROKER)
    assert isinstance(answer.failure, UnsupportedFeature)
    adapter.margin = Decimal(5)
    run(accounts.get_margin, max_age_seconds=-3600)
    assert newest(accounts.get_margin, broker=BROKER).value.available == 5


def test_a_failure_of_an_earlier_question_leaves_a_newer_answer(adapter: ScriptedAdapter) -> None:
    clock: Any = configured_clock()

    def fail(asked_at: datetime) -> None:
        question = {"broker": BROKER, "asked_at": asked_at.isoformat()}
        accounts.get_margin.on_failure(BrokerUnavailable("The broker is down."), "a-task", (), question, None)

    earlier = clock.now()
    clock.set(OPEN_MARKET + timedelta(seconds=21))
    run(accounts.get_margin)
    clock.set(OPEN_MARKET + timedelta(seconds=25))
    fail(earlier)
    assert newest(accounts.get_margin, broker=BROKER).value.available == adapter.margin
    fail(clock.now())
    assert newest(accounts.get_margin, broker=BROKER).failure is not None
    # Nor is a failure of before taken for an answer, or an answer of a clock that was set back.
    run(accounts.get_margin)
    clock.set(OPEN_MARKET - timedelta(minutes=5))
    fail(clock.now())
    assert newest(accounts.get_margin, broker=BROKER).failure is not None


def test_a_bug_is_told_as_a_failure_too(adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "fetch_margin", lambda: 1 / 0)
    run(accounts.get_margin)
    answer = newest(accounts.get_margin, broker=BROKER)
    assert isinstance(answer.failure, BrokerUnavailable)
    assert "ZeroDivisionError" in str(answer.failure)


def test_what_was_read_since_the_question_answers_it(adapter: ScriptedAdapter) -> None:
    asked_at = configured_clock().now().isoformat()
    for _ in range(20):
        run(accounts.get_margin, asked_at=asked_at)
    assert adapter.reads.count("margin") == 1

    clock: Any = configured_clock()
    clock.set(OPEN_MARKET + timedelta(minutes=5))
    run(accounts.get_margin, asked_at=clock.now().isoformat())
    assert adapter.reads.count("margin") == 2
    run(accounts.get_margin, asked_at=(clock.now() + timedelta(seconds=200)).isoformat(), max_age_seconds=300)
    assert adapter.reads.count("margin") == 2


def test_a_question_carries_when_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(app, "send_task", lambda name, args, kwargs, **_: sent.append(kwargs))
    market.get_quote.apply_async(kwargs={"broker": BROKER, "symbol": SHARE})
    assert set(sent[0]) == {"broker", "symbol", "asked_at"}


def test_an_unknown_account_is_told(adapter: ScriptedAdapter) -> None:
    run(accounts.get_margin, account="nobody")
    answer = newest(accounts.get_margin, broker=BROKER, account="nobody")
    assert "nobody" in str(answer.failure)
    assert BrokerAccount.objects.count() == 1
