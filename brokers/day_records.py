"""The end of a trading day: one record for each account, made of readings after the last close."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from brokers import book_slots, snapshots
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, MarketPhase
from brokers.interfaces import Clock
from brokers.models import BrokerAccount, BrokerOrder, DayRecord, PositionLine, TradeFill
from brokers.models.snapshots import Snapshot
from brokers.slots import MODELS, start_of
from brokers.snapshots import total

#: Brokers book the last trades within this time after the close.
AFTER_CLOSE = timedelta(minutes=10)
#: The slot of a day's end is none of a cadence's, so that its readings are made anew; and always the same, so that what was
#: read of it is not read again when another reading failed.
_OFF_THE_GRID = timedelta(seconds=1)
#: How far back a day without a record is looked for.
_LOOKED_BACK = timedelta(days=10)


def due_day(clock: Clock) -> date | None:
    """Today, when it was a trading day and its last phase is over; None otherwise."""
    now, calendar = clock.now(), MarketCalendar(clock)
    close = _last_close(calendar, trading_day(now))
    is_over = all(calendar.phase(exchange, now) is MarketPhase.CLOSED for exchange in Exchange)
    return trading_day(now) if close is not None and now >= close + AFTER_CLOSE and is_over else None


def is_written(account: BrokerAccount, day: date) -> bool:
    return DayRecord.objects.filter(account=account, day=day, status=DayRecord.Status.OK).exists()


def take(account: BrokerAccount, day: date) -> DayRecord:
    """Read the account into the slot of the day's end and write the record of the day, which is today.

    A day that is written costs no call and stays as it is. What cannot be read is a record that says so, until a later
    reading of the same day replaces it.

    :raises ValueError: there was no trading on that day.
    """
    if done := DayRecord.objects.filter(account=account, day=day, status=DayRecord.Status.OK).first():
        return done
    close = _last_close(MarketCalendar(configured_clock()), day)
    if close is None:
        raise ValueError(f"{day} was no trading day; only those have an end to record.")
    slot_at = close + AFTER_CLOSE + _OFF_THE_GRID
    margin = snapshots.take_margin(account, slot_at)
    positions = snapshots.take_positions(account, slot_at)
    holds = Operation.HOLDINGS in spec_of(account.broker).capabilities.operations
    holdings = snapshots.take_holdings(account, slot_at) if holds else None
    books: list[Snapshot] = [book_slots.take_orders(account, slot_at), book_slots.take_trades(account, slot_at)]
    readings = [margin, positions, *([holdings] if holdings else []), *books]
    problem = next((reading.error for reading in readings if reading.status == Snapshot.Status.FAILED), "")
    if problem:
        return _write(account, day, {"status": DayRecord.Status.FAILED, "error": problem})
    lines = list(positions.lines.all())
    made_of = {"margin": margin, "positions": positions, "holdings": holdings}
    return _write(account, day, {"status": DayRecord.Status.OK, **made_of, **_figures(lines), **_counts(account, day)})


def note_missed(accounts: Sequence[BrokerAccount], clock: Clock) -> int:
    """Write a failed record where the last trading day before today ended without any; return how many."""
    today, calendar = trading_day(clock.now()), MarketCalendar(clock)
    earlier = (today - timedelta(days=back) for back in range(1, _LOOKED_BACK.days + 1))
    day = next((day for day in earlier if _last_close(calendar, day) is not None), None)
    if day is None:
        return 0
    known = set(DayRecord.objects.filter(day=day).values_list("account_id", flat=True))
    missed = [account for account in accounts if account.pk not in known and _was_read(account, until=day)]
    for account in missed:
        error = f"Nothing was read after the close of {day}: the schedule did not run, or the account was paused."
        _write(account, day, {"status": DayRecord.Status.FAILED, "error": error})
    return len(missed)


def _was_read(account: BrokerAccount, *, until: date) -> bool:
    """Whether the account was in use by then; one that is new has missed nothing."""
    end = start_of(until + timedelta(days=1))
    return any(model._default_manager.filter(account=account, slot_at__lt=end).exists() for model in MODELS.values())


def _last_close(calendar: MarketCalendar, day: date) -> datetime | None:
    held = [session for exchange in Exchange if (session := calendar.session(exchange, day)) is not None]
    return max((closes for _, closes in held), default=None)


def _figures(lines: Sequence[PositionLine]) -> dict[str, Any]:
    still_open = [line for line in lines if line.quantity]
    return {
        "positions_value": total(
            None if line.last_price is None else line.last_price * line.quantity for line in still_open
        ),
        "closed_pnl": total(line.pnl for line in lines if not line.quantity),
        "open_pnl": total(line.pnl for line in still_open),
    }


def _counts(account: BrokerAccount, day: date) -> dict[str, Any]:
    return {
        "orders": BrokerOrder.objects.filter(account=account, trading_day=day).count(),
        "fills": TradeFill.objects.filter(order__account=account, order__trading_day=day).count(),
    }


def _write(account: BrokerAccount, day: date, values: dict[str, Any]) -> DayRecord:
    """A success replaces a failure; nothing replaces a success."""
    values = {"error": "", "written_at": configured_clock().now(), **values}
    try:
        with transaction.atomic():
            return DayRecord.objects.create(account=account, day=day, **values)
    except IntegrityError:
        rows = DayRecord.objects.filter(account=account, day=day)
        rows.filter(status=DayRecord.Status.FAILED).update(**values)
        return rows.get()
