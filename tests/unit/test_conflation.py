"""A queue that is in order while short, and holds the newest of each key once it is long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brokers.conflation import ConflatingQueue


def drained(queue: ConflatingQueue[int]) -> list[int]:
    found = []
    while (item := queue.take()) is not None:
        found.append(item)
    return found


def test_a_short_queue_keeps_everything_in_order() -> None:
    queue = ConflatingQueue[int](10)
    for number in range(10):
        queue.put("same", number)
    assert drained(queue) == list(range(10))
    assert queue.take_replaced() == 0


def test_a_long_queue_keeps_the_newest_in_the_place_of_the_oldest() -> None:
    queue = ConflatingQueue[int](2)
    for key, number in (("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)):
        queue.put(key, number)
    assert (len(queue), queue.take_replaced(), queue.take_replaced()) == (4, 1, 0)
    assert drained(queue) == [1, 2, 5, 4]
    # Once it was empty it is short again.
    queue.put("a", 6)
    queue.put("a", 7)
    assert drained(queue) == [6, 7]


@given(limit=st.integers(1, 5), steps=st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=60).filter(any))
def test_no_key_goes_back_in_time_and_none_loses_its_newest(limit: int, steps: list[str | None]) -> None:
    queue = ConflatingQueue[tuple[str, int]](limit)
    taken: list[tuple[str, int]] = []
    put = 0
    for number, key in enumerate(steps):
        if key is None:
            item = queue.take()
            taken += [item] if item else []
        else:
            put += 1
            queue.put(key, (key, number))
        assert len(queue) <= limit + 3
    while item := queue.take():
        taken.append(item)
    assert len(taken) + queue.take_replaced() == put
    for key in "abc":
        own = [number for name, number in taken if name == key]
        assert own == sorted(own)
        assert own[-1:] == [number for number, name in enumerate(steps) if name == key][-1:]
