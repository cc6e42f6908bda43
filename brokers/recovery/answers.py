"""The moves of an intent whose answer was lost, and what a person is told of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import transaction

from brokers.alerts import endings, raise_alert
from brokers.discovery import spec_of
from brokers.domain.order_states import CANCEL_KINDS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerAccount, OrderAttempt, OrderIntent, Severity

#: The kind of the alert of what the broker most likely has twice.
SENT_TWICE = "sent_twice"


def declare_absent(attempt: OrderAttempt, cause: str, now: datetime, evidence: dict[str, Any] | None = None) -> None:
    """Write that a lost attempt was without effect, and send it again or close it.

    :raises StaleIntent: somebody else judged it meanwhile.
    """
    intent = attempt.intent
    with transaction.atomic():
        if intent.state == IntentState.ABSENT:
            _close(intent, now, closed_reason=cause[:500])
            return
        unknown = OrderAttempt.objects.filter(pk=attempt.pk, outcome=AttemptOutcome.UNKNOWN)
        if not unknown.update(outcome=AttemptOutcome.VOID):
            raise StaleIntent(f"{attempt} was judged meanwhile.")
        move(
            intent,
            IntentState.ABSENT,
            actor=Actor.RECONCILER,
            cause=cause,
            at=now,
            evidence=evidence,
            closed_reason=cause[:500],
        )
        # In one with what follows from it: nobody who is stopped here leaves a cancel that is never sent again.
        settle_absent(intent, now)
    attempt.outcome = AttemptOutcome.VOID


def settle_absent(intent: OrderIntent, now: datetime) -> None:
    """Send again what may be sent again, close what is too old, and tell people of what is left to them."""
    if now > intent.not_after:
        _close(intent, now)
    elif _may_be_sent_again(intent):
        cause = "sent once more, since it is proved absent"
        with transaction.atomic():
            ready = IntentState.READY
            move(intent, ready, actor=Actor.POLICY, cause=cause, at=now, not_before=now, closed_reason="")
    else:
        endings.tell_absent(intent, now)


def _close(intent: OrderIntent, now: datetime, **changes: Any) -> None:
    cause = str(changes.get("closed_reason", intent.closed_reason))[:300] or "absent, and its time is over"
    with transaction.atomic():
        move(intent, IntentState.NOT_PLACED, actor=Actor.RECONCILER, cause=cause, at=now, **changes)


def _may_be_sent_again(intent: OrderIntent) -> bool:
    """A cancel, whose goal is the same however often it is sent; an order once, where the policy is switched on."""
    if intent.kind in CANCEL_KINDS:
        return True
    if intent.kind != IntentKind.PLACE or not spec_of(intent.account.broker).capabilities.refuses_duplicate_tag:
        return False
    # Asked anew: the same reading may have shown that a proof was wrong.
    if not BrokerAccount.objects.filter(pk=intent.account_id, resend_after_absence=True).exists():
        return False
    again = intent.events.filter(from_state=IntentState.ABSENT, to_state=IntentState.READY)
    return not again.exists()


def ask_person(attempt: OrderAttempt, cause: str, now: datetime) -> None:
    """Put a question before a person. :raises StaleIntent: somebody else answered it meanwhile."""
    intent = attempt.intent
    with transaction.atomic():
        move(intent, IntentState.NEEDS_HUMAN, actor=Actor.RECONCILER, cause=cause, at=now, closed_reason="")
        raise_alert(
            "needs_human",
            str(intent.pk),
            severity=Severity.CRITICAL,
            happened=f"{intent} of {intent.symbol} x {intent.quantity} needs a decision: {cause}.",
            meaning="What became of it at the broker is not known, and what it may cost stays reserved.",
            to_do="Compare the intent's page with the broker's own app, then adopt the order or say that it is not there.",
            at=now,
            account=intent.account,
            intent=intent,
        )


def alert_twice(attempt: OrderAttempt, happened: str, now: datetime) -> None:
    intent = attempt.intent
    raise_alert(
        SENT_TWICE,
        str(attempt.pk),
        severity=Severity.CRITICAL,
        happened=f"{intent} of {intent.symbol} x {intent.quantity} was sent again, and then {happened}.",
        meaning="The broker has most likely two orders for one.",
        to_do="Compare the broker's own app with the intent's page, and cancel or close there what is too much.",
        at=now,
        account=intent.account,
        intent=intent,
    )


def stop_resending(account: BrokerAccount, happened: str, now: datetime) -> None:
    """Send nothing again by itself any more for an account where a proof of absence was wrong, and tell people."""
    allowed = BrokerAccount.objects.filter(pk=account.pk, resend_after_absence=True)
    with transaction.atomic():
        if not allowed.update(resend_after_absence=False):
            return
        raise_alert(
            "resend_off",
            str(account.pk),
            severity=Severity.WARNING,
            happened=f"At {account} {happened}.",
            meaning="What is proved absent there is not sent again by itself any more, since the proof was wrong once.",
            to_do="Find out why the broker's book was wrong; then switch it on again on the account's page, if you still "
            "want it.",
            at=now,
            account=account,
        )


def unless_stale(act: Callable[..., None], attempt: OrderAttempt, *arguments: Any) -> None:
    """Do it, unless somebody else has answered the question meanwhile."""
    try:
        act(attempt, *arguments)
    except StaleIntent:
        attempt.intent.refresh_from_db()
