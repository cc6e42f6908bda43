"""The strictest limit that applies holds, whoever wrote it and in whatever order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from brokers.domain.enums import Mode
from brokers.models import RiskLimit, Scope
from brokers.risk.limits import DEFAULTS, LARGER_IS_STRICTER, NAMES, OF_THE_ACCOUNT_ONLY, effective

ACCOUNT, STRATEGY, SYMBOL = "breeze/default", "s1", "NIFTY26DEC26000CE"
KEYS = {
    Scope.EVERYTHING: ("",),
    Scope.ACCOUNT: (ACCOUNT, "kotakneo/default"),
    Scope.STRATEGY: (STRATEGY, "s2"),
    Scope.SYMBOL: (SYMBOL, "RELIANCE"),
}
APPLYING = {(Scope.EVERYTHING, ""), (Scope.ACCOUNT, ACCOUNT), (Scope.STRATEGY, STRATEGY), (Scope.SYMBOL, SYMBOL)}
PLACES = [(scope, key) for scope, keys in KEYS.items() for key in keys]


@st.composite
def rows(draw: st.DrawFn) -> list[RiskLimit]:
    """A table of limits: any of the scopes, each at most once, with any of their columns empty."""
    chosen = draw(st.lists(st.sampled_from(PLACES), unique=True))
    return [RiskLimit(scope=scope, scope_key=key, **draw(_values(scope))) for scope, key in chosen]


def _values(scope: Scope) -> st.SearchStrategy[dict[str, Any]]:
    narrow = scope in (Scope.STRATEGY, Scope.SYMBOL)
    names = [name for name in NAMES if not (narrow and name in OF_THE_ACCOUNT_ONLY)]
    return st.fixed_dictionaries({name: st.none() | st.integers(0, 1000) for name in names})


def stricter(name: str, one: Any, other: Any) -> Any:
    return max(one, other) if name in LARGER_IS_STRICTER else min(one, other)


@given(rows(), st.sampled_from(list(Mode)), st.randoms())
def test_no_row_that_applies_is_stricter_than_what_holds(table: list[RiskLimit], mode: Mode, random: Any) -> None:
    held = effective(table, mode, ACCOUNT, STRATEGY, SYMBOL)
    applying = [row for row in table if (row.scope, row.scope_key) in APPLYING]
    for name in NAMES:
        strictest = held.strictest(name)
        wide = [row for row in applying if row.scope in (Scope.EVERYTHING, Scope.ACCOUNT)]
        stated = [value for row in applying if (value := getattr(row, name)) is not None]
        if not any(getattr(row, name) is not None for row in wide) and name in DEFAULTS[mode]:
            stated.append(DEFAULTS[mode][name])
        if not stated:
            assert strictest is None
            continue
        expected = stated[0]
        for value in stated:
            expected = stricter(name, expected, value)
        assert strictest is not None
        assert strictest.value == expected
    random.shuffle(table)
    again = effective(table, mode, ACCOUNT, STRATEGY, SYMBOL)
    assert [again.strictest(name) is None for name in NAMES] == [held.strictest(name) is None for name in NAMES]
    assert all(
        first.value == second.value
        for name in NAMES
        if (first := held.strictest(name)) is not None and (second := again.strictest(name)) is not None
    )


@given(rows(), rows(), st.sampled_from(list(Mode)))
def test_a_narrow_row_never_loosens_anything(table: list[RiskLimit], more: list[RiskLimit], mode: Mode) -> None:
    narrow = [row for row in more if row.scope in (Scope.STRATEGY, Scope.SYMBOL)]
    table = [row for row in table if row.scope not in (Scope.STRATEGY, Scope.SYMBOL)]
    wide, both = (effective(rows, mode, ACCOUNT, STRATEGY, SYMBOL) for rows in (table, table + narrow))
    for name in NAMES:
        before, after = wide.strictest(name), both.strictest(name)
        if before is not None:
            assert after is not None
            assert stricter(name, before.value, after.value) == after.value


@given(rows(), st.sampled_from(list(Mode)))
def test_each_count_has_at_most_one_limit(table: list[RiskLimit], mode: Mode) -> None:
    held = effective(table, mode, ACCOUNT, STRATEGY, SYMBOL)
    for name in NAMES:
        groups = [limit.scope in (Scope.STRATEGY, Scope.SYMBOL) and limit.scope for limit in held.counted(name)]
        assert len(groups) == len(set(groups))


def test_live_starts_small_and_every_mode_is_protected() -> None:
    live = effective([], Mode.LIVE, ACCOUNT, "", SYMBOL)
    told = {name: limit.value for name in NAMES if (limit := live.strictest(name)) is not None}
    assert (told["max_lots"], told["max_orders_per_day"], told["max_orders_per_second"]) == (1, 20, 5)
    assert set(NAMES) - set(told) == {"max_quantity"}
    for mode in Mode:
        limits = effective([], mode, ACCOUNT, "", SYMBOL)
        for name in ("price_collar_percent", "repeat_cooldown_seconds", "max_notional_rupees"):
            limit = limits.strictest(name)
            assert limit is not None
            assert limit.value > 0


def test_a_limit_says_whose_it_is() -> None:
    table = [RiskLimit(scope=Scope.ACCOUNT, scope_key=ACCOUNT, max_notional_rupees=Decimal(5))]
    limits = effective(table, Mode.LIVE, ACCOUNT, STRATEGY, SYMBOL)
    notional, lots = limits.strictest("max_notional_rupees"), limits.strictest("max_lots")
    assert notional is not None
    assert lots is not None
    assert (notional.of, lots.of) == ("account breeze/default", "the installation's defaults")
