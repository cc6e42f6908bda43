"""An order whose answer was lost is found in the book, proved absent, or put before a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.conf import settings

from brokers import limits, sessions
from brokers.alerts import acknowledge
from brokers.calendar import MarketCalendar
from brokers.clock import IST, SimulatedClock, configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.account import Position
from brokers.domain.enums import Exchange, OrderStatus, Product, Side
from brokers.domain.errors import (
    BrokerUnavailable,
    LoginFailed,
    OrderEnded,
    OrderOutcomeUnknown,
    RateLimited,
    SessionExpired,
    TagTaken,
)
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import Fill, Order, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import book, operations
from brokers.ledger.delivery import deliver
from brokers.limits import Urgency
from brokers.models import (
    Alert,
    BookRead,
    BrokerAccount,
    BrokerOrder,
    KillSwitch,
    OrderIntent,
    PositionLine,
    PositionSnapshot,
    SessionState,
    Severity,
)
from brokers.plans import closing, running
from brokers.recovery import agenda, deadlines, decisions, reconciliation, visibility
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, foreign_row

pytestmark = pytest.mark.django_db

#: From arming until an order must be in the book: every timeout, and the bound.
MUST_SHOW_SECONDS = 18 + 180


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@pytest.fixture
def desk(broker: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An account in which nobody trades by hand, with another order of the day in its book."""
    _, adapter = scripted_broker.install(broker)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    desk = Desk(BrokerAccount.objects.get(), adapter)
    desk.send("other", quantity=130)
    desk.sync()
    adapter.reads.clear()
    return desk


@pytest.fixture
def tagged(desk: Desk) -> Desk:
    """A desk at a broker that echoes our tag."""
    if not echoes(desk):
        pytest.skip("this broker echoes no tag")
    return desk


@pytest.fixture
def untagged(desk: Desk) -> Desk:
    """A desk at a broker that echoes no tag."""
    if echoes(desk):
        pytest.skip("this broker echoes the tag")
    return desk


def echoes(desk: Desk) -> bool:
    return desk.adapter.capabilities.echoes_client_tag


def lose(desk: Desk, *, taken: bool = True, key: str = "lost", **changes: object) -> OrderIntent:
    """Send an order whose answer is lost, after the broker took it or before."""
    desk.adapter.script = [scripted_broker.takes_and_drops if taken else scripted_broker.drops]
    intent = desk.send(key, **changes)
    assert intent.state == IntentState.UNKNOWN
    return intent


def look(desk: Desk, *pauses: float) -> None:
    """Look into the book after each pause."""
    for seconds in pauses:
        desk.pass_time(seconds)
        reconciliation.recover(desk.account.broker)


def wait_out(desk: Desk, readings: int = 3) -> None:
    """Let the time pass in which the order must show up, and then read the book often enough for a proof."""
    look(desk, MUST_SHOW_SECONDS + 1, *[20.5] * (readings - 1))


def lost(key: str = "lost") -> OrderIntent:
    return OrderIntent.objects.get(client_order_id=key)


def end_of(intent: OrderIntent) -> tuple[str, str]:
    intent.refresh_from_db()
    return intent.state, intent.attempts.latest("number").outcome


# It is there


def test_a_lost_answer_is_found_in_the_book(desk: Desk) -> None:
    intent = lose(desk)
    look(desk, 1, MUST_SHOW_SECONDS)
    order = BrokerOrder.objects.get(broker_order_id="000002")
    assert end_of(intent) == (IntentState.WORKING, AttemptOutcome.ADOPTED)
    assert (order.attempt, order.origin) == (intent.attempts.get(), BrokerOrder.Origin.OURS)
    assert len(desk.adapter.sent) == 2


def test_a_tag_is_recognised_at_once(tagged: Desk) -> None:
    intent = lose(tagged)
    look(tagged, 1)
    assert end_of(intent)[0] == IntentState.WORKING


def test_a_look_alike_is_believed_only_when_no_second_can_come(untagged: Desk) -> None:
    intent = lose(untagged)
    look(untagged, 1, 60, 60, 60)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert "orders" not in untagged.adapter.reads, "nothing could be concluded from a reading"
    look(untagged, 20)
    assert end_of(intent)[0] == IntentState.WORKING


def test_what_is_found_is_followed_to_its_end_in_the_same_reading(desk: Desk) -> None:
    intent = lose(desk)
    desk.set_book("000002", status=OrderStatus.FILLED, filled_quantity=65, average_price=Decimal("100.25"))
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.FILLED
    assert [event.to_state for event in intent.events.order_by("sequence")][-2:] == ["WORKING", "FILLED"]


def test_one_reading_answers_every_question(desk: Desk) -> None:
    intents = [lose(desk, key=f"lost-{number}", quantity=65 * number) for number in (3, 4, 5)]
    look(desk, MUST_SHOW_SECONDS + 1)
    assert {end_of(intent)[0] for intent in intents} == {IntentState.WORKING}
    assert BookRead.objects.count() == desk.adapter.reads.count("orders") == 1


def test_a_tag_that_a_cancel_made_longer_is_recognised(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.set_book("000002", client_tag=f"{intent.client_tag}-1795420000", status=OrderStatus.CANCELLED)
    look(tagged, 1)
    assert end_of(intent)[0] == IntentState.CANCELLED


def test_a_tag_that_a_change_replaced_is_found_in_the_order_s_history(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.set_book("000002", client_tag="")
    tagged.adapter.tags["000002"] = frozenset({intent.client_tag})
    look(tagged, 1)
    assert end_of(intent) == (IntentState.WORKING, AttemptOutcome.ADOPTED)


def test_a_history_that_tells_nothing_leaves_the_order_to_a_person(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.set_book("000002", client_tag="")
    wait_out(tagged, 4)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN


def test_the_order_with_our_tag_but_other_values_is_suspect(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.set_book("000002", quantity=130)
    look(tagged, 1)
    assert end_of(intent) == (IntentState.NEEDS_HUMAN, AttemptOutcome.UNKNOWN)
    assert BrokerOrder.objects.get(broker_order_id="000002").origin == BrokerOrder.Origin.SUSPECT
    assert "quantity 130 where 65 was sent" in Alert.objects.get(kind="needs_human").happened


def test_two_orders_with_one_tag_halt_the_account(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.adapter.book["000003"] = replace(tagged.adapter.book["000002"], broker_order_id="000003")
    look(tagged, 1)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    switch = KillSwitch.objects.get(scope="ACCOUNT")
    assert (switch.scope_key, switch.state) == (str(tagged.account), KillSwitch.State.HALTED)
    assert Alert.objects.get(kind="suspect_order").severity == Severity.CRITICAL


def test_a_second_order_under_the_tag_of_an_acknowledged_one_halts_the_account(tagged: Desk) -> None:
    tagged.adapter.book["000009"] = replace(tagged.adapter.book["000001"], broker_order_id="000009")
    tagged.sync()
    assert KillSwitch.objects.get(scope="ACCOUNT").state == KillSwitch.State.HALTED
    KillSwitch.objects.update(state=KillSwitch.State.ACTIVE)
    tagged.sync()
    assert KillSwitch.objects.get(scope="ACCOUNT").state == KillSwitch.State.ACTIVE, "a person has looked at it"


def test_an_order_with_a_tag_of_ours_that_the_ledger_never_made_halts_the_account(tagged: Desk) -> None:
    tagged.adapter.book["000009"] = foreign_row("000009", client_tag="MABCDEFGHIJKLMN2")
    tagged.sync()
    assert KillSwitch.objects.get(scope="ACCOUNT").state == KillSwitch.State.HALTED
    assert "the ledger does not know it" in Alert.objects.get(kind="suspect_order").happened
    assert BrokerOrder.objects.get(broker_order_id="000009").origin == BrokerOrder.Origin.SUSPECT


def test_an_order_that_somebody_typed_halts_nothing(desk: Desk) -> None:
    desk.adapter.book["000009"] = foreign_row("000009", client_tag="OURDESK")
    desk.sync()
    assert not KillSwitch.objects.exists()


def test_where_nobody_trades_by_hand_a_stranger_s_order_is_told(desk: Desk) -> None:
    desk.adapter.book["000009"] = foreign_row("000009")
    desk.sync()
    desk.sync()
    alert = Alert.objects.get(kind="unexplained_order")
    assert (alert.count, "000009" in alert.happened) == (1, True)


def test_where_people_trade_too_a_stranger_s_order_is_nothing_new(desk: Desk) -> None:
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    desk.adapter.book["000009"] = foreign_row("000009")
    desk.sync()
    assert not Alert.objects.exists()


def test_a_lost_order_that_the_book_shows_is_no_stranger_s(desk: Desk) -> None:
    lose(desk)
    desk.sync()
    assert not Alert.objects.filter(kind="unexplained_order").exists()


@pytest.mark.parametrize("ours", ["found", "absent"])
def test_a_stranger_s_order_beside_a_lost_one_is_told_once_that_one_is_answered(desk: Desk, ours: str) -> None:
    lose(desk, taken=ours == "found")
    desk.adapter.book["000009"] = foreign_row("000009", symbol=CALL, exchange="NFO", quantity=650)
    desk.sync()
    assert not Alert.objects.filter(kind="unexplained_order").exists(), "it may be the lost one, changed"
    if ours == "found":
        look(desk, 1, MUST_SHOW_SECONDS)
    else:
        desk.set_book("000009", placed_at=configured_clock().now() - timedelta(hours=1))
        wait_out(desk, 4)
    desk.sync()
    desk.sync()
    alert = Alert.objects.get(kind="unexplained_order")
    assert (alert.count, "BUY 650" in alert.happened) == (1, True)


def test_orders_that_a_person_is_asked_about_are_told_when_they_have_answered(untagged: Desk) -> None:
    intent = lose(untagged)
    twin(untagged, "000009")
    untagged.sync()
    look(untagged, MUST_SHOW_SECONDS + 1)
    untagged.sync()
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert not Alert.objects.filter(kind="unexplained_order").exists(), "the question names both"
    decisions.adopt(intent, "000002", by="asha", reason="seen in the broker's app")
    untagged.sync()
    assert "000009" in Alert.objects.get(kind="unexplained_order").happened


def test_orders_from_when_people_traded_too_are_not_told_of(desk: Desk) -> None:
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=130)
    desk.sync()
    desk.pass_time(60)
    desk.adapter.book["000009"] = foreign_row("000009", symbol=CALL, exchange="NFO")
    desk.sync()
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    desk.sync()
    assert not Alert.objects.filter(kind="unexplained_order").exists()


# Which one it is, where there is no tag


def twin(desk: Desk, number: str, **changes: object) -> None:
    """Somebody else's order that equals the one that was lost."""
    values: dict[str, Any] = {
        "symbol": CALL,
        "exchange": "NFO",
        "product": Product.NRML,
        "quantity": 65,
        "pending_quantity": 65,
        "limit_price": Decimal("100.50"),
        "placed_at": configured_clock().now(),
    }
    desk.adapter.book[number] = foreign_row(number, **(values | changes))


def test_of_two_look_alikes_neither_is_adopted(untagged: Desk) -> None:
    intent = lose(untagged)
    twin(untagged, "000009")
    look(untagged, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert not BrokerOrder.objects.exclude(broker_order_id="000001").filter(attempt__isnull=False).exists()
    assert "000002, 000009" in Alert.objects.get(kind="needs_human").happened


def test_where_people_trade_too_a_look_alike_is_put_before_one(untagged: Desk) -> None:
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    intent = lose(untagged)
    look(untagged, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert "a person may have placed that" in Alert.objects.get(kind="needs_human").happened


@pytest.mark.parametrize(
    "minutes", [-30, 10], ids=["placed before it was sent", "placed after it had to be in the book"]
)
def test_an_order_of_another_time_is_not_it(untagged: Desk, minutes: int) -> None:
    intent = lose(untagged, taken=False)
    twin(untagged, "000009", placed_at=configured_clock().now() + timedelta(minutes=minutes))
    wait_out(untagged)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_an_order_that_was_in_the_book_before_is_not_it(untagged: Desk) -> None:
    twin(untagged, "000009")
    untagged.sync()
    untagged.pass_time(70)
    intent = lose(untagged, taken=False)
    wait_out(untagged)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_an_order_that_was_acknowledged_is_not_another_that_was_lost(untagged: Desk) -> None:
    untagged.send("same")
    intent = lose(untagged, taken=False)
    wait_out(untagged)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    assert BrokerOrder.objects.get(broker_order_id="000002").attempt.intent.client_order_id == "same"  # type: ignore[union-attr]


def test_the_look_alike_that_waited_goes_when_the_first_is_found(untagged: Desk) -> None:
    lose(untagged)
    second = untagged.record("second", not_after=configured_clock().now() + timedelta(minutes=10))
    assert deliver(second.pk).state == IntentState.READY
    look(untagged, MUST_SHOW_SECONDS + 1)
    assert deliver(second.pk).state == IntentState.WORKING


# It is not there


def test_what_the_broker_never_got_is_proved_absent(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    look(desk, MUST_SHOW_SECONDS - 1)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 3, 20.5)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 20.5)
    assert end_of(intent) == (IntentState.NOT_PLACED, AttemptOutcome.VOID)
    read_at = f"{configured_clock().now().astimezone(IST):%H:%M:%S} IST"
    assert f"3 complete readings of the book, the last at {read_at}" in intent.closed_reason
    event = intent.events.get(to_state=IntentState.ABSENT)
    assert BookRead.objects.get(pk=event.evidence["fresh_reading"]).session_version == 2
    assert desk.adapter.reads.count("login") == 1


def test_readings_close_to_one_another_count_once(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    look(desk, MUST_SHOW_SECONDS + 1, *[3] * 7)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 20, 20)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_an_empty_book_proves_nothing(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.book_script = [[] for _ in range(20)]
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert not BookRead.objects.filter(complete=True).exists()


def test_a_book_that_lost_an_order_proves_nothing(desk: Desk) -> None:
    desk.send("third", quantity=195)
    desk.sync()
    intent = lose(desk)
    desk.adapter.hidden = {"000001", "000003"}
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert "000001 among them" in BookRead.objects.latest("started_at").problem


def test_a_book_without_any_known_order_proves_nothing(desk: Desk) -> None:
    BrokerOrder.objects.filter(mutations=None).update(trading_day=datetime(2026, 11, 20, tzinfo=IST).date())
    desk.adapter.book.clear()
    intent = lose(desk, taken=False)
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert "nothing shows that the book is the right one" in BookRead.objects.latest("started_at").problem


def test_where_each_exchange_has_a_book_the_known_order_must_be_in_the_same(untagged: Desk) -> None:
    intent = lose(untagged, taken=False, symbol="RELIANCE", quantity=1, limit_price="99")
    wait_out(untagged, 5)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    untagged.adapter.book["000009"] = foreign_row("000009", placed_at=configured_clock().now() - timedelta(hours=1))
    look(untagged, *[241] * 4)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_a_trade_of_an_order_that_the_book_hides_proves_nothing(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.hidden = {"000002"}
    desk.adapter.fills = [fill("000002")]
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert "a trade of order 000002" in BookRead.objects.latest("started_at").problem


def test_without_a_fresh_login_nothing_is_absent_and_the_session_stays(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    desk.adapter.logins = [LoginFailed("The one-time password was refused.")]
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    session = SessionState.objects.get()
    assert (session.status, session.version) == (SessionState.Status.VALID, 1)
    assert desk.adapter.reads.count("login") == 1, "a refused login is not repeated at once"
    assert desk.send("next", quantity=195).state == IntentState.WORKING
    look(desk, 301, *[241] * 3)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_the_stale_book_of_an_old_session_proves_nothing(desk: Desk) -> None:
    """Every reading by the first session shows the book without the order."""
    intent = lose(desk)
    stale = [desk.adapter.book["000001"]]
    fetch = desk.adapter.fetch_orders

    def fetch_orders() -> list[Order]:
        return stale if SessionState.objects.get().version == 1 else fetch()

    desk.adapter.fetch_orders = fetch_orders  # type: ignore[method-assign]
    wait_out(desk, 6)
    assert end_of(intent) == (IntentState.WORKING, AttemptOutcome.ADOPTED)


def hold(desk: Desk, quantity: int) -> None:
    desk.adapter.positions = [
        Position(
            symbol=CALL,
            exchange="NFO",
            product=Product.NRML,
            quantity=quantity,
            average_price=Decimal(100),
            last_price=None,
            pnl=None,
            as_of=configured_clock().now(),
        )
    ]


def fill(number: str, quantity: int = 65) -> Fill:
    return Fill(
        broker_order_id=number,
        fill_id=f"f-{number}",
        symbol=CALL,
        exchange="NFO",
        side=Side.BUY,
        quantity=quantity,
        price=Decimal(100),
        filled_at=configured_clock().now(),
    )


def test_a_position_that_grew_without_a_known_fill_proves_nothing(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    look(desk, MUST_SHOW_SECONDS + 1, 20.5)
    hold(desk, 65)
    look(desk, 20.5, 20.5)
    assert end_of(intent)[0] == IntentState.UNKNOWN


def test_a_position_that_grew_before_the_first_reading_proves_nothing(desk: Desk) -> None:
    now = configured_clock().now()
    snapshot = PositionSnapshot.objects.create(
        account=desk.account, slot_at=now, taken_at=now, status=PositionSnapshot.Status.OK, created_at=now
    )
    PositionLine.objects.create(snapshot=snapshot, symbol=CALL, exchange="NFO", quantity=130, average_price=100)
    intent = lose(desk, taken=False)
    hold(desk, 195)
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN


def test_a_fill_of_the_very_second_of_a_snapshot_leaves_no_question_open(desk: Desk) -> None:
    now = configured_clock().now()
    snapshot = PositionSnapshot.objects.create(
        account=desk.account, slot_at=now, taken_at=now, status=PositionSnapshot.Status.OK, created_at=now
    )
    PositionLine.objects.create(snapshot=snapshot, symbol=CALL, exchange="NFO", quantity=65, average_price=100)
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=130, pending_quantity=0)
    held = replace(fill("000001"), fill_id="held", filled_at=now - timedelta(seconds=10))
    # Filled after the snapshot, in the second in which it was taken.
    desk.adapter.fills = [held, replace(held, fill_id="not held yet", filled_at=now - timedelta(milliseconds=800))]
    hold(desk, 130)
    desk.pass_time(30)
    intent = lose(desk, taken=False)
    wait_out(desk, 4)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_a_position_that_grew_by_a_known_fill_is_explained(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    look(desk, MUST_SHOW_SECONDS + 1, 20.5)
    desk.set_book("000001", status=OrderStatus.PARTIALLY_FILLED, filled_quantity=65, pending_quantity=65)
    desk.adapter.fills = [fill("000001")]
    hold(desk, 65)
    look(desk, 20.5)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_positions_that_cannot_be_read_prove_nothing(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    desk.adapter.positions = BrokerUnavailable("The positions did not come.")
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.UNKNOWN


def test_an_order_is_found_although_the_positions_cannot_be_read(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.positions = BrokerUnavailable("The positions did not come.")
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.WORKING


def test_what_is_absent_is_not_given_up_within_its_lifetime(desk: Desk) -> None:
    intent = lose(desk, taken=False, not_after=configured_clock().now() + timedelta(minutes=5))
    wait_out(desk)
    assert end_of(intent)[0] == IntentState.ABSENT
    look(desk, 90)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_what_shows_up_after_it_was_proved_absent_is_put_before_a_person(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.hidden = {"000002"}
    wait_out(desk)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    desk.adapter.hidden = set()
    look(desk, 300)
    assert end_of(intent) == (IntentState.NEEDS_HUMAN, AttemptOutcome.VOID)
    alert = Alert.objects.get(kind="needs_human")
    assert (alert.severity, "000002 showed up" in alert.happened) == (Severity.CRITICAL, True)


# Sending again


def allow_resend() -> None:
    BrokerAccount.objects.update(resend_after_absence=True)


def long_lived() -> datetime:
    return configured_clock().now() + timedelta(minutes=30)


def test_nothing_is_sent_again_by_itself(desk: Desk) -> None:
    intent = lose(desk, taken=False, not_after=long_lived())
    wait_out(desk, 6)
    deliver(intent.pk)
    assert end_of(intent)[0] == IntentState.ABSENT
    assert len(desk.adapter.sent) == 2


def test_where_it_is_allowed_the_same_order_goes_once_more_with_the_same_tag(tagged: Desk) -> None:
    allow_resend()
    intent = lose(tagged, taken=False, not_after=long_lived())
    wait_out(tagged)
    assert end_of(intent)[0] == IntentState.READY
    assert intent.events.latest("sequence").actor == Actor.POLICY
    assert deliver(intent.pk).state == IntentState.WORKING
    first, second = (request for request in tagged.adapter.sent[1:] if isinstance(request, OrderRequest))
    assert (first.client_tag, first.quantity) == (second.client_tag, second.quantity)
    assert [attempt.outcome for attempt in intent.attempts.order_by("number")] == ["VOID", "ACKED"]


def test_it_is_sent_again_once_only(tagged: Desk) -> None:
    allow_resend()
    intent = lose(tagged, taken=False, not_after=long_lived())
    wait_out(tagged)
    tagged.adapter.script = [scripted_broker.drops]
    assert deliver(intent.pk).state == IntentState.UNKNOWN
    wait_out(tagged)
    assert end_of(intent)[0] == IntentState.ABSENT


def test_a_proof_that_was_wrong_ends_sending_again_by_itself(tagged: Desk) -> None:
    allow_resend()
    first = lose(tagged)
    tagged.adapter.hidden = {"000002"}
    wait_out(tagged)
    assert end_of(first)[0] == IntentState.NOT_PLACED
    tagged.adapter.hidden = set()
    look(tagged, 300)
    assert end_of(first)[0] == IntentState.NEEDS_HUMAN
    alert = Alert.objects.get(kind="resend_off")
    assert "000002 showed up" in alert.happened

    intent = lose(tagged, key="next", taken=False, not_after=long_lived())
    wait_out(tagged)
    assert end_of(intent)[0] == IntentState.ABSENT
    assert not BrokerAccount.objects.filter(resend_after_absence=True).exists()


def test_a_reading_that_shows_a_proof_to_be_wrong_sends_nothing_again(tagged: Desk) -> None:
    allow_resend()
    first = lose(tagged)
    tagged.adapter.hidden = {"000002"}
    wait_out(tagged)
    share: dict[str, Any] = {"symbol": "RELIANCE", "quantity": 1, "limit_price": "99", "not_after": long_lived()}
    intent = lose(tagged, key="next", taken=False, **share)
    wait_out(tagged, 2)
    tagged.adapter.hidden = set()
    look(tagged, 20.5)
    assert end_of(first)[0] == IntentState.NEEDS_HUMAN
    assert end_of(intent)[0] == IntentState.ABSENT


def test_where_a_second_order_would_be_taken_nothing_is_sent_again(untagged: Desk) -> None:
    allow_resend()
    intent = lose(untagged, taken=False, not_after=long_lived())
    wait_out(untagged, 6)
    assert end_of(intent)[0] == IntentState.ABSENT


def test_a_refusal_of_the_tag_means_that_it_is_there(tagged: Desk) -> None:
    allow_resend()
    intent = lose(tagged, not_after=long_lived())
    tagged.adapter.hidden = {"000002"}
    wait_out(tagged)
    tagged.adapter.hidden = set()
    tagged.adapter.script = [scripted_broker.raises(TagTaken("The broker has the tag already."), left=True)]
    assert deliver(intent.pk).state == IntentState.UNKNOWN
    look(tagged, 3)
    assert end_of(intent) == (IntentState.WORKING, AttemptOutcome.ADOPTED)


def test_a_refused_tag_is_never_called_absent(tagged: Desk) -> None:
    tagged.adapter.script = [scripted_broker.raises(TagTaken("The broker has the tag already."), left=True)]
    intent = tagged.send("lost")
    wait_out(tagged, 5)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN


# Nobody can see


def at(desk: Desk, hour: int, minute: int) -> None:
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    clock.set(datetime(2026, 11, 23, hour, minute, tzinfo=IST))


@pytest.mark.parametrize(
    "error",
    [BrokerUnavailable("The book did not come."), SessionExpired("The session is over.")],
    ids=["broken", "session"],
)
def test_a_book_that_cannot_be_read_leaves_everything_open_and_is_told(desk: Desk, error: Any) -> None:
    intent = lose(desk)
    desk.adapter.book_script = [error] * 40
    wait_out(desk, 5)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert not BookRead.objects.filter(ok=True).exists()
    assert "stay so" in Alert.objects.get(kind="cannot_see").meaning


def test_one_reading_that_fails_calls_nobody(desk: Desk) -> None:
    lose(desk)
    desk.adapter.book_script = [BrokerUnavailable("The book did not come.")]
    look(desk, MUST_SHOW_SECONDS + 1, 21)
    assert BookRead.objects.filter(ok=False).count() == 1
    assert not Alert.objects.filter(kind="cannot_see").exists()


def test_a_login_that_is_under_way_is_waited_for(desk: Desk) -> None:
    intent = lose(desk)
    desk.pass_time(MUST_SHOW_SECONDS + 1)
    SessionState.objects.update(status="LOGGING_IN", lease_until=datetime.now(UTC) + timedelta(seconds=30))
    with no_waiting():
        look(desk, 0)
    assert not BookRead.objects.exists()
    assert not Alert.objects.filter(kind="cannot_see").exists()
    SessionState.objects.update(status="VALID", lease_until=None)
    look(desk, 3)
    assert end_of(intent)[0] == IntentState.WORKING


def test_what_nobody_could_see_is_put_before_a_person_before_the_session_ends(desk: Desk) -> None:
    intent = lose(desk)
    desk.adapter.book_script = [BrokerUnavailable("The book did not come.")] * 40
    at(desk, 15, 15)
    look(desk, 0)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    at(desk, 15, 31)
    look(desk, 0)
    assert end_of(intent) == (IntentState.NEEDS_HUMAN, AttemptOutcome.UNKNOWN)
    assert Alert.objects.get(kind="needs_human").severity == Severity.CRITICAL


def test_no_proof_is_begun_that_its_calls_would_not_last_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = lose(desk, taken=False)
    desk.pass_time(MUST_SHOW_SECONDS + 1)
    scripted_broker.give_back_calls(desk.account)
    (limit, _), *_ = desk.adapter.capabilities.call_limits
    limiter = limits.CallLimiter(settings.REDIS_URL)
    room = desk.adapter.capabilities.calls_to_read_all - 1
    for _ in range(limit - limit // limits.HEADROOM_PART - room):
        limiter.acquire(str(desk.account), windows=[(limit, 3600)], per_day=None, day="another", urgency=Urgency.ORDER)
    with monkeypatch.context() as long:
        long.setattr(limits, "SLACK_MS", 3_600_000)
        reconciliation.recover(desk.account.broker)
    assert not BookRead.objects.exists()

    scripted_broker.give_back_calls(desk.account)
    look(desk, 1, *[20.5] * 2)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_with_the_day_s_calls_spent_a_person_is_asked_and_orders_still_go(desk: Desk) -> None:
    per_day = desk.adapter.capabilities.calls_per_day
    if per_day is None:
        pytest.skip("The broker does not limit a day's calls.")
    intent = lose(desk)
    day = trading_day(configured_clock().now()).isoformat()
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.set(f"mcube:calls:{{{desk.account}}}:{day}", round(per_day * 0.96))
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 121)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert "the calls of the day are spent" in Alert.objects.get(kind="needs_human").happened
    assert "orders" not in desk.adapter.reads
    assert desk.send("next", quantity=195).state == IntentState.WORKING


def test_a_spent_call_budget_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = lose(desk)

    def spent(**_: object) -> None:
        raise RateLimited("The calls are spent.", retry_after=timedelta(seconds=1))

    with monkeypatch.context() as poor:
        poor.setattr(desk.gateway, "_acquire", spent)
        poor.setattr(desk.gateway, "_take_budget", spent)
        look(desk, MUST_SHOW_SECONDS + 1)
    assert not BookRead.objects.exists()
    look(desk, 3)
    assert end_of(intent)[0] == IntentState.WORKING


def test_a_reading_whose_process_died_is_waited_for_and_then_made_again(desk: Desk) -> None:
    intent = lose(desk)
    desk.pass_time(MUST_SHOW_SECONDS + 1)
    BookRead.objects.create(account=desk.account, started_at=configured_clock().now())
    look(desk, 10)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 40)
    assert end_of(intent)[0] == IntentState.WORKING


def test_what_fails_at_one_account_keeps_no_other_from_its_turn(desk: Desk) -> None:
    intent = lose(desk)
    broken = BrokerAccount.objects.create(broker=desk.account.broker, name="broken")
    OrderIntent.objects.filter(pk=desk.record("elsewhere").pk).update(account=broken, state=IntentState.UNKNOWN)
    OrderIntent.objects.filter(pk=intent.pk).update(account=desk.account)
    attempt = intent.attempts.get()
    attempt.pk, attempt.match_key, attempt.intent = None, "elsewhere", lost("elsewhere")
    attempt.save(force_insert=True)
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.WORKING
    assert Alert.objects.get(kind="cannot_see").account == broken


# When the book is read, and who is told


def test_the_book_is_read_by_the_ladder(tagged: Desk) -> None:
    tagged.adapter.book_script = [[]] * 60
    lose(tagged)
    look(tagged, *[3] * 50)
    rungs = [rung for rung in visibility.LADDER if rung <= 150]
    assert len(rungs) - 3 <= tagged.adapter.reads.count("orders") <= len(rungs)


def test_an_old_question_is_asked_seldom(desk: Desk) -> None:
    desk.adapter.book_script = [[]] * 300
    lose(desk)
    wait_out(desk, 8)
    before = desk.adapter.reads.count("orders")
    look(desk, *[30] * 40)
    asked = desk.adapter.reads.count("orders") - before
    assert asked == (5 if desk.adapter.capabilities.calls_per_day else 20)


def test_after_a_long_outage_the_proof_takes_no_longer_than_ever(desk: Desk) -> None:
    desk.adapter.book_script = [BrokerUnavailable("It hangs.")] * 300
    intent = lose(desk, taken=False)
    wait_out(desk, 8)
    look(desk, *[30] * 40)
    desk.adapter.book_script = []
    look(desk, 241, 20.5, 20.5)
    assert end_of(intent)[0] == IntentState.NOT_PLACED


def test_a_person_is_told_once_of_what_is_unknown_for_too_long(desk: Desk) -> None:
    lose(desk, taken=False)
    look(desk, 100)
    assert not Alert.objects.filter(kind="unknown").exists()
    look(desk, 100, 3, 3)
    alert = Alert.objects.get(kind="unknown")
    assert (alert.severity, alert.count) == (Severity.WARNING, 1)


def test_a_person_is_not_told_of_what_another_round_has_answered_meanwhile(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    as_it_was = [each for each in agenda.of(desk.account, trading_day(configured_clock().now())) if each.is_open]
    wait_out(desk, 8)
    look(desk, 241, 20.5, 20.5)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    deadlines.alert_overdue(desk.account, as_it_was, timedelta(0), configured_clock().now())
    assert as_it_was
    assert not Alert.objects.filter(kind="unknown", acknowledged_at=None).exists()


def test_a_person_is_told_at_once_of_an_exit(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    OrderIntent.objects.filter(pk=intent.pk).update(reduce_only=True)
    look(desk, 1)
    assert Alert.objects.filter(kind="unknown", intent=intent).exists()


def open_alerts() -> list[str]:
    return sorted(Alert.objects.filter(acknowledged_at=None).values_list("kind", flat=True))


def lose_exit(desk: Desk, **changes: Any) -> OrderIntent:
    """Lose an order that was to reduce a position, before the broker had it."""
    hold(desk, 65)
    return lose(desk, taken=False, side="S", reduce_only=True, limit_price="100", **changes)


def test_a_person_is_told_of_an_exit_that_was_lost_and_never_arrived(desk: Desk) -> None:
    intent = lose_exit(desk)
    wait_out(desk)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    assert open_alerts() == ["exit_not_taken"]


@pytest.mark.parametrize("decides", ["sends it again", "says that it is not placed"])
def test_a_person_is_called_while_an_exit_that_never_arrived_waits_for_their_word(desk: Desk, decides: str) -> None:
    intent = lose_exit(desk, not_after=long_lived())
    wait_out(desk, 6)
    assert end_of(intent)[0] == IntentState.ABSENT
    [alert] = Alert.objects.filter(acknowledged_at=None)
    assert (alert.kind, alert.count, alert.intent) == ("absent", 1, intent)
    if decides == "sends it again":
        decisions.resend(intent, by="asha", reason="it is not in the app", confirmed_twice=not echoes(desk))
    else:
        decisions.not_placed(intent, by="asha", reason="it is not in the app")
    assert open_alerts() == [], "they know"


def test_an_exit_that_waits_for_a_person_until_its_time_is_over_is_told_anew(desk: Desk) -> None:
    intent = lose_exit(desk, not_after=long_lived())
    wait_out(desk)
    assert open_alerts() == ["absent"]
    look(desk, 1800)
    assert end_of(intent)[0] == IntentState.NOT_PLACED
    assert open_alerts() == ["exit_not_taken"]


def test_nobody_is_called_for_an_exit_that_is_sent_again_by_itself(tagged: Desk) -> None:
    allow_resend()
    intent = lose_exit(tagged, not_after=long_lived())
    wait_out(tagged)
    assert end_of(intent)[0] == IntentState.READY
    assert open_alerts() == []


def test_a_person_is_called_as_long_as_a_closing_waits_for_an_order_that_never_arrived(desk: Desk) -> None:
    hold(desk, 65)
    plan = closing.record_close(broker=desk.account.broker, symbol=CALL, client_order_id="close")
    running.advance(plan.pk)
    closing.look(plan.pk)
    [child] = running.advance(plan.pk).intents
    desk.adapter.script = [scripted_broker.drops]
    assert deliver(child.pk).state == IntentState.UNKNOWN
    wait_out(desk)
    assert end_of(child)[0] == IntentState.ABSENT
    while plan.stopped_at is None:
        assert "absent" in open_alerts(), "the position is open, and nothing is done about it"
        look(desk, 60)
        running.advance(plan.pk)
        plan.refresh_from_db()
    assert open_alerts() == ["plan_partial"]


def test_a_closing_goes_on_when_a_person_says_that_its_order_never_arrived(desk: Desk) -> None:
    hold(desk, 65)
    plan = closing.record_close(broker=desk.account.broker, symbol=CALL, client_order_id="close")
    running.advance(plan.pk)
    closing.look(plan.pk)
    [child] = running.advance(plan.pk).intents
    desk.adapter.script = [scripted_broker.drops]
    deliver(child.pk)
    wait_out(desk)
    assert str(plan) in Alert.objects.get(kind="absent").meaning
    with pytest.raises(OrderOutcomeUnknown, match="goes on by itself when a person sends it once more or says"):
        desk.gateway.close_position(CALL)
    decisions.not_placed(child, by="asha", reason="it is not in the app")
    assert running.advance(plan.pk).needs_positions
    closing.look(plan.pk)
    assert [intent.quantity for intent in running.advance(plan.pk).intents] == [65]
    assert open_alerts() == []


# Cancels and changes


def mutate(desk: Desk, kind: str, step: scripted_broker.Step, **changes: Any) -> OrderIntent:
    """Send a cancel or a change of order 000001 with a given answer."""
    record = operations.record_cancel if kind == IntentKind.CANCEL else operations.record_modify
    intent = record(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id=kind, **changes
    )
    desk.adapter.script = [step]
    return deliver(intent.pk)


def test_a_lost_cancel_that_took_effect_is_done(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    look(desk, 1)
    assert end_of(cancel) == (IntentState.DONE, AttemptOutcome.ADOPTED)


def test_a_lost_cancel_that_came_too_late_says_so(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=130)
    look(desk, 1)
    assert end_of(cancel)[0] == IntentState.REJECTED
    assert cancel.closed_reason == "too late: the order was filled first"
    assert lost("other").state == IntentState.FILLED


def test_a_lost_cancel_without_effect_is_sent_again(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 10)
    assert end_of(cancel)[0] == IntentState.UNKNOWN
    look(desk, 10, 20)
    assert end_of(cancel)[0] == IntentState.READY
    assert deliver(cancel.pk).state == IntentState.WORKING
    assert len(desk.adapter.sent) == 3


def test_a_lost_cancel_is_not_sent_again_after_its_time(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 125)
    assert end_of(cancel)[0] == IntentState.UNKNOWN, "a book may show for a while what was before it"
    look(desk, MUST_SHOW_SECONDS - 125 + 1)
    assert end_of(cancel)[0] == IntentState.NOT_PLACED
    assert "still shows 000001 open" in cancel.closed_reason
    assert desk.adapter.reads.count("login") == 1


def test_a_person_is_told_of_a_cancel_that_was_lost_and_came_to_nothing(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 125, MUST_SHOW_SECONDS - 125 + 1)
    assert end_of(cancel)[0] == IntentState.NOT_PLACED
    assert open_alerts() == ["cancel_not_taken"]
    again = operations.record_cancel(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="again"
    )
    deliver(again.pk)
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    desk.sync()
    assert open_alerts() == []


def test_a_person_is_told_at_once_of_a_lost_cancel_that_is_not_sent_again_after_all(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 20)
    give_up(desk, cancel, "lapsed")
    assert open_alerts() == ["cancel_not_taken"]
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    look(desk, MUST_SHOW_SECONDS)
    assert open_alerts() == []


def give_up(desk: Desk, cancel: OrderIntent, why: str) -> None:
    """Let a lost cancel, which is to be sent again, not be sent again."""
    assert end_of(cancel)[0] == IntentState.READY
    now = configured_clock().now()
    if why == "lapsed":
        operations.lapse(cancel, now + timedelta(minutes=3), Actor.SWEEPER)
    elif why == "withdrawn":
        assert not operations.withdraw(cancel, cause="the strategy changed its mind")
    elif why == "refused":
        desk.adapter.script = [scripted_broker.refuses("Too many requests.")]
        deliver(cancel.pk)
    else:
        desk.adapter.script = [scripted_broker.never_leaves] * 2
        for _ in range(2):
            desk.pass_time(2)
            deliver(cancel.pk)


@pytest.mark.parametrize("why", ["lapsed", "withdrawn", "refused", "not sent"])
@pytest.mark.parametrize(
    ("status", "ends"),
    [
        (OrderStatus.CANCELLED, IntentState.DONE),
        (OrderStatus.FILLED, IntentState.REJECTED),
        (OrderStatus.OPEN, IntentState.NOT_PLACED),
    ],
)
def test_a_lost_cancel_that_is_given_up_is_what_the_book_says(
    desk: Desk, why: str, status: OrderStatus, ends: IntentState
) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 20)
    give_up(desk, cancel, why)
    assert end_of(cancel)[0] == IntentState.ABSENT, "it may have been taken all the same"
    look(desk, 20)
    assert end_of(cancel)[0] == IntentState.ABSENT, "a book may show for a while what was before it"
    desk.set_book("000001", status=status, filled_quantity=130 if status is OrderStatus.FILLED else 0)
    look(desk, MUST_SHOW_SECONDS)
    assert end_of(cancel)[0] == ends


def test_a_lost_cancel_that_is_given_up_is_put_before_a_person_where_no_session_is_newer(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 20)
    give_up(desk, cancel, "lapsed")
    desk.adapter.logins = [LoginFailed("The one-time password was refused.")] * 20
    look(desk, MUST_SHOW_SECONDS)
    assert end_of(cancel)[0] == IntentState.ABSENT
    look(desk, 125)
    assert end_of(cancel)[0] == IntentState.NEEDS_HUMAN


def test_a_judge_that_is_stopped_leaves_the_question_open(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr("brokers.recovery.answers.settle_absent", stop)
        with pytest.raises(KeyboardInterrupt):
            look(desk, 20)
    assert end_of(cancel) == (IntentState.UNKNOWN, AttemptOutcome.UNKNOWN)
    look(desk, 50)
    assert end_of(cancel)[0] == IntentState.READY


@pytest.mark.parametrize(("kind", "changes"), [(IntentKind.CANCEL, {}), (IntentKind.MODIFY, {"limit_price": "101.50"})])
def test_a_session_from_before_does_not_show_that_nothing_came_of_it(
    desk: Desk, kind: IntentKind, changes: dict[str, str]
) -> None:
    intent = mutate(desk, kind, scripted_broker.drops, **changes)
    desk.adapter.logins = [LoginFailed("The one-time password was refused.")] * 20
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    look(desk, 125)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN
    assert "a session from before it was sent" in Alert.objects.get(kind="needs_human").happened


@pytest.mark.parametrize("kind", [IntentKind.CANCEL, IntentKind.MODIFY])
@pytest.mark.parametrize(
    ("status", "cancel_ends"),
    [(OrderStatus.CANCELLED, IntentState.DONE), (OrderStatus.FILLED, IntentState.REJECTED)],
)
def test_the_book_tells_what_an_order_that_had_ended_came_to(
    desk: Desk, kind: IntentKind, status: OrderStatus, cancel_ends: IntentState
) -> None:
    changes = {} if kind is IntentKind.CANCEL else {"limit_price": "101"}
    intent = mutate(desk, kind, scripted_broker.raises(OrderEnded("The order is completed."), left=True), **changes)
    assert intent.state == IntentState.WORKING
    desk.set_book("000001", status=status, filled_quantity=130 if status is OrderStatus.FILLED else 0)
    desk.sync()
    assert end_of(intent)[0] == (cancel_ends if kind is IntentKind.CANCEL else IntentState.REJECTED)


def test_a_lost_change_that_took_effect_is_done(desk: Desk) -> None:
    change = mutate(desk, IntentKind.MODIFY, scripted_broker.drops, limit_price="101.50")
    desk.set_book("000001", limit_price=Decimal("101.50"))
    look(desk, 1)
    assert end_of(change)[0] == IntentState.DONE


def test_a_lost_change_without_effect_is_never_sent_again(desk: Desk) -> None:
    change = mutate(desk, IntentKind.MODIFY, scripted_broker.drops, limit_price="101.50")
    look(desk, 100)
    assert end_of(change)[0] == IntentState.UNKNOWN
    look(desk, 100)
    assert end_of(change)[0] == IntentState.NOT_PLACED
    assert "still has its old values" in change.closed_reason


@pytest.mark.parametrize("minutes", [None, 30], ids=["its time is over", "it could still be sent again"])
def test_a_person_is_told_once_of_a_change_that_was_lost_and_came_to_nothing(desk: Desk, minutes: int | None) -> None:
    not_after = configured_clock().now() + timedelta(minutes=minutes) if minutes else None
    mutate(desk, IntentKind.MODIFY, scripted_broker.drops, limit_price="101.50", not_after=not_after)
    wait_out(desk, 6)
    [alert] = Alert.objects.filter(acknowledged_at=None)
    assert (alert.kind, alert.count) == ("change_not_taken", 1)
    assert "to change order 000001" in alert.happened
    again = operations.record_modify(
        broker=desk.account.broker,
        account="default",
        broker_order_id="000001",
        client_order_id="again",
        limit_price="101.50",
    )
    deliver(again.pk)
    desk.set_book("000001", limit_price=Decimal("101.50"))
    desk.sync()
    assert open_alerts() == []


def test_a_fill_beside_a_lost_change_leaves_it_to_the_strategy(desk: Desk) -> None:
    change = mutate(desk, IntentKind.MODIFY, scripted_broker.drops, limit_price="101.50")
    desk.set_book("000001", status=OrderStatus.PARTIALLY_FILLED, filled_quantity=65)
    look(desk, 100, 100)
    assert end_of(change)[0] == IntentState.NOT_PLACED
    assert "decide again" in change.closed_reason


@pytest.mark.parametrize("filled", [0, 65])
def test_values_that_nobody_sent_are_put_before_a_person(desk: Desk, filled: int) -> None:
    change = mutate(desk, IntentKind.MODIFY, scripted_broker.drops, limit_price="101.50")
    desk.set_book("000001", limit_price=Decimal("99.00"), filled_quantity=filled)
    look(desk, 200)
    assert end_of(change)[0] == IntentState.NEEDS_HUMAN


def test_a_book_that_does_not_show_the_order_says_nothing_of_its_cancel(desk: Desk) -> None:
    desk.send("third", quantity=195)
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    desk.adapter.hidden = {"000001"}
    look(desk, 30, 30, 30)
    assert end_of(cancel)[0] == IntentState.UNKNOWN


# Cancels and changes that the broker took and that came to nothing


@pytest.fixture(params=[IntentKind.CANCEL, IntentKind.MODIFY])
def taken(request: pytest.FixtureRequest, desk: Desk) -> OrderIntent:
    """A cancel or a change that the broker took just now."""
    changes = {"limit_price": "101.50"} if request.param == IntentKind.MODIFY else {}
    intent = mutate(desk, request.param, scripted_broker.accepts, **changes)
    assert intent.state == IntentState.WORKING
    return intent


def take_effect(desk: Desk, intent: OrderIntent) -> None:
    if intent.kind == IntentKind.CANCEL:
        desk.set_book("000001", status=OrderStatus.CANCELLED)
    else:
        desk.set_book("000001", limit_price=Decimal("101.50"))


def read_on(desk: Desk, minutes: int) -> None:
    for _ in range(minutes):
        desk.pass_time(60)
        desk.sync()


def test_a_person_is_told_once_of_what_was_taken_and_has_no_effect(desk: Desk, taken: OrderIntent) -> None:
    desk.set_book("000001", broker_status="not done")
    read_on(desk, 3)
    assert open_alerts() == [], "it may still be on its way"
    read_on(desk, 5)
    [alert] = Alert.objects.all()
    assert (alert.kind, alert.count, alert.intent) == ("no_effect", 1, taken)
    assert f"to {'cancel' if taken.kind == IntentKind.CANCEL else 'change'} order 000001" in alert.happened
    assert "open ('not done')" in alert.happened
    acknowledge([alert], by="asha", at=configured_clock().now())
    read_on(desk, 1)
    assert open_alerts() == [], "they know"


def test_an_effect_that_comes_late_is_believed_and_the_alert_taken_back(desk: Desk, taken: OrderIntent) -> None:
    read_on(desk, 5)
    assert open_alerts() == ["no_effect"]
    take_effect(desk, taken)
    read_on(desk, 1)
    assert end_of(taken)[0] == IntentState.DONE
    assert open_alerts() == []


def test_what_has_no_effect_before_its_order_is_filled_calls_nobody_any_more(desk: Desk, taken: OrderIntent) -> None:
    read_on(desk, 5)
    desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=130)
    read_on(desk, 1)
    assert end_of(taken)[0] == IntentState.REJECTED
    assert open_alerts() == []


def test_a_cancel_without_effect_is_given_once_more(desk: Desk) -> None:
    first = mutate(desk, IntentKind.CANCEL, scripted_broker.accepts)
    read_on(desk, 5)
    second = operations.record_cancel(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="again"
    )
    assert deliver(second.pk).state == IntentState.WORKING
    take_effect(desk, second)
    desk.sync()
    assert {end_of(first)[0], end_of(second)[0]} == {IntentState.DONE}


def test_a_change_that_a_later_one_replaced_is_not_taken_for_one_without_effect(desk: Desk) -> None:
    mutate(desk, IntentKind.MODIFY, scripted_broker.accepts, limit_price="101.50")
    later = operations.record_modify(
        broker=desk.account.broker,
        account="default",
        broker_order_id="000001",
        client_order_id="later",
        limit_price="102",
    )
    deliver(later.pk)
    desk.set_book("000001", limit_price=Decimal(102))
    read_on(desk, 5)
    assert end_of(later)[0] == IntentState.DONE
    assert open_alerts() == []


# The day ends


def next_day(desk: Desk) -> None:
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    clock.set(datetime(2026, 11, 24, 0, 5, tzinfo=IST))
    look(desk, 0)


def test_what_is_unknown_when_its_day_ends_is_put_before_a_person(desk: Desk) -> None:
    intent = lose(desk)
    next_day(desk)
    assert end_of(intent)[0] == IntentState.NEEDS_HUMAN


def test_an_order_that_nobody_saw_after_the_close_is_put_before_a_person(desk: Desk) -> None:
    next_day(desk)
    assert lost("other").state == IntentState.NEEDS_HUMAN


def test_an_order_that_was_still_open_after_the_close_expired(desk: Desk) -> None:
    at(desk, 16, 20)
    look(desk, 0)
    assert desk.adapter.reads.count("orders") == 1
    assert lost("other").state == IntentState.WORKING
    next_day(desk)
    assert lost("other").state == IntentState.EXPIRED


def test_the_book_has_its_say_after_the_close(desk: Desk) -> None:
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    at(desk, 16, 20)
    look(desk, 0, 60, 60)
    assert lost("other").state == IntentState.CANCELLED
    assert desk.adapter.reads.count("orders") == 1


def test_a_cancel_that_was_open_when_its_day_ended_ends_with_its_order(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.accepts)
    at(desk, 16, 20)
    look(desk, 0)
    next_day(desk)
    assert (lost("other").state, end_of(cancel)[0]) == (IntentState.EXPIRED, IntentState.REJECTED)


def test_a_cancel_that_was_given_up_ends_with_its_order_or_is_put_before_a_person(desk: Desk) -> None:
    cancel = mutate(desk, IntentKind.CANCEL, scripted_broker.drops)
    look(desk, 20)
    give_up(desk, cancel, "lapsed")
    next_day(desk)
    assert (lost("other").state, end_of(cancel)[0]) == (IntentState.NEEDS_HUMAN, IntentState.NEEDS_HUMAN)


def test_what_was_proved_absent_late_in_the_day_is_no_question_any_more(desk: Desk) -> None:
    intent = lose(desk, taken=False)
    session = MarketCalendar(configured_clock()).session(Exchange(intent.exchange), intent.trading_day)
    assert session is not None
    ask_at = session[1].astimezone(IST) - deadlines.BEFORE_CLOSE
    at(desk, ask_at.hour, ask_at.minute)
    OrderIntent.objects.filter(pk=intent.pk).update(not_after=session[1])
    look(desk, -50, 25, 26)
    assert end_of(intent)[0] == IntentState.ABSENT
    assert not Alert.objects.filter(kind="needs_human").exists()


def test_orders_of_another_mode_are_not_looked_for(desk: Desk) -> None:
    intent = lose(desk)
    OrderIntent.objects.filter(pk=intent.pk).update(mode="LIVE")
    look(desk, MUST_SHOW_SECONDS + 1)
    assert end_of(intent)[0] == IntentState.UNKNOWN
    assert "orders" not in desk.adapter.reads


def test_an_answer_that_comes_while_the_book_is_read_is_not_overruled(desk: Desk) -> None:
    intent = lose(desk)
    fetch = desk.adapter.fetch_orders

    def fetch_orders() -> list[Order]:
        rows = fetch()
        book.apply_book(desk.account, rows, configured_clock().now())
        attempt = intent.attempts.get()
        BrokerOrder.objects.filter(broker_order_id="000002").update(attempt=attempt)
        intent.attempts.update(outcome=AttemptOutcome.ACKED)
        return rows

    desk.adapter.fetch_orders = fetch_orders  # type: ignore[method-assign]
    look(desk, MUST_SHOW_SECONDS + 1)
    assert intent.attempts.get().outcome == AttemptOutcome.ACKED
