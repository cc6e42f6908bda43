"""What is asked for is cut into orders that the exchange takes: all of it, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.domain.errors import OrderDenied
from brokers.plans.recording import child_key
from brokers.plans.slicing import sliced

LOTS = st.integers(1, 100)


@given(
    lot=st.integers(1, 500), lots=st.integers(1, 2000), most=st.none() | LOTS, freeze=st.none() | st.integers(1, 20_000)
)
def test_slices_are_all_of_it_in_whole_lots_and_none_is_too_large(
    lot: int, lots: int, most: int | None, freeze: int | None
) -> None:
    quantity = lot * lots
    try:
        slices = sliced(quantity, lot_size=lot, freeze_quantity=freeze, lots_per_order=most)
    except OrderDenied:
        assert freeze is not None
        assert freeze < lot
        return
    assert sum(slices) == quantity
    assert all(each > 0 and each % lot == 0 for each in slices)
    assert all(freeze is None or each <= freeze for each in slices)
    assert all(most is None or each <= most * lot for each in slices)
    assert sorted(slices, reverse=True) == slices
    assert len(set(slices[:-1])) <= 1


@given(lot=st.integers(2, 500), quantity=st.integers(-1000, 100_000))
def test_what_is_not_whole_lots_is_refused(lot: int, quantity: int) -> None:
    if quantity > 0 and quantity % lot == 0:
        assert sliced(quantity, lot_size=lot) == [quantity]
        return
    with pytest.raises(OrderDenied, match="whole number of lots"):
        sliced(quantity, lot_size=lot)


def test_a_strangle_of_167_lots_is_nine_orders_a_leg() -> None:
    assert sliced(167 * 65, lot_size=65, freeze_quantity=1800, lots_per_order=20) == [1300] * 8 + [7 * 65]


def test_the_freeze_quantity_itself_may_be_sent() -> None:
    assert sliced(1800, lot_size=75, freeze_quantity=1800) == [1800]
    assert sliced(1875, lot_size=75, freeze_quantity=1800) == [1800, 75]


@given(keys=st.lists(st.tuples(st.text(min_size=1, max_size=67), st.integers(0, 499)), unique=True, max_size=30))
def test_the_keys_of_slices_fit_and_differ(keys: list[tuple[str, int]]) -> None:
    made = [child_key(key, index) for key, index in keys]
    assert all(len(each) <= 64 for each in made)
    assert len(set(made)) == len(made)
