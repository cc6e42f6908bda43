"""A closing is done when the broker says flat, and never sends more than is held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus, Product
from brokers.domain.errors import (
    BrokerUnavailable,
    IdempotencyConflict,
    InvalidSymbol,
    MarketClosed,
    NotFlat,
    OrderDenied,
    OrderOutcomeUnknown,
)
from brokers.domain.order_states import Actor, IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.ledger.transitions import move
from brokers.models import OrderIntent, OrderPlan, Severity
from brokers.plans import closing, running
from brokers.plans.status import PlanState
from tasks import orders
from tests.support import plan_desk, scripted_broker
from tests.support.plan_desk import CALL, FAR_CALL, PUT, PlanDesk
from tests.support.scripted_broker import SHARE, Ack, ScriptedAdapter

pytestmark = pytest.mark.django_db

PACE = 10


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@pytest.fixture
def desk(broker: str, monkeypatch: pytest.MonkeyPatch) -> PlanDesk:
    monkeypatch.setattr(ScriptedAdapter, "read_master", plan_desk.strangle_master)
    return plan_desk.install(broker)


def _stopped(desk: PlanDesk, plan: OrderPlan) -> str:
    state = desk.progress(plan)
    assert state.state is PlanState.STOPPED
    return state.reason


def _other_product(desk: PlanDesk) -> Product:
    """One that the broker offers beside NRML."""
    return next(each for each in (Product.MIS, Product.CNC) if each in desk.gateway.spec.capabilities.products)


# What is closed


def test_a_position_is_closed_in_slices_and_done_when_the_broker_says_flat(desk: PlanDesk) -> None:
    desk.hold(CALL, -25 * 65)
    plan = desk.close()
    desk.tick(plan)
    assert desk.sent() == [("BUY", CALL, 650)]
    assert OrderIntent.objects.filter(plan=plan, reduce_only=True, order_type="MARKET").count() == 3

    desk.run(plan)
    assert desk.sent() == [("BUY", CALL, 650), ("BUY", CALL, 650), ("BUY", CALL, 325)]
    assert desk.held[CALL, Product.NRML] == 0
    assert desk.progress(plan).state is PlanState.DONE


def test_fills_alone_do_not_make_it_flat(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.end("000001", OrderStatus.FILLED, 65, shows=False)
    desk.sync()
    desk.tick(plan)
    assert OrderPlan.objects.get().finished_at is None
    assert len(desk.sent()) == 1

    desk.hold(CALL, -65)
    desk.tick(plan)
    assert OrderPlan.objects.get().finished_at is not None


def test_a_closing_does_not_end_while_an_order_of_it_works(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.hold(CALL, -65)  # a person was quicker
    closing.look(plan.pk)
    assert OrderPlan.objects.get().finished_at is None


def test_a_person_is_told_once_of_an_order_that_rests_and_the_next_round_has_a_fresh_one(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    for _ in range(3):
        desk.tick(plan)
        assert desk.alerts("closing_rests") == []
        desk.pass_time(25)
    for _ in range(3):
        desk.tick(plan)
        desk.pass_time(30)
    [alert] = desk.alerts("closing_rests")
    assert (alert.count, alert.severity, alert.acknowledged_at) == (1, Severity.WARNING, None)
    assert f"SELL {CALL} 0 of 65 filled, 65 working" in alert.meaning

    desk.end("000001", OrderStatus.CANCELLED)
    desk.sync()
    desk.run(plan)
    assert desk.sent() == [("SELL", CALL, 65)] * 2
    assert desk.alerts("closing_rests")[0].acknowledged_at is not None
    assert desk.progress(plan).state is PlanState.DONE


def test_a_second_order_that_rests_is_told_as_well(desk: PlanDesk) -> None:
    desk.hold(CALL, 20 * 65)
    plan = desk.close(pace_seconds=40)
    desk.tick(plan)
    desk.pass_time(41)
    desk.tick(plan)
    desk.pass_time(21)
    desk.tick(plan)
    assert [alert.acknowledged_at for alert in desk.alerts("closing_rests")] == [None]
    desk.end("000001", OrderStatus.FILLED, 650)
    desk.sync()
    desk.tick(plan)
    assert desk.alerts("closing_rests")[0].acknowledged_at is not None
    desk.pass_time(45)
    desk.tick(plan)
    assert [alert.acknowledged_at is None for alert in desk.alerts("closing_rests")] == [False, True]
    running.cancel(plan.pk, by="asha")
    assert all(alert.acknowledged_at for alert in desk.alerts("closing_rests"))


def test_the_slices_of_a_late_closing_go_before_the_close(desk: PlanDesk) -> None:
    desk.pass_time(5.5 * 3600)  # 15:30, and derivatives trade until 15:40
    desk.hold(CALL, 250 * 65)
    plan = desk.close(pace_seconds=40)
    desk.tick(plan)
    plan.refresh_from_db()
    assert 15 < plan.pace_seconds <= 22, "nine minutes for 24 pauses"
    for _ in range(25):
        desk.tick(plan)
        desk.fill()
        desk.pass_time(plan.pace_seconds)
    assert (desk.held[CALL, Product.NRML], len(desk.sent())) == (0, 25)


def test_what_is_flat_already_costs_no_order(desk: PlanDesk) -> None:
    desk.hold(CALL, 0)
    plan = desk.close()
    desk.tick(plan)
    assert (desk.sent(), desk.progress(plan).state) == ([], PlanState.DONE)


def test_only_the_contract_and_product_that_were_named_are_closed(desk: PlanDesk) -> None:
    other = _other_product(desk)
    desk.hold(CALL, 65)
    desk.hold(CALL, 130, other)
    desk.hold(PUT, 65)
    desk.run(desk.close(product=other))
    assert [(one.quantity, one.product) for one in OrderIntent.objects.all()] == [(130, other)]
    assert desk.held == {(CALL, Product.NRML): 65, (CALL, other): 0, (PUT, Product.NRML): 65}


def test_without_a_product_every_product_of_the_contract_is_closed(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    desk.hold(CALL, -130, _other_product(desk))
    desk.run(desk.close())
    assert set(desk.held.values()) == {0}
    assert sorted(desk.sent()) == [("BUY", CALL, 130), ("SELL", CALL, 65)]


def test_a_product_that_the_broker_s_orders_cannot_name_is_left_to_a_person(desk: PlanDesk) -> None:
    missing = sorted(set(Product) - desk.gateway.spec.capabilities.products)
    if not missing:
        pytest.skip("This broker's orders can name every product.")
    desk.hold(CALL, 65, missing[0])
    plan = desk.close()
    desk.tick(plan)
    assert f"does not offer product {missing[0]}" in _stopped(desk, plan)


def test_everything_is_closed_shorts_before_what_hedges_them(desk: PlanDesk) -> None:
    desk.hold(FAR_CALL, 65)
    desk.hold(CALL, -65)
    desk.hold(SHARE, 30, Product.CNC)
    plan = desk.close(None)
    desk.tick(plan)
    assert sorted(desk.sent()) == [("BUY", CALL, 65), ("SELL", SHARE, 30)]
    desk.run(plan)
    assert desk.sent()[-1] == ("SELL", FAR_CALL, 65)
    assert set(desk.held.values()) == {0}


def test_a_remainder_below_a_lot_is_said_and_the_rest_is_closed(desk: PlanDesk) -> None:
    desk.hold(CALL, 100)
    plan = desk.close()
    desk.run(plan, seconds=30)
    assert desk.sent() == [("SELL", CALL, 65)]
    assert f"35 of {CALL} are less than a lot of 65" in _stopped(desk, plan)
    assert desk.alerts("plan_stopped")[0].severity == Severity.CRITICAL


# Twice


def test_two_closings_of_the_same_are_one(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    first, second = desk.close(key="one"), desk.close(key="two")
    assert first.pk == second.pk
    desk.run(first)
    assert desk.sent() == [("SELL", CALL, 65)]
    assert desk.close(key="one").pk == first.pk
    again = desk.close(key="three")
    desk.run(again)
    assert (again.pk != first.pk, len(desk.sent())) == (True, 1)


def test_the_key_of_a_closing_stands_for_what_it_closes(desk: PlanDesk) -> None:
    desk.close()
    with pytest.raises(IdempotencyConflict, match="another closing of a position"):
        desk.close(PUT)


def test_a_message_that_comes_again_after_the_end_closes_nothing_new(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.run(plan)
    desk.hold(CALL, 130)  # a new position
    for _ in range(3):
        orders.close_position(broker=desk.account.broker, plan_id=plan.pk)
    assert desk.sent() == [("SELL", CALL, 65)]


def test_a_closing_of_all_waits_for_one_of_the_same_position(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    one, everything = desk.close(key="one"), desk.close(None, key="all")
    desk.tick(one)
    desk.tick(everything)
    assert desk.sent() == [("SELL", CALL, 65)]
    desk.run(one)
    desk.run(everything)
    assert desk.sent() == [("SELL", CALL, 65)]
    assert OrderPlan.objects.filter(finished_at__isnull=True).count() == 0


def test_two_closings_that_have_read_the_same_position_write_its_orders_once(
    desk: PlanDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.hold(CALL, 65)
    one, everything = desk.close(key="one"), desk.close(None, key="all")

    key = closing._leg_key(one, closing._Held(exchange="NFO", symbol=CALL, product=Product.NRML, units=65, legs=()))
    monkeypatch.setattr(closing, "_leg_key", lambda *_: key)
    closing.look(one.pk)
    monkeypatch.setattr(closing, "_check", lambda *_: None)
    closing.look(everything.pk)
    assert OrderIntent.objects.count() == 1


# Surprises


def test_a_failed_reading_is_no_flat_position(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    held, desk.adapter.positions = desk.adapter.positions, BrokerUnavailable("The broker is down.")
    with pytest.raises(BrokerUnavailable):
        closing.look(plan.pk)
    orders.close_position(broker=desk.account.broker, plan_id=plan.pk)
    [alert] = desk.alerts("closing_blind")
    assert "The broker is down" in alert.happened
    assert OrderPlan.objects.get().finished_at is None

    desk.adapter.positions = held
    desk.run(plan)
    assert desk.sent() == [("SELL", CALL, 65)]
    assert desk.alerts("closing_blind")[0].acknowledged_at is not None


def test_a_refused_slice_begins_another_round_of_what_is_left(desk: PlanDesk) -> None:
    desk.hold(CALL, -25 * 65)
    plan = desk.close()
    desk.adapter.script = [scripted_broker.accepts, scripted_broker.refuses("price band")]
    desk.run(plan)
    assert [units for _, _, units in desk.sent()] == [650, 650, 650, 325]
    assert desk.held[CALL, Product.NRML] == 0
    assert desk.states(plan)[:3] == [IntentState.FILLED, IntentState.REFUSED, IntentState.WITHDRAWN]


def test_after_three_rounds_a_person_is_called(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.adapter.script = [scripted_broker.refuses("price band")] * 4
    desk.run(plan, seconds=30)
    assert len(desk.adapter.sent) == 3
    assert f"65 of {CALL} are still open after 3 rounds" in _stopped(desk, plan)
    assert "price band" in _stopped(desk, plan)

    desk.pass_time(1)
    running.resume(plan.pk, by="asha")
    desk.run(plan)
    assert desk.held[CALL, Product.NRML] == 0


def test_a_slice_with_a_lost_answer_begins_no_round(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.adapter.script = [scripted_broker.drops]
    desk.tick(plan)
    desk.pass_time(60)
    desk.tick(plan)
    assert (len(desk.adapter.sent), desk.progress(plan).state) == (1, PlanState.WAITING)
    lost = OrderIntent.objects.get()
    for state in (IntentState.ABSENT, IntentState.NOT_PLACED):
        move(lost, state, actor=Actor.RECONCILER, cause="not there", at=configured_clock().now())
    lost.attempts.update(outcome="VOID")
    desk.run(plan)
    assert desk.held[CALL, Product.NRML] == 0


def test_a_person_who_closes_a_part_meanwhile_leaves_less_to_close(desk: PlanDesk) -> None:
    desk.hold(CALL, 20 * 65)
    plan = desk.close()
    desk.tick(plan)
    desk.fill()
    desk.hold(CALL, -5 * 65)
    desk.run(plan)
    assert desk.held[CALL, Product.NRML] == 0
    assert sum(each.quantity for each in OrderIntent.objects.filter(state=IntentState.FILLED)) == 15 * 65


@pytest.mark.parametrize("meanwhile", [65, -130])
def test_a_position_that_grew_or_turned_meanwhile_calls_a_person(desk: PlanDesk, meanwhile: int) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.fill()
    desk.hold(CALL, meanwhile)
    desk.tick(plan)
    assert desk.progress(plan).state is PlanState.RUNNING  # it may lag
    desk.pass_time(16)
    desk.tick(plan)
    assert "somebody else trades it" in _stopped(desk, plan)
    assert len(desk.sent()) == 1


def test_positions_that_lag_behind_the_book_are_not_closed_twice(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.end("000001", OrderStatus.FILLED, 65, shows=False)
    desk.sync()
    for _ in range(10):
        desk.tick(plan)
        desk.pass_time(1)
    desk.hold(CALL, -65)
    desk.tick(plan)
    assert len(desk.sent()) == 1
    assert OrderPlan.objects.get().finished_at is not None


@pytest.mark.parametrize("lots", [10, 20])
def test_an_exit_that_the_positions_do_not_show_yet_is_not_closed_once_more(desk: PlanDesk, lots: int) -> None:
    desk.hold(CALL, lots * 65)
    first = operations.record_place(
        broker=desk.account.broker,
        account="default",
        symbol=CALL,
        side="SELL",
        quantity=650,
        reduce_only=True,
        client_order_id="exit",
    )
    deliver(first.pk)
    desk.end("000001", OrderStatus.FILLED, 650, shows=False)
    desk.sync()
    desk.pass_time(1)
    plan = desk.close()
    for second in range(13):
        running.advance(plan.pk)
        if second == 0:
            closing.look(plan.pk)
        for child in OrderIntent.objects.filter(plan=plan, state=IntentState.READY):
            deliver(child.pk)
        desk.fill()
        desk.pass_time(1)
    assert sum(units for _, _, units in desk.sent()) == lots * 65
    desk.hold(CALL, -650)
    desk.run(plan)
    assert sum(units for _, _, units in desk.sent()) == lots * 65, "what the exit left, and no more"
    assert desk.progress(plan).state is PlanState.DONE


def test_a_position_in_an_unknown_product_is_left_to_a_person(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    assert isinstance(desk.adapter.positions, list)
    desk.adapter.positions = [replace(desk.adapter.positions[0], product=None)]
    plan = desk.close()
    desk.tick(plan)
    assert "does not say in which product" in _stopped(desk, plan)


def test_what_cannot_be_closed_keeps_nothing_else_open(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    desk.hold(PUT, 30)
    plan = desk.close(None)
    desk.run(plan, seconds=20)
    assert desk.held[CALL, Product.NRML] == 0
    assert f"30 of {PUT} are less than a lot" in _stopped(desk, plan)


def test_a_closing_whose_time_runs_out_calls_a_person(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    plan = desk.close()
    desk.tick(plan)
    desk.pass_time(16 * 60)
    desk.tick(plan)
    [alert] = desk.alerts("plan_partial")
    assert "before the broker said flat" in alert.happened
    assert OrderPlan.objects.get().finished_at is None  # an order of it is working


def test_a_closing_asks_for_no_approval(desk: PlanDesk) -> None:
    desk.account.requires_approval = True
    desk.account.save()
    desk.hold(CALL, 65)
    desk.run(desk.close())
    assert desk.sent() == [("SELL", CALL, 65)]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"symbol": "NIFTY26DEC26000CX"}, InvalidSymbol, CALL),
        ({"product": "BO"}, OrderDenied, "is not a Product"),
        ({"symbol": None, "product": "MIS"}, OrderDenied, "Without a symbol every position is closed"),
        ({"key": ""}, OrderDenied, "Client order id"),
        ({"pace_seconds": "fast"}, OrderDenied, "pace_seconds 'fast'"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    desk: PlanDesk, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        desk.close(**changes)
    assert not OrderPlan.objects.exists()


def test_nothing_is_closed_while_the_market_is(desk: PlanDesk) -> None:
    desk.pass_time(8 * 3600)
    with pytest.raises(MarketClosed, match="NFO is closed"):
        desk.close()
    desk.hold(CALL, 65)
    everything = desk.close(None)
    desk.tick(everything)
    assert "cannot be closed now: NFO is closed" in _stopped(desk, everything)


# From the factory's broker


def test_a_program_closes_without_a_worker_and_waits_for_flat(desk: PlanDesk) -> None:
    desk.hold(CALL, 25 * 65)

    def wait(seconds: float) -> None:
        desk.fill()
        desk.pass_time(seconds)

    desk.gateway._wait = wait
    assert desk.gateway.close_position(CALL) is True
    assert desk.held[CALL, Product.NRML] == 0
    assert desk.gateway.close_all_positions() is True
    assert len(desk.sent()) == 3


def test_a_program_is_told_why_it_is_not_flat(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    desk.adapter.script = [scripted_broker.refuses("price band")] * 3
    with pytest.raises(NotFlat, match="price band"):
        desk.gateway.close_position(CALL)


def test_a_program_that_cannot_read_the_positions_leaves_nothing_behind(desk: PlanDesk) -> None:
    desk.adapter.positions = BrokerUnavailable("The broker is down.")
    with pytest.raises(BrokerUnavailable, match="down"):
        desk.gateway.close_position(CALL)
    assert OrderPlan.objects.get().finished_at is not None


def test_a_program_is_told_of_a_lost_answer(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)
    desk.adapter.script = [scripted_broker.takes_and_drops]
    with pytest.raises(OrderOutcomeUnknown) as told:
        desk.gateway.close_position(CALL)
    assert told.value.client_order_id == OrderIntent.objects.get().client_order_id
    assert OrderPlan.objects.get().cancelled_at is None


def test_two_programs_that_close_at_once_close_once(desk: PlanDesk) -> None:
    desk.hold(CALL, 65)

    def another_program(adapter: ScriptedAdapter, operation: Any) -> Ack:
        other = desk.close(key="other")
        assert running.advance(other.pk).intents == []
        ack = scripted_broker.accepts(adapter, operation)
        return ack

    def wait(seconds: float) -> None:
        desk.fill()
        desk.pass_time(seconds)

    desk.gateway._wait = wait
    desk.adapter.script = [another_program]
    desk.gateway.close_position(CALL)
    assert len(desk.sent()) == 1
    assert OrderPlan.objects.count() == 1


@pytest.mark.parametrize("symbol", [None, ""])
def test_a_program_that_lost_its_symbol_does_not_close_everything(desk: PlanDesk, symbol: Any) -> None:
    desk.hold(CALL, 65, Product.NRML)
    with pytest.raises(OrderDenied, match="needs its symbol"):
        desk.gateway.close_position(symbol)
    assert not OrderPlan.objects.exists()
