"""A person's yes or no to an order that waits for it, one order at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction

from brokers.clock import IST, configured_clock
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, IntentState
from brokers.factory import BrokerFactory
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import HumanDecision, OrderIntent
from brokers.risk import gate
from brokers.risk.operation import operation_of


def approve(
    intent: OrderIntent, *, by: str, reason: str = "", ring: Callable[[OrderIntent], None] | None = None
) -> OrderIntent:
    """Let an order go, after holding it against its limits and a fresh price once more.

    It still has to pass the gate when it is sent. ``ring`` is called with it when the decision is committed;
    without, the sweeper finds it within seconds.

    :raises OrderDenied: it does not wait for approval any more, its time is over, or it does not pass the gate;
        nothing is changed.
    :raises BrokerError: there is no price to hold it against now; nothing is changed.
    """
    evidence = _checked(intent)
    _decide(intent, HumanDecision.Kind.APPROVE, IntentState.READY, by, reason, evidence)
    if ring is not None:
        transaction.on_commit(lambda: ring(intent))
    return intent


def decline(intent: OrderIntent, *, by: str, reason: str = "") -> OrderIntent:
    """Refuse an order; it is never sent.

    :raises OrderDenied: it does not wait for approval any more.
    """
    told = f"declined by {by}" + (f": {reason}" if reason else "")
    _decide(intent, HumanDecision.Kind.DECLINE, IntentState.DENIED, by, reason, {}, closed_reason=told[:500])
    return intent


def _checked(intent: OrderIntent) -> dict[str, Any]:
    """What the gate says of the order now, as evidence of the decision."""
    now = configured_clock().now()
    if now > intent.not_after:
        raise OrderDenied(
            f"{intent} could be approved until {intent.not_after.astimezone(IST):%H:%M:%S} IST; place a new one."
        )
    gateway = BrokerFactory.get_broker(intent.account.broker, intent.account.name)
    gate.check_now(intent, gateway)
    operation = operation_of(intent, gateway)
    clearance = gate.check_order(intent, operation, gateway)
    return {"rupees": str(clearance.rupees), "checked_at": now.isoformat()}


def _decide(
    intent: OrderIntent,
    kind: HumanDecision.Kind,
    state: IntentState,
    by: str,
    reason: str,
    evidence: dict[str, Any],
    **changes: Any,
) -> None:
    now = configured_clock().now()
    if intent.state != IntentState.AWAITING_APPROVAL:
        raise OrderDenied(f"{intent} is {intent.state} and waits for no approval.")
    try:
        with transaction.atomic():
            move(
                intent,
                state,
                actor=Actor.PERSON,
                cause=f"{'approved' if state is IntentState.READY else 'declined'} by {by}",
                at=now,
                not_before=now,
                **changes,
            )
            HumanDecision.objects.create(
                intent=intent, kind=kind, decided_by=by[:150], reason=reason[:500], evidence=evidence, at=now
            )
    except StaleIntent as error:
        intent.refresh_from_db()
        raise OrderDenied(f"{intent} is {intent.state} by now and waits for no approval.") from error
