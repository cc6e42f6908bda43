"""What leaves for Breeze, field by field."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import building
from brokers.adapters.breeze.tests.harness import FUTURE, OPTION, SHARE
from brokers.domain.enums import OrderType, Product, Side, TimeInForce
from brokers.domain.errors import InvalidSymbol, OrderDenied, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest

REQUEST = OrderRequest(
    client_order_id="s1-1",
    client_tag="MC0000000000001A",
    instrument=OPTION,
    side=Side.SELL,
    quantity=75,
    order_type=OrderType.LIMIT,
    limit_price=Decimal("118.20"),
    product=Product.NRML,
)


def test_an_option_order_names_its_contract_in_full() -> None:
    assert building.place(REQUEST) == {
        "stock_code": "NIFTY",
        "exchange_code": "NFO",
        "expiry_date": "2026-11-24T06:00:00.000Z",
        "right": "call",
        "strike_price": "24800",
        "product": "options",
        "action": "sell",
        "order_type": "limit",
        "stoploss": "",
        "quantity": "75",
        "price": "118.2",
        "validity": "day",
        "disclosed_quantity": "0",
        "user_remark": "MC0000000000001A",
    }


def test_a_future_has_right_others_and_strike_zero() -> None:
    built = building.place(replace(REQUEST, instrument=FUTURE, quantity=500, side=Side.BUY))
    assert (built["product"], built["right"], built["strike_price"]) == ("futures", "others", "0")


def test_a_share_has_no_contract_fields() -> None:
    built = building.place(replace(REQUEST, instrument=SHARE, product=Product.CNC, time_in_force=TimeInForce.IOC))
    assert built["product"] == "cash"
    assert built["validity"] == "ioc"
    assert not {"expiry_date", "right", "strike_price"} & built.keys()


def test_a_stop_carries_its_trigger_beside_its_price() -> None:
    stop = replace(REQUEST, order_type=OrderType.STOP_LIMIT, trigger_price=Decimal("120.50"))
    assert (building.place(stop)["order_type"], building.place(stop)["stoploss"]) == ("stoploss", "120.5")


def test_a_stop_without_trigger_is_denied() -> None:
    with pytest.raises(OrderDenied, match="needs a trigger price"):
        building.place(replace(REQUEST, order_type=OrderType.STOP_LIMIT))


@pytest.mark.parametrize(
    "wrong", [{"quantity": 0}, {"quantity": 76}, {"limit_price": Decimal("NaN")}, {"limit_price": Decimal("118.21")}]
)
def test_what_the_exchange_would_refuse_is_never_sent(wrong: dict[str, Any]) -> None:
    with pytest.raises(OrderDenied, match=OPTION.symbol):
        building.place(replace(REQUEST, **wrong))


def test_a_market_order_never_reaches_the_sdk() -> None:
    with pytest.raises(OrderDenied, match="give a limit price"):
        building.place(replace(REQUEST, order_type=OrderType.MARKET))


@pytest.mark.parametrize(
    ("instrument", "product"),
    [(OPTION, Product.MIS), (OPTION, Product.CNC), (SHARE, Product.NRML), (SHARE, Product.MTF)],
)
def test_a_product_breeze_lacks_is_refused_here(instrument: Instrument, product: Product) -> None:
    with pytest.raises(UnsupportedFeature, match=f"no {product} order"):
        building.place(replace(REQUEST, instrument=instrument, product=product))


def test_an_instrument_breeze_does_not_list_is_refused_here() -> None:
    with pytest.raises(InvalidSymbol, match="not in Breeze's instrument master of 2026-11-24"):
        building.place(replace(REQUEST, instrument=replace(OPTION, identifiers={})))


def test_a_change_to_a_limit_order_takes_the_trigger_away() -> None:
    change = OrderChange(
        broker_order_id="202611243800017846",
        instrument=OPTION,
        quantity=150,
        order_type=OrderType.LIMIT,
        limit_price=Decimal("90"),
    )
    assert building.modify(change) == {
        "order_id": "202611243800017846",
        "exchange_code": "NFO",
        "order_type": "limit",
        "stoploss": "0",
        "quantity": "150",
        "price": "90",
        "validity": "day",
        "disclosed_quantity": "0",
    }


def test_a_cancel_goes_to_the_exchange_of_its_order() -> None:
    request = CancelRequest(broker_order_id="20261124N300001234", instrument=SHARE)
    assert building.cancel(request) == {"exchange_code": "NSE", "order_id": "20261124N300001234"}


@pytest.mark.parametrize(
    ("number", "text"), [("100", "100"), ("100.50", "100.5"), ("1E+3", "1000"), ("0.05", "0.05"), ("0", "0")]
)
def test_numbers_are_written_without_exponent_or_idle_zeros(number: str, text: str) -> None:
    assert building.plain(Decimal(number)) == text


def test_a_day_is_written_as_the_api_documents_it() -> None:
    assert building.day(date(2026, 11, 4)) == "2026-11-04T06:00:00.000Z"
