"""Readings that failed or are missing are told of once while it lasts, and shown; so is a day that could not be written."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from brokers import slot_watch
from brokers.budgets import DayPlan
from brokers.clock import IST, configured_clock
from brokers.models import Alert, BrokerAccount, DayRecord, MarginSnapshot, PositionSnapshot, SnapshotCadence
from brokers.models.snapshots import Snapshot, SnapshotKind
from tasks import snapshots as tasks

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=IST)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def account() -> BrokerAccount:
    """It is read for its margin alone, every minute."""
    at(NOON)
    row = BrokerAccount.objects.create(broker="kotakneo")
    for kind in SnapshotKind:
        SnapshotCadence.objects.create(account=row, kind=kind, seconds=60 if kind is SnapshotKind.MARGIN else 0)
    return row


def at(moment: datetime) -> None:
    clock: Any = configured_clock()
    clock.set(moment)


def fill(
    account: BrokerAccount,
    *,
    since: datetime,
    until: datetime,
    every: timedelta = MINUTE,
    status: str = "OK",
    model: type[Snapshot] = MarginSnapshot,
) -> None:
    model._default_manager.bulk_create(
        model(
            account=account,
            slot_at=since + number * every,
            status=status,
            cadence_seconds=every.seconds,
            created_at=since,
        )
        for number in range((until - since) // every)
    )


def told(account: BrokerAccount, *, stretch: int = 1) -> list[str]:
    plan = DayPlan(budget=1000, spent=1000 * (stretch - 1) // stretch, time_left=1.0)
    assert plan.stretch == stretch
    found = slot_watch.of_last_hour([account], configured_clock(), {account.pk: plan})
    return [str(trouble) for trouble in found.get(account.pk, ())]


def status() -> dict[str, Any]:
    out = StringIO()
    call_command("status", "--json", stdout=out)
    [account] = json.loads(out.getvalue())["accounts"]
    return dict(account)


def test_an_hour_in_which_every_slot_was_taken_tells_of_nothing(account: BrokerAccount) -> None:
    fill(account, since=NOON - 2 * HOUR, until=NOON)
    assert told(account) == []
    # The slot under way, and the one before it, may still be taken.
    at(NOON + MINUTE)
    assert told(account) == []


def test_failed_and_missing_slots_of_the_last_hour_are_counted(account: BrokerAccount) -> None:
    fill(account, since=NOON - 2 * HOUR, until=NOON - 30 * MINUTE)
    fill(account, since=NOON - 20 * MINUTE, until=NOON - 15 * MINUTE, status="FAILED")
    fill(account, since=NOON - 15 * MINUTE, until=NOON)
    assert told(account) == ["margin 5 failed, 10 missing"]
    at(NOON + HOUR - 20 * MINUTE)
    assert told(account) == ["margin 4 failed, 39 missing"]


def test_a_slower_pace_is_not_missing(account: BrokerAccount) -> None:
    fill(account, since=NOON - 2 * HOUR, until=NOON - 30 * MINUTE, every=5 * MINUTE)
    fill(account, since=NOON - 30 * MINUTE, until=NOON)
    assert told(account) == []


def set_cadence(account: BrokerAccount, seconds: int) -> None:
    SnapshotCadence.objects.filter(account=account, kind=SnapshotKind.MARGIN).update(seconds=seconds)


@pytest.mark.parametrize("stretch", [1, 3])
def test_a_quarter_of_an_hour_slowed_to_three_is_not_missing(account: BrokerAccount, stretch: int) -> None:
    """Whether the calls still run short or last again."""
    set_cadence(account, 900)
    fill(account, since=NOON - 165 * MINUTE, until=NOON + 3 * HOUR, every=45 * MINUTE)
    for minutes in range(0, 120, 5):
        at(NOON + minutes * MINUTE)
        assert told(account, stretch=stretch) == []


def test_a_pace_that_changes_leaves_nothing_missing(account: BrokerAccount) -> None:
    """Slowed at 11:05 and back at 12:50, with each slot read just before the next one begins."""
    set_cadence(account, 900)
    eleven = NOON - HOUR
    due = [(eleven + minutes * MINUTE, 15) for minutes in range(-105, 0, 15)]
    due += [(eleven + 30 * MINUTE, 45)] + [(eleven + minutes * MINUTE, 15) for minutes in range(105, 240, 15)]
    for minutes in range(0, 180, 5):
        now = eleven + minutes * MINUTE
        while due and due[0][0] + due[0][1] * MINUTE <= now:
            slot, every = due.pop(0)
            fill(account, since=slot, until=slot + every * MINUTE, every=every * MINUTE)
        at(now)
        assert told(account, stretch=3 if 5 <= minutes < 110 else 1) == [], now


def test_a_slow_pace_still_misses_what_nobody_reads(account: BrokerAccount) -> None:
    set_cadence(account, 900)
    fill(account, since=NOON - 165 * MINUTE, until=NOON - 75 * MINUTE, every=45 * MINUTE)
    at(NOON + 3 * HOUR)
    assert told(account) == ["margin 2 missing"]
    assert told(account, stretch=3) == ["margin 1 missing"]


@pytest.mark.parametrize("minutes", [30, 60, 120])
def test_slots_of_half_an_hour_and_more_are_told_of_too(account: BrokerAccount, minutes: int) -> None:
    every = minutes * MINUTE
    set_cadence(account, minutes * 60)
    noon = NOON + 30 * MINUTE  # the slots of two hours begin at 9:30 IST
    fill(account, since=noon - 3 * HOUR, until=noon - HOUR, every=every)
    fill(account, since=noon - HOUR, until=noon + HOUR, every=every, status="FAILED")
    at(noon + HOUR)
    assert any("failed" in each for each in told(account))


def test_what_a_person_asked_for_in_between_covers_nothing_and_hides_nothing(account: BrokerAccount) -> None:
    set_cadence(account, 900)
    fill(account, since=NOON - 165 * MINUTE, until=NOON + HOUR, every=45 * MINUTE)
    for minutes in range(-100, 0, 20):
        fill(account, since=NOON + minutes * MINUTE + timedelta(microseconds=1), until=NOON + 3 * HOUR, every=3 * HOUR)
    MarginSnapshot.objects.filter(cadence_seconds=3 * 3600).update(cadence_seconds=None)
    for minutes in range(0, 60, 5):
        at(NOON + minutes * MINUTE)
        assert told(account) == []


def test_an_account_that_is_new_or_paused_has_missed_nothing(account: BrokerAccount) -> None:
    assert told(account) == []
    fill(account, since=NOON - 10 * MINUTE, until=NOON)
    assert told(account) == []
    account.is_active = False
    at(NOON + HOUR)
    assert told(account) == []


def test_nothing_is_missing_before_the_opening_and_long_after_the_close(account: BrokerAccount) -> None:
    fill(account, since=NOON - 24 * HOUR, until=NOON - 23 * HOUR)
    for hour in (6, 22):
        at(NOON.replace(hour=hour))
        assert told(account) == []


def test_one_alert_tells_of_it_while_it_lasts_and_is_taken_back(account: BrokerAccount) -> None:
    fill(account, since=NOON - 2 * HOUR, until=NOON - 30 * MINUTE)
    for minutes in (0, 5, 10):
        at(NOON + minutes * MINUTE)
        tasks.watch.run()
    alert = Alert.objects.get()
    assert (alert.account, alert.count, alert.acknowledged_at) == (account, 3, None)
    assert "margin 29 missing" in alert.happened
    assert status()["readings_missing"] == 39

    Alert.objects.update(acknowledged_at=NOON, acknowledged_by="anita")
    tasks.watch.run()
    assert Alert.objects.count() == 1  # who knows of it is not told again within the hour

    at(NOON + HOUR + MINUTE)
    tasks.watch.run()
    assert Alert.objects.count() == 2
    fill(account, since=NOON + HOUR, until=NOON + 2 * HOUR + 30 * MINUTE)
    at(NOON + 2 * HOUR + 30 * MINUTE)
    tasks.watch.run()
    assert not Alert.objects.filter(acknowledged_at__isnull=True).exists()
    assert (status()["readings_failed"], status()["readings_missing"]) == (0, 0)


def test_many_accounts_cost_as_many_statements_as_one(account: BrokerAccount, django_assert_num_queries: Any) -> None:
    rows = [account, *(BrokerAccount.objects.create(broker="kotakneo", name=f"more-{n}") for n in range(20))]
    SnapshotCadence.objects.all().delete()
    for row in rows:
        fill(row, since=NOON - 2 * HOUR, until=NOON - HOUR, model=PositionSnapshot)
    slot_watch.of_last_hour(rows, configured_clock(), {})  # the calendar is read once
    with django_assert_num_queries(1 + 2 * len(SnapshotKind)):
        assert len(slot_watch.of_last_hour(rows, configured_clock(), {})) == len(rows)


def test_a_day_that_stays_unwritten_is_told_once_and_taken_back_when_it_is_written(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.record_day, "apply_async", lambda **_: None)
    evening = NOON.replace(hour=18)
    at(evening)
    DayRecord.objects.create(
        account=account, day=NOON.date(), status="FAILED", error="The broker is down.", written_at=evening
    )
    for minutes in (0, 5):
        tasks.schedule_days.run(slot_at=(evening + minutes * MINUTE).isoformat(), cadence_seconds=300)
    alert = Alert.objects.get()
    assert (alert.account, alert.count) == (account, 1)
    assert "what 2026-11-23 ended with is not recorded: The broker is down." in alert.happened
    assert status()["day_not_recorded"] == "2026-11-23: The broker is down."

    DayRecord.objects.update(status="OK", error="")
    tasks.schedule_days.run(slot_at=(evening + 10 * MINUTE).isoformat(), cadence_seconds=300)
    assert Alert.objects.get().acknowledged_at is not None
    assert status()["day_not_recorded"] == ""
