"""The order ledger's state machine, in every interleaving of workers, queue, clean-up, broker and people.

Driven by the product's own table: what it refuses cannot happen here. ``python -m tests.model`` prints the
number of states and the mutants' counter-examples.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from brokers.domain.order_states import TRANSITIONS, Actor, IntentState
from brokers.ledger.settlement import MAX_TRIES
from tests.model.placing import Rules
from tests.model.variants import MUST_HOLD, MUTANTS, Variant

#: Moves of the table that the models do not make: ends that differ from others in their name alone, and plans,
#: whose children have a model of their own order.
NOT_MODELLED = {
    (IntentState.NEW, IntentState.WITHDRAWN, Actor.PERSON),
    (IntentState.READY, IntentState.WITHDRAWN, Actor.PLAN),
    (IntentState.READY, IntentState.WITHDRAWN, Actor.PERSON),
    (IntentState.READY, IntentState.ABSENT, Actor.PLAN),
    (IntentState.READY, IntentState.ABSENT, Actor.PERSON),
    (IntentState.READY, IntentState.NOT_PLACED, Actor.PLAN),
    (IntentState.READY, IntentState.NOT_PLACED, Actor.PERSON),
    (IntentState.WORKING, IntentState.EXPIRED, Actor.BOOK),
    (IntentState.EXPIRED, IntentState.FILLED, Actor.BOOK),
}


@pytest.mark.parametrize("variant", MUST_HOLD, ids=lambda variant: variant.name)
def test_the_design_holds_in_every_interleaving(variant: Variant) -> None:
    model, found = variant.run()
    print(f"{variant.name}: {found.states} states, {found.steps} steps")
    broken = {verdict: steps for verdict, steps in found.counter_examples.items() if verdict in variant.holds}
    assert not broken
    assert found.states > 500
    assert not model.refused, "the model wants a move that the product's table refuses"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_the_design_is_caught_with_a_counter_example(mutant: Variant) -> None:
    _, found = mutant.run()
    for verdict in sorted(mutant.breaks):
        assert found.counter_examples.get(verdict), f"{mutant.name} does not break {verdict}"
        print(f"{mutant.name}: {verdict}: " + " / ".join(found.counter_examples[verdict]))


def test_every_move_of_the_table_is_made_in_the_model() -> None:
    """A move that is added to the product's table has to be put into the model as well."""
    made = set()
    for variant in MUST_HOLD:
        if len(variant.rules.kinds) == 1:
            made |= replace(variant, rules=replace(variant.rules, tries=2, workers=2)).run()[0].used
    every = {(old, new, actor) for (old, new), actors in TRANSITIONS.items() for actor in actors}
    assert every - made == NOT_MODELLED
    assert made <= every


def test_the_model_makes_as_many_attempts_as_the_product() -> None:
    assert Rules().tries == MAX_TRIES
