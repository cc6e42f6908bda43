"""Master rows survive storage, and broken ones do not get there."""

from __future__ import annotations

from decimal import Decimal

import pytest

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.instruments.rows import PROBLEMS_KEPT, pack, unpack, why_refused
from tests.support.masters import MONTHLY, future, index, many, option, share


def test_a_row_comes_back_as_it_was_stored() -> None:
    row = option(
        "TESTIDX26NOV24000CE", tick_size=Decimal("0.05"), strike="24000.50", identifiers={"code": 'a"b', "n": "é"}
    )
    (stored,) = unpack(pack("test", iter([row])).content)
    for name in stored._fields:
        if name != "identifiers":
            assert getattr(stored, name) == getattr(row, name)
    assert stored.identifiers == '{"code": "a\\"b", "n": "\\u00e9"}'


def test_every_row_of_a_long_master_comes_back_in_order() -> None:
    rows = many(5_001)
    packed = pack("test", iter(rows))
    assert [row.key for row in unpack(packed.content)] == [row.key for row in rows]
    assert packed.row_count == 5_001
    assert packed.counts == {"NSE": 5_001}


def test_the_same_rows_have_the_same_digest_and_others_do_not() -> None:
    assert pack("a", iter(many(3))).digest == pack("b", iter(many(3))).digest
    assert pack("a", iter(many(3))).digest != pack("a", iter(many(4))).digest


def test_a_name_loses_what_cannot_be_written() -> None:
    (stored,) = unpack(pack("test", iter([share(name="TEST\0 COMPANY\xa0LTD")])).content)
    assert stored.name == "TEST  COMPANY LTD"


def test_an_empty_master_packs_to_nothing() -> None:
    packed = pack("test", iter([]))
    assert (packed.row_count, list(unpack(packed.content))) == (0, [])


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (share(""), "no symbol"),
        (share(key=""), "no key"),
        (share("X" * 65), "longer than 64"),
        (share("TEST\0CO"), "cannot be written"),
        (share(identifiers={"code": "\ud800"}), "cannot be written"),
        (share(lot_size=0), "lot_size 0"),
        (share(tick_size=Decimal("-0.05")), "tick_size -0.05"),
        (share(tick_size=Decimal("NaN")), "tick_size NaN"),
        (share(upper_band=Decimal("Infinity")), "upper_band Infinity"),
        (option(expiry=None), "no expiry"),
        (option(underlying=""), "no underlying"),
        (option(strike=None), "no strike"),
        (option(right=None), "no right"),
    ],
)
def test_a_broken_row_is_refused_with_its_reason(row: MasterRow, word: str) -> None:
    assert word in why_refused(row)


@pytest.mark.parametrize("row", [share(), option(), future(), index(), option(expiry=MONTHLY, tick_size=None)])
def test_a_good_row_is_not_refused(row: MasterRow) -> None:
    assert why_refused(row) == ""


def test_the_good_rows_load_beside_the_broken_ones_and_all_are_counted() -> None:
    broken = MasterProblem(source="file.csv", line=7, reason="It has 80 fields under 78 headings.")
    packed = pack("master of alpha", iter([share(), broken, option(strike=None), share(token="2")]))
    assert packed.row_count == 1
    assert packed.problem_count == 3
    assert packed.problems[0] is broken
    assert "no strike" in packed.problems[1].reason
    assert "used by an earlier row" in packed.problems[2].reason


def test_only_the_first_problems_are_kept_in_words() -> None:
    packed = pack("test", (MasterProblem(source="f", line=n, reason=str(n)) for n in range(1000)))
    assert packed.problem_count == 1000
    assert [problem.line for problem in packed.problems] == list(range(PROBLEMS_KEPT))
