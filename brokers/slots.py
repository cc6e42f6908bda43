"""The slots of a day: which were taken, late, failed, or are missing; and the day's profit and loss by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple, TypeVar

from django.db.models import QuerySet

from brokers import cadences
from brokers.calendar import MarketCalendar
from brokers.clock import IST
from brokers.domain.enums import Exchange
from brokers.interfaces import Clock
from brokers.models import (
    BrokerAccount,
    HoldingSnapshot,
    MarginSnapshot,
    OrderBookSnapshot,
    PositionSnapshot,
    SnapshotKind,
    ThinningMark,
    TradeBookSnapshot,
)
from brokers.models.snapshots import LONGEST_SECONDS, Snapshot

MODELS: dict[SnapshotKind, type[Snapshot]] = {
    SnapshotKind.MARGIN: MarginSnapshot,
    SnapshotKind.POSITIONS: PositionSnapshot,
    SnapshotKind.HOLDINGS: HoldingSnapshot,
    SnapshotKind.ORDERS: OrderBookSnapshot,
    SnapshotKind.TRADES: TradeBookSnapshot,
}

#: A reading may be taken this long before its slot begins: see :data:`brokers.day_records.AFTER_CLOSE`.
_EARLIEST = timedelta(seconds=2)

S = TypeVar("S", bound=Snapshot)


class Point(NamedTuple):
    """The result of the day so far, in rupees; None where the slot failed or a position had no price."""

    slot_at: datetime
    pnl: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Slots in a row that have no row, failed ones not among them."""

    #: The last slot before it, or the opening; and the first after it, or now, or the close.
    after: datetime
    before: datetime
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotsOfDay:
    """What became of the slots of one kind, account and day. Late ones are among those taken."""

    kind: SnapshotKind
    #: Time between two readings by schedule now; None when there are none.
    every: timedelta | None
    taken: int
    late: int
    failed: int
    #: None when the day was thinned since, so that it cannot be told any more.
    gaps: tuple[Gap, ...] | None

    @property
    def missing(self) -> int | None:
        return None if self.gaps is None else sum(gap.count for gap in self.gaps)


def day_curve(account: BrokerAccount, day: date) -> list[Point]:
    """The day's profit or loss by slot, oldest first: what every snapshot of positions of an IST day said."""
    rows = of_day(PositionSnapshot, account, day).values_list("slot_at", "pnl")
    return [Point(slot_at, pnl) for slot_at, pnl in rows]


def slots_of_day(account: BrokerAccount, day: date, clock: Clock) -> list[SlotsOfDay]:
    """Every kind's slots of an IST day, in the order of :class:`SnapshotKind`."""
    found, trading = cadences.current(), trading_hours(clock, day)
    marks = dict(ThinningMark.objects.values_list("table", "thinned_until"))
    counted = []
    for kind, model in MODELS.items():
        rows = list(of_day(model, account, day).values_list("slot_at", "cadence_seconds", "status", "is_late"))
        every = found.of(account, kind)
        is_thinned = model.__name__ in marks and marks[model.__name__] > start_of(day)
        stones = [(at, timedelta(seconds=seconds or 0)) for at, seconds, _, _ in rows]
        counted.append(
            SlotsOfDay(
                kind=kind,
                every=every,
                taken=sum(status == Snapshot.Status.OK for _, _, status, _ in rows),
                late=sum(is_late for *_, is_late in rows),
                failed=sum(status == Snapshot.Status.FAILED for _, _, status, _ in rows),
                gaps=None if is_thinned else tuple(_gaps(stones, trading, every)) if trading else (),
            )
        )
    return counted


def of_day(model: type[S], account: BrokerAccount, day: date) -> QuerySet[S]:
    """The rows of an account and IST day, oldest first."""
    rows = model._default_manager.filter(account=account, slot_at__gte=start_of(day))
    return rows.filter(slot_at__lt=start_of(day + timedelta(days=1))).order_by("slot_at")


def taken_until(
    model: type[S], account: BrokerAccount, moment: datetime, *, since: datetime | None = None
) -> QuerySet[S]:
    """An account's readings that were received until ``moment``, and not before ``since``; the newest slot first.

    When they were received has no index, so the slots are bounded too: a reading is later than the start of its slot, but
    for the one that ends a day, and never later than the longest cadence allows.
    """
    rows = model._default_manager.filter(account=account, status=Snapshot.Status.OK, taken_at__lte=moment)
    rows = rows.filter(slot_at__lte=moment + _EARLIEST)
    if since is not None:
        rows = rows.filter(taken_at__gte=since, slot_at__gte=since - timedelta(seconds=LONGEST_SECONDS))
    return rows.order_by("-slot_at")


def start_of(day: date) -> datetime:
    """00:00 IST."""
    return datetime.combine(day, time(), IST)


def trading_hours(clock: Clock, day: date) -> tuple[datetime, datetime] | None:
    """From the first opening to the last close, or to now; None when there is nothing yet."""
    calendar = MarketCalendar(clock)
    held = [session for exchange in Exchange if (session := calendar.session(exchange, day)) is not None]
    if not held:
        return None
    opens, until = min(start for start, _ in held), min(clock.now(), max(end for _, end in held))
    return (opens, until) if opens < until else None


def _gaps(
    stones: Sequence[tuple[datetime, timedelta]], trading: tuple[datetime, datetime], every: timedelta | None
) -> Iterator[Gap]:
    """Between two rows no more time passes than the longer of their cadences: polls may be slowed in between."""
    opens, until = trading
    usual = every or timedelta(0)
    within = [(at, step) for at, step in stones if opens <= at < until]
    ends = [(opens - (within[0][1] if within else usual), usual), *within, (until, timedelta(0))]
    for (before, step), (after, next_step) in pairwise(ends):
        longest = max(step, next_step)
        # The slot under way may still be taken.
        slack = longest if after == until else timedelta(0)
        count = int((after - before - slack) / longest) - 1 if longest else 0
        if count > 0:
            yield Gap(after=max(before, opens), before=after, count=count)
