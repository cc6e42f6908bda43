"""How long an order may stay out of the book is learnt from those that were seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks

from brokers.clock import IST, configured_clock
from brokers.discovery import spec_of, specs
from brokers.domain.enums import Mode
from brokers.domain.order_states import AttemptOutcome, IntentKind
from brokers.factory import BrokerFactory
from brokers.models import BookRead, BrokerAccount, BrokerOrder, OrderAttempt, OrderBookSnapshot, OrderIntent
from brokers.recovery import visibility
from brokers.recovery.agenda import Question
from tests.support import scripted_broker
from tests.support.scripted_broker import OPEN_MARKET

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Any:
    yield scripted_broker.install(next(iter(specs())))[0]
    BrokerFactory._gateways.clear()


def saw(account: BrokerAccount, delays: list[float], *, missed_before: float | None = 10) -> None:
    """Orders of today that the book showed so many seconds after they were armed, and missed so long before."""
    now = configured_clock().now()
    basics: dict[str, Any] = {"account": account, "trading_day": OPEN_MARKET.date(), "symbol": "X", "quantity": 1}
    for number, delay in enumerate(delays):
        intent = OrderIntent.objects.create(
            **basics, kind="PLACE", side="BUY", client_order_id=f"k{number}", client_tag=f"t{number}", mode="SIMULATED",
            state="FILLED", not_before=now, not_after=now, created_at=now, updated_at=now,
        )  # fmt: skip
        attempt = OrderAttempt.objects.create(
            intent=intent, number=1, outcome=AttemptOutcome.ACKED, match_key=f"m{number}", pid=1, pid_start=1,
            armed_at=now, send_deadline_at=now, quiet_at=now,
        )  # fmt: skip
        BrokerOrder.objects.create(
            **basics, broker_order_id=str(number), attempt=attempt, origin="OURS", side="BUY", status="FILLED",
            first_seen_at=now, last_seen_at=now, book_seen_at=now + timedelta(seconds=delay),
        )  # fmt: skip
        if missed_before is not None:
            missed_at = now + timedelta(seconds=delay - missed_before)
            BookRead.objects.create(account=account, started_at=missed_at, finished_at=missed_at, ok=True)


def bound(account: BrokerAccount) -> float:
    return visibility.bound(account, configured_clock().now()).total_seconds()


def test_a_few_orders_teach_nothing(account: BrokerAccount, settings: Any) -> None:
    saw(account, [1.0] * 199)
    assert bound(account) == 180
    settings.VISIBILITY_SECONDS = 240
    assert bound(account) == 240
    settings.VISIBILITY_SECONDS = 30
    assert bound(account) == 120, "never below the floor"


@pytest.mark.parametrize(("slowest", "seconds"), [(10, 120), (60, 180), (4000, 900)])
def test_the_bound_is_three_times_what_the_slowest_took_within_limits(
    slowest: float, seconds: float, account: BrokerAccount
) -> None:
    saw(account, [2.0] * 249 + [slowest])
    assert bound(account) == seconds


def test_readings_by_schedule_tell_that_an_order_was_late_as_well(account: BrokerAccount) -> None:
    saw(account, [2.0] * 249 + [150.0], missed_before=None)
    now = configured_clock().now()
    for seconds in range(0, 200, 10):
        OrderBookSnapshot.objects.create(
            account=account, slot_at=now + timedelta(seconds=seconds), taken_at=now + timedelta(seconds=seconds + 1),
            status="OK" if seconds < 150 else "FAILED", created_at=now,
        )  # fmt: skip
    assert bound(account) == 450


def test_a_reading_by_schedule_does_not_miss_what_it_shows_itself(account: BrokerAccount) -> None:
    saw(account, [240.0] * 250, missed_before=None)
    now = configured_clock().now()
    OrderBookSnapshot.objects.create(
        account=account, slot_at=now + timedelta(seconds=238), taken_at=now + timedelta(seconds=240.1), status="OK",
        created_at=now,
    )  # fmt: skip
    assert bound(account) == 180


def test_a_book_that_is_seldom_read_is_not_taken_for_a_late_one(account: BrokerAccount) -> None:
    saw(account, [240.0] * 250, missed_before=None)
    assert bound(account) == 180


@pytest.mark.parametrize(("missed_before", "seconds"), [(180, 180), (140, 300)])
def test_of_an_order_that_a_reading_missed_long_before_it_was_shown_that_much_is_known(
    account: BrokerAccount, missed_before: float, seconds: float
) -> None:
    saw(account, [240.0] * 250, missed_before=missed_before)
    assert bound(account) == seconds


@pytest.mark.parametrize(
    ("newest_first", "pause"),
    [
        ("", 0),
        ("NN", 20),
        ("NNNNNN", 240),
        ("YNNNNN", 20),
        ("NYNNNN", 60),
        ("NNNNNY", 60),
        ("NNNNNNY", 240),
        ("YYYYYY", 240),
    ],
)
def test_a_book_that_can_be_read_now_and_then_is_read_as_if_it_could(newest_first: str, pause: int) -> None:
    armed_at = datetime(2026, 11, 23, 11, 0, tzinfo=IST)
    now = armed_at + timedelta(hours=1)
    columns: dict[str, Any] = dict.fromkeys(Question._fields, "") | {
        "armed_at": armed_at,
        "quiet_at": armed_at,
        "kind": IntentKind.PLACE,
    }
    question, counted = Question(**columns), replace(spec_of("breeze").capabilities, calls_per_day=5000)
    readings = [
        BookRead(started_at=now - timedelta(minutes=number), finished_at=now, complete=which == "Y")
        for number, which in enumerate(newest_first)
    ][: visibility.ENOUGH]

    def due_after(seconds: int) -> bool:
        at = now + timedelta(seconds=seconds)
        return visibility.is_due(question, counted, timedelta(minutes=3), readings, at)

    assert due_after(pause)
    assert not pause or not due_after(pause - 1)


@pytest.mark.parametrize(("hour", "minute", "factor"), [(9, 16, 2), (9, 20, 1), (10, 0, 1)])
def test_around_the_opening_the_bound_is_doubled(hour: int, minute: int, factor: int) -> None:
    armed_at = datetime(2026, 11, 23, hour, minute, tzinfo=IST)
    attempt = OrderAttempt(armed_at=armed_at, quiet_at=armed_at + timedelta(seconds=18))
    waits = visibility.proof_from(attempt, timedelta(seconds=180)) - attempt.quiet_at
    assert waits == timedelta(seconds=180) * factor


def test_a_factor_shortens_every_wait(account: BrokerAccount, settings: Any) -> None:
    settings.SAFETY_SCALE = 0.1
    assert bound(account) == 18
    assert visibility.scaled(visibility.SPACING) == timedelta(seconds=2)


def test_in_live_mode_no_wait_is_shortened(settings: Any) -> None:
    settings.MODE, settings.SAFETY_SCALE = Mode.LIVE, 0.5
    (found,) = [each for each in run_checks() if each.id == "mcube.E005"]
    assert "MCUBE_SAFETY_SCALE is 0.5" in found.msg
    settings.SAFETY_SCALE = 1
    assert "mcube.E005" not in {each.id for each in run_checks()}
