"""What Breeze's answers mean, row by row."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import parsing, parsing_account, parsing_market, parsing_orders
from brokers.adapters.breeze.tests.harness import KEYS, NOW, OPTION, SHARE, fixture
from brokers.domain.account import Position
from brokers.domain.enums import OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import UnreadableReply
from brokers.domain.orders import Order


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fixture(name)["Success"]
    return found


def orders(name: str = "orders_nfo", executed: dict[str, int] | None = None) -> dict[str, Order]:
    parsed = [parsing_orders.order(row, KEYS.get, executed or {}) for row in rows(name)]
    return {order.broker_order_id[-1]: order for order in parsed}


def test_available_margin_is_the_derivatives_limit_less_what_is_blocked() -> None:
    margin = parsing_account.margin(fixture("funds")["Success"], fixture("margin")["Success"], NOW)
    assert margin.available == Decimal("987499.47")
    assert margin.used == Decimal("12500.53")
    assert margin.total == Decimal("1000000.0")
    assert margin.cash == Decimal("800000.0")


def test_every_figure_is_kept_but_the_bank_account() -> None:
    margin = parsing_account.margin(fixture("funds")["Success"], fixture("margin")["Success"], NOW)
    assert margin.details["funds.unallocated_balance"] == "87500"
    assert margin.details["margin.amount_allocated"] == "100000.0"
    assert "funds.bank_account" not in margin.details


def test_a_margin_without_its_limit_is_unreadable_and_not_zero() -> None:
    limits = fixture("margin")["Success"] | {"cash_limit": None}
    with pytest.raises(UnreadableReply, match="without cash_limit"):
        parsing_account.margin(fixture("funds")["Success"], limits, NOW)


def test_a_working_order_is_read_with_its_instrument() -> None:
    order = orders()["1"]
    assert order.symbol == OPTION.symbol
    assert (order.side, order.quantity, order.filled_quantity, order.pending_quantity) == (Side.SELL, 150, 0, 150)
    assert (order.limit_price, order.trigger_price, order.average_price) == (Decimal("118.2"), None, None)
    assert (order.status, order.broker_status) == (OrderStatus.OPEN, "Ordered")
    assert order.placed_at == datetime(2026, 11, 24, 4, 59, 9, tzinfo=UTC)
    assert order.product is Product.NRML


def test_a_cancelled_row_that_repeats_its_quantity_was_not_filled() -> None:
    order = orders()["2"]
    assert (order.status, order.filled_quantity, order.pending_quantity) == (OrderStatus.CANCELLED, 0, 0)


def test_an_executed_order_is_filled_whole() -> None:
    order = orders()["3"]
    assert (order.status, order.filled_quantity, order.average_price) == (OrderStatus.FILLED, 150, Decimal("118.25"))


def test_a_partial_fill_is_taken_from_the_trades() -> None:
    order = orders(executed={"202611243800000004": 75})["4"]
    assert (order.status, order.filled_quantity, order.pending_quantity) == (OrderStatus.CANCELLED, 75, 0)
    assert order.average_price == Decimal("118.2")


def test_an_executed_order_is_filled_whole_however_far_the_trades_are() -> None:
    assert orders(executed={"202611243800000003": 75})["3"].filled_quantity == 150


def test_an_order_that_ended_partly_filled_has_not_ended_before_the_trades_say_how_far() -> None:
    order = orders()["4"]
    assert (order.status, order.broker_status) == (OrderStatus.UNKNOWN, "Partially Executed And Cancelled")


@pytest.mark.parametrize(("last", "word"), [("5", "Freezed"), ("6", "Something New")])
def test_a_status_a_person_must_look_at_is_not_ended(last: str, word: str) -> None:
    order = orders()[last]
    assert (order.status, order.broker_status) == (OrderStatus.UNKNOWN, word)
    assert not order.status.is_terminal


def test_a_stop_order_of_a_future_is_read() -> None:
    order = orders()["7"]
    assert (order.symbol, order.order_type, order.time_in_force) == (
        "RELIANCE26NOVFUT",
        OrderType.STOP_LIMIT,
        TimeInForce.IOC,
    )
    assert (order.trigger_price, order.status) == (Decimal("1500.5"), OrderStatus.REJECTED)


def test_an_order_of_an_unknown_contract_keeps_breezes_words() -> None:
    assert orders()["8"].symbol == "[NFO UNHEAR 2026-11-24 227.5 PE]"


def test_a_cash_order_has_minutes_only() -> None:
    (order,) = orders("orders_nse").values()
    assert order.placed_at == datetime(2026, 11, 24, 3, 56, tzinfo=UTC)
    assert (order.symbol, order.exchange, order.product) == ("ITC", "NSE", Product.CNC)


def test_only_rows_that_hide_a_partial_fill_ask_for_the_trades() -> None:
    partial = [row["order_id"][-1] for row in rows("orders_nfo") if parsing_orders.may_be_partly_filled(row)]
    assert partial == ["4", "5", "6"]


@pytest.mark.parametrize("broken", [{"quantity": "many"}, {"quantity": None}, {"action": "Hold"}, {"order_id": ""}])
def test_a_row_that_cannot_be_read_makes_the_read_fail(broken: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_orders.order(rows("orders_nfo")[0] | broken, KEYS.get, {})


def positions(trades: list[dict[str, Any]] | None = None) -> list[Position]:
    traded = parsing_account.traded_today(trades or [])
    return [
        parsing_account.position(row, KEYS.get, traded, NOW)
        for row in rows("positions")
        if parsing_account.is_position(row)
    ]


def test_direction_of_a_position_is_in_its_action() -> None:
    short, long, flat = positions()
    assert (short.symbol, short.quantity) == (OPTION.symbol, -75)
    assert (long.symbol, long.quantity) == ("RELIANCE26NOVFUT", 500)
    assert (flat.quantity, flat.average_price) == (0, Decimal(0))


def test_shares_held_are_no_positions() -> None:
    assert "ITC" not in [position.symbol for position in positions()]


def test_profit_of_a_carried_position_is_price_against_average() -> None:
    assert positions()[0].pnl == Decimal("6618.75")  # -75 x (29.95 - 118.2)


def test_profit_without_a_last_price_is_not_stated() -> None:
    long = positions()[1]
    assert (long.last_price, long.pnl) == (None, None)


def test_profit_of_a_position_of_today_has_what_was_realised() -> None:
    trade = rows("trades_nfo")[0]
    short = positions([trade | {"quantity": "150"}, trade | {"action": "Buy", "average_cost": "100"}])[0]
    # sold 150 at 118.20, bought 75 back at 100, 75 still short at 29.95
    assert short.pnl == Decimal("150") * Decimal("118.20") - 7500 - 75 * Decimal("29.95")
    assert (short.buy_quantity, short.sell_quantity) == (75, 150)


def test_profit_of_a_carried_position_partly_closed_today_is_not_guessed() -> None:
    bought_back = rows("trades_nfo")[0] | {"action": "Buy"}
    assert positions([bought_back])[0].pnl is None


def test_a_position_without_direction_makes_the_read_fail() -> None:
    with pytest.raises(UnreadableReply, match="action 'na'"):
        parsing_account.position(rows("positions")[0] | {"action": "NA"}, KEYS.get, {}, NOW)


def test_executions_are_one_a_detail_row() -> None:
    fills = parsing_orders.fills(rows("trades_nfo")[0], rows("trade_detail"), KEYS.get)
    assert [(fill.fill_id, fill.quantity, fill.side) for fill in fills] == [
        ("123456789", 50, Side.SELL),
        ("123456790", 25, Side.SELL),
    ]
    assert fills[0].symbol == OPTION.symbol
    assert fills[0].filled_at == datetime(2026, 11, 24, 5, 11, 24, tzinfo=UTC)


def test_a_share_is_quoted_at_its_own_exchange() -> None:
    quote = parsing_market.quote(rows("quote_cash"), SHARE, NOW)
    assert (quote.last_price, quote.bid_quantity, quote.volume) == (Decimal("309.65"), 449, 3756671)
    assert quote.traded_at == datetime(2026, 11, 24, 5, 1, 29, tzinfo=UTC)


def test_a_quote_without_a_trade_is_falsy() -> None:
    quote = parsing_market.quote(rows("quote_option"), OPTION, NOW)
    assert not quote
    assert quote.bid_price == Decimal("309.65")


def test_no_row_for_the_exchange_is_no_quote() -> None:
    assert not parsing_market.quote([], OPTION, NOW)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "twelve", True])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UnreadableReply, match="no number"):
        parsing.decimal({"price": value}, "price")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("27-Feb-2025", date(2025, 2, 27)), ("27-FEB-25", date(2025, 2, 27)), ("2025-02-27", None), ("", None)],
)
def test_dates_are_read_in_breezes_forms(text: str, expected: date | None) -> None:
    assert parsing.day(text) == expected


def test_a_key_is_the_same_however_the_strike_is_written() -> None:
    keys = {
        parsing.contract_key("NFO", "NIFTY", date(2026, 11, 24), OPTION.right, Decimal(text))
        for text in ("24800", "24800.0", "2.48E4")
    }
    assert keys == {"NFO|NIFTY|2026-11-24|CE|24800"}


@pytest.mark.parametrize("value", [{"a": 1}, ["row"], "text", 5])
def test_a_list_of_another_shape_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableReply, match="shape"):
        parsing.rows(value, "order book")
