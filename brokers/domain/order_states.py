"""The states of an intent and of an attempt, and every move that is allowed.

One table, one function. An attempt is armed before its first byte, what is not proven is UNKNOWN,
and while it is UNKNOWN nothing is sent again.
"""

from enum import StrEnum


class IntentKind(StrEnum):
    PLACE = "PLACE"
    CANCEL = "CANCEL"
    MODIFY = "MODIFY"
    GTT = "GTT"  # have the broker keep an order until its trigger
    GTT_CANCEL = "GTT_CANCEL"
    GTT_MODIFY = "GTT_MODIFY"


class AttemptOutcome(StrEnum):
    ARMED = "ARMED"  # committed, its sender has not reported
    NOT_SENT = "NOT_SENT"  # proven: no byte left
    ACKED = "ACKED"  # the broker took it
    REFUSED = "REFUSED"  # the broker said no
    UNKNOWN = "UNKNOWN"  # it may be there
    ADOPTED = "ADOPTED"  # was UNKNOWN, found in the book
    VOID = "VOID"  # was UNKNOWN, proved absent


class IntentState(StrEnum):
    NEW = "NEW"  # a plan's child whose turn has not come
    READY = "READY"  # recorded, may be sent
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person is to say yes first
    ARMED = "ARMED"  # an attempt is under way
    WORKING = "WORKING"  # the broker took it; the book tells the rest
    UNKNOWN = "UNKNOWN"  # it may be at the broker; nothing is sent again meanwhile
    ABSENT = "ABSENT"  # was UNKNOWN, proved not to be there; or a lost cancel that is not sent again after all
    NEEDS_HUMAN = "NEEDS_HUMAN"  # was UNKNOWN, and the book cannot settle it
    NOT_PLACED = "NOT_PLACED"  # absent for good; watched until the day ends
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
    PLAN = "PLAN"  # the plan that it is a part of
    SENDER = "SENDER"  # the process that armed the attempt
    SWEEPER = "SWEEPER"  # beat's clean-up, which first makes sure that the sender is dead
    RECONCILER = "RECONCILER"  # who judges UNKNOWN from readings of the book
    POLICY = "POLICY"  # a rule that somebody switched on, e.g. to send again what is proved absent
    BOOK = "BOOK"  # the order book's reading
    PERSON = "PERSON"  # a signed-in user, with a decision on record


#: Where an intent may begin, and who may put it there.
INITIAL_STATES: dict[IntentState, frozenset[Actor]] = {
    IntentState.NEW: frozenset({Actor.PLAN}),
    IntentState.READY: frozenset({Actor.CALLER}),
    IntentState.AWAITING_APPROVAL: frozenset({Actor.CALLER}),
}
#: What puts something new at the broker.
PLACING_KINDS = frozenset({IntentKind.PLACE, IntentKind.GTT})
#: What only takes something away from there, and passes wherever that can do no harm.
CANCEL_KINDS = frozenset({IntentKind.CANCEL, IntentKind.GTT_CANCEL})
#: These are looked up in the broker's GTT book, the others in its order book.
GTT_KINDS = frozenset({IntentKind.GTT, IntentKind.GTT_CANCEL, IntentKind.GTT_MODIFY})
ORDER_KINDS = frozenset(IntentKind) - GTT_KINDS
#: Ends that say that nothing was taken.
UNTAKEN_STATES = frozenset({IntentState.DENIED, IntentState.WITHDRAWN, IntentState.LAPSED, IntentState.REFUSED})
#: Where something ends instead that was called absent, was to be sent again and was not taken: by kind.
IN_DOUBT: dict[str, IntentState] = {
    **dict.fromkeys(CANCEL_KINDS, IntentState.ABSENT),  # until a book answers
    **dict.fromkeys(PLACING_KINDS, IntentState.NOT_PLACED),  # the first may still show up
}
#: Not sent yet, and may still be.
UNSENT_STATES = frozenset({IntentState.NEW, IntentState.READY, IntentState.AWAITING_APPROVAL})
#: Nobody knows yet what the broker made of it: a cancel or modify in one of these blocks its like on the same order.
UNSETTLED_STATES = UNSENT_STATES | {IntentState.ARMED, IntentState.UNKNOWN}
#: Open questions: what the broker holds is not known, or a person is asked.
OPEN_QUESTIONS = frozenset({IntentState.UNKNOWN, IntentState.ABSENT, IntentState.NEEDS_HUMAN})
#: Not ended.
LIVE_STATES = UNSETTLED_STATES | OPEN_QUESTIONS | {IntentState.WORKING}
TERMINAL_STATES = frozenset(IntentState) - LIVE_STATES
#: I8: these keep their risk reservation on their trading day; what is not known counts as filled.
RESERVING_STATES = OPEN_QUESTIONS | {IntentState.ARMED, IntentState.WORKING, IntentState.NOT_PLACED}

_S, _A = IntentState, Actor
_BOOK_ENDS = (_S.FILLED, _S.CANCELLED, _S.REJECTED, _S.EXPIRED, _S.DONE)

#: (from, to) -> who may make the move.
TRANSITIONS: dict[tuple[IntentState, IntentState], frozenset[Actor]] = {
    # A plan's child
    (_S.NEW, _S.READY): frozenset({_A.PLAN}),
    (_S.NEW, _S.WITHDRAWN): frozenset({_A.PLAN, _A.PERSON}),
    (_S.NEW, _S.LAPSED): frozenset({_A.SWEEPER}),
    # A person's yes or no
    (_S.AWAITING_APPROVAL, _S.READY): frozenset({_A.PERSON}),
    (_S.AWAITING_APPROVAL, _S.DENIED): frozenset({_A.PERSON}),
    (_S.AWAITING_APPROVAL, _S.WITHDRAWN): frozenset({_A.CALLER}),
    (_S.AWAITING_APPROVAL, _S.LAPSED): frozenset({_A.SWEEPER}),
    # Sending
    (_S.READY, _S.ARMED): frozenset({_A.SENDER}),
    (_S.READY, _S.DENIED): frozenset({_A.SENDER}),
    (_S.READY, _S.WITHDRAWN): frozenset({_A.CALLER, _A.PLAN, _A.PERSON}),
    (_S.READY, _S.LAPSED): frozenset({_A.SENDER, _A.SWEEPER}),
    (_S.ARMED, _S.READY): frozenset({_A.SENDER}),
    (_S.ARMED, _S.LAPSED): frozenset({_A.SENDER}),  # proven unsent once too often
    (_S.ARMED, _S.WORKING): frozenset({_A.SENDER}),
    (_S.ARMED, _S.REFUSED): frozenset({_A.SENDER}),
    (_S.ARMED, _S.UNKNOWN): frozenset({_A.SENDER, _A.SWEEPER}),
    # A cancel that was lost, was to be sent again since the book still showed its order, and is not
    (_S.READY, _S.ABSENT): frozenset({_A.CALLER, _A.PLAN, _A.PERSON, _A.SENDER, _A.SWEEPER}),
    (_S.ARMED, _S.ABSENT): frozenset({_A.SENDER}),
    (_S.ABSENT, _S.DONE): frozenset({_A.BOOK}),
    (_S.ABSENT, _S.REJECTED): frozenset({_A.BOOK}),
    # An order or GTT that was absent, was to be sent again and came to nothing: the first may show up all the same
    (_S.READY, _S.NOT_PLACED): frozenset({_A.CALLER, _A.PLAN, _A.PERSON, _A.SENDER, _A.SWEEPER}),
    (_S.ARMED, _S.NOT_PLACED): frozenset({_A.SENDER}),
    # Finding out
    (_S.UNKNOWN, _S.WORKING): frozenset({_A.RECONCILER, _A.SENDER}),  # found, or a late answer
    (_S.UNKNOWN, _S.ABSENT): frozenset({_A.RECONCILER}),
    (_S.UNKNOWN, _S.NEEDS_HUMAN): frozenset({_A.RECONCILER}),
    (_S.ABSENT, _S.READY): frozenset({_A.POLICY, _A.PERSON}),
    (_S.ABSENT, _S.NOT_PLACED): frozenset({_A.RECONCILER, _A.PERSON}),
    (_S.ABSENT, _S.NEEDS_HUMAN): frozenset({_A.RECONCILER}),  # it showed up after all
    (_S.READY, _S.NEEDS_HUMAN): frozenset({_A.RECONCILER}),  # before it was sent again
    (_S.NOT_PLACED, _S.NEEDS_HUMAN): frozenset({_A.RECONCILER}),
    (_S.NEEDS_HUMAN, _S.WORKING): frozenset({_A.PERSON}),
    (_S.NEEDS_HUMAN, _S.NOT_PLACED): frozenset({_A.PERSON}),
    (_S.NEEDS_HUMAN, _S.READY): frozenset({_A.PERSON}),
    # The book
    **{(_S.WORKING, end): frozenset({_A.BOOK}) for end in _BOOK_ENDS},
    (_S.WORKING, _S.NEEDS_HUMAN): frozenset({_A.RECONCILER}),  # its day is over and the book never showed its end
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


def check_initial(state: IntentState, actor: Actor) -> None:
    """Allow an intent to begin in ``state`` or refuse it.

    :raises IllegalTransition: no intent begins there by this actor.
    """
    if actor not in INITIAL_STATES.get(state, frozenset()):
        raise IllegalTransition(f"{actor} may not record an intent as {state}.")
