"""An order is recorded before it is sent, sent at most once, and never forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, transaction

from brokers import outcome
from brokers.clock import IST, SimulatedClock, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus, Side
from brokers.domain.errors import (
    IdempotencyConflict,
    InvalidSymbol,
    MarketClosed,
    NotSent,
    OrderDenied,
    OrderOutcomeUnknown,
    OrderRejected,
    SessionExpired,
)
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.domain.orders import Fill, OrderChange, OrderRequest
from brokers.factory import BrokerFactory
from brokers.ledger import book, delivery, operations, queries
from brokers.ledger.delivery import deliver
from brokers.ledger.settlement import MAX_TRIES
from brokers.ledger.transitions import StaleIntent
from brokers.models import (
    BrokerAccount,
    BrokerOrder,
    OrderAttempt,
    OrderEvent,
    OrderIntent,
    OrderRateGate,
    SessionState,
    TradeFill,
)
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, Ack, ScriptedAdapter

pytestmark = pytest.mark.django_db


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@pytest.fixture
def desk(broker: str) -> Desk:
    """An account with a scripted broker, and short words for what a strategy does."""
    account, adapter = scripted_broker.install(broker)
    return Desk(account, adapter)


class Desk:
    def __init__(self, account: BrokerAccount, adapter: ScriptedAdapter) -> None:
        self.account = account
        self.adapter = adapter
        self.gateway = BrokerFactory.get_broker(account.broker, account.name)

    def record(self, key: str = "k1", **changes: Any) -> OrderIntent:
        order: dict[str, Any] = {
            "symbol": CALL,
            "side": "B",
            "quantity": 65,
            "order_type": "LIMIT",
            "limit_price": "100.50",
            "client_order_id": key,
        }
        return operations.record_place(broker=self.account.broker, account="default", **(order | changes))

    def send(self, key: str = "k1", **changes: Any) -> OrderIntent:
        return deliver(self.record(key, **changes).pk)

    def pass_time(self, seconds: float) -> None:
        clock = configured_clock()
        assert isinstance(clock, SimulatedClock)
        clock.set(clock.now() + timedelta(seconds=seconds))

    def sync(self) -> int:
        return book.sync_orders(self.account.pk)

    def set_book(self, number: str, **changes: Any) -> None:
        self.adapter.book[number] = replace(self.adapter.book[number], **changes)


# Recording


def test_the_same_key_twice_is_one_order(desk: Desk) -> None:
    first, second = desk.record(), desk.record()
    assert first.pk == second.pk
    deliver(first.pk)
    assert deliver(desk.record().pk).state == IntentState.WORKING
    assert len(desk.adapter.sent) == 1


def test_the_same_key_with_other_content_is_refused(desk: Desk) -> None:
    desk.record()
    with pytest.raises(IdempotencyConflict, match="'k1' already stands for"):
        desk.record(quantity=130)
    assert OrderIntent.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"symbol": "NIFTY26DEC26000CX"}, InvalidSymbol, "NIFTY26DEC26000CE"),
        ({"quantity": 64}, OrderDenied, "not a multiple of its lot of 65"),
        ({"quantity": -65}, OrderDenied, "above zero"),
        ({"quantity": 1820}, OrderDenied, "freeze quantity of 1800"),
        ({"limit_price": "-1"}, OrderDenied, "above zero"),
        ({"limit_price": "nan"}, OrderDenied, "not a finite number"),
        ({"limit_price": "100.52"}, OrderDenied, "tick of 0.05"),
        ({"limit_price": None}, OrderDenied, "needs a price"),
        ({"order_type": "MARKET"}, OrderDenied, "takes no price"),
        ({"order_type": "SL"}, OrderDenied, "needs a trigger price"),
        ({"order_type": "SL", "trigger_price": "101"}, OrderDenied, "do not go together"),
        ({"trigger_price": "100"}, OrderDenied, "Only a STOP_LIMIT"),
        ({"side": "HOLD"}, OrderDenied, "is not a Side"),
        ({"time_in_force": "GTC"}, OrderDenied, "is not a TimeInForce"),
        ({"product": "BO"}, OrderDenied, "is not a Product"),
        ({"client_order_id": ""}, OrderDenied, "Client order id"),
        ({"client_order_id": "x" * 65}, OrderDenied, "Client order id"),
        ({"client_order_id": "a\nb"}, OrderDenied, "Client order id"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    desk: Desk, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        desk.record(**changes)
    assert not OrderIntent.objects.exists()
    assert not OrderEvent.objects.exists()


def test_the_tag_is_the_intent_s_for_life_and_differs_from_every_other(desk: Desk) -> None:
    tags = {desk.record(f"k{number}").client_tag for number in range(20)}
    assert len(tags) == 20
    assert all(len(tag) == 16 and tag.isalnum() for tag in tags)
    assert desk.record("k0").client_tag in tags


# Sending


def test_an_accepted_order_is_working_with_its_evidence(desk: Desk) -> None:
    intent = desk.send()
    attempt = intent.attempts.get()
    assert (intent.state, attempt.outcome) == (IntentState.WORKING, AttemptOutcome.ACKED)
    assert attempt.broker_order.broker_order_id == "000001"
    assert attempt.pid == os.getpid()
    assert attempt.first_byte_at is not None


def test_the_attempt_is_committed_before_the_order_leaves(desk: Desk) -> None:
    seen: list[str] = []

    def look(adapter: ScriptedAdapter, operation: Any) -> Ack:
        seen.append(OrderAttempt.objects.get().outcome)
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [look]
    desk.send()
    assert seen == [AttemptOutcome.ARMED]


def test_a_lost_answer_is_unknown_and_is_never_sent_again(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    intent = desk.send()
    assert intent.state == IntentState.UNKNOWN
    for _ in range(3):
        assert deliver(intent.pk).state == IntentState.UNKNOWN
    assert list(queries.unknown()) == [intent]
    for _ in range(3):
        desk.pass_time(3)
        assert operations.sweep() == []
        assert deliver(intent.pk).state == IntentState.UNKNOWN
    assert len(desk.adapter.sent) == 1


def test_an_error_nobody_foresaw_is_unknown_once_a_byte_has_left(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.raises(ZeroDivisionError(), left=True)]
    with pytest.raises(ZeroDivisionError):
        desk.send()
    assert OrderIntent.objects.get().state == IntentState.UNKNOWN


def test_a_time_limit_in_mid_flight_is_unknown_and_is_raised_on(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.raises(SoftTimeLimitExceeded(), left=True)]
    with pytest.raises(SoftTimeLimitExceeded):
        desk.send()
    assert OrderIntent.objects.get().state == IntentState.UNKNOWN


def test_a_claim_of_not_sent_is_not_believed_when_a_byte_has_left(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.raises(NotSent("no"), left=True)]
    assert desk.send().state == IntentState.UNKNOWN


def test_a_refusal_keeps_the_broker_s_words(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.refuses("insufficient funds")]
    intent = desk.send()
    assert intent.state == IntentState.REFUSED
    assert intent.attempts.get().reply_text == "insufficient funds"


def test_what_never_left_is_tried_again_with_the_same_tag_three_times_at_most(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.never_leaves] * 5
    intent = desk.send()
    assert intent.state == IntentState.READY
    assert intent.waiting_reason == "The broker refused the connection."
    for _ in range(4):
        desk.pass_time(1.1)
        intent = deliver(intent.pk)
    assert intent.state == IntentState.LAPSED
    assert len(desk.adapter.sent) == MAX_TRIES
    assert {request.client_tag for request in desk.adapter.sent if isinstance(request, OrderRequest)} == {
        intent.client_tag
    }


def test_nothing_is_sent_after_its_time(desk: Desk) -> None:
    intent = desk.record()
    desk.pass_time(31)
    assert deliver(intent.pk).state == IntentState.LAPSED
    assert not desk.adapter.sent


def lapsed(desk: Desk) -> str:
    """Let the one order's time run out; returns why it was not sent, as its row and its last event say."""
    desk.pass_time(31)
    assert operations.sweep() == []
    intent = OrderIntent.objects.get()
    assert intent.state == IntentState.LAPSED
    event = intent.events.get(to_state=IntentState.LAPSED)
    assert event.cause == intent.closed_reason[:300]
    return intent.closed_reason


def test_an_order_that_lapses_says_until_when_and_what_it_waited_for(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.never_leaves]
    desk.send()
    assert lapsed(desk) == "its time ran out at 10:00:30 IST: The broker refused the connection."


def test_an_order_that_no_worker_took_says_where_to_look(desk: Desk) -> None:
    desk.record()
    assert lapsed(desk) == "its time ran out at 10:00:30 IST: no worker took it in time; see `manage.py status`"


def test_the_longest_reason_to_wait_fits_into_the_reason_to_lapse(desk: Desk) -> None:
    longest = OrderIntent._meta.get_field("waiting_reason").max_length
    assert longest is not None
    desk.record()
    OrderIntent.objects.update(waiting_reason="x" * longest)
    assert lapsed(desk) == f"its time ran out at 10:00:30 IST: {'x' * longest}"[:500]


def test_a_caller_is_told_once_what_an_order_that_lapsed_waited_for(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.never_leaves]
    intent = desk.send()
    desk.pass_time(31)
    with pytest.raises(NotSent) as told:
        outcome.wait_for(intent.pk, wait=lambda seconds: None, monotonic=lambda: 0.0)
    why = "its time ran out at 10:00:30 IST: The broker refused the connection."
    assert told.value.message == f"The order was not sent: {why}"


@pytest.mark.parametrize("place", ["_arm", "_send"])
def test_i3_a_sender_that_froze_after_it_armed_sends_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whether arming took long, or the process stood still after it: what is judged later counts from arming."""
    real, seconds = getattr(delivery, place), [0.0]

    def slow(*arguments: Any) -> Any:
        if place == "_send":
            seconds[0] = delivery.SEND_SECONDS
        result = real(*arguments)
        seconds[0] = delivery.SEND_SECONDS
        return result

    monkeypatch.setattr(SimulatedClock, "monotonic", lambda clock: seconds[0])
    monkeypatch.setattr(delivery, place, slow)
    intent = desk.send()
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.READY, AttemptOutcome.NOT_SENT)
    assert "send deadline" in intent.waiting_reason
    assert not desk.adapter.book


def test_an_order_whose_time_runs_out_while_it_is_armed_says_until_when_it_had(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = delivery._arm

    def slow(*arguments: Any) -> Any:
        attempt = real(*arguments)
        desk.pass_time(31)
        return attempt

    monkeypatch.setattr(SimulatedClock, "monotonic", lambda clock: 0.0)
    monkeypatch.setattr(delivery, "_arm", slow)
    intent = desk.send()
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.READY, AttemptOutcome.NOT_SENT)
    assert f"its time ended at {intent.not_after.astimezone(IST):%H:%M:%S} IST." in intent.waiting_reason
    assert not desk.adapter.book


def test_an_order_outside_market_hours_is_denied_with_the_next_opening(desk: Desk) -> None:
    intent = desk.record(not_after=configured_clock().now() + timedelta(hours=12))
    desk.pass_time(6 * 3600)
    denied = deliver(intent.pk)
    assert denied.state == IntentState.DENIED
    assert "NFO" in denied.closed_reason
    assert not desk.adapter.sent


def test_a_paused_account_sends_nothing(desk: Desk) -> None:
    intent = desk.record()
    desk.account.is_active = False
    desk.account.save()
    assert deliver(intent.pk).state == IntentState.DENIED


def test_a_market_order_leaves_as_a_protected_limit(desk: Desk) -> None:
    intent = desk.send(order_type="MKT", limit_price=None)
    request = desk.adapter.sent[0]
    assert isinstance(request, OrderRequest)
    assert (request.order_type, request.limit_price) == ("LIMIT", Decimal("103.00"))
    assert intent.attempts.get().sent_price == Decimal("103.00")


def test_a_market_order_without_a_price_is_denied(desk: Desk) -> None:
    desk.adapter.price = None
    assert desk.send(order_type="MKT", limit_price=None).state == IntentState.DENIED


def test_no_second_carries_more_orders_than_the_account_may_send(desk: Desk) -> None:
    desk.account.orders_per_second = 3
    desk.account.save()
    intents = [desk.record(f"k{number}", quantity=65 * (1 + number)) for number in range(5)]
    for intent in intents:
        deliver(intent.pk)
    sent_at = sorted(OrderAttempt.objects.values_list("armed_at", flat=True))
    for moment in sent_at:
        within = [other for other in sent_at if moment <= other < moment + timedelta(seconds=1)]
        assert len(within) <= desk.account.orders_per_second
    waiting = OrderIntent.objects.filter(state=IntentState.READY)
    assert waiting.exists()
    desk.pass_time(1.3)
    for intent in waiting:
        deliver(intent.pk)
    assert OrderIntent.objects.filter(state=IntentState.WORKING).count() == 5


def test_an_order_that_another_process_took_costs_no_token_of_the_rate(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost_the_race(*arguments: Any, **options: Any) -> None:
        raise StaleIntent("somebody else took it")

    intent = desk.record()
    with monkeypatch.context() as race:
        race.setattr(delivery, "move", lost_the_race)
        deliver(intent.pk)
    assert not OrderAttempt.objects.exists()
    assert not OrderRateGate.objects.filter(account=desk.account).exclude(recent_ms=[]).exists()


def test_a_lookalike_waits_where_the_broker_could_not_tell_them_apart(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    desk.send("k1")
    second = desk.send("k2")
    if specs()[desk.account.broker].capabilities.echoes_client_tag:
        assert second.state == IntentState.WORKING
    else:
        assert second.state == IntentState.READY
        assert "looks the same" in second.waiting_reason
        assert len(desk.adapter.sent) == 1


def test_a_refused_session_is_renewed_and_the_order_sent_once_more(desk: Desk) -> None:
    refuses = scripted_broker.raises(SessionExpired("The session is not valid."), left=True)
    desk.adapter.script = [refuses, refuses]
    intent = desk.send()
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.READY, AttemptOutcome.VOID)
    assert SessionState.objects.get().status == SessionState.Status.EXPIRED
    SessionState.objects.update(status=SessionState.Status.VALID, expires_at=configured_clock().now() + timedelta(1))
    desk.pass_time(1.1)
    intent = deliver(intent.pk)
    assert (intent.state, intent.attempts.count()) == (IntentState.REFUSED, 2)
    assert len({request.client_tag for request in desk.adapter.sent if isinstance(request, OrderRequest)}) == 1


def test_the_sweeper_rings_again_for_what_was_recorded_and_not_taken(desk: Desk) -> None:
    intent = desk.record()
    assert operations.sweep() == []
    desk.pass_time(3)
    assert operations.sweep() == [intent]
    desk.pass_time(60)
    assert operations.sweep() == []
    intent.refresh_from_db()
    assert intent.state == IntentState.LAPSED


def test_an_attempt_whose_sender_died_is_listed_and_not_judged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    intent = desk.record()

    def die(adapter: ScriptedAdapter, operation: Any) -> Ack:
        # What kill -9 leaves behind: an armed attempt and nobody to settle it.
        adapter.leave()
        raise Killed

    desk.adapter.script = [die]
    monkeypatch.setattr(delivery, "settle", lambda *arguments: None)
    with pytest.raises(Killed):
        deliver(intent.pk)
    desk.pass_time(60)
    assert operations.sweep() == []
    assert deliver(intent.pk).state == IntentState.ARMED
    assert [attempt.intent_id for attempt in queries.overdue(configured_clock().now())] == [intent.pk]


# What callers of the factory are told


def test_the_factory_answers_with_the_broker_s_order_id(desk: Desk) -> None:
    order_id = desk.gateway.place_order(CALL, "B", 65, "LMT", 100.5)
    assert order_id == "000001"
    assert isinstance(order_id, str)


def test_the_factory_says_when_the_outcome_is_unknown(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    with pytest.raises(OrderOutcomeUnknown, match="do not send it again") as caught:
        desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5", client_order_id="mine")
    assert caught.value.client_order_id == "mine"


def test_the_factory_says_why_the_broker_refused(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.refuses("insufficient funds")]
    with pytest.raises(OrderRejected) as caught:
        desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5")
    assert caught.value.reason == "insufficient funds"


def test_a_repeated_call_with_the_same_key_gives_the_same_order(desk: Desk) -> None:
    first = desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5", client_order_id="mine")
    assert desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5", client_order_id="mine") == first
    assert len(desk.adapter.sent) == 1


# The book


def test_a_fill_in_the_book_ends_the_order(desk: Desk) -> None:
    intent = desk.send()
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65, average_price=Decimal("100.25"))
    desk.adapter.fills = [
        Fill(
            broker_order_id="000001",
            fill_id="f1",
            symbol=CALL,
            exchange="NFO",
            side=Side.BUY,
            quantity=65,
            price=Decimal("100.25"),
            filled_at=None,
        )
    ]
    desk.sync()
    desk.sync()
    intent.refresh_from_db()
    assert intent.state == IntentState.FILLED
    assert TradeFill.objects.count() == 1
    assert desk.adapter.reads.count("trades") == 1


def test_an_order_refused_after_its_acknowledgement_is_rejected_with_the_reason(desk: Desk) -> None:
    intent = desk.send()
    desk.set_book("000001", status=OrderStatus.REJECTED, reason="margin shortfall")
    desk.sync()
    intent.refresh_from_db()
    assert (intent.state, intent.closed_reason) == (IntentState.REJECTED, "margin shortfall")


def test_a_book_that_lags_behind_brings_no_ended_order_back(desk: Desk) -> None:
    intent = desk.send()
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    desk.set_book("000001", status=OrderStatus.OPEN, filled_quantity=0)
    desk.sync()
    intent.refresh_from_db()
    order = BrokerOrder.objects.get()
    assert (intent.state, order.status, order.filled_quantity) == (IntentState.FILLED, OrderStatus.FILLED, 65)


def test_an_unknown_status_ends_nothing(desk: Desk) -> None:
    intent = desk.send()
    desk.set_book("000001", status=OrderStatus.UNKNOWN, broker_status="sleeping")
    desk.sync()
    intent.refresh_from_db()
    assert intent.state == IntentState.WORKING


def test_somebody_else_s_order_is_seen_and_never_touched(desk: Desk) -> None:
    desk.adapter.book["999999"] = scripted_broker.foreign_row("999999")
    desk.sync()
    assert BrokerOrder.objects.get().origin == BrokerOrder.Origin.EXTERNAL
    told = "Order 999999 is not mcube's; cancel or change it in the broker's own app"
    with pytest.raises(OrderDenied, match=told):
        desk.gateway.cancel_order("999999")
    with pytest.raises(OrderDenied, match=told):
        desk.gateway.modify_order("999999", quantity=130)


def test_an_order_that_has_ended_is_neither_cancelled_nor_changed(desk: Desk) -> None:
    desk.send()
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    with pytest.raises(OrderDenied, match=r"is filled\. Nothing is to be cancelled or changed"):
        desk.gateway.cancel_order("000001")


def test_an_order_seen_before_its_acknowledgement_is_ours_in_the_end(desk: Desk) -> None:
    def seen_early(adapter: ScriptedAdapter, operation: Any) -> Ack:
        ack = scripted_broker.accepts(adapter, operation)
        book.apply_book(desk.account, adapter.book.values(), configured_clock().now())
        return ack

    desk.adapter.script = [seen_early]
    desk.send()
    assert BrokerOrder.objects.get().origin == BrokerOrder.Origin.OURS


def test_an_unknown_order_stays_unknown_whatever_the_book_shows(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    intent = desk.send()
    desk.sync()
    intent.refresh_from_db()
    assert intent.state == IntentState.UNKNOWN


# Cancel and modify


def test_a_cancel_is_done_when_the_book_says_so(desk: Desk) -> None:
    placed = desk.send()
    assert desk.gateway.cancel_order("000001") is True
    cancel = OrderIntent.objects.get(kind="CANCEL")
    assert cancel.state == IntentState.WORKING
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    desk.sync()
    placed.refresh_from_db()
    cancel.refresh_from_db()
    assert (placed.state, cancel.state) == (IntentState.CANCELLED, IntentState.DONE)
    assert desk.gateway.cancel_order("000001") is True


def test_a_cancel_that_lost_the_race_says_so(desk: Desk) -> None:
    desk.send()
    desk.gateway.cancel_order("000001")
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    cancel = OrderIntent.objects.get(kind="CANCEL")
    assert (cancel.state, cancel.closed_reason) == (IntentState.REJECTED, "too late: the order was filled first")


def test_a_second_cancel_is_the_first(desk: Desk) -> None:
    desk.send()
    one, two = (
        operations.record_cancel(
            broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id=key
        )
        for key in ("c1", "c2")
    )
    assert one.pk == two.pk


def test_a_cancel_passes_beside_a_change_whose_answer_was_lost(desk: Desk) -> None:
    desk.send()
    desk.adapter.script = [scripted_broker.takes_and_drops]
    with pytest.raises(OrderOutcomeUnknown):
        desk.gateway.modify_order("000001", price="101")
    assert desk.gateway.cancel_order("000001") is True
    with pytest.raises(OrderDenied, match="being cancelled"):
        desk.gateway.modify_order("000001", price="102")


def test_a_modify_sends_absolute_values_and_is_done_when_the_book_shows_them(desk: Desk) -> None:
    desk.send()
    desk.gateway.modify_order("000001", price="101.50")
    change = desk.adapter.sent[-1]
    assert isinstance(change, OrderChange)
    assert (change.quantity, change.limit_price) == (65, Decimal("101.50"))
    desk.set_book("000001", limit_price=Decimal("101.50"))
    desk.sync()
    assert OrderIntent.objects.get(kind="MODIFY").state == IntentState.DONE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({}, "Nothing to modify"), ({"price": "101.01"}, "tick of 0.05"), ({"quantity": 66}, "lot of 65")],
)
def test_a_wrong_modify_is_refused(desk: Desk, changes: dict[str, Any], sentence: str) -> None:
    desk.send()
    with pytest.raises(OrderDenied, match=sentence):
        desk.gateway.modify_order("000001", **changes)


def test_a_change_remembers_the_order_as_it_was_shown(desk: Desk) -> None:
    desk.send()
    desk.set_book("000001", status=OrderStatus.PARTIALLY_FILLED, filled_quantity=10)
    desk.sync()
    desk.gateway.modify_order("000001", price="101.50")
    shown = OrderIntent.objects.get(kind="MODIFY").target_before
    assert shown is not None
    assert {name: shown[name] for name in ("status", "filled_quantity", "quantity", "trigger_price")} == {
        "status": "PARTIALLY_FILLED",
        "filled_quantity": "10",
        "quantity": "65",
        "trigger_price": None,
    }
    assert Decimal(shown["limit_price"]) == Decimal("100.5")


def test_an_order_that_the_ledger_does_not_know_is_not_cancelled(desk: Desk) -> None:
    with pytest.raises(OrderDenied, match="sync the orders first"):
        desk.gateway.cancel_order("123")


# Evidence


def test_every_change_leaves_an_event_chained_to_the_one_before(desk: Desk) -> None:
    intent = desk.send()
    events = list(intent.events.order_by("sequence"))
    assert [event.to_state for event in events] == ["READY", "ARMED", "WORKING"]
    assert [event.previous_hash for event in events] == ["", events[0].hash, events[1].hash]
    intent.refresh_from_db()
    assert intent.last_event_hash == events[-1].hash


def test_the_database_refuses_to_change_or_delete_an_event(desk: Desk) -> None:
    desk.record()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        OrderEvent.objects.update(cause="nothing happened")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        OrderEvent.objects.all()._raw_delete("default")
    assert OrderEvent.objects.count() == 1


def test_the_database_refuses_a_second_live_attempt(desk: Desk) -> None:
    intent = desk.send()
    attempt = intent.attempts.get()
    attempt.pk, attempt.number, attempt.match_key = None, 2, "other"
    with pytest.raises(DatabaseError), transaction.atomic():
        attempt.save(force_insert=True)


def test_yesterday_s_instruments_serve_no_order(desk: Desk) -> None:
    desk.pass_time(48 * 3600)
    with pytest.raises(OrderDenied, match=r"The instruments are of 23 Nov 2026 and today is 25 Nov 2026; refresh"):
        desk.record()


def test_on_a_holiday_it_is_the_holiday_that_refuses_and_not_the_age_of_the_instruments(desk: Desk) -> None:
    desk.pass_time(24 * 3600)
    with pytest.raises(MarketClosed) as denied:
        desk.record()
    sentence = str(denied.value)
    assert sentence.startswith("NFO is closed at Tue 24 Nov 2026")
    assert sentence.endswith("(holiday: Guru Nanak Jayanti); it opens on Wed 25 Nov 2026 at 09:15 IST.")
    assert "refresh" not in sentence
    assert not OrderIntent.objects.exists()
