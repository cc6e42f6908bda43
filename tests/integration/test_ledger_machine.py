"""Whole histories of the ledger, made up by Hypothesis: orders, crashes at every seam, lost answers, lying books,
people and days, over a broker that knows the truth.

The invariants I1 to I8 are held after every step. At the end every fault is cleared, time passes, and every order
must be known for what it is or be with a person.

The suite makes a few histories with each broker. More, e.g. for a night::

    HISTORIES=20000 STEPS=100 python -m pytest tests/integration/test_ledger_machine.py

A failure prints its history and the seed for ``--hypothesis-seed``; with SHRINK=1 in the environment the shortest
history that still fails, which takes minutes.
"""

from __future__ import annotations

import functools
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brokers import approval, instruments, limits, sessions
from brokers.audit import audit
from brokers.clock import IST, SimulatedClock, configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import BrokerError, IdempotencyConflict, OrderDenied
from brokers.domain.order_states import (
    RESERVING_STATES,
    TERMINAL_STATES,
    UNSENT_STATES,
    UNSETTLED_STATES,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.domain.orders import CancelRequest, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import book, delivery, operations, settlement
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    HumanDecision,
    KillSwitch,
    OrderAttempt,
    OrderIntent,
    Scope,
)
from brokers.recovery import answers, decisions, fencing, matching, reconciliation
from brokers.risk import quotes, switches
from tests.support import scripted_broker
from tests.support.machine_broker import BOOK_FAULTS, DELAYS, WIRE_FAULTS, MachineBroker, Request, Truth
from tests.support.scripted_broker import CALL, OPEN_MARKET

HISTORIES = int(os.environ.get("HISTORIES", "24"))
STEPS = int(os.environ.get("STEPS", "30"))
#: Shrinking a history may take minutes.
SHRINKS = bool(os.environ.get("SHRINK"))
#: Modules whose changes of an intent are seams: a process may die just before and just after each.
MOVERS: tuple[ModuleType, ...] = (
    *(approval, book, delivery, operations, settlement),
    *(answers, decisions, fencing, matching, reconciliation),
)
#: The ledger says that the broker has no such order.
SAYS_NOT = UNSENT_STATES | {
    *(IntentState.LAPSED, IntentState.DENIED, IntentState.WITHDRAWN, IntentState.REFUSED),
    *(IntentState.ABSENT, IntentState.NOT_PLACED),
}
SAYS_THERE = {
    *(IntentState.WORKING, IntentState.FILLED, IntentState.CANCELLED, IntentState.REJECTED, IntentState.EXPIRED),
}
#: Something still has to happen to these.
UNSETTLED = sorted(UNSETTLED_STATES | {IntentState.ABSENT})

seams_died_at: Counter[str] = Counter()
ends: Counter[str] = Counter()


LIFETIMES = st.sampled_from([30, 30, 600])
FAULTS = st.sampled_from(["taken", "taken", "taken, answer lost", *WIRE_FAULTS])
LOSING = ("taken, answer lost", "taken, answer lost", "taken late, answer lost", "lost", "error after")
#: At which seam of a sending process what happens.
PLANS = st.none() | st.tuples(
    st.integers(1, 9),
    st.sampled_from(["dies", "dies", "freezes", "freezes and is killed", "recover", "deliver all", "sync", "halt"]),
)


class Killed(BaseException):
    """What kill -9 looks like from inside: nothing of the process runs after it."""


class Time:
    """The machine's own time, in place of every clock of the ledger."""

    def __init__(self) -> None:
        self.at = OPEN_MARKET

    def pass_by(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def step(method: Callable[..., None]) -> Callable[..., None]:
    """A step after whose failure the history is not brought to its end."""

    @functools.wraps(method)
    def stepped(self: Histories, **arguments: Any) -> None:
        try:
            method(self, **arguments)
        except BaseException:
            self.broken = True
            raise

    return stepped


class Histories(RuleBasedStateMachine):
    """Set up for one broker by :func:`histories_of`."""

    account: BrokerAccount
    broker: MachineBroker
    time: Time

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.has_rolled_over = False
        self.halted = False
        self.dead = False
        self.seams = 0
        self.plan: tuple[int, str] | None = None
        #: What was recorded, by client order id.
        self.recorded: dict[str, dict[str, Any]] = {}
        # Rolled back after the history. The mark lets the ledger open its durable transactions inside.
        self.frame = transaction.atomic()
        self.frame._from_testcase = True  # type: ignore[attr-defined]
        self.frame.__enter__()
        self.time.at = OPEN_MARKET
        self.broker.begin()
        self.broker.seam, self.broker.witness = self.pass_seam, self.witness
        sessions._opened.clear()
        instruments.forget()
        BrokerFactory.get_broker(self.account.broker, self.account.name)._session_version = None

    # Seams

    def pass_seam(self, place: str) -> None:
        """Called at every place where a process may die, or another one come between."""
        if self.dead:
            raise Killed
        self.seams += 1
        if self.plan is None or self.seams != self.plan[0]:
            return
        what, self.plan = self.plan[1], None
        if what == "dies" or place.startswith("move "):
            # Inside a transaction nobody else comes between: on SQLite they wait, on PostgreSQL they do not see it.
            seams_died_at[place] += 1
            self.dead = True
            raise Killed
        self.meanwhile(what)

    def meanwhile(self, what: str) -> None:
        if what == "freezes and is killed":
            self.time.pass_by(40)
            self.quietly(lambda: reconciliation.recover(self.account.broker))
            self.dead = True
            raise Killed
        if what == "freezes":
            self.time.pass_by(40)
        if what in ("freezes", "recover"):
            self.quietly(lambda: reconciliation.recover(self.account.broker))
        elif what == "deliver all":
            for intent in OrderIntent.objects.filter(state=IntentState.READY):
                self.quietly(lambda key=intent.pk: delivery.deliver(key))  # type: ignore[misc]
        elif what == "sync":
            self.quietly(lambda: book.sync_orders(self.account.pk))
        elif what == "halt":
            self.halt()

    def quietly(self, act: Callable[[], object]) -> None:
        """Do what another process does: the broker's errors and our refusals end in its log."""
        fault, self.broker.fault = self.broker.fault, "taken"
        try:
            act()
        except (BrokerError, OrderDenied):
            pass
        finally:
            self.broker.fault = fault

    def run(self, act: Callable[[], object], plan: tuple[int, str] | None = None) -> None:
        """Run one process: to its end, or to where the plan kills it. As in a task, it waits for no login: time stands still."""
        self.seams, self.plan, self.dead = 0, plan, False
        self.time.pass_by(0.4)
        try:
            with no_waiting():
                act()
        except (Killed, ZeroDivisionError, BrokerError):
            pass
        finally:
            self.plan, self.dead = None, False
            self.broker.fault, self.broker.delay = "taken", 0

    def witness(self, request: Request) -> None:
        """Hold a request that leaves against what must never leave (I2, I6)."""
        if isinstance(request.operation, CancelRequest):
            return
        assert not self.halted, "I6: sent under a kill switch that forbids it"
        if isinstance(request.operation, OrderRequest):
            intent = OrderIntent.objects.get(client_order_id=request.operation.client_order_id)
            assert request.at <= intent.not_after, "I6: sent after its time"
            assert intent.client_tag == request.operation.client_tag
            if self.account_now().requires_approval:
                assert intent.decisions.filter(kind=HumanDecision.Kind.APPROVE).exists(), "sent without approval"
            armed = intent.attempts.filter(outcome=AttemptOutcome.ARMED)
            assert armed.count() == 1, "I2: sent without an attempt on record"

    def account_now(self) -> BrokerAccount:
        return BrokerAccount.objects.get(pk=self.account.pk)

    # Recording

    @initialize(manual=st.booleans(), resends=st.booleans(), approves=st.sampled_from([False, False, True]))
    @step
    def installation(self, manual: bool, resends: bool, approves: bool) -> None:
        trading = BrokerAccount.ManualTrading
        BrokerAccount.objects.update(
            manual_trading=trading.POSSIBLE if manual else trading.NONE,
            resend_after_absence=resends,
            requires_approval=approves,
        )
        self.manual = manual
        # An order that is known to be there, without which no book proves anything.
        control = self.submitted(1, "99.00", 30)
        self.run(lambda: approval.approve(control, by="asha") if approves else None)
        self.run(lambda: delivery.deliver(control.pk))

    @rule(lots=st.sampled_from([1, 2]), price=st.sampled_from(["100.00", "100.50"]), lifetime=LIFETIMES)
    @step
    def submit(self, lots: int, price: str, lifetime: int) -> None:
        """An order is recorded, and the message that says so is lost or slow."""
        self.submitted(lots, price, lifetime)

    @rule(lots=st.sampled_from([1, 2]), lifetime=LIFETIMES, fault=FAULTS, delay=st.sampled_from(DELAYS), plan=PLANS)
    @step
    def place(self, lots: int, lifetime: int, fault: str, delay: int, plan: tuple[int, str] | None) -> None:
        self.placed_now(lots, lifetime, fault, delay, plan)

    @rule(
        lots=st.sampled_from([1, 2]),
        lifetime=LIFETIMES,
        fault=st.sampled_from(LOSING),
        delay=st.sampled_from(DELAYS),
        book_fault=st.sampled_from(["", *BOOK_FAULTS]),
    )
    @step
    def lose(self, lots: int, lifetime: int, fault: str, delay: int, book_fault: str) -> None:
        """An answer is lost, and the book is looked into for four minutes, whatever state that is in."""
        self.placed_now(lots, lifetime, fault, delay, None)
        self.spoil_book(book_fault)
        for seconds in (20, 170, 21, 21, 21, 21):
            self.turn(seconds)

    def placed_now(self, lots: int, lifetime: int, fault: str, delay: int, plan: tuple[int, str] | None) -> None:
        intent = self.submitted(lots, "100.00", lifetime)
        if intent.state == IntentState.AWAITING_APPROVAL:
            self.run(lambda: approval.approve(intent, by="asha"))
        self.broker.fault, self.broker.delay = fault, delay
        self.run(lambda: delivery.deliver(intent.pk), plan)

    def submitted(self, lots: int, price: str, lifetime: int) -> OrderIntent:
        key = f"k{len(self.recorded)}"
        order = {
            "symbol": CALL,
            "side": "B",
            "quantity": 65 * lots,
            "order_type": "LIMIT",
            "limit_price": price,
            "client_order_id": key,
            "not_after": self.time.at + timedelta(seconds=lifetime),
        }
        intent = self.record(**order)
        self.recorded[key] = order
        return intent

    @precondition(lambda self: self.recorded and not self.has_rolled_over)
    @rule(data=st.data(), other=st.booleans())
    @step
    def submit_again(self, data: st.DataObject, other: bool) -> None:
        order = self.recorded[data.draw(st.sampled_from(sorted(self.recorded)))]
        count = OrderIntent.objects.count()
        if other:
            with pytest.raises(IdempotencyConflict):
                self.record(**(order | {"quantity": order["quantity"] + 65}))
        else:
            assert self.record(**order | {"not_after": self.time.at + timedelta(seconds=30)})
        assert OrderIntent.objects.count() == count

    def record(self, **order: Any) -> OrderIntent:
        return operations.record_place(broker=self.account.broker, account=self.account.name, **order)

    @precondition(lambda self: self.placed())
    @rule(data=st.data(), cancels=st.booleans())
    @step
    def change(self, data: st.DataObject, cancels: bool) -> None:
        order = data.draw(st.sampled_from(self.placed()))
        target: dict[str, Any] = {
            "broker": self.account.broker,
            "account": self.account.name,
            "broker_order_id": order.broker_order_id,
        }
        key = f"c{OrderIntent.objects.count()}"
        try:
            if cancels:
                operations.record_cancel(**target, client_order_id=key)
            else:
                price = Decimal("101.00") + Decimal("0.05") * OrderIntent.objects.count()
                operations.record_modify(**target, client_order_id=key, limit_price=price)
        except OrderDenied:
            assert order.status != OrderStatus.OPEN or not cancels

    def placed(self) -> list[BrokerOrder]:
        today = trading_day(self.time.at)
        return list(BrokerOrder.objects.filter(origin=BrokerOrder.Origin.OURS, trading_day=today).order_by("pk"))

    # Processes

    @precondition(lambda self: OrderIntent.objects.exists())
    @rule(data=st.data(), fault=FAULTS, delay=st.sampled_from(DELAYS), plan=PLANS)
    @step
    def deliver(self, data: st.DataObject, fault: str, delay: int, plan: tuple[int, str] | None) -> None:
        """A message arrives: for the first time, again, or long after."""
        keys = list(OrderIntent.objects.order_by("pk").values_list("pk", flat=True))
        ready = list(OrderIntent.objects.filter(state=IntentState.READY).order_by("pk").values_list("pk", flat=True))
        key = data.draw(st.sampled_from(ready or keys) | st.sampled_from(keys))
        self.broker.fault, self.broker.delay = fault, delay
        self.run(lambda: delivery.deliver(key), plan)

    @rule(
        what=st.sampled_from(["recover", "recover", "sync", "sweep"]),
        plan=st.none() | st.tuples(st.integers(1, 6), st.just("dies")),
    )
    @step
    def housekeeping(self, what: str, plan: tuple[int, str] | None) -> None:
        """Beat's processes, which may die as well."""
        if what == "recover":
            self.run(lambda: reconciliation.recover(self.account.broker), plan)
        elif what == "sync":
            self.run(lambda: book.sync_orders(self.account.pk), plan)
        else:
            self.run(lambda: [delivery.deliver(intent.pk) for intent in operations.sweep()], plan)

    @rule(
        turns=st.sampled_from([2, 4, 6]),
        plan=st.none() | st.tuples(st.integers(1, 30), st.just("dies")),
        when=st.integers(1, 6),
    )
    @step
    def beat(self, turns: int, plan: tuple[int, str] | None, when: int) -> None:
        """Time passes, with everything that beat has done meanwhile; one of its processes may die."""
        for turn in range(1, turns + 1):
            self.turn(21, plan if turn == when else None)

    # The outside

    @rule(seconds=st.sampled_from([0.3, 2, 2, 5, 21, 21, 65, 240]))
    @step
    def pass_time(self, seconds: float) -> None:
        self.time.pass_by(seconds)
        self.broker.land()
        if seconds > 20:
            self.resume()

    @rule(what=st.sampled_from([*BOOK_FAULTS, "", "next day", "halt", "resume", "withdraw", "typed by hand"]))
    @step
    def incident(self, what: str) -> None:
        if what == "next day":
            self.next_day()
        elif what == "halt":
            self.halt()
        elif what == "resume":
            self.resume()
        elif what == "withdraw":
            intent = OrderIntent.objects.filter(state=IntentState.READY).order_by("-pk").first()
            assert intent is None or operations.withdraw(intent, cause="changed my mind")
        elif what == "typed by hand":
            if self.manual and self.broker.today():
                self.broker.type_by_hand(self.broker.today()[-1].row)
        else:
            self.spoil_book(what)

    def spoil_book(self, fault: str) -> None:
        if fault == "old session":
            self.broker.age_session()
        else:
            self.broker.book_fault = fault

    def next_day(self) -> None:
        if self.has_rolled_over:
            return
        self.has_rolled_over = True
        # The next one is a holiday.
        self.time.at = OPEN_MARKET + timedelta(days=2)
        self.broker.land()
        for truth in self.broker.truth.values():
            if not truth.row.status.is_terminal:
                self.broker.end(truth, OrderStatus.EXPIRED)
        instruments.refresh(self.account, adapter=self.broker, clock=configured_clock())
        instruments.forget()

    @precondition(lambda self: self.open_truths())
    @rule(data=st.data(), what=st.sampled_from(["fill", "fill a part", "reject", "cancel, then fill"]))
    @step
    def exchange(self, data: st.DataObject, what: str) -> None:
        truth = data.draw(st.sampled_from(self.open_truths()))
        if what == "reject":
            self.broker.end(truth, OrderStatus.REJECTED)
        elif what == "fill a part":
            self.broker.trade(truth, 65)
        else:
            if what == "cancel, then fill":
                self.broker.end(truth, OrderStatus.CANCELLED)
                self.run(lambda: book.sync_orders(self.account.pk))
            self.broker.trade(truth, truth.row.quantity)

    def open_truths(self) -> list[Truth]:
        return [each for each in self.broker.today() if not each.row.status.is_terminal]

    # People

    def resume(self) -> None:
        if self.halted:
            self.halted = False
            self.set_switch(KillSwitch.State.ACTIVE)

    def halt(self) -> None:
        self.halted = True
        self.set_switch(KillSwitch.State.HALTED)

    def set_switch(self, state: KillSwitch.State) -> None:
        switches.set_switch(Scope.EVERYTHING, "", state, by="asha", reason="test", at=self.time.at)

    @precondition(lambda self: OrderIntent.objects.filter(state=IntentState.AWAITING_APPROVAL).exists())
    @rule(data=st.data(), agrees=st.booleans(), plan=st.none() | st.tuples(st.integers(1, 2), st.just("dies")))
    @step
    def person_approves(self, data: st.DataObject, agrees: bool, plan: tuple[int, str] | None) -> None:
        waiting = OrderIntent.objects.filter(state=IntentState.AWAITING_APPROVAL).select_related("account")
        intent = data.draw(st.sampled_from(list(waiting.order_by("pk"))))
        act = approval.approve if agrees else approval.decline
        self.run(lambda: act(intent, by="asha"), plan)

    @precondition(lambda self: self.asked())
    @rule(data=st.data(), again=st.booleans(), plan=st.none() | st.tuples(st.integers(1, 2), st.just("dies")))
    @step
    def person_decides(self, data: st.DataObject, again: bool, plan: tuple[int, str] | None) -> None:
        """By the broker's own app, which shows the truth."""
        intent = data.draw(st.sampled_from(self.asked()))
        words: dict[str, Any] = {"by": "asha", "reason": "seen in the broker's app"}
        mine = [each for each in self.broker.truth.values() if each.client_order_id == intent.client_order_id]
        flying = [each for each in self.broker.flying if each.client_order_id == intent.client_order_id]
        if intent.kind != IntentKind.PLACE:
            self.run(lambda: decisions.not_placed(intent, **words), plan)
        elif mine and intent.state == IntentState.NEEDS_HUMAN:
            self.run(lambda: decisions.adopt(intent, mine[0].number, **words), plan)
        elif not mine and not flying and again:
            self.run(lambda: decisions.resend(intent, **words, confirmed_twice=True), plan)
        elif not mine and not flying:
            self.run(lambda: decisions.not_placed(intent, **words), plan)

    def asked(self) -> list[OrderIntent]:
        asked = [IntentState.NEEDS_HUMAN, IntentState.ABSENT]
        return list(OrderIntent.objects.filter(state__in=asked).select_related("account").order_by("pk"))

    # What must hold

    @invariant()
    def holds(self) -> None:
        try:
            self.check()
        except BaseException:
            self.broken = True
            raise

    def check(self) -> None:
        intents = {intent.client_order_id: intent for intent in OrderIntent.objects.all()}
        assert self.recorded.keys() <= intents.keys(), "a recorded intent is gone"
        truths: dict[str, list[Truth]] = {}
        for truth in self.broker.truth.values():
            if truth.client_order_id:
                truths.setdefault(truth.client_order_id, []).append(truth)
        for key, orders in truths.items():
            assert len(orders) == 1, f"DUPLICATED: {key} is {[each.number for each in orders]}"
            state = intents[key].state
            assert state not in SAYS_NOT, f"LOST: {key} is at the broker, and the ledger says {state}"
        for request in self.broker.flying:
            assert intents[request.client_order_id].state not in SAYS_NOT, "LOST: it is on its way"
        for key, intent in intents.items():
            if intent.kind == IntentKind.PLACE:
                self.check_place(intent, truths.get(key, [None])[0])
            else:
                self.check_mutation(intent)
        self.check_attempts()
        self.check_links()
        self.check_rate()

    def check_place(self, intent: OrderIntent, truth: Truth | None) -> None:
        state = IntentState(intent.state)
        if state in SAYS_THERE:
            assert truth is not None, f"PHANTOM: {intent} is {state} and the broker has no such order"
            assert state is not IntentState.FILLED or truth.row.status is OrderStatus.FILLED
            assert state is not IntentState.CANCELLED or truth.was_cancelled
            assert state is not IntentState.REJECTED or truth.row.status is OrderStatus.REJECTED
        if state in RESERVING_STATES:
            assert intent.reserved_rupees is not None, f"I8: {intent} is {state} and reserves nothing"

    def check_mutation(self, intent: OrderIntent) -> None:
        assert intent.target is not None
        truth = self.broker.truth[intent.target.broker_order_id]
        if intent.state != IntentState.DONE:
            return
        if intent.kind == IntentKind.CANCEL:
            assert truth.was_cancelled, f"{intent} is done, and the order was never cancelled"
        else:
            assert (intent.quantity, intent.limit_price) in truth.values, f"{intent} is done, and was never made"

    def check_attempts(self) -> None:
        """I1, and I4: what may be sent again has a proof or a person's word."""
        live: Counter[int] = Counter()
        for attempt in OrderAttempt.objects.all():
            live[attempt.intent_id] += attempt.outcome not in (AttemptOutcome.NOT_SENT, AttemptOutcome.VOID)
        assert all(count <= 1 for count in live.values()), "I1"

    def check_links(self) -> None:
        """I5, and that what the mirror says was true."""
        for order in BrokerOrder.objects.select_related("attempt__intent"):
            truth = self.broker.truth[order.broker_order_id]
            assert order.filled_quantity <= truth.row.filled_quantity
            if order.attempt is not None:
                assert order.attempt.intent.client_order_id == truth.client_order_id, "WRONG_LINK"

    def check_rate(self) -> None:
        recent = [request.at for request in self.broker.requests[-20:]]
        for moment in recent:
            within = [at for at in recent if moment <= at < moment + timedelta(seconds=1)]
            assert len(within) <= self.account.orders_per_second, "OVER_LIMIT"

    # The end

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.settle()
        finally:
            transaction.set_rollback(True)
            self.frame.__exit__(None, None, None)

    def settle(self) -> None:
        """Clear every fault, let time pass as beat does, and hold what is left against the truth."""
        self.broker.heal()
        self.resume()
        for seconds in (5, 20, 60, 120, *[25] * 7):
            if not self.is_settled():
                self.turn(seconds)
        close = self.time.at.astimezone(IST).replace(hour=15, minute=31)
        if not self.is_settled() and self.time.at < close:
            # What the book has not settled by then goes to a person.
            self.time.at = close
        for _ in range(6):
            if not self.is_settled():
                self.turn(25)
        self.run(lambda: book.sync_orders(self.account.pk))
        self.check()
        findings = list(audit(trading_day(OPEN_MARKET)))
        assert not findings, findings
        for intent in OrderIntent.objects.all():
            ends[f"{intent.kind} {intent.state}"] += 1
            self.check_end(intent)

    def is_settled(self) -> bool:
        hidden = any(truth.shows_at > self.time.at for truth in self.broker.truth.values())
        left_over = OrderIntent.objects.filter(state=IntentState.WORKING, trading_day__lt=trading_day(self.time.at))
        unsettled = left_over | OrderIntent.objects.filter(state__in=UNSETTLED)
        return not (hidden or self.broker.flying or unsettled.exists())

    def turn(self, seconds: float, plan: tuple[int, str] | None = None) -> None:
        self.time.pass_by(seconds)
        self.broker.land()
        self.run(lambda: [delivery.deliver(intent.pk) for intent in operations.sweep()])
        self.run(lambda: reconciliation.recover(self.account.broker), plan)

    def check_end(self, intent: OrderIntent) -> None:
        state = IntentState(intent.state)
        if state is IntentState.NEEDS_HUMAN:
            assert Alert.objects.filter(kind="needs_human", intent=intent).exists(), f"nobody was told of {intent}"
            return
        if state in TERMINAL_STATES:
            return
        assert state is IntentState.WORKING, f"FORGOTTEN: {intent} of {intent.trading_day} is {state}"
        assert intent.trading_day == trading_day(self.time.at), f"FORGOTTEN: the day of {intent} is over"
        if intent.kind == IntentKind.PLACE:
            truth = next(each for each in self.broker.truth.values() if each.client_order_id == intent.client_order_id)
        else:
            assert intent.kind == IntentKind.MODIFY, f"FORGOTTEN: {intent} was acknowledged and is not followed"
            assert intent.target is not None
            truth = self.broker.truth[intent.target.broker_order_id]
        assert not truth.row.status.is_terminal, f"FORGOTTEN: {intent} is WORKING and its order is {truth.row.status}"


@pytest.fixture(params=list(specs()))
def histories(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Histories]]:
    """The machine over one broker, with its own time and seams in the ledger's code."""
    monkeypatch.setattr(scripted_broker, "ScriptedAdapter", MachineBroker)
    time = Time()
    monkeypatch.setattr(SimulatedClock, "now", lambda self: time.at)
    monkeypatch.setattr(SimulatedClock, "real_now", lambda self: time.at)
    monkeypatch.setattr(SimulatedClock, "monotonic", lambda self: time.at.timestamp())
    monkeypatch.setattr(SimulatedClock, "set", lambda self, moment: setattr(time, "at", moment))
    monkeypatch.setattr(limits.CallLimiter, "acquire", lambda self, *arguments, **options: None)
    monkeypatch.setattr(quotes.QuoteBoard, "_shared", lambda self, *arguments: None)
    monkeypatch.setattr(quotes.QuoteBoard, "_share", lambda self, *arguments: None)
    account, adapter = scripted_broker.install(request.param)
    assert isinstance(adapter, MachineBroker)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)

    def seamed(module: ModuleType, name: str, label: str) -> None:
        real = getattr(module, name)

        def passing(*arguments: Any, **options: Any) -> Any:
            adapter.seam(f"{label} before")
            result = real(*arguments, **options)
            adapter.seam(f"{label} after")
            return result

        monkeypatch.setattr(module, name, passing)

    for module in MOVERS:
        seamed(module, "move", f"move {module.__name__.rpartition('.')[2]}")
    seamed(delivery, "_arm", "arm")
    seamed(delivery, "settle", "settle")
    seamed(reconciliation, "read_book", "read")
    logging.disable(logging.WARNING)
    machine = type(f"Histories_{request.param}", (Histories,), {"account": account, "broker": adapter, "time": time})
    yield machine
    logging.disable(logging.NOTSET)
    BrokerFactory._gateways.clear()


@pytest.mark.timeout(0 if HISTORIES > 100 else 900)
def test_no_history_loses_doubles_or_forgets_an_order(histories: type[Histories], pytestconfig: pytest.Config) -> None:
    seams_died_at.clear()
    ends.clear()
    number = int(pytestconfig.getoption("--hypothesis-seed") or random.randrange(10**9))
    print(f"--hypothesis-seed={number}")
    run_state_machine_as_test(
        seed(number)(histories),
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            database=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if SHRINKS else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{HISTORIES} histories of at most {STEPS} steps; deaths by place: {dict(seams_died_at)}; ends: {dict(ends)}")
