"""Beat over real processes: rows on schedule, one tick a slot, and a successor when it dies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from brokers.discovery import specs
from mcube import beat
from tests.support.processes import wait_for
from tests.support.stack import Stack

CADENCE = 2
TAKEOVER_SECONDS = beat.LOCK_SECONDS + 5


@pytest.fixture
def quick_schedule(stack: Stack) -> Iterator[None]:
    """Margins and positions every two seconds, as a person may set them; no beat is left behind."""
    stack.do("set_cadence", name="snapshots", seconds=CADENCE)
    yield
    for name in ("beat", "second-beat"):
        if name in stack.children:
            stack.children[name].stop()


def _taken(stack: Stack, kind: str) -> Counter[str]:
    return Counter(row["account"] for row in stack.do("snapshots", kind=kind) if row["status"] == "OK")


def _ticks(stack: Stack, task: str) -> list[str]:
    """The slots of the ticks that reached the worker, in order."""
    lines = [json.loads(line) for line in stack.children["worker-mcube"].read_log().splitlines() if line[:1] == "{"]
    shown = [
        line["data"]["kwargs"] for line in lines if f"Task {task}[" in line["event"] and "received" in line["event"]
    ]
    return [text.partition("'slot_at': '")[2].partition("'")[0] for text in shown]


@pytest.mark.usefixtures("quick_schedule")
def test_beat_writes_margins_and_positions_of_every_account(stack: Stack) -> None:
    before = {kind: _taken(stack, kind) for kind in ("margin", "position")}
    stack.start_beat()

    for kind in ("margin", "position"):
        for broker in specs():
            account = f"{broker}/default"
            wait_for(
                lambda kind=kind, account=account: _taken(stack, kind)[account] >= before[kind][account] + 2,  # type: ignore[misc]
                f"two rows of {account}'s {kind}",
            )
    rows = stack.do("snapshots", kind="margin")
    assert len({(row["account"], row["slot_at"]) for row in rows}) == len(rows)
    assert all(int(row["slot_at"][17:19]) % CADENCE == 0 for row in rows[-2:])


@pytest.mark.usefixtures("quick_schedule")
def test_a_second_beat_adds_nothing_and_takes_over_when_the_first_is_killed(stack: Stack) -> None:
    task = "tasks.snapshots.schedule"
    first = stack.start_beat()
    wait_for(lambda: beat.holder(stack.redis_url), "the first beat to hold the lock")
    second = stack.start_beat("second-beat")
    wait_for(lambda: "stands by" in second.read_log() or "beat: Starting" in second.read_log(), "the second beat")

    seen = len(_ticks(stack, task))
    wait_for(lambda: len(_ticks(stack, task)) >= seen + 4, "four more ticks")
    slots: list[Any] = _ticks(stack, task)[seen:]
    assert len(set(slots)) == len(slots)
    assert "Sending due task" not in second.read_log()

    holder = beat.holder(stack.redis_url)
    first.kill()
    wait_for(
        lambda: beat.holder(stack.redis_url) not in (None, holder), "the second to take over", seconds=TAKEOVER_SECONDS
    )
    seen = len(_ticks(stack, task))
    wait_for(lambda: len(_ticks(stack, task)) > seen, "the second beat's first tick")
