"""The model of cancelling and changing an order, while it may be filled at any moment.

The way of a cancel or a change to the broker is that of an order; what it does there, and how it is found out, is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from brokers.domain.order_states import (
    TERMINAL_STATES,
    Actor,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from tests.model.explorer import Step
from tests.model.placing import NEVER_SENT, Placing, Wire, World

S, A, O = IntentState, Actor, AttemptOutcome  # noqa: E741

ENDS = {"filled": S.FILLED, "filled after all": S.FILLED, "cancelled": S.CANCELLED}


class Changing(Placing):
    """Cancels and changes of one working order, under the same rules."""

    def steps(self, world: World) -> Iterator[Step[World]]:
        yield from super().steps(world)
        target = world.target
        if target.truth == "open" or (target.truth == "cancelled" and self.rules.fills_late):
            truth = "filled" if target.truth == "open" else "filled after all"
            yield Step(f"the order is {truth}", False, world._replace(target=target._replace(truth=truth)))
        truth_now = (target.truth, target.changed)
        if target.shown != truth_now:
            shown = target._replace(shown=truth_now)
            end = ENDS.get(target.truth)
            if end is not None and A.BOOK in self.rules.table.get((target.mirror, end), ()):
                self.used.add((target.mirror, end, A.BOOK))
                shown = shown._replace(mirror=end)
            yield Step(f"the book shows {truth_now}", True, world._replace(target=shown))

    def people(self, world: World, number: int) -> Iterator[Step[World]]:
        """Whether a person decides on it or not, a question that is before one is settled here."""
        intent = world.intents[number]
        if intent.state is S.READY:
            yield from self.move(world, number, S.WITHDRAWN, A.CALLER, "withdrawn", certain=False)

    def broker(self, world: World, number: int) -> Iterator[Step[World]]:
        intent, target = world.intents[number], world.target
        for n, attempt in enumerate(intent.attempts):
            if attempt.wire is not Wire.FLYING:
                continue
            yield Step(f"request {n + 1} is lost on the way", True, self.put(world, number, n, wire=Wire.GONE))
            yield Step(f"the broker refuses request {n + 1}", True, self.put(world, number, n, wire=Wire.REFUSED))
            yield Step(f"the broker forgets request {n + 1}", True, self.put(world, number, n, wire=Wire.IN_VAIN))
            if target.truth == "open":
                if intent.kind is IntentKind.CANCEL:
                    target = target._replace(truth="cancelled")
                else:
                    target = target._replace(changed=target.changed + 1)
                taken = self.put(world, number, n, wire=Wire.TAKEN)._replace(target=target)
                yield Step(f"the broker does request {n + 1}", True, taken)
        flying = any(attempt.wire is Wire.FLYING for attempt in intent.attempts)
        hidden = world.target.shown != (world.target.truth, world.target.changed)
        waits = intent.state is S.UNKNOWN or (intent.state is S.ABSENT and intent.kind is IntentKind.CANCEL)
        if waits and not intent.waited and not flying and not hidden:
            yield Step("V passes", True, self.change(world, number, waited=True))

    def reconciler(self, world: World, number: int) -> Iterator[Step[World]]:
        intent = world.intents[number]
        move = partial(self.move, world, number)
        cancels = intent.kind is IntentKind.CANCEL
        status, changed = world.target.shown
        before = changed - sum(a.wire is Wire.TAKEN for a in intent.attempts)
        shows = status == "cancelled" if cancels else changed > before
        waited = intent.waited or not self.rules.waits_for_absence
        if intent.state is S.WORKING:
            if shows:
                yield from move(S.DONE, A.BOOK, "the book shows it")
            elif status != "open":
                yield from move(S.REJECTED, A.BOOK, f"too late: the order was {status}")
            elif world.late:
                yield from move(S.NEEDS_HUMAN, A.RECONCILER, "its day is over and the book never showed it")
        elif intent.state is S.UNKNOWN:
            yield from move(S.NEEDS_HUMAN, A.RECONCILER, "no readable book until the cut-off", certain=False)
            if shows or status != "open":
                yield from move(S.WORKING, A.RECONCILER, "the book answers", outcome=O.ADOPTED)
            elif cancels and not world.late and len(intent.attempts) < self.rules.tries:
                yield from self.repeat(world, number)
            elif waited:
                yield from move(S.ABSENT, A.RECONCILER, "the book shows the old values", outcome=O.VOID)
            elif self.rules.believes_empty_books:
                yield from move(S.ABSENT, A.RECONCILER, "a book that lags is believed", outcome=O.VOID)
        elif intent.state is S.ABSENT and cancels and (shows or status != "open"):
            yield from move(S.DONE if shows else S.REJECTED, A.BOOK, "the book shows it after all")
        elif intent.state is S.ABSENT and cancels and not waited:
            yield from move(S.NEEDS_HUMAN, A.RECONCILER, "no readable book until the cut-off", certain=False)
        elif intent.state is S.ABSENT:
            yield from move(S.NOT_PLACED, A.RECONCILER, "absent for good")
            again = not cancels and not intent.resent and not world.late
            if again and len(intent.attempts) < self.rules.tries:
                yield from move(S.READY, A.POLICY, "policy repeats it", certain=False, resent=1)
        elif intent.state is S.NOT_PLACED and shows:
            yield from move(S.NEEDS_HUMAN, A.RECONCILER, "it showed up after all")

    def repeat(self, world: World, number: int) -> Iterator[Step[World]]:
        """A lost cancel is sent again at once while a book, though it may lag, shows its order open."""
        for judged in self.move(world, number, S.ABSENT, A.RECONCILER, "still open", outcome=O.VOID):
            yield from self.move(judged.world, number, S.READY, A.POLICY, "a cancel is repeated")

    def outcomes(self, world: World, number: int) -> Iterator[str]:
        intent, target = world.intents[number], world.target
        done = [a for a in intent.attempts if a.wire is Wire.TAKEN]
        if intent.kind is IntentKind.MODIFY and len(done) > 1:
            yield "DUPLICATED"
        if intent.state is S.DONE and not done:
            yield "PHANTOM"
        cancels = intent.kind is IntentKind.CANCEL
        # A cancel that is to be sent again, or was to be, does not say that it was not taken.
        repeated = {S.READY} if any(a.outcome is O.VOID for a in intent.attempts) else set()
        denies = (
            (NEVER_SENT - repeated) | {S.REJECTED, S.NOT_PLACED} if cancels else NEVER_SENT | {S.ABSENT, S.NOT_PLACED}
        )
        if done and intent.state in denies and target.truth != "filled after all":
            yield "LOST"
        if target.mirror is not S.WORKING and target.mirror is not ENDS.get(target.shown[0]):
            yield "PHANTOM"
        flying = any(a.wire is Wire.FLYING for a in intent.attempts)
        # A cancel reserves nothing.
        if not cancels and flying and target.truth == "open" and intent.state not in self.rules.reserving:
            yield "I8"
        open_ones = [
            a
            for other in world.intents
            for a in other.attempts
            if other.kind is intent.kind and a.outcome in (O.ARMED, O.UNKNOWN)
        ]
        if len(open_ones) > 1:
            yield "OVERLAPPED"

    def settled(self, world: World) -> bool:
        """Every one has ended, or is with a person, and the ledger has the order as it is."""
        target = world.target
        ended = all(intent.state in TERMINAL_STATES | {S.NEEDS_HUMAN} for intent in world.intents)
        return ended and target.shown == (target.truth, target.changed)
