"""What Breeze's answers about prices mean, row by row."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import parsing_market
from brokers.adapters.breeze.tests.harness import KEYS, NOW, OPTION, SHARE, fixture
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import OptionQuote

EXPIRY = date(2026, 11, 24)
INDEX = Instrument(
    symbol="NIFTY",
    exchange=Exchange.NSE,
    kind=InstrumentKind.INDEX,
    underlying="NIFTY",
    master_day=EXPIRY,
    identifiers={"breeze": {"stock_code": "NIFTY", "exchange_code": "NSE", "token": "NIFTY 50"}},
)


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fixture(name)["Success"]
    return found


def find(key: str) -> Instrument | None:
    """The options of the chain's expiry from 24700 to 24900, and what the harness has."""
    parts = key.split("|")
    if parts[:3] == ["NFO", "NIFTY", "2026-11-24"] and 24_700 <= Decimal(parts[4]) <= 24_900:
        right, strike = OptionRight(parts[3]), Decimal(parts[4])
        return replace(OPTION, symbol=f"NIFTY24NOV26{parts[4]}{parts[3]}", strike=strike, right=right)
    return KEYS.get(key)


def options() -> list[OptionQuote]:
    found, _ = parsing_market.options(rows("chain_calls") + rows("chain_puts"), EXPIRY, find)
    return found


def test_depth_is_the_best_price_of_each_side() -> None:
    depth = parsing_market.depth(rows("quote_cash"), SHARE, NOW)
    assert [(level.price, level.quantity, level.orders) for level in depth.bids] == [(Decimal("309.65"), 449, None)]
    assert [(level.price, level.quantity) for level in depth.asks] == [(Decimal("309.7"), 5619)]
    assert (depth.total_bid_quantity, depth.total_ask_quantity) == (None, None)


@pytest.mark.parametrize("nobody", [{"best_bid_price": 0.0}, {"best_bid_price": None}, {"best_bid_quantity": "0"}])
def test_a_side_on_which_nobody_stands_is_empty(nobody: dict[str, object]) -> None:
    assert parsing_market.depth([rows("quote_cash")[0] | nobody], SHARE, NOW).bids == ()


def test_a_price_without_its_quantity_is_no_depth() -> None:
    with pytest.raises(UnreadableReply, match="without best_bid_quantity"):
        parsing_market.depth([rows("quote_cash")[0] | {"best_bid_quantity": None}], SHARE, NOW)


def test_no_row_of_the_exchange_is_no_depth() -> None:
    with pytest.raises(UnreadableReply, match="no quote of ITC"):
        parsing_market.depth(rows("quote_cash")[1:], SHARE, NOW)


def test_open_interest_is_of_derivatives_only() -> None:
    stated = {"open_interest": 4561350.0}
    assert parsing_market.quote([rows("quote_option")[0] | stated], OPTION, NOW).open_interest == 4561350
    assert parsing_market.quote([rows("quote_cash")[0] | stated], SHARE, NOW).open_interest is None
    assert parsing_market.quote(rows("quote_option"), OPTION, NOW).open_interest is None


def test_a_chains_rows_become_options_by_their_contract() -> None:
    calls = {each.strike: each for each in options() if each.right is OptionRight.CALL}
    call = calls[Decimal(24800)]
    assert (call.symbol, call.last_price, call.volume) == ("NIFTY24NOV2624800CE", Decimal("118.2"), 3756675)
    assert (call.open_interest, call.open_interest_change) == (4561350, -1500)
    assert list(calls) == [24700, 24750, 24800, 24850, 24900]


def test_a_padded_code_is_its_code() -> None:
    assert "NIFTY24NOV2624750CE" in [each.symbol for each in options()]


def test_an_option_that_did_not_trade_has_no_price() -> None:
    [untraded] = [each for each in options() if each.strike == 24850 and each.right is OptionRight.CALL]
    assert (untraded.last_price, untraded.volume) == (None, 0)


def test_rows_that_name_nothing_of_the_chain_are_counted_and_left_out() -> None:
    found, unknown = parsing_market.options(rows("chain_calls"), EXPIRY, find)
    # Another expiry, and a strike that no master has.
    assert (len(found), unknown) == (5, 2)
    assert {each.last_price for each in found} & {Decimal("300.0"), Decimal("0.05")} == set()


def test_the_spot_is_the_first_that_a_row_states() -> None:
    assert parsing_market.spot_price(rows("chain_calls")) == Decimal("24790.1")
    assert parsing_market.spot_price(rows("chain_puts")[:1]) is None


@pytest.mark.parametrize(
    ("spot", "strikes", "expected"),
    [
        ("24790.1", 1, [24750, 24800]),
        ("24790.1", 2, [24700, 24750, 24800, 24850]),
        ("24800", 1, [24750, 24800, 24850]),
        ("24800", 9, [24700, 24750, 24800, 24850, 24900]),
        ("25500", 2, [24850, 24900]),
    ],
)
def test_a_chain_is_cut_around_the_money(spot: str, strikes: int, expected: list[int]) -> None:
    for right in OptionRight:
        cut = parsing_market.around(options(), right, Decimal(spot), strikes)
        assert [each.strike for each in cut] == expected
        assert {each.right for each in cut} == {right}


def test_a_candle_of_the_second_history_is_read_as_ist() -> None:
    candles = parsing_market.candles(rows("history_cash"), SHARE, CandleInterval.MINUTE)
    second = candles[1]
    assert second.opened_at == datetime(2026, 11, 24, 3, 45, tzinfo=UTC)
    assert (second.open, second.high, second.low, second.close) == tuple(
        Decimal(text) for text in ("308.0", "310.25", "307.25", "309.65")
    )
    assert (second.volume, second.open_interest) == (47317, None)


def test_a_row_of_zeros_is_no_candle() -> None:
    candles = parsing_market.candles(rows("history_cash"), SHARE, CandleInterval.MINUTE)
    assert [each.opened_at.minute for each in candles] == [59, 45, 47]


def test_a_candle_of_a_derivative_has_its_open_interest() -> None:
    candles = parsing_market.candles(rows("history_option"), OPTION, CandleInterval.FIVE_MINUTES)
    assert [each.open_interest for each in candles] == [4561350, 4562100]


def test_the_first_history_with_its_numbers_as_text_is_read_too() -> None:
    [candle] = parsing_market.candles(rows("history_first_version"), SHARE, CandleInterval.MINUTE)
    assert (candle.close, candle.volume) == (Decimal("419.95"), 1951)
    assert candle.opened_at == datetime(2026, 11, 24, 3, 51, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    ["2026-11-24 00:00:00", "2026-11-24 09:15:00", "2026-11-24T00:00:00", "2026-11-24", "24-NOV-2026 00:00:00"],
)
def test_a_days_candle_opens_at_midnight_however_it_is_written(written: str) -> None:
    row = rows("history_days")[0] | {"datetime": written}
    [candle] = parsing_market.candles([row], SHARE, CandleInterval.DAY)
    assert candle.opened_at == datetime(2026, 11, 23, 18, 30, tzinfo=UTC)


def test_nothing_of_an_index_is_traded() -> None:
    row = rows("history_index")[0]
    del row["volume"]
    [candle] = parsing_market.candles([row], INDEX, CandleInterval.MINUTE)
    assert (candle.volume, candle.high) == (0, Decimal("24801.2"))


@pytest.mark.parametrize(
    "broken",
    [
        {"stock_code": "RELIND"},
        {"exchange_code": "BSE"},
        {"datetime": ""},
        {"datetime": "24/11/2026"},
        {"high": None},
        {"low": 0},
        {"close": -1},
        {"volume": None},
        {"volume": 1.5},
    ],
)
def test_a_candle_that_cannot_be_read_makes_the_read_fail(broken: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_market.candles([rows("history_cash")[1] | broken], SHARE, CandleInterval.MINUTE)


def test_the_years_range_is_that_of_its_days() -> None:
    days = parsing_market.candles(rows("history_days"), SHARE, CandleInterval.DAY)
    found = parsing_market.year_range(days, SHARE, NOW)
    assert (found.low, found.high) == (Decimal("299.0"), Decimal("312.0"))


def test_without_a_day_there_is_no_range() -> None:
    with pytest.raises(BrokerUnavailable, match="no day of the last year for ITC"):
        parsing_market.year_range([], SHARE, NOW)
