"""Kill switches: the strictest holds, cancels always pass, and nothing leaves after one was thrown."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from brokers import halting
from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.enums import Mode, OrderStatus
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import delivery, operations
from brokers.ledger.delivery import deliver
from brokers.ledger.settlement import settle
from brokers.models import Alert, KillSwitch, OrderIntent, OrderRateGate, RiskChange, Scope, Severity
from brokers.risk import quotes, switches
from tests.integration.test_ledger import Desk
from tests.integration.test_risk import position
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, SHARE, Ack, ScriptedAdapter

pytestmark = pytest.mark.django_db

State = KillSwitch.State


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    yield Desk(*scripted_broker.install(request.param))
    BrokerFactory._gateways.clear()


def throw(
    state: KillSwitch.State = State.HALTED, scope: Scope = Scope.EVERYTHING, key: str = "", reason: str = "news"
) -> KillSwitch:
    return switches.set_switch(scope, key, state, by="anna", reason=reason, at=configured_clock().now())


def modify(desk: Desk, **changes: Any) -> OrderIntent:
    intent = operations.record_modify(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="m1", **changes
    )
    return deliver(intent.pk)


# Which holds


def test_the_strictest_switch_that_applies_holds(desk: Desk) -> None:
    assert switches.state_for(desk.account, "s1", CALL) == (State.ACTIVE, 0, "")
    throw(State.REDUCING, Scope.ACCOUNT, str(desk.account))
    throw(State.HALTED, Scope.SYMBOL, SHARE)
    throw(State.HALTED, Scope.STRATEGY, "s2")
    assert switches.state_for(desk.account, "s1", CALL).state == State.REDUCING
    assert switches.state_for(desk.account, "s2", CALL).state == State.HALTED
    assert switches.state_for(desk.account, "s1", SHARE).state == State.HALTED
    throw(State.ACTIVE, Scope.SYMBOL, SHARE)
    assert switches.state_for(desk.account, "s1", SHARE).state == State.REDUCING
    throw(State.HALTED)
    assert switches.state_for(desk.account, "", SHARE).state == State.HALTED


def test_every_change_raises_the_epoch_and_leaves_history_and_an_alert(desk: Desk) -> None:
    assert switches.epoch() == 0
    throw(State.HALTED, Scope.ACCOUNT, str(desk.account))
    throw(State.ACTIVE, Scope.ACCOUNT, str(desk.account), reason="it was nothing")
    assert switches.epoch() == 2
    assert switches.state_for(desk.account, "", CALL).epoch == 2
    changes = RiskChange.objects.order_by("pk")
    assert [(row.before["state"], row.after["state"], row.reason) for row in changes] == [
        ("ACTIVE", "HALTED", "news"),
        ("HALTED", "ACTIVE", "it was nothing"),
    ]
    halt, resume = Alert.objects.order_by("pk")
    assert (halt.severity, halt.account) == (Severity.CRITICAL, desk.account)
    assert halt.happened == f"anna set account {desk.account} to HALTED: news"
    assert resume.severity == Severity.INFO


def test_the_epoch_is_one_small_statement(desk: Desk) -> None:
    with CaptureQueriesContext(connection) as epoch:
        switches.epoch()
    with CaptureQueriesContext(connection) as state:
        switches.state_for(desk.account, "s1", CALL)
    assert (len(epoch), len(state)) == (1, 1)


@pytest.mark.parametrize(
    ("scope", "key"),
    [(Scope.ACCOUNT, "nobody/default"), (Scope.ACCOUNT, ""), (Scope.EVERYTHING, "x"), (Scope.STRATEGY, " ")],
)
def test_a_switch_that_would_stop_nothing_is_refused(desk: Desk, scope: Scope, key: str) -> None:
    with pytest.raises(ValidationError):
        throw(State.HALTED, scope, key)
    assert not KillSwitch.objects.exists()


def test_a_symbol_is_found_however_it_is_written(desk: Desk) -> None:
    throw(State.HALTED, Scope.SYMBOL, f" {CALL.lower()} ")
    assert switches.state_for(desk.account, "", CALL).state == State.HALTED


def test_live_mode_begins_halted_and_stays_so_until_everything_is_resumed(desk: Desk, settings: Any) -> None:
    settings.MODE = Mode.LIVE
    assert switches.state_for(desk.account, "", CALL).state == State.HALTED
    throw(State.HALTED, Scope.STRATEGY, "s1")
    throw(State.ACTIVE, Scope.STRATEGY, "s1")
    assert switches.state_for(desk.account, "", CALL).state == State.HALTED
    throw(State.ACTIVE)
    assert switches.state_for(desk.account, "", CALL) == (State.ACTIVE, 3, "")


def test_the_history_of_switches_cannot_be_changed(desk: Desk) -> None:
    throw()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        RiskChange.objects.update(changed_by="nobody")


# What passes


def test_halted_refuses_orders_and_says_who_why_and_how_to_resume(desk: Desk) -> None:
    throw(State.HALTED, Scope.ACCOUNT, str(desk.account))
    intent = desk.send()
    assert intent.state == IntentState.DENIED
    assert intent.closed_reason == (
        f"Account {desk.account} is HALTED, set by anna: news; `manage.py halt --resume --account {desk.account}` "
        "resumes it. Only cancels are sent; every other order is refused, exits too."
    )
    assert not desk.adapter.sent
    assert not OrderRateGate.objects.exists()


@pytest.mark.parametrize("state", [State.HALTED, State.REDUCING])
def test_cancels_always_pass(desk: Desk, state: KillSwitch.State) -> None:
    desk.send()
    throw(state)
    desk.account.is_active = False
    desk.account.save()
    assert desk.gateway.cancel_order("000001") is True
    assert OrderIntent.objects.get(kind="CANCEL").state == IntentState.WORKING


@pytest.mark.parametrize(
    ("state", "changes", "passes"),
    [
        (State.REDUCING, {"quantity": 65}, True),
        (State.REDUCING, {"quantity": 195}, False),
        (State.REDUCING, {"limit_price": "101"}, False),
        (State.HALTED, {"quantity": 65}, False),
        (State.ACTIVE, {"limit_price": "101"}, True),
    ],
)
def test_of_changes_only_those_that_lower_the_quantity_reduce(
    desk: Desk, state: KillSwitch.State, changes: dict[str, Any], passes: bool
) -> None:
    desk.send(quantity=130)
    throw(state)
    assert modify(desk, **changes).state == (IntentState.WORKING if passes else IntentState.DENIED)


def test_reducing_lets_exits_pass_and_nothing_else(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    throw(State.REDUCING)
    assert desk.send("exit", side="S", reduce_only=True).state == IntentState.WORKING
    assert desk.send("entry").state == IntentState.DENIED
    throw(State.HALTED)
    assert desk.send("exit2", side="S", reduce_only=True).state == IntentState.DENIED


# Checked again


def test_a_switch_thrown_between_gate_and_arming_leaves_nothing_armed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = desk.gateway.prepare_send

    def thrown_meanwhile() -> int:
        throw()
        return prepare()

    monkeypatch.setattr(desk.gateway, "prepare_send", thrown_meanwhile)
    intent = desk.send()
    assert intent.state == IntentState.DENIED
    assert not intent.attempts.exists()
    assert not desk.adapter.sent


def test_a_switch_thrown_between_arming_and_the_first_byte_keeps_it_from_leaving(desk: Desk) -> None:
    def thrown_meanwhile(adapter: ScriptedAdapter, operation: Any) -> Ack:
        throw()
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [thrown_meanwhile]
    intent = desk.send()
    assert not desk.adapter.book
    attempt = intent.attempts.get()
    assert (intent.state, attempt.outcome, attempt.first_byte_at) == (IntentState.READY, "NOT_SENT", None)
    assert "HALTED" in intent.waiting_reason
    desk.pass_time(1.1)
    assert deliver(intent.pk).state == IntentState.DENIED
    assert len(desk.adapter.sent) == 1


@pytest.mark.parametrize("state", [State.HALTED, State.ACTIVE])
def test_a_switch_of_something_else_stops_nothing_in_flight(desk: Desk, state: KillSwitch.State) -> None:
    def thrown_meanwhile(adapter: ScriptedAdapter, operation: Any) -> Ack:
        throw(state, Scope.SYMBOL, SHARE)
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [thrown_meanwhile]
    assert desk.send().state == IntentState.WORKING


def test_a_cancel_in_flight_is_not_stopped(desk: Desk) -> None:
    desk.send()

    def thrown_meanwhile(adapter: ScriptedAdapter, operation: Any) -> Ack:
        throw()
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [thrown_meanwhile]
    assert desk.gateway.cancel_order("000001") is True


def test_without_a_readable_switch_nothing_leaves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> int:
        raise OperationalError("the server closed the connection")

    def lost_meanwhile(adapter: ScriptedAdapter, operation: Any) -> Ack:
        with monkeypatch.context() as patch:
            patch.setattr(switches, "epoch", unreadable)
            return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [lost_meanwhile]
    intent = desk.send()
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.READY, "NOT_SENT")
    assert "could not be read" in intent.waiting_reason
    assert not desk.adapter.book


# The command


def halt(*arguments: str) -> str:
    out = StringIO()
    call_command("halt", *arguments, stdout=out)
    return out.getvalue()


def test_one_command_halts_and_cancels_without_redis(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.send("k1")
    desk.send("k2", quantity=130)
    away = redis.Redis.from_url("redis://127.0.0.1:1", socket_timeout=0.2)
    monkeypatch.setattr(desk.gateway._limiter, "_grant", away.register_script("return 0"))
    monkeypatch.setattr(quotes.board(), "_redis", away)
    told = halt("--reason", "wrong signals", "--cancel-open")
    assert switches.state_for(desk.account, "", CALL).state == State.HALTED
    cancels = OrderIntent.objects.filter(kind="CANCEL")
    assert [cancel.state for cancel in cancels] == [IntentState.WORKING] * 2
    assert "everything: only cancels." in told
    assert "2 open orders, 2 cancels taken." in told
    change = RiskChange.objects.get(what="cancel of open orders")
    assert change.after == {"intents": [cancel.pk for cancel in cancels.order_by("pk")]}


def test_without_redis_an_order_is_still_collared_and_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:1", socket_timeout=0.2)
    monkeypatch.setattr(desk.gateway._limiter, "_grant", away.register_script("return 0"))
    monkeypatch.setattr(quotes.board(), "_redis", away)
    assert desk.send("k1").state == IntentState.WORKING
    assert desk.send("k2", limit_price="150").state == IntentState.DENIED


def test_cancelling_spares_what_is_not_meant(desk: Desk) -> None:
    desk.send("k1", strategy="s1")
    desk.send("k2", strategy="s2", quantity=130)
    desk.adapter.book["999"] = scripted_broker.foreign_row("999")
    desk.sync()
    halt("--strategy", "s1", "--cancel-open")
    cancel = OrderIntent.objects.get(kind="CANCEL")
    assert cancel.target is not None
    assert cancel.target.broker_order_id == "000001"


def test_reducing_cancels_no_exit(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    desk.send("exit", side="S", reduce_only=True)
    desk.send("entry")
    halt("--account", str(desk.account), "--reducing", "--cancel-open")
    cancel = OrderIntent.objects.get(kind="CANCEL")
    assert cancel.target is not None
    assert cancel.target.broker_order_id == "000002"


def test_what_cannot_be_cancelled_is_counted(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    desk.send()
    assert "1 orders may be at the broker" in halt("--cancel-open")


def test_an_order_that_was_leaving_is_waited_for_and_cancelled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    unsettled: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "settle", lambda *arguments: unsettled.append(arguments))
        placed = desk.send()
    assert OrderIntent.objects.get().state == IntentState.ARMED
    throw()
    placed.refresh_from_db()
    (cancel,) = halting.cancel_from_here(
        Scope.EVERYTHING,
        "",
        by="anna",
        spare_exits=False,
        wait=lambda seconds: settle(*unsettled.pop()) if unsettled else None,
        monotonic=configured_clock().monotonic,
    )
    assert (cancel.state, len(desk.adapter.sent)) == (IntentState.WORKING, 2)


@pytest.mark.parametrize("option", ["--strategy", "--symbol"])
def test_a_name_that_no_order_has_is_pointed_out(desk: Desk, option: str) -> None:
    desk.send(strategy="s1")
    assert "check the spelling" in halt(option, "S2")
    assert "check the spelling" not in halt(option, "s1" if option == "--strategy" else CALL)


def test_resuming_names_what_is_still_halted(desk: Desk) -> None:
    halt("--symbol", CALL, "--reason", "odd prices")
    halt()
    told = halt("--resume")
    assert "everything: orders may go." in told
    assert f"Still HALTED: symbol {CALL}" in told
    assert "odd prices" in told


@pytest.mark.parametrize(
    "arguments", [("--account", "nobody/default"), ("--resume", "--cancel-open"), ("--resume", "--reducing")]
)
def test_a_command_that_makes_no_sense_changes_nothing(desk: Desk, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        halt(*arguments)
    assert not KillSwitch.objects.exists()


def test_the_admin_s_button_records_cancels_that_workers_send(desk: Desk) -> None:
    desk.send()
    (cancel,) = halting.record_cancels(Scope.ACCOUNT, str(desk.account), by="anna")
    assert cancel.state == IntentState.READY
    assert [intent.pk for intent in halting.record_cancels(Scope.EVERYTHING, "", by="anna")] == [cancel.pk]
    desk.pass_time(3)
    assert operations.sweep() == [cancel]
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    desk.sync()
    assert halting.record_cancels(Scope.EVERYTHING, "", by="anna") == []


def test_what_was_refused_while_halted_does_not_leave_at_the_resume(desk: Desk) -> None:
    throw()
    with pytest.raises(OrderDenied, match="HALTED"):
        desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5")
    throw(State.ACTIVE)
    assert operations.sweep() == []
    assert not desk.adapter.sent
