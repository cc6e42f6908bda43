"""What starts and what is refused follows the calendar: holidays on weekdays, sessions on week-ends, auctions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from brokers import calendar_alerts, instruments
from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import Exchange
from brokers.domain.errors import MarketClosed
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.models import (
    Alert,
    BrokerAccount,
    HolidayList,
    InstrumentMaster,
    InstrumentRecord,
    OrderIntent,
    SessionState,
    Severity,
    SpecialDay,
)
from credentials import store
from credentials.models import CredentialStore
from tasks import instruments as instrument_tasks
from tasks import orders as order_tasks
from tasks import sessions as session_tasks
from tasks import snapshots as snapshot_tasks
from tests.support import scripted_broker
from tests.support.scripted_broker import SHARE

pytestmark = pytest.mark.django_db

SATURDAY = date(2026, 11, 28)
#: A Tuesday.
HOLIDAY = date(2026, 11, 24)
#: What each schedule enqueues while the market is active, and shortly before.
ENQUEUED = {
    snapshot_tasks.schedule: (snapshot_tasks.snapshot_margin, snapshot_tasks.snapshot_positions),
    order_tasks.schedule_sync: (order_tasks.sync_orders,),
    session_tasks.schedule: (session_tasks.refresh_session,),
    instrument_tasks.schedule: (instrument_tasks.refresh_instruments,),
}


@pytest.fixture(params=list(specs()))
def account(request: pytest.FixtureRequest) -> Iterator[BrokerAccount]:
    yield scripted_broker.install(request.param)[0]
    BrokerFactory._gateways.clear()


def start_the_day(account: BrokerAccount) -> None:
    """A session and instruments of today."""
    adapter: Any = BrokerFactory.get_broker(account.broker)._adapter
    grant = replace(adapter.open_session(), expires_at=configured_clock().now() + timedelta(hours=8))
    used = CredentialStore.objects.get(service=account.broker).updated_at
    store.save_session(account.broker, account.name, grant, login_used_at=used)
    SessionState.objects.update(status=SessionState.Status.VALID, version=2, expires_at=grant.expires_at)
    instruments.refresh(account, adapter=adapter, clock=configured_clock())
    instruments.lookup().forget()


def at(day: date, clock: str) -> datetime:
    moment = datetime.combine(day, time.fromisoformat(clock), IST)
    configured_clock().set(moment)  # type: ignore[union-attr]
    return moment


def open_on(day: date, start: time = time(9, 15), end: time = time(12, 30)) -> None:
    for exchange in ("NSE", "NFO"):
        SpecialDay.objects.create(
            exchange=exchange,
            date=day,
            kind="SESSION",
            phase="CONTINUOUS",
            start_time=start,
            end_time=end,
            note="a drill",
            source="test",
        )


def enqueued_by_a_tick(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> set[str]:
    """The names of what the ticks of every schedule enqueue in the longest cadence, as if it all were at ``moment``."""
    sent: set[str] = set()
    with monkeypatch.context() as patched:
        for schedule, tasks in ENQUEUED.items():
            for task in tasks:
                patched.setattr(task, "apply_async", lambda task=task, **_: sent.add(task.name))
            for minutes in range(4):
                # Which of them reads the book depends on the account's key.
                schedule.run(slot_at=(moment + timedelta(minutes=minutes)).isoformat(), cadence_seconds=60)
    return sent


ALL = {task.name for tasks in ENQUEUED.values() for task in tasks}


def place(account: BrokerAccount, key: str) -> OrderIntent:
    intent = operations.record_place(
        broker=account.broker,
        account=account.name,
        symbol=SHARE,
        side="B",
        quantity=1,
        order_type="LIMIT",
        limit_price="100.50",
        client_order_id=key,
    )
    return deliver(intent.pk)


def test_a_tick_on_a_special_saturday_reads_and_on_a_holiday_tuesday_does_not(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    InstrumentMaster.objects.all().delete()
    assert enqueued_by_a_tick(monkeypatch, at(HOLIDAY, "11:02")) == set()
    assert enqueued_by_a_tick(monkeypatch, at(SATURDAY, "11:02")) == set()
    open_on(SATURDAY)
    assert enqueued_by_a_tick(monkeypatch, at(SATURDAY, "11:02")) == ALL
    assert enqueued_by_a_tick(monkeypatch, at(SATURDAY, "12:31")) == set()


def test_a_day_that_a_person_closes_is_read_no_more(account: BrokerAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    day = date(2026, 11, 25)
    assert enqueued_by_a_tick(monkeypatch, at(day, "11:02")) >= {snapshot_tasks.snapshot_margin.name}
    for exchange in ("NSE", "BSE", "NFO", "BFO"):
        SpecialDay.objects.create(exchange=exchange, date=day, kind="HOLIDAY", note="mourning", source="test")
    assert enqueued_by_a_tick(monkeypatch, at(day, "11:02")) == set()


def test_sessions_are_made_ready_before_a_special_session(
    account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_on(SATURDAY, time(18, 0), time(19, 0))
    assert enqueued_by_a_tick(monkeypatch, at(SATURDAY, "16:40")) == set()
    ready = enqueued_by_a_tick(monkeypatch, at(SATURDAY, "16:50"))
    assert session_tasks.refresh_session.name in ready
    assert snapshot_tasks.snapshot_margin.name not in ready


def test_an_order_is_sent_in_a_special_session_and_not_on_an_ordinary_saturday(account: BrokerAccount) -> None:
    at(SATURDAY, "11:02")
    with pytest.raises(MarketClosed, match=r"weekend\); it opens on Mon 30 Nov 2026 at 09:15 IST"):
        place(account, "early")
    open_on(SATURDAY)
    start_the_day(account)
    assert place(account, "in session").state == IntentState.WORKING
    at(SATURDAY, "12:30")
    denied = place(account, "late")
    assert denied.state == IntentState.DENIED
    assert "outside the special hours of the day: a drill" in denied.closed_reason


def test_an_order_on_a_day_of_an_unknown_year_is_denied_and_says_what_is_missing(account: BrokerAccount) -> None:
    HolidayList.objects.filter(year=2026).delete()
    denied = place(account, "k1")
    assert denied.state == IntentState.DENIED
    assert "the holidays of 2026 are not known; enter the exchange's list of holidays" in denied.closed_reason


def test_a_share_with_derivatives_is_refused_in_its_closing_auction_and_another_is_not(account: BrokerAccount) -> None:
    at(date(2026, 11, 23), "15:20")
    assert place(account, "without").closed_reason == ""
    InstrumentRecord.objects.filter(kind="OPTION").update(underlying=SHARE)
    denied = place(account, "with")
    assert denied.state == IntentState.DENIED
    assert "closing auction, no continuous trading" in denied.closed_reason


class Still:
    """A clock that stands where it is put."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def real_now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


def test_people_are_told_a_month_before_the_calendar_ends_and_again_when_it_has() -> None:
    clock = Still(datetime(2026, 12, 1, 10, 0, tzinfo=IST))

    def told() -> list[int]:
        calendar_alerts.tell(clock)
        return list(Alert.objects.filter(kind="calendar_ends", acknowledged_at=None).values_list("severity", flat=True))

    assert told() == []
    clock.at += timedelta(days=1)
    assert told() == [Severity.WARNING] * len(Exchange)
    clock.at += timedelta(days=30)
    assert told() == [Severity.CRITICAL] * len(Exchange)
    for exchange in Exchange:
        HolidayList.objects.create(exchange=exchange, year=2027, source="test")
    assert told() == []
