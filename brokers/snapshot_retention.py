"""How long snapshots are kept: all of them for a while, then one a minute, then those that a day's record is made of.

Rows are chosen by reading, and deleted by key in small batches, each a transaction of its own: readers wait for none of
it, and a writer for one batch at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from brokers.clock import trading_day
from brokers.models import BrokerAccount, DayRecord, ThinningMark
from brokers.models.snapshots import Snapshot
from brokers.slots import MODELS

#: Snapshots of one transaction; their lines go with them.
BATCH = 200
_WINDOW = timedelta(days=1)


def thin(
    now: datetime,
    *,
    keep_all: timedelta,
    keep_minutes: timedelta,
    keep_days: timedelta | None = None,
    batches: int = 100,
) -> int:
    """Delete what has been kept long enough; ``keep_days`` is None to keep the records of days for ever.

    Of each table at most ``batches`` batches; what is left is for the next time. Returns how many snapshots and records
    went.
    """
    accounts = list(BrokerAccount.objects.order_by("pk").values_list("pk", flat=True))
    gone = 0
    if keep_days is not None:
        gone += DayRecord.objects.filter(day__lt=trading_day(now - keep_days)).delete()[0]
    for model in MODELS.values():
        left = batches
        for keys in _forgettable(model, accounts, before=now - keep_minutes):
            if left == 0:
                break
            gone += _delete(model, keys)
            left -= 1
        gone += _to_minutes(model, accounts, since=now - keep_minutes, until=now - keep_all, batches=left)
    return gone


def _to_minutes(model: type[Snapshot], accounts: list[int], *, since: datetime, until: datetime, batches: int) -> int:
    """Thin the slots from where it was left to ``until``; the mark moves on when a whole window is done."""
    until, gone = _minute(until), 0
    mark = ThinningMark.objects.filter(table=model.__name__).first()
    oldest = model._default_manager.order_by("pk").values_list("slot_at", flat=True).first()
    start = mark.thinned_until if mark else oldest
    if start is None:
        return 0
    start = _minute(max(start, since))
    while start < until:
        end = min(start + _WINDOW, until)
        for keys in _needless(model, accounts, start, end):
            if batches == 0:
                return gone
            gone += _delete(model, keys)
            batches -= 1
        ThinningMark.objects.update_or_create(table=model.__name__, defaults={"thinned_until": end})
        start = end
    return gone


def _needless(model: type[Snapshot], accounts: list[int], start: datetime, end: datetime) -> Iterator[list[int]]:
    """Keys, by batch, of what is not the first of its minute; a slot that failed only stays where none succeeded."""
    for account_id in accounts:
        rows = _free(model).filter(account=account_id, slot_at__gte=start, slot_at__lt=end).order_by("slot_at")
        kept: dict[datetime, tuple[int, str]] = {}
        needless: list[int] = []
        for key, slot_at, status in rows.values_list("pk", "slot_at", "status"):
            minute = _minute(slot_at)
            first = kept.setdefault(minute, (key, status))
            if first[0] == key:
                continue
            if first[1] == Snapshot.Status.FAILED and status == Snapshot.Status.OK:
                kept[minute] = (key, status)
                needless.append(first[0])
            else:
                needless.append(key)
        yield from (needless[at : at + BATCH] for at in range(0, len(needless), BATCH))


def _forgettable(model: type[Snapshot], accounts: list[int], *, before: datetime) -> Iterator[list[int]]:
    """Keys, by batch, of what is older; each batch is looked for when the one before it is gone."""
    for account_id in accounts:
        rows = _free(model).filter(account=account_id, slot_at__lt=before).order_by("slot_at")
        while keys := list(rows.values_list("pk", flat=True)[:BATCH]):
            yield keys


def _free(model: type[Snapshot]) -> QuerySet[Any]:
    """What no day's record is made of."""
    rows: QuerySet[Any] = model._default_manager.all()
    return rows.filter(days=None) if hasattr(model, "days") else rows


def _delete(model: type[Snapshot], keys: list[int]) -> int:
    model._default_manager.filter(pk__in=keys).delete()
    return len(keys)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
