"""What became of an order whose answer was lost, through the whole of mcube and each broker's real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from brokers.domain.errors import OrderOutcomeUnknown
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.models import BookRead, BrokerAccount, BrokerOrder
from tests.contract.customer import Customer
from tests.contract.world import Simulator, Trader

pytestmark = pytest.mark.django_db

#: The factor by which every wait is shorter here; the bound of 180 s is 9 s, three readings are 1 s apart.
SCALE = 0.05
#: The timeouts of an attempt, which no factor shortens, and the bound.
MUST_SHOW_SECONDS = 18 + 9
CONTROL = "the positive control"


@pytest.fixture
def customer(trader: Trader, simulator: Simulator, settings: Any) -> Iterator[Customer]:
    """A customer with another order in the book."""
    settings.HOME = simulator.home
    settings.BROKER_URLS = dict(simulator.urls)
    settings.SAFETY_SCALE = SCALE
    offset = trader.clock.offset()
    made = Customer(trader)
    made.place(client_order_id=CONTROL, quantity=2 * (trader.option.lot_size or 0))
    yield made
    BrokerFactory.close_all()
    trader.clock.set(trader.clock.real_now() + offset)


def lose(customer: Customer, *, taken: bool) -> None:
    held = customer.held()
    customer.trader.fault("drop", "place", when="after" if taken else "before")
    assert customer.place() is OrderOutcomeUnknown
    assert customer.held() == held + taken


def ended(customer: Customer) -> tuple[str, str]:
    return customer.intent.state, customer.intent.attempts.latest("number").outcome


def same_order(customer: Customer) -> dict[str, Any]:
    """The order of the customer as a person types it."""
    order = customer.order()
    kept = {name: order[name] for name in ("symbol", "quantity")}
    return kept | {"exchange": "NFO", "side": "BUY", "price": str(order["price"]), "product": "NRML"}


def test_an_order_whose_answer_was_dropped_is_found(customer: Customer) -> None:
    lose(customer, taken=True)
    customer.pass_time(MUST_SHOW_SECONDS + 6)
    assert ended(customer) == (IntentState.WORKING, AttemptOutcome.ADOPTED)
    assert customer.placed_id() in {line["order_id"] for line in customer.trader.truth() if line["event"] == "accepted"}


def test_an_order_that_was_never_accepted_is_proved_absent(customer: Customer) -> None:
    lose(customer, taken=False)
    version = customer.session.version
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer) == (IntentState.NOT_PLACED, AttemptOutcome.VOID)
    assert customer.session.version == version + 1, "one fresh login"
    assert customer.held() == 1


def test_an_order_that_the_book_shows_late_is_found(customer: Customer) -> None:
    customer.trader.fault("invisible", "orders", count=1, seconds=20)
    lose(customer, taken=True)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer) == (IntentState.WORKING, AttemptOutcome.ADOPTED)


@pytest.mark.parametrize("kind", ["no_data", "html", "bad_gateway", "session_dead"])
def test_a_book_that_cannot_be_trusted_answers_nothing(kind: str, customer: Customer) -> None:
    customer.trader.fault(kind, "orders", count=0)
    lose(customer, taken=True)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer)[0] == IntentState.UNKNOWN
    customer.reads_work()
    # A login that was lost at once several times is paused for up to five minutes.
    customer.pass_time(320, step=20)
    assert ended(customer) == (IntentState.WORKING, AttemptOutcome.ADOPTED)
    assert customer.held() == 2


def test_a_book_that_lags_behind_for_a_while_misleads_nobody(customer: Customer) -> None:
    customer.trader.fault("stale_book", "orders", count=2)
    lose(customer, taken=True)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer) == (IntentState.WORKING, AttemptOutcome.ADOPTED)


def test_a_book_that_stands_still_for_longer_than_the_bound_is_caught_when_it_moves(customer: Customer) -> None:
    customer.trader.fault("stale_book", "orders", count=0)
    lose(customer, taken=True)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer)[0] == IntentState.NOT_PLACED
    customer.reads_work()
    customer.pass_time(30)
    assert ended(customer)[0] == IntentState.NEEDS_HUMAN
    assert "needs_human" in customer.alerts()
    assert customer.held() == 2, "nothing was sent again meanwhile"


def test_an_order_that_a_person_typed_is_not_taken_for_it(customer: Customer) -> None:
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    customer.trader.control("POST", "orders", **same_order(customer))
    lose(customer, taken=False)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer)[0] in (IntentState.NEEDS_HUMAN, IntentState.NOT_PLACED)
    assert not BrokerOrder.objects.filter(attempt__outcome=AttemptOutcome.ADOPTED).exists()


def test_what_is_found_is_followed_to_its_fill(customer: Customer) -> None:
    lose(customer, taken=True)
    number = next(line["order_id"] for line in reversed(customer.trader.truth()) if line["event"] == "accepted")
    customer.trader.fill(number, customer.trader.option.lot_size or 0)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    assert ended(customer)[0] == IntentState.FILLED


def test_every_reading_is_on_record(customer: Customer) -> None:
    lose(customer, taken=False)
    customer.pass_time(MUST_SHOW_SECONDS + 15)
    complete = BookRead.objects.filter(account=customer.account, complete=True)
    assert complete.count() >= 3
    assert not BookRead.objects.filter(account=customer.account, finished_at=None).exists()
    for reading in complete:
        assert (reading.rows, len(reading.sha256)) == (1, 64)
