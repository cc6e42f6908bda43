"""What an order costs the database: each statement more is paid by every order, so it is added knowingly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from brokers.clock import SimulatedClock, configured_clock
from brokers.discovery import specs
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import book, operations
from brokers.ledger.delivery import deliver
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    InstrumentEdition,
    OrderIntent,
    RiskLimit,
    Scope,
    SessionRule,
    SpecialDay,
)
from brokers.risk import limits
from tests.support import scripted_broker
from tests.support.scripted_broker import SHARE

pytestmark = pytest.mark.django_db

#: What opens and closes transactions is not counted: a test's own transaction turns it into other words.
FRAMES = ("BEGIN", "SAVEPOINT", "RELEASE SAVEPOINT", "COMMIT")
#: Each process reads these again every second or few seconds, and not for every order.
SELDOM = (RiskLimit, SessionRule, SpecialDay, InstrumentEdition)


@pytest.fixture(params=list(specs()))
def account(request: pytest.FixtureRequest) -> Iterator[BrokerAccount]:
    """An account that has traded, so that what each process reads once has been read."""
    account, _ = scripted_broker.install(request.param)
    for number in range(2):
        assert send(account, number).state == IntentState.WORKING
    yield account
    BrokerFactory._gateways.clear()


def record(account: BrokerAccount, number: int) -> OrderIntent:
    return operations.record_place(
        broker=account.broker,
        account=account.name,
        symbol=SHARE,
        side="B",
        quantity=1 + number,
        order_type="LIMIT",
        limit_price="100.50",
        client_order_id=f"k{number}",
    )


def send(account: BrokerAccount, number: int) -> OrderIntent:
    return deliver(record(account, number).pk)


def statements(captured: CaptureQueriesContext) -> list[str]:
    seldom = tuple(f'"{model._meta.db_table}"' for model in SELDOM)
    texts = [row["sql"] for row in captured.captured_queries]
    return [text for text in texts if not text.startswith(FRAMES) and not any(table in text for table in seldom)]


def test_recording_an_order_is_three_statements(account: BrokerAccount) -> None:
    with CaptureQueriesContext(connection) as captured:
        record(account, 10)
    assert len(statements(captured)) == 3, "\n".join(statements(captured))


def test_delivering_an_order_is_fourteen_statements(account: BrokerAccount) -> None:
    intent = record(account, 10)
    with CaptureQueriesContext(connection) as captured:
        assert deliver(intent.pk).state == IntentState.WORKING
    assert len(statements(captured)) == 14, "\n".join(statements(captured))


def test_limits_of_everything_cost_one_statement_more(account: BrokerAccount) -> None:
    values: dict[str, limits.Value | None] = {
        "max_quantity": 100_000,
        "max_notional_rupees": Decimal(100_000_000),
        "max_open_rupees": Decimal(100_000_000),
        "price_collar_percent": Decimal(50),
        "max_orders_per_day": 1000,
        "max_orders_per_second": 8,
        "max_orders_per_minute": 400,
        "max_open_orders": 1000,
    }
    limits.change(Scope.EVERYTHING, "", values, by="a person", reason="", at=configured_clock().now())
    send(account, 20)
    intent = record(account, 21)
    with CaptureQueriesContext(connection) as captured:
        assert deliver(intent.pk).state == IntentState.WORKING
    assert len(statements(captured)) == 15, "\n".join(statements(captured))


def test_what_is_open_elsewhere_costs_no_statement_more(account: BrokerAccount) -> None:
    for number in range(30, 40):
        intent = record(account, number)
        OrderIntent.objects.filter(pk=intent.pk).update(state=IntentState.UNKNOWN, updated_at=configured_clock().now())
    clock = configured_clock()
    OrderIntent.objects.filter(state=IntentState.UNKNOWN).update(not_after=clock.now() + timedelta(minutes=5))
    intent = record(account, 41)
    with CaptureQueriesContext(connection) as captured:
        assert deliver(intent.pk).state == IntentState.WORKING
    assert len(statements(captured)) == 14, "\n".join(statements(captured))


def test_what_was_taken_and_has_no_effect_costs_one_statement_for_all(account: BrokerAccount) -> None:
    def sync() -> int:
        with CaptureQueriesContext(connection) as captured:
            book.sync_orders(account.pk)
        return len(statements(captured))

    book.sync_orders(account.pk)
    before = sync()
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    for number, order in enumerate(BrokerOrder.objects.all()):
        cancel = operations.record_cancel(
            broker=account.broker,
            account=account.name,
            broker_order_id=order.broker_order_id,
            client_order_id=f"x{number}",
        )
        assert deliver(cancel.pk).state == IntentState.WORKING
    clock.set(clock.now() + timedelta(minutes=10))
    sync()
    assert Alert.objects.filter(kind="no_effect").count() == 2
    assert sync() == before, "what was told costs nothing more"


def test_a_book_of_many_orders_costs_no_statement_more_than_one_of_few(account: BrokerAccount) -> None:
    def sync() -> int:
        book.sync_orders(account.pk)
        with CaptureQueriesContext(connection) as captured:
            assert book.sync_orders(account.pk) == OrderIntent.objects.count()
        return len(statements(captured))

    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    few = sync()
    for number in range(50, 58):
        # Else the rate of orders would have some of them wait.
        clock.set(clock.now() + timedelta(seconds=1))
        send(account, number)
    assert sync() == few
