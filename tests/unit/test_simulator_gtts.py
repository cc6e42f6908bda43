"""How the simulated exchange keeps orders until a trigger, over days and restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.clock import IST
from brokers.domain.enums import OrderType, Product, Side
from brokers.domain.gtt import GttKind, GttRole
from brokers.simulator.book import BookedOrder, Refused, State, Ticket, Why
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.gtt_book import BookedGtt, LegState
from brokers.simulator.gtts import GttTicket, LegTicket
from tests.support.simulator import BROKER, MONDAY, Market, Markets

TUESDAY = datetime(2026, 11, 24, 10, 0, tzinfo=IST)
AT_CLOSE = datetime(2026, 11, 23, 15, 40, tzinfo=IST)
AFTER_EXPIRY = datetime(2026, 12, 2, 10, 0, tzinfo=IST)


@pytest.fixture
def markets(tmp_path: Path) -> Iterator[Markets]:
    made = Markets(tmp_path)
    yield made
    made.close()


@pytest.fixture
def market(markets: Markets) -> Market:
    """The option stands at 50 rupees."""
    made = markets.open()
    made.pin("50")
    return made


def leg(role: GttRole, side: Side, trigger: str, limit: str) -> LegTicket:
    return LegTicket(role=role, side=side, trigger_price=Decimal(trigger), limit_price=Decimal(limit))


def single(market: Market, *, side: Side = Side.BUY, trigger: str = "45", limit: str = "44") -> BookedGtt:
    ticket = GttTicket(
        contract=market.contract(),
        product=Product.NRML,
        quantity=65,
        legs=(leg(GttRole.ORDER, side, trigger, limit),),
    )
    return market.exchange.gtts.place(market.account, ticket)


def three_leg(market: Market, *, entry: str = "48", lots: int = 1) -> BookedGtt:
    """Bought at ``entry``; the target is 55 and the stop 45."""
    contract = market.contract()
    ticket = GttTicket(
        contract=contract,
        product=Product.NRML,
        quantity=65 * lots,
        legs=(leg(GttRole.TARGET, Side.SELL, "55", "54"), leg(GttRole.STOP, Side.SELL, "45", "44")),
        entry=Ticket(
            contract=contract,
            side=Side.BUY,
            quantity=65 * lots,
            order_type=OrderType.LIMIT,
            price=Decimal(entry),
            product=Product.NRML,
        ),
    )
    return market.exchange.gtts.place(market.account, ticket)


def kept(market: Market) -> list[BookedGtt]:
    return market.exchange.gtts.all(market.account)


def states(gtt: BookedGtt) -> list[LegState]:
    return [each.state for each in gtt.legs]


def orders(market: Market) -> list[BookedOrder]:
    return market.exchange.orders(market.account)


@pytest.mark.parametrize(
    ("trigger", "short_of_it", "at_it"),
    [("45", "45.05", "45"), ("45", "50", "30"), ("55", "54.95", "55"), ("55", "50", "70")],
)
@pytest.mark.parametrize("side", Side)
def test_a_single_fires_when_the_price_comes_to_its_trigger(
    side: Side, trigger: str, short_of_it: str, at_it: str, market: Market
) -> None:
    gtt = single(market, side=side, trigger=trigger)
    market.pin(short_of_it)
    assert (states(gtt), orders(market)) == ([LegState.ACTIVE], [])
    market.pin(at_it)
    assert states(gtt) == [LegState.TRIGGERED]
    [order] = orders(market)
    assert (order.side, order.quantity, order.price, order.order_id) == (side, 65, Decimal(44), gtt.legs[0].order_id)
    assert (order.order_type, order.source) == (OrderType.LIMIT, "GTT")


def test_a_trigger_where_the_price_is_fires_at_once(market: Market) -> None:
    assert states(single(market, trigger="50")) == [LegState.TRIGGERED]


def test_an_order_that_was_triggered_is_matched_like_any(market: Market) -> None:
    single(market, trigger="45", limit="46")
    market.pin("45")
    [order] = orders(market)
    assert (order.state, order.average_price) == (State.FILLED, Decimal("45.05"))


def test_time_alone_fires_when_prices_move(markets: Markets) -> None:
    market = markets.open()
    market.settings.moving = True
    price = market.exchange.quote(market.contract()).last_price
    tick = market.contract().tick_size
    for trigger in (price - tick, price + tick):
        single(market, trigger=str(trigger))
    assert market.exchange.is_busy
    for _ in range(600):
        market.pass_time(1)
    assert {state for gtt in kept(market) for state in states(gtt)} == {LegState.TRIGGERED}


def test_a_change_moves_the_trigger(market: Market) -> None:
    gtt = single(market)
    market.exchange.gtts.modify(market.account, gtt.gtt_id, {GttRole.ORDER: leg(GttRole.ORDER, Side.BUY, "55", "54")})
    market.pin("45")
    assert states(gtt) == [LegState.ACTIVE]
    market.pin("55")
    assert (states(gtt), orders(market)[0].price) == ([LegState.TRIGGERED], Decimal(54))


@pytest.mark.parametrize("end", ["cancel", "trigger"])
def test_what_has_ended_is_neither_changed_nor_cancelled(end: str, market: Market) -> None:
    gtt, gtts = single(market), market.exchange.gtts
    if end == "cancel":
        gtts.cancel(market.account, gtt.gtt_id)
    else:
        market.pin("45")
    asked: list[Callable[[], object]] = [
        lambda: gtts.cancel(market.account, gtt.gtt_id),
        lambda: gtts.modify(market.account, gtt.gtt_id, {GttRole.ORDER: leg(GttRole.ORDER, Side.BUY, "40", "39")}),
    ]
    for ask in asked:
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.why is Why.ORDER_DONE


@pytest.mark.parametrize(
    ("trigger", "limit", "why"), [("45.01", "44", Why.TICK), ("45", "44.01", Why.TICK), ("0", "44", Why.PRICE)]
)
def test_what_its_order_would_be_refused_for_is_refused_at_once(
    trigger: str, limit: str, why: Why, market: Market
) -> None:
    with pytest.raises(Refused) as caught:
        single(market, trigger=trigger, limit=limit)
    assert caught.value.why is why
    assert kept(market) == []


def test_a_leg_that_is_not_there_is_not_changed(market: Market) -> None:
    gtt = single(market)
    with pytest.raises(Refused):
        market.exchange.gtts.modify(market.account, gtt.gtt_id, {GttRole.STOP: leg(GttRole.STOP, Side.BUY, "40", "39")})


# Three legs


def test_legs_wait_for_the_entry(market: Market) -> None:
    gtt = three_leg(market)
    assert (gtt.kind, states(gtt)) == (GttKind.THREE_LEG, [LegState.WAITING, LegState.WAITING])
    market.pin("60")
    assert states(gtt) == [LegState.WAITING, LegState.WAITING]
    market.pin("48")
    assert states(gtt) == [LegState.ACTIVE, LegState.ACTIVE]
    assert [order.order_id for order in orders(market)] == [gtt.entry_order_id]


@pytest.mark.parametrize(
    ("price", "ends"),
    [("55", [LegState.TRIGGERED, LegState.CANCELLED]), ("45", [LegState.CANCELLED, LegState.TRIGGERED])],
)
def test_one_leg_that_fires_ends_the_other(price: str, ends: list[LegState], market: Market) -> None:
    gtt = three_leg(market, entry="60")
    assert states(gtt) == [LegState.ACTIVE, LegState.ACTIVE]
    market.pin(price)
    market.pin("45" if price == "55" else "55")
    assert states(gtt) == ends
    assert [order.side for order in orders(market)] == [Side.BUY, Side.SELL]


def test_legs_sell_what_the_entry_bought(markets: Markets) -> None:
    market = markets.open()
    market.settings.fill_lots = 1
    market.pin("50")
    gtt = three_leg(market, entry="60", lots=3)
    market.exchange.cancel(market.account, gtt.entry_order_id)
    assert states(gtt) == [LegState.WAITING, LegState.WAITING]
    market.pin("55")
    assert [order.quantity for order in orders(market)] == [195, 65]


def test_legs_of_an_entry_that_bought_nothing_are_over(market: Market) -> None:
    gtt = three_leg(market)
    market.exchange.cancel(market.account, gtt.entry_order_id)
    assert [states(each) for each in kept(market)] == [[LegState.CANCELLED, LegState.CANCELLED]]


def test_an_entry_that_is_refused_keeps_nothing(market: Market) -> None:
    with pytest.raises(Refused) as caught:
        three_leg(market, entry="48.01")
    assert caught.value.why is Why.TICK
    assert (kept(market), orders(market)) == ([], [])


# Days and restarts


def test_a_gtt_outlives_the_day_and_fires_on_another(market: Market) -> None:
    gtt = single(market)
    market.clock.set(AT_CLOSE)
    market.pin("45")
    assert states(gtt) == [LegState.ACTIVE], "the exchange was closed"
    market.clock.set(TUESDAY)
    assert market.exchange.gtts.all(market.account, MONDAY, TUESDAY.date()) == [gtt]
    assert states(gtt) == [LegState.TRIGGERED]
    assert [order.order_id for order in orders(market)] == [gtt.legs[0].order_id]


def test_a_gtt_ends_with_its_contract(market: Market) -> None:
    gtt = single(market)
    market.clock.set(AFTER_EXPIRY)
    market.exchange.advance()
    assert states(gtt) == [LegState.EXPIRED]


def test_legs_of_an_entry_that_was_not_filled_end_with_its_day(market: Market) -> None:
    gtt = three_leg(market)
    market.clock.set(TUESDAY)
    market.exchange.advance()
    assert states(gtt) == [LegState.CANCELLED, LegState.CANCELLED]


@pytest.mark.parametrize("days", [0, 1])
def test_a_restarted_exchange_keeps_what_it_kept(days: int, markets: Markets, market: Market) -> None:
    single(market)
    market.exchange.gtts.cancel(market.account, single(market).gtt_id)
    three_leg(market, entry="60")
    before = kept(market)
    again = markets.open()
    again.clock.set(market.clock.now() + timedelta(days=days))
    # Before anybody looks at it: a restarted exchange has no pins.
    again.exchange.prices.pin(market.contract(), Decimal(50))
    found = again.exchange.gtts.all(again.account, MONDAY, MONDAY + timedelta(days=days))
    assert [(each.gtt_id, states(each), each.entry_order_id) for each in found] == [
        (each.gtt_id, states(each), each.entry_order_id) for each in before
    ]
    again.pin("45")
    assert [states(each)[-1] for each in found] == [LegState.TRIGGERED, LegState.CANCELLED, LegState.TRIGGERED]
    assert single(again, trigger="30").gtt_id not in {each.gtt_id for each in before}


def test_a_restarted_exchange_waits_for_the_same_entry(markets: Markets, market: Market) -> None:
    three_leg(market)
    again = markets.open()
    again.exchange.prices.pin(market.contract(), Decimal(50))
    again.pin("48")
    [gtt] = kept(again)
    assert states(gtt) == [LegState.ACTIVE, LegState.ACTIVE]
    assert gtt.entry is again.exchange.order(again.account, gtt.entry_order_id)


# What the truth log says, and faults


def test_the_truth_log_has_each_step(market: Market) -> None:
    gtt = three_leg(market)
    market.exchange.gtts.modify(market.account, gtt.gtt_id, {GttRole.STOP: leg(GttRole.STOP, Side.SELL, "44", "43")})
    market.pin("48")
    market.pin("44")
    assert [line["event"] for line in market.truth()] == [
        "accepted",
        "gtt_accepted",
        "gtt_modified",
        "filled",
        "gtt_armed",
        "accepted",
        "filled",
        "gtt_triggered",
    ]
    last = market.truth()[-1]
    assert (last["gtt_order_id"], last["entry_order_id"]) == (gtt.gtt_id, gtt.entry_order_id)


def test_a_gtt_may_be_kept_and_not_shown_for_a_while(market: Market) -> None:
    market.exchange.faults.add(Fault(broker=BROKER, endpoint="gtt_place", kind=Kind.INVISIBLE, seconds=5))
    gtt = single(market)
    assert kept(market) == []
    market.pass_time(5)
    assert kept(market) == [gtt]


def test_one_call_may_keep_two(market: Market) -> None:
    market.exchange.faults.add(Fault(broker=BROKER, endpoint="gtt_place", kind=Kind.DUPLICATE))
    single(market)
    assert len({gtt.gtt_id for gtt in kept(market)}) == 2
