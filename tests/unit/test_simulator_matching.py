"""How the simulated exchange matches, fills in parts, expires and remembers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.clock import IST
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.simulator.book import Change, Refused, State, Why
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.rules import ExchangeSettings
from tests.support.simulator import BROKER, FUTURE, Market, Markets

AT_CLOSE = datetime(2026, 11, 23, 15, 40, tzinfo=IST)
SATURDAY = datetime(2026, 11, 21, 11, 0, tzinfo=IST)


@pytest.fixture
def markets(tmp_path: Path) -> Iterator[Markets]:
    made = Markets(tmp_path)
    yield made
    made.close()


@pytest.fixture
def market(markets: Markets) -> Market:
    made = markets.open()
    made.pin("50")
    return made


def test_a_limit_order_at_the_ask_is_filled_at_the_ask(market: Market) -> None:
    order = market.place(price="60")

    assert order.state is State.FILLED
    assert order.average_price == Decimal("50.05")
    assert [trade.quantity for trade in market.exchange.trades(market.account)] == [65]


def test_an_order_below_the_market_rests_until_the_price_comes(market: Market) -> None:
    order = market.place(price="45")
    market.pass_time(5)
    assert [order.state] == [State.OPEN]

    market.pin("44.90")

    assert order.state is State.FILLED
    assert order.average_price == Decimal(45)


def test_a_sell_order_above_the_market_rests_until_the_price_comes(market: Market) -> None:
    order = market.place(side=Side.SELL, price="55")
    assert [order.state] == [State.OPEN]

    market.pin("55.10")

    assert order.state is State.FILLED


def test_a_stop_order_waits_for_its_trigger_and_then_works_as_a_limit_order(market: Market) -> None:
    order = market.place(price="56", trigger="55")
    market.pass_time(3)
    assert [order.state] == [State.TRIGGER_PENDING]

    market.pin("60")
    assert [order.state] == [State.OPEN], "triggered, but its limit is below the market"

    market.pin("55.50")
    assert order.state is State.FILLED


def test_a_large_order_fills_in_parts_with_a_fill_id_each(market: Market) -> None:
    market.settings.fill_lots = 2
    order = market.place(quantity=65 * 5, price="60")
    assert (order.state, order.filled_quantity) == (State.PARTIALLY_FILLED, 130)

    market.pass_time(1)
    assert order.filled_quantity == 260
    market.pass_time(1)

    trades = market.exchange.trades(market.account)
    assert order.state is State.FILLED
    assert [trade.quantity for trade in trades] == [130, 130, 65]
    assert [trade.leg for trade in trades] == [1, 2, 3]
    assert len({trade.fill_id for trade in trades}) == 3


def test_an_ioc_order_takes_what_is_there_and_cancels_the_rest(market: Market) -> None:
    market.settings.fill_lots = 2
    order = market.place(quantity=65 * 3, price="60", validity=TimeInForce.IOC)

    assert (order.state, order.filled_quantity, order.cancelled_quantity) == (State.CANCELLED, 130, 65)


def test_a_day_order_expires_at_the_close_of_its_exchange(market: Market) -> None:
    order = market.place(price="45")
    share = market.place(symbol="SBIN", exchange=Exchange.NSE, price="900", quantity=1, product=Product.CNC)
    market.clock.set(datetime(2026, 11, 23, 15, 30, tzinfo=IST))
    market.exchange.advance()
    assert (share.state, order.state) == (State.EXPIRED, State.OPEN)

    market.clock.set(AT_CLOSE)
    market.exchange.advance()

    assert (order.state, order.cancelled_quantity) == (State.EXPIRED, 65)


@pytest.mark.parametrize("moment", [AT_CLOSE, SATURDAY, datetime(2026, 11, 23, 9, 14, 59, tzinfo=IST)])
def test_nothing_is_taken_while_the_exchange_is_closed(market: Market, moment: datetime) -> None:
    market.clock.set(moment)

    with pytest.raises(Refused) as refused:
        market.place()

    assert refused.value.why is Why.CLOSED
    assert not market.truth()


def test_an_order_walks_from_received_over_open_to_filled_with_the_delays_set(markets: Markets) -> None:
    market = markets.open(settings=ExchangeSettings(moving=False, ack_seconds=2, visible_seconds=1, fill_seconds=3))
    market.pin("50")
    order = market.place(price="60")
    assert [order.state] == [State.RECEIVED]
    assert market.exchange.orders(market.account) == []

    market.pass_time(1)
    assert market.exchange.orders(market.account) == [order]
    market.pass_time(1)
    assert (order.state, bool(order.exchange_order_id)) == (State.OPEN, True)
    market.pass_time(3)

    assert order.state is State.FILLED
    assert [moment.state for moment in order.history] == [State.RECEIVED, State.OPEN, State.FILLED]


def test_a_modified_order_trades_on_its_new_terms(market: Market) -> None:
    order = market.place(price="45", quantity=130)

    market.exchange.modify(market.account, order.order_id, Change(price=Decimal(60), quantity=65))

    assert (order.state, order.quantity, order.modifications) == (State.FILLED, 65, 1)


def test_a_cancelled_order_stays_cancelled_and_cannot_be_cancelled_again(market: Market) -> None:
    order = market.place(price="45")
    market.exchange.cancel(market.account, order.order_id)
    market.pin("40")

    assert (order.state, order.filled_quantity) == (State.CANCELLED, 0)
    with pytest.raises(Refused) as refused:
        market.exchange.cancel(market.account, order.order_id)
    assert refused.value.why is Why.ORDER_DONE


@pytest.mark.parametrize(
    ("why", "terms"),
    [
        (Why.LOT, {"quantity": 64}),
        (Why.QUANTITY, {"quantity": 0}),
        (Why.FREEZE, {"quantity": 1820}),
        (Why.TICK, {"price": "50.01"}),
        (Why.PRICE, {"price": "-1"}),
        (Why.PRICE, {"price": "NaN"}),
        (Why.BAND, {"price": "9000"}),
        (Why.TRIGGER, {"price": "50", "trigger": "51"}),
        (Why.ORDER_TYPE, {"order_type": OrderType.MARKET}),
        (Why.PRODUCT, {"product": Product.CNC}),
        (Why.MARGIN, {"symbol": FUTURE, "quantity": 1755, "price": "22000"}),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused(market: Market, why: Why, terms: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        market.place(**terms)  # type: ignore[arg-type]

    assert refused.value.why is why
    assert not market.truth()


def test_a_broker_that_answers_late_shows_the_refusal_in_its_book(markets: Markets) -> None:
    market = markets.open(late=frozenset({Why.MARGIN, Why.FREEZE}), holds_frozen=True)

    poor = market.place(symbol=FUTURE, quantity=1755, price="22000")
    frozen = market.place(quantity=1820)

    assert (poor.state, frozen.state) == (State.REJECTED, State.FROZEN)
    assert "Margin" in poor.reason
    assert [line["event"] for line in market.truth()] == ["accepted", "rejected", "accepted", "frozen"]


def test_a_tag_is_taken_once_even_after_its_order_was_cancelled(markets: Markets) -> None:
    market = markets.open(unique_tags=True)
    order = market.place(price="1", tag="one")
    market.exchange.cancel(market.account, order.order_id)

    with pytest.raises(Refused) as refused:
        market.place(price="1", tag="one")

    assert refused.value.why is Why.DUPLICATE_TAG


def test_a_restarted_exchange_has_the_book_of_the_day(markets: Markets, market: Market) -> None:
    market.settings.fill_lots = 1
    resting = market.place(price="45", tag="resting")
    partly = market.place(quantity=130, price="60")
    gone = market.place(price="44")
    market.exchange.cancel(market.account, gone.order_id)
    before = market.exchange.funds(market.account)
    market.exchange.truth.close()

    again = markets.open()
    again.pin("50")
    orders = {order.order_id: order for order in again.exchange.orders(again.account)}

    assert [order.state for order in orders.values()] == [State.OPEN, State.PARTIALLY_FILLED, State.CANCELLED]
    assert orders[resting.order_id].tag == "resting"
    assert orders[partly.order_id].filled_quantity == 65
    assert again.exchange.funds(again.account) == before
    assert again.place(price="44").order_id not in orders
    again.pin("43.90")
    assert orders[resting.order_id].state is State.FILLED


def test_a_torn_last_line_of_the_truth_log_loses_nothing_else(markets: Markets, market: Market) -> None:
    market.place(price="45")
    market.exchange.truth.close()
    path = market.exchange.truth.path
    path.write_text(path.read_text() + '{"event":"accep')

    again = markets.open()
    again.place(price="44")

    assert len(markets.open().exchange.orders(market.account)) == 2


def test_positions_are_carried_into_the_next_day_at_its_base_and_orders_are_not(market: Market) -> None:
    market.pin("22300", FUTURE)
    market.place(symbol=FUTURE, price="22400", quantity=65)
    market.clock.set(datetime(2026, 11, 24, 10, 0, tzinfo=IST))

    (position,) = market.exchange.positions(market.account)

    assert (position.carried_buy_quantity, position.buy_quantity, position.net_quantity) == (65, 0, 65)
    assert market.exchange.orders(market.account) == []
    assert market.exchange.orders(market.account, datetime(2026, 11, 23, tzinfo=IST).date())


def test_a_stale_book_shows_orders_as_they_were(market: Market) -> None:
    order = market.place(price="45")
    market.pass_time(1)
    market.exchange.faults.add(
        Fault(broker=BROKER, endpoint="orders", kind=Kind.STALE_BOOK, set_at=market.clock.now().timestamp())
    )
    market.pass_time(1)
    market.exchange.cancel(market.account, order.order_id)

    (stale,) = market.exchange.orders(market.account)
    (fresh,) = market.exchange.orders(market.account)

    assert (stale.state, fresh.state) == (State.OPEN, State.CANCELLED)


def test_an_invisible_order_is_at_the_exchange_and_not_in_the_book(market: Market) -> None:
    market.exchange.faults.add(Fault(broker=BROKER, endpoint="place", kind=Kind.INVISIBLE, seconds=30))
    order = market.place(price="45")

    assert market.exchange.orders(market.account) == []
    assert market.exchange.order(market.account, order.order_id) is None
    assert [line["event"] for line in market.truth()] == ["accepted"]
    market.pass_time(31)
    assert market.exchange.orders(market.account) == [order]


def test_a_cancel_without_effect_leaves_the_order_live(market: Market) -> None:
    order = market.place(price="45")
    market.exchange.faults.add(Fault(broker=BROKER, endpoint="cancel", kind=Kind.NO_EFFECT))

    market.exchange.cancel(market.account, order.order_id)

    assert order.state is State.OPEN


def test_the_truth_log_tells_tag_and_times_of_every_order(market: Market) -> None:
    market.place(price="60", tag="mc-1")

    accepted, filled = market.truth()

    assert (accepted["event"], filled["event"]) == ("accepted", "filled")
    assert accepted["tag"] == "mc-1"
    assert accepted["broker"] == BROKER
    assert str(accepted["market_at"]).startswith("2026-11-23T04:30")
    assert not str(accepted["wall_at"]).startswith("2026-11-23T04:30")
