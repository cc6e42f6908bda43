"""A person's answer to an open question: one row that stays, with what they saw, and one move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Model

from brokers import slots
from brokers.clock import IST, configured_clock
from brokers.discovery import spec_of
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import (
    BookRead,
    BrokerOrder,
    GttOrder,
    HumanDecision,
    OrderAttempt,
    OrderIntent,
    PositionLine,
    PositionSnapshot,
)
from brokers.recovery import gtts, matching, visibility
from brokers.recovery.reading import place_of

#: Readings of the book that are shown, newest first.
SHOWN_READINGS = 20
_WIRE_FACTS = (
    *("number", "outcome", "armed_at", "send_deadline_at", "quiet_at", "first_byte_at", "finished_at", "http_status"),
    *("exceptions", "body_sha256", "reply_code", "reply_text", "sent_price", "session_version", "host", "pid"),
)
#: Whether the broker has it was not known, or somebody said that it has not.
_LOST = (AttemptOutcome.UNKNOWN, AttemptOutcome.VOID)
_READING_FACTS = ("pk", "started_at", "finished_at", "session_version", "ok", "complete", "rows", "problem")
_ORDER_FACTS = (
    *("broker_order_id", "client_tag", "origin", "status", "quantity", "filled_quantity", "limit_price"),
    *("trigger_price", "placed_at", "first_seen_at", "last_seen_at"),
)


def evidence(intent: OrderIntent) -> dict[str, Any]:
    """All that is known of an intent, as JSON: attempts, readings of the book, candidates, the position in its symbol."""
    attempts = list(intent.attempts.order_by("number"))
    readings = BookRead.objects.filter(account=intent.account, started_at__gte=intent.created_at).order_by(
        "-started_at"
    )
    shown = list(readings[:SHOWN_READINGS])
    lost = _lost_attempt(attempts)
    proof_at = lost and visibility.proof_from(lost, visibility.bound(intent.account, lost.armed_at))
    return {
        "attempts": [_facts(attempt, _WIRE_FACTS) for attempt in attempts],
        "must_show_by": _plain(proof_at),
        "readings": [_facts(row, _READING_FACTS) | {"position": _position(intent, row)} for row in shown],
        "candidates": _compared(intent, lost) if lost else [],
        "position_before": _position_before(intent),
    }


def candidates(intent: OrderIntent) -> list[BrokerOrder]:
    """Nobody's orders in the book of its day that may be it: those with its tag, and those of its symbol and side."""
    free = BrokerOrder.objects.filter(account=intent.account, trading_day=intent.trading_day, attempt__isnull=True)
    return [
        order
        for order in free.order_by("first_seen_at")
        if matching.has_tag(order, intent.client_tag) or (order.symbol, order.side) == (intent.symbol, intent.side)
    ]


def _compared(intent: OrderIntent, lost: OrderAttempt) -> list[dict[str, Any]]:
    """The candidates with what differs from what was sent."""
    if intent.kind == IntentKind.GTT:
        return [gtts.facts(gtt) | {"differences": gtts.differences(intent, gtt)} for gtt in gtts.candidates(intent)]
    return [
        _facts(order, _ORDER_FACTS) | {"differences": matching.differences(lost, order)} for order in candidates(intent)
    ]


def adopt(intent: OrderIntent, broker_order_id: str, *, by: str, reason: str, although_different: bool = False) -> None:
    """It is this order of the broker's book; it is followed from now on.

    :raises OrderDenied: it is not open, or the order is not known, another's, or not what was sent, which a person
        may overrule with ``although_different``.
    """
    now = configured_clock().now()
    attempt = _open_attempt(intent, IntentState.NEEDS_HUMAN)
    if intent.kind == IntentKind.GTT:
        _adopt_gtt(intent, attempt, broker_order_id, by, reason, although_different=although_different, now=now)
        return
    if intent.kind != IntentKind.PLACE or attempt.outcome not in _LOST:
        raise OrderDenied(f"{intent} is not an order that was lost, so that there is none to adopt for it.")
    order = BrokerOrder.objects.filter(
        account=intent.account, trading_day=intent.trading_day, broker_order_id=str(broker_order_id).strip()
    ).first()
    if order is None:
        raise OrderDenied(f"Order {broker_order_id!r} is in no book of {intent.trading_day:%d %b %Y} that was read.")
    if order.attempt is not None:
        raise OrderDenied(f"Order {order} belongs to {order.attempt.intent}; one order answers one intent.")
    if (wrong := matching.differences(attempt, order)) and not although_different:
        raise OrderDenied(f"Order {order} has {', '.join(wrong)}; confirm that it is the order all the same.")
    with _decision(intent, attempt, HumanDecision.Kind.ADOPT, by, reason, now):
        matching.adopt(attempt, order, actor=Actor.PERSON, cause=f"{by} adopted {order}: {reason}", now=now)


def _adopt_gtt(
    intent: OrderIntent,
    attempt: OrderAttempt,
    gtt_order_id: str,
    by: str,
    reason: str,
    *,
    although_different: bool,
    now: datetime,
) -> None:
    known = GttOrder.objects.filter(account=intent.account, book_seen_at__isnull=False)
    gtt = known.filter(gtt_order_id=str(gtt_order_id).strip()).first()
    if gtt is None:
        raise OrderDenied(f"GTT {gtt_order_id!r} is in no GTT book that was read.")
    own = GttOrder.objects.filter(attempt=attempt).first()
    if own is not None and own.pk != gtt.pk:
        raise OrderDenied(f"{intent} was taken as GTT {own} by the broker; it is that one or none.")
    if gtt.attempt is not None and own is None:
        raise OrderDenied(f"GTT {gtt} belongs to {gtt.attempt.intent}; one GTT answers one intent.")
    if (wrong := gtts.differences(intent, gtt)) and not although_different:
        raise OrderDenied(f"GTT {gtt} has {', '.join(wrong)}; confirm that it is the GTT all the same.")
    with _decision(intent, attempt, HumanDecision.Kind.ADOPT, by, reason, now):
        gtts.adopt(attempt, gtt, actor=Actor.PERSON, cause=f"{by} adopted {gtt}: {reason}", now=now)


def not_placed(intent: OrderIntent, *, by: str, reason: str) -> None:
    """The broker does not have it, or it is over; nothing more happens with it.

    :raises OrderDenied: it is not open.
    """
    attempt = _open_attempt(intent, IntentState.NEEDS_HUMAN, IntentState.ABSENT)
    _close_attempt(intent, attempt, HumanDecision.Kind.NOT_PLACED, IntentState.NOT_PLACED, by, reason)


def resend(intent: OrderIntent, *, by: str, reason: str, confirmed_twice: bool = False) -> None:
    """Send it once more: the same intent with the same tag, within its lifetime.

    :raises OrderDenied: it is not open, its time ran out, an order with its tag is at the broker, or the broker
        would take it a second time and ``confirmed_twice`` does not say that this is understood.
    """
    now = configured_clock().now()
    attempt = _open_attempt(intent, IntentState.NEEDS_HUMAN, IntentState.ABSENT)
    if now > intent.not_after:
        raise OrderDenied(
            f"{intent} was not to be sent after {intent.not_after.astimezone(IST):%d %b %Y %H:%M:%S} IST; record a new "
            "order instead."
        )
    if attempt.outcome not in _LOST:
        raise OrderDenied(f"{intent} is at the broker; it cannot be sent again.")
    if tagged := [order for order in candidates(intent) if matching.has_tag(order, intent.client_tag)]:
        raise OrderDenied(f"Order {tagged[0]} carries the tag of {intent}, so that it is at the broker; adopt it.")
    spec = spec_of(intent.account.broker)
    if not spec.capabilities.refuses_duplicate_tag and not confirmed_twice:
        raise OrderDenied(
            f"{spec.verbose_name} would take {intent} a second time if it has it; look into the broker's own app, then "
            "confirm twice."
        )
    _close_attempt(intent, attempt, HumanDecision.Kind.RESEND, IntentState.READY, by, reason, not_before=now)


def _close_attempt(
    intent: OrderIntent,
    attempt: OrderAttempt,
    kind: HumanDecision.Kind,
    new: IntentState,
    by: str,
    reason: str,
    **changes: Any,
) -> None:
    now = configured_clock().now()
    cause = f"{by}: {reason}"
    with _decision(intent, attempt, kind, by, reason, now):
        OrderAttempt.objects.filter(pk=attempt.pk, outcome=AttemptOutcome.UNKNOWN).update(outcome=AttemptOutcome.VOID)
        closed = "" if new is IntentState.READY else cause[:500]
        move(intent, new, actor=Actor.PERSON, cause=cause, at=now, closed_reason=closed, **changes)


@contextmanager
def _decision(
    intent: OrderIntent, attempt: OrderAttempt, kind: HumanDecision.Kind, by: str, reason: str, at: datetime
) -> Iterator[None]:
    """Around a move by a person: one transaction with the row that says who, why and what they saw.

    :raises OrderDenied: nobody or no reason is named, or somebody else answered meanwhile.
    """
    if not by.strip() or not reason.strip():
        raise OrderDenied(f"A decision on {intent} needs who made it and why; give both.")
    seen = evidence(intent)
    try:
        with transaction.atomic():
            HumanDecision.objects.create(
                intent=intent,
                attempt=attempt,
                kind=kind,
                decided_by=by[:150],
                reason=reason[:500],
                evidence=seen,
                at=at,
            )
            yield
    except StaleIntent as error:
        raise OrderDenied(f"{intent} was answered by somebody else meanwhile; look at it again.") from error


def _open_attempt(intent: OrderIntent, *states: IntentState) -> OrderAttempt:
    """The attempt that the question is about.

    :raises OrderDenied: the intent is in none of ``states``.
    """
    intent.refresh_from_db()
    if intent.state not in states:
        raise OrderDenied(f"{intent} is {intent.state}; this is decided for {' and '.join(states)} only.")
    attempt = _lost_attempt(intent.attempts.order_by("number"))
    if attempt is None:
        raise OrderDenied(f"{intent} has no attempt that may have left.")
    return attempt


def _lost_attempt(attempts: Iterable[OrderAttempt]) -> OrderAttempt | None:
    """The newest attempt that may be at the broker; where there is none, the newest that left."""
    left = [each for each in reversed(list(attempts)) if each.outcome != AttemptOutcome.NOT_SENT]
    may_be_there = [each for each in left if each.outcome != AttemptOutcome.REFUSED]
    return next(iter(may_be_there or left), None)


def _position(intent: OrderIntent, reading: BookRead) -> int | None:
    if reading.positions is None:
        return None
    units: int = reading.positions.get(place_of(intent.exchange, intent.symbol), 0)
    return units


def _position_before(intent: OrderIntent) -> int | None:
    """Units held by the last reading of the positions before the intent; None when there was none."""
    lines = PositionLine.objects.filter(exchange=intent.exchange, symbol=intent.symbol)
    newest = slots.taken_until(PositionSnapshot, intent.account, intent.created_at).first()
    return sum(lines.filter(snapshot=newest).values_list("quantity", flat=True)) if newest else None


def _facts(row: Model, names: Sequence[str]) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in names}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, bool)) else str(value)
