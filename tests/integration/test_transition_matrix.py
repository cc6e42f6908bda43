"""Every move of every state by every actor, and what the database itself refuses, by raw SQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from brokers.domain.order_states import (
    INITIAL_STATES,
    TRANSITIONS,
    UNSETTLED_STATES,
    Actor,
    AttemptOutcome,
    IllegalTransition,
    IntentKind,
    IntentState,
)
from brokers.ledger.transitions import StaleIntent, create, hash_of, move
from brokers.models import (
    BrokerAccount,
    BrokerOrder,
    HumanDecision,
    OrderAttempt,
    OrderEvent,
    OrderIntent,
    OrderPlan,
    RiskChange,
    Scope,
    TradeFill,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
TODAY = date(2026, 11, 23)
DEAD = {AttemptOutcome.NOT_SENT, AttemptOutcome.VOID}
UNRESOLVED = {AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN}

_numbers = itertools.count(1)


@pytest.fixture
def account() -> BrokerAccount:
    return BrokerAccount.objects.create(broker="kotakneo", name="matrix")


def draft(account: BrokerAccount, **values: Any) -> OrderIntent:
    number = next(_numbers)
    plain: dict[str, Any] = {
        "kind": IntentKind.PLACE,
        "client_order_id": f"k{number}",
        "client_tag": f"M{number:015d}",
        "mode": "simulated",
        "trading_day": TODAY,
        "exchange": "NSE",
        "symbol": "RELIANCE",
        "side": "BUY",
        "quantity": 1,
        "order_type": "LIMIT",
        "limit_price": Decimal(1),
        "state": IntentState.READY,
        "not_before": NOW,
        "not_after": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return OrderIntent(account=account, **(plain | values))


def intent_in(account: BrokerAccount, state: IntentState, **values: Any) -> OrderIntent:
    """An intent in any state, with its first event, put there past the ledger."""
    row = draft(account, **values)
    with transaction.atomic():
        create(row, cause="recorded", at=NOW)
    OrderIntent.objects.filter(pk=row.pk).update(state=state)
    row.state = state
    return row


def attempt_of(intent: OrderIntent, **values: Any) -> OrderAttempt:
    plain: dict[str, Any] = {
        "number": 1,
        "outcome": AttemptOutcome.ARMED,
        "match_key": f"key{next(_numbers)}",
        "host": "here",
        "boot_id": "boot",
        "pid": 1,
        "pid_start": 1,
        "armed_at": NOW,
        "send_deadline_at": NOW,
        "quiet_at": NOW,
    }
    return OrderAttempt.objects.create(intent=intent, **(plain | values))


def order_of(account: BrokerAccount, **values: Any) -> BrokerOrder:
    plain: dict[str, Any] = {
        "trading_day": TODAY,
        "broker_order_id": f"o{next(_numbers)}",
        "origin": BrokerOrder.Origin.OURS,
        "exchange": "NSE",
        "symbol": "RELIANCE",
        "side": "BUY",
        "order_type": "LIMIT",
        "quantity": 1,
        "status": "OPEN",
        "first_seen_at": NOW,
        "last_seen_at": NOW,
    }
    return BrokerOrder.objects.create(account=account, **(plain | values))


def copy_by_sql(row: models.Model, **changes: Any) -> None:
    """Insert a copy of a row by raw SQL, with some columns changed: nothing of the ledger's code is asked."""
    table = row._meta.db_table
    columns = [str(field.column) for field in row._meta.concrete_fields if not field.primary_key]
    assert changes.keys() <= set(columns)
    chosen = ", ".join("%s" if column in changes else column for column in columns)
    values = [changes[column] for column in columns if column in changes]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table} WHERE id = %s",
            [*values, row.pk],
        )


def refused(row: models.Model, **changes: Any) -> bool:
    """Whether the database refuses the copy; undone either way."""
    try:
        with transaction.atomic():
            copy_by_sql(row, **changes)
            transaction.set_rollback(True)
    except IntegrityError:
        return True
    return False


def another_name() -> dict[str, Any]:
    number = next(_numbers)
    return {"client_order_id": f"k{number}", "client_tag": f"M{number:015d}"}


def snapshot(pk: int) -> tuple[Any, ...]:
    return (
        OrderIntent.objects.filter(pk=pk).values_list().get(),
        list(OrderEvent.objects.filter(intent=pk).values_list().order_by("sequence")),
    )


# Moves


def every_move() -> Iterator[tuple[IntentState, IntentState, Actor, bool]]:
    for old, new, actor in itertools.product(IntentState, IntentState, Actor):
        yield old, new, actor, actor in TRANSITIONS.get((old, new), ())


def test_i7_an_allowed_move_writes_exactly_one_chained_event(account: BrokerAccount) -> None:
    allowed = [(old, new, actor) for old, new, actor, listed in every_move() if listed]
    assert len(allowed) > 40
    for old, new, actor in allowed:
        intent = intent_in(account, old)
        first = intent.events.get()
        with transaction.atomic():
            move(intent, new, actor=actor, cause="because", at=NOW, evidence={"a": 1}, closed_reason="why")
        intent.refresh_from_db()
        assert (intent.state, intent.version, intent.closed_reason) == (new, 1, "why")
        one, two = intent.events.order_by("sequence")
        assert one == first
        assert (two.sequence, two.from_state, two.to_state, two.actor) == (1, old, new, actor)
        assert (two.previous_hash, intent.last_event_hash) == (one.hash, two.hash)
        assert two.hash == hash_of(two, account_id=account.pk, client_order_id=intent.client_order_id)


def test_a_move_that_is_not_listed_changes_nothing(account: BrokerAccount) -> None:
    intents = {state: intent_in(account, state) for state in IntentState}
    before = {state: snapshot(intent.pk) for state, intent in intents.items()}
    tried = 0
    for old, new, actor, listed in every_move():
        if listed:
            continue
        with pytest.raises(IllegalTransition, match=f"{actor} may not move an intent from {old} to {new}"):
            move(intents[old], new, actor=actor, cause="because", at=NOW)
        tried += 1
    assert tried > 2400
    assert {state: snapshot(intent.pk) for state, intent in intents.items()} == before
    assert all(intent.state == state and intent.version == 0 for state, intent in intents.items())


def test_an_allowed_move_of_a_row_that_somebody_else_moved_changes_nothing(account: BrokerAccount) -> None:
    for (old, new), actors in TRANSITIONS.items():
        for changed in (
            {"version": 7},
            {"state": IntentState.FILLED if old != IntentState.FILLED else IntentState.DONE},
        ):
            intent = intent_in(account, old)
            OrderIntent.objects.filter(pk=intent.pk).update(**changed)
            before, stale = snapshot(intent.pk), (intent.version, intent.last_event_hash, intent.state)
            with pytest.raises(StaleIntent), transaction.atomic():
                move(intent, new, actor=next(iter(actors)), cause="because", at=NOW)
            assert snapshot(intent.pk) == before
            assert (intent.version, intent.last_event_hash, intent.state) == stale


def test_an_intent_begins_only_where_and_by_whom_it_may(account: BrokerAccount) -> None:
    for state, actor in itertools.product(IntentState, Actor):
        intent = draft(account, state=state)
        if actor in INITIAL_STATES.get(state, ()):
            with transaction.atomic():
                create(intent, cause="recorded", at=NOW, actor=actor)
            assert [event.to_state for event in intent.events.all()] == [state]
        else:
            with pytest.raises(IllegalTransition):
                create(intent, cause="recorded", at=NOW, actor=actor)
            assert intent.pk is None
    assert OrderIntent.objects.count() == sum(map(len, INITIAL_STATES.values()))


# What the database refuses


def test_the_database_knows_every_state_and_no_other(account: BrokerAccount) -> None:
    intent = intent_in(account, IntentState.READY)
    attempt = attempt_of(intent)
    for state in IntentState:
        assert not refused(intent, state=state, **another_name())
    for outcome in AttemptOutcome:
        attempt_row = {"number": 2, "match_key": "other", "intent_id": intent_in(account, IntentState.READY).pk}
        assert not refused(attempt, outcome=outcome, **attempt_row)
        assert refused(attempt, **(attempt_row | {"outcome": outcome.lower()}))
    for unknown in ("", "ready", "SENT", "PENDING", "WORKING "):
        assert refused(intent, state=unknown, **another_name())
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE brokers_orderintent SET state = %s WHERE id = %s", [unknown, intent.pk])
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE brokers_orderattempt SET outcome = %s WHERE id = %s", [unknown, attempt.pk])


def test_the_database_refuses_an_intent_that_says_nothing(account: BrokerAccount) -> None:
    intent = intent_in(account, IntentState.READY)
    assert not refused(intent, **another_name())
    for changes in (
        {"kind": "SQUARE"},
        {"side": ""},
        {"side": "buy"},
        {"quantity": 0},
        {"kind": "CANCEL"},
        {"kind": "MODIFY"},
    ):
        assert refused(intent, **another_name(), **changes), changes


def test_i1_the_database_refuses_a_second_live_attempt(account: BrokerAccount) -> None:
    for first, second in itertools.product(AttemptOutcome, repeat=2):
        attempt = attempt_of(intent_in(account, IntentState.ARMED), outcome=first)
        both_live = first not in DEAD and second not in DEAD
        assert refused(attempt, number=2, match_key="other", outcome=second) is both_live, (first, second)
        assert refused(attempt, number=1, match_key="other", outcome=AttemptOutcome.VOID)


def test_i1_the_database_refuses_to_bring_a_dead_attempt_back_beside_a_live_one(account: BrokerAccount) -> None:
    intent = intent_in(account, IntentState.ARMED)
    dead = attempt_of(intent, outcome=AttemptOutcome.VOID)
    attempt_of(intent, number=2)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE brokers_orderattempt SET outcome = 'ACKED' WHERE id = %s", [dead.pk])


def test_the_database_refuses_a_look_alike_while_one_is_unresolved(account: BrokerAccount) -> None:
    for first, second in itertools.product(AttemptOutcome, repeat=2):
        attempt = attempt_of(intent_in(account, IntentState.ARMED), outcome=first)
        other = intent_in(account, IntentState.ARMED)
        both_open = first in UNRESOLVED and second in UNRESOLVED
        assert refused(attempt, intent_id=other.pk, outcome=second) is both_open, (first, second)
        assert not refused(attempt, intent_id=other.pk, outcome=second, match_key="another")


def test_the_database_refuses_a_second_open_cancel_or_change_of_an_order(account: BrokerAccount) -> None:
    target, other = order_of(account), order_of(account)
    for kind, first in itertools.product((IntentKind.CANCEL, IntentKind.MODIFY), IntentState):
        one = intent_in(account, IntentState.READY, kind=kind, target=target)
        OrderIntent.objects.filter(pk=one.pk).update(state=first)
        for second in IntentState:
            both_open = first in UNSETTLED_STATES and second in UNSETTLED_STATES
            assert refused(one, state=second, **another_name()) is both_open, (kind, first, second)
        assert not refused(one, target_id=other.pk, **another_name())
        beside = IntentKind.MODIFY if kind is IntentKind.CANCEL else IntentKind.CANCEL
        assert not refused(one, kind=beside, **another_name())
        OrderIntent.objects.filter(pk=one.pk).update(state=IntentState.DONE)


def test_the_database_refuses_to_write_a_slice_twice(account: BrokerAccount) -> None:
    plans = [
        OrderPlan.objects.create(
            account=account,
            kind=OrderPlan.Kind.BASKET,
            client_order_id=key,
            fingerprint="f",
            mode="simulated",
            trading_day=TODAY,
            legs=[],
            not_after=NOW,
            created_at=NOW,
        )
        for key in ("p1", "p2")
    ]
    child = intent_in(account, IntentState.WORKING, plan=plans[0], leg=0, slice=0)
    assert refused(child, **another_name())
    for different in ({"slice": 1}, {"leg": 1}, {"plan_id": plans[1].pk}):
        assert not refused(child, **another_name(), **different)
    assert refused(plans[0])


def test_i5_the_database_refuses_an_order_for_two_attempts_and_an_attempt_for_two_orders(
    account: BrokerAccount,
) -> None:
    attempt = attempt_of(intent_in(account, IntentState.WORKING), outcome=AttemptOutcome.ACKED)
    order = order_of(account, attempt=attempt)
    assert refused(order, broker_order_id="another")
    assert refused(order, attempt_id=None), "the same order of the same day is one row"
    assert not refused(order, broker_order_id="another", attempt_id=None)
    assert not refused(order, trading_day=date(2026, 11, 24), attempt_id=None)


def test_the_database_refuses_the_same_key_tag_event_and_fill_twice(account: BrokerAccount) -> None:
    intent = intent_in(account, IntentState.READY)
    name = another_name()
    assert refused(intent, client_tag=name["client_tag"])
    assert refused(intent, client_order_id=name["client_order_id"])
    assert not refused(intent, client_order_id=name["client_order_id"], trading_day=date(2026, 11, 24))
    assert refused(intent.events.get(), to_state="ARMED")
    order = order_of(account)
    fill = TradeFill.objects.create(order=order, fill_id="f1", quantity=1, price=1, first_seen_at=NOW)
    assert refused(fill, quantity=2)
    assert not refused(fill, fill_id="f2")


def test_i7_the_database_refuses_to_change_or_delete_what_is_evidence(account: BrokerAccount) -> None:
    intent = intent_in(account, IntentState.READY)
    rows: list[models.Model] = [
        intent.events.get(),
        HumanDecision.objects.create(
            intent=intent, kind=HumanDecision.Kind.APPROVE, decided_by="asha", reason="looks right", at=NOW
        ),
        RiskChange.objects.create(
            what="kill switch", scope=Scope.EVERYTHING, after={"state": "HALTED"}, changed_by="asha", at=NOW
        ),
    ]
    for row in rows:
        table = row._meta.db_table
        before = type(row)._default_manager.filter(pk=row.pk).values().get()
        for statement in (
            *(f"UPDATE {table} SET {field.column} = {field.column}" for field in row._meta.concrete_fields),
            f"DELETE FROM {table}",
        ):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
        assert type(row)._default_manager.filter(pk=row.pk).values().get() == before
