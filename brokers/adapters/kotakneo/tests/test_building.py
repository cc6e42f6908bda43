"""Nothing doubtful is handed to the SDK."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import building
from brokers.adapters.kotakneo.tests.stub import CALL, SHARE
from brokers.domain.enums import InstrumentKind, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import OrderDenied, UnsupportedFeature
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest

ORDER = OrderRequest(
    client_order_id="strangle-1",
    client_tag="MC0TESTTAG000001",
    instrument=CALL,
    side=Side.BUY,
    quantity=130,
    order_type=OrderType.LIMIT,
    limit_price=Decimal("100.50"),
    product=Product.NRML,
)


def test_a_limit_order_in_kotaks_words() -> None:
    assert building.place_arguments(ORDER) == {
        "exchange_segment": "nse_fo",
        "trading_symbol": "NIFTY26NOV22250CE",
        "transaction_type": "B",
        "product": "NRML",
        "order_type": "L",
        "quantity": "130",
        "price": "100.50",
        "trigger_price": "0",
        "disclosed_quantity": "0",
        "validity": "DAY",
        "amo": "NO",
        "tag": "MC0TESTTAG000001",
    }


def test_a_stop_order_for_a_share_in_kotaks_words() -> None:
    order = replace(
        ORDER,
        instrument=SHARE,
        side=Side.SELL,
        quantity=7,
        order_type=OrderType.STOP_LIMIT,
        limit_price=Decimal("2.5E+3"),
        trigger_price=Decimal("2500.5"),
        time_in_force=TimeInForce.IOC,
        product=Product.CNC,
    )
    arguments = building.place_arguments(order)
    assert (arguments["trading_symbol"], arguments["transaction_type"]) == ("RELIANCE-EQ", "S")
    assert (arguments["order_type"], arguments["price"], arguments["trigger_price"]) == ("SL", "2500", "2500.5")
    assert (arguments["validity"], arguments["product"]) == ("IOC", "CNC")
    assert all(type(value) is str for value in arguments.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_price": Decimal("nan")},
        {"limit_price": Decimal("inf")},
        {"limit_price": Decimal("0")},
        {"limit_price": Decimal("-1")},
        {"limit_price": Decimal("100.52")},
        {"quantity": 0},
        {"quantity": -65},
        {"quantity": 64},
        {"quantity": 1820},
        {"client_tag": ""},
        {"client_tag": "A" * 21},
        {"client_tag": "TAG&x=1"},
        {"client_tag": "TAG\n"},
        {"product": Product.CNC},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.STOP_LIMIT},
        {"trigger_price": Decimal("99.95")},
        {"order_type": OrderType.STOP_LIMIT, "trigger_price": Decimal("nan")},
        {"instrument": replace(CALL, identifiers={})},
        {"instrument": replace(CALL, identifiers={"kotakneo": {"exchange_segment": "nse_fo", "token": "1"}})},
        {"instrument": replace(CALL, kind=InstrumentKind.INDEX)},
    ],
    ids=repr,
)
def test_a_doubtful_order_is_denied_here(wrong: dict[str, Any]) -> None:
    with pytest.raises(OrderDenied):
        building.place_arguments(replace(ORDER, **wrong))


def test_a_change_gives_absolute_values() -> None:
    change = OrderChange(
        broker_order_id="261123000000001",
        instrument=CALL,
        quantity=65,
        order_type=OrderType.LIMIT,
        limit_price=Decimal("99.95"),
    )
    assert building.modify_arguments(change) == {
        "order_id": "261123000000001",
        "price": "99.95",
        "order_type": "L",
        "quantity": "65",
        "validity": "DAY",
        "trigger_price": "0",
        "disclosed_quantity": "0",
        "amo": "NO",
    }


@pytest.mark.parametrize("order_id", ["", " ", "../limits", "1?x", "9" * 40, "26112 3"])
def test_an_order_id_that_could_change_a_path_is_denied(order_id: str) -> None:
    with pytest.raises(OrderDenied):
        building.cancel_arguments(CancelRequest(broker_order_id=order_id, instrument=CALL))


def test_an_index_is_quoted_by_its_name() -> None:
    ids = {"kotakneo": {"exchange_segment": "nse_cm", "trading_symbol": "NIFTY", "token": "26000"}}
    index = replace(SHARE, symbol="NIFTY 50", kind=InstrumentKind.INDEX, identifiers=ids)
    assert building.quote_token(index) == {"exchange_segment": "nse_cm", "instrument_token": "Nifty 50"}
    with pytest.raises(UnsupportedFeature):
        building.quote_token(replace(index, identifiers={"kotakneo": ids["kotakneo"] | {"trading_symbol": "NIFTYPSE"}}))
