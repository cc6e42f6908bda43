"""What Kotak says of money, positions and holdings."""

from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import parsing_account
from brokers.adapters.kotakneo.tests.stub import CALL, SHARE, Shelf, fixture
from brokers.domain.account import Holding
from brokers.domain.enums import Exchange
from brokers.domain.errors import UnreadableReply

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
SHELF = Shelf(CALL, SHARE)


def position_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = deepcopy(fixture("positions")["data"][0])
    return row | changes


def test_profit_of_a_long_position() -> None:
    position = parsing_account.positions([position_row()], SHELF, as_of=NOW)[0]
    assert (position.quantity, position.average_price) == (225, Decimal("2112.00"))
    assert position.pnl == Decimal("225") * Decimal("2150.00") - Decimal("475200.00")


def test_profit_of_a_short_position_counts_what_was_carried() -> None:
    row = position_row(flBuyQty="0", buyAmt="0.00", cfSellQty="225", cfSellAmt="480000.00", flSellQty="225")
    position = parsing_account.positions([row | {"sellAmt": "470000.00"}], SHELF, as_of=NOW)[0]
    assert (position.quantity, position.average_price) == (-450, Decimal("2111.11"))
    assert position.pnl == Decimal("950000.00") - 450 * Decimal("2150.00")


def test_profit_counts_multiplier_and_fractions() -> None:
    row = position_row(multiplier="10", genNum="1", genDen="2", prcNum="0", prcDen="", buyAmt="2376000.00")
    position = parsing_account.positions([row], SHELF, as_of=NOW)[0]
    assert position.average_price == Decimal("2112.00")
    assert position.pnl == Decimal(225) * Decimal(2150) * 5 - Decimal("2376000")


def test_a_flat_position_needs_no_last_price() -> None:
    row = position_row(flSellQty="225", sellAmt="475000.00", ltp="0")
    position = parsing_account.positions([row], SHELF, as_of=NOW)[0]
    assert (position.quantity, position.average_price) == (0, Decimal(0))
    assert position.pnl == Decimal("-200.00")


@pytest.mark.parametrize("ltp", ["0", "0.00", "-1", "NA", "", None])
def test_without_a_last_price_an_open_position_has_no_profit(ltp: str | None) -> None:
    position = parsing_account.positions([position_row(ltp=ltp)], SHELF, as_of=NOW)[0]
    assert (position.last_price, position.pnl) == (None, None)


def test_carried_units_without_their_cost_have_no_profit() -> None:
    position = parsing_account.positions([position_row(cfBuyQty="100")], SHELF, as_of=NOW)[0]
    assert position.pnl is None


def test_margin_is_what_kotak_states_to_the_paisa() -> None:
    margin = parsing_account.margin(fixture("limits"), as_of=NOW)
    assert (margin.available, margin.used, margin.total) == (Decimal("10157.08"), Decimal("40.40"), Decimal("10197.48"))
    assert margin.details["Net"] == "10157.079999999998"
    assert "EntityId" not in margin.details


@pytest.mark.parametrize("missing", ["Net", "MarginUsed"])
def test_margin_without_its_figures_is_never_zero(missing: str) -> None:
    body = {name: value for name, value in fixture("limits").items() if name != missing}
    with pytest.raises(UnreadableReply):
        parsing_account.margin(body, as_of=NOW)


def test_one_pool_serves_every_segment() -> None:
    [pool] = parsing_account.segment_margins(fixture("limits"), as_of=NOW)
    assert (pool.segment, pool.allocated) == ("all", Decimal("10197.48"))
    assert (pool.blocked, pool.available) == (Decimal("40.40"), Decimal("10157.08"))


def test_the_margin_of_a_basket_is_a_sum() -> None:
    answer = fixture("margin_required")
    needed = parsing_account.margin_required([answer, answer | {"ordMrgn": "99.5"}], as_of=NOW)
    assert (needed.required, needed.is_netted) == (Decimal("1600.00"), False)
    # What there is less what is used: avlMrgn is zero and is not it.
    assert needed.available == Decimal("30000.00")
    assert (needed.span, needed.exposure) == (None, None)


@pytest.mark.parametrize("missing", ["ordMrgn", "avlCash", "mrgnUsd"])
def test_a_margin_without_its_figures_is_never_zero(missing: str) -> None:
    with pytest.raises(UnreadableReply):
        parsing_account.margin_required([fixture("margin_required") | {missing: "--"}], as_of=NOW)


@pytest.mark.parametrize(
    ("carried", "today", "left"),
    [(130, 65, 130), (130, -65, 65), (130, -130, 0), (130, -195, 0), (-130, 65, -65), (-130, -65, -130), (0, 65, 0)],
)
def test_what_was_closed_today_is_carried_no_more(carried: int, today: int, left: int) -> None:
    row = position_row(
        cfBuyQty=str(max(carried, 0)),
        cfSellQty=str(max(-carried, 0)),
        flBuyQty=str(max(today, 0)),
        flSellQty=str(max(-today, 0)),
    )
    [position] = parsing_account.positions([row], SHELF, as_of=NOW)
    assert (position.quantity, position.carried_quantity) == (carried + today, left)


def read_holdings(rows: list[dict[str, Any]], **prices: str) -> list[Holding]:
    found = {(Exchange.NSE, symbol): Decimal(price) for symbol, price in prices.items()}
    return parsing_account.holdings(rows, parsing_account.held_shares(rows, SHELF), found, as_of=NOW)


def test_a_holding_has_the_price_of_now_and_not_of_the_last_close() -> None:
    holding = read_holdings(fixture("holdings")["data"], RELIANCE="2500.5")[0]
    assert (holding.symbol, holding.exchange, holding.isin) == ("RELIANCE", "NSE", "")
    assert (holding.quantity, holding.sellable_quantity, holding.blocked_quantity) == (35, 30, None)
    assert (holding.average_price, holding.last_price) == (Decimal("2400.5699"), Decimal("2500.5"))
    assert holding.pnl == (Decimal("2500.5") - Decimal("2400.5699")) * 35


def test_a_holding_without_price_or_cost_has_no_profit() -> None:
    known, unknown = read_holdings(fixture("holdings")["data"])
    assert (known.last_price, known.pnl) == (None, None)
    assert (unknown.symbol, unknown.average_price, unknown.sellable_quantity) == ("[GONE]", None, None)


def test_a_share_with_another_token_is_another_share() -> None:
    rows = [fixture("holdings")["data"][0] | {"exchangeIdentifier": "1"}]
    assert read_holdings(rows)[0].symbol == "[RELIANCE]"


@pytest.mark.parametrize("broken", [{"quantity": None}, {"quantity": 1.5}, {"symbol": ""}, {"exchangeSegment": None}])
def test_a_holding_that_cannot_be_read_fails_them_all(broken: dict[str, Any]) -> None:
    first, second = fixture("holdings")["data"]
    with pytest.raises(UnreadableReply):
        read_holdings([first, second | broken])
