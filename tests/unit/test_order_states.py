"""Who may move an intent where."""

import itertools

import pytest

from brokers.domain.order_states import (
    LIVE_STATES,
    TERMINAL_STATES,
    TRANSITIONS,
    Actor,
    IllegalTransition,
    IntentState,
    check_transition,
)


def test_a_move_is_allowed_only_if_the_table_lists_it() -> None:
    for old, new, actor in itertools.product(IntentState, IntentState, Actor):
        if actor in TRANSITIONS.get((old, new), ()):
            check_transition(old, new, actor)
        else:
            with pytest.raises(IllegalTransition, match=f"{actor} may not move an intent from {old} to {new}"):
                check_transition(old, new, actor)


def test_i4_what_is_unknown_is_sent_again_only_after_proof_or_by_a_person() -> None:
    assert {new for old, new in TRANSITIONS if old is IntentState.UNKNOWN} == {
        IntentState.WORKING,
        IntentState.ABSENT,
        IntentState.NEEDS_HUMAN,
    }
    assert TRANSITIONS[(IntentState.ABSENT, IntentState.READY)] == {Actor.POLICY, Actor.PERSON}
    assert TRANSITIONS[(IntentState.NEEDS_HUMAN, IntentState.READY)] == {Actor.PERSON}


def test_only_a_sender_arms() -> None:
    assert {actors for (_, new), actors in TRANSITIONS.items() if new is IntentState.ARMED} == {
        frozenset({Actor.SENDER})
    }


def test_what_was_never_sent_or_refused_stays_so() -> None:
    ended = {IntentState.DENIED, IntentState.WITHDRAWN, IntentState.LAPSED, IntentState.REFUSED, IntentState.FILLED}
    assert not [move for move in TRANSITIONS if move[0] in ended]


def test_every_state_is_live_or_terminal() -> None:
    assert set(IntentState) == LIVE_STATES | TERMINAL_STATES
    assert not LIVE_STATES & TERMINAL_STATES
