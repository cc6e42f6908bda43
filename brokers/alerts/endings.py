"""What people are told when an order that was to make something smaller ended without having done it."""

from __future__ import annotations

from datetime import datetime

from brokers.alerts import close_alert, raise_alert
from brokers.domain.enums import OrderStatus
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import CANCEL_KINDS, PLACING_KINDS, IntentState
from brokers.models import OrderIntent, Severity

_NOT_SENT_OR_REFUSED = frozenset({IntentState.DENIED, IntentState.LAPSED, IntentState.REFUSED})
_CANCEL = "cancel_not_taken"
_NOT_TAKEN = _NOT_SENT_OR_REFUSED | {IntentState.REJECTED}


def tell(intent: OrderIntent, cause: str, at: datetime) -> None:
    """Tell of an exit that was not taken, or of a cancel whose order may still trade. Call when an intent has moved.

    A later cancel of the same that finds it ended takes the second back.
    """
    if intent.kind in CANCEL_KINDS and intent.state in _NOT_SENT_OR_REFUSED and _is_open(intent):
        _tell_of_cancel(intent, cause, at)
    elif intent.kind in CANCEL_KINDS and intent.state in (IntentState.DONE, IntentState.REJECTED):
        close_alert(_CANCEL, _key(intent), because=f"{intent} is {intent.state}: {cause}", at=at)
    elif intent.kind in PLACING_KINDS and intent.state in _NOT_TAKEN and intent.reduce_only and intent.plan_id is None:
        _tell_of_exit(intent, cause, at)


def _tell_of_exit(intent: OrderIntent, cause: str, at: datetime) -> None:
    """Once for an account and symbol until somebody has seen it; a plan tells of its own."""
    raise_alert(
        "exit_not_taken",
        f"{intent.account_id}:{intent.symbol}",
        severity=Severity.WARNING,
        happened=f"{intent}, to {intent.side} {intent.quantity} of {intent.symbol}, is {intent.state}: {cause}",
        meaning="It was to reduce a position, which is as it was.",
        to_do="Look whether the position is still to be closed; close it, or have the strategy try again.",
        at=at,
        account=intent.account,
        intent=intent,
    )


def _tell_of_cancel(intent: OrderIntent, cause: str, at: datetime) -> None:
    """Once for an order, or a GTT, until somebody has seen it."""
    what = f"order {intent.target}" if intent.target_id else f"GTT {intent.gtt}"
    raise_alert(
        _CANCEL,
        _key(intent),
        severity=Severity.WARNING,
        happened=f"{intent}, to cancel {what} of {intent.symbol}, is {intent.state}: {cause}",
        meaning="What was to be cancelled is still open as far as is known, and may trade.",
        to_do="Look at it; cancel it once more, or in the broker's app.",
        at=at,
        account=intent.account,
        intent=intent,
    )


def _key(intent: OrderIntent) -> str:
    return f"order {intent.target_id}" if intent.target_id else f"GTT {intent.gtt_id}"


def _is_open(intent: OrderIntent) -> bool:
    """Whether what was to be cancelled is still there, as last read."""
    if intent.target is not None:
        return not OrderStatus(intent.target.status).is_terminal
    return intent.gtt is not None and not GttStatus(intent.gtt.status).is_over
