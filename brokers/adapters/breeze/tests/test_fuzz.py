"""Whatever Breeze puts into a row, a parser gives domain values or says that it cannot read it; it never guesses."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.adapters.breeze import parsing_account, parsing_gtt, parsing_market, parsing_orders
from brokers.adapters.breeze.tests.harness import KEYS, NOW, OPTION, SHARE, fixture
from brokers.adapters.breeze.tests.test_parsing_market import INDEX, find
from brokers.domain.enums import CandleInterval
from brokers.domain.errors import UnreadableReply

Row = dict[str, Any]


class Case(NamedTuple):
    """A valid answer, what reads one row of it, and the fields that it may not do without."""

    fixture: str
    read: Callable[[Row], object]
    #: Numbers that must be there and be numbers.
    numbers: tuple[str, ...] = ()
    #: Words that must be known.
    words: tuple[str, ...] = ()


@cache
def answered(name: str) -> tuple[Row, ...]:
    """The rows of a fixture, or those inside of its rows: ``fixture.field``; a single answer is one."""
    file, _, inside = name.partition(".")
    answer: Row | list[Row] = fixture(file)["Success"]
    rows = answer if isinstance(answer, list) else [answer]
    return tuple(part for row in rows for part in row[inside]) if inside else tuple(rows)


def gtt_of(leg: Row) -> Row:
    """A GTT with this leg, and with the other one of its pair when there is one."""
    word = str(leg.get("gtt_leg_type") or "").strip().lower()
    single, pair = answered("gtts_nfo")[:2]
    if word not in ("target", "stoploss"):
        return single | {"order_details": [leg]}
    others = [each for each in pair["order_details"] if each["gtt_leg_type"].lower() != word]
    return pair | {"order_details": [leg, *(each | {"gtt_order_id": leg.get("gtt_order_id")} for each in others)]}


CASES: dict[str, Case] = {
    "order": Case(
        "orders_nfo", lambda row: parsing_orders.order(row, KEYS.get, {}), ("quantity",), ("action", "order_type")
    ),
    "GTT": Case(
        "gtts_nfo", lambda row: parsing_gtt.gtt(row, KEYS.get), ("quantity",), ("gtt_type", "right", "expiry_date")
    ),
    "leg of a GTT": Case(
        "gtts_nfo.order_details",
        lambda leg: parsing_gtt.gtt(gtt_of(leg), KEYS.get),
        ("trigger_price", "limit_price"),
        ("action", "gtt_leg_type"),
    ),
    "executions": Case(
        "trade_detail",
        lambda row: parsing_orders.fills(answered("trades_nfo")[0], [row], KEYS.get),
        ("executed_quantity", "execution_price"),
        ("action",),
    ),
    "past trade": Case(
        "trades_nfo",
        lambda row: parsing_orders.fills_by_day([row], KEYS.get),
        ("quantity", "average_cost"),
        ("action", "right", "trade_date", "expiry_date"),
    ),
    "position": Case(
        "positions",
        lambda row: parsing_account.position(row, KEYS.get, parsing_account.traded_today([]), NOW),
        ("quantity",),
        ("action", "right", "expiry_date"),
    ),
    "margin": Case(
        "margin",
        lambda row: parsing_account.margin(answered("funds")[0], row, NOW),
        ("cash_limit", "block_by_trade"),
    ),
    "segments": Case(
        "funds",
        lambda row: parsing_account.segment_margins(row, NOW),
        ("allocated_fno", "block_by_trade_fno", "allocated_equity"),
    ),
    "margin required": Case(
        "margin_calculator",
        lambda row: parsing_account.margin_required([row], NOW),
        ("span_margin_required", "non_span_margin_required"),
    ),
    "holding": Case("holdings_nse", lambda row: parsing_account.holding(row, KEYS.get, NOW), ("quantity",)),
    "demat holding": Case(
        "demat_holdings", lambda row: parsing_account.demat_holding(row, KEYS.get, NOW), ("quantity",)
    ),
    "quote of a share": Case("quote_cash", lambda row: parsing_market.quote([row], SHARE, NOW)),
    "quote of an option": Case("quote_option", lambda row: parsing_market.quote([row], OPTION, NOW)),
    "depth": Case("quote_option", lambda row: parsing_market.depth([row], OPTION, NOW), ("best_bid_quantity",)),
    "chain": Case(
        "chain_calls",
        lambda row: parsing_market.options([row], date(2026, 11, 24), find),
        ("strike_price",),
        ("right", "expiry_date"),
    ),
    "spot": Case("chain_calls", lambda row: parsing_market.spot_price([row])),
    "candle of an option": Case(
        "history_option",
        lambda row: parsing_market.candles([row], OPTION, CandleInterval.FIVE_MINUTES),
        ("open", "high", "low", "close", "volume"),
        ("datetime", "stock_code", "exchange_code"),
    ),
    "candle of an index": Case(
        "history_index", lambda row: parsing_market.candles([row], INDEX, CandleInterval.DAY), ("open",), ("datetime",)
    ),
    "candle of the first history": Case(
        "history_first_version", lambda row: parsing_market.candles([row], SHARE, CandleInterval.MINUTE), ("close",)
    ),
}
each_case = pytest.mark.parametrize("name", CASES)

PAGE = "<html><head><title>502 Bad Gateway</title></head></html>"
#: What stands where a number or a word should be.
ODDITIES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", " ", "NA", "N/A", "-", "null", "NaN", "Infinity", "-1", "1e999999", "1E-999999", "1,23,456"]),
    st.sampled_from([PAGE, "31-Feb-2026", "24-Nov-26", "2026-11-24", "00:00", "Success", "\x00", "९"]),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.decimals(),
    st.text(max_size=12),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def rows_of(case: Case) -> list[Row]:
    return [dict(row) for row in answered(case.fixture)]


def is_sound(value: object) -> bool:
    """Whether no number of a domain value is infinite or none."""
    if isinstance(value, Decimal):
        return value.is_finite()
    if isinstance(value, list | tuple):
        return all(is_sound(each) for each in value)
    if is_dataclass(value):
        return all(is_sound(getattr(value, each.name)) for each in fields(value))
    return True


@each_case
def test_the_rows_themselves_are_read(name: str) -> None:
    case = CASES[name]
    assert all(is_sound(case.read(row)) for row in rows_of(case))


@each_case
@given(data=st.data())
def test_an_odd_row_is_read_or_refused(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    row = dict(data.draw(st.sampled_from(rows_of(case))))
    for field in data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=3, unique=True)):
        kept = row[field]
        change = data.draw(
            st.one_of(
                ODDITIES.map(lambda odd: ("put", odd)),
                st.sampled_from(["drop", "pad", "text", "shout"]).map(lambda how: (how, None)),
            )
        )
        match change:
            case ("drop", _):
                del row[field]
            case ("pad", _):
                row[field] = f"  {kept} "
            case ("text", _):
                row[field] = str(kept)
            case ("shout", _):
                row[field] = str(kept).upper()
            case (_, odd):
                row[field] = odd
    with suppress(UnreadableReply):
        assert is_sound(case.read(row))


@each_case
@given(data=st.data())
def test_padding_and_numbers_as_text_change_nothing(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    row = data.draw(st.sampled_from(rows_of(case)))
    written: Row = {field: kept if kept is None else f" {kept} " for field, kept in row.items()}
    written |= {field: kept for field, kept in row.items() if isinstance(kept, list | dict)}
    assert without_evidence(case.read(written)) == without_evidence(case.read(row))


def without_evidence(value: object) -> object:
    """A value without the copy of the row that it keeps."""
    details = getattr(value, "details", None)
    return {each: getattr(value, each) for each in ("available", "used", "total", "cash")} if details else value


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, case in CASES.items() for field in case.numbers])
@given(text=st.sampled_from(["NA", "nan", "", None, "twelve", PAGE, "1e999999", True, [1], {}]))
def test_what_is_no_number_is_never_taken_for_one(name: str, field: str, text: object) -> None:
    case = CASES[name]
    with pytest.raises(UnreadableReply):
        case.read(rows_of(case)[0] | {field: text})


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, case in CASES.items() for field in case.words])
@given(word=st.text(alphabet="ghjqwz", min_size=1, max_size=8))
def test_a_word_that_is_not_known_is_never_taken_for_another(name: str, field: str, word: str) -> None:
    case = CASES[name]
    with pytest.raises(UnreadableReply):
        case.read(rows_of(case)[0] | {field: word})
