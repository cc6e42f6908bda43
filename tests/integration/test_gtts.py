"""GTTs keep to the rules of orders: recorded, sent at most once, followed in their book, never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from brokers import halting, instruments, sessions
from brokers.alerts import acknowledge
from brokers.clock import SimulatedClock, configured_clock
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import (
    BrokerUnavailable,
    IdempotencyConflict,
    OrderDenied,
    OrderOutcomeUnknown,
    OrderRejected,
    SessionExpired,
    UnsupportedFeature,
)
from brokers.domain.gtt import GttAck, GttCancel, GttChange, GttRequest, GttRole, GttStatus
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.factory import BrokerFactory
from brokers.gtt import book, recording
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    GttOrder,
    InstrumentRecord,
    KillSwitch,
    OrderIntent,
    Scope,
    SessionState,
    Severity,
)
from brokers.plans import closing, running
from brokers.plans.status import PlanState, progress
from brokers.recovery import decisions, reconciliation, visibility
from brokers.risk import limits
from brokers.risk.switches import set_switch
from tests.integration.test_ledger import Desk
from tests.integration.test_risk import position
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, SHARE, book_row, drops, foreign_row, raises, refuses, takes_and_drops

pytestmark = pytest.mark.django_db

#: From arming until a GTT must be in the book: every timeout, and the bound.
MUST_SHOW_SECONDS = 18 + 180


class GttDesk(Desk):
    def gtt(self, key: str = "g1", **changes: Any) -> OrderIntent:
        asked: dict[str, Any] = {
            "symbol": CALL,
            "side": "SELL",
            "quantity": 65,
            "trigger_price": "90",
            "limit_price": "89.5",
            "client_order_id": key,
        }
        return recording.record_single(broker=self.account.broker, account="default", **(asked | changes))

    def three_leg(self, key: str = "t1", **changes: Any) -> OrderIntent:
        asked: dict[str, Any] = {
            "symbol": CALL,
            "side": "BUY",
            "quantity": 65,
            "limit_price": "100",
            "target_trigger_price": "120",
            "target_price": "119.5",
            "stop_trigger_price": "90",
            "stop_price": "89.5",
            "client_order_id": key,
        }
        return recording.record_three_leg(broker=self.account.broker, account="default", **(asked | changes))

    def placed(self, key: str = "g1", **changes: Any) -> tuple[OrderIntent, GttOrder]:
        """A GTT that the broker took, as the book shows it."""
        intent = deliver(self.gtt(key, **changes).pk)
        self.read()
        intent.refresh_from_db()
        return intent, GttOrder.objects.get(attempt__intent=intent)

    def entered(self, *, read_first: str = "GTT book", **changes: Any) -> GttOrder:
        """A three-leg GTT that the broker took, and its entry, in books that were both read."""
        deliver(self.three_leg(**changes).pk)
        self.enter()
        reads = [self.read, self.sync] if read_first == "GTT book" else [self.sync, self.read]
        for read in reads:
            read()
        return GttOrder.objects.latest("pk")

    def enter(self) -> str:
        """The broker sends what its newest GTT enters with, and names it in the GTT book."""
        number, row = next(reversed(self.adapter.gtts.rows.items()))
        self.adapter.book[number] = foreign_row(
            number, symbol=row.symbol, exchange=row.exchange, quantity=row.quantity, product=row.product
        )
        self.adapter.gtts.rows[number] = self.adapter.gtts.named(number, number)
        return number

    def read(self) -> None:
        book.read(self.account, self.gateway)

    def recover_after(self, seconds: float) -> None:
        self.pass_time(seconds)
        reconciliation.recover(self.account.broker, "default")

    def change(self, gtt: GttOrder, key: str = "m1", **prices: Any) -> OrderIntent:
        return recording.record_change(
            broker=self.account.broker,
            account="default",
            gtt_order_id=gtt.gtt_order_id,
            client_order_id=key,
            prices=prices or {"ORDER": ("92", "91.5")},
        )

    def cancel(self, gtt: GttOrder, key: str = "c1") -> OrderIntent:
        return recording.record_cancel(
            broker=self.account.broker, account="default", gtt_order_id=gtt.gtt_order_id, client_order_id=key
        )


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[GttDesk]:
    _, adapter = scripted_broker.install("breeze")
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    yield GttDesk(BrokerAccount.objects.get(), adapter)
    BrokerFactory._gateways.clear()


def state_of(intent: OrderIntent) -> str:
    intent.refresh_from_db()
    return intent.state


# Placing


def test_a_gtt_is_done_when_its_book_shows_it(desk: GttDesk) -> None:
    intent = deliver(desk.gtt().pk)
    assert intent.state == IntentState.WORKING, "taken is not done"
    desk.read()
    assert state_of(intent) == IntentState.DONE
    gtt = GttOrder.objects.get()
    assert gtt.attempt is not None
    assert (gtt.origin, gtt.status, gtt.attempt.intent_id) == (GttOrder.Origin.OURS, GttStatus.ACTIVE, intent.pk)
    (sent,) = desk.adapter.sent
    assert isinstance(sent, GttRequest)
    assert (sent.quantity, sent.triggers[0].trigger_price, sent.entry) == (65, Decimal(90), None)


def test_a_three_leg_gtt_enters_and_keeps_target_and_stop(desk: GttDesk) -> None:
    intent = deliver(desk.three_leg().pk)
    (sent,) = desk.adapter.sent
    assert isinstance(sent, GttRequest)
    assert sent.entry is not None
    assert sent.entry.limit_price == Decimal(100)
    assert {(each.role, each.side) for each in sent.triggers} == {("TARGET", "SELL"), ("STOP", "SELL")}
    desk.read()
    assert state_of(intent) == IntentState.DONE


def test_the_same_key_twice_is_one_gtt(desk: GttDesk) -> None:
    first = deliver(desk.gtt().pk)
    assert deliver(desk.gtt().pk).pk == first.pk
    assert len(desk.adapter.sent) == 1
    with pytest.raises(IdempotencyConflict):
        desk.gtt(trigger_price="91")


def test_a_trader_places_changes_and_cancels_through_the_gateway(desk: GttDesk) -> None:
    number = desk.gateway.place_gtt(CALL, "SELL", 65, trigger_price="90", price="89.5")
    desk.read()
    assert desk.gateway.modify_gtt(number, trigger_price="92") == number
    assert desk.gateway.get_gtts()[0].legs[0].trigger_price == Decimal(92)
    assert desk.gateway.cancel_gtt(number)
    desk.read()
    assert GttOrder.objects.get().status == GttStatus.CANCELLED
    assert desk.gateway.cancel_gtt(number), "what is cancelled need not be cancelled again"
    assert len(desk.adapter.sent) == 3


def test_what_the_broker_refuses_is_refused(desk: GttDesk) -> None:
    desk.adapter.script = [refuses("GTT limit exceeded")]
    with pytest.raises(OrderRejected, match="GTT limit exceeded"):
        desk.gateway.place_gtt(CALL, "SELL", 65, trigger_price="90", price="89.5")
    assert not GttOrder.objects.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbol": SHARE, "quantity": 1}, "futures and options only"),
        ({"quantity": 64}, "lot"),
        ({"trigger_price": "90.01"}, "tick"),
        ({"trigger_price": None}, "needs a trigger price"),
        ({"limit_price": None}, "needs a trigger price"),
    ],
)
def test_a_gtt_that_breaks_a_rule_is_not_recorded(desk: GttDesk, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OrderDenied, match=words):
        desk.gtt(**changes)
    assert not OrderIntent.objects.exists()


def test_target_and_stop_lie_around_the_entry(desk: GttDesk) -> None:
    with pytest.raises(OrderDenied, match="do not go together"):
        desk.three_leg(target_trigger_price="80", target_price="79.5")


def test_a_broker_without_gtts_says_so_before(monkeypatch: pytest.MonkeyPatch) -> None:
    _, adapter = scripted_broker.install("kotakneo")
    gateway = BrokerFactory.get_broker("kotakneo", "default")
    for call in (
        lambda: gateway.place_gtt(CALL, "SELL", 65, trigger_price="90", price="89.5"),
        lambda: gateway.place_gtt_three_leg(
            CALL,
            "BUY",
            65,
            price="100",
            target_trigger_price="120",
            target_price="119.5",
            stop_trigger_price="90",
            stop_price="89.5",
        ),
        lambda: gateway.modify_gtt("1", price="90"),
        lambda: gateway.cancel_gtt("1"),
        lambda: gateway.get_gtts(),
    ):
        with pytest.raises(UnsupportedFeature, match="gtt"):
            call()
    assert not adapter.sent
    BrokerFactory._gateways.clear()


# Limits and switches


def test_a_gtt_keeps_the_limits_of_one_order(desk: GttDesk) -> None:
    limits.change(
        Scope.EVERYTHING,
        "",
        {"max_notional_rupees": Decimal(5000)},
        by="tester",
        reason="a test",
        at=desk.gateway.clock.now(),
    )
    intent = deliver(desk.gtt().pk)
    assert intent.state == IntentState.DENIED
    assert "max_notional_rupees" in intent.closed_reason
    assert not desk.adapter.sent


def limit(**values: limits.Value | None) -> None:
    limits.change(Scope.EVERYTHING, "", values, by="tester", reason="a test", at=configured_clock().now())


@pytest.mark.parametrize("stage", ["acknowledged", "lost", "in the GTT book", "in both books", "cancelled"])
def test_what_a_gtt_entered_with_is_an_open_order_until_it_ends(desk: GttDesk, stage: str) -> None:
    limit(max_open_orders=1, max_open_rupees=Decimal(20_000))
    if stage == "in both books":
        desk.entered()
    else:
        desk.adapter.script = [takes_and_drops] if stage == "lost" else []
        deliver(desk.three_leg().pk)
    if stage in ("in the GTT book", "cancelled"):
        desk.read()
    if stage == "cancelled":
        desk.adapter.gtts.end("0000000000000001", GttStatus.CANCELLED)
        desk.read()
    denied = deliver(desk.three_leg("t2", limit_price="99").pk)
    assert denied.state == IntentState.DENIED
    assert "this would be open order number 2" in denied.closed_reason
    assert "max_open_rupees" not in denied.closed_reason
    limit(max_open_rupees=Decimal(15_000))
    assert "7767.50 are open" in deliver(desk.three_leg("t3", limit_price="99").pk).closed_reason
    assert "7767.50 are open" in desk.send("k1", quantity=130).closed_reason


@pytest.mark.parametrize("end", [OrderStatus.FILLED, OrderStatus.CANCELLED])
def test_an_entry_that_has_ended_is_not_open(desk: GttDesk, end: OrderStatus) -> None:
    limit(max_open_orders=1)
    gtt = desk.entered()
    desk.set_book(gtt.entry_order_id, status=end, filled_quantity=65 if end is OrderStatus.FILLED else 0)
    desk.sync()
    desk.placed("g1")
    assert desk.send("k1").state == IntentState.WORKING, "one that waits for its trigger is not open"


def test_a_change_of_an_entry_is_not_counted_beside_it(desk: GttDesk) -> None:
    limit(max_open_rupees=Decimal(10_000))
    gtt = desk.entered()
    assert desk.gateway.modify_order(gtt.entry_order_id, price="101")


def test_a_position_is_reduced_by_one_gtt_at_most(desk: GttDesk) -> None:
    desk.adapter.positions = [position(CALL, 130)]
    desk.adapter.script = [takes_and_drops]
    deliver(desk.gtt("lost", reduce_only=True, trigger_price="95", limit_price="94.5").pk)
    desk.placed("stop", reduce_only=True)
    target = deliver(desk.gtt("target", reduce_only=True, trigger_price="120", limit_price="119.5").pk)
    assert "have 130, and this one is SELL 65" in target.closed_reason
    assert desk.send("exit", side="S", quantity=130, reduce_only=True).state == IntentState.WORKING


@pytest.mark.parametrize("stage", ["acknowledged", "lost", "in the GTT book", "in both books"])
def test_an_entry_that_may_be_filled_takes_from_the_position(desk: GttDesk, stage: str) -> None:
    desk.adapter.positions = [position(CALL, -65)]
    if stage == "in both books":
        desk.entered()
    else:
        desk.adapter.script = [takes_and_drops] if stage == "lost" else []
        deliver(desk.three_leg().pk)
    if stage == "in the GTT book":
        desk.read()
    denied = desk.send("exit", side="B", reduce_only=True)
    assert "have 65, and this one is BUY 65" in denied.closed_reason


def test_a_closing_is_not_over_while_an_entry_is_lost(desk: GttDesk) -> None:
    desk.adapter.positions = []
    desk.adapter.script = [takes_and_drops]
    lost = deliver(desk.three_leg().pk)
    plan = closing.record_close(broker=desk.account.broker, symbol=CALL, client_order_id="flat")
    assert running.advance(plan.pk).needs_positions
    closing.look(plan.pk)
    plan.refresh_from_db()
    state = progress(plan)
    assert state.state is PlanState.STOPPED
    assert f"{lost} of {CALL} is UNKNOWN and may open a position" in state.reason


def test_a_halt_lets_only_the_cancel_of_a_gtt_pass(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    now = desk.gateway.clock.now()
    set_switch(Scope.EVERYTHING, "", KillSwitch.State.HALTED, by="tester", reason="a test", at=now)
    assert deliver(desk.gtt("g2", trigger_price="80").pk).state == IntentState.DENIED
    assert deliver(desk.change(gtt).pk).state == IntentState.DENIED
    assert deliver(desk.cancel(gtt).pk).state == IntentState.WORKING


def test_cancelling_everything_cancels_gtts(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    (cancel,) = halting.record_cancels(Scope.EVERYTHING, "", by="tester")
    assert (cancel.kind, cancel.gtt_id) == (IntentKind.GTT_CANCEL, gtt.pk)
    (again,) = halting.record_cancels(Scope.EVERYTHING, "", by="tester")
    assert again.pk == cancel.pk, "a second wish is the first one"
    deliver(cancel.pk)
    desk.read()
    assert state_of(cancel) == IntentState.DONE
    assert not halting.record_cancels(Scope.EVERYTHING, "", by="tester")


@pytest.mark.parametrize("first", ["GTT book", "order book"])
def test_a_halt_cancels_what_a_gtt_entered_with(desk: GttDesk, first: str) -> None:
    gtt = desk.entered(strategy="alpha", read_first=first)
    order = BrokerOrder.objects.get()
    assert order.origin == BrokerOrder.Origin.OURS
    assert not Alert.objects.filter(kind="unexplained_order", acknowledged_at=None).exists()
    assert not halting.record_cancels(Scope.STRATEGY, "beta", by="tester")
    for scope, key in ((Scope.STRATEGY, "alpha"), (Scope.ACCOUNT, str(desk.account)), (Scope.EVERYTHING, "")):
        cancels = halting.record_cancels(scope, key, by="tester")
        assert {(each.target_id, each.gtt_id) for each in cancels} == {(order.pk, None), (None, gtt.pk)}, scope


def test_a_cancel_of_what_a_gtt_entered_with_ends_with_it(desk: GttDesk) -> None:
    gtt = desk.entered()
    [cancel] = [each for each in halting.record_cancels(Scope.EVERYTHING, "", by="tester") if each.target_id]
    assert deliver(cancel.pk).state == IntentState.WORKING
    desk.pass_time(300)
    desk.sync()
    assert Alert.objects.filter(kind="no_effect", acknowledged_at=None).exists()
    desk.set_book(gtt.entry_order_id, status=OrderStatus.CANCELLED)
    desk.sync()
    assert state_of(cancel) == IntentState.DONE
    assert not Alert.objects.filter(kind="no_effect", acknowledged_at=None).exists()


@pytest.mark.parametrize("filled", [0, 65])
def test_reducing_spares_what_protects_a_filled_entry(desk: GttDesk, filled: int) -> None:
    gtt = desk.entered()
    desk.set_book(gtt.entry_order_id, filled_quantity=filled, status=OrderStatus.FILLED if filled else OrderStatus.OPEN)
    desk.sync()
    cancels = halting.record_cancels(Scope.EVERYTHING, "", by="tester", spare_exits=True)
    assert {each.gtt_id for each in cancels if each.gtt_id} == (set() if filled else {gtt.pk})
    assert {each.target_id is not None for each in cancels if not each.gtt_id} == (set() if filled else {True})


def test_reducing_spares_what_may_protect_an_entry_that_is_not_known_yet(desk: GttDesk) -> None:
    deliver(desk.three_leg().pk)
    desk.read()
    assert not halting.record_cancels(Scope.EVERYTHING, "", by="tester", spare_exits=True)
    assert halting.record_cancels(Scope.EVERYTHING, "", by="tester")


def test_reducing_takes_the_rest_of_an_entry_and_leaves_what_protects_its_part(desk: GttDesk) -> None:
    gtt = desk.entered(quantity=130)
    desk.set_book(gtt.entry_order_id, filled_quantity=65, status=OrderStatus.PARTIALLY_FILLED)
    desk.sync()
    (cancel,) = halting.record_cancels(Scope.EVERYTHING, "", by="tester", spare_exits=True)
    assert cancel.target == BrokerOrder.objects.get()


def test_an_entry_that_no_book_shows_yet_is_in_doubt(desk: GttDesk) -> None:
    deliver(desk.three_leg(strategy="alpha").pk)
    desk.read()
    assert halting.entries_in_doubt(Scope.STRATEGY, "alpha") == halting.entries_in_doubt(Scope.EVERYTHING, "") == 1
    assert halting.entries_in_doubt(Scope.STRATEGY, "beta") == 0
    number = desk.enter()
    desk.read()
    assert halting.entries_in_doubt(Scope.EVERYTHING, "") == 1, "named, and in no order book that was read"
    desk.adapter.gtts.end(number, GttStatus.CANCELLED)
    desk.read()
    assert halting.entries_in_doubt(Scope.EVERYTHING, "") == 1, "a cancel leaves the entry"
    desk.sync()
    assert halting.entries_in_doubt(Scope.EVERYTHING, "") == 0


def test_the_command_that_halts_names_what_it_could_not_cancel(desk: GttDesk) -> None:
    deliver(desk.three_leg().pk)
    desk.read()
    out = StringIO()
    call_command("halt", "--cancel-open", stdout=out)
    gtt = GttOrder.objects.get()
    assert f"cancel of GTT {gtt} {CALL}: WORKING" in out.getvalue()
    assert "1 GTTs entered with an order that no book has shown yet" in out.getvalue()


# Lost answers


def test_a_lost_gtt_is_found_by_its_looks_once_it_must_be_there(desk: GttDesk) -> None:
    desk.adapter.script = [takes_and_drops]
    with pytest.raises(OrderOutcomeUnknown):
        desk.gateway.place_gtt(CALL, "SELL", 65, trigger_price="90", price="89.5")
    intent = OrderIntent.objects.get()
    desk.recover_after(30)
    assert state_of(intent) == IntentState.UNKNOWN, "another that looks the same could still come"
    desk.recover_after(MUST_SHOW_SECONDS)
    assert state_of(intent) == IntentState.DONE
    assert GttOrder.objects.get(attempt__intent=intent)
    assert intent.attempts.get().outcome == AttemptOutcome.ADOPTED
    assert len(desk.adapter.sent) == 1


def test_a_lost_gtt_that_never_shows_is_a_persons_to_decide(desk: GttDesk) -> None:
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.recover_after(MUST_SHOW_SECONDS)
    assert state_of(intent) == IntentState.UNKNOWN
    desk.recover_after(visibility.PROVING + 61)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    assert Alert.objects.filter(kind="needs_human", intent=intent, acknowledged_at=None).exists()
    assert len(desk.adapter.sent) == 1, "what is unknown is never sent again"


@pytest.mark.parametrize("reason", ["two look alike", "people trade there"])
def test_a_gtt_that_may_be_another_is_a_persons_to_decide(desk: GttDesk, reason: str) -> None:
    if reason == "people trade there":
        BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    desk.adapter.script = [takes_and_drops]
    intent = deliver(desk.gtt().pk)
    if reason == "two look alike":
        request = desk.adapter.sent[0]
        assert isinstance(request, GttRequest)
        desk.adapter.gtts.accept(request, desk.gateway.clock.now())
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    assert {row["broker_order_id"] for row in decisions.evidence(intent)["candidates"]} == set(desk.adapter.gtts.rows)
    decisions.adopt(intent, "0000000000000001", by="tester", reason="seen in the broker's app")
    desk.read()
    assert state_of(intent) == IntentState.DONE


def test_a_person_says_that_a_gtt_is_not_there(desk: GttDesk) -> None:
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.recover_after(MUST_SHOW_SECONDS + visibility.PROVING + 1)
    decisions.not_placed(intent, by="tester", reason="not in the broker's app")
    assert state_of(intent) == IntentState.NOT_PLACED


def given_up(desk: GttDesk) -> tuple[OrderIntent, GttRequest]:
    """A GTT that was lost, and of which a person said that it is not there; with what was sent."""
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.recover_after(MUST_SHOW_SECONDS + visibility.PROVING + 1)
    decisions.not_placed(intent, by="tester", reason="not in the broker's app")
    request = desk.adapter.sent[0]
    assert isinstance(request, GttRequest)
    return intent, request


def test_what_a_person_answered_is_not_asked_again(desk: GttDesk) -> None:
    intent, _ = given_up(desk)
    deliver(desk.gtt("g2", trigger_price="85", limit_price="84.5").pk)
    desk.recover_after(61)
    assert state_of(intent) == IntentState.NOT_PLACED
    assert not Alert.objects.filter(kind="needs_human", acknowledged_at=None).exists()


@pytest.mark.parametrize("passed", [61, 301])
def test_a_gtt_that_shows_up_after_all_is_asked_about_again(desk: GttDesk, passed: int) -> None:
    intent, request = given_up(desk)
    desk.adapter.gtts.accept(request, intent.created_at)
    if passed == 61:
        deliver(desk.gtt("g2", trigger_price="85", limit_price="84.5").pk)
    desk.recover_after(passed)
    assert state_of(intent) == IntentState.NEEDS_HUMAN, "also when nothing else has the book read"
    assert "showed up" in intent.events.latest("sequence").cause
    decisions.adopt(intent, "0000000000000001", by="tester", reason="it is there")
    assert state_of(intent) == IntentState.DONE


def resent(desk: GttDesk) -> OrderIntent:
    """A GTT that the broker has and its book did not show until a person had it sent once more."""
    desk.adapter.script = [takes_and_drops]
    intent = deliver(desk.gtt(not_after=configured_clock().now() + timedelta(hours=1)).pk)
    desk.adapter.gtts.hidden.update(desk.adapter.gtts.rows)
    desk.recover_after(MUST_SHOW_SECONDS + visibility.PROVING + 1)
    decisions.resend(intent, by="tester", reason="not in the broker's app", confirmed_twice=True)
    return intent


@pytest.mark.parametrize("first_is_seen", ["before the second is sent", "minutes later"])
def test_a_gtt_that_shows_up_beside_the_one_a_person_had_sent_again_is_told_once(
    desk: GttDesk, first_is_seen: str
) -> None:
    intent = resent(desk)
    if first_is_seen == "before the second is sent":
        desk.pass_time(1)
        desk.adapter.gtts.hidden.clear()
        desk.read()
    desk.pass_time(1)
    assert deliver(intent.pk).state == IntentState.WORKING
    desk.recover_after(16)
    assert state_of(intent) == IntentState.DONE
    desk.adapter.gtts.hidden.clear()
    desk.pass_time(301)
    now = configured_clock().now()
    assert reconciliation.accounts_to_recover(now) == [("breeze", "default")], "also when nothing else is in question"
    for _ in range(3):
        desk.recover_after(301)
    (alert,) = told("sent_twice")
    assert "GTT 0000000000000001 showed up" in alert.happened
    assert (alert.severity, alert.count) == (Severity.CRITICAL, 1)
    acknowledge([alert], by="asha", at=configured_clock().now())
    desk.recover_after(301)
    assert not Alert.objects.filter(kind="sent_twice", acknowledged_at=None).exists(), "nor is it told again"


def test_the_first_gtt_can_be_adopted_although_the_second_was_refused(desk: GttDesk) -> None:
    intent = resent(desk)
    desk.adapter.script = [refuses("GTT limit exceeded")]
    assert deliver(intent.pk).state == IntentState.NOT_PLACED, "the first may be there all the same"
    desk.adapter.gtts.hidden.clear()
    desk.recover_after(301)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    decisions.adopt(intent, "0000000000000001", by="tester", reason="it is there")
    assert state_of(intent) == IntentState.DONE
    assert [each.outcome for each in intent.attempts.order_by("number")] == ["ADOPTED", "VOID"]


def test_nothing_is_told_of_a_gtt_that_a_person_rightly_had_sent_again(desk: GttDesk) -> None:
    intent = resent(desk)
    del desk.adapter.gtts.rows["0000000000000001"]
    desk.adapter.gtts.hidden.clear()
    deliver(intent.pk)
    for _ in range(3):
        desk.recover_after(301)
    assert state_of(intent) == IntentState.DONE
    assert not told("sent_twice")


def test_what_a_person_saw_when_they_answered_for_the_second_time_is_not_asked_again(desk: GttDesk) -> None:
    intent = resent(desk)
    desk.adapter.script = [drops]
    assert deliver(intent.pk).state == IntentState.UNKNOWN
    desk.adapter.gtts.hidden.clear()
    desk.recover_after(MUST_SHOW_SECONDS + visibility.PROVING + 1)
    desk.recover_after(61)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    assert [row["broker_order_id"] for row in decisions.evidence(intent)["candidates"]] == ["0000000000000001"]
    decisions.not_placed(intent, by="tester", reason="that one is another's")
    for _ in range(3):
        desk.recover_after(301)
    assert state_of(intent) == IntentState.NOT_PLACED


def test_of_two_attempts_the_one_that_was_lost_is_found(desk: GttDesk) -> None:
    desk.adapter.script = [raises(SessionExpired("The session is not valid."), left=True), takes_and_drops]
    intent = deliver(desk.gtt().pk)
    SessionState.objects.update(status=SessionState.Status.VALID, expires_at=configured_clock().now() + timedelta(1))
    desk.pass_time(1.1)
    assert deliver(intent.pk).state == IntentState.UNKNOWN
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(intent) == IntentState.DONE
    assert [each.outcome for each in intent.attempts.order_by("number")] == [
        AttemptOutcome.VOID,
        AttemptOutcome.ADOPTED,
    ]


def test_a_gtt_that_was_taken_and_is_first_seen_the_next_day_is_done(
    desk: GttDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = deliver(desk.gtt().pk)
    monkeypatch.setattr(scripted_broker, "OPEN_MARKET", scripted_broker.OPEN_MARKET + timedelta(days=1))
    desk.recover_after(timedelta(days=1).total_seconds())
    assert state_of(intent) == IntentState.DONE


def test_a_lost_gtt_is_looked_for_while_a_person_is_asked(desk: GttDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.recover_after(MUST_SHOW_SECONDS + visibility.PROVING + 1)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    request = desk.adapter.sent[0]
    assert isinstance(request, GttRequest)
    desk.adapter.gtts.accept(request, intent.created_at)
    monkeypatch.setattr(scripted_broker, "OPEN_MARKET", scripted_broker.OPEN_MARKET + timedelta(days=1))
    desk.pass_time(timedelta(days=1).total_seconds())
    assert halting.in_doubt(Scope.EVERYTHING, "") == 1, "it may trigger on any day"
    assert list(book.accounts_to_follow(desk.gateway.clock.now())) == [desk.account]
    desk.read()
    decisions.adopt(intent, "0000000000000001", by="tester", reason="seen in the broker's app")
    assert state_of(intent) == IntentState.DONE
    assert halting.in_doubt(Scope.EVERYTHING, "") == 0


def test_two_entries_that_differ_in_their_price_are_a_persons_to_tell_apart(desk: GttDesk) -> None:
    desk.adapter.script = [drops, takes_and_drops]
    lost = [deliver(desk.three_leg(f"t{price}", limit_price=price).pk) for price in ("100", "99")]
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert [state_of(each) for each in lost] == [IntentState.NEEDS_HUMAN] * 2, "the GTT book states no entry's price"
    assert "other lost GTTs" in lost[0].events.latest("sequence").cause


def test_two_gtts_that_look_alike_are_not_under_way_together(desk: GttDesk) -> None:
    desk.adapter.script = [takes_and_drops]
    deliver(desk.gtt("g1").pk)
    second = deliver(desk.gtt("g2").pk)
    assert (second.state, len(desk.adapter.sent)) == (IntentState.READY, 1)
    assert "looks the same" in second.waiting_reason


def test_an_entry_looks_like_the_order_it_is(desk: GttDesk) -> None:
    desk.adapter.script = [takes_and_drops]
    deliver(desk.three_leg().pk)
    order = desk.send("k1", side="B", quantity=65, limit_price="100")
    assert (order.state, len(desk.adapter.sent)) == (IntentState.READY, 1)


def test_a_book_that_cannot_be_read_says_nothing(desk: GttDesk) -> None:
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.adapter.gtts.script = [BrokerUnavailable("No answer.")] * 3
    for _ in range(3):
        desk.recover_after(MUST_SHOW_SECONDS)
    assert state_of(intent) == IntentState.UNKNOWN
    assert "No answer" in desk.account.gtt_book.problem


def test_a_person_is_asked_in_time_about_a_book_that_cannot_be_read(desk: GttDesk) -> None:
    desk.adapter.script = [drops]
    intent = deliver(desk.gtt().pk)
    desk.adapter.gtts.script = [BrokerUnavailable("No answer.")] * 2
    desk.recover_after(timedelta(hours=5, minutes=15).total_seconds())
    assert state_of(intent) == IntentState.UNKNOWN
    desk.recover_after(timedelta(minutes=16).total_seconds())
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    assert "before the end of the session" in intent.events.latest("sequence").cause


# Changes and cancels


def test_a_change_is_done_when_the_book_shows_its_prices(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    change = deliver(desk.change(gtt).pk)
    sent = desk.adapter.sent[-1]
    assert isinstance(sent, GttChange)
    assert (sent.triggers[0].trigger_price, sent.triggers[0].limit_price) == (Decimal(92), Decimal("91.5"))
    desk.read()
    assert state_of(change) == IntentState.DONE


def test_a_change_of_one_price_keeps_the_change_before_it(desk: GttDesk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    _, gtt = desk.placed(reduce_only=True)
    first = deliver(desk.change(gtt, "m1", ORDER=("92", None)).pk)
    second = deliver(desk.change(gtt, "m2", ORDER=(None, "91.5")).pk)
    sent = desk.adapter.sent[-1]
    assert isinstance(sent, GttChange)
    assert (sent.triggers[0].trigger_price, sent.triggers[0].limit_price) == (Decimal(92), Decimal("91.5"))
    desk.read()
    assert state_of(first) == state_of(second) == IntentState.DONE
    assert "a later change" in first.closed_reason
    assert not Alert.objects.exists()


def test_a_change_that_the_book_does_not_show_waits_behind_a_later_one(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    before = desk.adapter.gtts.rows[gtt.gtt_order_id]
    changes = [deliver(desk.change(gtt, f"m{price}", ORDER=(price, None)).pk) for price in ("92", "93")]
    after, desk.adapter.gtts.rows[gtt.gtt_order_id] = desk.adapter.gtts.rows[gtt.gtt_order_id], before
    desk.read()
    assert {state_of(each) for each in changes} == {IntentState.WORKING}
    desk.adapter.gtts.rows[gtt.gtt_order_id] = after
    desk.read()
    assert {state_of(each) for each in changes} == {IntentState.DONE}


def test_a_change_names_a_trigger_that_there_is(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    with pytest.raises(OrderDenied, match="no target"):
        desk.change(gtt, TARGET=("120", None))
    with pytest.raises(OrderDenied, match="Nothing to modify"):
        desk.change(gtt, ORDER=(None, None))


def test_only_gtts_of_ours_that_are_active_are_touched(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    GttOrder.objects.update(origin=GttOrder.Origin.EXTERNAL)
    with pytest.raises(OrderDenied, match="cancel or change it in the broker"):
        desk.cancel(gtt)
    GttOrder.objects.update(origin=GttOrder.Origin.OURS, status=GttStatus.TRIGGERED)
    with pytest.raises(OrderDenied, match=r"it is triggered\. Nothing is to be cancelled or changed"):
        desk.cancel(gtt)


def test_a_cancel_that_comes_too_late_says_so(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    cancel = desk.cancel(gtt)
    desk.adapter.script = [lambda adapter, operation: adapter.gtts.accept(_again(operation), desk.gateway.clock.now())]
    deliver(cancel.pk)
    desk.adapter.gtts.end(gtt.gtt_order_id, GttStatus.TRIGGERED)
    desk.read()
    assert state_of(cancel) == IntentState.REJECTED
    assert "too late" in cancel.closed_reason


def _again(operation: object) -> GttCancel:
    assert isinstance(operation, GttCancel)
    return operation


@pytest.mark.parametrize("lost", [takes_and_drops, drops])
def test_a_cancel_whose_answer_was_lost_is_settled_by_the_book(desk: GttDesk, lost: Any) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [lost]
    cancel = deliver(desk.cancel(gtt).pk)
    assert cancel.state == IntentState.UNKNOWN
    desk.recover_after(25)
    if lost is takes_and_drops:
        assert state_of(cancel) == IntentState.DONE
        return
    assert state_of(cancel) == IntentState.READY, "a cancel may be sent as often as it takes"
    deliver(cancel.pk)
    desk.recover_after(25)
    assert state_of(cancel) == IntentState.DONE


def is_told(kind: str) -> bool:
    return Alert.objects.filter(kind=kind, acknowledged_at=None).exists()


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (GttStatus.CANCELLED, IntentState.DONE),
        (GttStatus.TRIGGERED, IntentState.REJECTED),
        (GttStatus.ACTIVE, IntentState.NOT_PLACED),
    ],
)
def test_a_lost_cancel_that_is_given_up_is_what_the_gtt_book_says(
    desk: GttDesk, status: GttStatus, ends: IntentState
) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [drops]
    cancel = deliver(desk.cancel(gtt).pk)
    desk.recover_after(25)
    cancel.refresh_from_db()
    assert not operations.withdraw(cancel, cause="the strategy changed its mind")
    assert state_of(cancel) == IntentState.ABSENT, "it may have been taken all the same"
    if status is not GttStatus.ACTIVE:
        desk.adapter.gtts.end(gtt.gtt_order_id, status)
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(cancel) == ends
    assert is_told("cancel_not_taken") == (ends is IntentState.NOT_PLACED), "the GTT may still trigger"


@pytest.mark.parametrize("lost", [takes_and_drops, drops])
def test_a_change_whose_answer_was_lost_is_settled_by_the_book(desk: GttDesk, lost: Any) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [lost]
    change = deliver(desk.change(gtt).pk)
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    desk.recover_after(61)
    assert state_of(change) == (IntentState.DONE if lost is takes_and_drops else IntentState.NOT_PLACED)
    assert len(desk.adapter.sent) == 2, "a change is not sent again"
    assert is_told("change_not_taken") == (lost is drops)


@pytest.mark.parametrize("wish", ["cancel", "change"])
def test_a_lost_wish_about_a_gtt_that_is_not_shown_is_a_persons_to_decide(desk: GttDesk, wish: str) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [takes_and_drops]
    intent = deliver((desk.cancel(gtt) if wish == "cancel" else desk.change(gtt)).pk)
    desk.adapter.gtts.hidden.add(gtt.gtt_order_id)
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(intent) == IntentState.UNKNOWN
    desk.recover_after(visibility.PROVING + 61)
    assert state_of(intent) == IntentState.NEEDS_HUMAN
    assert desk.cancel(gtt, "c2").state == IntentState.READY, "nothing keeps it from being cancelled"


def test_a_cancel_that_was_taken_and_does_nothing_is_told_once(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [lambda adapter, operation: GttAck(gtt_order_id=_again(operation).gtt_order_id)]
    cancel = deliver(desk.cancel(gtt).pk)
    desk.recover_after(25)
    assert not Alert.objects.filter(kind="gtt_not_cancelled").exists()
    desk.recover_after(MUST_SHOW_SECONDS)
    alert = Alert.objects.get(kind="gtt_not_cancelled")
    assert (alert.severity, alert.intent, gtt.gtt_order_id in alert.happened) == (Severity.CRITICAL, cancel, True)
    acknowledge([alert], by="tester", at=desk.gateway.clock.now())
    desk.recover_after(61)
    assert not Alert.objects.filter(kind="gtt_not_cancelled", acknowledged_at=None).exists()


def test_nobody_is_called_for_a_cancel_that_the_book_shows_late(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    desk.adapter.script = [lambda adapter, operation: GttAck(gtt_order_id=_again(operation).gtt_order_id)]
    cancel = deliver(desk.cancel(gtt).pk)
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    desk.adapter.gtts.end(gtt.gtt_order_id, GttStatus.CANCELLED)
    desk.read()
    assert state_of(cancel) == IntentState.DONE
    assert Alert.objects.get(kind="gtt_not_cancelled").acknowledged_by.startswith("mcube")


@pytest.mark.parametrize("moved", [0, 1])
def test_a_lost_change_that_the_book_shows_in_part_is_a_persons_to_decide(desk: GttDesk, moved: int) -> None:
    deliver(desk.three_leg().pk)
    desk.read()
    gtt = GttOrder.objects.get()
    desk.adapter.script = [drops]
    change = deliver(desk.change(gtt, TARGET=("121", "120.5"), STOP=("91", "90.5")).pk)
    row = desk.adapter.gtts.rows[gtt.gtt_order_id]
    legs = list(row.legs)
    legs[moved] = replace(legs[moved], trigger_price=legs[moved].trigger_price + 1)
    desk.adapter.gtts.rows[gtt.gtt_order_id] = replace(row, legs=tuple(legs))
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(change) == IntentState.NEEDS_HUMAN
    assert "neither its old prices nor the new ones" in change.events.latest("sequence").cause


def test_a_lost_change_after_one_that_was_taken_is_held_against_both(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    taken = deliver(desk.change(gtt).pk)
    desk.adapter.script = [drops]
    lost = deliver(desk.change(gtt, "m2", ORDER=("94", "93.5")).pk)
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(taken) == IntentState.DONE
    assert state_of(lost) == IntentState.NOT_PLACED


# The book


def test_what_a_gtt_sent_is_not_taken_for_a_lost_order(desk: GttDesk) -> None:
    desk.placed(limit_price="100.5", trigger_price="101")
    desk.adapter.script = [drops]
    lost = desk.send("k1", side="S", limit_price="100.50")
    sent = desk.adapter.sent[-1]
    desk.adapter.book["000009"] = book_row("000009", sent, client_tag="", placed_at=desk.gateway.clock.now())  # type: ignore[arg-type]
    desk.adapter.book["000008"] = foreign_row("000008")
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(lost) == IntentState.NEEDS_HUMAN
    assert "a GTT may have sent that" in lost.events.latest("sequence").cause


def test_what_a_lost_gtt_sent_is_not_taken_for_a_lost_order(desk: GttDesk) -> None:
    desk.adapter.script = [drops, drops]
    deliver(desk.gtt(limit_price="100.5", trigger_price="101").pk)
    lost = desk.send("k1", side="S", limit_price="100.50")
    sent = desk.adapter.sent[-1]
    desk.adapter.book["000009"] = book_row("000009", sent, client_tag="", placed_at=desk.gateway.clock.now())  # type: ignore[arg-type]
    desk.adapter.book["000008"] = foreign_row("000008")
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(lost) == IntentState.NEEDS_HUMAN
    assert "a GTT may have sent that" in lost.events.latest("sequence").cause


def test_the_entry_of_a_cancelled_gtt_is_not_taken_for_a_lost_order(desk: GttDesk) -> None:
    deliver(desk.three_leg().pk)
    number = next(iter(desk.adapter.gtts.rows))
    desk.adapter.gtts.rows[number] = desk.adapter.gtts.named(number, "000009")
    desk.adapter.gtts.end(number, GttStatus.CANCELLED)
    desk.read()
    desk.adapter.script = [drops]
    lost = desk.send("k1", limit_price="100")
    sent = desk.adapter.sent[-1]
    desk.adapter.book["000009"] = book_row("000009", sent, client_tag="", placed_at=desk.gateway.clock.now())  # type: ignore[arg-type]
    desk.adapter.book["000008"] = foreign_row("000008")
    desk.recover_after(MUST_SHOW_SECONDS + 1)
    assert state_of(lost) == IntentState.NEEDS_HUMAN


def test_the_entry_of_a_gtt_of_ours_is_ours(desk: GttDesk) -> None:
    deliver(desk.three_leg().pk)
    number = next(iter(desk.adapter.gtts.rows))
    desk.adapter.book["000007"] = foreign_row("000007", symbol=CALL, exchange="NFO", quantity=65)
    desk.sync()
    desk.adapter.gtts.rows[number] = desk.adapter.gtts.named(number, "000007")
    desk.read()
    assert BrokerOrder.objects.get(broker_order_id="000007").origin == BrokerOrder.Origin.OURS
    assert desk.gateway.cancel_order("000007")


def test_a_gtt_that_is_over_stays_over(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    before = desk.adapter.gtts.rows[gtt.gtt_order_id]
    desk.adapter.gtts.end(gtt.gtt_order_id, GttStatus.CANCELLED)
    desk.read()
    desk.adapter.gtts.rows[gtt.gtt_order_id] = before
    desk.read()
    gtt.refresh_from_db()
    assert gtt.status == GttStatus.CANCELLED


# What people are told


def told(kind: str) -> list[Alert]:
    return list(Alert.objects.filter(kind=kind, acknowledged_at=None))


@pytest.mark.parametrize("end", [GttStatus.REJECTED, GttStatus.EXPIRED, GttStatus.CANCELLED, GttStatus.UNKNOWN])
def test_the_end_of_a_gtt_that_nobody_asked_for_is_told_once(desk: GttDesk, end: GttStatus) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    _, exit_gtt = desk.placed("g1", reduce_only=True)
    _, entry_gtt = desk.placed("g2", trigger_price="80", limit_price="79.5")
    for gtt in (exit_gtt, entry_gtt):
        desk.adapter.gtts.end(gtt.gtt_order_id, end)
    desk.read()
    desk.read()
    alerts = told("gtt_ended")
    assert [(each.severity, each.count) for each in alerts] == [(Severity.CRITICAL, 1), (Severity.WARNING, 1)]
    assert f"GTT {exit_gtt} of 65 {CALL}" in alerts[0].happened
    assert end.lower() in alerts[0].happened


def test_what_a_gtt_already_was_when_it_was_first_seen_is_told(desk: GttDesk) -> None:
    deliver(desk.three_leg().pk)
    desk.adapter.gtts.end("0000000000000001", GttStatus.REJECTED)
    desk.read()
    (alert,) = told("gtt_ended")
    assert (alert.severity, alert.count) == (Severity.CRITICAL, 1)


def test_a_word_that_is_known_again_closes_its_alert(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    row = desk.adapter.gtts.rows[gtt.gtt_order_id]
    desk.adapter.gtts.end(gtt.gtt_order_id, GttStatus.UNKNOWN)
    desk.read()
    assert "does not know" in told("gtt_ended")[0].happened
    desk.adapter.gtts.rows[gtt.gtt_order_id] = row
    desk.read()
    assert not told("gtt_ended")


def test_a_leg_that_ends_beside_an_active_one_is_told(desk: GttDesk) -> None:
    gtt = desk.entered()
    desk.adapter.gtts.end_leg(gtt.gtt_order_id, GttRole.STOP, GttStatus.REJECTED)
    desk.read()
    (alert,) = told("gtt_ended")
    assert (alert.severity, "its stop, SELL at 90, is rejected" in alert.happened) == (Severity.CRITICAL, True)
    assert "target" not in alert.happened


@pytest.mark.parametrize("why", ["our cancel", "the other leg", "nothing was entered"])
def test_an_end_that_was_to_come_is_told_to_nobody(desk: GttDesk, why: str) -> None:
    gtt = desk.entered()
    if why == "our cancel":
        deliver(desk.cancel(gtt).pk)
    elif why == "the other leg":
        desk.adapter.gtts.end_leg(gtt.gtt_order_id, GttRole.TARGET, GttStatus.TRIGGERED)
        desk.adapter.gtts.end_leg(gtt.gtt_order_id, GttRole.STOP, GttStatus.CANCELLED)
    else:
        desk.set_book(gtt.entry_order_id, status=OrderStatus.CANCELLED)
        desk.sync()
        desk.adapter.gtts.end(gtt.gtt_order_id, GttStatus.CANCELLED)
    desk.read()
    gtt.refresh_from_db()
    assert GttStatus(gtt.status).is_over
    assert not told("gtt_ended")


def test_a_gtt_that_its_book_does_not_show_any_more_is_told_until_it_shows_again(desk: GttDesk) -> None:
    _, gtt = desk.placed()
    desk.adapter.gtts.hidden.add(gtt.gtt_order_id)
    for _ in range(2):
        desk.pass_time(300)
        desk.read()
    (alert,) = told("gtt_not_shown")
    assert (alert.severity, alert.count, f"GTT {gtt}" in alert.happened) == (Severity.WARNING, 1, True)
    acknowledge([alert], by="anna", at=desk.gateway.clock.now())
    desk.pass_time(300)
    desk.read()
    assert not told("gtt_not_shown"), "who has seen it is not called again"
    for vanished in range(2):
        desk.adapter.gtts.hidden.clear()
        desk.pass_time(300)
        desk.read()
        assert not told("gtt_not_shown")
        desk.adapter.gtts.hidden.add(gtt.gtt_order_id)
        desk.pass_time(300)
        desk.read()
        assert len(told("gtt_not_shown")) == 1, vanished


@pytest.mark.parametrize("trades", BrokerAccount.ManualTrading)
def test_a_gtt_that_nobody_placed_is_told_where_nobody_trades(desk: GttDesk, trades: str) -> None:
    BrokerAccount.objects.update(manual_trading=trades)
    desk.account.refresh_from_db()
    desk.placed()
    request = desk.adapter.sent[0]
    assert isinstance(request, GttRequest)
    desk.adapter.gtts.accept(request, desk.gateway.clock.now())
    desk.read()
    assert bool(told("unexplained_gtt")) == (trades == BrokerAccount.ManualTrading.NONE)


def test_a_gtt_whose_answer_is_lost_is_no_stranger(desk: GttDesk) -> None:
    desk.adapter.script = [takes_and_drops]
    deliver(desk.gtt().pk)
    desk.read()
    assert not told("unexplained_gtt")


# How far, and how often


def test_the_book_is_asked_for_as_far_back_as_the_oldest_active_gtt(desk: GttDesk) -> None:
    desk.placed()
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    placed_on = clock.now().date()
    clock.set(clock.now() + timedelta(days=9))
    assert book.first_day(desk.account, clock.now()) == placed_on
    GttOrder.objects.update(status=GttStatus.CANCELLED)
    assert book.first_day(desk.account, clock.now()) == clock.now().date()


def test_active_gtts_are_followed_every_five_minutes(desk: GttDesk) -> None:
    desk.placed()
    now = desk.gateway.clock.now()
    assert not book.accounts_to_follow(now).exists()
    assert book.accounts_to_follow(now + book.QUIET_EVERY + timedelta(seconds=1)).exists()
    GttOrder.objects.update(status=GttStatus.TRIGGERED)
    assert not book.accounts_to_follow(now + timedelta(hours=1)).exists()


def test_a_gtt_whose_day_ended_unseen_is_a_persons_to_decide(desk: GttDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = deliver(desk.gtt().pk)
    monkeypatch.setattr(scripted_broker, "OPEN_MARKET", scripted_broker.OPEN_MARKET + timedelta(days=1))
    desk.adapter.gtts.hidden.update(desk.adapter.gtts.rows)
    desk.recover_after(timedelta(days=1).total_seconds())
    assert state_of(intent) == IntentState.NEEDS_HUMAN


def test_a_gtt_that_is_seen_after_a_person_was_asked_can_be_adopted(
    desk: GttDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = deliver(desk.gtt().pk)
    monkeypatch.setattr(scripted_broker, "OPEN_MARKET", scripted_broker.OPEN_MARKET + timedelta(days=1))
    desk.adapter.gtts.hidden.update(desk.adapter.gtts.rows)
    desk.recover_after(timedelta(days=1).total_seconds())
    number = GttOrder.objects.get().gtt_order_id
    with pytest.raises(OrderDenied, match="in no GTT book"):
        decisions.adopt(intent, number, by="tester", reason="the broker's app shows it")
    desk.adapter.gtts.hidden.clear()
    desk.adapter.gtts.rows["0000000000000002"] = replace(
        desk.adapter.gtts.rows[number], gtt_order_id="0000000000000002"
    )
    desk.read()
    assert {row["broker_order_id"] for row in decisions.evidence(intent)["candidates"]} >= {number}
    with pytest.raises(OrderDenied, match="taken as GTT"):
        decisions.adopt(intent, "0000000000000002", by="tester", reason="the broker's app shows it")
    decisions.adopt(intent, number, by="tester", reason="the broker's app shows it")
    assert state_of(intent) == IntentState.DONE


def test_a_trigger_may_lie_outside_todays_band(desk: GttDesk) -> None:
    InstrumentRecord.objects.filter(symbol=CALL).update(lower_band=Decimal(95), upper_band=Decimal(110))
    instruments.lookup().forget()
    assert deliver(desk.gtt().pk).state == IntentState.WORKING
    with pytest.raises(OrderDenied, match="below the day's band"):
        desk.three_leg(limit_price="90")
