"""The faults under which other systems send an order twice, forget it, or take a failed read for an empty account.

One test for each row of ``docs/faults.md``, against both brokers through their real SDKs. In each the broker holds at
most one order an intent, the ledger says what is known, and a failed read is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from brokers import snapshots
from brokers.clock import configured_clock
from brokers.domain.enums import Product, Side
from brokers.domain.errors import (
    BrokerUnavailable,
    OrderDenied,
    OrderOutcomeUnknown,
    OrderRejected,
    RateLimited,
    SessionExpired,
)
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import delivery
from brokers.ledger.delivery import deliver
from brokers.models import MarginSnapshot, OrderIntent, PositionSnapshot
from brokers.models.snapshots import Snapshot
from tests.contract.customer import Customer
from tests.contract.world import IMPATIENT_SECONDS, Simulator, Trader

pytestmark = pytest.mark.django_db

#: A dead session in each broker's words, and words that only look like one.
DEAD = {
    "breeze": '{"Success":null,"Status":500,"Error":"Session expired, please log in again."}',
    "kotakneo": '{"stat":"Not_Ok","stCode":100022,"errMsg":"invalid session token"}',
}
NOT_OK = {
    "breeze": '{"Success":null,"Status":500,"Error":"Something went wrong."}',
    "kotakneo": '{"stat":"Not_Ok","stCode":1005,"errMsg":"internal error"}',
}
READS: dict[str, Callable[[Any], object]] = {
    "funds": lambda gateway: gateway.get_margin(),
    "positions": lambda gateway: gateway.get_positions(),
    "trades": lambda gateway: gateway.get_trades(),
    "order book": lambda gateway: gateway.get_orders(),
}
each_read = pytest.mark.parametrize("read", READS)
each_dead_session = pytest.mark.parametrize("status", [200, 401])


#: By how much the tests shorten the time in which an order must show up in the book, 180 seconds.
SCALE = 0.1
#: Longer than it takes to tell a person, and to find an order or prove it absent, at that scale.
TOLD_SECONDS, ANSWERED_SECONDS = 45, 120


@pytest.fixture
def customer(trader: Trader, simulator: Simulator, settings: Any) -> Iterator[Customer]:
    settings.HOME = simulator.home
    settings.BROKER_URLS = dict(simulator.urls)
    settings.SAFETY_SCALE = SCALE
    offset = trader.clock.offset()
    yield Customer(trader)
    BrokerFactory.close_all()
    trader.clock.set(trader.clock.real_now() + offset)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger waits for an answer for less than a second, so that a test need not wait longer."""
    monkeypatch.setattr(delivery, "ANSWER_SECONDS", IMPATIENT_SECONDS)


def _is_unknown_until_answered(customer: Customer, *, held: int) -> None:
    """The ledger says that it may be at the broker, with evidence; a person is told; the book answers, once it can.

    Whatever callers, queues and sweepers do meanwhile, nothing more is sent.
    """
    attempt = customer.intent.attempts.get()
    assert (customer.intent.state, attempt.outcome) == (IntentState.UNKNOWN, AttemptOutcome.UNKNOWN)
    assert attempt.first_byte_at is not None
    assert customer.place() is OrderOutcomeUnknown, "a caller who retries gets the same order"
    deliver(customer.intent.pk)
    customer.place(client_order_id="the positive control", quantity=2 * (customer.trader.option.lot_size or 0))
    customer.fail_reads("bad_gateway")
    customer.pass_time(TOLD_SECONDS)
    assert customer.intent.state == IntentState.UNKNOWN, "a book that cannot be read answers nothing"
    assert customer.alerts() == {"unknown", "cannot_see"}
    customer.reads_work()
    customer.pass_time(ANSWERED_SECONDS)
    assert customer.intent.state == (IntentState.WORKING if held else IntentState.NOT_PLACED)
    assert customer.alerts() == set()
    assert customer.held() == held + 1, "the control and the order itself, if the broker took it"


def test_accepted_then_the_connection_drops_and_the_caller_retries(customer: Customer) -> None:
    customer.trader.fault("drop", "place", when="after")
    assert customer.place() is OrderOutcomeUnknown
    assert customer.held() == 1
    _is_unknown_until_answered(customer, held=1)


def test_a_slow_broker_and_a_caller_who_gives_up_and_retries(customer: Customer, impatient: None) -> None:
    customer.trader.fault("delay", "place", when="after", seconds=20)
    assert customer.place() is OrderOutcomeUnknown
    assert customer.held() == 1
    _is_unknown_until_answered(customer, held=1)


def test_accepted_then_the_gateway_answers_502_and_the_caller_retries(customer: Customer) -> None:
    customer.trader.fault("bad_gateway", "place", when="after")
    assert customer.place() is OrderOutcomeUnknown
    assert customer.held() == 1
    _is_unknown_until_answered(customer, held=1)
    assert customer.intent.attempts.get().http_status == 502


def test_accepted_and_never_answered(customer: Customer, impatient: None) -> None:
    customer.trader.fault("hang", "place", when="after")
    began = customer.gateway.clock.monotonic()
    assert customer.place() is OrderOutcomeUnknown
    assert customer.gateway.clock.monotonic() - began < 10 * IMPATIENT_SECONDS, "the caller is told in time"
    assert customer.held() == 1
    _is_unknown_until_answered(customer, held=1)


@each_dead_session
def test_a_dead_session_takes_no_order(status: int, customer: Customer) -> None:
    customer.trader.fault("custom", "place", status=status, body=DEAD[customer.broker], count=0)
    assert customer.place() is OrderRejected
    assert customer.held() == 0
    assert customer.intent.state == IntentState.REFUSED
    assert {attempt.http_status for attempt in customer.intent.attempts.all()} == {status}
    assert customer.intent.attempts.count() <= 2, "once more after a new login, at most"
    assert customer.session.status == customer.session.Status.EXPIRED


def test_a_session_that_died_on_the_way_is_renewed_and_the_order_is_one(customer: Customer) -> None:
    before = customer.session.version
    customer.trader.fault("session_dead", "place")
    assert customer.place() in (OrderRejected, customer.placed_id())
    assert customer.place(client_order_id="the next one") == customer.placed_id("the next one")
    assert customer.session.version == before + 1
    assert customer.held() == OrderIntent.objects.filter(state=IntentState.WORKING).count()


@each_dead_session
def test_an_order_that_is_not_ok_for_no_proven_reason_is_unknown(status: int, customer: Customer) -> None:
    customer.trader.fault("custom", "place", status=status, body=NOT_OK[customer.broker])
    assert customer.place() is OrderOutcomeUnknown
    assert customer.held() == 0
    _is_unknown_until_answered(customer, held=0)


@each_dead_session
@each_read
def test_a_dead_session_reads_nothing_and_never_an_empty_account(status: int, read: str, customer: Customer) -> None:
    customer.place()
    customer.fail_reads("custom", status=status, body=DEAD[customer.broker])
    with pytest.raises((SessionExpired, BrokerUnavailable)):
        READS[read](customer.gateway)


@each_dead_session
@each_read
def test_a_read_that_is_not_ok_is_an_error(status: int, read: str, customer: Customer) -> None:
    customer.place()
    customer.fail_reads("custom", status=status, body=NOT_OK[customer.broker])
    with pytest.raises((BrokerUnavailable, SessionExpired)):
        READS[read](customer.gateway)


@each_read
def test_a_session_that_ended_is_renewed_and_the_read_tells_the_truth(read: str, customer: Customer) -> None:
    order_id = customer.place()
    customer.trader.fill(str(order_id), customer.trader.option.lot_size or 0)
    before = customer.session.version
    customer.trader.kill_session()
    assert READS[read](customer.gateway)
    assert customer.session.version == before + 1


@each_dead_session
def test_a_dead_session_is_a_failed_snapshot_and_never_a_zero(status: int, customer: Customer) -> None:
    customer.fail_reads("custom", status=status, body=DEAD[customer.broker])
    slot_at = configured_clock().now()
    with no_waiting():
        taken = [
            snapshots.take_margin(customer.account, slot_at),
            snapshots.take_positions(customer.account, slot_at),
        ]
    assert [snapshot.status for snapshot in taken] == [Snapshot.Status.FAILED] * 2
    assert all(snapshot.error for snapshot in taken)
    assert MarginSnapshot.objects.get().available is None
    assert PositionSnapshot.objects.get().pnl is None


def test_too_many_requests_are_told_and_book_nothing(customer: Customer) -> None:
    customer.trader.fault("rate_limit", "place")
    assert customer.place() in (OrderRejected, OrderOutcomeUnknown)
    assert customer.held() == 0
    assert customer.intent.state in (IntentState.REFUSED, IntentState.UNKNOWN)
    assert customer.intent.attempts.count() == 1
    customer.fail_reads("rate_limit")
    for read in READS.values():
        with pytest.raises((RateLimited, BrokerUnavailable)):
            read(customer.gateway)


def _hold(customer: Customer) -> int:
    """A lot of the option, carried into the day."""
    option = customer.trader.option
    lot = option.lot_size or 0
    place = {"exchange": option.exchange.value, "symbol": option.symbol, "product": Product.NRML.value}
    customer.trader.control("POST", "positions", **place, quantity=lot, price="100")
    return lot


def test_a_closing_whose_positions_cannot_be_read_sends_nothing(customer: Customer) -> None:
    _hold(customer)
    customer.fail_reads("bad_gateway")
    with pytest.raises(BrokerUnavailable):
        customer.gateway.close_position(customer.trader.option.symbol)
    assert customer.held() == 0
    customer.reads_work()
    assert customer.gateway.close_position(customer.trader.option.symbol)
    assert customer.held() == 1
    assert not customer.gateway.has_open_positions()


def test_an_exit_whose_positions_cannot_be_read_is_not_sent(customer: Customer) -> None:
    lot = _hold(customer)
    order = {"side": Side.SELL, "quantity": lot, "limit_price": customer.order()["price"], "reduce_only": True}
    customer.fail_reads("bad_gateway")
    intent = customer.record(**order)
    for _ in range(3):
        assert deliver(intent.pk).state == IntentState.READY
    assert customer.held() == 0
    customer.reads_work()
    customer.pass_time(3)
    assert deliver(intent.pk).state == IntentState.WORKING
    assert customer.held() == 1


def test_an_exit_beyond_the_position_is_refused(customer: Customer) -> None:
    lot = _hold(customer)
    order = {"side": Side.SELL, "limit_price": customer.order()["price"], "reduce_only": True}
    intent = customer.record(**order, quantity=2 * lot)
    assert deliver(intent.pk).state == IntentState.DENIED
    assert customer.held() == 0


def test_a_second_click_is_not_a_second_order(customer: Customer) -> None:
    click = customer.order(client_order_id=None)
    assert isinstance(customer.place(**click), str)
    assert customer.place(**click) is OrderDenied
    assert customer.held() == 1


def test_a_click_while_the_first_is_unanswered_is_not_a_second_order(customer: Customer, impatient: None) -> None:
    click = customer.order(client_order_id=None)
    customer.trader.fault("hang", "place", when="after")
    assert customer.place(**click) is OrderOutcomeUnknown
    customer.trader.clock.set(customer.trader.clock.now() + timedelta(seconds=15))
    assert isinstance(customer.place(**click), type), "it is refused, or waits in vain"
    assert customer.held() == 1
