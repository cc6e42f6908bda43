"""What people are told when an order that was to make something smaller, a cancel or a change came to nothing."""

from __future__ import annotations

from datetime import datetime

from brokers.alerts import close_alert, ineffective, raise_alert
from brokers.domain.enums import OrderStatus
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import CANCEL_KINDS, PLACING_KINDS, Actor, IntentKind, IntentState
from brokers.models import OrderIntent, Severity

_NOT_SENT_OR_REFUSED = frozenset({IntentState.DENIED, IntentState.LAPSED, IntentState.REFUSED})
_NOT_TAKEN = _NOT_SENT_OR_REFUSED | {IntentState.REJECTED}
_BY_THE_BOOK = (IntentState.DONE, IntentState.REJECTED)
#: Where a cancel or a change may go that the broker took.
_AFTER_WORKING = (*_BY_THE_BOOK, IntentState.NEEDS_HUMAN)
_CANCEL, _CHANGE = "cancel_not_taken", "change_not_taken"


def tell(intent: OrderIntent, actor: Actor, cause: str, at: datetime) -> None:
    """Tell of an exit that was not taken, a cancel whose order may still trade, or a lost change without effect.

    Call when ``actor`` has moved an intent. A later cancel or change of the same that the book shows done, or too
    late, takes the second or third back. Of what a person said is not placed they know.
    """
    state, came_to_nothing = intent.state, (intent.state, actor) == (IntentState.NOT_PLACED, Actor.RECONCILER)
    if intent.kind in (IntentKind.CANCEL, IntentKind.MODIFY) and state in _AFTER_WORKING:
        ineffective.take_back(intent, at)
    if intent.kind in PLACING_KINDS:
        # By its sender or the sweeper: it was absent, and was to be sent again.
        came_to_nothing |= state == IntentState.NOT_PLACED and actor in (Actor.SENDER, Actor.SWEEPER)
        if (came_to_nothing or state in _NOT_TAKEN) and intent.reduce_only and intent.plan_id is None:
            _tell_of_exit(intent, cause, at)
    elif state in _BY_THE_BOOK:
        kind = _CANCEL if intent.kind in CANCEL_KINDS else _CHANGE
        close_alert(kind, _key(intent), because=f"{intent} is {state}: {cause}", at=at)
    elif intent.kind in CANCEL_KINDS:
        is_given_up = state == IntentState.ABSENT and actor in (Actor.SENDER, Actor.SWEEPER)
        if (came_to_nothing or is_given_up or state in _NOT_SENT_OR_REFUSED) and _is_open(intent):
            _tell_of_cancel(intent, cause, at)
    elif came_to_nothing and _is_open(intent):
        _tell_of_change(intent, cause, at)


def tell_absent(intent: OrderIntent, at: datetime) -> None:
    """Tell of a lost order that was to reduce a position, of one that holds up its plan, or of a lost change.

    Call when it is proved absent and not sent again by itself. Taken back when it is not that any more.
    """
    if intent.kind not in PLACING_KINDS:
        if _is_open(intent):
            _tell_of_change(intent, intent.closed_reason, at)
    elif intent.reduce_only or (intent.plan is not None and intent.plan.cancelled_at is None):
        _tell_of_absent(intent, at)


def _tell_of_absent(intent: OrderIntent, at: datetime) -> None:
    reduces = "It was to reduce a position, which is as it was. " if intent.reduce_only else ""
    waits = f"{intent.plan} waits" if intent.plan is not None else "Nothing more goes out for it"
    raise_alert(
        "absent",
        str(intent.pk),
        # Not to act on now: what nobody attends to may halt the account, and with it the exit.
        severity=Severity.WARNING,
        happened=f"{intent}, to {intent.side} {intent.quantity} of {intent.symbol}, is proved not to be at the broker: "
        f"{intent.closed_reason}.",
        meaning=f"{reduces}{waits} until you decide, or its time is over.",
        to_do="Send it once more on its page, or say there that it is not placed.",
        at=at,
        account=intent.account,
        intent=intent,
    )


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
    raise_alert(
        _CANCEL,
        _key(intent),
        severity=Severity.WARNING,
        happened=f"{intent}, to cancel {_what(intent)}, is {intent.state}: {cause}",
        meaning="What was to be cancelled is still open as far as is known, and may trade.",
        to_do="Look at it; cancel it once more, or in the broker's app.",
        at=at,
        account=intent.account,
        intent=intent,
    )


def _tell_of_change(intent: OrderIntent, cause: str, at: datetime) -> None:
    """Once for an order, or a GTT, until somebody has seen it: its answer was lost, so that nobody was refused."""
    raise_alert(
        _CHANGE,
        _key(intent),
        severity=Severity.WARNING,
        happened=f"{intent}, to change {_what(intent)}, is {intent.state}: {cause}",
        meaning="It is open as it was before, as far as is known, and may trade so.",
        to_do="Look at it; change it once more if that is still wanted, or cancel it.",
        at=at,
        account=intent.account,
        intent=intent,
    )


def _what(intent: OrderIntent) -> str:
    named = f"order {intent.target}" if intent.target_id else f"GTT {intent.gtt}"
    return f"{named} of {intent.symbol}"


def _key(intent: OrderIntent) -> str:
    return f"order {intent.target_id}" if intent.target_id else f"GTT {intent.gtt_id}"


def _is_open(intent: OrderIntent) -> bool:
    """Whether what was to be cancelled or changed is still there, as last read."""
    if intent.target is not None:
        return not OrderStatus(intent.target.status).is_terminal
    return intent.gtt is not None and not GttStatus(intent.gtt.status).is_over
