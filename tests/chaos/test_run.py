"""What a run is made of, without running it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import machine, report
from tests.chaos.checker import VERDICTS
from tests.chaos.labels import LABELS
from tests.chaos.plan import BROKERS, LONG, SHORT, Plan, Wish, accounts_of, wishes
from tests.chaos.storm import Tail
from tests.chaos.strategy import Journal


def plan_of(sizes: dict[str, Any], seed: int = 7) -> Plan:
    content = sizes | {"seed": seed, "database": "sqlite", "visibility_seconds": 180.0}
    return Plan(**content | {"accounts": accounts_of(int(sizes["accounts"]))})


@pytest.fixture(params=[SHORT, LONG], ids=["short", "long"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_of(request.param)


def first(plan: Plan, count: int) -> list[Wish]:
    return list(islice(wishes(plan, BROKERS[0]), count))


def test_the_seed_makes_the_wishes_and_more_of_them_change_none(plan: Plan) -> None:
    assert first(plan, 50) == first(plan, 100)[:50]
    assert first(plan, 50) != first(plan_of(SHORT, seed=8), 50)


def test_absence_can_be_proved_in_the_life_of_every_order_that_may_be_sent_again(plan: Plan) -> None:
    again = {account.name for account in plan.of(BROKERS[0]) if account.resends}
    lives = [wish.lifetime for wish in first(plan, plan.intents + plan.more) if wish.account in again]
    assert min(lives) > plan.visible_within + 30


def test_what_was_violated_missed_or_cut_short_fails_by_its_name() -> None:
    result: dict[str, Any] = {
        "violations": dict.fromkeys(VERDICTS, 0) | {"LOST": 2},
        "points": {label.name: {} for label in LABELS},
        "points_missed": ["wire.body"],
        "trouble": [],
    }
    found = report.checks(result)
    assert len(found) == len(VERDICTS) + len(LABELS) + 1
    assert [name for name, holds in found if not holds] == ["no LOST", "wire.body was hit often enough"]


def test_a_growing_log_is_read_by_whole_lines_each_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"a": 1}\n{"a": ')
    assert tail.read() == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert tail.read() == [{"a": 2}]
    assert tail.read() == []


def test_a_strategy_that_was_killed_goes_on_where_it_was_with_the_order_it_had_chosen(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.finished() == 0
    for number in range(3):
        journal.write("asked", number=number, key=f"k{number}")
        journal.write("target", key=f"k{number}", order_id=f"N{number}", quantity=1)
        if number < 2:
            journal.write("finished", number=number, key=f"k{number}")
    assert journal.finished() == 2
    assert journal.targets()["k2"] == {"order_id": "N2", "quantity": 1}


def test_the_machine_s_share_is_a_part_of_a_processor() -> None:
    assert 0 < machine.measure()["share"] <= 1
