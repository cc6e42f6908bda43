"""No second, minute or day carries more order requests than the account may make, whatever the pattern."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers.clock import IST, trading_day
from brokers.discovery import spec_of
from brokers.domain.errors import OrderDenied, RateLimited
from brokers.models import BrokerAccount, OrderRateGate
from brokers.risk import rate
from brokers.risk.rate import OrderRates

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]
MORNING = datetime(2026, 11, 23, 10, 0, tzinfo=IST)
SECOND_MS, MINUTE_MS = 1000, 60_000


@pytest.fixture
def account() -> BrokerAccount:
    return BrokerAccount.objects.create(broker="breeze", orders_per_second=8)


def take(account: BrokerAccount, at: datetime, **options: Any) -> datetime:
    with transaction.atomic():
        return rate.take(account, at, **options)


def taken(account: BrokerAccount, at: datetime, tries: int, **options: Any) -> int:
    """How many of ``tries`` requests, a millisecond apart, were let through."""
    count = 0
    for number in range(tries):
        try:
            take(account, at + timedelta(milliseconds=number), **options)
        except RateLimited:
            continue
        count += 1
    return count


def busiest(stamps: list[int], window_ms: int) -> int:
    """The most of these moments in any half-open rolling window."""
    return max((sum(1 for other in stamps if stamp <= other < stamp + window_ms) for stamp in stamps), default=0)


def epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# The law

EDGES = st.sampled_from([1, 500, 995, 999, 1000, 1001, 1200, 20_000, 59_000, 59_999, 60_000])
GAPS = st.one_of(EDGES, st.integers(0, 1500), st.integers(0, 70_000), st.integers(-3000, -1))
#: Milliseconds since the request before, and how many come at once: new orders, and cancels.
STEPS = st.lists(st.tuples(GAPS, st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12)


def arrivals(steps: list[tuple[int, int, int]], start: datetime) -> Iterator[tuple[datetime, bool]]:
    """When each request comes, and whether it is urgent."""
    now = start
    for gap_ms, orders, cancels in steps:
        now += timedelta(milliseconds=gap_ms)
        yield from [(now, False)] * orders + [(now, True)] * cancels


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    per_second=st.integers(1, 5),
    per_minute=st.none() | st.integers(1, 12),
    per_day=st.none() | st.integers(0, 12),
    start=st.sampled_from([MORNING, MORNING.replace(hour=23, minute=59, second=40)]),
)
def test_no_window_is_ever_passed(
    account: BrokerAccount,
    steps: list[tuple[int, int, int]],
    per_second: int,
    per_minute: int | None,
    per_day: int | None,
    start: datetime,
) -> None:
    OrderRateGate.objects.all().delete()
    rates = OrderRates(per_second=per_second, per_minute=per_minute, per_day=per_day)
    granted: list[tuple[int, bool]] = []
    for moment, urgent in arrivals(steps, start):
        try:
            at = take(account, moment, urgent=urgent, rates=rates)
        except (RateLimited, OrderDenied):
            continue
        granted.append((epoch_ms(at), urgent))
    stamps = [stamp for stamp, _ in granted]
    assert stamps == sorted(stamps)
    check_window(granted, SECOND_MS, min(per_second, account.orders_per_second))
    check_window(granted, MINUTE_MS, per_minute)
    check_days(granted, per_day)


def check_window(granted: list[tuple[int, bool]], window_ms: int, limit: int | None) -> None:
    """Rolling and by the calendar; and an order that is not urgent found the reserve untouched."""
    if limit is None:
        return
    stamps = [stamp for stamp, _ in granted]
    assert busiest(stamps, window_ms) <= limit
    assert max(Counter(stamp // window_ms for stamp in stamps).values(), default=0) <= limit
    for number, (stamp, urgent) in enumerate(granted, 1):
        within = sum(1 for other in stamps[:number] if other > stamp - window_ms)
        assert urgent or within <= limit - limit // 4


def check_days(granted: list[tuple[int, bool]], per_day: int | None) -> None:
    before: Counter[Any] = Counter()
    for stamp, urgent in granted:
        day = trading_day(datetime.fromtimestamp(stamp / 1000, IST))
        assert urgent or per_day is None or before[day] < per_day
        before[day] += 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, per_second=st.integers(1, 9), per_minute=st.integers(1, 30))
def test_who_waits_as_long_as_told_is_let_through(
    account: BrokerAccount, steps: list[tuple[int, int, int]], per_second: int, per_minute: int
) -> None:
    OrderRateGate.objects.all().delete()
    rates = OrderRates(per_second=per_second, per_minute=per_minute)
    now = MORNING
    for moment, urgent in arrivals(steps, MORNING):
        now = max(now, moment)
        for _ in range(3):  # a second may be followed by a minute
            try:
                now = take(account, now, urgent=urgent, rates=rates)
            except RateLimited as error:
                now += error.retry_after
            else:
                break
        else:
            raise AssertionError("It was told to wait three times.")


@pytest.mark.django_db(transaction=True)
def test_processes_share_one_rate_on_this_database(tmp_path: Path) -> None:
    granted: list[tuple[int, bool]] = drive(tmp_path, per_second=8, per_minute=25)
    stamps = [stamp for stamp, _ in granted]
    assert busiest(stamps, SECOND_MS) == 8
    assert busiest(stamps, MINUTE_MS) == 25
    assert any(urgent for _, urgent in granted)
    assert all(later >= earlier for earlier, later in pairwise(stamps))


def drive(folder: Path, *, per_second: int, per_minute: int) -> list[tuple[int, bool]]:
    """Four processes for four seconds, on the server that the tests use, or on a file of their own."""
    home = folder / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")}
    environment |= {"MCUBE_HOME": str(home), "PYTHONPATH": str(CHECKOUT), "DATABASE_URL": database_url(folder)}
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("rate_driver.py")),
            *(str(folder), str(per_second), str(per_minute)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(stamp, urgent) for stamp, urgent in json.loads(done.stdout)]


def database_url(folder: Path) -> str:
    if connection.vendor == "sqlite":
        return f"sqlite:///{folder / 'rate.sqlite3'}"
    row = connection.settings_dict
    return f"postgres://{row['USER']}:{row['PASSWORD']}@{row['HOST']}:{row['PORT']}/{row['NAME']}"


# In words


def test_new_orders_leave_a_quarter_of_the_second_to_cancels_and_exits(account: BrokerAccount) -> None:
    assert taken(account, MORNING, 20) == 6
    assert taken(account, MORNING + timedelta(milliseconds=50), 20, urgent=True) == 2


def test_a_minute_is_counted_beside_the_second(account: BrokerAccount) -> None:
    rates = OrderRates(per_minute=10)
    sent = sum(taken(account, MORNING + timedelta(seconds=2 * number), 1, rates=rates) for number in range(20))
    assert sent == 8
    assert taken(account, MORNING + timedelta(seconds=40), 5, urgent=True, rates=rates) == 2
    assert taken(account, MORNING + timedelta(seconds=61), 1, rates=rates) == 0
    assert taken(account, MORNING + timedelta(seconds=65), 1, rates=rates) == 1


def test_the_smaller_of_the_accounts_own_limit_and_the_risk_limit_holds(account: BrokerAccount) -> None:
    assert taken(account, MORNING, 20, urgent=True, rates=OrderRates(per_second=3)) == 3
    later = MORNING + timedelta(seconds=5)
    assert taken(account, later, 20, urgent=True, rates=OrderRates(per_second=100)) == 8


def test_no_account_sends_faster_than_its_broker_takes_it(account: BrokerAccount) -> None:
    account.orders_per_second = 500
    most = spec_of(account.broker).capabilities.order_requests_per_second
    assert taken(account, MORNING, 40, urgent=True) == most
    later = MORNING + timedelta(seconds=5)
    assert taken(account, later, 40, urgent=True, rates=OrderRates(per_second=300)) == most


def test_the_days_limit_refuses_new_orders_and_names_itself(account: BrokerAccount) -> None:
    rates = OrderRates(per_day=2)
    for number in range(2):
        take(account, MORNING + timedelta(minutes=number), rates=rates)
    with pytest.raises(OrderDenied, match=r"has sent 2 orders on 23 Nov 2026, its limit of orders a day is 2"):
        take(account, MORNING + timedelta(minutes=5), rates=rates)
    take(account, MORNING + timedelta(minutes=6), rates=rates, urgent=True)
    take(account, MORNING + timedelta(days=1), rates=rates)


def test_what_is_no_new_order_is_not_counted_for_the_day(account: BrokerAccount) -> None:
    rates = OrderRates(per_day=1)
    for number in range(3):
        take(account, MORNING + timedelta(minutes=number), rates=rates, counts_for_day=False)
    take(account, MORNING + timedelta(minutes=5), rates=rates)


def test_a_waiter_from_before_midnight_does_not_take_back_the_days_count(account: BrokerAccount) -> None:
    midnight = MORNING.replace(hour=0) + timedelta(days=1)
    rates = OrderRates(per_day=2)
    take(account, midnight + timedelta(milliseconds=10), rates=rates)
    take(account, midnight - timedelta(milliseconds=10), rates=rates)
    with pytest.raises(OrderDenied):
        take(account, midnight + timedelta(seconds=5), rates=rates)


def test_a_limit_of_nothing_lets_nothing_through(account: BrokerAccount) -> None:
    assert taken(account, MORNING, 5, urgent=True, rates=OrderRates(per_second=0)) == 0


def test_looking_takes_no_token(account: BrokerAccount) -> None:
    for _ in range(20):
        rate.check(account, MORNING)
    assert taken(account, MORNING, 8, urgent=True) == 8
    with pytest.raises(RateLimited):
        rate.check(account, MORNING, urgent=True)


def taken_so_far(account: BrokerAccount) -> int:
    row = OrderRateGate.objects.filter(account=account).first()
    return len(row.recent_ms) if row else 0


def test_an_order_that_is_not_armed_costs_no_token(account: BrokerAccount) -> None:
    take(account, MORNING)
    with transaction.atomic():
        rate.take(account, MORNING)
        transaction.set_rollback(True)
    assert taken_so_far(account) == 1


def test_a_clock_that_was_set_back_does_not_lock_the_account_out(account: BrokerAccount) -> None:
    assert taken(account, MORNING, 8, urgent=True) == 8
    assert taken(account, MORNING - timedelta(hours=1), 1) == 1


def test_a_token_costs_two_statements(account: BrokerAccount, django_assert_num_queries: Any) -> None:
    take(account, MORNING)
    with transaction.atomic(), django_assert_num_queries(2):
        rate.take(account, MORNING + timedelta(seconds=5))
