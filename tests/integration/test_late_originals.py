"""An order that was called absent shows up all the same: a second is not sent, and whatever came of it, people know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from brokers.clock import configured_clock
from brokers.domain.account import Position
from brokers.domain.enums import OrderStatus
from brokers.domain.gtt import GttAck
from brokers.domain.order_states import RESERVING_STATES, AttemptOutcome, IntentState
from brokers.domain.orders import OrderAck
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.ledger.operations import sweep
from brokers.models import Alert, BrokerAccount, BrokerOrder, KillSwitch, OrderIntent, Scope
from brokers.recovery import decisions, reconciliation
from brokers.recovery.reading import read_book
from brokers.risk import switches
from tests.integration.test_decisions import WORDS, asked, confirmed
from tests.integration.test_ledger import Desk
from tests.integration.test_reconciliation import (
    allow_resend,
    end_of,
    hold,
    long_lived,
    look,
    lose,
    wait_out,
)
from tests.integration.test_reconciliation import broker as broker
from tests.integration.test_reconciliation import desk as desk
from tests.integration.test_reconciliation import tagged as tagged
from tests.integration.test_reconciliation import untagged as untagged
from tests.support import scripted_broker
from tests.support.scripted_broker import ScriptedAdapter

pytestmark = pytest.mark.django_db

ORIGINAL = "000002"


def told(*kinds: str) -> set[str]:
    return set(Alert.objects.filter(kind__in=kinds, acknowledged_at=None).values_list("kind", flat=True))


def people_trade_too() -> None:
    """So that an order which is nobody's is nothing to tell of by itself."""
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)


def resent(desk: Desk) -> OrderIntent:
    """Lost, called absent by a person and to be sent again; the original is not shown yet."""
    people_trade_too()
    desk.adapter.hidden = {ORIGINAL}
    intent = asked(desk)
    decisions.resend(intent, **WORDS, confirmed_twice=confirmed(desk))
    desk.pass_time(1)
    return intent


def resent_by_policy(desk: Desk) -> OrderIntent:
    allow_resend()
    intent = lose(desk, not_after=long_lived())
    desk.adapter.hidden = {ORIGINAL}
    wait_out(desk)
    assert end_of(intent)[0] == IntentState.READY
    return intent


def show(desk: Desk) -> None:
    """A reading by schedule shows the original, which judges nothing."""
    desk.adapter.hidden = set()
    desk.sync()


# Before the second is sent


def test_what_showed_up_meanwhile_is_not_sent_a_second_time(desk: Desk) -> None:
    intent = resent(desk)
    show(desk)
    desk.pass_time(1)
    assert deliver(intent.pk).state == IntentState.READY
    assert f"order {ORIGINAL} may be it" in OrderIntent.objects.get(pk=intent.pk).waiting_reason
    look(desk, 300)
    assert end_of(intent) == (IntentState.NEEDS_HUMAN, AttemptOutcome.VOID)
    assert told("needs_human")
    assert len(desk.adapter.sent) == 2


def test_what_policy_was_to_send_again_is_not_sent_once_it_shows_up(tagged: Desk) -> None:
    intent = resent_by_policy(tagged)
    show(tagged)
    assert deliver(intent.pk).state == IntentState.READY
    look(tagged, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert told("needs_human", "resend_off") == {"needs_human", "resend_off"}
    decisions.adopt(intent, ORIGINAL, **WORDS)
    assert end_of(intent) == (IntentState.WORKING, AttemptOutcome.ADOPTED)
    assert len(tagged.adapter.sent) == 2


def test_a_look_alike_that_a_person_had_seen_does_not_hold_it_up(untagged: Desk) -> None:
    people_trade_too()
    intent = asked(untagged)
    decisions.resend(intent, **WORDS, confirmed_twice=True)
    assert deliver(intent.pk).state == IntentState.WORKING


# After it


def test_what_a_scheduled_reading_saw_first_is_told_after_a_second_was_filled(desk: Desk) -> None:
    intent = resent(desk)
    assert deliver(intent.pk).state == IntentState.WORKING
    desk.pass_time(10)
    show(desk)
    desk.pass_time(10)
    desk.set_book("000003", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    look(desk, 300, 300)
    assert end_of(intent)[0] == IntentState.FILLED
    assert told("sent_twice", "suspect_order")


@pytest.mark.parametrize("minutes", [0, 5])
def test_what_a_scheduled_reading_saw_first_is_put_before_a_person(desk: Desk, minutes: int) -> None:
    people_trade_too()
    lifetime: dict[str, Any] = {"not_after": configured_clock().now() + timedelta(minutes=minutes)} if minutes else {}
    intent = lose(desk, **lifetime)
    desk.adapter.hidden = {ORIGINAL}
    wait_out(desk)
    assert end_of(intent)[0] == (IntentState.ABSENT if minutes else IntentState.NOT_PLACED)
    desk.pass_time(10)
    show(desk)
    look(desk, 60, 300, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN


def test_what_another_reading_saw_while_it_was_judged_is_put_before_a_person(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    people_trade_too()
    intent = lose(desk)
    desk.adapter.hidden = {ORIGINAL}
    wait_out(desk, 2)
    fetch = desk.adapter.fetch_positions

    def and_meanwhile() -> list[Position]:
        monkeypatch.setattr(desk.adapter, "fetch_positions", fetch)
        show(desk)
        desk.pass_time(0.5)
        return fetch()

    monkeypatch.setattr(desk.adapter, "fetch_positions", and_meanwhile)
    look(desk, 20.5)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    look(desk, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN


def test_what_a_person_saw_and_called_another_s_is_not_asked_again(desk: Desk) -> None:
    people_trade_too()
    intent = asked(desk)
    decisions.not_placed(intent, **WORDS)
    look(desk, 300, 300, 300)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_what_a_person_saw_when_they_answered_for_the_second_is_not_asked_again(untagged: Desk) -> None:
    intent = resent(untagged)
    untagged.adapter.script = [scripted_broker.drops]
    assert deliver(intent.pk).state == IntentState.UNKNOWN
    show(untagged)
    wait_out(untagged)
    look(untagged, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    decisions.not_placed(intent, **WORDS)
    look(untagged, 300, 300, 300)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_the_second_is_not_taken_for_the_first_while_it_is_sent(desk: Desk) -> None:
    intent = resent(desk)

    def taken_while_the_book_is_read(adapter: ScriptedAdapter, operation: object) -> OrderAck | GttAck:
        answer = scripted_broker.accepts(adapter, operation)
        reconciliation.recover(desk.account.broker)
        return answer

    desk.pass_time(300)
    desk.adapter.script = [taken_while_the_book_is_read]
    assert deliver(intent.pk).state == IntentState.WORKING
    assert BrokerOrder.objects.get(broker_order_id="000003").book_seen_at is not None
    look(desk, 300)
    assert not told("sent_twice", "resend_off", "suspect_order")


def test_the_second_is_not_taken_for_the_first_by_a_reading_that_its_answer_overtook(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = resent(desk)

    def and_meanwhile_it_is_answered(*arguments: Any, **more: Any) -> Any:
        reading = read_book(*arguments, **more)
        assert reading is not None
        deliver(intent.pk)
        order = BrokerOrder.objects.get(broker_order_id="000003")
        order.attempt = None
        reading.mirror.append(order)
        return reading

    monkeypatch.setattr(reconciliation, "read_book", and_meanwhile_it_is_answered)
    look(desk, 300)
    assert end_of(intent)[0] == IntentState.WORKING
    assert not told("sent_twice", "resend_off", "suspect_order")


# The second came to nothing


def halted(intent: OrderIntent) -> None:
    now = configured_clock().now()
    account = str(intent.account)
    switches.set_switch(Scope.ACCOUNT, account, KillSwitch.State.HALTED, by="asha", reason="enough", at=now)
    deliver(intent.pk)


def withdrawn(intent: OrderIntent) -> None:
    operations.withdraw(intent, cause="not wanted any more")


def lapsed(intent: OrderIntent) -> None:
    OrderIntent.objects.filter(pk=intent.pk).update(not_after=configured_clock().now() - timedelta(seconds=1))
    sweep()


def never_left(intent: OrderIntent) -> None:
    for _ in range(3):
        OrderIntent.objects.filter(pk=intent.pk).update(not_before=configured_clock().now())
        deliver(intent.pk)


@pytest.mark.parametrize("how", [halted, withdrawn, lapsed, never_left])
def test_what_was_not_sent_a_second_time_after_all_stays_watched_and_reserved(
    desk: Desk, how: Callable[[OrderIntent], None]
) -> None:
    intent = resent(desk)
    desk.adapter.script = [scripted_broker.never_leaves] * 3
    how(intent)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    assert intent.state in RESERVING_STATES
    show(desk)
    look(desk, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    decisions.adopt(intent, ORIGINAL, **WORDS)
    assert end_of(intent)[0] == IntentState.WORKING


def test_the_first_can_be_adopted_although_the_second_was_refused(desk: Desk) -> None:
    intent = resent(desk)
    desk.adapter.script = [scripted_broker.refuses("Insufficient funds")]
    assert deliver(intent.pk).state == IntentState.NOT_PLACED
    intent.refresh_from_db()
    assert "Insufficient funds" in intent.closed_reason
    show(desk)
    look(desk, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    decisions.adopt(intent, ORIGINAL, **WORDS)
    assert [each.outcome for each in intent.attempts.order_by("number")] == ["ADOPTED", "VOID"]


@pytest.mark.parametrize("how", [halted, lapsed])
def test_an_exit_that_was_not_sent_a_second_time_after_all_is_told(
    desk: Desk, how: Callable[[OrderIntent], None]
) -> None:
    people_trade_too()
    hold(desk, 65)
    hour = configured_clock().now() + timedelta(hours=1)
    intent = lose(desk, taken=False, side="S", reduce_only=True, limit_price=Decimal(100), not_after=hour)
    wait_out(desk)
    assert end_of(intent)[0] == IntentState.ABSENT
    decisions.resend(intent, **WORDS, confirmed_twice=confirmed(desk))
    how(intent)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    assert told("exit_not_taken")


def test_an_exit_that_was_called_absent_and_shows_up_is_put_before_a_person(desk: Desk) -> None:
    people_trade_too()
    hold(desk, 65)
    intent = lose(desk, side="S", reduce_only=True, limit_price=Decimal(100))
    desk.adapter.hidden = {ORIGINAL}
    wait_out(desk)
    desk.pass_time(10)
    show(desk)
    look(desk, 300)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
