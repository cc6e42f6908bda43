"""Whatever happens to a basket, in whatever order: no leg is sent beyond what was asked, and no sale beyond its hedge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers.clock import configured_clock
from brokers.domain.enums import OrderStatus, Product, Side
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.ledger.transitions import move
from brokers.models import BrokerOrder, OrderIntent, OrderPlan
from brokers.plans import running
from brokers.plans.lines import UNDER_WAY
from tests.support import plan_desk, scripted_broker
from tests.support.plan_desk import CALL, FAR_CALL, FAR_PUT, LOT, PUT, PlanDesk, leg
from tests.support.scripted_broker import ScriptedAdapter

pytestmark = pytest.mark.django_db

#: Echoes our tag, so that slices of the same size and price need not wait for one another.
BROKER = "kotakneo"
_numbers = count(1)


class Story:
    """One basket and what has happened to it."""

    def __init__(self, desk: PlanDesk, plan: OrderPlan) -> None:
        self.desk = desk
        self.plan = plan
        self.sent_before = len(desk.adapter.sent)
        self.ended_at: int | None = None

    # What may happen

    def tick(self) -> None:
        self.desk.tick(self.plan)

    def let_go_and_die(self) -> None:
        running.advance(self.plan.pk)

    def sweep(self) -> None:
        for intent in operations.sweep():
            for _ in range(2):
                deliver(intent.pk)

    def pass_time(self) -> None:
        self.desk.pass_time(7)

    def fill(self) -> None:
        self.desk.fill()

    def fill_one_leg(self) -> None:
        self.desk.fill(self.plan.legs[0]["symbol"])

    def refuse(self) -> None:
        self.desk.adapter.script = [scripted_broker.refuses("no")]

    def lose_the_answer(self) -> None:
        self.desk.adapter.script = [scripted_broker.takes_and_drops]

    def end_one(self) -> None:
        for number, row in self.desk.adapter.book.items():
            if row.status is OrderStatus.OPEN:
                self.desk.end(number, OrderStatus.CANCELLED, row.quantity // 2)
                break
        self.desk.sync()

    def find_what_was_lost(self) -> None:
        for lost in OrderIntent.objects.filter(plan=self.plan, state=IntentState.UNKNOWN):
            lost.attempts.update(outcome=AttemptOutcome.ADOPTED)
            move(lost, IntentState.WORKING, actor=Actor.RECONCILER, cause="found", at=configured_clock().now())

    def resume(self) -> None:
        self._steer(running.resume)

    def cancel(self) -> None:
        if self._steer(running.cancel):
            self.ended_at = len(self.desk.adapter.sent)

    def _steer(self, how: Callable[..., Any]) -> bool:
        try:
            how(self.plan.pk, by="asha")
        except OrderDenied:
            return False
        return True

    # What always holds

    def check(self) -> None:
        children = list(OrderIntent.objects.filter(plan=self.plan))
        progress = self.desk.progress(self.plan)
        at_broker: Counter[str] = Counter()
        for one in self.desk.adapter.sent[self.sent_before :]:
            at_broker[one.instrument.symbol] += getattr(one, "quantity", 0)
        for number, asked in enumerate(self.plan.legs):
            own = [child for child in children if child.leg == number]
            assert sum(child.quantity for child in own) == asked["quantity"]
            assert at_broker[asked["symbol"]] <= asked["quantity"]
            leg = progress.legs[number]
            assert leg.filled + leg.working + leg.uncertain + leg.failed + leg.unsent == leg.asked
        unsettled = UNDER_WAY | {IntentState.UNKNOWN, IntentState.NEEDS_HUMAN, IntentState.ABSENT}
        assert sum(child.state in unsettled for child in children) <= 1
        bought = [leg.share for leg in progress.legs if leg.side == "BUY"]
        sold = [Fraction(leg.sent, leg.asked) for leg in progress.legs if leg.side == "SELL"]
        assert not (bought and sold) or max(sold) <= min(bought)
        assert self.ended_at is None or len(self.desk.adapter.sent) == self.ended_at


#: What happens to a plan most of the time.
USUAL = ("tick", "pass_time", "tick", "fill", "tick", "fill_one_leg")
UNUSUAL = ("let_go_and_die", "sweep", "refuse", "lose_the_answer", "end_one", "find_what_was_lost", "resume", "cancel")
BASKETS = ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3), (3, 1, 0))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlanDesk]:
    monkeypatch.setattr(ScriptedAdapter, "read_master", plan_desk.strangle_master)
    yield plan_desk.install(BROKER)
    BrokerFactory._gateways.clear()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(
    lots=st.lists(st.sampled_from([7, 25, 60]), min_size=4, max_size=4),
    legs=st.sampled_from(BASKETS),
    days=st.lists(st.tuples(st.sampled_from(UNUSUAL), st.sampled_from([1, 3, 6])), min_size=4, max_size=10),
)
def test_no_story_sends_more_than_was_asked_for(
    desk: PlanDesk, lots: list[int], legs: tuple[int, ...], days: list[tuple[str, int]]
) -> None:
    choice = [leg(CALL, "S", lots[0]), leg(PUT, "S", lots[1]), leg(FAR_CALL, "B", lots[2]), leg(FAR_PUT, "B", lots[3])]
    desk.adapter.script = []
    key = f"story-{next(_numbers)}"
    story = Story(desk, desk.record(*[choice[number] for number in legs], key=key, pace_seconds=5))
    for unusual, usual in days:
        for event in (*USUAL[:usual], unusual):
            getattr(story, event)()
            story.check()
    story.cancel()
    story.find_what_was_lost()
    story.fill()


class Closing:
    """A position on its way to flat, at a broker whose positions lag behind its book."""

    def __init__(self, desk: PlanDesk, plan: OrderPlan, units: int) -> None:
        self.desk = desk
        self.plan = plan
        self.held = units
        self.sign = 1 if units > 0 else -1

    def tick(self) -> None:
        self.desk.tick(self.plan)

    def pass_time(self) -> None:
        self.desk.pass_time(4)

    def fill_one(self) -> None:
        self._end(OrderStatus.FILLED, 1)

    def cancel_half_of_one(self) -> None:
        self._end(OrderStatus.CANCELLED, 2)

    def _end(self, status: OrderStatus, part: int) -> None:
        for number, row in self.desk.adapter.book.items():
            if row.status is OrderStatus.OPEN:
                filled = row.quantity // part
                self.desk.end(number, status, filled, shows=False)
                self.held += filled if row.side is Side.BUY else -filled
                break
        self.desk.sync()

    def show(self) -> None:
        """The positions catch up with the book."""
        self.desk.hold(CALL, self.held - self.desk.held[CALL, Product.NRML])

    def refuse(self) -> None:
        self.desk.adapter.script = [scripted_broker.refuses("no")]

    def lose_the_answer(self) -> None:
        self.desk.adapter.script = [scripted_broker.takes_and_drops]

    def find_what_was_lost(self) -> None:
        for lost in OrderIntent.objects.filter(plan=self.plan, state=IntentState.UNKNOWN):
            row = next(row for row in self.desk.adapter.book.values() if row.client_tag == lost.client_tag)
            attempt = lost.attempts.get()
            BrokerOrder.objects.filter(broker_order_id=row.broker_order_id).update(attempt=attempt, origin="OURS")
            lost.attempts.update(outcome=AttemptOutcome.ADOPTED)
            move(lost, IntentState.WORKING, actor=Actor.RECONCILER, cause="found", at=configured_clock().now())
        self.desk.sync()

    def end(self) -> None:
        """Nothing of it is left for the next story."""
        with suppress(OrderDenied):
            running.cancel(self.plan.pk, by="asha")
        self.find_what_was_lost()
        for number, row in self.desk.adapter.book.items():
            if row.status is OrderStatus.OPEN:
                self.desk.end(number, OrderStatus.CANCELLED, shows=False)
        self.desk.sync()
        running.advance(self.plan.pk)
        assert OrderPlan.objects.get(pk=self.plan.pk).finished_at is not None
        self.desk.pass_time(1)

    def check(self) -> None:
        plan = OrderPlan.objects.get(pk=self.plan.pk)
        assert self.held * self.sign >= 0, "the closing turned the position round"
        if plan.finished_at is not None and plan.stopped_at is None:
            assert self.held == 0, "called flat while it is not"


USUAL_OF_CLOSING = ("tick", "fill_one", "tick", "show", "tick", "pass_time", "tick", "fill_one", "tick")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(
    lots=st.sampled_from([-35, -12, 9, 25]),
    days=st.lists(
        st.tuples(
            st.sampled_from(["show", "refuse", "lose_the_answer", "find_what_was_lost", "cancel_half_of_one"]),
            st.sampled_from([2, 5, 8]),
        ),
        min_size=4,
        max_size=10,
    ),
)
def test_no_story_turns_a_position_round_or_calls_it_flat_too_soon(
    desk: PlanDesk, lots: int, days: list[tuple[str, int]]
) -> None:
    desk.adapter.script, desk.held = [], {}
    desk.hold(CALL, lots * LOT)
    story = Closing(desk, desk.close(key=f"closing-{next(_numbers)}", pace_seconds=1), lots * LOT)
    for unusual, usual in days:
        for event in (*USUAL_OF_CLOSING[:usual], unusual):
            getattr(story, event)()
            story.check()
    story.end()
