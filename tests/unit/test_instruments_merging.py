"""What makes two masters' rows one contract, and what is taken from which."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from brokers.domain.enums import Exchange, OptionRight
from brokers.instruments.merging import Contract, Master, merge
from brokers.instruments.symbols import derivative_symbol, monthly_expiries, share_base, share_symbol
from tests.support.masters import DAY, MONTHLY, NEXT_MONTHLY, WEEKLY, future, index, master, option, share


def merged(*masters: Master) -> tuple[dict[str, Contract], list[str]]:
    contracts, problems = merge(masters, day=DAY)
    assert len({contract.symbol for contract in contracts}) == len(contracts)
    return {contract.symbol: contract for contract in contracts}, [problem.reason for problem in problems]


def brokers_of(contract: Contract) -> Sequence[str]:
    return [listed.broker for listed in contract.listed]


def test_the_same_contract_of_two_masters_is_one_record_with_both_brokers() -> None:
    found, problems = merged(
        master("alpha", [option(), share()]),
        master("beta", [option("TESTIDX26NOV24000CE"), share("TESTCO-EQ")]),
    )
    assert sorted(found) == ["TESTCO", "TESTIDX26NOV24000CE"]
    assert all(brokers_of(contract) == ["alpha", "beta"] for contract in found.values())
    assert problems == []


def test_figures_come_from_the_master_that_states_them() -> None:
    found, _ = merged(
        master("alpha", [option()]),
        master("beta", [option("X", tick_size=Decimal("0.05"), freeze_quantity=1800, lower_band=None)]),
    )
    contract = found["X"]
    assert (contract.lot_size, contract.tick_size, contract.freeze_quantity) == (65, Decimal("0.05"), 1800)
    assert contract.lower_band == Decimal("0.05")


@pytest.mark.parametrize(
    ("figure", "other"),
    [("lot_size", 75), ("tick_size", Decimal("0.05")), ("freeze_quantity", 1), ("upper_band", Decimal(800))],
)
def test_where_two_masters_disagree_none_is_taken_and_it_is_reported(figure: str, other: Any) -> None:
    one = option("X", tick_size=Decimal("0.10"), freeze_quantity=1800)
    two = option("X", **{"tick_size": Decimal("0.10"), "freeze_quantity": 1800, figure: other})
    found, problems = merged(master("alpha", [one]), master("beta", [two]))
    assert getattr(found["X"], figure) is None
    assert [problem for problem in problems if figure in problem and "none is taken" in problem]


def test_equal_numbers_written_differently_agree() -> None:
    found, problems = merged(
        master("alpha", [option("X", tick_size=Decimal("0.1"), strike="24000.00", key="a")]),
        master("beta", [option("X", tick_size=Decimal("0.10"), key="b")]),
    )
    assert found["X"].tick_size == Decimal("0.1")
    assert problems == []


@pytest.mark.parametrize(
    "change",
    [{"expiry": NEXT_MONTHLY}, {"strike": 24050}, {"right": OptionRight.PUT}],
    ids=["expiry", "strike", "right"],
)
def test_one_token_for_two_contracts_keeps_them_apart_and_is_reported(change: dict[str, object]) -> None:
    found, problems = merged(master("alpha", [option("A")]), master("beta", [option("B", **change)]))  # type: ignore[arg-type]
    assert [brokers_of(found["A"]), brokers_of(found["B"])] == [["alpha"], ["beta"]]
    assert len(problems) == 1
    assert "Token 50001" in problems[0]
    assert "kept apart" in problems[0]


def test_one_token_for_two_shares_keeps_them_apart_and_is_reported() -> None:
    found, problems = merged(master("alpha", [share("OLDNAME")]), master("beta", [share("NEWNAME")]))
    assert sorted(found) == ["NEWNAME", "OLDNAME"]
    assert "Token 1001" in problems[0]


def test_two_tokens_for_one_contract_are_reported() -> None:
    found, problems = merged(master("alpha", [option()]), master("beta", [option("X", token="777")]))
    assert brokers_of(found["X"]) == ["alpha", "beta"]
    assert "more than one token" in problems[0]


def test_a_brokers_own_name_of_an_underlying_is_learned_from_shared_tokens() -> None:
    names = {"underlying": "TEST INDEX 50"}
    found, problems = merged(
        master("alpha", [option(**names), option(strike=25000, token="50009", **names), index("TEST INDEX 50")]),
        master("beta", [option("TESTIDX26NOV24000CE"), index("TESTIDX")]),
    )
    assert sorted(found) == ["TESTIDX", "TESTIDX26NOV24000CE", "TESTIDX26NOV25000CE"]
    assert brokers_of(found["TESTIDX26NOV25000CE"]) == ["alpha"]
    assert brokers_of(found["TESTIDX"]) == ["alpha", "beta"]
    assert problems == []


def test_a_name_that_pairs_with_two_underlyings_is_kept_apart() -> None:
    found, problems = merged(
        master("alpha", [option(underlying="ODD"), option(underlying="ODD", strike=100, token="2")]),
        master("beta", [option("P", underlying="PEAR"), option("Q", underlying="PLUM", strike=100, token="2")]),
    )
    assert {"P", "Q", "ODD26NOV24000CE", "ODD26NOV100CE"} == set(found)
    assert any("ODD" in problem and "kept apart" in problem for problem in problems)


def test_contracts_without_a_symbol_get_the_exchanges() -> None:
    found, _ = merged(
        master(
            "alpha",
            [
                option(),
                option(expiry=WEEKLY, token="1"),
                option(expiry=NEXT_MONTHLY, token="2", strike="132.5", right=OptionRight.PUT),
                future(),
            ],
        )
    )
    assert set(found) == {
        "TESTIDX26NOV24000CE",
        "TESTIDX26D0124000CE",
        "TESTIDX26DEC132.5PE",
        "TESTIDX26NOVFUT",
    }


def test_a_masters_own_symbol_is_taken_as_it_is() -> None:
    found, _ = merged(master("alpha", [option("ANYTHING")]), master("beta", [option(key="b")]))
    assert list(found) == ["ANYTHING"]


def test_a_master_of_another_day_merges_by_contract_without_its_figures() -> None:
    yesterday = DAY - timedelta(days=1)
    found, problems = merged(
        master("alpha", [option()]),
        master(
            "beta",
            [
                option("X", token="999", lot_size=75, tick_size=Decimal("0.05"), freeze_quantity=1800),
                option("GONE", expiry=yesterday, token="3"),
                option("ONLYHERE", strike=9, token="50001"),
            ],
            day=yesterday,
        ),
    )
    assert set(found) == {"X", "ONLYHERE"}
    assert brokers_of(found["X"]) == ["alpha", "beta"]
    assert (found["X"].lot_size, found["X"].tick_size, found["X"].freeze_quantity) == (65, None, None)
    assert found["ONLYHERE"].lot_size is None
    assert len(problems) == 1
    assert "beta is of 2026-11-22, not 2026-11-23" in problems[0]


def test_a_master_full_of_expired_contracts_is_reported_as_old() -> None:
    _, problems = merged(master("alpha", [option("X", expiry=date(2026, 11, 20))]))
    assert "1 contracts of alpha expired before 2026-11-23" in problems[0]


def test_a_contract_listed_twice_by_one_broker_counts_once() -> None:
    found, problems = merged(master("alpha", [option("X", key="a"), option("X", key="b")]))
    assert [listed.row.key for listed in found["X"].listed] == ["a"]
    assert "lists" in problems[0]


def test_series_and_exchanges_tell_shares_apart() -> None:
    found, problems = merged(
        master(
            "alpha",
            [
                share("BAJAJ-AUTO", token="1", key="a"),
                share("SMALL", series="BE", token="2", key="b"),
                share("SMALL", series="N1", token="3", key="c"),
            ],
        ),
        master(
            "beta", [share("BAJAJ-AUTO-EQ", token="1", key="a"), share("SMALL-BE", series="BE", token="2", key="b")]
        ),
    )
    assert {symbol: len(contract.listed) for symbol, contract in found.items()} == {
        "BAJAJ-AUTO": 2,
        "SMALL-BE": 2,
        "SMALL-N1": 1,
    }
    assert problems == []


def test_shares_of_bse_merge_whatever_the_brokers_call_their_group() -> None:
    found, _ = merged(
        master("alpha", [share(exchange=Exchange.BSE, series="DR")]),
        master("beta", [share(exchange=Exchange.BSE, series="A")]),
    )
    assert brokers_of(found["TESTCO"]) == ["alpha", "beta"]


def test_the_order_of_the_masters_does_not_matter() -> None:
    one, two = master("alpha", [option(), share()]), master("beta", [option("X"), share("TESTCO-EQ")])
    assert merged(one, two) == merged(two, one)


def test_the_last_expiry_of_a_month_is_its_monthly_one() -> None:
    assert monthly_expiries([MONTHLY, WEEKLY, NEXT_MONTHLY, date(2026, 11, 17)]) == {MONTHLY, NEXT_MONTHLY}


@pytest.mark.parametrize(
    ("expiry", "is_monthly", "strike", "right", "symbol"),
    [
        (date(2026, 8, 25), True, Decimal("22250.0000"), OptionRight.CALL, "NIFTY26AUG22250CE"),
        (date(2026, 8, 4), False, Decimal(22250), OptionRight.PUT, "NIFTY2680422250PE"),
        (date(2026, 10, 6), False, Decimal("1E+3"), OptionRight.PUT, "NIFTY26O061000PE"),
        (date(2026, 9, 29), True, Decimal("132.50"), OptionRight.CALL, "NIFTY26SEP132.5CE"),
        (date(2026, 9, 29), True, None, None, "NIFTY26SEPFUT"),
    ],
)
def test_symbols_are_built_as_the_exchange_writes_them(
    expiry: date, is_monthly: bool, strike: Decimal | None, right: OptionRight | None, symbol: str
) -> None:
    assert derivative_symbol("NIFTY", expiry, is_monthly=is_monthly, strike=strike, right=right) == symbol


def test_a_share_is_named_without_its_main_series() -> None:
    assert share_base("RELIANCE-EQ", "EQ") == "RELIANCE"
    assert share_base("BAJAJ-AUTO", "EQ") == "BAJAJ-AUTO"
    assert share_symbol(Exchange.NSE, "SMALL", "BE") == "SMALL-BE"
    assert share_symbol(Exchange.BSE, "SMALL", "500001") == "SMALL"
