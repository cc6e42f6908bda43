"""Readings by each account's own cadence: what is due, what a slot says of itself, what is missing, and a day's end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError

from brokers import book_slots, cadences, day_records, slots, snapshots
from brokers.clock import IST, configured_clock
from brokers.discovery import spec_of
from brokers.domain.account import Holding
from brokers.domain.capabilities import Operation
from brokers.domain.errors import BrokerUnavailable
from brokers.factory import BrokerFactory
from brokers.models import (
    BrokerAccount,
    DayRecord,
    HoldingSnapshot,
    MarginSnapshot,
    OrderBookSnapshot,
    PositionSnapshot,
    SnapshotCadence,
    SnapshotKind,
    TradeBookSnapshot,
)
from brokers.models.snapshots import Snapshot
from brokers.shared_reads import get_margin_cached
from tasks import snapshots as tasks
from tasks.orders import schedule_sync, sync_orders
from tasks.ticks import Tick
from tests.integration.test_risk import position
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, SHARE, ScriptedAdapter

pytestmark = pytest.mark.django_db

BROKER = "kotakneo"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=IST)
AFTER = datetime(2026, 11, 23, 18, 0, tzinfo=IST)
MINUTE = timedelta(minutes=1)


class Keeper(ScriptedAdapter):
    """A scripted broker with holdings."""

    holdings: list[Holding] = []

    def fetch_holdings(self) -> list[Holding]:
        self.reads.append("holdings")
        return self.holdings


@pytest.fixture
def adapter() -> Iterator[ScriptedAdapter]:
    made = scripted_broker.install(BROKER)[1]
    made.__class__ = Keeper
    at(NOON)
    yield made
    BrokerFactory._gateways.clear()


@pytest.fixture
def account(adapter: ScriptedAdapter) -> BrokerAccount:
    return BrokerAccount.objects.get(broker=BROKER)


def at(moment: datetime) -> None:
    clock: Any = configured_clock()
    clock.set(moment)


def set_cadence(account: BrokerAccount, kind: SnapshotKind, seconds: int) -> None:
    SnapshotCadence.objects.update_or_create(account=account, kind=kind, defaults={"seconds": seconds})


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """What ticks enqueue, by task."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in (*tasks._TASKS.values(), tasks.record_day, sync_orders):
        calls = found.setdefault(task.name.rpartition(".")[2], [])
        monkeypatch.setattr(task, "apply_async", lambda calls=calls, **call: calls.append(call))
    return found


def tick_for(minutes: int) -> None:
    for number in range(minutes * 6):
        tasks.schedule.run(slot_at=(NOON + number * timedelta(seconds=10)).isoformat(), cadence_seconds=10)


def test_each_account_is_read_by_its_own_cadences(
    account: BrokerAccount, enqueued: dict[str, list[dict[str, Any]]]
) -> None:
    other = BrokerAccount.objects.create(broker=BROKER, name="other")
    set_cadence(account, SnapshotKind.POSITIONS, 10)
    set_cadence(account, SnapshotKind.MARGIN, 0)
    tick_for(15)

    def slots_of(task: str, name: str) -> list[str]:
        return [call["kwargs"]["slot_at"][14:19] for call in enqueued[task] if call["kwargs"]["account"] == name]

    assert slots_of("snapshot_positions", "default") == [f"{m:02}:{s}0" for m in range(15) for s in range(6)]
    assert slots_of("snapshot_positions", other.name) == [f"{m:02}:{s}" for m in range(15) for s in ("00", "30")]
    assert slots_of("snapshot_margin", "default") == []
    assert slots_of("snapshot_margin", other.name) == [f"{m:02}:00" for m in range(15)]
    assert slots_of("snapshot_holdings", other.name) == slots_of("snapshot_trades", other.name) == ["00:00"]


def test_no_account_is_asked_for_more_at_once_than_its_broker_takes(
    account: BrokerAccount, enqueued: dict[str, list[dict[str, Any]]]
) -> None:
    """Over a quarter of an hour with its start, at which every kind has a slot that begins."""
    BrokerAccount.objects.bulk_create(BrokerAccount(broker=BROKER, name=f"more-{number}") for number in range(7))
    asked: Counter[tuple[str, int]] = Counter()
    for number in range(90):
        before = {task: len(calls) for task, calls in enqueued.items()}
        for schedule in (tasks.schedule, schedule_sync):
            schedule.run(slot_at=(NOON + number * timedelta(seconds=10)).isoformat(), cadence_seconds=10)
        for task, calls in enqueued.items():
            asked.update((call["kwargs"]["account"], number) for call in calls[before[task] :])
    names = {name for name, _ in asked}
    assert len(names) == 8
    assert max(asked.values()) == 2
    assert all(len(enqueued[task]) == len(names) for task in ("snapshot_holdings", "snapshot_trades"))
    assert len(enqueued["sync_orders"]) == len(names) * 15


def test_a_message_lapses_before_the_next_slot_of_its_own_cadence(
    account: BrokerAccount, enqueued: dict[str, list[dict[str, Any]]]
) -> None:
    tick_for(1)
    assert [call["expires"] for call in enqueued["snapshot_margin"]] == [54]
    assert [call["kwargs"]["cadence_seconds"] for call in enqueued["snapshot_positions"]] == [30, 30]
    names = [call["task_id"] for calls in enqueued.values() for call in calls]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("seconds", [5, 15, 21_610])
def test_a_cadence_that_no_tick_can_keep_is_refused(account: BrokerAccount, seconds: int) -> None:
    with pytest.raises(ValidationError, match=f"{seconds} s is no cadence"):
        SnapshotCadence(account=account, kind=SnapshotKind.MARGIN, seconds=seconds).full_clean()


@pytest.mark.parametrize("stretch", [1, 10])
def test_the_longest_cadence_has_a_reading_on_each_day(account: BrokerAccount, stretch: int) -> None:
    """As does a longer one that a row may have, and one that is stretched."""
    day = datetime(2026, 11, 23, 9, 15, tzinfo=IST)
    ticks = [Tick(slot_at=day + n * timedelta(seconds=10), cadence=timedelta(seconds=10)) for n in range(6 * 375)]
    for seconds in (21_600, 86_400):
        for kind in SnapshotKind:
            set_cadence(account, kind, seconds)
            every = cadences.current().of(account, kind, stretch=stretch)
            assert every == timedelta(hours=6)
            for number in range(1, 2001, 37):
                offset = cadences.offset(BrokerAccount(pk=number, broker=BROKER), kind, every)
                assert any(tick.reads(every, offset) for tick in ticks), (kind, number)


def test_nothing_is_scheduled_that_a_broker_does_not_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    row = BrokerAccount.objects.create(broker=BROKER, name="bare")
    spec = spec_of(BROKER)
    less = spec.capabilities.operations - {Operation.HOLDINGS}
    bare = replace(spec, capabilities=replace(spec.capabilities, operations=less))
    monkeypatch.setattr(cadences, "spec_of", lambda name: bare)
    assert cadences.current().of(row, SnapshotKind.HOLDINGS) is None
    assert cadences.current().of(row, SnapshotKind.MARGIN) == MINUTE


def test_what_comes_late_to_a_slot_publishes_nothing(account: BrokerAccount) -> None:
    at = configured_clock().now()
    first, second = ({"status": "OK", "taken_at": at, "available": Decimal(rupees)} for rupees in (1, 2))
    failure = snapshots.failed(BrokerUnavailable("The broker was busy."))
    assert snapshots.write(MarginSnapshot, account, at, None, failure)[1]
    assert snapshots.write(MarginSnapshot, account, at, None, first)[1], "a success replaces a failure"
    for late in (second, failure):
        row, written = snapshots.write(MarginSnapshot, account, at, None, late)
        assert (row.available, row.status, written) == (Decimal(1), "OK", False)


def test_a_late_slot_says_so_and_is_still_a_reading(account: BrokerAccount) -> None:
    in_time = snapshots.take_margin(account, NOON - timedelta(seconds=50), MINUTE)
    late = snapshots.take_margin(account, NOON - timedelta(seconds=90), MINUTE)
    assert (in_time.is_late, late.is_late) == (False, True)
    assert late.status == Snapshot.Status.OK
    assert late.available == 100_000


def test_a_reading_serves_those_who_ask_for_a_cached_one(account: BrokerAccount, adapter: ScriptedAdapter) -> None:
    snapshots.take_margin(account, NOON)
    assert get_margin_cached(BrokerFactory.get_broker(BROKER)).available == 100_000
    assert adapter.reads.count("margin") == 1


def test_holdings_have_their_lines_and_no_value_that_is_not_known(account: BrokerAccount, adapter: Any) -> None:
    share = Holding(
        symbol=SHARE,
        exchange="NSE",
        quantity=10,
        average_price=Decimal(1400),
        last_price=Decimal("1500.5"),
        pnl=Decimal(1005),
        as_of=NOON,
    )
    adapter.holdings = [share, replace(share, symbol="INFY", quantity=2, pnl=Decimal(-5))]
    tasks.snapshot_holdings(broker=BROKER, slot_at=NOON.isoformat(), cadence_seconds=900)
    row = HoldingSnapshot.objects.get()
    assert (row.value, row.pnl, row.cadence_seconds) == (Decimal("18006"), Decimal(1000), 900)
    assert list(row.lines.order_by("symbol").values_list("symbol", "quantity")) == [("INFY", 2), (SHARE, 10)]
    adapter.holdings = [replace(share, last_price=None, pnl=None)]
    unpriced = snapshots.take_holdings(account, NOON + MINUTE)
    assert (unpriced.status, unpriced.value, unpriced.pnl) == (Snapshot.Status.OK, None, None)


def test_orders_and_trades_say_when_they_were_read_and_when_they_could_not_be(
    account: BrokerAccount, adapter: ScriptedAdapter
) -> None:
    adapter.book["f1"] = scripted_broker.foreign_row("f1")
    slot = NOON.isoformat()
    sync_orders(broker=BROKER, slot_at=slot, cadence_seconds=60)
    tasks.snapshot_trades(broker=BROKER, slot_at=slot, cadence_seconds=900)
    adapter.book_script = [BrokerUnavailable("The broker is down.")]
    sync_orders(broker=BROKER, slot_at=(NOON + MINUTE).isoformat(), cadence_seconds=60)
    good, bad = OrderBookSnapshot.objects.order_by("slot_at")
    assert (good.status, good.orders, good.cadence_seconds) == (Snapshot.Status.OK, 1, 60)
    assert (bad.status, bad.orders, bad.error) == (Snapshot.Status.FAILED, None, "The broker is down.")
    assert TradeBookSnapshot.objects.get().fills == 0


def test_a_book_is_read_again_for_a_slot_that_is_taken(account: BrokerAccount, adapter: ScriptedAdapter) -> None:
    for _ in range(2):
        book_slots.take_orders(account, NOON)
    assert adapter.reads.count("orders") == 2
    assert OrderBookSnapshot.objects.count() == 1


def test_a_reading_that_no_schedule_asked_for_takes_no_slot_of_the_schedules(
    account: BrokerAccount, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moved: list[int] = []
    monkeypatch.setattr("tasks.orders.move_on", moved.append)
    monkeypatch.setattr("tasks.orders.running.unfinished", lambda account_id: [7])
    at(NOON)
    with time_machine.travel(datetime.now(UTC), tick=False):
        at(NOON)
        sync_orders(broker=BROKER)
        tasks.snapshot_margin(broker=BROKER)
    assert moved == [7]
    adapter.book_script, adapter.margin = [BrokerUnavailable("The broker is down.")], BrokerUnavailable("It is down.")
    sync_orders(broker=BROKER, slot_at=NOON.isoformat(), cadence_seconds=60)
    tasks.snapshot_margin(broker=BROKER, slot_at=NOON.isoformat(), cadence_seconds=60)
    assert moved == [7]
    assert "could not be read: The broker is down." in caplog.text
    for model in (OrderBookSnapshot, MarginSnapshot):
        scheduled, by_hand = model._default_manager.order_by("slot_at")
        assert (scheduled.slot_at, scheduled.status, scheduled.cadence_seconds) == (NOON, Snapshot.Status.FAILED, 60)
        assert (by_hand.status, by_hand.cadence_seconds) == (Snapshot.Status.OK, None)


def test_a_book_that_cannot_be_read_again_is_a_failure_though_its_slot_is_taken(
    account: BrokerAccount, adapter: ScriptedAdapter
) -> None:
    assert book_slots.take_orders(account, NOON).status == Snapshot.Status.OK
    adapter.book_script = [BrokerUnavailable("The broker is down.")]
    failure = book_slots.take_orders(account, NOON)
    assert (failure.status, failure.error) == (Snapshot.Status.FAILED, "The broker is down.")
    assert OrderBookSnapshot.objects.get().status == Snapshot.Status.OK


# What is missing


def row_at(model: type[Snapshot], account: BrokerAccount, moment: datetime, cadence: int, **more: Any) -> None:
    values = {"status": "OK", "taken_at": moment, "created_at": moment, **more}
    model._default_manager.create(account=account, slot_at=moment, cadence_seconds=cadence, **values)


def positions_of(account: BrokerAccount) -> slots.SlotsOfDay:
    found = {each.kind: each for each in slots.slots_of_day(account, NOON.date(), configured_clock())}
    return found[SnapshotKind.POSITIONS]


def test_slots_without_a_row_are_found_and_failed_ones_are_not_among_them(account: BrokerAccount) -> None:
    opens = datetime(2026, 11, 23, 9, 15, tzinfo=IST)
    at(opens + 10 * MINUTE)
    for number in (1, 2, 3, 6, 7):
        failed = {"status": "FAILED", "taken_at": None} if number == 2 else {}
        row_at(PositionSnapshot, account, opens + number * MINUTE, 60, **failed)
    set_cadence(account, SnapshotKind.POSITIONS, 60)
    found = positions_of(account)
    assert (found.taken, found.failed, found.late) == (4, 1, 0)
    # 9:15; 9:19 and 9:20; 9:23, while 9:24 may still come.
    assert [gap.count for gap in found.gaps or ()] == [1, 2, 1]
    assert found.missing == 4


def test_a_slower_pace_leaves_no_gap(account: BrokerAccount) -> None:
    opens = datetime(2026, 11, 23, 9, 15, tzinfo=IST)
    at(opens + 8 * MINUTE)
    for minute, cadence in ((0, 60), (1, 60), (4, 180), (7, 180)):
        row_at(PositionSnapshot, account, opens + minute * MINUTE, cadence)
    assert positions_of(account).gaps == ()


def test_a_day_on_which_nothing_ran_is_one_gap(account: BrokerAccount) -> None:
    at(datetime(2026, 11, 23, 9, 45, tzinfo=IST))
    [gap] = positions_of(account).gaps or ()
    assert gap.count == 59  # of 60 in half an hour; the last may still come


# The day's curve


def test_the_curve_is_the_days_own_and_broken_where_nothing_is_known(account: BrokerAccount) -> None:
    midnight = datetime(2026, 11, 23, tzinfo=IST)
    row_at(PositionSnapshot, account, midnight - timedelta(seconds=30), 30, pnl=Decimal(1))
    row_at(PositionSnapshot, account, NOON, 30, pnl=Decimal("-12.5"))
    row_at(PositionSnapshot, account, NOON + MINUTE, 30, status="FAILED")
    row_at(PositionSnapshot, account, NOON + 2 * MINUTE, 30, pnl=Decimal(40))
    row_at(PositionSnapshot, account, midnight + timedelta(days=1), 30, pnl=Decimal(2))
    assert [point.pnl for point in slots.day_curve(account, NOON.date())] == [Decimal("-12.5"), None, Decimal(40)]


# The day's end


def test_a_day_is_written_once_after_the_close_with_what_it_was_made_of(
    account: BrokerAccount, adapter: ScriptedAdapter, enqueued: dict[str, list[dict[str, Any]]]
) -> None:
    tasks.schedule_days.run(slot_at=NOON.isoformat(), cadence_seconds=300)
    assert enqueued["record_day"] == []
    at(AFTER)
    flat = replace(position(SHARE, 0), pnl=Decimal(250), last_price=None)
    adapter.positions = [replace(position(CALL, 65), pnl=Decimal(-100), last_price=Decimal(2)), flat]
    adapter.book["f1"] = scripted_broker.foreign_row("f1")
    tasks.schedule_days.run(slot_at=AFTER.isoformat(), cadence_seconds=300)
    [call] = enqueued["record_day"]
    tasks.record_day.run(**call["kwargs"])
    record = DayRecord.objects.get()
    assert (record.status, record.error, record.day) == (DayRecord.Status.OK, "", NOON.date())
    assert (record.closed_pnl, record.open_pnl, record.positions_value) == tuple(map(Decimal, (250, -100, 130)))
    assert (record.orders, record.fills) == (1, 0)
    assert record.margin is not None
    assert record.margin.available == 100_000
    assert record.positions == PositionSnapshot.objects.get()
    calls = len(adapter.reads)
    tasks.schedule_days.run(slot_at=(AFTER + 5 * MINUTE).isoformat(), cadence_seconds=300)
    tasks.record_day.run(**call["kwargs"])
    assert len(enqueued["record_day"]) == 1
    assert len(adapter.reads) == calls
    assert DayRecord.objects.count() == 1


def test_a_day_that_cannot_be_written_says_so_until_it_can(account: BrokerAccount, adapter: ScriptedAdapter) -> None:
    at(AFTER)
    adapter.margin = BrokerUnavailable("The broker is down.")
    failed = day_records.take(account, AFTER.date())
    assert (failed.status, failed.error, failed.closed_pnl) == ("FAILED", "The broker is down.", None)
    adapter.margin = Decimal(7)
    day_records.take(account, AFTER.date())
    written = DayRecord.objects.get()
    assert (written.status, written.error) == ("OK", "")
    assert written.margin is not None
    assert written.margin.available == 7
    assert MarginSnapshot.objects.count() == 1
    assert adapter.reads.count("positions") == 1  # what was read is not read again


def test_a_day_after_which_nothing_ran_is_a_failed_record_the_day_after(account: BrokerAccount) -> None:
    BrokerAccount.objects.create(broker=BROKER, name="new")
    row_at(MarginSnapshot, account, NOON - timedelta(days=3), 60)
    tasks.schedule_days.run(slot_at=NOON.isoformat(), cadence_seconds=300)
    tasks.schedule_days.run(slot_at=(NOON + 5 * MINUTE).isoformat(), cadence_seconds=300)
    record = DayRecord.objects.get()
    assert (record.day.isoformat(), record.status) == ("2026-11-20", "FAILED")  # a Friday
    assert "Nothing was read after the close of 2026-11-20" in record.error


def test_no_day_ends_where_there_was_no_trading(account: BrokerAccount) -> None:
    at(datetime(2026, 11, 22, 18, 0, tzinfo=IST))  # a Sunday
    assert day_records.due_day(configured_clock()) is None
