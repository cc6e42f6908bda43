"""Breeze's face takes GTTs as the samples of its README write them, and answers in their forms."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brokers.adapters.breeze import simulator_replies as replies
from brokers.adapters.breeze.simulator import RULES
from brokers.adapters.breeze.simulator_gtt import GttCalls
from brokers.adapters.breeze.simulator_master import Names
from brokers.adapters.breeze.simulator_orders import BadField
from brokers.adapters.breeze.tests.harness import fixture
from brokers.clock import IST, SimulatedClock
from brokers.domain.enums import Exchange
from brokers.simulator.accounts import numbered
from brokers.simulator.book import Refused
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.rules import ExchangeSettings

#: A Monday in session.
NOW = datetime(2026, 11, 23, 10, 30, tzinfo=IST)
ACCOUNT = numbered("breeze", 1)
TODAY = "2026-11-23T06:00:00.00Z"
SINGLE: dict[str, Any] = {
    "exchange_code": "NFO",
    "stock_code": "NIFTY",
    "product": "options",
    "quantity": "65",
    "expiry_date": "2026-11-24T06:00:00.00Z",
    "right": "call",
    "strike_price": "22250",
    "gtt_type": "single",
    "index_or_stock": "index",
    "trade_date": TODAY,
    "order_details": [{"action": "buy", "limit_price": "44", "trigger_price": "45"}],
}
PAIR = [
    {"gtt_leg_type": "target", "action": "sell", "limit_price": "54", "trigger_price": "55"},
    {"gtt_leg_type": "stoploss", "action": "sell", "limit_price": "43.50", "trigger_price": "44"},
]
THREE_LEG = SINGLE | {
    "gtt_type": "cover_oco",
    "fresh_order_action": "buy",
    "fresh_order_price": "48",
    "fresh_order_type": "limit",
    "order_details": PAIR,
}
BOOK = {"exchange_code": "NFO", "from_date": TODAY, "to_date": TODAY}

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[SimulatedExchange]:
    clock = SimulatedClock(tmp_path / "clock.json")
    clock.set(NOW)
    made = SimulatedExchange(tmp_path, clock=clock, settings=ExchangeSettings(moving=False))
    made.register("breeze", RULES)
    option = made.universe.by_symbol(Exchange.NFO, "NIFTY26NOV22250CE")
    assert option is not None
    made.pin(option, Decimal(50))
    yield made
    made.truth.close()


@pytest.fixture
def ask(exchange: SimulatedExchange) -> Ask:
    """One call of an endpoint, answered as the body of its reply."""
    handlers = GttCalls(exchange, Names.read(None)).handlers

    def asked(endpoint: str, values: dict[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = handlers[endpoint](ACCOUNT, values).content
        return content

    return asked


def named(gtt_id: str, **more: Any) -> dict[str, Any]:
    return {"exchange_code": "NFO", "gtt_order_id": gtt_id} | more


def test_each_answer_has_the_form_of_its_sample(ask: Ask) -> None:
    placed = ask("gtt_place", SINGLE)
    gtt_id = placed["Success"]["gtt_order_id"]
    assert len(gtt_id) == 16
    answers = {
        "place": placed,
        "modify": ask("gtt_modify", named(gtt_id, gtt_type="single", order_details=SINGLE["order_details"])),
        "cancel": ask("gtt_cancel", named(gtt_id)),
    }
    for name, answer in answers.items():
        sample = fixture(f"gtt_{name}")
        assert answer == sample | {"Success": sample["Success"] | {"gtt_order_id": gtt_id}}


@pytest.mark.parametrize(("asked", "sample"), [(SINGLE, 0), (THREE_LEG, 1)])
def test_a_row_has_the_form_of_its_sample(asked: dict[str, Any], sample: int, ask: Ask) -> None:
    ask("gtt_place", asked)
    [row] = ask("gtts", BOOK)["Success"]
    expected = fixture("gtts_nfo")["Success"][sample]
    assert list(row) == list(expected)
    assert [list(leg) for leg in row["order_details"]] == [list(leg) for leg in expected["order_details"]]
    assert [leg["gtt_leg_type"] for leg in row["order_details"]] == [
        leg["gtt_leg_type"] for leg in expected["order_details"]
    ]
    assert (row["quantity"], row["strike_price"], row["index_or_stock"]) == (65, 22250.0, "Index")
    assert (row["gtt_type"], row["fresh_order_id"] is None) == (expected["gtt_type"], sample == 0)
    assert row["order_datetime"].startswith("23-NOV-2026 10:3")


def test_a_book_is_of_its_exchange_and_its_days(ask: Ask) -> None:
    assert ask("gtts", BOOK) == {"Success": None, "Status": 200, "Error": "No Data Found"}
    ask("gtt_place", SINGLE)
    tomorrow = "2026-11-24T06:00:00.00Z"
    assert ask("gtts", BOOK | {"exchange_code": "BFO"})["Success"] is None
    assert ask("gtts", BOOK | {"from_date": tomorrow, "to_date": tomorrow})["Success"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"exchange_code": "NSE"},
        {"exchange_code": "MCX"},
        {"stock_code": "UNHEAR"},
        {"strike_price": "22251"},
        {"product": "cash"},
        {"product": "futures"},
        {"product": "margin"},
        {"gtt_type": "oco"},
        {"gtt_type": "cover_oco"},
        {"index_or_stock": "stock"},
        {"trade_date": ""},
        {"order_details": None},
        {"order_details": []},
        {"order_details": ["buy"]},
        {"order_details": PAIR},
        {"order_details": [{"action": "buy", "limit_price": "", "trigger_price": "45"}]},
        {"order_details": [{"action": "hold", "limit_price": "44", "trigger_price": "45"}]},
        {"order_details": [{"gtt_leg_type": "trail", "action": "buy", "limit_price": "44", "trigger_price": "45"}]},
        {"quantity": "66"},
        {"quantity": "6.5"},
        {"order_details": [{"action": "buy", "limit_price": "44.01", "trigger_price": "45"}]},
    ],
    ids=str,
)
def test_what_breeze_would_not_take_is_refused(wrong: dict[str, Any], ask: Ask, exchange: SimulatedExchange) -> None:
    with pytest.raises((BadField, Refused)):
        ask("gtt_place", SINGLE | wrong)
    assert exchange.truth.text() == b""


@pytest.mark.parametrize(
    "wrong",
    [
        {"fresh_order_type": "market"},
        {"fresh_order_action": ""},
        {"fresh_order_price": ""},
        {"order_details": PAIR[:1]},
        {"order_details": [*PAIR, PAIR[0]]},
        {"gtt_type": "single"},
    ],
    ids=str,
)
def test_a_three_leg_without_one_of_its_parts_is_refused(
    wrong: dict[str, Any], ask: Ask, exchange: SimulatedExchange
) -> None:
    with pytest.raises((BadField, Refused)):
        ask("gtt_place", THREE_LEG | wrong)
    assert exchange.truth.text() == b""


@pytest.mark.parametrize("word", ["oco", "cover_oco"])
def test_a_three_leg_is_changed_by_either_word(word: str, ask: Ask) -> None:
    gtt_id = ask("gtt_place", THREE_LEG)["Success"]["gtt_order_id"]
    legs = [leg | {"limit_price": "43"} for leg in PAIR]
    ask("gtt_modify", named(gtt_id, gtt_type=word, order_details=legs))
    [row] = ask("gtts", BOOK)["Success"]
    assert {leg["limit_price"] for leg in row["order_details"]} == {43.0}


@pytest.mark.parametrize("wrong", [{"gtt_type": "oco"}, {"order_details": PAIR}, {"order_details": []}], ids=str)
def test_a_change_that_does_not_fit_is_refused(wrong: dict[str, Any], ask: Ask, exchange: SimulatedExchange) -> None:
    gtt_id = ask("gtt_place", SINGLE)["Success"]["gtt_order_id"]
    before = exchange.truth.text()
    change = named(gtt_id, gtt_type="single", order_details=SINGLE["order_details"])
    with pytest.raises((BadField, Refused)):
        ask("gtt_modify", change | wrong)
    assert exchange.truth.text() == before


def test_a_gtt_is_not_found_at_another_exchange_or_by_another_account(ask: Ask, exchange: SimulatedExchange) -> None:
    gtt_id = ask("gtt_place", SINGLE)["Success"]["gtt_order_id"]
    with pytest.raises(replies.Refusal):
        ask("gtt_cancel", named(gtt_id, exchange_code="BFO"))
    others = GttCalls(exchange, Names.read(None)).handlers["gtt_cancel"]
    with pytest.raises(replies.Refusal):
        others(numbered("breeze", 2), named(gtt_id))
