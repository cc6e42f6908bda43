"""What Kotak's books of orders and trades mean."""

from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import parsing_orders, tables
from brokers.adapters.kotakneo.tests.stub import CALL, SHARE, Shelf, fixture
from brokers.domain.enums import OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import UnreadableReply

SHELF = Shelf(CALL, SHARE)
ORDER_ID = "261123000000001"


def order_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = deepcopy(fixture("order_report")["data"][0])
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


def test_fills_take_the_usable_columns() -> None:
    fill = parsing_orders.fills(fixture("trade_report")["data"], SHELF)[0]
    assert (fill.quantity, fill.price, fill.fill_id) == (65, Decimal("100.50"), "1100000000000001-207983744-1")
    assert fill.filled_at == datetime(2026, 11, 23, 4, 58, 16, tzinfo=UTC)


@pytest.mark.parametrize("price", ["0.00", "", None, "-1"])
def test_a_fill_without_a_price_is_none(price: str | None) -> None:
    row = fixture("trade_report")["data"][0] | {"avgPrc": price}
    with pytest.raises(UnreadableReply):
        parsing_orders.fills([row], SHELF)


def test_a_history_is_told_from_the_beginning() -> None:
    events = parsing_orders.events(fixture("order_history")["data"], ORDER_ID)
    assert [(event.status, event.filled_quantity) for event in events] == [
        (OrderStatus.PENDING, 0),
        (OrderStatus.OPEN, 0),
        (OrderStatus.PARTIALLY_FILLED, 65),
        (OrderStatus.FILLED, 130),
    ]
    assert [event.broker_status for event in events] == ["put order req received", "open", "open", "complete"]
    assert events[-1].happened_at == datetime(2026, 11, 23, 4, 58, 16, tzinfo=UTC)
    assert {event.limit_price for event in events} == {Decimal("100.50")}


def test_a_state_that_is_not_known_is_in_the_history_as_unknown() -> None:
    rows = [row | {"ordSt": "settled", "flDtTm": "--"} for row in fixture("order_history")["data"]]
    event = parsing_orders.events(rows, ORDER_ID)[0]
    assert (event.status, event.broker_status, event.happened_at) == (OrderStatus.UNKNOWN, "settled", None)


def test_the_history_of_another_order_is_refused() -> None:
    with pytest.raises(UnreadableReply, match="261123000000001"):
        parsing_orders.events(fixture("order_history")["data"], "261123000000009")
