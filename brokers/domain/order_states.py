"""The states of an intent and of an attempt, and every move that is allowed.

One table, one function. An attempt is armed before its first byte, what is not proven is UNKNOWN,
and UNKNOWN is never sent again by itself.
"""

from enum import StrEnum


class IntentKind(StrEnum):
    PLACE = "PLACE"
    CANCEL = "CANCEL"
    MODIFY = "MODIFY"


class AttemptOutcome(StrEnum):
    ARMED = "ARMED"  # committed, its sender has not reported
    NOT_SENT = "NOT_SENT"  # proven: no byte left
    ACKED = "ACKED"  # the broker took it
    REFUSED = "REFUSED"  # the broker said no
    UNKNOWN = "UNKNOWN"  # it may be there
    ADOPTED = "ADOPTED"  # was UNKNOWN, found in the book
    VOID = "VOID"  # was UNKNOWN, proved absent


class IntentState(StrEnum):
    READY = "READY"  # recorded, may be sent
    ARMED = "ARMED"  # an attempt is under way
    WORKING = "WORKING"  # the broker took it; the book tells the rest
    UNKNOWN = "UNKNOWN"  # it may be at the broker; nobody sends it again
    DENIED = "DENIED"  # refused here, never sent
    WITHDRAWN = "WITHDRAWN"  # taken back before it was sent
    LAPSED = "LAPSED"  # its time ran out before it was sent
    REFUSED = "REFUSED"  # the broker refused the request
    REJECTED = "REJECTED"  # the broker took it, the exchange or risk desk refused it
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"  # at the exchange, at the end of its validity
    DONE = "DONE"  # a cancel or modify whose effect the book shows


class Actor(StrEnum):
    CALLER = "CALLER"  # who submitted or withdrew it
    SENDER = "SENDER"  # the process that armed the attempt
    SWEEPER = "SWEEPER"  # beat's clean-up
    BOOK = "BOOK"  # the order book's reading


#: Nobody knows yet what the broker made of it: a cancel or modify in one of these blocks its like on the same order.
UNSETTLED_STATES = frozenset({IntentState.READY, IntentState.ARMED, IntentState.UNKNOWN})
#: Not ended.
LIVE_STATES = UNSETTLED_STATES | {IntentState.WORKING}
TERMINAL_STATES = frozenset(IntentState) - LIVE_STATES

_S, _A = IntentState, Actor
_BOOK_ENDS = {_S.FILLED, _S.CANCELLED, _S.REJECTED, _S.EXPIRED, _S.DONE}

#: (from, to) -> who may make the move.
TRANSITIONS: dict[tuple[IntentState, IntentState], frozenset[Actor]] = {
    (_S.READY, _S.ARMED): frozenset({_A.SENDER}),
    (_S.READY, _S.DENIED): frozenset({_A.SENDER}),
    (_S.READY, _S.WITHDRAWN): frozenset({_A.CALLER}),
    (_S.READY, _S.LAPSED): frozenset({_A.SENDER, _A.SWEEPER}),
    (_S.ARMED, _S.READY): frozenset({_A.SENDER}),
    (_S.ARMED, _S.LAPSED): frozenset({_A.SENDER}),  # proven unsent once too often
    (_S.ARMED, _S.WORKING): frozenset({_A.SENDER}),
    (_S.ARMED, _S.REFUSED): frozenset({_A.SENDER}),
    (_S.ARMED, _S.UNKNOWN): frozenset({_A.SENDER}),
    **{(_S.WORKING, end): frozenset({_A.BOOK}) for end in _BOOK_ENDS},
    # Late truth: the exchange may fill what the book called cancelled or expired.
    (_S.CANCELLED, _S.FILLED): frozenset({_A.BOOK}),
    (_S.EXPIRED, _S.FILLED): frozenset({_A.BOOK}),
}


class IllegalTransition(Exception):
    """Somebody tried a move that the table does not list."""


def check_transition(old: IntentState, new: IntentState, actor: Actor) -> None:
    """Allow the move or refuse it.

    :raises IllegalTransition: the table does not list it for this actor.
    """
    if actor not in TRANSITIONS.get((old, new), frozenset()):
        raise IllegalTransition(f"{actor} may not move an intent from {old} to {new}.")
