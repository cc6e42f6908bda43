"""Real masters of more than 100,000 rows load fast and small.

Here, since what runs beside a process on the same core costs it up to half as much processor time again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import real_data
from tests.support.environment import USED
from tests.support.processes import CHECKOUT

#: What the yardstick takes where the times below are promised.
YARDSTICK_SECONDS = 1.28

pytestmark = [
    pytest.mark.timeout(300),
    real_data.needed(real_data.BREEZE, real_data.KOTAKNEO),
]


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """An empty database, SQLite or on the server that the tests run on."""
    if USED == "embedded":
        yield f"sqlite:///{tmp_path / 'full.sqlite3'}"
        return
    import psycopg

    name, url = f"mcube_full_load_{uuid.uuid4().hex[:12]}", urlsplit(os.environ["DATABASE_URL"])
    with psycopg.connect(url._replace(path="/postgres").geturl(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield url._replace(path=f"/{name}").geturl()
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_real_masters_load_in_seconds_and_little_memory(database_url: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")}
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.full_load", str(real_data.FOLDER)],
        cwd=CHECKOUT,
        env=environment | {"DATABASE_URL": database_url, "MCUBE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    cost = json.loads(run.stdout.splitlines()[-1])
    sys.stdout.write(f"{database_url.split(':')[0]}: {cost}\n")
    assert cost["rows"] > 100_000
    assert cost["merged"] > 30_000
    # One machine has been seen to need 16 s and 26 s within an hour, and as much longer for the yardstick.
    slower = max(cost["yardstick_seconds"] / YARDSTICK_SECONDS, 1.0)
    assert cost["cpu_seconds"] < 20 * slower
    assert cost["peak_mb"] < 400
    assert cost["resolve_ms"] < 1 * slower
    assert cost["find_ms"] < 1 * slower
    assert cost["again_ms"] < 0.1 * slower
    assert cost["searches"] > 1_000
    assert cost["search_p99_ms"] < 20 * slower
    assert cost["search_missed"] == 0
    assert cost["symbols"] > 30_000
    assert cost["symbols_built_otherwise"] == 0
