"""Waits for what became of an intent, and says it the way a caller expects."""

from __future__ import annotations

from collections.abc import Callable

from brokers.clock import IST, configured_clock
from brokers.domain.errors import ApprovalNeeded, NotSent, OrderDenied, OrderOutcomeUnknown, OrderRejected
from brokers.domain.order_states import GTT_KINDS, OPEN_QUESTIONS, IntentState
from brokers.ledger.delivery import ANSWER_SECONDS, SEND_SECONDS, try_to_deliver
from brokers.ledger.operations import withdraw
from brokers.models import OrderIntent

POLL_SECONDS = 0.05


def wait_for(intent_id: int, *, wait: Callable[[float], None], monotonic: Callable[[], float]) -> str:
    """Deliver the intent from here, or follow the process that does; return the broker's order id.

    :raises ApprovalNeeded: it waits for a person's approval, and is sent then; do not send it again.
    :raises OrderDenied: refused here; nothing was sent.
    :raises LoginFailed, BrokerUnavailable, CredentialsNotFound: there is no session or no price; the intent
        was taken back, nothing was sent.
    :raises NotSent: it could not be sent within its lifetime or tries.
    :raises OrderRejected: the broker said no.
    :raises OrderOutcomeUnknown: it may be at the broker.
    """
    clock = configured_clock()
    armed_since: float | None = None
    while True:
        intent, obstacle = try_to_deliver(intent_id)
        if obstacle is not None and not isinstance(obstacle, NotSent) and withdraw(intent, cause=str(obstacle)):
            raise obstacle
        if intent.state not in (IntentState.READY, IntentState.ARMED):
            return _told(intent)
        if intent.state == IntentState.ARMED:
            armed_since = monotonic() if armed_since is None else armed_since
            if monotonic() - armed_since > SEND_SECONDS + ANSWER_SECONDS:
                return _told(intent)
            wait(POLL_SECONDS)
        else:
            seconds = (intent.not_before - clock.now()).total_seconds()
            wait(min(max(seconds, POLL_SECONDS), 1.0))


def _told(intent: OrderIntent) -> str:
    if intent.state == IntentState.AWAITING_APPROVAL:
        raise ApprovalNeeded(
            f"The order waits for approval in the admin as client order id {intent.client_order_id}, until "
            f"{intent.not_after.astimezone(IST):%H:%M:%S} IST; it is sent when a person approves it."
        )
    if intent.state == IntentState.ARMED or intent.state in OPEN_QUESTIONS:
        raise OrderOutcomeUnknown(
            f"Order {intent.client_order_id} of {intent.symbol} may be at the broker; do not send it again. "
            "Look it up with client order id in the admin, or in the broker's own app.",
            client_order_id=intent.client_order_id,
        )
    if intent.state == IntentState.DENIED:
        raise OrderDenied(intent.closed_reason)
    if intent.state in (IntentState.LAPSED, IntentState.WITHDRAWN, IntentState.NOT_PLACED):
        # What lapsed says itself what it waited for.
        waited_for = "" if intent.state == IntentState.LAPSED else intent.waiting_reason
        raise NotSent(" ".join(filter(None, [waited_for, f"The order was not sent: {intent.closed_reason}"])))
    if intent.state == IntentState.REFUSED:
        attempt = intent.attempts.order_by("-number").first()
        raise OrderRejected(
            intent.closed_reason,
            reason=attempt.reply_text if attempt else "",
            code=attempt.reply_code if attempt else "",
        )
    if intent.target is not None:
        return intent.target.broker_order_id
    if intent.kind in GTT_KINDS:
        return (intent.gtt or intent.attempts.get(gtt_order__isnull=False).gtt_order).gtt_order_id
    return intent.attempts.get(broker_order__isnull=False).broker_order.broker_order_id
