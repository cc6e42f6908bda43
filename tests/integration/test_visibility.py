"""How long an order may stay out of the book is learnt from those that were seen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks

from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import Mode
from brokers.domain.order_states import AttemptOutcome
from brokers.factory import BrokerFactory
from brokers.models import BrokerAccount, BrokerOrder, OrderAttempt, OrderIntent
from brokers.recovery import visibility
from tests.support import scripted_broker
from tests.support.scripted_broker import OPEN_MARKET

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Any:
    yield scripted_broker.install(next(iter(specs())))[0]
    BrokerFactory._gateways.clear()


def saw(account: BrokerAccount, delays: list[float]) -> None:
    """Orders of today that the book showed so many seconds after they were armed."""
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
