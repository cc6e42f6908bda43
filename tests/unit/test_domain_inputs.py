"""What callers may write, and what is refused with a sentence."""

from decimal import Decimal
from typing import Any

import pytest

from brokers.domain.enums import Exchange, OptionRight, OrderType, Product, Side, parse
from brokers.domain.errors import OrderDenied
from brokers.domain.inputs import parse_or_deny, rupees, units


@pytest.mark.parametrize(
    ("kind", "written", "member"),
    [
        (Side, "B", Side.BUY),
        (Side, " sell ", Side.SELL),
        (OrderType, "MKT", OrderType.MARKET),
        (OrderType, "L", OrderType.LIMIT),
        (OrderType, "sl", OrderType.STOP_LIMIT),
        (Product, "intraday", Product.MIS),
        (OptionRight, "call", OptionRight.CALL),
        (OptionRight, "PE", OptionRight.PUT),
        (Exchange, "nse_fo", Exchange.NFO),
        (Side, Side.SELL, Side.SELL),
    ],
)
def test_the_words_indian_traders_write_are_understood(kind: Any, written: Any, member: Any) -> None:
    assert parse(kind, written) is member


@pytest.mark.parametrize("written", ["", "HOLD", None, 3])
def test_an_unknown_word_is_refused_with_what_is_accepted(written: Any) -> None:
    with pytest.raises(OrderDenied, match=r"is not a Side; write one of BUY, SELL, B, S\."):
        parse_or_deny(Side, written)


def test_a_word_is_spoken_of_with_its_article() -> None:
    with pytest.raises(OrderDenied, match="is not an OrderType; "):
        parse_or_deny(OrderType, "ICEBERG")


@pytest.mark.parametrize("written", ["nan", "inf", "-inf", float("nan"), "abc", ""])
def test_a_price_that_is_no_finite_number_is_refused(written: Any) -> None:
    with pytest.raises(OrderDenied, match="number"):
        rupees(written, "Price")


@pytest.mark.parametrize(
    ("written", "amount"), [("100.5", "100.5"), (100.5, "100.5"), (100, "100"), (Decimal("0.05"), "0.05")]
)
def test_a_price_keeps_its_decimals(written: Any, amount: str) -> None:
    assert rupees(written, "Price") == Decimal(amount)


@pytest.mark.parametrize("written", [0, -65, 65.5, "65.5", True, "many", float("inf"), None])
def test_a_quantity_that_is_no_whole_number_above_zero_is_refused(written: Any) -> None:
    with pytest.raises(OrderDenied, match="Quantity"):
        units(written)


def test_a_whole_number_is_taken_however_it_is_written() -> None:
    assert units("65") == units(65.0) == units(65) == 65
