"""Tells people of GTTs that ended or vanished without a wish of ours, and of those that nobody here placed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings

from brokers.alerts import close_alert, open_keys, raise_alert, was_raised
from brokers.domain.enums import TERMINAL_ORDER_STATUSES
from brokers.domain.gtt import GttKind, GttStatus, GttTrigger
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.models import BrokerAccount, BrokerOrder, GttOrder, OrderAttempt, OrderIntent, Severity

#: After these nothing is sent at a trigger.
_ENDED_BADLY = (GttStatus.CANCELLED, GttStatus.REJECTED, GttStatus.EXPIRED)
#: Attempts of these took nothing away from the broker.
_NO_CANCEL = (AttemptOutcome.NOT_SENT, AttemptOutcome.REFUSED)
#: A GTT of such an intent may be in the book without being known as the intent's.
_MAY_BE_UNCLAIMED = (IntentState.ARMED, IntentState.UNKNOWN, IntentState.NEEDS_HUMAN)


def tell_of_change(gtt: GttOrder, before: list[dict[str, str]], *, at: datetime) -> None:
    """After a reading showed a GTT of ours otherwise than with the legs ``before``."""
    if (old := _key_of_end(gtt, before)) != _key_of_end(gtt, gtt.legs):
        close_alert("gtt_ended", old, because="the GTT book says something else now", at=at)
        tell_of_end(gtt, at=at)


def tell_of_end(gtt: GttOrder, *, at: datetime) -> None:
    """Once for each thing that a GTT of ours, or a leg of it, became without a wish of ours."""
    key, ended = _key_of_end(gtt, gtt.legs), _ended(gtt)
    if not ended or was_raised("gtt_ended", key):
        return
    protects = _protects(gtt)
    if protects:
        meaning = "The position that it closes may stand without what was to close it."
    else:
        meaning = "At its trigger nothing may be sent any more."
    raise_alert(
        "gtt_ended",
        key,
        severity=Severity.CRITICAL if protects else Severity.WARNING,
        happened=f"GTT {gtt} of {gtt.quantity} {gtt.symbol} at {gtt.account}: {', '.join(ended)}. Nobody here asked for it.",
        meaning=meaning,
        to_do="Look at it and at the position in the broker's own app; place another GTT, or close the position.",
        at=at,
        **_whose(gtt),
    )


def tell_of_missing(account: BrokerAccount, *, asked_at: datetime, at: datetime) -> None:
    """After a reading that was asked for at ``asked_at``: of active GTTs of ours that it did not show, once each."""
    missing = GttOrder.objects.filter(
        account=account,
        attempt__intent__mode=settings.MODE.value,
        status__in=[GttStatus.ACTIVE, GttStatus.UNKNOWN],
        # One that only its acknowledgement knows is a question of its intent's.
        book_seen_at__isnull=False,
        last_seen_at__lt=asked_at,
    ).select_related("account", "attempt__intent")
    # With the time, so that one that vanishes again is told of again.
    found = {f"{account.pk}:{gtt.pk}:{gtt.last_seen_at.timestamp():.0f}": gtt for gtt in missing}
    for key in open_keys("gtt_not_shown"):
        if key.startswith(f"{account.pk}:") and key not in found:
            close_alert("gtt_not_shown", key, because="the GTT book shows it again", at=at)
    for key, gtt in found.items():
        if not was_raised("gtt_not_shown", key):
            _tell_of_missing(gtt, key, at)


def tell_of_stranger(gtt: GttOrder, *, at: datetime) -> None:
    """Where nobody trades by hand, a GTT that is nobody's may be one of ours that the broker made twice."""
    if gtt.account.manual_trading != BrokerAccount.ManualTrading.NONE or GttStatus(gtt.status) in _ENDED_BADLY:
        return
    asked = OrderIntent.objects.filter(
        account=gtt.account, kind=IntentKind.GTT, symbol=gtt.symbol, state__in=_MAY_BE_UNCLAIMED
    )
    if asked.exists():
        return
    raise_alert(
        "unexplained_gtt",
        _key_of_stranger(gtt),
        severity=Severity.WARNING,
        happened=f"GTT {gtt} of {gtt.account}, {gtt.quantity} {gtt.symbol}, was placed by nobody here.",
        meaning="Nobody is said to trade there by hand, so the broker may have made one GTT twice. It triggers there, "
        "whatever is switched here.",
        to_do="Look at it in the broker's own app and cancel it there if it is too much; where people trade too, say so "
        "on the account's page.",
        at=at,
        account=gtt.account,
    )


def explain(gtt: GttOrder, *, at: datetime) -> None:
    """It turned out to be ours."""
    close_alert("unexplained_gtt", _key_of_stranger(gtt), because="it was placed here", at=at)


def _tell_of_missing(gtt: GttOrder, key: str, at: datetime) -> None:
    raise_alert(
        "gtt_not_shown",
        key,
        severity=Severity.CRITICAL if _protects(gtt) else Severity.WARNING,
        happened=f"The GTT book of {gtt.account} does not show GTT {gtt} of {gtt.quantity} {gtt.symbol} any more.",
        meaning="It was active when it was last shown. Whether it still waits for its trigger is not known.",
        to_do="Look for it in the broker's own app. If it is gone, look at the position, and place another GTT or close "
        "the position.",
        at=at,
        **_whose(gtt),
    )


def _whose(gtt: GttOrder) -> dict[str, Any]:
    return {"account": gtt.account, "intent": gtt.attempt.intent if gtt.attempt else None}


def _protects(gtt: GttOrder) -> bool:
    """Whether a position may rely on it: one placed to reduce only, or the legs of an entry that may be filled."""
    if gtt.attempt is not None and gtt.attempt.intent.reduce_only:
        return True
    return gtt.kind == GttKind.THREE_LEG and not _came_to_nothing(gtt)


def _came_to_nothing(gtt: GttOrder) -> bool:
    entry = BrokerOrder.objects.filter(account=gtt.account, broker_order_id=gtt.entry_order_id)
    return entry.filter(status__in=TERMINAL_ORDER_STATUSES, filled_quantity=0).exists()


def _ended(gtt: GttOrder) -> list[str]:
    """What its legs became without a wish of ours, in words; empty when all is as it should be."""
    statuses = {GttStatus(leg["status"]) for leg in gtt.legs}
    # Of target and stop the first to trigger ends the other.
    fine = set(_ENDED_BADLY) if GttStatus.TRIGGERED in statuses else set()
    if GttStatus.CANCELLED in statuses and _was_cancelled_by_us(gtt):
        fine.add(GttStatus.CANCELLED)
    if statuses & {GttStatus.CANCELLED, GttStatus.EXPIRED} and _came_to_nothing(gtt):
        # There is nothing that they were to close.
        fine |= {GttStatus.CANCELLED, GttStatus.EXPIRED}
    return [_told(leg) for leg in gtt.legs if GttStatus(leg["status"]) in {*_ENDED_BADLY, GttStatus.UNKNOWN} - fine]


def _told(leg: dict[str, str]) -> str:
    trigger = GttTrigger.of(leg)
    name = f"its {trigger.role.lower()}, {trigger.side} at {trigger.trigger_price}"
    if leg["status"] == GttStatus.UNKNOWN:
        return f"{name}, is said to be {leg['broker_status']!r}, which mcube does not know"
    return f"{name}, is {leg['status'].lower()}"


def _was_cancelled_by_us(gtt: GttOrder) -> bool:
    """Whether a cancel of it may have left, or one of what it entered with, which ends the legs."""
    left = OrderAttempt.objects.filter(intent__account=gtt.account).exclude(outcome__in=_NO_CANCEL)
    if left.filter(intent__gtt=gtt, intent__kind=IntentKind.GTT_CANCEL).exists():
        return True
    return (
        bool(gtt.entry_order_id)
        and left.filter(intent__target__broker_order_id=gtt.entry_order_id, intent__kind=IntentKind.CANCEL).exists()
    )


def _key_of_end(gtt: GttOrder, legs: list[dict[str, str]]) -> str:
    return f"{gtt.pk}:{','.join(sorted(leg['role'] + ' ' + leg['status'] for leg in legs))}"


def _key_of_stranger(gtt: GttOrder) -> str:
    return f"{gtt.account_id}:{gtt}"
