"""Ways in which an order could go twice, be lost or forgotten, or a person be left uninformed. Each one worked once.

What was found, and how it was mended, is told in ``docs/evidence/attacks.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from brokers import barrier, sessions
from brokers.alerts import acknowledge
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of, specs
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import BrokerError, BrokerUnavailable, OrderDenied, PersonNeeded, RateLimited
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.factory import BrokerFactory
from brokers.ledger import book, delivery, operations
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    InstrumentMaster,
    KillSwitch,
    OrderAttempt,
    OrderIntent,
    Scope,
    SessionState,
)
from brokers.plans import closing, running
from brokers.recovery import reconciliation
from brokers.risk import gate, switches
from credentials.models import CredentialStore
from tasks.instruments import refresh_instruments
from tasks.sessions import refresh_session
from tests.integration.test_ledger import Desk
from tests.integration.test_risk import position
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, foreign_row

pytestmark = pytest.mark.django_db

#: States in which nobody looks for the order any more.
TAKEN_FOR_ABSENT = (IntentState.ABSENT, IntentState.NOT_PLACED)
MINUTE = 60


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@pytest.fixture
def desk(broker: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    _, adapter = scripted_broker.install(broker)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    return Desk(BrokerAccount.objects.get(), adapter)


def lose(desk: Desk, *, taken: bool = True, **changes: object) -> OrderIntent:
    """Send an order whose answer is lost, after the broker took it or before."""
    desk.adapter.script = [scripted_broker.takes_and_drops if taken else scripted_broker.drops]
    intent = desk.send("lost", **changes)
    assert intent.state == IntentState.UNKNOWN
    return intent


def look(desk: Desk, *, minutes: float, step: float = 20) -> None:
    """Let time pass while beat ticks."""
    for _ in range(int(minutes * MINUTE / step)):
        desk.pass_time(step)
        reconciliation.recover(desk.account.broker)


def state_of(intent: OrderIntent) -> IntentState:
    intent.refresh_from_db()
    return IntentState(intent.state)


class Killed(BaseException):
    """What kill -9 leaves behind: an armed attempt and nobody to settle it."""


def leave_armed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> OrderIntent:
    def die(*_: Any) -> None:
        raise Killed

    intent = desk.record()
    with monkeypatch.context() as dying:
        dying.setattr(delivery, "_send", die)
        with pytest.raises(Killed):
            delivery.deliver(intent.pk)
    assert state_of(intent) == IntentState.ARMED
    return intent


# Sent although it must not be


def test_a_database_that_is_slow_to_show_the_switches_lets_nothing_out_late(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_switches = gate.check_before_first_byte

    def slow(intent: OrderIntent) -> None:
        look_at_switches(intent)
        desk.pass_time(MINUTE)

    monkeypatch.setattr(gate, "check_before_first_byte", slow)
    assert desk.send().state != IntentState.WORKING
    assert not desk.adapter.book


@pytest.mark.parametrize("option", ["--account", "--strategy", "--symbol"])
def test_an_empty_name_resumes_nothing(option: str, db: None) -> None:
    now = configured_clock().now()
    switches.set_switch(Scope.EVERYTHING, "", KillSwitch.State.HALTED, by="me", reason="stop", at=now)
    with pytest.raises(CommandError):
        call_command("halt", "--resume", option, "", stdout=StringIO())
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.HALTED


@pytest.mark.parametrize("name", ["s1 ", " s1"])
def test_no_strategy_has_a_name_that_no_switch_can_have(desk: Desk, name: str) -> None:
    with pytest.raises(OrderDenied, match="space"):
        desk.send(strategy=name)
    assert not desk.adapter.book


def test_a_resting_entry_is_not_made_to_fill_while_only_exits_go(desk: Desk) -> None:
    desk.send(quantity=130, limit_price="90")
    now = configured_clock().now()
    switches.set_switch(Scope.EVERYTHING, "", KillSwitch.State.REDUCING, by="me", reason="enough", at=now)

    def change(key: str, **values: Any) -> OrderIntent:
        order: dict[str, Any] = {"broker": desk.account.broker, "account": "default", "broker_order_id": "000001"}
        return delivery.deliver(operations.record_modify(**order, client_order_id=key, **values).pk)

    assert change("smaller, and it fills", quantity=65, limit_price="101").state == IntentState.DENIED
    assert change("only smaller", quantity=65).state == IntentState.WORKING


# Twice


def test_a_click_after_the_cool_down_but_before_the_outcome_is_a_second_one(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    for _ in range(2):
        with pytest.raises(BrokerError):
            desk.gateway.place_order(CALL, "B", 65, "LIMIT", "100.50")
        desk.pass_time(15)
    assert len(desk.adapter.sent) == 1


# Taken for absent


@pytest.mark.parametrize("manual", BrokerAccount.ManualTrading.values)
@pytest.mark.parametrize(
    "changes",
    [
        {"limit_price": Decimal("99.00")},
        {"quantity": 130},
        {"quantity": 130, "filled_quantity": 65, "status": OrderStatus.PARTIALLY_FILLED},
    ],
)
def test_a_lost_order_that_a_person_changed_is_not_absent(desk: Desk, changes: dict[str, Any], manual: str) -> None:
    BrokerAccount.objects.update(manual_trading=manual)
    desk.send("other", quantity=130)
    desk.sync()
    intent = lose(desk)
    desk.set_book("000002", **changes)
    look(desk, minutes=10)
    assert state_of(intent) not in TAKEN_FOR_ABSENT


@pytest.mark.parametrize("shown", [lambda tag: tag[:10], lambda tag: f"X{tag[:15]}", lambda tag: tag.lower()])
def test_a_lost_order_whose_tag_the_broker_cut_or_changed_is_not_absent(
    desk: Desk, shown: Callable[[str], str]
) -> None:
    desk.send("other", quantity=130)
    desk.sync()
    intent = lose(desk)
    desk.set_book("000002", client_tag=shown(intent.client_tag))
    look(desk, minutes=10)
    assert state_of(intent) not in TAKEN_FOR_ABSENT


def test_a_clock_that_was_set_back_makes_no_live_order_absent(desk: Desk) -> None:
    desk.send("other", quantity=130)
    desk.sync()
    desk.pass_time(-20)
    intent = lose(desk)
    desk.sync()
    look(desk, minutes=10)
    assert state_of(intent) not in TAKEN_FOR_ABSENT


# Not found, or forgotten


def test_an_order_in_the_book_is_found_although_another_s_history_cannot_be_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(*_: Any) -> frozenset[str]:
        raise BrokerUnavailable("It hangs.")

    intent = lose(desk)
    desk.adapter.book["900"] = foreign_row("900", symbol=CALL, exchange="NFO", quantity=65)
    monkeypatch.setattr(desk.adapter, "fetch_order_tags", hangs)
    look(desk, minutes=1 if desk.adapter.capabilities.echoes_client_tag else 5)
    assert state_of(intent) == IntentState.WORKING


def test_many_orders_of_people_leave_no_question_open_for_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    if not desk.adapter.capabilities.echoes_client_tag:
        pytest.skip("Capabilities.echoes_client_tag is False")
    asked: Counter[str] = Counter()

    def runs_out_of_calls(order_id: str, *_: Any) -> frozenset[str]:
        if sum(asked.values()) % 4 == 3:
            asked["nobody"] += 1
            raise RateLimited("Not now.", retry_after=timedelta(seconds=1))
        asked[order_id] += 1
        return frozenset()

    for number in range(900, 930):
        desk.adapter.book[str(number)] = foreign_row(str(number), symbol=CALL, exchange="NFO", quantity=130)
    monkeypatch.setattr(desk.adapter, "fetch_order_tags", runs_out_of_calls)
    desk.sync()
    desk.pass_time(10 * MINUTE)
    intent = lose(desk, taken=False)
    look(desk, minutes=30)
    assert state_of(intent) in (*TAKEN_FOR_ABSENT, IntentState.NEEDS_HUMAN)
    assert max(asked[str(number)] for number in range(900, 930)) == 1


def test_a_clock_that_was_set_back_stops_no_reading(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.book_script = [BrokerUnavailable("It hangs.")] * 100
    look(desk, minutes=5)
    desk.pass_time(-60 * MINUTE)
    desk.adapter.book_script = []
    # Without a tag it is told from others by its time, so that the clock has to catch up.
    look(desk, minutes=5 if desk.adapter.capabilities.echoes_client_tag else 75, step=60)
    assert state_of(intent) == IntentState.WORKING


def test_a_clock_that_was_set_back_forgets_no_dead_sender(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = leave_armed(desk, monkeypatch)
    desk.pass_time(-30 * MINUTE)
    look(desk, minutes=1)
    assert state_of(intent) == IntentState.UNKNOWN


def test_a_sender_that_died_before_midnight_is_judged_after_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = leave_armed(desk, monkeypatch)
    desk.pass_time(24 * 60 * MINUTE)
    look(desk, minutes=1)
    assert state_of(intent) == IntentState.NEEDS_HUMAN


@pytest.mark.parametrize("answer", [scripted_broker.accepts, scripted_broker.takes_and_drops])
def test_a_book_that_still_shows_yesterday_s_orders_halts_nothing(desk: Desk, answer: scripted_broker.Step) -> None:
    desk.adapter.script = [answer]
    desk.send()
    desk.sync()
    desk.pass_time(22 * 60 * MINUTE)
    book.apply_book(desk.account, desk.adapter.fetch_orders(), configured_clock().now())
    assert not KillSwitch.objects.filter(state=KillSwitch.State.HALTED).exists()
    suspects = BrokerOrder.objects.filter(origin=BrokerOrder.Origin.SUSPECT)
    assert not suspects.filter(trading_day=trading_day(configured_clock().now())).exists()


# A person uninformed, or called for nothing


def test_one_day_on_which_nobody_read_the_book_leaves_nobody_uninformed(desk: Desk) -> None:
    for number in range(200):
        _seen_after(desk, number, timedelta(hours=2) if not number else timedelta(seconds=1))
    intent = lose(desk, taken=False)
    look(desk, minutes=5)
    assert Alert.objects.filter(intent=intent).exists()


def test_a_person_hears_of_an_unknown_order_although_the_credentials_are_gone(desk: Desk) -> None:
    intent = lose(desk)
    CredentialStore.objects.all().delete()
    BrokerFactory._gateways.clear()
    look(desk, minutes=5)
    assert Alert.objects.filter(intent=intent).exists()


def test_a_person_is_asked_before_the_close_although_no_call_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(**_: Any) -> None:
        raise RateLimited("The day's calls are used up.", retry_after=timedelta(hours=5))

    intent = lose(desk, taken=False)
    monkeypatch.setattr(desk.gateway, "_take_budget", spent)
    desk.pass_time((5 * 60 + 40) * MINUTE)
    look(desk, minutes=1)
    assert state_of(intent) == IntentState.NEEDS_HUMAN


def test_a_person_hears_of_an_exit_that_was_not_taken(desk: Desk) -> None:
    exit_order = {"side": "S", "reduce_only": True}
    assert desk.send("beyond the position", **exit_order).state == IntentState.DENIED
    desk.record("too late", **exit_order)
    desk.pass_time(10 * MINUTE)
    operations.sweep()
    [alert] = Alert.objects.filter(acknowledged_at__isnull=True)
    assert (alert.kind, alert.count) == ("exit_not_taken", 2)


def record_cancel(desk: Desk) -> OrderIntent:
    return operations.record_cancel(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="cancel"
    )


def test_a_cancel_of_an_exit_that_came_too_late_asks_nobody_to_exit_again(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send("exit", side="S", reduce_only=True).state == IntentState.WORKING
    cancel = delivery.deliver(record_cancel(desk).pk)
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    assert state_of(cancel) == IntentState.REJECTED
    assert not Alert.objects.exists()


def test_a_person_hears_of_a_cancel_that_was_not_sent_while_its_order_works(desk: Desk) -> None:
    desk.send("entry")
    cancel = record_cancel(desk)
    desk.pass_time(10 * MINUTE)
    operations.sweep()
    assert state_of(cancel) == IntentState.LAPSED
    [alert] = Alert.objects.filter(acknowledged_at__isnull=True)
    assert (alert.kind, alert.account) == ("cancel_not_taken", desk.account)
    assert "to cancel order 000001" in alert.happened


def test_a_person_hears_of_an_order_that_was_taken_and_is_in_no_book(desk: Desk) -> None:
    desk.send("seen", quantity=130)
    desk.send("hidden")
    desk.adapter.hidden = {"000002"}
    desk.sync()
    desk.pass_time(2 * MINUTE)
    desk.sync()
    assert not Alert.objects.exists()
    desk.pass_time(2 * MINUTE)
    desk.sync()
    desk.sync()
    [alert] = Alert.objects.filter(acknowledged_at__isnull=True)
    assert (alert.kind, alert.account, alert.count) == ("not_in_book", desk.account, 2)
    assert "does not show order 000002," in alert.happened

    desk.adapter.hidden = set()
    desk.sync()
    assert not Alert.objects.filter(acknowledged_at__isnull=True).exists()


def read_on(desk: Desk, minutes: int) -> list[str]:
    """What is open after the book was read every minute."""
    for _ in range(minutes):
        desk.pass_time(MINUTE)
        desk.sync()
    return list(Alert.objects.filter(acknowledged_at__isnull=True).values_list("kind", flat=True))


@pytest.mark.parametrize("status", [OrderStatus.OPEN, OrderStatus.FILLED])
def test_a_person_hears_of_a_working_order_that_is_in_the_book_no_more(desk: Desk, status: OrderStatus) -> None:
    desk.send("stays", quantity=130)
    desk.send("vanishes")
    assert read_on(desk, 5) == []
    desk.adapter.hidden = {"000002"}
    assert read_on(desk, 2) == []
    assert read_on(desk, 2) == ["not_in_book"]
    assert "does not show order 000002, which it last showed" in Alert.objects.get().happened

    desk.adapter.hidden = set()
    desk.set_book("000002", status=status, filled_quantity=65 if status is OrderStatus.FILLED else 0)
    assert read_on(desk, 1) == []


def test_orders_that_have_ended_or_are_not_ours_may_leave_the_book(desk: Desk) -> None:
    desk.send("stays", quantity=130)
    desk.send("ends")
    desk.adapter.book["000009"] = foreign_row("000009")
    desk.set_book("000002", status=OrderStatus.FILLED, filled_quantity=65)
    desk.sync()
    desk.adapter.hidden = {"000002", "000009"}
    assert "not_in_book" not in read_on(desk, 5)


def test_an_order_that_no_book_shows_is_told_once_to_whoever_acknowledges_it(desk: Desk) -> None:
    for key, quantity in (("stays", 130), ("first", 65), ("second", 195)):
        desk.send(key, quantity=quantity)
    desk.sync()
    desk.adapter.hidden = {"000002"}
    assert read_on(desk, 5) == ["not_in_book"]
    acknowledge(Alert.objects.all(), by="asha", at=configured_clock().now())
    assert read_on(desk, 5) == [], "they know"
    desk.adapter.hidden = {"000002", "000003"}
    assert read_on(desk, 5) == ["not_in_book"]


def test_a_person_is_called_when_only_a_person_can_log_in(desk: Desk) -> None:
    def refresh() -> list[str]:
        refresh_session(broker=desk.account.broker)
        return list(Alert.objects.filter(acknowledged_at__isnull=True).values_list("kind", flat=True))

    SessionState.objects.update(status=SessionState.Status.EXPIRED)
    desk.adapter.logins = [PersonNeeded("Open the page.", login_url="http://broker.example/login")]
    assert refresh() == ["no_session"]
    SessionState.objects.update(status=SessionState.Status.NONE, retry_at=None)
    assert refresh() == []


def test_a_published_master_does_not_wait_for_a_late_person(desk: Desk) -> None:
    SessionState.objects.update(status=SessionState.Status.EXPIRED)
    desk.adapter.logins = [PersonNeeded("Open the page.", login_url="http://broker.example/login")]
    InstrumentMaster.objects.all().delete()
    refresh_instruments(broker=desk.account.broker)
    is_public = spec_of(desk.account.broker).capabilities.has_public_master
    assert InstrumentMaster.objects.exists() is is_public


def test_a_closing_calls_a_person_when_flat_may_not_last(desk: Desk) -> None:
    intent = lose(desk)
    plan = closing.record_close(broker=desk.account.broker, symbol=CALL, client_order_id="flat")
    closing.look(plan.pk)
    plan.refresh_from_db()
    assert plan.finished_at is None
    assert "lost of NIFTY26DEC26000CE is UNKNOWN and may open a position" in plan.stopped_reason
    assert Alert.objects.filter(kind="plan_stopped").exists()
    look(desk, minutes=5)
    assert state_of(intent) == IntentState.WORKING
    running.resume(plan.pk, by="me")
    closing.look(plan.pk)
    plan.refresh_from_db()
    assert plan.finished_at is not None


def test_an_order_booked_twice_halts_the_account_until_a_person_has_explained_it(desk: Desk) -> None:
    if not desk.adapter.capabilities.echoes_client_tag:
        pytest.skip("Capabilities.echoes_client_tag is False")
    desk.send()
    desk.adapter.book["000009"] = replace(desk.adapter.book["000001"], broker_order_id="000009")
    desk.sync()
    now = configured_clock().now()
    assert KillSwitch.objects.filter(scope=Scope.ACCOUNT, state=KillSwitch.State.HALTED).exists()
    assert not barrier._own_orders(desk.account, now).is_green
    acknowledge(Alert.objects.filter(kind="suspect_order"), by="me", at=now)
    assert barrier._own_orders(desk.account, now).is_green


def test_nobody_is_called_any_more_for_what_is_answered(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.book_script = [BrokerUnavailable("It hangs.")] * 20
    look(desk, minutes=6)
    assert set(Alert.objects.filter(acknowledged_at__isnull=True).values_list("kind", flat=True)) == {
        "unknown",
        "cannot_see",
    }
    desk.adapter.book_script = []
    look(desk, minutes=10)
    assert state_of(intent) == IntentState.WORKING
    assert not Alert.objects.filter(acknowledged_at__isnull=True).exists()


def _seen_after(desk: Desk, number: int, delay: timedelta) -> None:
    """An order of this morning that the book showed so long after it was armed."""
    now = configured_clock().now()
    intent = OrderIntent.objects.create(
        account=desk.account,
        kind=IntentKind.PLACE,
        client_order_id=f"earlier-{number}",
        client_tag=f"M{number}",
        trading_day=trading_day(now),
        symbol=CALL,
        side="BUY",
        quantity=65,
        state=IntentState.FILLED,
        not_before=now,
        not_after=now,
        created_at=now,
        updated_at=now,
    )
    attempt = OrderAttempt.objects.create(
        intent=intent,
        number=1,
        outcome=AttemptOutcome.ACKED,
        match_key=f"earlier-{number}",
        pid=1,
        pid_start=1,
        armed_at=now,
        send_deadline_at=now,
        quiet_at=now,
    )
    BrokerOrder.objects.create(
        account=desk.account,
        trading_day=trading_day(now),
        broker_order_id=f"9{number:05d}",
        attempt=attempt,
        origin=BrokerOrder.Origin.OURS,
        quantity=65,
        status=OrderStatus.FILLED,
        first_seen_at=now,
        last_seen_at=now,
        book_seen_at=now + delay,
    )
