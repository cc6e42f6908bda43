"""Everything that happened to one order, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from brokers.admin.display import ATTEMPT_COLOURS, INTENT_COLOURS, facts, price
from brokers.domain.enums import Mode
from brokers.domain.order_states import OPEN_QUESTIONS, AttemptOutcome, IntentKind, IntentState
from brokers.domain.redaction import scrub
from brokers.models import BrokerOrder, OrderAttempt, OrderEvent, OrderIntent, TradeFill


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One line of the timeline."""

    at: datetime
    title: str
    detail: str = ""
    #: Longer text, folded away.
    evidence: str = ""
    colour: str = ""
    #: Where it stands among the others, when its own time is too coarse for that.
    place: tuple[datetime, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPage:
    """One intent with the broker's order it concerns, its cancels and modifies, and all their moments."""

    broker_order: BrokerOrder | None
    #: The broker's words on that order.
    reason: str
    others: list[OrderIntent]
    moments: list[Moment]
    warning: str
    #: A page of its own says what is known and what can be decided.
    is_question: bool


def order_page(intent: OrderIntent) -> OrderPage:
    """Gather the page in a fixed number of queries, whatever happened to the order."""
    attempts = list(intent.attempts.order_by("number"))
    order = _broker_order(intent)
    others: list[OrderIntent] = []
    moments = [*map(_event, intent.events.order_by("sequence")), *_waiting(intent)]
    for attempt in attempts:
        moments += _attempt(attempt, intent.mode)
    if order is not None:
        moments += _book(order)
        others = [other for other in order.mutations.all() if other.pk != intent.pk]
        moments += map(_other, others)
    moments.sort(key=lambda moment: moment.place or (moment.at, 1))
    return OrderPage(
        broker_order=order,
        reason=scrub(order.reason) if order else "",
        others=others,
        moments=moments,
        warning=_warning(intent, attempts),
        is_question=intent.state in OPEN_QUESTIONS | {IntentState.ARMED},
    )


def _broker_order(intent: OrderIntent) -> BrokerOrder | None:
    orders = BrokerOrder.objects.prefetch_related("fills", "mutations")
    if intent.kind == IntentKind.PLACE:
        return orders.filter(attempt__intent=intent).first()
    return orders.filter(mutations=intent).first()


def _event(event: OrderEvent) -> Moment:
    step = f"{event.from_state} → {event.to_state}" if event.from_state else event.to_state
    return Moment(
        at=event.at,
        title=step,
        detail=f"{event.actor.lower()}: {scrub(event.cause)}",
        evidence=facts(event.evidence),
        colour=INTENT_COLOURS.get(IntentState(event.to_state), ""),
    )


def _waiting(intent: OrderIntent) -> Iterator[Moment]:
    """Being put off is no change of state, so no event tells of it."""
    if intent.state == IntentState.READY and intent.waiting_reason:
        yield Moment(at=intent.not_before, title="Due again", detail=scrub(intent.waiting_reason), colour="warning")


def _attempt(attempt: OrderAttempt, mode: str) -> Iterator[Moment]:
    sender = f"{attempt.host}, process {attempt.pid}"
    sent = f", at {price(attempt.sent_price)}" if attempt.sent_price is not None else ""
    yield Moment(at=attempt.armed_at, title=f"Attempt {attempt.number} armed", detail=f"{sender}{sent}", colour="info")
    shift = _wire_to_market(attempt, mode)
    if attempt.first_byte_at is not None:
        yield Moment(at=attempt.first_byte_at + shift, title="First byte left this machine")
    if attempt.finished_at is not None:
        status = f"HTTP {attempt.http_status}" if attempt.http_status else ""
        words = (status, attempt.reply_code, scrub(attempt.reply_text), scrub(attempt.exceptions), answer_time(attempt))
        yield Moment(
            at=attempt.finished_at + shift,
            title=f"Attempt {attempt.number}: {attempt.get_outcome_display()}",
            detail=" · ".join(word for word in words if word),
            colour=ATTEMPT_COLOURS.get(AttemptOutcome(attempt.outcome), ""),
        )


def answer_time(attempt: OrderAttempt) -> str:
    """How long the broker took, from the first byte sent to the end of its answer."""
    if attempt.first_byte_at is None or attempt.finished_at is None:
        return ""
    return f"{(attempt.finished_at - attempt.first_byte_at).total_seconds() * 1000:.1f} ms"


def _wire_to_market(attempt: OrderAttempt, mode: str) -> timedelta:
    """What brings the wire's times, which are the wall's, into the market's, which is another's in simulated mode."""
    earliest = attempt.first_byte_at or attempt.finished_at
    if mode != Mode.SIMULATED or earliest is None:
        return timedelta(0)
    return attempt.armed_at - earliest


def _book(order: BrokerOrder) -> Iterator[Moment]:
    yield Moment(
        at=order.first_seen_at, title="First seen in the broker's book", detail=f"order {order.broker_order_id}"
    )
    for fill in order.fills.all():
        yield Moment(
            at=fill.filled_at or fill.first_seen_at,
            title=f"Filled {fill.quantity} at {price(fill.price)}",
            detail=f"trade {fill.fill_id}",
            colour="success",
            place=_place(fill),
        )


def _place(fill: TradeFill) -> tuple[datetime, int]:
    """Brokers state whole seconds: it happened at any moment of that one, and before somebody saw it."""
    if fill.filled_at is None or fill.filled_at.microsecond:
        return fill.filled_at or fill.first_seen_at, 1
    return min(fill.filled_at + timedelta(microseconds=999_999), max(fill.first_seen_at, fill.filled_at)), 0


def _other(intent: OrderIntent) -> Moment:
    return Moment(
        at=intent.created_at,
        title=f"{intent.get_kind_display().capitalize()} asked for",
        detail=f"{intent.client_order_id}: {intent.get_state_display()} {scrub(intent.closed_reason)}".strip(),
        colour=INTENT_COLOURS.get(IntentState(intent.state), ""),
    )


def _warning(intent: OrderIntent, attempts: list[OrderAttempt]) -> str:
    if intent.state == IntentState.UNKNOWN:
        return (
            "This order may be at the broker, and nothing is sent again meanwhile: look it up in the broker's own "
            "order book before you place another."
        )
    if intent.state == IntentState.NEEDS_HUMAN:
        return "Nobody but you can find out what the broker made of this order."
    if any(attempt.outcome == AttemptOutcome.ARMED for attempt in attempts):
        return "An attempt is under way, or its sender died. It is not judged before its deadline has passed."
    return ""
