"""What Kotak's answers mean."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import parsing_account, parsing_market, parsing_orders, tables
from brokers.adapters.kotakneo.tests.stub import CALL, SHARE, Shelf, fixture
from brokers.domain.enums import OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import UnreadableReply

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
SHELF = Shelf(CALL, SHARE)


def order_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = deepcopy(fixture("order_report")["data"][0])
    return row | changes


def position_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = deepcopy(fixture("positions")["data"][0])
    return row | changes


def test_a_resting_order_is_read_whole() -> None:
    order = parsing_orders.orders([order_row()], SHELF)[0]
    assert (order.symbol, order.exchange, order.side) == ("NIFTY26NOV22250CE", "NFO", Side.BUY)
    assert (order.quantity, order.filled_quantity, order.pending_quantity) == (130, 0, 130)
    assert (order.limit_price, order.trigger_price, order.average_price) == (Decimal("100.50"), None, None)
    assert (order.status, order.broker_status, order.reason) == (OrderStatus.OPEN, "open", "")
    assert (order.product, order.time_in_force) == (Product.NRML, TimeInForce.DAY)
    assert order.client_tag == "MC0TESTTAG000001"
    assert order.placed_at == datetime(2026, 11, 23, 4, 58, 1, tzinfo=UTC)


def test_a_partly_filled_stop_order_of_a_share_is_read_whole() -> None:
    order = parsing_orders.orders(fixture("order_report")["data"][1:], SHELF)[0]
    assert (order.symbol, order.exchange, order.order_type) == ("RELIANCE", "NSE", OrderType.STOP_LIMIT)
    assert (order.status, order.filled_quantity, order.pending_quantity) == (OrderStatus.PARTIALLY_FILLED, 4, 6)
    assert (order.trigger_price, order.average_price) == (Decimal("2500.50"), Decimal("2500.20"))
    assert order.placed_at == datetime(2026, 11, 23, 4, 59, 2, tzinfo=UTC)


def test_a_kept_row_names_no_person() -> None:
    raw = parsing_orders.orders([order_row()], SHELF)[0].raw
    assert raw["nOrdNo"] == "261123000000001"
    assert not {"actId", "usrId"} & set(raw)


@pytest.mark.parametrize("word", ["NA", "--", "- ", "", None])
def test_odd_blanks_mean_nothing(word: str | None) -> None:
    order = parsing_orders.orders(
        [order_row(rejRsn=word, exOrdId=word, avgPrc=word, GuiOrdId=word, ordDtTm=word)], SHELF
    )[0]
    assert (order.reason, order.exchange_order_id, order.client_tag) == ("", "", "")
    assert (order.average_price, order.placed_at) == (None, None)


@pytest.mark.parametrize("word", ["settled", "", "COMPLETE?", "expired"])
def test_an_unknown_status_never_ends_an_order(word: str) -> None:
    assert not parsing_orders.orders([order_row(ordSt=word)], SHELF)[0].status.is_terminal


def test_complete_is_filled_only_with_every_unit() -> None:
    assert parsing_orders.orders([order_row(ordSt="complete", fldQty=130)], SHELF)[0].status is OrderStatus.FILLED
    assert parsing_orders.orders([order_row(ordSt="complete", fldQty=65)], SHELF)[0].status is OrderStatus.UNKNOWN


def test_an_ended_order_has_nothing_pending() -> None:
    order = parsing_orders.orders([order_row(ordSt="rejected", rejRsn="RMS: no funds")], SHELF)[0]
    assert (order.status, order.pending_quantity, order.reason) == (OrderStatus.REJECTED, 0, "RMS: no funds")


def test_only_four_words_end_an_order() -> None:
    ending = {word for word, status in tables.ORDER_STATUSES.items() if status.is_terminal}
    assert ending == {"complete", "cancelled", "cancelled after market order", "rejected"}


@pytest.mark.parametrize(
    ("echoed", "tag"),
    [
        ("MC0TESTTAG000001", "MC0TESTTAG000001"),
        ("MC0TESTTAG000001-1795409999", "MC0TESTTAG000001"),
        ("1795409900-914891-XXXX-ADMINAPI", ""),
        ("mc-01JABC", "mc-01JABC"),
    ],
)
def test_our_tag_is_found_in_what_kotak_makes_of_it(echoed: str, tag: str) -> None:
    assert parsing_orders.orders([order_row(GuiOrdId=echoed)], SHELF)[0].client_tag == tag


def test_an_instrument_that_the_master_does_not_have_keeps_kotaks_words() -> None:
    order = parsing_orders.orders([order_row(exSeg="mcx_fo", trdSym="CRUDEOIL26DECFUT")], SHELF)[0]
    assert (order.symbol, order.exchange) == ("[CRUDEOIL26DECFUT]", "MCX_FO")


@pytest.mark.parametrize(
    "broken",
    [{"trnsTp": "X"}, {"qty": "many"}, {"qty": -5}, {"qty": "nan"}, {"nOrdNo": ""}, {"prcTp": "2L"}, {"fldQty": None}],
)
def test_a_row_that_cannot_be_read_fails_the_whole_book(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableReply):
        parsing_orders.orders([order_row(), order_row(**broken)], SHELF)


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


def test_fills_take_the_usable_columns() -> None:
    fill = parsing_orders.fills(fixture("trade_report")["data"], SHELF)[0]
    assert (fill.quantity, fill.price, fill.fill_id) == (65, Decimal("100.50"), "1100000000000001-207983744-1")
    assert fill.filled_at == datetime(2026, 11, 23, 4, 58, 16, tzinfo=UTC)


TOKEN = {"exchange_segment": "nse_fo", "instrument_token": "71472"}


def test_a_quote_is_read_whole() -> None:
    quote = parsing_market.quotes(fixture("quotes"), [(TOKEN, CALL)], as_of=NOW)[0]
    assert bool(quote)
    assert (quote.last_price, quote.bid_price, quote.ask_price) == (
        Decimal("100.5"),
        Decimal("100.45"),
        Decimal("100.55"),
    )
    assert (quote.bid_quantity, quote.previous_close, quote.volume) == (100, Decimal("99.7"), 65000)
    assert quote.traded_at == datetime.fromtimestamp(1795409881, UTC)


def test_a_quote_without_a_price_is_falsy() -> None:
    row = fixture("quotes")[0] | {"ltp": "0.0000", "depth": {"buy": [], "sell": None}, "ohlc": {}, "lstup_time": "0"}
    quote = parsing_market.quotes([row], [(TOKEN, CALL)], as_of=NOW)[0]
    assert not quote
    assert (quote.bid_price, quote.traded_at) == (None, None)


@pytest.mark.parametrize("body", [[], [{"exchange": "nse_fo", "exchange_token": "1"}]])
def test_a_quote_of_something_else_is_no_quote(body: list[dict[str, str]]) -> None:
    with pytest.raises(UnreadableReply):
        parsing_market.quotes(body, [(TOKEN, CALL)], as_of=NOW)


@pytest.mark.parametrize("echoed", ["Nifty 50", "26000"])
def test_an_index_is_found_by_either_of_its_names(echoed: str) -> None:
    ids = {"kotakneo": {"exchange_segment": "nse_cm", "trading_symbol": "NIFTY", "token": "26000"}}
    index, row = replace(SHARE, symbol="NIFTY 50", identifiers=ids), fixture("quotes")[0]
    asked = {"exchange_segment": "nse_cm", "instrument_token": "Nifty 50"}
    row |= {"exchange": "nse_cm", "exchange_token": echoed}
    [quote] = parsing_market.quotes([row], [(asked, index)], as_of=NOW)
    assert quote.last_price == Decimal("100.5")
