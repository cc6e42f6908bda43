"""What Breeze's answers about an account's money and shares mean, row by row."""

from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import parsing_account, parsing_orders
from brokers.adapters.breeze.tests.harness import KEYS, NOW, OPTION, fixture
from brokers.domain.errors import UnreadableReply


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fixture(name)["Success"]
    return found


def test_every_segment_has_its_funds() -> None:
    found = {each.segment: each for each in parsing_account.segment_margins(fixture("funds")["Success"], NOW)}
    assert list(found) == ["equity", "fno", "commodity", "currency"]
    fno = found["fno"]
    assert (fno.allocated, fno.blocked, fno.available) == (
        Decimal("200000.0"),
        Decimal("12500.53"),
        Decimal("187499.47"),
    )


@pytest.mark.parametrize(
    "funds", [{}, {"total_bank_balance": 5}, {"allocated_fno": 5.0}, {"allocated_fno": None, "block_by_trade_fno": 0}]
)
def test_funds_without_a_whole_segment_are_unreadable(funds: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_account.segment_margins(funds, NOW)


def test_a_baskets_margin_is_span_and_what_is_beyond_it() -> None:
    margin = parsing_account.margin_required([fixture("margin_calculator")["Success"]], NOW)
    assert (margin.required, margin.span, margin.exposure) == (
        Decimal("101250.50"),
        Decimal("92999.75"),
        Decimal("8250.75"),
    )
    assert margin.is_netted
    assert margin.available is None


def test_a_basket_over_two_exchanges_is_a_sum() -> None:
    answer = fixture("margin_calculator")["Success"]
    margin = parsing_account.margin_required([answer, answer], NOW)
    assert (margin.required, margin.is_netted) == (Decimal("202501.00"), False)


@pytest.mark.parametrize("name", ["span_margin_required", "non_span_margin_required"])
@pytest.mark.parametrize("value", [None, "", "NA", "-1"])
def test_a_margin_without_a_part_is_unreadable_and_not_less(name: str, value: object) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_account.margin_required([fixture("margin_calculator")["Success"] | {name: value}], NOW)


def test_a_holding_has_its_cost_and_price() -> None:
    held = parsing_account.holding(rows("holdings_nse")[0], KEYS.get, NOW)
    assert (held.symbol, held.exchange, held.quantity) == ("ITC", "NSE", 5175)
    assert (held.average_price, held.last_price) == (Decimal("231.4"), Decimal(266))
    assert held.pnl == Decimal("34.6") * 5175
    assert (held.sellable_quantity, held.blocked_quantity) == (None, None)


def test_a_holding_without_a_price_or_a_cost_has_no_profit() -> None:
    unpriced, gift = (parsing_account.holding(row, KEYS.get, NOW) for row in rows("holdings_nse")[1:])
    assert (unpriced.symbol, unpriced.last_price, unpriced.pnl) == ("[NSE UNHEAR]", None, None)
    assert (gift.average_price, gift.last_price, gift.pnl) == (None, Decimal(266), None)


def test_a_demat_holding_has_no_cost() -> None:
    known, unheard = (parsing_account.demat_holding(row, KEYS.get, NOW) for row in rows("demat_holdings"))
    assert (known.symbol, known.exchange, known.isin) == ("ITC", "NSE", "INE900Z01010")
    assert (known.quantity, known.blocked_quantity, known.sellable_quantity) == (5175, 175, None)
    assert (known.average_price, known.last_price, known.pnl) == (None, None, None)
    assert (unheard.symbol, unheard.exchange, unheard.isin) == ("[UNHEAR]", "", "INE900Z01028")


@pytest.mark.parametrize("broken", [{"quantity": None}, {"quantity": "-1"}, {"quantity": "1.5"}, {"stock_code": " "}])
def test_a_holding_that_does_not_say_what_it_is_makes_the_read_fail(broken: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_account.holding(rows("holdings_nse")[0] | broken, KEYS.get, NOW)
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_account.demat_holding(rows("demat_holdings")[0] | broken, KEYS.get, NOW)


@pytest.mark.parametrize(
    ("net", "bought", "sold", "expected"),
    [
        (75, 0, 0, 75),
        (75, 75, 0, 0),
        (150, 75, 0, 75),
        (75, 0, 75, 75),  # 150 carried, half of it sold
        (75, 150, 0, 0),  # 75 short carried, turned
        (-75, 0, 0, -75),
        (-75, 75, 0, -75),
        (-75, 0, 150, 0),
        (0, 0, 75, 0),
    ],
)
def test_what_todays_trades_do_not_account_for_was_carried(net: int, bought: int, sold: int, expected: int) -> None:
    today = parsing_account.Traded(buy_quantity=bought, sell_quantity=sold)
    assert parsing_account.carried(net, today) == expected


def test_positions_of_an_exchange_that_is_not_known_are_unreadable() -> None:
    with pytest.raises(UnreadableReply, match="'ndx' as exchange_code"):
        parsing_account.exchanges_of([rows("positions")[0] | {"exchange_code": "NDX"}])


def test_a_past_days_trades_are_one_fill_an_order_and_day() -> None:
    row = rows("trades_nfo")[0]
    first, second, other = parsing_orders.fills_by_day([row, row, row | {"trade_date": "23-Nov-2026"}], {**KEYS}.get)
    assert (first.symbol, first.quantity, first.price) == (OPTION.symbol, 75, Decimal("118.20"))
    assert first.filled_at is None
    assert first.fill_id.endswith("-2026-11-24")
    assert len({first.fill_id, second.fill_id, other.fill_id}) == 3


@pytest.mark.parametrize("broken", [{"order_id": None}, {"trade_date": "today"}, {"average_cost": ""}])
def test_a_past_trade_that_cannot_be_read_makes_the_read_fail(broken: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_orders.fills_by_day([rows("trades_nfo")[0] | broken], KEYS.get)


def test_an_orders_history_is_its_present_row() -> None:
    order = parsing_orders.order(rows("orders_nfo")[0], KEYS.get, {})
    event = parsing_orders.present_state(order)
    assert (event.status, event.broker_status, event.filled_quantity) == (order.status, "Ordered", 0)
    assert event.happened_at is None
