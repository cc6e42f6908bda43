"""The model of placing orders: the ledger's rules, the queue, workers that die or freeze, a broker that loses answers.

Every move of an intent goes through the product's own table; a move that it refuses cannot be made here. Time
has no length: what may come early or late, comes at any moment, so that a worker that is not scheduled is one
that is frozen. A process frozen between its last check and its first byte still writes, however late it is: that
is what the fence is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from brokers.domain.order_states import (
    IN_DOUBT,
    RESERVING_STATES,
    TERMINAL_STATES,
    TRANSITIONS,
    UNTAKEN_STATES,
    Actor,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from tests.model.explorer import Step

S, A, O = IntentState, Actor, AttemptOutcome  # noqa: E741

Table = Mapping[tuple[IntentState, IntentState], frozenset[Actor]]
NEVER_SENT = frozenset({S.NEW, S.AWAITING_APPROVAL, S.READY, S.DENIED, S.WITHDRAWN, S.LAPSED, S.REFUSED})
#: What the outside can tell; the others are rules on the way there.
OUTCOMES = frozenset({"DUPLICATED", "LOST", "PHANTOM", "WRONG_LINK", "SENT_AFTER_EXPIRY", "FORGOTTEN"})


class Wire(StrEnum):
    """Where an attempt's request is."""

    NOTHING = ""
    FLYING = "flying"
    GONE = "gone"
    TAKEN = "taken"
    IN_VAIN = "acknowledged, and nothing comes of it"
    REFUSED = "refused"
    SAME_TAG = "refused for its tag"


class Attempt(NamedTuple):
    #: None: the row is not there.
    outcome: AttemptOutcome | None
    tag: int
    wire: Wire = Wire.NOTHING
    #: The book shows its order.
    shown: bool = False
    #: The order that the ledger holds for this attempt's: (intent, attempt), or the person's.
    link: tuple[int, int] | None = None


class Intent(NamedTuple):
    state: IntentState
    attempts: tuple[Attempt, ...] = ()
    #: Messages in the queue.
    rings: int = 1
    #: V has passed since its last attempt went quiet.
    waited: bool = False
    resent: int = 0
    kind: IntentKind = IntentKind.PLACE


class Target(NamedTuple):
    """The order to cancel or change, at the broker, in the book and in the ledger."""

    truth: str = "open"
    #: How often a change was made.
    changed: int = 0
    #: ``truth`` and ``changed`` as the book shows them.
    shown: tuple[str, int] = ("open", 0)
    mirror: IntentState = IntentState.WORKING


class Worker(NamedTuple):
    doing: str = ""
    intent: int = -1
    attempt: int = -1


class World(NamedTuple):
    intents: tuple[Intent, ...]
    workers: tuple[Worker, ...]
    #: Somebody typed an order that looks the same: not yet, hidden, shown.
    person: str = ""
    target: Target = Target()
    late: bool = False
    halted: bool = False
    #: Rules that a step broke.
    faults: frozenset[str] = frozenset()


PERSONS = (-1, -1)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A broker, an installation, and the code's rules; a mutant has one of them switched off."""

    workers: int = 2
    kinds: tuple[IntentKind, ...] = (IntentKind.PLACE,)
    starts: tuple[IntentState, ...] = (S.READY,)
    rings: int = 2
    #: Attempts an intent, as many as the product makes.
    tries: int = 3
    echoes_tag: bool = True
    refuses_same_tag: bool = False
    manual_trading: bool = False
    #: A person types an order that looks the same.
    person_trades: bool = False
    policy_resends: bool = False
    person_resends: bool = False
    #: The exchange may fill what it has cancelled.
    fills_late: bool = True
    #: Somebody may halt trading on the way.
    halts: bool = True
    #: An accepted order shows up within V.
    shows_in_time: bool = True
    table: Table = field(default_factory=lambda: TRANSITIONS)
    reserving: frozenset[IntentState] = RESERVING_STATES
    # The code's rules
    claims_atomically: bool = True
    one_live_attempt: bool = True
    one_lookalike: bool = True
    one_attempt_an_order: bool = True
    commits_before_sending: bool = True
    checks_before_sending: bool = True
    fences: bool = True
    waits_for_absence: bool = True
    person_waits: bool = True
    believes_empty_books: bool = False
    adopts_first: bool = False
    keeps_tag: bool = True
    #: What was lost, was to be sent again and then is not, does not end as if it had never been sent.
    keeps_in_mind: bool = True
    #: What shows up before it is sent again is not sent again.
    looks_before_it_resends: bool = True
    rings_again: bool = True
    sweeps: bool = True
    retries_on_the_wire: bool = False
    lost_answer: AttemptOutcome = O.UNKNOWN
    takes_late_answers: bool = True


class Placing:
    """The model under ``rules``. ``used`` and ``refused`` collect the moves that the table was asked for."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.used: set[tuple[IntentState, IntentState, Actor]] = set()
        self.refused: set[tuple[IntentState, IntentState, Actor]] = set()

    def starts(self) -> Iterator[World]:
        for state in self.rules.starts:
            intents = tuple(Intent(state, rings=self.rules.rings, kind=kind) for kind in self.rules.kinds)
            yield World(intents, (Worker(),) * self.rules.workers)

    # What may happen

    def steps(self, world: World) -> Iterator[Step[World]]:
        for number in range(len(world.intents)):
            yield from self.people(world, number)
            yield from self.broker(world, number)
            yield from self.housekeeping(world, number)
            yield from self.reconciler(world, number)
        for worker in dict.fromkeys(world.workers):
            yield from self.working(world, worker)
        if not world.late:
            yield Step("not_after passes", True, world._replace(late=True))
        if self.rules.halts and not world.halted:
            yield Step("somebody halts trading", False, world._replace(halted=True))
        if self.rules.person_trades and not world.person:
            yield Step("a person types the same order", False, world._replace(person="hidden"))
        if world.person == "hidden":
            yield Step("the book shows the person's order", True, world._replace(person="shown"))

    def people(self, world: World, number: int) -> Iterator[Step[World]]:
        intent = world.intents[number]
        move = partial(self.move, world, number)
        if intent.state in (S.NEW, S.AWAITING_APPROVAL, S.READY):
            actor = A.PLAN if intent.state is S.NEW else A.CALLER
            yield from move(S.WITHDRAWN, actor, "withdrawn", certain=False)
        if intent.state is S.NEW:
            yield from move(S.READY, A.PLAN, "its turn comes", certain=False)
        if intent.state is S.AWAITING_APPROVAL:
            yield from move(S.READY, A.PERSON, "approved", certain=False)
            yield from move(S.DENIED, A.PERSON, "declined", certain=False)
        if intent.state not in (S.NEEDS_HUMAN, S.ABSENT):
            return
        mine = [(number, n) for n, attempt in enumerate(intent.attempts) if attempt.shown]
        if intent.state is S.NEEDS_HUMAN and mine:
            yield from move(S.WORKING, A.PERSON, "a person adopts", certain=False, link=mine[0], outcome=O.ADOPTED)
        elif (intent.waited or not self.rules.person_waits) and not mine:
            yield from move(S.NOT_PLACED, A.PERSON, "a person says not placed", certain=False, outcome=O.VOID)
            if self.rules.person_resends and len(intent.attempts) < self.rules.tries and not world.late:
                yield from move(S.READY, A.PERSON, "a person sends it again", certain=False, outcome=O.VOID, resent=1)

    def broker(self, world: World, number: int) -> Iterator[Step[World]]:
        intent = world.intents[number]
        for n, attempt in enumerate(intent.attempts):
            put = partial(self.put, world, number, n)
            if attempt.wire is Wire.FLYING:
                yield Step(f"request {n + 1} is lost on the way", True, put(wire=Wire.GONE))
                yield Step(f"the broker refuses request {n + 1}", True, put(wire=Wire.REFUSED))
                same = [a for a in intent.attempts if a.wire is Wire.TAKEN and a.tag == attempt.tag]
                if same and self.rules.refuses_same_tag:
                    yield Step(f"the broker refuses tag of request {n + 1}", True, put(wire=Wire.SAME_TAG))
                else:
                    yield Step(f"the broker takes request {n + 1}", True, put(wire=Wire.TAKEN))
            if attempt.wire is Wire.TAKEN and not attempt.shown:
                yield Step(f"the book shows order {n + 1}", True, put(shown=True))
        pending = [a for a in intent.attempts if a.wire is Wire.FLYING or (a.wire is Wire.TAKEN and not a.shown)]
        quiet = not pending or not self.rules.shows_in_time
        if quiet and intent.state in (S.UNKNOWN, S.NEEDS_HUMAN) and not intent.waited:
            yield Step("V passes", True, self.change(world, number, waited=True))

    def housekeeping(self, world: World, number: int) -> Iterator[Step[World]]:
        """Beat's: rings again, lets lapse, and judges attempts whose sender is gone."""
        intent = world.intents[number]
        if intent.rings:
            yield Step("the queue loses a message", False, self.change(world, number, rings=intent.rings - 1))
        elif intent.state is S.READY and self.rules.rings_again:
            yield Step("the sweeper rings again", True, self.change(world, number, rings=1))
        if world.late and self.rules.rings_again and intent.state in (S.NEW, S.AWAITING_APPROVAL, S.READY):
            yield from self.move(world, number, S.LAPSED, A.SWEEPER, "the sweeper lets it lapse")
        if A.SWEEPER in self.rules.table.get((S.UNKNOWN, S.READY), ()):
            yield from self.move(world, number, S.READY, A.SWEEPER, "a start resets it", outcome=O.VOID)
        for n, attempt in enumerate(intent.attempts):
            if attempt.outcome is not O.ARMED or not self.rules.sweeps or intent.state is not S.ARMED:
                continue
            fenced = world
            if self.rules.fences:
                held = (number, n)
                killed = [Worker() if (w.intent, w.attempt) == held else w for w in world.workers]
                fenced = world._replace(workers=tuple(sorted(killed)))
            cause = f"the sweeper {'fences and ' if fenced != world else ''}judges attempt {n + 1}"
            yield from self.move(fenced, number, S.UNKNOWN, A.SWEEPER, cause, outcome=O.UNKNOWN)

    # Finding out

    def reconciler(self, world: World, number: int) -> Iterator[Step[World]]:
        intent = world.intents[number]
        was_lost = any(attempt.outcome is O.VOID for attempt in intent.attempts)
        if intent.state not in (S.UNKNOWN, S.ABSENT, S.NOT_PLACED) and not (intent.state is S.READY and was_lost):
            return
        move = partial(self.move, world, number)
        candidates = list(self.candidates(world, number))
        waited = intent.waited or not self.rules.waits_for_absence
        if intent.state is S.UNKNOWN:
            yield from move(S.NEEDS_HUMAN, A.RECONCILER, "no readable book until the cut-off", certain=False)
            if self.rules.believes_empty_books and waited:
                yield from move(S.ABSENT, A.RECONCILER, "'No data' is taken for absence", outcome=O.VOID)
            yield from self.judge(world, number, candidates, waited=waited)
        elif candidates and self.rules.echoes_tag:
            yield from move(S.NEEDS_HUMAN, A.RECONCILER, "it showed up after all")
        elif intent.state is S.ABSENT:
            yield from move(S.NOT_PLACED, A.RECONCILER, "absent for good")
            again = self.rules.policy_resends and not intent.resent and not world.late
            if again and len(intent.attempts) < self.rules.tries:
                yield from move(S.READY, A.POLICY, "policy sends it again", certain=False, resent=1)

    def judge(
        self, world: World, number: int, candidates: list[tuple[int, int]], *, waited: bool
    ) -> Iterator[Step[World]]:
        """One reading of the book, which shows ``candidates``."""
        move = partial(self.move, world, number, actor=A.RECONCILER)
        sure = self.rules.echoes_tag or self.rules.adopts_first
        if candidates and (sure or (waited and not self.rules.manual_trading and len(candidates) == 1)):
            for one in candidates if self.rules.adopts_first else candidates[:1]:
                yield from move(new=S.WORKING, cause=f"the reconciler adopts {one}", link=one, outcome=O.ADOPTED)
        elif candidates and waited:
            yield from move(new=S.NEEDS_HUMAN, cause="more than one may be it")
        elif waited and not candidates:
            yield from move(new=S.ABSENT, cause="proved absent", outcome=O.VOID)

    def candidates(self, world: World, number: int) -> Iterator[tuple[int, int]]:
        """Orders that the book shows, that no attempt has, and that may be this intent's."""
        claimed = {attempt.link for intent in world.intents for attempt in intent.attempts}
        if not self.rules.one_attempt_an_order:
            claimed = set()
        tag = world.intents[number].attempts[-1].tag
        for i, intent in enumerate(world.intents):
            for n, attempt in enumerate(intent.attempts):
                mine = i == number and attempt.tag == tag
                if attempt.shown and (i, n) not in claimed and (mine or not self.rules.echoes_tag):
                    yield i, n
        if world.person == "shown" and PERSONS not in claimed and not self.rules.echoes_tag:
            yield PERSONS

    # Sending

    def working(self, world: World, worker: Worker) -> Iterator[Step[World]]:
        let = partial(self.employ, world, worker)
        if not worker.doing:
            for number, intent in enumerate(world.intents):
                if intent.rings:
                    taken = self.change(world, number, rings=intent.rings - 1)
                    seen = Worker("looks", number) if intent.state is S.READY else Worker()
                    yield Step(f"a worker is given intent {number + 1}", True, self.employ(taken, worker, seen))
            return
        if worker.doing != "looks":
            # Before, a kill is no more than a lost message.
            yield Step(f"kill -9 of the worker that {worker.doing}", False, let(Worker()))
        number, n = worker.intent, worker.attempt
        if worker.doing == "looks":
            yield from self.arm(world, worker)
        elif worker.doing == "has armed":
            yield from self.settle(world, worker, O.NOT_SENT, "no connection", certain=False)
            forbidden = world.late or world.halted
            if forbidden and self.rules.checks_before_sending:
                yield from self.settle(world, worker, O.NOT_SENT, "the last gate is shut")
            else:
                fault = {"SENT_AFTER_EXPIRY", "I6"} if forbidden else set()
                passed = world._replace(faults=world.faults | fault)
                yield Step(
                    "the last gate lets it pass",
                    True,
                    self.employ(passed, worker, Worker("is past the gate", number, n)),
                )
        elif worker.doing == "is past the gate":
            yield self.write(world, worker)
        elif worker.doing == "has written":
            yield from self.answered(world, worker)

    def arm(self, world: World, worker: Worker) -> Iterator[Step[World]]:
        number = worker.intent
        intent = world.intents[number]
        idle = self.employ(world, worker, Worker())
        if intent.state is not S.READY and self.rules.claims_atomically:
            yield Step("it is no longer READY", True, idle)
            return
        if world.late or world.halted:
            yield from self.move(idle, number, S.LAPSED if world.late else S.DENIED, A.SENDER, "refused here")
            return
        live = [a for a in intent.attempts if a.outcome not in (O.NOT_SENT, O.VOID, None)]
        alike = [
            a
            for other in world.intents
            for a in other.attempts
            if a.outcome in (O.ARMED, O.UNKNOWN) and not self.rules.echoes_tag
        ]
        if (live and self.rules.one_live_attempt) or (alike and self.rules.one_lookalike):
            yield Step("the database refuses the attempt", True, idle)
            return
        if self.rules.looks_before_it_resends and any(a.outcome is O.VOID and a.shown for a in intent.attempts):
            yield Step("what was called absent showed up", True, idle)
            return
        n = len(intent.attempts)
        if n >= self.rules.tries:
            return
        committed = self.rules.commits_before_sending
        attempt = Attempt(O.ARMED if committed else None, tag=0 if self.rules.keeps_tag else n)
        armed = self.change(world, number, attempts=(*intent.attempts, attempt), waited=False)
        armed = self.employ(armed, worker, Worker("has armed", number, n))
        if committed:
            # Without the compare-and-set, the state that was read is taken for the state that is.
            yield from self.move(armed, number, S.ARMED, A.SENDER, f"armed as attempt {n + 1}", believed=S.READY)
        else:
            yield Step("sends before it commits", True, armed)

    def write(self, world: World, worker: Worker) -> Step[World]:
        number, n = worker.intent, worker.attempt
        attempt = world.intents[number].attempts[n]
        faults = world.faults
        if attempt.wire is not Wire.NOTHING:
            faults |= {"I3"}
        if attempt.outcome is None:
            faults |= {"I2"}
        sent = self.put(world._replace(faults=faults), number, n, wire=Wire.FLYING)
        return Step(f"attempt {n + 1} is written", True, self.employ(sent, worker, Worker("has written", number, n)))

    def answered(self, world: World, worker: Worker) -> Iterator[Step[World]]:
        number, n = worker.intent, worker.attempt
        wire = world.intents[number].attempts[n].wire
        if self.rules.retries_on_the_wire and len(world.intents[number].attempts) < self.rules.tries:
            # The second copy is held as an attempt of its own, which the ledger knows nothing of.
            copy = world.intents[number].attempts[n]._replace(outcome=None, wire=Wire.FLYING, shown=False)
            again = self.change(world, number, attempts=(*world.intents[number].attempts, copy))
            yield Step("the transport sends it again", False, again._replace(faults=again.faults | {"I3"}))
        yield from self.settle(world, worker, self.rules.lost_answer, "the answer is lost")
        if wire in (Wire.TAKEN, Wire.IN_VAIN):
            yield from self.settle(world, worker, O.ACKED, "the acknowledgement arrives")
        elif wire is Wire.REFUSED:
            yield from self.settle(world, worker, O.REFUSED, "the refusal arrives")
        elif wire is Wire.SAME_TAG:
            yield from self.settle(world, worker, O.UNKNOWN, "'the tag exists already' arrives")

    def settle(
        self, world: World, worker: Worker, outcome: AttemptOutcome, cause: str, *, certain: bool = True
    ) -> Iterator[Step[World]]:
        number, n = worker.intent, worker.attempt
        intent = world.intents[number]
        idle = self.employ(world, worker, Worker())
        move = partial(self.move, idle, number, actor=A.SENDER, cause=cause, certain=certain, at=n, outcome=outcome)
        before = intent.attempts[n].outcome
        if before is O.UNKNOWN and outcome is O.ACKED and intent.state is S.UNKNOWN and self.rules.takes_late_answers:
            yield from move(new=S.WORKING, link=(number, n))
        elif before is O.ARMED or (before is None and outcome is not O.NOT_SENT):
            state = {O.ACKED: S.WORKING, O.REFUSED: S.REFUSED, O.UNKNOWN: S.UNKNOWN}.get(outcome)
            if state is None:
                state = S.LAPSED if n + 1 >= self.rules.tries else S.READY
            believed = S.ARMED if before is None else None
            yield from move(new=state, link=(number, n) if outcome is O.ACKED else None, believed=believed)
        else:
            yield Step(f"{cause}; somebody judged it first", certain, idle)

    # Small changes

    def move(
        self,
        world: World,
        number: int,
        new: IntentState,
        actor: Actor,
        cause: str,
        *,
        certain: bool = True,
        at: int = -1,
        outcome: AttemptOutcome | None = None,
        link: tuple[int, int] | None = None,
        resent: int = 0,
        believed: IntentState | None = None,
    ) -> Iterator[Step[World]]:
        """Move an intent, and its attempt ``at`` with it, if the product's table lists the move."""
        intent = world.intents[number]
        old = believed or intent.state
        if new in UNTAKEN_STATES and self.rules.keeps_in_mind and any(a.outcome is O.VOID for a in intent.attempts):
            new = IN_DOUBT.get(intent.kind, new)
        if actor not in self.rules.table.get((old, new), ()):
            self.refused.add((old, new, actor))
            return
        self.used.add((old, new, actor))
        faults = world.faults
        if (intent.state, new) not in self.rules.table:
            faults |= {"I7"}
        attempts = list(intent.attempts)
        if outcome is not None and attempts:
            attempts[at] = attempts[at]._replace(outcome=outcome, link=link or attempts[at].link)
        again = new is S.READY and old in (S.UNKNOWN, S.ABSENT, S.NEEDS_HUMAN)
        # The goal of a cancel is the same however often it is sent.
        if again and intent.kind is not IntentKind.CANCEL:
            alive = any(worker.intent == number and worker.attempt >= 0 for worker in world.workers)
            if alive or not intent.waited or attempts[-1].outcome is not O.VOID:
                faults |= {"I4"}
        moved = intent._replace(state=new, attempts=tuple(attempts), resent=intent.resent + resent)
        if new is S.READY:
            moved = moved._replace(rings=max(moved.rings, 1) if self.rules.rings_again else moved.rings)
        yield Step(f"{cause}: {old} -> {new}", certain, self._with(world._replace(faults=faults), number, moved))

    def change(self, world: World, number: int, **values: object) -> World:
        return self._with(world, number, world.intents[number]._replace(**values))  # type: ignore[arg-type]

    def put(self, world: World, number: int, n: int, **values: object) -> World:
        attempts = list(world.intents[number].attempts)
        attempts[n] = attempts[n]._replace(**values)  # type: ignore[arg-type]
        return self.change(world, number, attempts=tuple(attempts))

    def employ(self, world: World, worker: Worker, now: Worker) -> World:
        workers = list(world.workers)
        workers[workers.index(worker)] = now
        # Workers are alike; their order tells nothing.
        return world._replace(workers=tuple(sorted(workers)))

    def _with(self, world: World, number: int, intent: Intent) -> World:
        if intent.state in TERMINAL_STATES or (intent.attempts and len(intent.attempts) >= self.rules.tries):
            # No message can do anything any more, so that their number makes no difference.
            intent = intent._replace(rings=0)
        return world._replace(intents=(*world.intents[:number], intent, *world.intents[number + 1 :]))

    # What must hold

    def broken(self, world: World) -> Iterable[str]:
        """The invariants I1 to I8 that this world breaks, and what the outside would call it."""
        yield from world.faults
        links = [a.link for intent in world.intents for a in intent.attempts if a.link is not None]
        if len(links) != len(set(links)):
            yield "I5"
        for number, intent in enumerate(world.intents):
            live = [a for a in intent.attempts if a.outcome not in (O.NOT_SENT, O.VOID, None)]
            if len(live) > 1:
                yield "I1"
            yield from self.outcomes(world, number)

    def outcomes(self, world: World, number: int) -> Iterator[str]:
        """What the outside would call the state of one intent."""
        intent = world.intents[number]
        there = [a for a in intent.attempts if a.wire is Wire.TAKEN]
        if len(there) > 1:
            yield "DUPLICATED"
        if any(a.link is not None and a.link[0] != number for a in intent.attempts):
            yield "WRONG_LINK"
        if intent.state in (S.WORKING, S.FILLED) and not there:
            yield "PHANTOM"
        was_lost = any(a.outcome is O.VOID for a in intent.attempts)
        # What was called absent and is to be sent again does not say that it is not there, as little as ABSENT does.
        in_doubt = {S.ABSENT, S.NOT_PLACED} | ({S.READY} if was_lost else set())
        says_not = NEVER_SENT | in_doubt if self.rules.shows_in_time else NEVER_SENT - in_doubt
        if there and intent.state in says_not:
            yield "LOST"
        on_its_way = there or any(a.wire is Wire.FLYING for a in intent.attempts)
        if on_its_way and intent.state not in self.rules.reserving:
            yield "I8"

    def settled(self, world: World) -> bool:
        """Every intent is resolved, as the broker has it, or with a person."""
        for intent in world.intents:
            there = any(a.wire in (Wire.TAKEN, Wire.FLYING) for a in intent.attempts)
            if intent.state in TERMINAL_STATES and there and intent.state in NEVER_SENT | {S.NOT_PLACED}:
                return False
            if intent.state not in TERMINAL_STATES | {S.WORKING, S.NEEDS_HUMAN}:
                return False
        return True
