"""What Breeze's face answers about prices, shares and margins has the documented forms and limits."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.adapters.breeze import simulator_market as market
from brokers.adapters.breeze import simulator_rows as rows
from brokers.adapters.breeze.simulator import RULES
from brokers.adapters.breeze.simulator_margins import calculate
from brokers.adapters.breeze.simulator_master import Names
from brokers.adapters.breeze.simulator_orders import BadField
from brokers.clock import IST, SimulatedClock
from brokers.domain.enums import Exchange, Product
from brokers.simulator.accounts import numbered
from brokers.simulator.book import HeldPosition
from brokers.simulator.exchange import SimulatedExchange

#: A Monday in session.
NOW = datetime(2026, 11, 23, 10, 30, tzinfo=IST)
EXPIRY = "2026-11-24T06:00:00.000Z"
NAMES = Names.read(None)
ACCOUNT = numbered("breeze", 1)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[SimulatedExchange]:
    clock = SimulatedClock(tmp_path / "clock.json")
    clock.set(NOW)
    made = SimulatedExchange(tmp_path, clock=clock)
    made.register("breeze", RULES)
    yield made
    made.truth.close()


def asked(interval: str, first: datetime, last: datetime, **more: str) -> dict[str, str]:
    terms = {"stock_code": "STABAN", "exch_code": "NSE", "product_type": "cash"} | more
    return terms | {
        "interval": interval,
        "from_date": f"{first:%Y-%m-%dT%H:%M:%S}.000Z",
        "to_date": f"{last:%Y-%m-%dT%H:%M:%S}.000Z",
    }


CALL = {
    "stock_code": "NIFTY",
    "exch_code": "NFO",
    "product_type": "options",
    "expiry_date": EXPIRY,
    "right": "call",
    "strike_price": "22250",
}


def test_an_answer_holds_a_thousand_candles(exchange: SimulatedExchange) -> None:
    found = market.history(asked("1minute", NOW - timedelta(days=7), NOW), exchange, NAMES)
    assert len(found) == 1000
    assert found[0]["datetime"] == "2026-11-16 10:30:00"


def test_both_ends_are_answered(exchange: SimulatedExchange) -> None:
    first = NOW - timedelta(hours=1)
    found = market.history(asked("1minute", first, first + timedelta(minutes=2)), exchange, NAMES)
    assert [row["datetime"][11:] for row in found] == ["09:30:00", "09:31:00", "09:32:00"]


def test_a_shares_candle_is_of_numbers_and_says_nothing_of_derivatives(exchange: SimulatedExchange) -> None:
    row = market.history(asked("5minute", NOW - timedelta(hours=1), NOW), exchange, NAMES)[0]
    assert list(row) == ["close", "datetime", "exchange_code", "high", "low", "open", "stock_code", "volume"]
    assert {type(row[name]) for name in ("open", "high", "low", "close")} == {float}
    assert isinstance(row["volume"], int)


def test_an_options_candle_names_its_contract_in_capitals(exchange: SimulatedExchange) -> None:
    row = market.history(asked("5minute", NOW - timedelta(hours=1), NOW, **CALL), exchange, NAMES)[0]
    assert (row["expiry_date"], row["right"], row["strike_price"]) == ("24-NOV-2026", "Call", 22250.0)
    assert row["open_interest"] > 0


def test_nothing_is_known_of_another_code_or_of_days_to_come(exchange: SimulatedExchange) -> None:
    day = timedelta(days=1)
    assert market.history(asked("1day", NOW - 9 * day, NOW, stock_code="SBIN-EQ"), exchange, NAMES) == []
    assert market.history(asked("1day", NOW + day, NOW + 9 * day), exchange, NAMES) == []


@pytest.mark.parametrize("broken", [{"interval": "15minute"}, {"from_date": "24-Nov-2026"}, {"exch_code": "LSE"}])
def test_a_question_that_is_none_is_refused(broken: dict[str, str], exchange: SimulatedExchange) -> None:
    with pytest.raises(BadField):
        market.history(asked("1day", NOW - timedelta(days=9), NOW) | broken, exchange, NAMES)


def test_a_chain_is_of_what_is_asked(exchange: SimulatedExchange) -> None:
    terms = {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options", "expiry_date": EXPIRY}
    calls = market.chain(terms | {"right": "call"}, exchange, NAMES)
    assert {(row["right"], row["expiry_date"], row["product_type"]) for row in calls} == {
        ("Call", "24-Nov-2026", "Options")
    }
    assert len(calls) == 41
    [one] = market.chain(terms | {"right": "put", "strike_price": "22250"}, exchange, NAMES)
    assert (one["right"], one["strike_price"]) == ("Put", 22250.0)
    assert {type(one[name]) for name in ("ltq", "total_buy_qty", "total_sell_qty", "best_bid_quantity")} == {str}
    assert {type(one[name]) for name in ("ltp", "open_interest", "chnge_oi")} == {float}
    assert market.chain(terms | {"right": "call", "stock_code": "NOBODY"}, exchange, NAMES) == []


def test_only_derivatives_have_a_chain(exchange: SimulatedExchange) -> None:
    with pytest.raises(BadField):
        market.chain({"stock_code": "STABAN", "exchange_code": "NSE", "product_type": "options"}, exchange, NAMES)


def leg(action: str, strike: str) -> dict[str, str]:
    return {
        "stock_code": "NIFTY",
        "strike_price": strike,
        "quantity": "65",
        "right": "call",
        "product": "options",
        "action": action,
        "price": "45",
        "expiry_date": "24-Nov-2026",
    }


def test_a_hedge_lowers_the_margin_of_a_basket(exchange: SimulatedExchange) -> None:
    def needed(*legs: dict[str, str]) -> Decimal:
        values = {"list_of_positions": list(legs), "exchange_code": "NFO"}
        return Decimal(calculate(ACCOUNT, values, exchange, NAMES)["span_margin_required"])

    short, hedge = leg("sell", "22250"), leg("buy", "22500")
    assert needed(hedge) == 65 * 45
    assert needed(hedge) < needed(short, hedge) < needed(short) + needed(hedge)


def test_a_basket_comes_back_in_capitals_and_padded(exchange: SimulatedExchange) -> None:
    row = calculate(ACCOUNT, {"list_of_positions": [leg("sell", "22250")], "exchange_code": "NFO"}, exchange, NAMES)
    [echo] = row["margin_calulation"]
    assert (echo["stock_code"], echo["right"], echo["product"], echo["action"]) == ("NIFTY ", "Call", "Options", "Sell")
    assert (row["trade_margin"], row["non_span_margin_required"]) == (None, "0")


@pytest.mark.parametrize("legs", [None, [], [leg("hold", "22250")], [leg("sell", "22251")]])
def test_a_basket_that_is_none_is_refused(legs: object, exchange: SimulatedExchange) -> None:
    with pytest.raises(BadField):
        calculate(ACCOUNT, {"list_of_positions": legs, "exchange_code": "NFO"}, exchange, NAMES)


def test_the_depository_holds_what_was_there_when_the_day_began(exchange: SimulatedExchange) -> None:
    share = exchange.universe.by_symbol(Exchange.NSE, "SBIN")
    assert share is not None
    held = HeldPosition(contract=share, product=Product.CNC, buy_quantity=5, last_price=Decimal(950))
    assert rows.demat_holdings([held], NAMES) == []
    exchange.carry(
        ACCOUNT,
        HeldPosition(
            contract=share,
            product=Product.CNC,
            carried_buy_quantity=10,
            carried_buy_amount=Decimal(9_000),
            last_price=Decimal(950),
        ),
    )
    [row] = rows.demat_holdings(exchange.positions(ACCOUNT), NAMES)
    assert (row["stock_code"], row["stock_ISIN"], row["quantity"]) == ("STABAN", share.isin, "10")
