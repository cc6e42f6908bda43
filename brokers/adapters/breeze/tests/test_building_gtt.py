"""What leaves for Breeze's GTT calls, field by field."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import building, building_gtt
from brokers.adapters.breeze.tests.harness import FUTURE, OPTION, SHARE
from brokers.domain.enums import Exchange, InstrumentKind, Product, Side
from brokers.domain.errors import (
    InvalidSymbol,
    OrderDenied,
    UnsupportedFeature,
)
from brokers.domain.gtt import (
    GttCancel,
    GttChange,
    GttEntry,
    GttKind,
    GttRequest,
    GttRole,
    GttTrigger,
)
from brokers.domain.instruments import Instrument

TODAY = date(2026, 11, 24)
GTT_ID = "2026112400001234"


def trigger(role: GttRole, side: Side, trigger_price: str, limit_price: str) -> GttTrigger:
    return GttTrigger(role=role, side=side, trigger_price=Decimal(trigger_price), limit_price=Decimal(limit_price))


ORDER = trigger(GttRole.ORDER, Side.BUY, "8", "7")
TARGET = trigger(GttRole.TARGET, Side.SELL, "14.50", "15")
STOP = trigger(GttRole.STOP, Side.SELL, "7.5", "7")
SINGLE = GttRequest(instrument=OPTION, product=Product.NRML, quantity=75, triggers=(ORDER,))
THREE_LEG = replace(SINGLE, triggers=(TARGET, STOP), entry=GttEntry(side=Side.BUY, limit_price=Decimal(8)))
CHANGE = GttChange(gtt_order_id=GTT_ID, kind=GttKind.SINGLE, instrument=OPTION, triggers=(ORDER,))
CANCEL = GttCancel(gtt_order_id=GTT_ID, kind=GttKind.SINGLE, instrument=OPTION)


# Building: the samples of the SDK's README


def test_a_single_is_written_as_the_sample_has_it() -> None:
    assert building_gtt.place(SINGLE, TODAY) == {
        "exchange_code": "NFO",
        "stock_code": "NIFTY",
        "product": "options",
        "quantity": "75",
        "expiry_date": "2026-11-24T06:00:00.00Z",
        "right": "call",
        "strike_price": "24800",
        "gtt_type": "single",
        "index_or_stock": "index",
        "trade_date": "2026-11-24T06:00:00.00Z",
        "order_details": [{"action": "buy", "limit_price": "7", "trigger_price": "8"}],
    }


def test_a_three_leg_adds_its_entry_and_names_its_legs() -> None:
    single, three_leg = building_gtt.place(SINGLE, TODAY), building_gtt.place(THREE_LEG, TODAY)
    assert {name: value for name, value in three_leg.items() if single.get(name) != value} == {
        "gtt_type": "cover_oco",
        "fresh_order_action": "buy",
        "fresh_order_price": "8",
        "fresh_order_type": "limit",
        "order_details": [
            {"gtt_leg_type": "target", "action": "sell", "limit_price": "15", "trigger_price": "14.5"},
            {"gtt_leg_type": "stoploss", "action": "sell", "limit_price": "7", "trigger_price": "7.5"},
        ],
    }


def test_a_future_on_a_share_says_so() -> None:
    order = trigger(GttRole.ORDER, Side.SELL, "1500.50", "1500")
    built = building_gtt.place(replace(SINGLE, instrument=FUTURE, quantity=500, triggers=(order,)), TODAY)
    assert (built["index_or_stock"], built["product"]) == ("stock", "futures")
    assert (built["right"], built["strike_price"]) == ("others", "0")


@pytest.mark.parametrize(
    ("kind", "triggers", "word"), [("SINGLE", (ORDER,), "single"), ("THREE_LEG", (TARGET, STOP), "oco")]
)
def test_a_change_has_every_leg(kind: str, triggers: tuple[GttTrigger, ...], word: str) -> None:
    change = replace(CHANGE, kind=GttKind(kind), triggers=triggers)
    built = building_gtt.modify(change)
    assert (built["exchange_code"], built["gtt_order_id"], built["gtt_type"]) == ("NFO", GTT_ID, word)
    legs = built["order_details"]
    assert isinstance(legs, list)
    assert [leg["limit_price"] for leg in legs] == [building.plain(each.limit_price) for each in triggers]


def test_a_cancel_names_its_exchange() -> None:
    bfo = replace(OPTION, exchange=Exchange.BFO)
    assert building_gtt.cancel(replace(CANCEL, instrument=bfo)) == {"exchange_code": "BFO", "gtt_order_id": GTT_ID}


def test_the_days_of_a_book_are_written_as_the_sample_has_them() -> None:
    assert building_gtt.days(date(2026, 11, 4), TODAY) == {
        "from_date": "2026-11-04T06:00:00.00Z",
        "to_date": "2026-11-24T06:00:00.00Z",
    }


# Building: what is never sent


INDEX = replace(SHARE, symbol="NIFTY", kind=InstrumentKind.INDEX, lot_size=None)


@pytest.mark.parametrize("instrument", [SHARE, INDEX])
def test_only_derivatives_are_kept(instrument: Instrument) -> None:
    with pytest.raises(UnsupportedFeature, match=f"{instrument.symbol} is traded at NSE"):
        building_gtt.place(replace(SINGLE, instrument=instrument), TODAY)
    with pytest.raises(UnsupportedFeature, match="derivatives only"):
        building_gtt.modify(replace(CHANGE, instrument=instrument))


@pytest.mark.parametrize("product", [each for each in Product if each is not Product.NRML])
def test_only_nrml_is_kept(product: Product) -> None:
    with pytest.raises(UnsupportedFeature, match=f"no {product} GTT in {OPTION.symbol}; use NRML"):
        building_gtt.place(replace(SINGLE, product=product), TODAY)


def test_an_instrument_breeze_does_not_list_is_refused_here() -> None:
    with pytest.raises(InvalidSymbol, match="not in Breeze's instrument master"):
        building_gtt.place(replace(SINGLE, instrument=replace(OPTION, identifiers={})), TODAY)


@pytest.mark.parametrize("quantity", [0, -75, 76, 1875])
def test_a_quantity_the_exchange_would_refuse_is_never_sent(quantity: int) -> None:
    with pytest.raises(OrderDenied, match=f"Quantity {quantity} of {OPTION.symbol}"):
        building_gtt.place(replace(SINGLE, quantity=quantity), TODAY)


@pytest.mark.parametrize("name", ["trigger_price", "limit_price"])
@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "7.01", "2000000000"])
def test_a_price_the_exchange_would_refuse_is_never_sent(name: str, price: str) -> None:
    for request in (SINGLE, THREE_LEG):
        first, *others = request.triggers
        wrong: Any = {name: Decimal(price)}
        with pytest.raises(OrderDenied, match=OPTION.symbol):
            building_gtt.place(replace(request, triggers=(replace(first, **wrong), *others)), TODAY)
    with pytest.raises(OrderDenied, match=OPTION.symbol):
        building_gtt.modify(replace(CHANGE, triggers=(replace(ORDER, **wrong),)))


@pytest.mark.parametrize("price", ["0", "NaN", "8.01", "200"])
def test_an_entry_the_exchange_would_refuse_is_never_sent(price: str) -> None:
    banded = replace(OPTION, lower_band=Decimal(1), upper_band=Decimal(100))
    entry = GttEntry(side=Side.BUY, limit_price=Decimal(price))
    with pytest.raises(OrderDenied, match=OPTION.symbol):
        building_gtt.place(replace(THREE_LEG, instrument=banded, entry=entry), TODAY)


def test_a_trigger_may_lie_outside_of_todays_band() -> None:
    banded = replace(OPTION, lower_band=Decimal(9), upper_band=Decimal(10))
    assert building_gtt.place(replace(SINGLE, instrument=banded), TODAY)["gtt_type"] == "single"


@pytest.mark.parametrize(
    ("kind", "triggers"),
    [
        ("SINGLE", ()),
        ("SINGLE", (TARGET,)),
        ("SINGLE", (ORDER, ORDER)),
        ("SINGLE", (TARGET, STOP)),
        ("THREE_LEG", ()),
        ("THREE_LEG", (ORDER,)),
        ("THREE_LEG", (TARGET,)),
        ("THREE_LEG", (STOP, STOP)),
        ("THREE_LEG", (TARGET, STOP, STOP)),
    ],
)
def test_legs_that_do_not_fit_the_kind_are_never_sent(kind: str, triggers: tuple[GttTrigger, ...]) -> None:
    request = replace(SINGLE if kind == "SINGLE" else THREE_LEG, triggers=triggers)
    with pytest.raises(OrderDenied, match=f"A {kind} GTT in {OPTION.symbol} needs the triggers"):
        building_gtt.place(request, TODAY)
    with pytest.raises(OrderDenied, match="needs the triggers"):
        building_gtt.modify(replace(CHANGE, kind=GttKind(kind), triggers=triggers))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"entry": GttEntry(side=Side.SELL, limit_price=Decimal(8))}, "must close what its entry opens"),
        ({"triggers": (TARGET, replace(STOP, side=Side.BUY))}, "must be of one side"),
        (
            {"triggers": (replace(TARGET, trigger_price=Decimal(7)), replace(STOP, trigger_price=Decimal(8)))},
            "target 7 .* no better for a SELL than its stop 8",
        ),
        (
            {
                "entry": GttEntry(side=Side.SELL, limit_price=Decimal(8)),
                "triggers": (replace(TARGET, side=Side.BUY), replace(STOP, side=Side.BUY)),
            },
            "no better for a BUY",
        ),
    ],
)
def test_legs_that_do_not_close_the_entry_are_never_sent(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OrderDenied, match=sentence):
        building_gtt.place(replace(THREE_LEG, **wrong), TODAY)


def test_a_changed_pair_is_of_one_side() -> None:
    change = replace(CHANGE, kind=GttKind.THREE_LEG, triggers=(TARGET, replace(STOP, side=Side.BUY)))
    with pytest.raises(OrderDenied, match="must be of one side"):
        building_gtt.modify(change)
