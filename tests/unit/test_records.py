"""Results answer like values and like mappings."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from brokers.domain.account import Position
from brokers.domain.enums import Product
from brokers.domain.market import Quote

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def position(pnl: Decimal | None) -> Position:
    return Position(
        symbol="SBIN",
        exchange="NSE",
        product=Product.CNC,
        quantity=1,
        average_price=Decimal("800"),
        last_price=Decimal("801"),
        pnl=pnl,
        as_of=NOW,
    )


def test_a_field_is_read_by_name() -> None:
    assert position(Decimal("1"))["symbol"] == "SBIN"


def test_get_gives_the_default_for_what_is_missing_or_none() -> None:
    assert position(Decimal("1")).get("pnl", 0) == Decimal("1")
    assert position(None).get("pnl", 0) == 0
    assert position(None).get("nonsense", 7) == 7


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        position(None)["nonsense"]


def test_a_quote_without_a_price_is_falsy() -> None:
    assert not Quote(symbol="SBIN", exchange="NSE", last_price=None, as_of=NOW)
    assert Quote(symbol="SBIN", exchange="NSE", last_price=Decimal("1"), as_of=NOW)
