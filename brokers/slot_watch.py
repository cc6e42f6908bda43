"""Tells people of readings of the last hour that failed or are missing, and of days that could not be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, Sum

from brokers import cadences
from brokers.alerts import close_alert, open_keys, raise_alert, was_raised
from brokers.clock import IST, trading_day
from brokers.interfaces import Clock
from brokers.models import BrokerAccount, DayRecord, Severity, SnapshotKind
from brokers.models.snapshots import Snapshot
from brokers.slots import MODELS, trading_hours

#: How far back is looked.
WITHIN = timedelta(hours=1)
#: Accounts of one statement.
_PORTION = 500
_READINGS, _DAY = "readings_missing", "day_not_recorded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """One kind of one account over the last hour of trading."""

    kind: SnapshotKind
    failed: int
    #: Slots without a row; at most one too few where the cadence changed within the hour.
    missing: int

    def __str__(self) -> str:
        counts = ((self.failed, "failed"), (self.missing, "missing"))
        return f"{self.kind.label} {', '.join(f'{count} {word}' for count, word in counts if count)}"


def of_last_hour(accounts: Sequence[BrokerAccount], clock: Clock) -> dict[int, list[Trouble]]:
    """What failed or is missing of the active accounts, by their keys; in a few statements for all of them."""
    trading, found = trading_hours(clock, trading_day(clock.now())), cadences.current()
    troubles: dict[int, list[Trouble]] = {}
    if trading is None or clock.now() - trading[1] > WITHIN:
        return troubles
    opens, until = trading
    for kind, model in MODELS.items():
        alike: dict[timedelta, list[int]] = {}
        for account in accounts:
            if account.is_active and (every := found.of(account, kind)):
                alike.setdefault(every, []).append(account.pk)
        for every, keys in alike.items():
            start, end = _full_slots(max(opens, until - WITHIN), until, every)
            for at in range(0, len(keys), _PORTION):
                for key, failed, missing in _counted(model, keys[at : at + _PORTION], start, end, every):
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
                happened=f"{account}: of the readings of the last hour failed or are missing: {words}.",
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


def _full_slots(since: datetime, until: datetime, every: timedelta) -> tuple[datetime, datetime]:
    """From the first slot that begins by then to the end of the last one that is over and has had its time again."""
    epoch = datetime(1970, 1, 1, tzinfo=since.tzinfo)
    return since + (epoch - since) % every, until - (until - epoch) % every - every


def _counted(
    model: type[Snapshot], keys: Sequence[int], start: datetime, end: datetime, every: timedelta
) -> Iterator[tuple[int, int, int]]:
    """Key, failed and missing slots of accounts that were read before or within; one that is new has missed nothing."""
    rows = model._default_manager.filter(account__in=keys, slot_at__gte=start, slot_at__lt=end)
    seen = {
        account: (failed, timedelta(seconds=covered or 0), timedelta(seconds=longest or 0), first)
        for account, failed, covered, longest, first in rows.order_by()
        .values("account")
        .annotate(
            failed=Count("pk", filter=Q(status=Snapshot.Status.FAILED)),
            covered=Sum("cadence_seconds"),
            longest=Max("cadence_seconds"),
            first=Min("slot_at"),
        )
        .values_list("account", "failed", "covered", "longest", "first")
    }
    earlier = model._default_manager.filter(account=OuterRef("pk"), slot_at__lt=start)
    known = set(BrokerAccount.objects.filter(Exists(earlier), pk__in=keys).values_list("pk", flat=True))
    for key in keys:
        failed, covered, longest, first = seen.get(key, (0, timedelta(0), timedelta(0), None))
        begins = start if key in known else first
        if begins is not None:
            # A longer slot from before may reach into the first of these.
            open_time = end - begins - covered - max(longest - every, timedelta(0))
            yield key, failed, max(0, open_time // every)
