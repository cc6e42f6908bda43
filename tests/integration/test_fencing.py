"""Nobody judges an attempt while its sender may still send. The senders here are real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentState
from brokers.domain.orders import OrderAck
from brokers.factory import BrokerFactory
from brokers.ledger import delivery, sender
from brokers.ledger.delivery import deliver
from brokers.ledger.settlement import Settlement, settle
from brokers.models import Alert, HumanDecision, OrderAttempt, OrderIntent
from brokers.recovery import answers, fencing
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.scripted_broker import ScriptedAdapter

pytestmark = pytest.mark.django_db

Child = subprocess.Popen[bytes]


class Killed(BaseException):
    """What kill -9 leaves behind: an armed attempt and nobody to settle it."""


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield Desk(*scripted_broker.install(next(iter(specs()))))
    BrokerFactory._gateways.clear()


@pytest.fixture
def child() -> Iterator[Child]:
    """A process that would live longer than the test."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def armed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> OrderAttempt:
    """An attempt whose sender never reported, past every timeout."""
    intent = desk.record()

    def die(adapter: ScriptedAdapter, operation: Any) -> OrderAck:
        adapter.leave()
        raise Killed

    desk.adapter.script = [die]
    with monkeypatch.context() as dying:
        dying.setattr(delivery, "settle", lambda *arguments: None)
        with pytest.raises(Killed):
            deliver(intent.pk)
    desk.pass_time(30)
    return OrderAttempt.objects.get()


def sent_by(attempt: OrderAttempt, **sender: object) -> None:
    OrderAttempt.objects.filter(pk=attempt.pk).update(**sender)


def sent_by_child(attempt: OrderAttempt, child: Child) -> None:
    sent_by(attempt, pid=child.pid, pid_start=sender.started(child.pid))


def fence() -> list[OrderAttempt]:
    return fencing.fence(configured_clock().now())


def state() -> str:
    return OrderIntent.objects.get().state


def test_an_attempt_within_its_timeouts_is_left_alone(desk: Desk, armed: OrderAttempt, child: Child) -> None:
    sent_by_child(armed, child)
    sent_by(armed, quiet_at=configured_clock().now() + timedelta(seconds=1))
    assert fence() == []
    assert (state(), child.poll()) == (IntentState.ARMED, None)


def test_a_sender_that_died_leaves_its_order_unknown(armed: OrderAttempt, child: Child) -> None:
    sent_by_child(armed, child)
    child.kill()
    child.wait()
    assert fence() == [armed]
    event = OrderIntent.objects.get().events.latest("sequence")
    assert (event.to_state, event.actor, event.evidence["pid"]) == (IntentState.UNKNOWN, Actor.SWEEPER, child.pid)
    assert OrderAttempt.objects.get().outcome == AttemptOutcome.UNKNOWN


def test_a_dead_sender_that_its_parent_has_not_reaped_is_dead(armed: OrderAttempt, child: Child) -> None:
    sent_by_child(armed, child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert fence() == [armed]


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "stopped"])
def test_a_sender_that_overran_is_killed_before_its_order_is_judged(
    armed: OrderAttempt, child: Child, frozen: bool
) -> None:
    sent_by_child(armed, child)
    if frozen:
        child.send_signal(signal.SIGSTOP)
    assert fence() == []
    assert state() == IntentState.ARMED
    assert child.wait() == -signal.SIGKILL
    assert fence() == [armed]
    assert state() == IntentState.UNKNOWN


def test_a_process_that_got_the_number_of_a_dead_sender_is_not_touched(armed: OrderAttempt, child: Child) -> None:
    sent_by(armed, pid=child.pid, pid_start=(sender.started(child.pid) or 0) - 1)
    assert fence() == [armed]
    assert child.poll() is None


def test_a_sender_from_before_the_last_boot_is_dead(armed: OrderAttempt, child: Child) -> None:
    sent_by_child(armed, child)
    sent_by(armed, boot_id="another boot")
    assert fence() == [armed]
    assert child.poll() is None


def test_a_sender_in_a_container_that_was_replaced_is_dead(armed: OrderAttempt, child: Child) -> None:
    sent_by_child(armed, child)
    sent_by(armed, host=f"{armed.host.partition('/')[0]}/4026539999")
    assert fence() == [armed]
    assert child.poll() is None


def test_the_sender_s_own_process_judges_what_it_is_no_longer_sending(armed: OrderAttempt) -> None:
    with sender.sending(armed.pk):
        assert fence() == []
    assert fence() == [armed]


def test_a_sender_on_another_machine_is_left_to_it_and_then_to_a_person(desk: Desk, armed: OrderAttempt) -> None:
    sent_by(armed, host="elsewhere/1")
    assert fence() == []
    assert not Alert.objects.exists()
    desk.pass_time(60)
    assert fence() == []
    assert state() == IntentState.ARMED
    alert = Alert.objects.get()
    assert "elsewhere" in alert.happened
    assert "declare its sender dead" in alert.to_do


@pytest.mark.parametrize("by", ["its own machine", "the sender's answer", "a person"])
def test_nobody_is_called_any_more_once_the_sender_of_another_machine_is_judged(
    desk: Desk, armed: OrderAttempt, by: str
) -> None:
    here = armed.host
    sent_by(armed, host="elsewhere/1")
    desk.pass_time(60)
    fence()
    assert Alert.objects.filter(kind="sender_not_judged", acknowledged_at=None).exists()
    if by == "its own machine":
        sent_by(armed, host=here)
        assert fence() == [armed]
    elif by == "the sender's answer":
        settle(OrderIntent.objects.get(), armed, _acked("000077"), configured_clock().now())
        assert state() == IntentState.WORKING
    else:
        fencing.declare_dead(armed, by="asha", reason="that machine burnt", at=configured_clock().now())
    assert not Alert.objects.filter(acknowledged_at=None).exists()


def test_a_person_is_not_called_for_a_sender_that_reports_at_that_moment(desk: Desk, armed: OrderAttempt) -> None:
    sent_by(armed, host="elsewhere/1")
    as_it_was = OrderAttempt.objects.select_related("intent__account").get()
    desk.pass_time(60)
    settle(OrderIntent.objects.get(), armed, _acked("000077"), configured_clock().now())
    fencing._ask_person(as_it_was, "on elsewhere/1", configured_clock().now())
    assert not Alert.objects.exists()


def test_a_person_declares_the_sender_dead(desk: Desk, armed: OrderAttempt) -> None:
    sent_by(armed, host="elsewhere/1")
    fencing.declare_dead(armed, by="asha", reason="that machine burnt", at=configured_clock().now())
    decision = HumanDecision.objects.get()
    assert (state(), decision.kind, decision.decided_by) == (IntentState.UNKNOWN, HumanDecision.Kind.DEAD, "asha")
    armed.refresh_from_db()
    with pytest.raises(OrderDenied, match="is UNKNOWN"):
        fencing.declare_dead(armed, by="asha", reason="again", at=configured_clock().now())
    assert HumanDecision.objects.count() == 1


def test_nobody_is_declared_dead_before_the_timeouts_have_passed(armed: OrderAttempt) -> None:
    with pytest.raises(OrderDenied, match=f"not before {armed.quiet_at.astimezone(IST):%H:%M:%S} IST"):
        fencing.declare_dead(armed, by="asha", reason="impatient", at=armed.quiet_at - timedelta(seconds=1))
    assert state() == IntentState.ARMED


def test_the_late_answer_of_a_sender_counts(desk: Desk, armed: OrderAttempt) -> None:
    fence()
    intent = armed.intent
    settle(intent, armed, _acked("000077"), configured_clock().now())
    assert (state(), OrderAttempt.objects.get().outcome) == (IntentState.WORKING, AttemptOutcome.ACKED)
    assert OrderAttempt.objects.get().broker_order.broker_order_id == "000077"


def test_a_late_answer_after_the_end_of_the_search_is_told_to_a_person(desk: Desk, armed: OrderAttempt) -> None:
    fence()
    intent = OrderIntent.objects.get()
    answers.ask_person(OrderAttempt.objects.get(), "the book could not be read", configured_clock().now())
    settle(intent, armed, _acked("000077"), configured_clock().now())
    assert state() == IntentState.NEEDS_HUMAN
    assert "000077" in Alert.objects.get(kind="late_answer").happened


def test_a_late_refusal_changes_nothing(desk: Desk, armed: OrderAttempt) -> None:
    fence()
    refused = Settlement(outcome=AttemptOutcome.REFUSED, state=IntentState.REFUSED, cause="no")
    settle(armed.intent, armed, refused, configured_clock().now())
    assert state() == IntentState.UNKNOWN


def _acked(broker_order_id: str) -> Settlement:
    return Settlement(
        outcome=AttemptOutcome.ACKED,
        state=IntentState.WORKING,
        cause=f"the broker took it as {broker_order_id}",
        broker_order_id=broker_order_id,
    )
