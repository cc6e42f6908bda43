"""Tells people what they must know. Raising an alert writes a row and nothing else; a task of its own sends it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from brokers.models import Alert, AlertDelivery, BrokerAccount, OrderIntent, Severity

#: Who closes an alert whose cause is gone.
ITSELF = "mcube"


def raise_alert(
    kind: str,
    key: str,
    *,
    severity: Severity,
    happened: str,
    meaning: str,
    to_do: str,
    at: datetime,
    account: BrokerAccount | None = None,
    intent: OrderIntent | None = None,
) -> Alert:
    """Write an alert, or count it once more while one of the same ``kind`` and ``key`` is not acknowledged.

    ``at`` is aware market time. May be called inside a transaction, and then stands or falls with it. One that
    comes back more severe takes the new words and is sent anew.
    """
    key = _key(kind, key)
    words = {"happened": happened[:500], "meaning": meaning[:500], "to_do": to_do[:500]}
    if existing := _again(key, severity, words, at):
        return existing
    try:
        with transaction.atomic():
            return Alert.objects.create(
                kind=kind, key=key, severity=severity, account=account, intent=intent, first_at=at, last_at=at, **words
            )
    except IntegrityError:
        existing = _again(key, severity, words, at)
        if existing is None:
            raise
        return existing


def acknowledge(alerts: Iterable[Alert], *, by: str, at: datetime) -> int:
    """Note that somebody knows of these and takes care; they are not sent any more. Returns how many were open."""
    keys = [alert.pk for alert in alerts]
    return _close(Alert.objects.filter(pk__in=keys), by, at)


def close_alert(kind: str, key: str, *, because: str, at: datetime) -> bool:
    """Take back an alert whose cause is gone by itself, so that nobody is called for it; False when none was open."""
    open_ones = Alert.objects.filter(key=_key(kind, key), acknowledged_at__isnull=True)
    # Looked at first, since a transaction takes the database's one write lock, and there is seldom one to close.
    return open_ones.exists() and bool(_close(open_ones, f"{ITSELF}: {because}", at))


def was_raised(kind: str, key: str) -> bool:
    """Whether there is such an alert, open or not: for what is told once."""
    return Alert.objects.filter(key=_key(kind, key)).exists()


def open_keys(kind: str) -> set[str]:
    """The keys of the alerts of a kind that nobody has acknowledged."""
    found = Alert.objects.filter(kind=kind, acknowledged_at__isnull=True).values_list("key", flat=True)
    return {key.removeprefix(f"{kind}:") for key in found}


def _close(alerts: QuerySet[Alert], by: str, at: datetime) -> int:
    with transaction.atomic():
        open_ones = list(alerts.filter(acknowledged_at__isnull=True).values_list("pk", flat=True))
        done = alerts.filter(pk__in=open_ones, acknowledged_at__isnull=True).update(
            acknowledged_at=at, acknowledged_by=by[:150]
        )
        AlertDelivery.objects.filter(alert__in=open_ones, due_at__isnull=False).update(due_at=None)
    return done


def _key(kind: str, key: str) -> str:
    return f"{kind}:{key}"[:160]


def _again(key: str, severity: Severity, words: dict[str, str], at: datetime) -> Alert | None:
    open_ones = Alert.objects.filter(key=key, acknowledged_at__isnull=True)
    if not open_ones.update(count=F("count") + 1, last_at=at):
        return None
    with transaction.atomic():
        if open_ones.filter(severity__lt=severity).update(severity=severity, **words):
            AlertDelivery.objects.filter(alert__in=open_ones).update(due_at=at, failures=0)
    return open_ones.first()
