"""What would lose, repeat or misjudge an order at the edges: another day, a rolled back transaction, bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import transaction

from brokers import instruments, snapshots
from brokers.clock import configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.account import Position
from brokers.domain.enums import OrderStatus, OrderType, Product
from brokers.domain.errors import IdempotencyConflict, OrderDenied, RateLimited, SessionExpired
from brokers.domain.order_states import IntentState
from brokers.domain.orders import Order, OrderAck
from brokers.factory import BrokerFactory
from brokers.ledger import book, operations
from brokers.ledger.delivery import deliver
from brokers.models import BrokerOrder, OrderIntent, PositionSnapshot, SessionState
from brokers.risk import rate
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, SHARE

pytestmark = pytest.mark.django_db


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest) -> Iterator[Any]:
    account, adapter = scripted_broker.install(request.param)
    make: Any = Desk
    yield make(account, adapter)
    BrokerFactory._gateways.clear()


def _modify(desk: Any, **changes: Any) -> OrderIntent:
    return operations.record_modify(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="m1", **changes
    )


def test_a_key_of_yesterday_is_refused_and_never_taken_for_yesterday_s_order(desk: Any) -> None:
    desk.send()
    desk.pass_time(24 * 3600)
    instruments.refresh(desk.account, adapter=desk.adapter, clock=configured_clock())
    with pytest.raises(IdempotencyConflict, match=r"'k1' was used on 23 Nov 2026"):
        desk.record()
    assert OrderIntent.objects.count() == 1


def test_an_order_does_not_outlive_its_day(desk: Any) -> None:
    now = configured_clock().now()
    with pytest.raises(OrderDenied, match="later day than today, 23 Nov 2026"):
        desk.record(not_after=now + timedelta(days=1))
    assert not OrderIntent.objects.exists()
    assert desk.record(not_after=now + timedelta(hours=2)).trading_day == trading_day(now)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "x" * 65}, "Strategy"),
        ({"strategy": "a\0b"}, "Strategy"),
        ({"limit_price": "1e40"}, "above 1,000,000,000 rupees"),
        ({"limit_price": "99999999999.05", "symbol": SHARE, "quantity": 1}, "above 1,000,000,000 rupees"),
        ({"quantity": "1e30", "symbol": SHARE}, "above 1,000,000,000 units"),
        ({"quantity": "1e999999"}, "above 1,000,000,000 units"),
        ({"quantity": 2**31, "symbol": SHARE}, "above 1,000,000,000 units"),
        ({"not_after": 5}, "not_after 5 is not a time"),
    ],
)
def test_what_no_column_can_hold_is_one_sentence_and_changes_nothing(
    desk: Any, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OrderDenied, match=sentence):
        desk.record(**changes)
    assert not OrderIntent.objects.exists()


@pytest.mark.parametrize("required", ["nan", float("nan"), float("inf"), "plenty", None])
def test_a_required_margin_that_is_no_number_is_refused(desk: Any, required: Any) -> None:
    with pytest.raises(OrderDenied, match="Required margin"):
        desk.gateway.check_margin_sufficient(required)


@pytest.mark.django_db(transaction=True)
def test_no_order_is_sent_from_a_transaction_that_could_forget_it(desk: Any) -> None:
    placed = desk.gateway.place_order(CALL, "B", 65, "LIMIT", "100.50")
    sends: list[Callable[[], object]] = [
        lambda: desk.gateway.place_order(CALL, "B", 65, "LIMIT", "101.50"),
        lambda: desk.gateway.modify_order(placed, price="102.50"),
        lambda: desk.gateway.cancel_order(placed),
    ]
    with transaction.atomic():
        for send in sends:
            with pytest.raises(OrderDenied, match=r"outside of transaction\.atomic"):
                send()
    assert len(desk.adapter.sent) == OrderIntent.objects.count() == 1


def test_every_request_of_a_read_is_counted(desk: Any, redis_url: str) -> None:
    """A book of four exchanges is four calls of the broker's budget."""

    def four_books() -> list[Any]:
        for _ in range(4):
            desk.adapter.leave()
        return []

    desk.adapter.fetch_orders = four_books
    key = f"mcube:calls:{{{desk.account}}}:{trading_day(configured_clock().now())}"
    with redis.Redis.from_url(redis_url) as client:
        before = int(client.get(key) or 0)
        desk.gateway.get_orders()
        assert int(client.get(key) or 0) - before == 4


def test_a_read_stops_where_the_budget_ends(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    granted: list[bool] = []

    def acquire(*_: Any, **__: Any) -> None:
        if len(granted) == 2:
            raise RateLimited("spent", retry_after=timedelta(hours=1))
        granted.append(True)

    monkeypatch.setattr(desk.gateway._limiter, "acquire", acquire)
    sent: list[int] = []

    def books() -> list[Any]:
        for number in range(4):
            desk.adapter.leave()
            sent.append(number)
        return []

    desk.adapter.fetch_orders = books
    with pytest.raises(RateLimited):
        desk.gateway.get_orders()
    assert sent == [0, 1]


def test_a_limit_order_becomes_a_market_order(desk: Any) -> None:
    desk.send()
    change = deliver(_modify(desk, order_type="MARKET").pk)
    assert change.state == IntentState.WORKING
    sent = desk.adapter.sent[-1]
    assert (sent.order_type, sent.limit_price) == (OrderType.LIMIT, change.attempts.get().sent_price)

    desk.set_book("000001", limit_price=sent.limit_price)
    desk.sync()
    change.refresh_from_db()
    assert change.state == IntentState.DONE


def test_a_stop_order_becomes_a_limit_order_and_can_be_changed_again(desk: Any) -> None:
    desk.send(order_type="SL", trigger_price="100", limit_price="100.50")
    assert deliver(_modify(desk, order_type="LIMIT").pk).state == IntentState.WORKING
    sent = desk.adapter.sent[-1]
    assert (sent.order_type, sent.limit_price, sent.trigger_price) == (OrderType.LIMIT, 100.5, None)

    desk.set_book("000001", order_type=OrderType.LIMIT, trigger_price=None, status=OrderStatus.OPEN)
    desk.sync()
    assert BrokerOrder.objects.get().order_type == OrderType.LIMIT
    again = operations.record_modify(
        broker=desk.account.broker,
        account="default",
        broker_order_id="000001",
        client_order_id="m2",
        limit_price="100.55",
    )
    assert deliver(again.pk).state == IntentState.WORKING


def test_two_readings_of_the_book_at_once_take_no_fill_back(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.send()
    desk.set_book("000001", limit_price=Decimal("100.55"))
    judge = book._changes

    def overtaken(order: BrokerOrder, row: Order) -> dict[str, object]:
        # Between this reading's look at the mirror and its write, another reading sees the order filled.
        BrokerOrder.objects.filter(pk=order.pk).update(status=OrderStatus.FILLED, filled_quantity=65)
        return judge(order, row)

    monkeypatch.setattr(book, "_changes", overtaken)
    desk.sync()
    mirror = BrokerOrder.objects.get()
    assert (mirror.status, mirror.filled_quantity) == (OrderStatus.FILLED, 65)


def test_the_lines_of_a_slot_are_those_of_one_reading(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two overlapping readings finds a position; the slot already says that there was none."""
    slot_at = configured_clock().now().replace(microsecond=0)
    first: list[PositionSnapshot] = []
    reading = desk.gateway.get_positions

    def get_positions() -> list[Position]:
        if not first:
            desk.adapter.positions, first[:] = [], [PositionSnapshot()]
            first[:] = [snapshots.take_positions(desk.account, slot_at)]
            desk.adapter.positions = [_position()]
        positions: list[Position] = reading()
        return positions

    monkeypatch.setattr(desk.gateway, "get_positions", get_positions)
    second = snapshots.take_positions(desk.account, slot_at)
    assert second.pk == first[0].pk
    assert second.pnl == 0
    assert not second.lines.exists()


def _position() -> Position:
    return Position(
        symbol=SHARE,
        exchange="NSE",
        product=Product.CNC,
        underlying=SHARE,
        quantity=5,
        buy_quantity=5,
        sell_quantity=0,
        buy_amount=Decimal(500),
        sell_amount=Decimal(0),
        average_price=Decimal(100),
        last_price=Decimal(101),
        pnl=Decimal(5),
        as_of=configured_clock().now(),
    )


def test_an_order_whose_time_runs_out_while_it_waits_for_its_turn_does_not_leave(desk: Any) -> None:
    def slow(adapter: Any, operation: Any) -> Any:
        desk.pass_time(31)
        return scripted_broker.accepts(adapter, operation)

    desk.adapter.script = [slow]
    assert desk.send().state == IntentState.READY
    assert not desk.adapter.book
    assert deliver(OrderIntent.objects.get().pk).state == IntentState.LAPSED


def test_a_sender_that_waited_for_the_lock_takes_no_other_s_place_in_the_second(desk: Any) -> None:
    desk.account.orders_per_second = 2
    now = configured_clock().now()
    with transaction.atomic():
        rate.take(desk.account, now)
        rate.take(desk.account, now + timedelta(milliseconds=200))
    with pytest.raises(RateLimited), transaction.atomic():
        rate.take(desk.account, now + timedelta(milliseconds=100))


def test_a_session_that_was_missing_before_anything_left_refuses_no_order(desk: Any) -> None:
    desk.adapter.script = [scripted_broker.raises(SessionExpired("No session is in use."), left=False)]
    assert desk.send().state == IntentState.READY
    assert SessionState.objects.get().status == SessionState.Status.VALID


def test_an_order_that_waits_spends_no_calls_while_it_does(desk: Any) -> None:
    desk.account.orders_per_second = 1
    desk.account.save()
    desk.send("k1")
    waiting = desk.send("k2", quantity=130)
    assert waiting.state == IntentState.READY
    asked: list[bool] = []
    desk.gateway._acquire = lambda *, urgency: asked.append(urgency)
    OrderIntent.objects.filter(pk=waiting.pk).update(not_before=configured_clock().now())
    deliver(waiting.pk)
    assert not asked


def test_a_paused_account_still_cancels(desk: Any) -> None:
    desk.send()
    desk.account.is_active = False
    desk.account.save()
    assert desk.gateway.cancel_order("000001") is True


def test_a_broker_s_id_that_another_order_has_proves_nothing(desk: Any) -> None:
    desk.send("k1")

    def same_number(adapter: Any, operation: Any) -> OrderAck:
        adapter.leave()
        return OrderAck(broker_order_id="000001")

    desk.adapter.script = [same_number]
    second = desk.send("k2", quantity=130)
    assert second.state == IntentState.UNKNOWN
    assert BrokerOrder.objects.filter(attempt__intent__client_order_id="k1").count() == 1
