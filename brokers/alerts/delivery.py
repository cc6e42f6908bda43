"""Which alert goes to which channel, and when: planned, claimed, settled, each in short transactions.

Sending is the courier's. A process that dies between sending and settling sends again when its claim is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from brokers.alerts.courier import PATIENCE, SIDE_BY_SIDE, START_PATIENCE, Errand
from brokers.alerts.wording import collected, message
from brokers.models import Alert, AlertChannel, AlertDelivery, Severity
from credentials.keyring import DecryptError

#: An alert older than this is not sent any more; it stays open in the admin.
WORTH_SENDING = timedelta(days=1)
#: Messages of their own in one go; what is due beyond is collected in one more.
ONE_BY_ONE = 4
#: Rows planned or collected in one go.
MOST = 200
#: How long a channel is one process's alone: longer than it may take.
CLAIM = timedelta(seconds=2 * (PATIENCE + START_PATIENCE))
#: After a failure the next try waits so long, doubled with each, until it is given up.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=15)
MOST_FAILURES = 12
#: A channel that took nothing rests at most so long; a new alert may find it mended.
LONGEST_REST = timedelta(minutes=2)

#: The kind of alert that says that a switch was set.
KILL_SWITCH = "kill_switch"

UNREADABLE = "Its address cannot be decrypted with any configured key; enter it anew."


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one process is to send to one channel now."""

    channel: AlertChannel
    #: The deliveries that each message stands for.
    parcels: Sequence[Sequence[AlertDelivery]]
    errand: Errand = field(repr=False)


def plan(now: datetime) -> None:
    """Write a delivery for each open alert and channel that takes its severity."""
    for channel in AlertChannel.objects.filter(is_active=True):
        planned = AlertDelivery.objects.filter(alert=OuterRef("pk"), channel=channel)
        unplanned = _worth_sending(now).filter(~Exists(planned), severity__gte=channel.minimum_severity)
        rows = [AlertDelivery(alert=alert, channel=channel, due_at=now) for alert in unplanned[:MOST]]
        AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)


def claim(now: datetime) -> list[Claim]:
    """Take every channel that has something due and is neither busy nor resting."""
    due = _due(now).filter(channel=OuterRef("pk"))
    free = Q(rest_until__isnull=True) | Q(rest_until__lte=now)
    claims = []
    for channel in AlertChannel.objects.filter(free, Exists(due), is_active=True):
        if AlertChannel.objects.filter(free, pk=channel.pk).update(rest_until=now + CLAIM):
            taken = _collect(channel, now)
            if taken is not None:
                claims.append(taken)
        if len(claims) == SIDE_BY_SIDE:
            break  # the others at the next tick, so that none waits inside its claim
    return claims


def settle(claim: Claim, results: Sequence[str | None], now: datetime) -> None:
    """Note what went and what did not, and when each is due again; gives the channel back."""
    failed = [problem for problem in results if problem]
    rest_until = now
    with transaction.atomic():
        for parcel, problem in zip(claim.parcels, results, strict=True):
            for delivery in parcel:
                if problem == "":
                    _went(delivery, claim.channel, now)
                elif problem is not None:
                    rest_until = max(rest_until, _failed(delivery, problem, now))
        channel = AlertChannel.objects.filter(pk=claim.channel.pk)
        channel.update(last_problem=failed[0] if failed else "", rest_until=min(rest_until, now + LONGEST_REST))
        if "" in results:
            channel.update(last_sent_at=now, rest_until=None)


def unattended(now: datetime, patience: timedelta) -> QuerySet[Alert]:
    """Alerts to act on now that nobody has acknowledged within ``patience``; not those of a halt itself."""
    return (
        Alert.objects.filter(acknowledged_at__isnull=True, severity=Severity.CRITICAL, first_at__lte=now - patience)
        .exclude(kind=KILL_SWITCH)
        .select_related("account")
    )


def _worth_sending(now: datetime) -> QuerySet[Alert]:
    return Alert.objects.filter(acknowledged_at__isnull=True, last_at__gte=now - WORTH_SENDING)


def _due(now: datetime) -> QuerySet[AlertDelivery]:
    return AlertDelivery.objects.filter(due_at__lte=now, alert__acknowledged_at__isnull=True)


def _collect(channel: AlertChannel, now: datetime) -> Claim | None:
    """What is due at a channel, the gravest and oldest first; None when its address cannot be read."""
    due = list(
        _due(now)
        .filter(channel=channel)
        .select_related("alert__account")
        .order_by("-alert__severity", "alert__first_at", "pk")[:MOST]
    )
    # One that is left over alone gets a message of its own as well.
    single = len(due) if len(due) <= ONE_BY_ONE + 1 else ONE_BY_ONE
    parcels = [[delivery] for delivery in due[:single]]
    messages = [message(delivery.alert, again=delivery.sent_at is not None, now=now) for delivery in due[:single]]
    if due[single:]:
        parcels.append(due[single:])
        messages.append(collected([delivery.alert for delivery in due[single:]]))
    try:
        errand = Errand(address=channel.address, messages=messages)
    except DecryptError:
        claim = Claim(channel=channel, parcels=parcels, errand=Errand(address="", messages=()))
        settle(claim, [UNREADABLE] * len(parcels), now)
        return None
    return Claim(channel=channel, parcels=parcels, errand=errand)


def _went(delivery: AlertDelivery, channel: AlertChannel, now: datetime) -> None:
    """It is sent again only while it calls for action and nobody has acknowledged it."""
    repeat = timedelta(minutes=channel.repeat_minutes)
    again = repeat and delivery.alert.severity == Severity.CRITICAL and now - delivery.alert.first_at < WORTH_SENDING
    _write(delivery, sent_at=now, failures=0, problem="", due_at=now + repeat if again else None)


def _failed(delivery: AlertDelivery, problem: str, now: datetime) -> datetime:
    """Put it off; returns until when."""
    failures = delivery.failures + 1
    until = now + min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)
    _write(delivery, failures=failures, problem=problem, due_at=until if failures < MOST_FAILURES else None)
    return until


def _write(delivery: AlertDelivery, *, due_at: datetime | None, **changes: object) -> None:
    AlertDelivery.objects.filter(pk=delivery.pk).update(**changes)
    # Acknowledged meanwhile, it has been taken off the list and stays off.
    AlertDelivery.objects.filter(pk=delivery.pk, due_at__isnull=False).update(due_at=due_at)
