"""What a round over open questions costs the database: the same for many of them as for one."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from brokers.domain.order_states import IntentState
from brokers.models import OrderIntent
from tests.integration.test_ledger import Desk
from tests.integration.test_order_cost import statements
from tests.integration.test_reconciliation import broker as broker
from tests.integration.test_reconciliation import desk as desk
from tests.integration.test_reconciliation import look, lose
from tests.integration.test_reconciliation import tagged as tagged
from tests.support import scripted_broker

pytestmark = pytest.mark.django_db

MANY = 12
#: Seconds after a reading at which the next one is due while questions are young, and at which none is.
DUE, NOT_DUE = 8.0, 0.5


def round_of(desk: Desk, pause: float) -> list[str]:
    """The statements of one round, after a first one that reads what each process reads once."""
    look(desk, DUE)
    with CaptureQueriesContext(connection) as captured:
        look(desk, pause)
    return statements(captured)


def lose_many(desk: Desk) -> None:
    for number in range(MANY):
        lose(desk, key=f"lost-{number}", taken=False, quantity=65 * (number + 2))
        desk.pass_time(1)


@pytest.mark.parametrize("pause", [NOT_DUE, DUE], ids=["not due", "due"])
def test_many_questions_cost_no_statement_more_than_one(desk: Desk, pause: float) -> None:
    lose(desk, taken=False)
    of_one = round_of(desk, pause)
    lose_many(desk)
    of_many = round_of(desk, pause)
    assert OrderIntent.objects.filter(state=IntentState.UNKNOWN).count() == MANY + 1
    assert len(of_many) == len(of_one), "\n".join(of_many)
    assert len(of_many) <= 20, "\n".join(of_many)


def test_many_orders_in_the_book_cost_no_statement_more_than_one(tagged: Desk) -> None:
    lose(tagged, taken=False)
    tagged.adapter.book["900000"] = scripted_broker.foreign_row("900000")
    of_one = round_of(tagged, DUE)
    for number in range(1, MANY):
        tagged.send(f"taken-{number}", quantity=65 * (number + 3))
        stranger = f"9{number:05}"
        tagged.adapter.book[stranger] = scripted_broker.foreign_row(stranger)
    tagged.sync()
    of_many = round_of(tagged, DUE)
    assert len(of_many) == len(of_one), "\n".join(of_many)
