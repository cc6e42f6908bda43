"""The calls of a day are planned: polls come slower before anything is refused, and people are told once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import budgets, limits
from brokers.budgets import MOST, DayPlan
from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.ledger import queries
from brokers.limits import Urgency
from brokers.models import Alert, BrokerAccount, DayCalls
from mcube import overview
from tasks import orders, snapshots
from tests.support.scripted_broker import give_back_calls

LIMITED = next(name for name, spec in specs().items() if spec.capabilities.calls_per_day)
FREE = next(name for name, spec in specs().items() if not spec.capabilities.calls_per_day)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=IST)
BUDGETS = st.integers(10, 10_000)
PARTS = st.floats(0, 1)


def plan(budget: int, spent: int, left: float) -> DayPlan:
    return DayPlan(budget=budget, spent=spent, time_left=left)


@settings(database=None)
@given(budget=BUDGETS, spent=st.integers(0, 12_000), left=PARTS)
def test_polls_at_an_even_pace_never_outlive_their_budget(budget: int, spent: int, left: float) -> None:
    """At the stretched pace the polls of the rest of a day cost no more than what is left, but for the tolerance."""
    found = plan(budget, spent, left)
    assert 1 <= found.stretch <= MOST
    if found.stretch < MOST:
        assert budget * left / found.stretch <= found.left * 1.12 + 1e-6


@settings(database=None)
@given(budget=BUDGETS, spent=st.integers(0, 12_000), more=st.integers(0, 500), left=PARTS, later=PARTS)
def test_more_spent_is_never_faster_and_less_time_never_slower(
    budget: int, spent: int, more: int, left: float, later: float
) -> None:
    assert plan(budget, spent + more, left).stretch >= plan(budget, spent, left).stretch
    assert plan(budget, spent, min(left, later)).stretch <= plan(budget, spent, left).stretch


@pytest.mark.parametrize(
    ("spent", "left", "stretch"),
    [(0, 1.0, 1), (2250, 0.5, 1), (2400, 0.5, 1), (2700, 0.5, 2), (3600, 0.5, 3), (4450, 0.5, 10), (4500, 0.5, 10)],
)
def test_a_day_that_is_behind_is_stretched(spent: int, left: float, stretch: int) -> None:
    assert plan(4500, spent, left).stretch == stretch
    assert bool(plan(4500, spent, left).words) == (stretch > 1)


def test_after_the_close_nothing_is_stretched_while_a_call_is_left() -> None:
    assert plan(4500, 4499, 0.0).stretch == 1


@pytest.fixture
def account() -> BrokerAccount:
    clock: Any = configured_clock()
    clock.set(NOON)
    row = BrokerAccount.objects.create(broker=LIMITED)
    give_back_calls(row)
    return row


def spend(account: BrokerAccount, calls: int) -> None:
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.set(f"mcube:calls:{{{account}}}:2026-11-23", calls, ex=600)


def polls(monkeypatch: pytest.MonkeyPatch, schedule: Any, task: Any, seconds: int) -> int:
    """How many polls ten ticks of a schedule enqueue."""
    sent: list[object] = []
    monkeypatch.setattr(task, "apply_async", lambda **call: sent.append(call))
    start = datetime(2026, 11, 23, 12, 0, tzinfo=IST)
    for number in range(10):
        schedule.run(slot_at=(start + number * timedelta(seconds=seconds)).isoformat(), cadence_seconds=seconds)
    return len(sent)


@pytest.mark.django_db
def test_polls_come_slower_when_the_calls_run_short(account: BrokerAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    assert polls(monkeypatch, snapshots.schedule, snapshots.snapshot_margin, 60) == 10
    spend(account, 4200)  # 300 of 4,500 are left for more than half of the day
    assert polls(monkeypatch, snapshots.schedule, snapshots.snapshot_margin, 60) <= 2
    assert polls(monkeypatch, snapshots.schedule, snapshots.snapshot_positions, 30) <= 2
    assert polls(monkeypatch, orders.schedule_sync, orders.sync_orders, 240) <= 2


@pytest.mark.django_db
def test_the_book_of_an_account_with_open_orders_is_read_as_often_as_before(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "has_open_orders", lambda account_id: True)
    before = polls(monkeypatch, orders.schedule_sync, orders.sync_orders, 40)
    spend(account, 4400)
    assert polls(monkeypatch, orders.schedule_sync, orders.sync_orders, 40) == before == 10


@pytest.mark.django_db
def test_an_account_whose_broker_limits_no_day_is_polled_as_before(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = BrokerAccount.objects.create(broker=FREE)
    account.delete()
    spend(other, 100_000)
    assert polls(monkeypatch, snapshots.schedule, snapshots.snapshot_positions, 30) == 10


@pytest.mark.django_db
def test_people_are_told_once_a_day_and_it_is_taken_back(account: BrokerAccount) -> None:
    clock = configured_clock()

    def tell() -> None:
        budgets.tell([account], budgets.plans([account], clock), clock.now())

    tell()
    assert not Alert.objects.exists()
    spend(account, 4000)
    for _ in range(3):
        tell()
    alert = Alert.objects.get()
    assert alert.count == 1
    assert "polls come" in alert.happened
    assert "4,000 of the 4,500" in alert.happened
    spend(account, 100)
    tell()
    alert.refresh_from_db()
    assert alert.acknowledged_at is not None
    spend(account, 4300)
    tell()
    assert Alert.objects.count() == 1


@pytest.mark.django_db
def test_status_and_overview_say_it(account: BrokerAccount, capsys: pytest.CaptureFixture[str]) -> None:
    spend(account, 4000)
    (view,) = overview.take().accounts
    assert view.calls is not None
    assert (view.calls.spent, view.calls.budget) == (4000, 4500)
    call_command("status")
    assert "calls run short" in capsys.readouterr().out


def lose_counts(account: BrokerAccount) -> None:
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.delete(*client.scan_iter(f"mcube:calls:{{{account}}}:*"))


@pytest.mark.django_db
@pytest.mark.parametrize("first", ["note", "call"], ids=["noted first", "brought back first"])
def test_the_calls_of_a_day_are_known_after_redis_has_lost_them(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Those of processes that have ended and of this one, each once, however often it happens."""
    monkeypatch.setattr("tasks.snapshots.enqueue", lambda *_: None)
    limiter = limits.limiter_of(django_settings.REDIS_URL)

    def tick() -> int:
        snapshots.schedule.run(slot_at=NOON.isoformat(), cadence_seconds=10)
        return budgets.plans([account], configured_clock())[account.pk].spent

    def call(times: int) -> None:
        for _ in range(times):
            limiter.count(account, NOON, urgency=Urgency.ORDER)

    call(7)
    limits.forget()  # that process has ended
    call(2)
    assert tick() == 9
    for before in (9, 10):
        lose_counts(account)
        if first == "note":
            assert tick() == before
            call(1)
        else:
            call(1)
        assert tick() == tick() == before + 1


@pytest.mark.django_db
def test_calls_that_an_older_copy_of_redis_does_not_have_are_counted_again(account: BrokerAccount) -> None:
    spend(account, 300)
    budgets.note([account], configured_clock())
    spend(account, 250)
    budgets.note([account], configured_clock())
    assert budgets.plans([account], configured_clock())[account.pk].spent == 300


@pytest.mark.django_db
def test_what_was_noted_on_another_day_counts_for_nothing(account: BrokerAccount) -> None:
    spend(account, 300)
    budgets.note([account], configured_clock())
    lose_counts(account)
    clock: Any = configured_clock()
    clock.set(NOON + timedelta(days=1))
    budgets.note([account], clock)
    assert budgets.plans([account], clock)[account.pk].spent == 0
    clock.set(NOON)


@pytest.mark.django_db
def test_while_redis_is_away_nothing_is_planned(account: BrokerAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *_: object) -> list[int]:
        raise limits._uncounted(str(account), redis.ConnectionError())

    monkeypatch.setattr(limits.CallLimiter, "spent", broken)
    assert budgets.plans([account], configured_clock()) == {}
    monkeypatch.setattr(limits.CallLimiter, "give_back", broken)
    budgets.note([account], configured_clock())
    assert not DayCalls.objects.exists()
