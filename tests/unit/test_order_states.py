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

EVERY_MOVE = list(itertools.product(IntentState, IntentState, Actor))


@pytest.mark.parametrize(("old", "new", "actor"), EVERY_MOVE)
def test_a_move_is_allowed_only_if_the_table_lists_it(old: IntentState, new: IntentState, actor: Actor) -> None:
    if actor in TRANSITIONS.get((old, new), ()):
        check_transition(old, new, actor)
    else:
        with pytest.raises(IllegalTransition):
            check_transition(old, new, actor)


def test_nothing_leads_from_unknown_back_to_ready() -> None:
    reachable: set[IntentState] = set()
    frontier = {IntentState.UNKNOWN}
    while frontier:
        state = frontier.pop()
        following = {new for old, new in TRANSITIONS if old is state} - reachable
        reachable |= following
        frontier |= following
    assert not reachable & {IntentState.READY, IntentState.ARMED}


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
