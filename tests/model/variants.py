"""The model's variants: brokers and policies under which the design must hold, and mutants that must break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brokers.domain.order_states import (
    INITIAL_STATES,
    RESERVING_STATES,
    TRANSITIONS,
    Actor,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from tests.model.changing import Changing
from tests.model.explorer import Exploration, explore
from tests.model.placing import Placing, Rules, World

RULES = frozenset({"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "OVERLAPPED"})
#: What a person would notice.
OUTCOMES = frozenset({"DUPLICATED", "LOST", "PHANTOM", "WRONG_LINK", "SENT_AFTER_EXPIRY", "FORGOTTEN"})
EVERYTHING = RULES | OUTCOMES


@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    rules: Rules
    #: What must break; nothing for one that must hold.
    breaks: frozenset[str] = frozenset()
    #: What must not break, where not everything is promised.
    holds: frozenset[str] = EVERYTHING

    def model(self) -> Placing:
        return Placing(self.rules) if self.rules.kinds[0] is IntentKind.PLACE else Changing(self.rules)

    def run(self) -> tuple[Placing, Exploration[World]]:
        model = self.model()
        return model, explore(model.starts(), model.steps, model.broken, model.settled, until=self.breaks)


PLACE, CANCEL, MODIFY = IntentKind.PLACE, IntentKind.CANCEL, IntentKind.MODIFY


def holds(name: str, **rules: Any) -> Variant:
    return Variant(name=name, rules=Rules(**rules))


def never_twice(name: str, **rules: Any) -> Variant:
    """Where the broker's refusal of a tag is all that is left: an order may be lost sight of, and is not doubled."""
    return Variant(name=name, rules=Rules(**rules), holds=frozenset({"DUPLICATED", "WRONG_LINK", "PHANTOM"}))


def breaks(name: str, what: str, **rules: Any) -> Variant:
    values = {"tries": 2, "policy_resends": True} | rules
    return Variant(name=name, rules=Rules(**values), breaks=frozenset(what.split()))


def two(*kinds: IntentKind) -> dict[str, Any]:
    """Two intents at a broker that echoes no tag, in the smallest world that shows what matters."""
    return {"kinds": kinds, "echoes_tag": False, "rings": 1, "tries": 1, "halts": False, "fills_late": False}


MUST_HOLD = [
    holds("the design, sent again only by a person", starts=tuple(INITIAL_STATES), person_resends=True),
    holds("the design, with sending again switched on", policy_resends=True, person_resends=True),
    holds("three workers", workers=3, policy_resends=True, person_resends=True),
    holds("no tag, and a person types the same order", echoes_tag=False, manual_trading=True, person_trades=True),
    holds("no tag, and two orders that look the same", **two(PLACE, PLACE)),
    holds("orders show up later than V, never sent again", shows_in_time=False),
    Variant(
        name="orders show up later than V, and are sent again",
        rules=Rules(shows_in_time=False, policy_resends=True, person_resends=True, tries=2),
        # A second order is at the broker where the first shows up after it was sent, and while it waits to be sent
        # nothing is reserved for the first.
        holds=EVERYTHING - {"DUPLICATED", "I8"},
    ),
    holds(
        "no fence and no visibility bound, never sent again",
        fences=False,
        waits_for_absence=False,
        shows_in_time=False,
        tries=2,
    ),
    never_twice(
        "sent again without a fence, where the broker refuses the tag",
        policy_resends=True,
        fences=False,
        refuses_same_tag=True,
        tries=2,
    ),
    never_twice(
        "sent again without a visibility bound, where the broker refuses the tag",
        policy_resends=True,
        waits_for_absence=False,
        refuses_same_tag=True,
        tries=2,
    ),
    holds("a cancel", kinds=(CANCEL,)),
    holds("a change", kinds=(MODIFY,)),
    holds("a cancel beside a change", **(two(CANCEL, MODIFY))),
    holds("two changes of one order", **(two(MODIFY, MODIFY))),
]

MUTANTS = [
    breaks("sends again without a fence", "DUPLICATED I4", fences=False),
    breaks("sends again without a visibility bound", "DUPLICATED I4", waits_for_absence=False),
    breaks("a person's word is taken before V", "DUPLICATED I4", person_resends=True, person_waits=False),
    breaks("no compare-and-set, no index", "DUPLICATED I1", claims_atomically=False, one_live_attempt=False),
    # With the index alone nothing is sent twice, and an ended intent is sent all the same.
    breaks("no compare-and-set", "LOST I7", claims_atomically=False),
    breaks("written before it is committed", "DUPLICATED I2", commits_before_sending=False),
    breaks("the transport sends again", "DUPLICATED I3", retries_on_the_wire=True),
    breaks("a lost answer is taken for not sent", "DUPLICATED", lost_answer=AttemptOutcome.NOT_SENT),
    breaks("a lost answer is taken for a refusal", "LOST I8", lost_answer=AttemptOutcome.REFUSED),
    breaks("a new tag when it is sent again", "DUPLICATED", keeps_tag=False, refuses_same_tag=True, fences=False),
    breaks("'No data' is taken for absence", "LOST", believes_empty_books=True),
    breaks(
        "UNKNOWN is reset at a start",
        "DUPLICATED I4",
        table=TRANSITIONS | {(IntentState.UNKNOWN, IntentState.READY): frozenset({Actor.SWEEPER})},
    ),
    breaks("no last gate", "I6 SENT_AFTER_EXPIRY", checks_before_sending=False),
    breaks("nobody rings again", "FORGOTTEN", rings_again=False),
    breaks("nobody judges a dead sender's attempt", "FORGOTTEN", sweeps=False),
    breaks("UNKNOWN keeps no reservation", "I8", reserving=RESERVING_STATES - {IntentState.UNKNOWN}),
    breaks(
        "adopts the first of two candidates",
        "WRONG_LINK",
        adopts_first=True,
        echoes_tag=False,
        manual_trading=True,
        person_trades=True,
    ),
    breaks("no look-alike lock", "WRONG_LINK PHANTOM", one_lookalike=False, **two(PLACE, PLACE)),
    breaks("an order for two attempts", "I5", one_attempt_an_order=False, **two(PLACE, PLACE)),
    breaks("two changes at once", "OVERLAPPED", one_lookalike=False, **two(MODIFY, MODIFY)),
    breaks("a lost cancel ends as if it had never been sent", "LOST", kinds=(CANCEL,), keeps_in_mind=False),
    breaks("a lost order ends as if it had never been sent", "LOST I8", shows_in_time=False, keeps_in_mind=False),
    breaks(
        "a change is repeated while the book lags",
        "DUPLICATED I4",
        kinds=(MODIFY,),
        waits_for_absence=False,
        believes_empty_books=True,
    ),
]
