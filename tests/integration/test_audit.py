"""The audit finds each kind of breach, and nothing in a healthy ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from brokers.audit import Finding, audit
from brokers.clock import configured_clock, trading_day
from brokers.domain.invariants import Invariant
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.models import OrderEvent, OrderIntent
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.scripted_broker import never_leaves, refuses, takes_and_drops

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A ledger with one intent of each outcome."""
    account, adapter = scripted_broker.install("kotakneo")
    desk = Desk(account, adapter)
    desk.send("taken")
    adapter.script = [refuses("funds"), takes_and_drops, never_leaves]
    for key, price in (("refused", "101"), ("unknown", "102"), ("unsent", "103")):
        desk.send(key, limit_price=price)
    desk.record("waiting", limit_price="104")
    yield desk
    BrokerFactory._gateways.clear()


def findings() -> list[Finding]:
    return list(audit(trading_day(configured_clock().now())))


def tamper(statement: str, *parameters: str | int) -> None:
    """Change the database as somebody with its password could."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in ("orderevent_no_update", "orderevent_no_delete"):
                cursor.execute(f"DROP TRIGGER {name}")
        else:
            # What is checked at the end of the transaction is checked now, or the table cannot be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE brokers_orderevent DISABLE TRIGGER USER")
        cursor.execute(statement, parameters)


def broken(key: str) -> set[Invariant]:
    intent = OrderIntent.objects.get(client_order_id=key)
    return {finding.invariant for finding in findings() if finding.intent_id == intent.pk}


def test_a_healthy_ledger_has_nothing_to_find(desk: Desk) -> None:
    assert findings() == []
    out = StringIO()
    call_command("audit_ledger", stdout=out)
    assert "5 intents" in out.getvalue()


def test_a_changed_event_is_found(desk: Desk) -> None:
    event = OrderEvent.objects.filter(intent__client_order_id="refused").order_by("-sequence")[0]
    tamper("UPDATE brokers_orderevent SET cause = %s WHERE id = %s", "all was well", event.pk)
    assert broken("refused") == {Invariant.I7}
    with pytest.raises(CommandError, match="breaches in 5 intents"):
        call_command("audit_ledger", stdout=StringIO())


def test_a_removed_event_is_found(desk: Desk) -> None:
    event = OrderEvent.objects.get(intent__client_order_id="taken", to_state=IntentState.ARMED)
    tamper("DELETE FROM brokers_orderevent WHERE id = %s", event.pk)
    assert broken("taken") == {Invariant.I2, Invariant.I7}


def test_a_state_that_no_event_tells_of_is_found(desk: Desk) -> None:
    OrderIntent.objects.filter(client_order_id="waiting").update(state=IntentState.FILLED)
    assert broken("waiting") == {Invariant.I7}


def test_an_attempt_without_its_event_is_found(desk: Desk) -> None:
    OrderIntent.objects.get(client_order_id="refused").attempts.all().delete()
    assert broken("refused") == {Invariant.I2}


def test_an_accepted_attempt_without_its_order_is_found(desk: Desk) -> None:
    intent = OrderIntent.objects.get(client_order_id="refused")
    intent.attempts.update(outcome=AttemptOutcome.ADOPTED)
    assert broken("refused") == {Invariant.I5}


def test_an_order_armed_after_its_time_is_found(desk: Desk) -> None:
    intent = OrderIntent.objects.get(client_order_id="taken")
    OrderIntent.objects.filter(pk=intent.pk).update(not_after=intent.created_at - timedelta(seconds=1))
    assert broken("taken") == {Invariant.I6}


def test_what_may_be_at_the_broker_and_reserves_nothing_is_found(desk: Desk) -> None:
    OrderIntent.objects.filter(client_order_id="unknown").update(reserved_rupees=None)
    assert broken("unknown") == {Invariant.I8}
