"""Holds the ledger's rows against its invariants, without asking a broker: ``manage.py audit_ledger``.

What the database's constraints promise is checked as well, since a restored or hand-edited database may
have lost them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from django.db.models import Count, Q, QuerySet

from brokers.domain.invariants import Invariant
from brokers.domain.order_states import (
    INITIAL_STATES,
    RESERVING_STATES,
    TRANSITIONS,
    Actor,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.ledger.transitions import hash_of
from brokers.models import HumanDecision, OrderAttempt, OrderEvent, OrderIntent

#: Attempts that hold no order at the broker.
_GONE = (AttemptOutcome.NOT_SENT, AttemptOutcome.VOID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One row that breaks an invariant."""

    invariant: Invariant
    intent_id: int
    sentence: str


def audit(since: date) -> Iterator[Finding]:
    """Every breach among the intents of ``since`` (IST date) and later; nothing when all is well."""
    intents = OrderIntent.objects.filter(trading_day__gte=since)
    yield from _live_attempts(intents)
    yield from _linked_orders(intents)
    yield from _reservations(intents)
    for intent in intents.prefetch_related("events", "attempts", "decisions").iterator(chunk_size=500):
        yield from _history(intent)


def _live_attempts(intents: QuerySet[OrderIntent]) -> Iterator[Finding]:
    crowded = intents.annotate(live=Count("attempts", filter=~Q(attempts__outcome__in=_GONE))).filter(live__gt=1)
    for intent in crowded:
        yield Finding(invariant=Invariant.I1, intent_id=intent.pk, sentence=f"{intent} has several live attempts.")


def _linked_orders(intents: QuerySet[OrderIntent]) -> Iterator[Finding]:
    taken = OrderAttempt.objects.filter(
        intent__in=intents,
        intent__kind=IntentKind.PLACE,
        outcome__in=[AttemptOutcome.ACKED, AttemptOutcome.ADOPTED],
        broker_order__isnull=True,
    )
    for attempt in taken:
        yield Finding(
            invariant=Invariant.I5,
            intent_id=attempt.intent_id,
            sentence=f"Attempt {attempt.number} is {attempt.outcome} and no broker order is linked to it.",
        )
    void = OrderAttempt.objects.filter(intent__in=intents, outcome__in=_GONE, broker_order__isnull=False)
    for attempt in void:
        yield Finding(
            invariant=Invariant.I5,
            intent_id=attempt.intent_id,
            sentence=f"Attempt {attempt.number} is {attempt.outcome} and a broker order is linked to it.",
        )


def _reservations(intents: QuerySet[OrderIntent]) -> Iterator[Finding]:
    unreserved = intents.filter(kind=IntentKind.PLACE, state__in=sorted(RESERVING_STATES), reserved_rupees__isnull=True)
    for intent in unreserved:
        yield Finding(
            invariant=Invariant.I8, intent_id=intent.pk, sentence=f"{intent} is {intent.state} and reserves nothing."
        )


def _history(intent: OrderIntent) -> Iterator[Finding]:
    events = sorted(intent.events.all(), key=lambda event: event.sequence)

    def finding(invariant: Invariant, sentence: str) -> Finding:
        return Finding(invariant=invariant, intent_id=intent.pk, sentence=sentence)

    if not events or events[-1].to_state != intent.state or events[-1].hash != intent.last_event_hash:
        yield finding(Invariant.I7, f"{intent} is {intent.state}, and its newest event does not say so.")
    for event in events:
        if event.hash != hash_of(event, account_id=intent.account_id, client_order_id=intent.client_order_id):
            yield finding(Invariant.I7, f"Event {event.sequence} of {intent} was changed after it was written.")
        if not _is_allowed(event):
            yield finding(
                Invariant.I7, f"{event.actor} moved {intent} from {event.from_state or 'nothing'} to {event.to_state}."
            )
    for earlier, later in pairwise(events):
        if later.sequence != earlier.sequence + 1 or later.previous_hash != earlier.hash:
            yield finding(Invariant.I7, f"An event of {intent} is missing before event {later.sequence}.")
    armed = [event for event in events if event.to_state == IntentState.ARMED]
    if len(armed) != len(intent.attempts.all()):
        yield finding(
            Invariant.I2, f"{intent} was armed {len(armed)} times and has {len(intent.attempts.all())} attempts."
        )
    for event in armed:
        if event.at > intent.not_after:
            yield finding(Invariant.I6, f"{intent} was armed at {event.at.isoformat()}, after its time.")
    yield from _sent_again(intent, events)


def _sent_again(intent: OrderIntent, events: list[OrderEvent]) -> Iterator[Finding]:
    resends = [
        event
        for event in events
        if event.to_state == IntentState.READY and event.from_state in (IntentState.ABSENT, IntentState.NEEDS_HUMAN)
    ]
    by_people = [event for event in resends if event.actor == Actor.PERSON]
    decided = [row for row in intent.decisions.all() if row.kind == HumanDecision.Kind.RESEND]
    if len(by_people) > len(decided):
        yield Finding(
            invariant=Invariant.I4,
            intent_id=intent.pk,
            sentence=f"{intent} was sent again without a decision on record.",
        )


def _is_allowed(event: OrderEvent) -> bool:
    """Whether the table lists the move for this actor."""
    try:
        new, actor = IntentState(event.to_state), Actor(event.actor)
        if not event.from_state:
            return actor in INITIAL_STATES.get(new, frozenset())
        return actor in TRANSITIONS.get((IntentState(event.from_state), new), frozenset())
    except ValueError:
        return False
