"""Whoever moves a plan on, and however many at once, each of its orders is written once and sent once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.plan_driver import PROCESSES, SLICES
from tests.support import stack
from tests.support.environment import USED
from tests.support.processes import CHECKOUT


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """A database that several processes may use at once."""
    if USED != "real":
        yield f"sqlite:///{tmp_path / 'plans.sqlite3'}"
        return
    server = os.environ["DATABASE_URL"]
    url = stack.make_database(server)
    yield url
    stack.drop_database(server, url)


def test_processes_that_do_the_same_at_once_do_it_once(tmp_path: Path, database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("plan_driver.py")), str(tmp_path)],
        env={
            **os.environ,
            "MCUBE_HOME": str(tmp_path / "home"),
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(CHECKOUT),
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])

    assert result["statuses"] == [0] * PROCESSES, done.stderr
    assert (result["plans"], result["orders"]) == (2, 2 * SLICES + 1)
    assert result["recorded"] == [result["recorded"][0]] * PROCESSES
    for what in ("released", "sent"):
        assert len(result[what]) == len(set(result[what])) == 2 * SLICES + 1, result
