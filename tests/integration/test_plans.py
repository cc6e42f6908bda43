"""A plan of many orders: all of it is written at once, and it goes out slice by slice whatever dies in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from brokers import instruments
from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import IdempotencyConflict, InvalidSymbol, MarketClosed, OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import CancelRequest
from brokers.factory import BrokerFactory
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.ledger.transitions import move
from brokers.models import KillSwitch, OrderEvent, OrderIntent, OrderPlan, Scope, Severity
from brokers.plans import recording, running
from brokers.plans.status import PlanState
from brokers.risk import pausing, switches
from tasks import orders
from tests.support import plan_desk, scripted_broker
from tests.support.plan_desk import CALL, FAR_CALL, FAR_PUT, LOT, LOTS_PER_ORDER, PACE, PUT, PlanDesk, leg
from tests.support.scripted_broker import SHARE, Ack, ScriptedAdapter

pytestmark = pytest.mark.django_db

#: Two slices.
TWO = 2 * LOTS_PER_ORDER


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@pytest.fixture
def desk(broker: str, monkeypatch: pytest.MonkeyPatch) -> PlanDesk:
    monkeypatch.setattr(ScriptedAdapter, "read_master", plan_desk.strangle_master)
    return plan_desk.install(broker)


# Recording


def test_a_basket_is_written_with_all_of_its_slices_at_once(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 50), leg(FAR_CALL, "B", 50))

    assert [each["slices"] for each in plan.legs] == [[1300, 1300, 650], [1300, 1300, 650]]
    children = OrderIntent.objects.filter(plan=plan)
    assert {child.state for child in children} == {IntentState.NEW}
    assert sum(child.quantity for child in children) == 2 * 50 * LOT
    assert len({child.client_order_id for child in children}) == 6
    assert set(OrderEvent.objects.values_list("actor", flat=True)) == {Actor.PLAN}
    assert desk.sent() == []


def test_the_freeze_quantity_cuts_where_more_lots_are_allowed(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 60), lots_per_order=100)
    assert plan.legs[0]["slices"] == [1755, 1755, 390]
    assert (plan.legs[0]["lot_size"], plan.legs[0]["freeze_quantity"]) == (65, 1800)


def test_without_other_words_the_brokers_own_lots_and_pace_hold(desk: PlanDesk, broker: str) -> None:
    plan = desk.record(leg(CALL, "S", 50), lots_per_order=None, pace_seconds=None)
    lots, pace = {"breeze": (10, 20), "kotakneo": (20, 20)}[broker]
    assert (plan.legs[0]["slices"][0], plan.pace_seconds) == (lots * LOT, pace)


def test_shares_are_cut_only_when_the_caller_says_so(desk: PlanDesk) -> None:
    share = {"symbol": SHARE, "action": "B", "quantity": 500, "order_type": "LIMIT", "price": "100"}
    assert desk.record(share, key="one", lots_per_order=None).legs[0]["slices"] == [500]
    assert desk.record(share, key="two", lots_per_order=200).legs[0]["slices"] == [200, 200, 100]


def test_the_same_key_twice_is_one_plan(desk: PlanDesk) -> None:
    first, again = desk.record(leg(CALL, "S", TWO)), desk.record(leg(CALL, "SELL", TWO, product="NRML"))
    assert first.pk == again.pk
    assert OrderIntent.objects.count() == 2


@pytest.mark.parametrize("other", [{"lots": 20}, {"price": "101"}, {"action": "B"}, {"symbol": PUT}])
def test_the_same_key_with_other_content_is_refused(desk: PlanDesk, other: dict[str, Any]) -> None:
    desk.record(leg(CALL, "S", TWO))
    with pytest.raises(IdempotencyConflict, match="'p1' already stands for another basket"):
        desk.record(leg(CALL, "S", TWO) | other)
    assert OrderPlan.objects.count() == 1


def test_a_key_of_another_day_is_refused(desk: PlanDesk) -> None:
    desk.record(leg(CALL, "S", TWO))
    desk.pass_time(24 * 3600)
    instruments.refresh(desk.account, adapter=desk.adapter, clock=configured_clock())
    with pytest.raises(IdempotencyConflict, match="was used for a plan on 23 Nov 2026"):
        desk.record(leg(CALL, "S", TWO))


def test_two_who_record_at_once_find_one_plan(desk: PlanDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desk.record(leg(CALL, "S", TWO))
    look_up = recording.existing_plan
    answers: list[Any] = [lambda *_: None, look_up]
    monkeypatch.setattr(recording, "existing_plan", lambda *given: answers.pop(0)(*given))
    assert desk.record(leg(CALL, "S", TWO)).pk == first.pk
    assert OrderIntent.objects.count() == 2


@pytest.mark.parametrize(
    ("legs", "changes", "error", "sentence"),
    [
        ([], {}, OrderDenied, "needs a list of legs"),
        (["CALL"], {}, OrderDenied, "Leg 1 says 'CALL'"),
        ([leg(CALL, "S", 1), {"symbol": PUT, "lots": 1}], {}, OrderDenied, "Leg 2 has no action"),
        ([leg(CALL, "S", 1, quantity=65)], {}, OrderDenied, "either lots, or a quantity"),
        ([leg(CALL, "S", 1, iceberg=5)], {}, OrderDenied, "Leg 1 says iceberg"),
        ([leg(CALL, "S", 0)], {}, OrderDenied, "above zero"),
        ([leg(CALL, "S", 1.5)], {}, OrderDenied, "not a whole number"),  # type: ignore[arg-type]
        ([leg("NIFTY26DEC26000CX", "S", 1)], {}, InvalidSymbol, CALL),
        ([leg(CALL, "S", 1), leg(PUT, "S", 1, price="100.01")], {}, OrderDenied, "tick"),
        ([leg(CALL, "HOLD", 1)], {}, OrderDenied, "is not a Side"),
        ([{"symbol": CALL, "action": "S", "quantity": 100}], {}, OrderDenied, "whole number of lots of 65"),
        ([leg(CALL, "S", 1)], {"pace_seconds": -1}, OrderDenied, "pace_seconds -1"),
        ([leg(CALL, "S", 1)], {"pace_seconds": 2.5}, OrderDenied, "pace_seconds 2.5"),
        ([leg(CALL, "S", 1)], {"lots_per_order": 0}, OrderDenied, "above zero"),
        ([leg(CALL, "S", 501)], {"lots_per_order": 1, "pace_seconds": 0}, OrderDenied, "more than 500"),
        ([leg(CALL, "S", 400)], {"lots_per_order": 1, "pace_seconds": 60}, OrderDenied, "shorter pace or more time"),
        ([leg(CALL, "S", 1)], {"key": ""}, OrderDenied, "Client order id"),
        ([leg(CALL, "S", 1)], {"key": "x" * 65}, OrderDenied, "Client order id"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    desk: PlanDesk, legs: list[Any], changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        desk.record(*legs, **changes)
    assert not OrderPlan.objects.exists()
    assert not OrderIntent.objects.exists()


def test_no_plan_is_recorded_while_the_market_is_closed(desk: PlanDesk) -> None:
    desk.pass_time(8 * 3600)
    with pytest.raises(MarketClosed, match="NFO is closed"):
        desk.record(leg(CALL, "S", 1))


def test_a_plan_has_time_for_its_slices_and_ends_with_the_session(desk: PlanDesk) -> None:
    now = configured_clock().now()
    short = desk.record(leg(CALL, "S", 60), key="short")
    assert timedelta(seconds=2 * PACE) < short.not_after - now < timedelta(minutes=6)
    desk.pass_time(5 * 3600 + 36 * 60)  # 15:36, and derivatives trade until 15:40
    late = desk.record(leg(CALL, "S", 60), key="late")
    assert late.not_after.astimezone(IST).strftime("%H:%M") == "15:40"


# Sending


def test_slices_of_two_legs_alternate_and_keep_their_pace(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(PUT, "S", TWO))
    desk.tick(plan)
    assert desk.sent() == [("SELL", CALL, 1300), ("SELL", PUT, 1300)]
    desk.pass_time(PACE / 4)
    desk.tick(plan)
    assert len(desk.sent()) == 2
    assert desk.progress(plan).next_slice_at is not None
    desk.pass_time(PACE)
    desk.tick(plan)
    assert desk.sent()[2:] == [("SELL", CALL, 1300), ("SELL", PUT, 1300)]
    desk.fill()
    desk.tick(plan)
    assert desk.progress(plan).state is PlanState.DONE
    assert OrderPlan.objects.get().finished_at is not None


def test_nothing_is_sold_before_all_that_hedges_it_is_filled(desk: PlanDesk) -> None:
    plan = desk.record(
        leg(CALL, "S", TWO), leg(PUT, "S", TWO), leg(FAR_CALL, "B", TWO), leg(FAR_PUT, "B", TWO), pace_seconds=0
    )
    desk.tick(plan)
    hedges = [("BUY", FAR_CALL, 1300), ("BUY", FAR_PUT, 1300)] * 2
    assert desk.sent() == hedges

    desk.fill(FAR_CALL)
    step = desk.tick(plan)
    assert step.needs_book
    waiting = desk.progress(plan)
    assert (waiting.state, len(desk.sent())) == (PlanState.WAITING, 4)
    assert "until all that is bought is filled" in waiting.reason

    desk.fill(FAR_PUT)
    desk.tick(plan)
    assert desk.sent()[4:] == [("SELL", CALL, 1300), ("SELL", PUT, 1300)] * 2


def test_a_slice_with_a_lost_answer_holds_the_line_until_it_is_settled(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(PUT, "S", TWO), pace_seconds=0)
    desk.adapter.script = [scripted_broker.takes_and_drops]
    desk.tick(plan)
    desk.pass_time(120)
    desk.tick(plan)

    held = desk.progress(plan)
    assert (held.state, held.legs[0].uncertain, len(desk.adapter.sent)) == (PlanState.WAITING, 1300, 1)
    assert "is UNKNOWN; nothing more goes until that is settled" in held.reason
    assert not desk.alerts("plan_stopped")

    lost = OrderIntent.objects.get(state=IntentState.UNKNOWN)
    lost.attempts.update(outcome=AttemptOutcome.ADOPTED)
    move(lost, IntentState.WORKING, actor=Actor.RECONCILER, cause="found", at=configured_clock().now())
    desk.tick(plan)
    assert len(desk.adapter.sent) == 4


@pytest.mark.parametrize("state", [IntentState.NEEDS_HUMAN, IntentState.ABSENT])
def test_an_open_question_holds_the_line(desk: PlanDesk, state: IntentState) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    desk.adapter.script = [scripted_broker.drops]
    desk.tick(plan)
    asked = OrderIntent.objects.get(state=IntentState.UNKNOWN)
    move(asked, state, actor=Actor.RECONCILER, cause="looked for", at=configured_clock().now())
    desk.tick(plan)
    assert (len(desk.adapter.sent), desk.progress(plan).state) == (1, PlanState.WAITING)


def test_a_refused_slice_stops_the_plan_and_calls_a_person(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(PUT, "S", TWO), pace_seconds=0)
    desk.adapter.script = [scripted_broker.accepts, scripted_broker.refuses("insufficient funds")]
    desk.tick(plan)
    desk.fill()
    desk.pass_time(60)
    desk.tick(plan)

    assert len(desk.adapter.sent) == 2
    stopped = desk.progress(plan)
    assert stopped.state is PlanState.STOPPED
    assert "insufficient funds" in stopped.reason
    [alert] = desk.alerts("plan_stopped")
    assert alert.severity == Severity.CRITICAL
    assert f"slice 1 of SELL {PUT}" in alert.happened
    desk.tick(plan)
    assert desk.alerts("plan_stopped")[0].count == 1


def test_a_person_lets_a_stopped_plan_go_on_and_the_refused_slice_stays_refused(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(PUT, "S", TWO), pace_seconds=0)
    desk.adapter.script = [scripted_broker.accepts, scripted_broker.refuses("insufficient funds")]
    desk.tick(plan)

    desk.pass_time(1)
    running.resume(plan.pk, by="asha")
    desk.tick(plan)
    desk.fill()
    desk.tick(plan)

    assert desk.sent() == [("SELL", symbol, 1300) for symbol in (CALL, PUT, CALL, PUT)]
    ended = desk.progress(plan)
    assert (ended.state, ended.legs[1].filled, ended.legs[1].failed) == (PlanState.PARTIAL, 1300, 1300)
    assert OrderPlan.objects.get().resumed_by == "asha"
    assert desk.alerts("plan_stopped")[0].acknowledged_at is not None


def test_what_is_sold_never_exceeds_what_is_hedged_even_when_a_person_lets_it_go_on(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(FAR_CALL, "B", TWO), pace_seconds=0)
    desk.adapter.script = [scripted_broker.accepts, scripted_broker.refuses("no such luck")]
    desk.tick(plan)
    desk.fill()
    desk.pass_time(1)
    running.resume(plan.pk, by="asha")
    desk.tick(plan)
    desk.fill()
    desk.tick(plan)

    assert [one for one in desk.sent() if one[0] == "SELL"] == [("SELL", CALL, 1300)]
    assert "would sell more than is hedged: 50%" in desk.progress(plan).reason


def test_a_plan_stops_when_somebody_takes_a_slice_out(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    desk.tick(plan)
    desk.end("000001", OrderStatus.CANCELLED, 130)
    desk.sync()
    desk.tick(plan)
    ended = desk.progress(plan).legs[0]
    assert (ended.filled, ended.failed) == (130, 1170)
    assert desk.progress(plan).state is PlanState.STOPPED


def test_a_halt_stops_the_plan_at_its_next_slice(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    at = configured_clock().now()
    switches.set_switch(Scope.EVERYTHING, "", KillSwitch.State.HALTED, by="asha", reason="enough", at=at)
    desk.tick(plan)
    assert desk.sent() == []
    assert desk.progress(plan).state is PlanState.STOPPED


# The legs' balance


def test_a_leg_that_runs_ahead_for_long_stops_the_plan(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 400), leg(PUT, "S", 400), pace_seconds=10)
    for _ in range(18):
        desk.tick(plan)
        desk.fill(CALL)
        desk.pass_time(10)

    stopped = desk.progress(plan)
    assert stopped.state is PlanState.STOPPED
    calls = [one for one in desk.sent() if one[1] == CALL]
    filled = 2 * 1300
    assert f"SELL {CALL} is filled to {filled} of 26000 units and SELL {PUT} to 0 of 26000" in stopped.reason
    assert len(calls) == 2, "one slice further is usual, and beyond that it waits"
    plan.refresh_from_db()
    assert plan.stopped_at is not None
    assert plan.imbalanced_at is not None
    assert timedelta(seconds=60) < plan.stopped_at - plan.imbalanced_at
    [alert] = desk.alerts("plan_stopped")
    assert f"make the legs even: BUY {filled} {CALL}" in alert.to_do


def test_legs_that_come_even_again_do_not_stop_the_plan(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 100), leg(PUT, "S", 100), pace_seconds=15)
    for _ in range(3):
        desk.tick(plan)
        desk.fill(CALL)
        desk.pass_time(15)
    desk.tick(plan)
    assert "waits, since" in desk.progress(plan).reason
    assert OrderPlan.objects.get().imbalanced_at is not None
    sent = len(desk.sent())
    desk.fill()
    desk.tick(plan)
    assert OrderPlan.objects.get().imbalanced_at is None
    assert len(desk.sent()) == sent + 2


@pytest.mark.parametrize(("short", "long"), [(4, 8), (3, 7), (3, 10), (5, 9)])
def test_legs_of_unlike_lengths_that_are_filled_at_once_go_through(desk: PlanDesk, short: int, long: int) -> None:
    plan = desk.record(leg(CALL, "S", short), leg(PUT, "S", long), lots_per_order=1, pace_seconds=1)
    desk.run(plan)
    assert desk.progress(plan).state is PlanState.DONE


def test_a_person_may_let_a_plan_go_on_whose_other_leg_has_failed(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 4), leg(PUT, "S", 4), lots_per_order=1, pace_seconds=1)
    puts = iter([scripted_broker.refuses("price band")] * 2)

    def refuses_puts(adapter: ScriptedAdapter, operation: Any) -> Ack:
        refusal = next(puts, None) if operation.instrument.symbol == PUT else None
        return (refusal or scripted_broker.accepts)(adapter, operation)

    desk.adapter.script = [refuses_puts] * 20
    for _ in range(3):
        desk.run(plan, seconds=20)
        if desk.progress(plan).state is PlanState.STOPPED:
            running.resume(plan.pk, by="asha")
    desk.run(plan, seconds=20)
    assert [symbol for _, symbol, _ in desk.sent()].count(CALL) == 4


def test_a_naked_leg_at_the_end_is_told_once(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 1), leg(PUT, "S", 1))
    desk.tick(plan)
    desk.fill(CALL)
    desk.tick(plan)
    desk.pass_time(61)
    for _ in range(3):
        desk.tick(plan)
    [alert] = desk.alerts("plan_uneven")
    assert (alert.count, desk.progress(plan).state) == (1, PlanState.RUNNING)
    assert f"BUY 65 {CALL}" in alert.to_do


# Cancelling


def test_a_cancel_stops_at_the_next_unsent_slice(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 60))
    desk.tick(plan)
    running.cancel(plan.pk, by="asha")
    desk.pass_time(60)
    desk.tick(plan)

    assert len(desk.adapter.sent) == 1
    assert desk.states(plan) == [IntentState.WORKING, IntentState.WITHDRAWN, IntentState.WITHDRAWN]
    assert desk.progress(plan).state is PlanState.CANCELLED
    assert OrderPlan.objects.get().finished_at is None
    desk.fill()
    desk.tick(plan)
    assert OrderPlan.objects.get().finished_at is not None


def test_a_cancel_takes_back_a_slice_that_was_let_go_and_not_taken(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO))
    [released] = running.advance(plan.pk).intents
    running.cancel(plan.pk, by="asha")
    assert deliver(released.pk).state == IntentState.WITHDRAWN
    assert desk.sent() == []


def test_a_cancel_may_take_the_working_orders_along(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    desk.tick(plan)
    [first, second] = running.cancel(plan.pk, by="asha", cancel_working=True).intents
    deliver(first.pk)
    assert running.advance(plan.pk).intents == []
    assert first.pk != second.pk
    assert isinstance(desk.adapter.sent[-1], CancelRequest)
    assert first.client_order_id.endswith(".x1")


def test_a_cancel_that_was_lost_and_is_not_sent_again_holds_no_other_up(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 1))
    desk.tick(plan)
    [first] = running.cancel(plan.pk, by="asha", cancel_working=True).intents
    desk.adapter.script = [scripted_broker.drops]
    deliver(first.pk)
    assert running.advance(plan.pk).intents == []
    first.refresh_from_db()
    at = configured_clock().now()
    move(first, IntentState.ABSENT, actor=Actor.RECONCILER, cause="the book shows it open", at=at)
    [second] = running.advance(plan.pk).intents
    assert second.client_order_id.endswith(".x2")


def test_a_cancelled_plan_tries_again_where_the_broker_took_a_cancel_without_effect(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 1))
    desk.tick(plan)
    cancels = running.cancel(plan.pk, by="asha", cancel_working=True).intents
    for tries in range(1, running.CANCEL_TRIES + 1):
        assert [cancel.client_order_id[-3:] for cancel in cancels] == [f".x{tries}"]
        assert deliver(cancels[0].pk).state == IntentState.WORKING
        desk.pass_time(180)
        desk.sync()
        assert running.advance(plan.pk).intents == [], "it may still be on its way"
        desk.pass_time(30)
        assert running.advance(plan.pk).intents == [], "no reading of the book says so"
        desk.sync()
        cancels = running.advance(plan.pk).intents
    assert cancels == [], "enough was tried, and people were told"
    assert len(desk.alerts("no_effect")) == running.CANCEL_TRIES

    desk.end("000001", OrderStatus.CANCELLED)
    desk.sync()
    assert set(OrderIntent.objects.filter(kind="CANCEL").values_list("state", flat=True)) == {IntentState.DONE}
    running.advance(plan.pk)
    assert OrderPlan.objects.get().finished_at is not None


def test_a_slice_that_is_being_sent_is_cancelled_when_it_works(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO))

    def cancelled_meanwhile(adapter: ScriptedAdapter, operation: Any) -> Ack:
        assert running.cancel(plan.pk, by="asha", cancel_working=True).intents == []
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [cancelled_meanwhile]
    desk.tick(plan)
    assert desk.states(plan) == [IntentState.WORKING, IntentState.WITHDRAWN]
    assert OrderIntent.objects.get(kind=IntentKind.CANCEL).attempts.count() == 1


def test_a_plan_that_has_ended_is_steered_by_nobody(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 1))
    desk.run(plan)
    for steer in (running.cancel, running.resume, running.approve):
        with pytest.raises(OrderDenied, match="has ended"):
            steer(plan.pk, by="asha")


# Time and restarts


def test_nothing_is_sent_after_the_plan_s_time_and_a_person_is_told_what_is_missing(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 60), leg(PUT, "S", 60))
    desk.tick(plan)
    desk.fill(CALL)
    desk.pass_time(6 * 60)
    desk.tick(plan)

    assert len(desk.adapter.sent) == 2
    assert desk.states(plan) == [IntentState.FILLED, *["LAPSED"] * 2, IntentState.WORKING, *["LAPSED"] * 2]
    unsent = OrderIntent.objects.filter(plan=plan, state=IntentState.LAPSED)
    assert all("its turn in the plan did not come" in child.closed_reason for child in unsent)
    [alert] = desk.alerts("plan_partial")
    assert f"SELL {CALL} 1300 of 3900 filled" in alert.meaning
    assert f"BUY 1300 {CALL}" in alert.to_do
    with pytest.raises(OrderDenied, match="The time of BASKET p1 is over"):
        running.resume(plan.pk, by="asha")
    desk.fill()
    desk.tick(plan)
    assert desk.progress(plan).state is PlanState.PARTIAL
    assert len(desk.alerts("plan_partial")) == 1


def test_pausing_the_account_refuses_the_next_slice_and_so_stops_the_plan(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    [first] = running.advance(plan.pk).intents
    deliver(first.pk)
    pausing.pause(desk.account, by="asha", reason="test", at=configured_clock().now())
    desk.tick(plan)
    desk.tick(plan)
    assert desk.states(plan) == [IntentState.WORKING, IntentState.DENIED]
    assert desk.progress(plan).state is PlanState.STOPPED
    assert "is paused" in desk.progress(plan).reason
    assert len(desk.alerts("plan_stopped")) == 1


def test_a_slice_that_was_let_go_by_a_process_that_died_is_sent_by_the_next(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    [released] = running.advance(plan.pk).intents  # and the process dies before it rings
    assert running.advance(plan.pk).intents == []

    desk.pass_time(150)
    assert [intent.pk for intent in operations.sweep()] == [released.pk]
    deliver(released.pk)
    desk.tick(plan)
    assert desk.states(plan) == [IntentState.WORKING] * 2


def test_a_plan_goes_on_after_a_restart_at_its_next_unsent_slice(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", 60), not_after=configured_clock().now() + timedelta(minutes=20))
    desk.tick(plan)
    desk.pass_time(600)  # in which nothing ran

    desk.tick(plan)
    assert len(desk.adapter.sent) == 2
    desk.pass_time(PACE)
    desk.tick(plan)
    assert len(desk.adapter.sent) == 3


def test_messages_that_come_again_send_nothing_twice(desk: PlanDesk) -> None:
    plan = desk.record(leg(CALL, "S", TWO), leg(PUT, "S", TWO), pace_seconds=0)
    for _ in range(6):
        orders.place_basket(broker=desk.account.broker, plan_id=plan.pk, from_a_newer_version=True)
        for child in OrderIntent.objects.filter(plan=plan):
            orders.place_order(broker=desk.account.broker, intent_id=child.pk)
            orders.place_order(broker=desk.account.broker, intent_id=child.pk)
    assert sorted(desk.sent()) == sorted([("SELL", symbol, 1300) for symbol in (CALL, PUT) * 2])


# Approval


def test_a_plan_is_approved_once_for_all_of_its_slices(desk: PlanDesk) -> None:
    desk.account.requires_approval = True
    desk.account.save()
    plan = desk.record(leg(CALL, "S", TWO), pace_seconds=0)
    desk.tick(plan)
    desk.tick(plan)
    assert (desk.sent(), desk.progress(plan).state) == ([], PlanState.WAITING)
    [alert] = desk.alerts("plan_approval")
    assert alert.count == 1

    running.approve(plan.pk, by="asha")
    desk.tick(plan)
    assert desk.states(plan) == [IntentState.WORKING] * 2
    assert desk.alerts("plan_approval")[0].acknowledged_at is not None
