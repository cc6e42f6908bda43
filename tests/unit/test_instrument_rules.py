"""What the exchange would refuse is refused here, with the value that was wrong."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from brokers.domain.enums import Exchange, InstrumentKind
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument


def option(**changes: Any) -> Instrument:
    values: dict[str, Any] = {
        "symbol": "NIFTY26NOV22250CE",
        "exchange": Exchange.NFO,
        "kind": InstrumentKind.OPTION,
        "underlying": "NIFTY",
        "lot_size": 65,
        "tick_size": Decimal("0.05"),
        "freeze_quantity": 1800,
        "lower_band": Decimal("0.05"),
        "upper_band": Decimal("900"),
        "master_day": date(2026, 11, 23),
    }
    return Instrument(**(values | changes))


@pytest.mark.parametrize(
    ("quantity", "sentence"),
    [
        (0, "not above zero"),
        (-65, "not above zero"),
        (64, "not a multiple of its lot of 65; the nearest is 65"),
        (1820, "above its freeze quantity of 1800"),
    ],
)
def test_a_wrong_quantity_is_refused(quantity: int, sentence: str) -> None:
    with pytest.raises(OrderDenied, match=sentence):
        option().check_quantity(quantity)


@pytest.mark.parametrize("missing", ["lot_size", "freeze_quantity"])
def test_an_unknown_lot_or_freeze_quantity_is_never_assumed(missing: str) -> None:
    with pytest.raises(OrderDenied, match="not known today"):
        option(**{missing: None}).check_quantity(65)


def test_an_unknown_tick_is_never_assumed() -> None:
    with pytest.raises(OrderDenied, match="tick size of NIFTY26NOV22250CE is not known"):
        option(tick_size=None).check_price(Decimal("100"))


@pytest.mark.parametrize(
    ("price", "sentence"),
    [
        ("0", "above zero"),
        ("-1", "above zero"),
        ("NaN", "above zero"),
        ("Infinity", "above zero"),
        ("100.02", "multiple of its tick of 0.05"),
        ("900.05", "above the day's band"),
    ],
)
def test_a_wrong_price_is_refused(price: str, sentence: str) -> None:
    with pytest.raises(OrderDenied, match=sentence):
        option().check_price(Decimal(price))


def test_a_right_order_passes() -> None:
    option().check_quantity(130)
    option().check_price(Decimal("100.05"))
