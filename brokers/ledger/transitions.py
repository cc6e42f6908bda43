"""The one way to change an intent's state: compare-and-set, with an append-only event.

Works the same on PostgreSQL and SQLite, where ``select_for_update`` locks nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from brokers.alerts import close_alert, endings
from brokers.domain.evidence import WireEvidence
from brokers.domain.order_states import IN_DOUBT, UNTAKEN_STATES, Actor, IntentState, check_initial, check_transition
from brokers.models import OrderEvent, OrderIntent

#: What people are told of an intent while it is in a state, and need not be called for any more after it.
ALERTS_OF = {IntentState.UNKNOWN: "unknown", IntentState.ABSENT: "absent", IntentState.NEEDS_HUMAN: "needs_human"}


class StaleIntent(Exception):
    """Somebody else moved the intent first."""


def create(intent: OrderIntent, *, cause: str, at: datetime, actor: Actor = Actor.CALLER) -> None:
    """Insert a new intent with its first event. Call inside a transaction.

    :raises IllegalTransition: an intent may not begin in its state.
    """
    check_initial(IntentState(intent.state), actor)
    event = _build(intent, "", intent.state, actor, cause, {}, at)
    intent.last_event_hash = event.hash
    intent.save(force_insert=True)
    event.intent = intent
    event.save(force_insert=True)


def move(
    intent: OrderIntent,
    new: IntentState,
    *,
    actor: Actor,
    cause: str,
    at: datetime,
    evidence: Mapping[str, Any] | None = None,
    **changes: Any,
) -> None:
    """Move an intent to ``new`` and write why. Call inside a transaction.

    ``changes`` are further columns to set. ``intent`` is brought up to date. What was lost before does not end as if
    it had never been sent: a cancel goes to ABSENT, until the book says more, an order to NOT_PLACED, and is watched.

    :raises IllegalTransition: the table does not list the move.
    :raises StaleIntent: the row is no longer as ``intent`` says.
    """
    old = IntentState(intent.state)
    if new in UNTAKEN_STATES and intent.version and intent.called_absent():  # At version 0 it has no attempt.
        new = IN_DOUBT.get(intent.kind, new)
    check_transition(old, new, actor)
    version = intent.version
    intent.version = version + 1
    previous = intent.last_event_hash
    event = _build(intent, old, new, actor, cause, evidence or {}, at)
    changed = OrderIntent.objects.filter(pk=intent.pk, state=old, version=version).update(
        state=new, version=intent.version, last_event_hash=event.hash, updated_at=at, **changes
    )
    if changed != 1:
        intent.version, intent.last_event_hash = version, previous
        raise StaleIntent(f"{intent} is no longer {old} at version {version}.")
    event.save(force_insert=True)
    intent.state, intent.last_event_hash, intent.updated_at = new, event.hash, at
    for name, value in changes.items():
        setattr(intent, name, value)
    if old in ALERTS_OF:
        close_alert(ALERTS_OF[old], str(intent.pk), because=f"it is {new} now", at=at)
    endings.tell(intent, actor, cause, at)


def wire_evidence(evidence: WireEvidence | None) -> dict[str, Any]:
    """The facts of a call as JSON."""
    if evidence is None:
        return {}
    return {
        "method": evidence.method,
        "target": evidence.target,
        "started_at": evidence.started_at.isoformat(),
        "first_byte_at": evidence.first_byte_at.isoformat() if evidence.first_byte_at else None,
        "finished_at": evidence.finished_at.isoformat(),
        "http_status": evidence.http_status,
        "body_sha256": evidence.body_sha256,
        "exceptions": list(evidence.exceptions),
        "server_date": evidence.server_date,
    }


def _build(
    intent: OrderIntent, old: str, new: str, actor: Actor, cause: str, evidence: Mapping[str, Any], at: datetime
) -> OrderEvent:
    event = OrderEvent(
        intent_id=intent.pk,
        sequence=intent.version,
        from_state=old,
        to_state=new,
        actor=actor,
        cause=cause[:300],
        evidence=dict(evidence),
        at=at,
        previous_hash=intent.last_event_hash,
    )
    event.hash = hash_of(event, account_id=intent.account_id, client_order_id=intent.client_order_id)
    return event


def hash_of(event: OrderEvent, *, account_id: int, client_order_id: str) -> str:
    """SHA-256 over an event and the one before it, so that none can be changed or taken out unseen."""
    content = [
        event.previous_hash,
        [account_id, client_order_id],
        event.sequence,
        event.from_state,
        event.to_state,
        event.actor,
        event.cause,
        event.evidence,
        event.at.astimezone(UTC).isoformat(),
    ]
    # Sorted, since PostgreSQL keeps no order of keys.
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), sort_keys=True).encode()).hexdigest()
