"""No order leaves that breaks a limit; a refusal says which, its value and the order's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from brokers import limits as call_limits
from brokers import snapshots
from brokers.audit import audit
from brokers.clock import IST, configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.account import MarginData, Position
from brokers.domain.enums import Mode, OrderStatus, Product, Side
from brokers.domain.errors import BrokerUnavailable, OrderDenied
from brokers.domain.market import Quote
from brokers.domain.order_states import IntentState
from brokers.domain.orders import Fill
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import book, operations
from brokers.ledger.delivery import deliver
from brokers.models import (
    Alert,
    BrokerOrder,
    KillSwitch,
    MarginSnapshot,
    OrderIntent,
    PositionSnapshot,
    RiskChange,
    Scope,
)
from brokers.risk import limits, loss, quotes, switches
from mcube.environment import CHECKOUT
from tasks.snapshots import snapshot_positions
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, SHARE

pytestmark = pytest.mark.django_db


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    yield Desk(*scripted_broker.install(request.param))
    BrokerFactory._gateways.clear()


def position(symbol: str, units: int, product: Product | None = Product.NRML) -> Position:
    return Position(
        symbol=symbol,
        exchange="NFO" if symbol == CALL else "NSE",
        product=product,
        quantity=units,
        average_price=Decimal(100),
        last_price=Decimal(100),
        pnl=Decimal(0),
        as_of=configured_clock().now(),
    )


def limit(scope: Scope = Scope.EVERYTHING, key: str = "", **values: Any) -> None:
    limits.change(scope, key, values, by="anna", reason="a test", at=configured_clock().now())


def modify(desk: Desk, **changes: Any) -> OrderIntent:
    intent = operations.record_modify(
        broker=desk.account.broker, account="default", broker_order_id="000001", client_order_id="m1", **changes
    )
    return deliver(intent.pk)


# One order


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"max_quantity": 64},
            "The limit max_quantity of everything is 64, but the order has 65 units. Nothing was sent;",
        ),
        ({"max_lots": 0}, "The limit max_lots of everything is 0, but the order has 1 lot. Nothing was sent;"),
        (
            {"max_notional_rupees": Decimal(6000)},
            "The limit max_notional_rupees of everything is 6000.00, but the order is worth 6532.50. Nothing was sent;",
        ),
        (
            {"price_collar_percent": Decimal("0.4")},
            "The limit price_collar_percent of everything is 0.40, but the order's price of 100.5000 is 0.5 percent from the "
            "market's of 100.00.",
        ),
    ],
)
def test_a_refusal_says_which_limit_its_value_and_the_order_s(
    desk: Desk, values: dict[str, Any], sentence: str
) -> None:
    limit(**values)
    intent = desk.send()
    assert intent.state == IntentState.DENIED
    assert intent.closed_reason.startswith(sentence)
    assert not desk.adapter.sent


def test_all_limits_that_an_order_breaks_are_named_at_once(desk: Desk) -> None:
    limit(Scope.ACCOUNT, str(desk.account), max_quantity=64, max_notional_rupees=Decimal(6000))
    reason = desk.send().closed_reason
    assert reason == (
        f"The limit max_quantity of account {desk.account} is 64, but the order has 65 units. The limit "
        f"max_notional_rupees of account {desk.account} is 6000.00, but the order is worth 6532.50. Nothing was sent; "
        "change the order, or the limit in the admin."
    )


def test_a_default_that_refuses_is_told_like_any_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEFAULTS", {**limits.DEFAULTS, Mode.SIMULATED: {"max_lots": 1}})
    assert desk.send(quantity=130).closed_reason == (
        "The limit max_lots of the installation's defaults is 1, but the order has 2 lots. Nothing was sent; change the "
        "order, or the limit in the admin."
    )


@pytest.mark.parametrize(
    ("scope", "key", "applies"),
    [
        (Scope.EVERYTHING, "", True),
        (Scope.STRATEGY, "s1", True),
        (Scope.STRATEGY, "s2", False),
        (Scope.SYMBOL, CALL, True),
        (Scope.SYMBOL, SHARE, False),
    ],
)
def test_a_limit_holds_for_its_scope(desk: Desk, scope: Scope, key: str, applies: bool) -> None:
    limit(scope, key, max_quantity=64)
    assert desk.send(strategy="s1").state == (IntentState.DENIED if applies else IntentState.WORKING)


def test_a_limit_hit_is_one_alert_until_somebody_saw_it(desk: Desk) -> None:
    limit(max_quantity=64)
    for number in range(3):
        desk.send(f"k{number}")
    limit(max_notional_rupees=Decimal(1))
    desk.send("k4")
    first, second = Alert.objects.filter(kind="limit_reached").order_by("pk")
    assert (first.count, second.count) == (4, 1)
    assert first.account == desk.account
    assert first.happened.endswith(
        "was refused. The limit max_quantity of everything is 64, but the order has 65 units."
    )
    assert first.meaning == (
        "It was not sent. Every further order above this limit is refused too; this alert counts them."
    )


def test_a_share_has_no_lots(desk: Desk) -> None:
    limit(max_lots=1)
    assert desk.send(symbol=SHARE, quantity=5).state == IntentState.WORKING
    assert desk.send("k2", quantity=130).state == IntentState.DENIED


def test_a_change_of_an_order_is_held_against_the_limits_too(desk: Desk) -> None:
    desk.send()
    limit(max_quantity=100)
    assert "max_quantity" in modify(desk, quantity=130).closed_reason


def test_limits_are_kept_with_their_history(desk: Desk) -> None:
    limit(max_lots=5)
    limit(max_lots=None, max_notional_rupees=Decimal("7.5"))
    changes = RiskChange.objects.filter(what="limits").order_by("pk")
    assert [(row.before, row.after, row.changed_by) for row in changes] == [
        ({"max_lots": None}, {"max_lots": 5}, "anna"),
        ({"max_lots": 5, "max_notional_rupees": None}, {"max_lots": None, "max_notional_rupees": "7.5"}, "anna"),
    ]


@pytest.mark.parametrize(
    ("scope", "key", "values"),
    [
        (Scope.EVERYTHING, "", {"max_lot": 1}),
        (Scope.EVERYTHING, "", {"max_lots": -1}),
        (Scope.EVERYTHING, "", {"price_collar_percent": Decimal("1000000")}),
        (Scope.ACCOUNT, "nobody/default", {"max_lots": 1}),
        (Scope.STRATEGY, "s1", {"max_loss_per_day_rupees": Decimal(1)}),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(desk: Desk, scope: Scope, key: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        limit(scope, key, **values)
    assert not RiskChange.objects.exists()


# The price


def test_an_order_without_a_price_to_hold_it_against_waits(desk: Desk) -> None:
    desk.adapter.price = None
    intent = desk.send()
    assert intent.state == IntentState.READY
    assert "has no price now" in intent.waiting_reason
    desk.adapter.price = Decimal("100")
    desk.pass_time(6)
    assert deliver(intent.pk).state == IntentState.WORKING


def test_an_order_waits_while_quotes_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(instrument: Any) -> Quote:
        raise BrokerUnavailable("The broker does not answer.")

    monkeypatch.setattr(desk.adapter, "fetch_quote", unavailable)
    intent = desk.send()
    assert (intent.state, intent.waiting_reason) == (IntentState.READY, "The broker does not answer.")


def test_a_quote_serves_for_five_seconds_and_in_every_process(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fetch = desk.adapter.fetch_quote

    def count(instrument: Any) -> Quote:
        asked.append(instrument)
        return fetch(instrument)

    monkeypatch.setattr(desk.adapter, "fetch_quote", count)
    desk.send("k1")
    desk.send("k2", quantity=130)
    # Another process begins with an empty board.
    monkeypatch.setattr(quotes.board(), "_known", {})
    desk.send("k3", quantity=195)
    assert len(asked) == 1
    desk.pass_time(5)
    desk.send("k4", quantity=260)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("price", "state"), [("89.95", "DENIED"), ("90.00", "WORKING"), ("110.00", "WORKING"), ("110.05", "DENIED")]
)
def test_the_collar_is_on_both_sides_and_its_edge_passes(desk: Desk, price: str, state: str) -> None:
    limit(price_collar_percent=Decimal(10))
    assert desk.send(limit_price=price).state == state


def test_the_collar_starts_where_somebody_would_trade(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last trade of an option may be old; then the best bid and ask say more."""
    limit(price_collar_percent=Decimal(10))
    fetch = desk.adapter.fetch_quote

    def moved(instrument: Any) -> Quote:
        return replace(fetch(instrument), bid_price=Decimal(150), ask_price=Decimal(151))

    monkeypatch.setattr(desk.adapter, "fetch_quote", moved)
    assert desk.send("k1", limit_price="151").state == IntentState.WORKING
    assert desk.send("k2", limit_price="100.5").state == IntentState.DENIED


def test_one_tick_away_is_never_too_far(desk: Desk) -> None:
    limit(price_collar_percent=Decimal(10))
    desk.adapter.price = Decimal("0.20")
    assert desk.send("k1", limit_price="0.25").state == IntentState.WORKING
    assert desk.send("k2", limit_price="0.30").state == IntentState.DENIED


def test_a_price_outside_the_day_s_band_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = desk.adapter.fetch_quote
    monkeypatch.setattr(
        desk.adapter, "fetch_quote", lambda instrument: replace(fetch(instrument), upper_circuit=Decimal(100))
    )
    assert "outside the day's band" in desk.send().closed_reason


def test_a_stop_is_held_against_its_trigger(desk: Desk) -> None:
    limit(price_collar_percent=Decimal(10))
    stop = {"order_type": "SL", "side": "S"}
    assert desk.send("k1", **stop, trigger_price="60", limit_price="58").state == IntentState.WORKING
    denied = desk.send("k2", **stop, trigger_price="60", limit_price="40")
    assert "percent from its trigger of 60.0000" in denied.closed_reason


def test_a_change_that_leaves_the_price_alone_needs_no_quote(desk: Desk) -> None:
    desk.send(quantity=130)
    desk.adapter.price = None
    desk.pass_time(10)
    assert modify(desk, quantity=65).state == IntentState.WORKING


# What is open


def test_open_orders_and_rupees_are_counted_with_what_is_unknown(desk: Desk) -> None:
    limit(max_open_orders=2, max_open_rupees=Decimal(20_000))
    desk.adapter.script = [scripted_broker.takes_and_drops]
    assert desk.send("k1").state == IntentState.UNKNOWN
    assert "max_open_rupees of everything is 20000.00, but 6532.50 are open and the order is worth 26130.00" in (
        desk.send("k2", quantity=260).closed_reason
    )
    assert desk.send("k3", quantity=130).state == IntentState.WORKING
    reason = desk.send("k4", limit_price="99").closed_reason
    assert "max_open_orders of everything is 2, but this would be open order number 3." in reason
    assert not list(audit(trading_day(configured_clock().now())))


def test_what_has_ended_is_not_open(desk: Desk) -> None:
    limit(max_open_orders=1)
    desk.send("k1")
    assert desk.send("k2", quantity=130).state == IntentState.DENIED
    desk.set_book("000001", status=OrderStatus.CANCELLED)
    desk.sync()
    assert desk.send("k3", quantity=130).state == IntentState.WORKING


def test_a_strategy_s_limit_counts_its_own_orders(desk: Desk) -> None:
    limit(Scope.STRATEGY, "s1", max_open_orders=1)
    limit(Scope.SYMBOL, SHARE, max_open_rupees=Decimal(150))
    assert desk.send("k1", strategy="s2").state == IntentState.WORKING
    assert desk.send("k2", strategy="s1", quantity=130).state == IntentState.WORKING
    assert "of strategy s1 is 1" in desk.send("k3", strategy="s1", quantity=195).closed_reason
    assert desk.send("k4", symbol=SHARE, quantity=1).state == IntentState.WORKING
    assert "of symbol RELIANCE is 150.00" in desk.send("k5", symbol=SHARE, quantity=1, limit_price="99").closed_reason


def test_a_change_raises_what_its_order_reserves(desk: Desk) -> None:
    limit(max_open_rupees=Decimal(15_000))
    placed = desk.send()
    assert modify(desk, quantity=130).state == IntentState.WORKING
    placed.refresh_from_db()
    assert placed.reserved_rupees == Decimal("13065")
    assert desk.send("k2", limit_price="100").state == IntentState.DENIED


def test_a_change_beyond_what_may_be_open_is_refused(desk: Desk) -> None:
    limit(max_open_rupees=Decimal(15_000))
    placed = desk.send()
    assert "6532.50 are open and the order is worth 13065.00" in modify(desk, quantity=195).closed_reason
    placed.refresh_from_db()
    assert placed.reserved_rupees == Decimal("6532.5")


def test_the_day_s_orders_are_limited_and_exits_still_go(desk: Desk) -> None:
    limit(Scope.ACCOUNT, str(desk.account), max_orders_per_day=1)
    desk.send("k1")
    denied = desk.send("k2", quantity=130)
    assert denied.closed_reason.startswith(
        f"The limit max_orders_per_day of account {desk.account} is 1, but at least that many were sent today. Nothing"
    )
    assert Alert.objects.filter(kind="limit_reached").exists()
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send("k3", side="S", reduce_only=True).state == IntentState.WORKING
    assert desk.gateway.cancel_order("000001") is True


def test_no_minute_of_ours_holds_a_cancel_back(desk: Desk) -> None:
    for number in range(4):
        desk.send(f"k{number}", quantity=65 * (number + 1))
        desk.pass_time(2)
    limit(Scope.ACCOUNT, str(desk.account), max_orders_per_minute=4)
    waiting = desk.send("k5", quantity=650)
    assert (waiting.state, "order requests of this minute" in waiting.waiting_reason) == (IntentState.READY, True)
    for number in range(4):
        assert desk.gateway.cancel_order(f"{number + 1:06}") is True


def test_a_strategy_s_rates_are_its_own(desk: Desk) -> None:
    limit(Scope.STRATEGY, "s1", max_orders_per_minute=1, max_orders_per_day=2)
    desk.send("k1", strategy="s1")
    waiting = desk.send("k2", strategy="s1", quantity=130)
    assert waiting.state == IntentState.READY
    assert (
        "The limit max_orders_per_minute of strategy s1 is 1, but this would be order number 2; it waits."
        in waiting.waiting_reason
    )
    assert desk.send("k3", strategy="s2", quantity=195).state == IntentState.WORKING
    desk.pass_time(61)
    assert desk.send("k4", strategy="s1", quantity=260).state == IntentState.WORKING
    desk.pass_time(61)
    reason = desk.send("k5", strategy="s1", quantity=325).closed_reason
    assert "The limit max_orders_per_day of strategy s1 is 2, but this would be order number 3. Nothing" in reason


# Repetitions


def test_a_second_click_is_refused_and_names_the_first(desk: Desk) -> None:
    order = (CALL, "B", 65, "LMT", "100.5")
    desk.gateway.place_order(*order)
    first = OrderIntent.objects.get()
    with pytest.raises(OrderDenied, match=f"placed 0.. s ago as {first.client_order_id} and is WORKING"):
        desk.gateway.place_order(*order)
    assert OrderIntent.objects.count() == 1
    desk.pass_time(4)
    desk.gateway.place_order(*order)
    assert len(desk.adapter.sent) == 2


def test_two_clicks_at_once_are_one_order(desk: Desk) -> None:
    """Both were recorded before either was sent; arming lets one pass."""
    first, second = desk.record("a", has_own_key=False), desk.record("b", has_own_key=False)
    assert deliver(first.pk).state == IntentState.WORKING
    denied = deliver(second.pk)
    assert denied.state == IntentState.DENIED
    assert "as a and is WORKING" in denied.closed_reason
    assert len(desk.adapter.sent) == 1


@pytest.mark.parametrize(
    "other", [{"quantity": 130}, {"limit_price": "101"}, {"strategy": "s2"}, {"has_own_key": True}, {"side": "S"}]
)
def test_what_differs_is_no_repetition(desk: Desk, other: dict[str, Any]) -> None:
    desk.send("a", has_own_key=False)
    state = desk.send("b", **({"has_own_key": False} | other)).state
    echoes = specs()[desk.account.broker].capabilities.echoes_client_tag
    assert state == IntentState.WORKING or (state == IntentState.READY and not echoes)


def test_after_a_refusal_a_click_is_a_new_wish(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.refuses("no funds")]
    assert desk.send("a", has_own_key=False).state == IntentState.REFUSED
    assert desk.send("b", has_own_key=False).state == IntentState.WORKING


def test_an_unknown_order_is_not_clicked_again(desk: Desk) -> None:
    desk.adapter.script = [scripted_broker.takes_and_drops]
    desk.send("a", has_own_key=False)
    with pytest.raises(OrderDenied, match="as a and is UNKNOWN"):
        desk.send("b", has_own_key=False)


def test_the_cool_down_is_a_limit_like_others(desk: Desk) -> None:
    limit(repeat_cooldown_seconds=0)
    desk.send("a", has_own_key=False)
    assert desk.record("b", has_own_key=False).state == IntentState.READY
    limit(Scope.STRATEGY, "s1", repeat_cooldown_seconds=60)
    desk.send("c", has_own_key=False, strategy="s1", quantity=130)
    desk.pass_time(50)
    with pytest.raises(OrderDenied, match="within 60 s"):
        desk.record("d", has_own_key=False, strategy="s1", quantity=130)


# Positions


def test_an_exit_does_not_ask_for_the_position_with_the_call_that_it_needs_to_be_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    scripted_broker.give_back_calls(desk.account)
    (calls, seconds), *_ = desk.adapter.capabilities.call_limits
    limiter = call_limits.CallLimiter(settings.REDIS_URL)
    with monkeypatch.context() as long, no_waiting():
        # Nothing comes free while a slow machine does this.
        long.setattr(call_limits, "SLACK_MS", 3_600_000)
        for _ in range(calls - calls // call_limits.HEADROOM_PART - 1):
            limiter.acquire(
                str(desk.account),
                windows=[(calls, seconds)],
                per_day=None,
                day="another",
                urgency=call_limits.Urgency.ORDER,
            )
        waiting = desk.send(side="S", reduce_only=True)
        assert (waiting.state, desk.adapter.reads.count("positions")) == (IntentState.READY, 0)

    scripted_broker.give_back_calls(desk.account)
    desk.pass_time(2)
    assert deliver(waiting.pk).state == IntentState.WORKING


@pytest.mark.parametrize(
    ("held", "side", "quantity", "state"),
    [
        (65, "S", 65, "WORKING"),
        (-65, "B", 65, "WORKING"),
        (65, "S", 130, "DENIED"),
        (65, "B", 65, "DENIED"),
        (-65, "S", 65, "DENIED"),
        (0, "S", 65, "DENIED"),
    ],
)
def test_reduce_only_stays_within_the_position(desk: Desk, held: int, side: str, quantity: int, state: str) -> None:
    desk.adapter.positions = [position(CALL, held), position(CALL, 650, Product.MIS), position(SHARE, 650)]
    intent = desk.send(side=side, quantity=quantity, reduce_only=True)
    assert intent.state == state
    if state == "DENIED":
        assert f"holds {held} of {CALL}" in intent.closed_reason


def test_exits_that_may_be_filled_take_from_the_position(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 195)]
    desk.send("working", side="S", reduce_only=True)
    desk.adapter.script = [scripted_broker.takes_and_drops]
    desk.send("unknown", side="S", reduce_only=True, limit_price="100")
    with CaptureQueriesContext(connection) as asked:
        denied = desk.send("too much", side="S", quantity=130, reduce_only=True)
    # What is on its way and what is acknowledged are counted by one statement: an order may go from one to the other.
    both = (OrderIntent._meta.db_table, BrokerOrder._meta.db_table, "UNION ALL")
    assert any(all(each in query["sql"] for each in both) for query in asked.captured_queries)
    assert "have 130, and this one is SELL 130" in denied.closed_reason
    assert desk.send("the rest", side="S", reduce_only=True, limit_price="99").state == IntentState.WORKING


def test_a_person_s_order_takes_from_the_position_too(desk: Desk) -> None:
    desk.adapter.positions = [position(SHARE, 3, Product.CNC)]
    desk.adapter.book["9"] = scripted_broker.foreign_row("9", side=Side.SELL, quantity=2, pending_quantity=2)
    desk.sync()
    exit_order = {"symbol": SHARE, "side": "S", "reduce_only": True}
    assert desk.send("k1", quantity=2, **exit_order).state == IntentState.DENIED
    assert desk.send("k2", quantity=1, **exit_order).state == IntentState.WORKING


def test_a_fill_while_the_position_is_read_is_not_counted_as_held(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    desk.send("first", side="S", reduce_only=True)
    fetch = desk.adapter.fetch_positions

    def filled_meanwhile() -> list[Position]:
        held = fetch()
        desk.set_book("000001", status=OrderStatus.FILLED, filled_quantity=65)
        desk.sync()
        return held

    monkeypatch.setattr(desk.adapter, "fetch_positions", filled_meanwhile)
    second = desk.send("second", side="S", reduce_only=True, limit_price="100")
    assert (second.state, len(desk.adapter.sent)) == (IntentState.READY, 1)
    monkeypatch.setattr(desk.adapter, "fetch_positions", lambda: [position(CALL, 0)])
    desk.pass_time(16)
    assert deliver(second.pk).state == IntentState.DENIED


def filled(desk: Desk, key: str, **changes: Any) -> OrderIntent:
    """An exit that was filled, and that the broker's positions do not show yet."""
    intent = desk.send(key, side="S", reduce_only=True, **changes)
    (number,) = BrokerOrder.objects.filter(attempt__intent=intent).values_list("broker_order_id", flat=True)
    desk.set_book(number, status=OrderStatus.FILLED, filled_quantity=intent.quantity)
    desk.sync()
    return intent


def test_a_second_exit_waits_until_the_positions_must_show_the_first(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    filled(desk, "first")
    desk.pass_time(2)
    second = desk.send("second", side="S", reduce_only=True, limit_price="100")
    assert (second.state, len(desk.adapter.sent)) == (IntentState.READY, 1)
    assert "waits until 10:00:15 IST: 65 of" in second.waiting_reason
    reads = desk.adapter.reads.count("positions")
    for _ in range(12):
        desk.pass_time(1)
        deliver(second.pk)
    assert desk.adapter.reads.count("positions") == reads, "waiting costs no call"
    desk.adapter.positions = []
    desk.pass_time(1)
    assert deliver(second.pk).state == IntentState.DENIED
    assert "holds 0 of" in deliver(second.pk).closed_reason


def test_an_exit_that_had_to_wait_goes_by_itself(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 130)]
    filled(desk, "first")
    desk.adapter.positions = [position(CALL, 65)]
    desk.pass_time(2)
    rest = desk.send("rest", side="S", reduce_only=True, limit_price="100")
    assert rest.state == IntentState.READY, "65 may be the state before the first or after it"
    desk.pass_time(13)
    assert rest in operations.sweep()
    assert deliver(rest.pk).state == IntentState.WORKING


def test_exits_of_a_part_wait_for_nothing_while_enough_is_left(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 260)]
    filled(desk, "first")
    assert desk.send("second", side="S", reduce_only=True, limit_price="100").state == IntentState.WORKING
    assert desk.send("third", side="S", reduce_only=True, quantity=195, limit_price="99").state == IntentState.READY


def test_an_exit_waits_no_longer_than_for_those_that_it_needs_to_know_of(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 130)]
    filled(desk, "first")
    desk.pass_time(5)
    filled(desk, "second", limit_price="100")
    third = desk.send("third", side="S", reduce_only=True, limit_price="99")
    assert "until 10:00:15 IST: 130 of" in third.waiting_reason, "130 held are enough for the second and it"


def test_what_a_resting_exit_was_filled_long_ago_keeps_nobody_waiting(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 260)]
    desk.send("resting", side="S", quantity=195, reduce_only=True)
    desk.set_book("000001", filled_quantity=65, pending_quantity=130)
    desk.adapter.fills = [fill("000001", "a", 65)]
    sync_all(desk)
    desk.adapter.positions = [position(CALL, 195)]
    waiting = desk.send("soon", side="S", reduce_only=True, limit_price="100")
    assert waiting.state == IntentState.READY, "the position may be the one before the part was filled"
    desk.pass_time(16)
    desk.set_book("000001", filled_quantity=66, pending_quantity=129)
    sync_all(desk)
    desk.adapter.positions = [position(CALL, 195)]
    assert deliver(waiting.pk).state == IntentState.WORKING, "of 66 filled only the last one is in doubt"


def fill(order: str, number: str, quantity: int) -> Fill:
    return Fill(
        broker_order_id=order,
        fill_id=number,
        symbol=CALL,
        exchange="NFO",
        side=Side.SELL,
        quantity=quantity,
        price=Decimal(100),
        filled_at=None,
    )


def sync_all(desk: Desk) -> None:
    desk.sync()
    book.sync_trades(desk.account.pk)


def test_what_a_person_sold_a_moment_ago_may_still_be_in_the_position(desk: Desk) -> None:
    desk.adapter.positions = [position(SHARE, 3, Product.CNC)]
    row = scripted_broker.foreign_row("9", side=Side.SELL, quantity=3, pending_quantity=0, filled_quantity=3)
    desk.adapter.book["9"] = replace(row, status=OrderStatus.FILLED)
    desk.sync()
    desk.pass_time(1)
    assert desk.send(symbol=SHARE, side="S", quantity=3, reduce_only=True).state == IntentState.READY


def test_an_exit_waits_while_positions_cannot_be_read(desk: Desk) -> None:
    desk.adapter.positions = BrokerUnavailable("The broker does not answer.")
    intent = desk.send(side="S", reduce_only=True)
    assert (intent.state, intent.waiting_reason) == (IntentState.READY, "The broker does not answer.")


def test_limits_on_openings_keep_nobody_from_getting_out(desk: Desk) -> None:
    desk.send("k1")
    limit(max_quantity=1, max_lots=0, max_notional_rupees=Decimal(1), max_open_orders=0, max_open_rupees=Decimal(0))
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send("exit", side="S", reduce_only=True).state == IntentState.WORKING


def test_an_exit_is_not_made_larger(desk: Desk) -> None:
    desk.adapter.positions = [position(CALL, 65)]
    desk.send("exit", side="S", reduce_only=True)
    assert "reduce only" in modify(desk, quantity=130).closed_reason


# Margin and loss


def margin(desk: Desk, available: str, *, seconds_ago: int = 0, status: str = "OK") -> None:
    taken_at = configured_clock().now() - timedelta(seconds=seconds_ago)
    MarginSnapshot.objects.create(
        account=desk.account,
        slot_at=taken_at,
        status=status,
        taken_at=taken_at if status == "OK" else None,
        available=Decimal(available) if status == "OK" else None,
        created_at=taken_at,
    )


def result(desk: Desk, pnl: str | None, *, seconds_ago: float = 0) -> None:
    taken_at = configured_clock().now() - timedelta(seconds=seconds_ago)
    PositionSnapshot.objects.create(
        account=desk.account,
        slot_at=taken_at,
        status="OK",
        taken_at=taken_at,
        pnl=Decimal(pnl) if pnl is not None else None,
        created_at=taken_at,
    )


def test_what_is_bought_must_be_covered_by_a_fresh_margin(desk: Desk) -> None:
    limit(max_margin_age_seconds=120)
    waiting = desk.send("k1")
    assert "has not been read yet" in waiting.waiting_reason
    margin(desk, "1000000", seconds_ago=121)
    desk.pass_time(1.1)
    assert (
        "was read 122 s ago, but the limit max_margin_age_seconds of everything is 120;"
        in deliver(waiting.pk).waiting_reason
    )
    margin(desk, "0", status="FAILED")
    margin(desk, "10000", seconds_ago=60)
    desk.pass_time(1.1)
    assert deliver(waiting.pk).state == IntentState.WORKING
    denied = desk.send("k2", limit_price="99")
    read_at = f"{configured_clock().now().astimezone(IST) - timedelta(seconds=61.1):%H:%M:%S} IST"
    assert denied.closed_reason == (
        f"The order needs Rs 6,435.00, and Rs 3,467.50 of the margin of {desk.account} was left at {read_at}. "
        "Add funds or order less."
    )


@pytest.mark.parametrize("acknowledged", [True, False])
def test_an_order_that_went_out_while_the_margin_was_read_may_not_be_in_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, acknowledged: bool
) -> None:
    limit(max_margin_age_seconds=120)
    margin(desk, "10000", seconds_ago=60)
    first, asked_at = desk.record("k1"), configured_clock().now()

    def fetch_margin() -> MarginData:
        deliver(first.pk)
        return MarginData(
            available=Decimal(10_000), used=Decimal(0), total=Decimal(10_000), as_of=configured_clock().now()
        )

    if not acknowledged:
        desk.adapter.script = [scripted_broker.takes_and_drops]
    monkeypatch.setattr(desk.adapter, "fetch_margin", fetch_margin)
    snapshots.take_margin(desk.account, asked_at)
    waiting = desk.send("k2", limit_price="99")
    assert waiting.state == IntentState.READY
    assert "3,467.50" not in waiting.waiting_reason
    assert "Rs 10,000.00 of the margin" in waiting.waiting_reason
    assert "orders of Rs 6,532.50 that went out while it was read may not be in it" in waiting.waiting_reason
    # What fits beside both is not held up.
    beside = desk.send("k3", symbol=SHARE, quantity=30, limit_price="100", product="CNC")
    assert beside.state == IntentState.WORKING

    margin(desk, "3000", seconds_ago=0)
    desk.pass_time(1.1)
    assert "needs Rs 6,435.00, and Rs 3,000.00 of the margin" in deliver(waiting.pk).closed_reason


def test_an_order_that_was_acknowledged_before_the_margin_was_asked_for_is_in_it(desk: Desk) -> None:
    limit(max_margin_age_seconds=120)
    margin(desk, "10000", seconds_ago=60)
    assert desk.send("k1").state == IntentState.WORKING
    desk.pass_time(1.5)
    margin(desk, "6435")
    assert desk.send("k2", limit_price="99").state == IntentState.WORKING


def test_a_sold_option_needs_something_available(desk: Desk) -> None:
    limit(max_margin_age_seconds=120)
    margin(desk, "0")
    assert "0.00 of the margin" in desk.send("k1", side="S").closed_reason
    margin(desk, "1", seconds_ago=-1)
    desk.pass_time(1)
    assert desk.send("k2", side="S", limit_price="101").state == IntentState.WORKING


def test_a_loss_at_its_limit_leaves_only_exits(desk: Desk) -> None:
    limit(max_loss_per_day_rupees=Decimal(5000))
    result(desk, "-4999.99", seconds_ago=30)
    assert desk.send("k1").state == IntentState.WORKING
    result(desk, "-5000")
    denied = desk.send("k2", limit_price="100")
    assert "The limit max_loss_per_day_rupees of everything is 5000.00, but the day's result" in denied.closed_reason
    switch = KillSwitch.objects.get(scope=Scope.ACCOUNT)
    assert (switch.scope_key, switch.state, switch.changed_by) == (str(desk.account), "REDUCING", "mcube")
    assert "-5000.00 rupees" in Alert.objects.get(kind="kill_switch").happened
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send("k3", side="S", reduce_only=True).state == IntentState.WORKING


def test_the_reading_of_positions_itself_notices_the_loss(desk: Desk) -> None:
    limit(max_loss_per_day_rupees=Decimal(5000))
    assert not loss.check(desk.account, at=configured_clock().now())
    result(desk, "-6000")
    assert loss.check(desk.account, at=configured_clock().now())
    assert loss.check(desk.account, at=configured_clock().now())
    assert switches.state_for(desk.account, "", CALL).state == KillSwitch.State.REDUCING
    assert switches.epoch() == 1


def test_the_schedule_s_reading_of_positions_stops_openings(desk: Desk) -> None:
    limit(Scope.ACCOUNT, str(desk.account), max_loss_per_day_rupees=Decimal(5000))
    desk.adapter.positions = [replace(position(CALL, 65), pnl=Decimal(-5001))]
    slot_at = configured_clock().now().replace(microsecond=0)
    snapshot_positions(broker=desk.account.broker, account="default", slot_at=slot_at.isoformat())
    assert switches.state_for(desk.account, "", CALL).state == KillSwitch.State.REDUCING


def test_an_unknown_loss_lets_nothing_open(desk: Desk) -> None:
    limit(max_loss_per_day_rupees=Decimal(5000))
    result(desk, "100", seconds_ago=24 * 3600)
    result(desk, None)
    waiting = desk.send()
    assert waiting.state == IntentState.READY
    assert "was not read within 5 minutes" in waiting.waiting_reason
    desk.adapter.positions = [position(CALL, 65)]
    assert desk.send("exit", side="S", reduce_only=True).state == IntentState.WORKING


# Live


@pytest.fixture
def on_the_walls_clock(desk: Desk) -> Iterator[None]:
    """Outside of simulated mode the market's time is the wall's: let it be that of the desk."""
    with time_machine.travel(configured_clock().now(), tick=True):
        yield


@pytest.mark.usefixtures("on_the_walls_clock")
def test_a_live_order_needs_the_switch_of_the_installation_and_of_the_account(desk: Desk, settings: Any) -> None:
    settings.MODE, settings.LIVE_TRADING = Mode.LIVE, False
    switches.set_switch(
        Scope.EVERYTHING, "", KillSwitch.State.ACTIVE, by="anna", reason="go", at=configured_clock().now()
    )
    assert "set MCUBE_LIVE_TRADING" in desk.send("k1").closed_reason
    settings.LIVE_TRADING = True
    assert "allow it in the admin" in desk.send("k2").closed_reason
    assert not desk.adapter.sent


@pytest.mark.usefixtures("on_the_walls_clock")
def test_paper_orders_are_refused_in_a_sentence(desk: Desk, settings: Any) -> None:
    settings.MODE = Mode.PAPER
    assert "paper mode are refused" in desk.send().closed_reason


def test_an_order_of_another_mode_is_refused(desk: Desk) -> None:
    intent = desk.record()
    OrderIntent.objects.update(mode=Mode.LIVE.value)
    reason = deliver(intent.pk).closed_reason
    assert "recorded in live mode" in reason
    assert reason.endswith("Nothing was sent; if it is still wanted, place it anew with a new client order id.")


# Many at once


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("broker", list(specs()))
def test_many_processes_together_stay_within_the_limits(tmp_path: Path, broker: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("risk_driver.py")), broker],
        env=os.environ
        | {"MCUBE_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT), "DATABASE_URL": _database(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    # Ten orders of 1,000 rupees fit; sixty were tried from six processes at once.
    assert seen["reserved"] == "10000.0000"
    assert seen["open"] == {"WORKING": 9, "UNKNOWN": 1, "DENIED": 50}
    assert seen["clicks"] == {"WORKING": 1, "DENIED": 5}
    assert seen["exits"] == {"WORKING": 1, "DENIED": 5}


def _database(folder: Path) -> str:
    """The tests' own on a server, whose rows pytest-django takes out again; a file of its own on SQLite."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{folder / 'risk.sqlite3'}"
    return os.environ["DATABASE_URL"].rpartition("/")[0] + "/" + str(connection.settings_dict["NAME"])
