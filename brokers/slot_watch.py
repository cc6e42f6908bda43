"""Tells people of readings of the last hour that failed or are missing, and of days that could not be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, Subquery, Sum

from brokers import cadences
from brokers.alerts import close_alert, open_keys, raise_alert, was_raised
from brokers.budgets import DayPlan
from brokers.clock import IST, trading_day
from brokers.interfaces import Clock
from brokers.models import BrokerAccount, DayRecord, Severity, SnapshotKind
from brokers.models.snapshots import Snapshot
from brokers.slots import MODELS, trading_hours

#: How far back is looked; further where so many slots take longer.
WITHIN = timedelta(hours=1)
SLOTS_WITHIN = 3
#: Accounts of one statement.
_PORTION = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_READINGS, _DAY = "readings_missing", "day_not_recorded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """One kind of one account over the last hour of trading, or its last slots where these take longer."""

    kind: SnapshotKind
    failed: int
    #: Slots without a row; too few rather than too many where the cadence changed meanwhile.
    missing: int

    def __str__(self) -> str:
        counts = ((self.failed, "failed"), (self.missing, "missing"))
        return f"{self.kind.label} {', '.join(f'{count} {word}' for count, word in counts if count)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pace:
    """What accounts that are looked at together have in common."""

    #: The cadence while a day's calls last, and the one now.
    usual: timedelta
    now: timedelta

    @property
    def within(self) -> timedelta:
        return max(WITHIN, SLOTS_WITHIN * self.now)


def of_last_hour(
    accounts: Sequence[BrokerAccount], clock: Clock, plans: Mapping[int, DayPlan]
) -> dict[int, list[Trouble]]:
    """What failed or is missing of the active accounts, by their keys; in a few statements for all of them.

    ``plans`` are those of :func:`brokers.budgets.plans`: what is read more seldom for want of calls is not missing.
    """
    trading, found = trading_hours(clock, trading_day(clock.now())), cadences.current()
    troubles: dict[int, list[Trouble]] = {}
    if trading is None or clock.now() - trading[1] > WITHIN:
        return troubles
    for kind, model in MODELS.items():
        alike: dict[_Pace, list[int]] = {}
        for account in accounts:
            stretch = plans[account.pk].stretch if account.pk in plans else 1
            usual, slowed = found.of(account, kind), found.of(account, kind, stretch=stretch)
            if account.is_active and usual and slowed:
                alike.setdefault(_Pace(usual=usual, now=slowed), []).append(account.pk)
        for pace, keys in alike.items():
            for at in range(0, len(keys), _PORTION):
                for key, failed, missing in _counted(model, keys[at : at + _PORTION], pace, *trading):
                    if failed or missing:
                        troubles.setdefault(key, []).append(Trouble(kind=kind, failed=failed, missing=missing))
    return troubles


def tell(accounts: Sequence[BrokerAccount], troubles: Mapping[int, Sequence[Trouble]], now: datetime) -> None:
    """One alert for an account while its readings fail or are missing, again each hour that it goes on once
    acknowledged; taken back after an hour without.
    """
    told = {key.partition(":")[0]: key for key in open_keys(_READINGS)}
    for account in accounts:
        words, known = "; ".join(map(str, troubles.get(account.pk, ()))), told.get(str(account.pk))
        if not words:
            if known:
                close_alert(_READINGS, known, because="no reading failed or was missing for an hour", at=now)
            continue
        key = known or f"{account.pk}:{now.astimezone(IST):%Y-%m-%d %H}"
        if known or not was_raised(_READINGS, key):
            raise_alert(
                _READINGS,
                key,
                severity=Severity.WARNING,
                happened=f"{account}: of the latest readings failed or are missing: {words}.",
                meaning="What was not read is not known. Opening orders wait where a limit needs a younger reading.",
                to_do="Look at the account's day under Readings; when readings are missing, see by `manage.py status` that the "
                "workers run and no queue is full.",
                at=now,
                account=account,
            )


def unwritten_days(clock: Clock) -> list[DayRecord]:
    """The failed records of today and of the last day that has records, of active accounts."""
    today = trading_day(clock.now())
    newest = DayRecord.objects.filter(day__lt=today).aggregate(day=Max("day"))["day"]
    rows = DayRecord.objects.filter(day__in=[day for day in (today, newest) if day], status=DayRecord.Status.FAILED)
    return list(rows.filter(account__is_active=True).select_related("account").order_by("day", "account"))


def tell_of_days(days: Sequence[DayRecord], now: datetime) -> None:
    """One alert for a day that is not written; taken back when it is."""
    failed = {f"{record.account_id}:{record.day}": record for record in days}
    for key, record in failed.items():
        if was_raised(_DAY, key):
            continue
        raise_alert(
            _DAY,
            key,
            severity=Severity.WARNING,
            happened=f"{record.account}: what {record.day} ended with is not recorded: {record.error}",
            meaning="The day's result, margin and positions after the close are not known here; the broker's own reports have them.",
            to_do="Until midnight it is tried every five minutes; see to what the sentence names. A day that is over stays as it is.",
            at=now,
            account=record.account,
        )
    for key in open_keys(_DAY) - failed.keys():
        account_id, _, day = key.partition(":")
        if DayRecord.objects.filter(account_id=int(account_id), day=day, status=DayRecord.Status.OK).exists():
            close_alert(_DAY, key, because="the day is recorded", at=now)


def _first_slot(since: datetime, every: timedelta) -> datetime:
    """The start of the first slot that begins by then."""
    return since + (_EPOCH - since) % every


def _last_end(until: datetime, every: timedelta) -> datetime:
    """The end of the last slot that is over and has had its time again."""
    return until - (until - _EPOCH) % every - every


def _counted(
    model: type[Snapshot], keys: Sequence[int], pace: _Pace, opens: datetime, until: datetime
) -> Iterator[tuple[int, int, int]]:
    """Key, failed and missing slots of accounts that were read before or within; one that is new has missed nothing."""
    start = _first_slot(max(opens, until - pace.within), pace.usual)
    end = _last_end(until, pace.now)
    rows = model._default_manager.filter(account__in=keys, slot_at__gte=start, slot_at__lt=until)
    # What failed is known at once; what is missing, when the slot has had its time.
    is_over = Q(slot_at__lt=end)
    seen = {
        account: (failed, _seconds(covered), _seconds(longest), first)
        for account, failed, covered, longest, first in rows.order_by()
        .values("account")
        .annotate(
            failed=Count("pk", filter=Q(status=Snapshot.Status.FAILED)),
            covered=Sum("cadence_seconds", filter=is_over),
            # The one after them too: it tells that polls were slowed before it.
            longest=Max("cadence_seconds"),
            first=Min("slot_at", filter=is_over),
        )
        .values_list("account", "failed", "covered", "longest", "first")
    }
    last = _last_before(model, keys, start)
    for key in keys:
        failed, covered, longest, first = seen.get(key, (0, timedelta(0), timedelta(0), None))
        reach, lasts = last.get(key, (first, timedelta(0)))
        if reach is None:
            yield key, failed, 0
            continue
        begins = max(start, reach)
        # Where the pace changed, slots of two cadences do not join.
        slack = max(longest, lasts if begins < reach + lasts else timedelta(0), pace.now) - pace.usual
        yield key, failed, max(0, (end - begins - covered - max(slack, timedelta(0))) // pace.usual)


def _last_before(model: type[Snapshot], keys: Sequence[int], start: datetime) -> dict[int, tuple[datetime, timedelta]]:
    """The end of the last slot before ``start`` and how long it is, of the accounts that were read by then."""
    earlier = model._default_manager.filter(account=OuterRef("pk"), slot_at__lt=start)
    # A reading that no schedule asked for says nothing of the next one.
    last = earlier.filter(cadence_seconds__isnull=False).order_by("-slot_at")
    known = BrokerAccount.objects.filter(Exists(earlier), pk__in=keys).annotate(
        last_at=Subquery(last.values("slot_at")[:1]), lasts=Subquery(last.values("cadence_seconds")[:1])
    )
    return {
        key: ((last_at or start) + _seconds(lasts), _seconds(lasts))
        for key, last_at, lasts in known.values_list("pk", "last_at", "lasts")
    }


def _seconds(count: int | None) -> timedelta:
    return timedelta(seconds=count or 0)
