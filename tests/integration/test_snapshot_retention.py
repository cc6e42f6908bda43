"""Old snapshots are thinned in small steps, and the usual questions are answered from an index."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from brokers import slots, snapshot_retention
from brokers.clock import IST, configured_clock
from brokers.models import (
    BrokerAccount,
    DayRecord,
    HoldingSnapshot,
    MarginSnapshot,
    OrderBookSnapshot,
    PositionLine,
    PositionSnapshot,
    SnapshotKind,
    ThinningMark,
    TradeBookSnapshot,
)
from brokers.models.snapshots import Snapshot
from tasks.housekeeping import thin_snapshots

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=IST)
DAY = timedelta(days=1)
KINDS = (MarginSnapshot, PositionSnapshot, HoldingSnapshot, OrderBookSnapshot, TradeBookSnapshot)


@pytest.fixture
def account() -> BrokerAccount:
    clock: Any = configured_clock()
    clock.set(NOW)
    return BrokerAccount.objects.create(broker="kotakneo")


def fill(model: type[Snapshot], account: BrokerAccount, age: timedelta, *, count: int = 12, failed: Any = ()) -> None:
    """Slots every 10 s, by default of two minutes, the first of which begins ``age`` ago."""
    model._default_manager.bulk_create(
        model(
            account=account,
            slot_at=NOW - age + number * timedelta(seconds=10),
            created_at=NOW,
            status="FAILED" if number in failed else "OK",
            cadence_seconds=10,
        )
        for number in range(count)
    )


def left(model: type[Snapshot], account: BrokerAccount, age: timedelta) -> list[int]:
    """Seconds after ``age`` ago of what is left of those two minutes."""
    rows = model._default_manager.filter(account=account, slot_at__gte=NOW - age, slot_at__lt=NOW - age + DAY / 2)
    return [int((at - NOW + age).total_seconds()) for at in rows.order_by("slot_at").values_list("slot_at", flat=True)]


def thin(**more: Any) -> int:
    return snapshot_retention.thin(NOW, keep_all=7 * DAY, keep_minutes=90 * DAY, **more)


@pytest.mark.parametrize("model", KINDS)
def test_a_week_is_whole_then_a_minute_has_one_and_after_90_days_none(
    account: BrokerAccount, model: type[Snapshot]
) -> None:
    other = BrokerAccount.objects.create(broker="kotakneo", name="other")
    for owner in (account, other):
        for days in (95, 80, 8, 6):
            fill(model, owner, days * DAY)
    thin_snapshots()
    for owner in (account, other):
        assert left(model, owner, 95 * DAY) == []
        assert left(model, owner, 80 * DAY) == left(model, owner, 8 * DAY) == [0, 60]
        assert left(model, owner, 6 * DAY) == list(range(0, 120, 10))
    assert thin() == 0


def test_a_failed_slot_stays_where_none_of_its_minute_succeeded(account: BrokerAccount) -> None:
    fill(MarginSnapshot, account, 8 * DAY, failed={0, 1, *range(6, 12)})
    thin()
    rows = MarginSnapshot.objects.order_by("slot_at")
    assert [(row.slot_at.second, row.status) for row in rows] == [(20, "OK"), (0, "FAILED")]


def test_what_a_days_record_is_made_of_is_kept_with_its_lines(account: BrokerAccount) -> None:
    for days in (300, 8):
        fill(PositionSnapshot, account, days * DAY)
    for row in PositionSnapshot.objects.all():
        PositionLine.objects.create(snapshot=row, symbol="X", exchange="NSE", quantity=1, average_price=1)
    for made_of in (PositionSnapshot.objects.order_by("slot_at")[7], PositionSnapshot.objects.order_by("-slot_at")[7]):
        day = made_of.slot_at.date()
        DayRecord.objects.create(account=account, day=day, status="OK", written_at=NOW, positions=made_of)
    thin()
    assert left(PositionSnapshot, account, 300 * DAY) == [70]
    assert left(PositionSnapshot, account, 8 * DAY) == [0, 40, 60]
    assert PositionLine.objects.count() == PositionSnapshot.objects.count() == 4
    thin(keep_days=100 * DAY)
    thin(keep_days=100 * DAY)
    assert left(PositionSnapshot, account, 300 * DAY) == []
    assert DayRecord.objects.count() == 1


def test_much_is_thinned_in_parts_that_go_on_where_they_stopped(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_retention, "BATCH", 4)
    for days in (30, 20):
        fill(MarginSnapshot, account, days * DAY)
    assert [thin(batches=1) for _ in range(3)] == [4, 4, 2]
    assert thin() == 10
    assert left(MarginSnapshot, account, 30 * DAY) == left(MarginSnapshot, account, 20 * DAY) == [0, 60]


def test_no_statement_deletes_more_than_a_batch(account: BrokerAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_retention, "BATCH", 4)
    fill(OrderBookSnapshot, account, 30 * DAY, count=60)
    with CaptureQueriesContext(connection) as captured:
        thin()
    deletes = [query["sql"] for query in captured if query["sql"].startswith("DELETE")]
    assert len(deletes) >= 13
    assert all(statement.count(",") < 4 for statement in deletes)


def test_what_was_thinned_is_not_looked_through_again(account: BrokerAccount) -> None:
    fill(MarginSnapshot, account, 80 * DAY)
    thin()
    assert ThinningMark.objects.get(table="MarginSnapshot").thinned_until == NOW - 7 * DAY
    with CaptureQueriesContext(connection) as captured:
        thin()
    assert len(captured) < 30


def test_a_thinned_day_tells_of_no_gaps(account: BrokerAccount) -> None:
    day = NOW - 10 * DAY
    fill(MarginSnapshot, account, 10 * DAY)
    thin()
    found = {each.kind: each for each in slots.slots_of_day(account, day.date(), configured_clock())}
    assert (found[SnapshotKind.MARGIN].taken, found[SnapshotKind.MARGIN].missing) == (2, None)


def plan(rows: QuerySet[Any]) -> str:
    return rows.explain().upper()


@pytest.mark.skipif(settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3", reason="SQLite's words")
@pytest.mark.parametrize("model", KINDS)
def test_the_usual_questions_are_answered_from_an_index(account: BrokerAccount, model: type[Snapshot]) -> None:
    every = model._default_manager.all()
    once = f"INDEX SQLITE_AUTOINDEX_{model._meta.db_table}_1 (ACCOUNT_ID=?".upper()  # of the constraint
    newest = plan(every.filter(account=account).order_by("-slot_at")[:1])
    assert once in newest
    assert "TEMP B-TREE" not in newest
    day = plan(slots.of_day(model, account, NOW.date()))
    assert once in day
    assert "SLOT_AT>" in day
    assert "TEMP B-TREE" not in day
    page = plan(every.order_by("-id")[:51])
    assert "TEMP B-TREE" not in page  # by the key itself, newest first
    failed = plan(every.filter(status="FAILED").order_by("-id")[:51])
    assert f"INDEX {model.__name__}_STATUS".upper() in failed
    assert "TEMP B-TREE" not in failed
    late = plan(every.filter(is_late=True).order_by("-id")[:51])
    assert f"INDEX {model.__name__}_LATE".upper() in late
    assert "TEMP B-TREE" not in late


@pytest.mark.skipif(settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3", reason="SQLite's words")
@pytest.mark.parametrize("since", [None, NOW - timedelta(minutes=5)])
def test_readings_until_a_moment_are_looked_for_among_the_slots_near_it(
    account: BrokerAccount, since: datetime | None
) -> None:
    found = plan(slots.taken_until(PositionSnapshot, account, NOW, since=since)[:1])
    assert "INDEX SQLITE_AUTOINDEX_BROKERS_POSITIONSNAPSHOT_1 (ACCOUNT_ID=?" in found
    assert ("SLOT_AT>? AND SLOT_AT<?" if since else "SLOT_AT<?") in found
    assert "TEMP B-TREE" not in found


def test_readings_until_a_moment_are_those_that_succeeded_by_then(account: BrokerAccount) -> None:
    def take(minutes_ago: float, *, after: float = 0, status: str = "OK") -> PositionSnapshot:
        slot_at = NOW - timedelta(minutes=minutes_ago)
        return PositionSnapshot.objects.create(
            account=account,
            slot_at=slot_at,
            status=status,
            taken_at=slot_at + timedelta(minutes=after) if status == "OK" else None,
            created_at=slot_at,
        )

    old, young, _ = take(20), take(3), take(2, status="FAILED")
    early, late = take(-1 / 60, after=-2 / 60), take(4, after=5)
    assert list(slots.taken_until(PositionSnapshot, account, NOW)) == [early, young, old]
    assert list(slots.taken_until(PositionSnapshot, account, NOW, since=NOW - timedelta(minutes=5))) == [early, young]
    assert list(slots.taken_until(PositionSnapshot, account, NOW + timedelta(minutes=1))) == [early, young, late, old]
