"""The bell for open questions: rung only where there is one, and soon forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from brokers import gateway
from brokers.clock import configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.order_states import IntentState
from brokers.models import BrokerAccount, OrderAttempt, OrderIntent
from brokers.recovery import reconciliation
from tasks.reconciliation import recover, schedule
from tasks.routing import Priority

pytestmark = pytest.mark.django_db


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls that were published."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(recover, "apply_async", lambda **call: calls.append(call))
    return calls


@pytest.fixture
def intent() -> Callable[..., OrderIntent]:
    def make(broker: str, **changes: Any) -> OrderIntent:
        now = configured_clock().now()
        account = changes.pop("account", None)
        if account is None:
            account, _ = BrokerAccount.objects.get_or_create(broker=broker, name="of-this-test")
        number = OrderIntent.objects.count()
        values: dict[str, Any] = {
            "client_order_id": f"k{number}",
            "client_tag": f"T{number}",
            "kind": "PLACE",
            "mode": "simulated",
            "trading_day": trading_day(now),
            "symbol": "X",
            "side": "BUY",
            "quantity": 1,
            "not_before": now,
            "not_after": now,
            "created_at": now,
            "updated_at": now,
        }
        return OrderIntent.objects.create(account=account, **(values | changes))

    return make


def brokers_of(calls: list[dict[str, Any]]) -> list[str]:
    return [call["kwargs"]["broker"] for call in calls]


@pytest.mark.parametrize("state", [IntentState.READY, IntentState.ARMED, IntentState.FILLED, IntentState.NEEDS_HUMAN])
def test_nobody_is_rung_where_the_book_can_answer_nothing(
    state: IntentState, intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    intent(next(iter(specs())), state=state)
    schedule()
    assert rung == []


@pytest.mark.parametrize("state", [IntentState.UNKNOWN, IntentState.ABSENT, IntentState.NOT_PLACED])
def test_the_broker_with_an_open_question_is_rung(
    state: IntentState, intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    first, *_ = specs()
    intent(first, state=state)
    schedule()
    kwargs = {"broker": first, "account": "of-this-test"}
    assert rung == [{"kwargs": kwargs, "priority": Priority.SESSION, "expires": 3}]


def test_a_broker_is_rung_for_a_sender_that_overran(
    intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    now = configured_clock().now()
    *_, last = specs()
    armed = intent(last, state=IntentState.ARMED)
    OrderAttempt.objects.create(
        intent=armed,
        number=1,
        match_key="m",
        pid=1,
        pid_start=1,
        armed_at=now - timedelta(seconds=30),
        send_deadline_at=now - timedelta(seconds=25),
        quiet_at=now - timedelta(seconds=12),
    )
    schedule()
    assert brokers_of(rung) == [last]


def test_each_account_is_first_now_and_then_so_that_a_full_queue_leaves_out_no_one_for_ever(
    intent: Callable[..., OrderIntent],
) -> None:
    now = configured_clock().now()
    names = {f"account-{number}" for number in range(6)}
    for name in names:
        account = BrokerAccount.objects.create(broker=next(iter(specs())), name=name)
        intent(account.broker, account=account, state=IntentState.UNKNOWN)
    rounds = [reconciliation.accounts_to_recover(now + timedelta(seconds=3 * tick)) for tick in range(100)]
    assert {name for (_, name), *_ in rounds} == names
    assert all(len(each) == len(set(each)) == len(names) for each in rounds)


def test_yesterday_s_absent_orders_are_not_watched(
    intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    yesterday = trading_day(configured_clock().now()) - timedelta(days=1)
    intent(next(iter(specs())), state=IntentState.NOT_PLACED, trading_day=yesterday)
    schedule()
    assert rung == []


def test_what_was_left_working_by_an_earlier_day_is_rung_for(
    intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    yesterday = trading_day(configured_clock().now()) - timedelta(days=1)
    intent(next(iter(specs())), state=IntentState.WORKING, trading_day=yesterday)
    schedule()
    assert brokers_of(rung) == [next(iter(specs()))]


def test_the_task_waits_for_no_call_and_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, float]] = []
    monkeypatch.setattr(
        reconciliation, "recover", lambda broker, account: seen.append((broker, account, gateway._patience.get()))
    )
    first, *_ = specs()
    recover(broker=first.upper(), account="a")
    assert seen == [(first, "a", 0.0)]


def test_each_account_is_rung_for_by_itself_so_that_a_slow_one_delays_no_other(
    intent: Callable[..., OrderIntent], rung: list[dict[str, Any]]
) -> None:
    first, *_ = specs()
    other = BrokerAccount.objects.create(broker=first, name="another")
    intent(first, state=IntentState.UNKNOWN)
    OrderIntent.objects.filter(pk=intent(first, state=IntentState.UNKNOWN).pk).update(account=other)
    intent(first, state=IntentState.ABSENT)

    schedule()

    assert sorted(call["kwargs"]["account"] for call in rung) == ["another", "of-this-test"]
