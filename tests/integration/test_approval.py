"""Where an account asks for it, an order waits for a person's yes, and what was approved is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from brokers import approval
from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.errors import ApprovalNeeded, BrokerUnavailable, NotSent, OrderDenied
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.models import BrokerAccount, HumanDecision, KillSwitch, OrderEvent, OrderIntent, Scope
from brokers.risk import limits, switches
from tests.integration.test_ledger import Desk
from tests.integration.test_risk import position
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL

pytestmark = pytest.mark.django_db


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    account, adapter = scripted_broker.install(request.param)
    BrokerAccount.objects.update(requires_approval=True)
    account.refresh_from_db()
    yield Desk(account, adapter)
    BrokerFactory._gateways.clear()


def test_an_order_waits_until_a_person_approves_it(desk: Desk) -> None:
    intent = desk.send()
    assert intent.state == IntentState.AWAITING_APPROVAL
    assert not desk.adapter.sent
    approval.approve(intent, by="anna", reason="as planned")
    assert deliver(intent.pk).state == IntentState.WORKING
    decision = HumanDecision.objects.get()
    assert (decision.kind, decision.decided_by, decision.reason) == ("APPROVE", "anna", "as planned")
    assert decision.evidence["rupees"] == "6532.5000"
    event = OrderEvent.objects.get(from_state="AWAITING_APPROVAL")
    assert (event.to_state, event.actor, event.cause) == ("READY", "PERSON", "approved by anna")


def test_what_is_declined_is_never_sent(desk: Desk) -> None:
    intent = approval.decline(desk.send(), by="anna", reason="not today")
    assert (intent.state, intent.closed_reason) == (IntentState.DENIED, "declined by anna: not today")
    assert deliver(intent.pk).state == IntentState.DENIED
    with pytest.raises(OrderDenied, match="waits for no approval"):
        approval.approve(intent, by="anna")
    assert not desk.adapter.sent


def test_an_approval_holds_the_order_against_today_s_price_again(desk: Desk) -> None:
    intent = desk.record()
    desk.adapter.price = Decimal(200)
    desk.pass_time(60)
    with pytest.raises(OrderDenied, match="from the market's of 200"):
        approval.approve(intent, by="anna")
    assert OrderIntent.objects.get().state == IntentState.AWAITING_APPROVAL
    assert not HumanDecision.objects.exists()
    desk.adapter.price = Decimal(100)
    desk.pass_time(6)
    approval.approve(intent, by="anna")
    assert deliver(intent.pk).state == IntentState.WORKING


def test_without_a_price_nothing_is_approved(desk: Desk) -> None:
    intent = desk.record()
    desk.adapter.price = None
    with pytest.raises(NotSent, match="no price now"):
        approval.approve(intent, by="anna")
    assert OrderIntent.objects.get().state == IntentState.AWAITING_APPROVAL


def test_approved_is_not_sent_yet_and_still_meets_the_gate(desk: Desk) -> None:
    intent = approval.approve(desk.record(), by="anna")
    switches.set_switch(
        Scope.SYMBOL, CALL, KillSwitch.State.HALTED, by="bert", reason="news", at=configured_clock().now()
    )
    assert deliver(intent.pk).state == IntentState.DENIED
    with pytest.raises(OrderDenied, match="HALTED"):
        approval.approve(desk.record("k2"), by="anna")


def test_an_approval_comes_too_late(desk: Desk) -> None:
    intent = desk.record()
    assert intent.not_after - intent.created_at == timedelta(minutes=5)
    desk.pass_time(301)
    with pytest.raises(OrderDenied, match="could be approved until 10:05:00 IST; place a new one"):
        approval.approve(intent, by="anna")
    assert operations.sweep() == []
    intent.refresh_from_db()
    assert (intent.state, intent.closed_reason) == (
        IntentState.LAPSED,
        "its time ran out at 10:05:00 IST: nobody approved it",
    )


def test_cancels_and_exits_wait_for_nobody(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send(side="S", reduce_only=True).state == IntentState.WORKING
    assert desk.gateway.cancel_order("000001") is True


def test_a_change_of_an_order_waits_and_one_of_an_exit_does_not(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    approval.approve(desk.record("k1"), by="anna")
    deliver(OrderIntent.objects.get().pk)
    desk.send("exit", side="S", reduce_only=True)
    account: dict[str, Any] = {"broker": desk.account.broker, "account": "default", "limit_price": "101"}
    change = operations.record_modify(**account, broker_order_id="000001", client_order_id="m1")
    assert change.state == IntentState.AWAITING_APPROVAL
    approval.approve(change, by="anna")
    assert deliver(change.pk).state == IntentState.WORKING
    assert operations.record_modify(**account, broker_order_id="000002", client_order_id="m2").state == (
        IntentState.READY
    )


def test_a_caller_is_told_that_it_waits_and_under_which_id(desk: Desk) -> None:
    with pytest.raises(ApprovalNeeded, match="waits for approval in the admin as client order id mine, until 10:05"):
        desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5", client_order_id="mine")
    intent = OrderIntent.objects.get()
    assert intent.state == IntentState.AWAITING_APPROVAL
    approval.approve(intent, by="anna")
    assert desk.gateway.place_order(CALL, "B", 65, "LMT", "100.5", client_order_id="mine") == "000001"


def test_two_decisions_at_once_are_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = desk.record()
    same = OrderIntent.objects.select_related("account").get()
    approval.decline(same, by="bert")
    with pytest.raises(OrderDenied, match="is DENIED by now"):
        approval.approve(intent, by="anna")
    assert HumanDecision.objects.get().kind == "DECLINE"


def test_nothing_becomes_ready_without_a_yes(desk: Desk) -> None:
    """An order that was recorded before the account asked for approvals needs one, too."""
    BrokerAccount.objects.update(requires_approval=False)
    intent = desk.record()
    BrokerAccount.objects.update(requires_approval=True)
    assert "need a person's approval" in deliver(intent.pk).closed_reason


def test_a_bell_is_rung_when_the_decision_is_committed(desk: Desk, django_capture_on_commit_callbacks: Any) -> None:
    rung: list[int] = []
    intent = desk.record()
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        approval.approve(intent, by="anna", ring=lambda approved: rung.append(approved.pk))
        assert not rung
    assert rung == [intent.pk]
    desk.pass_time(3)
    assert operations.sweep() == [intent]


def test_a_limit_reached_at_the_approval_says_which(desk: Desk) -> None:
    intent = desk.record()
    limits.change(Scope.EVERYTHING, "", {"max_lots": 0}, by="bert", reason="", at=configured_clock().now())
    with pytest.raises(limits.LimitReached, match="max_lots of everything is 0"):
        approval.approve(intent, by="anna")


def test_an_unreachable_broker_leaves_the_order_waiting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = desk.record()

    def unavailable(instrument: Any) -> Any:
        raise BrokerUnavailable("The broker does not answer.")

    monkeypatch.setattr(desk.adapter, "fetch_quote", unavailable)
    with pytest.raises(BrokerUnavailable):
        approval.approve(intent, by="anna")
    assert OrderIntent.objects.get().state == IntentState.AWAITING_APPROVAL
