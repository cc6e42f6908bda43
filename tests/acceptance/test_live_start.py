"""A live installation's worker closes the barrier of its broker at its start. No broker is reachable from here."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from brokers.discovery import specs
from mcube import processes
from tests.support.processes import CHECKOUT, Child, Valkey, clean_environment, wait_for

SET_UP = """
import django; django.setup()
from django.core.management import call_command
from brokers.models import BrokerAccount, StartupBarrier
call_command("migrate", verbosity=0)
for broker in {brokers}:
    account = BrokerAccount.objects.create(broker=broker, is_live_enabled=True)
    StartupBarrier.objects.create(account=account)
"""


@dataclass
class Installation:
    """Its database is a file that the test reads beside its processes."""

    home: Path
    environment: dict[str, str]

    def passed(self) -> dict[str, bool]:
        rows = self._do(
            "SELECT broker, passed_at IS NOT NULL FROM brokers_startupbarrier barrier "
            "JOIN brokers_brokeraccount account ON account.id = barrier.account_id"
        )
        return {broker: bool(passed) for broker, passed in rows}

    def pass_all(self) -> None:
        self._do("UPDATE brokers_startupbarrier SET passed_at = '2026-11-23 04:00:00', checks = '[1]'")

    def _do(self, statement: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.home / "mcube.sqlite3", timeout=30)) as database, database:
            return database.execute(statement).fetchall()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    queue = Valkey(tmp_path / "queue")
    queue.start()
    unreachable = {f"MCUBE_{broker.upper()}_URL": "http://127.0.0.1:1" for broker in specs()}
    environment = {
        "DJANGO_SETTINGS_MODULE": "mcube.settings",
        "MCUBE_HOME": str(tmp_path / "home"),
        "MCUBE_REDIS_URL": queue.url,
        "MCUBE_MODE": "live",
        "MCUBE_LIVE_TRADING": "1",
        **unreachable,
    }
    (tmp_path / "home").mkdir()
    subprocess.run(
        [sys.executable, "-c", SET_UP.format(brokers=list(specs()))],
        env=clean_environment() | environment,
        cwd=CHECKOUT,
        check=True,
    )
    yield Installation(tmp_path / "home", environment)
    queue.stop()


def test_a_start_closes_the_barrier_of_its_broker_and_a_new_child_does_not(
    installation: Installation, tmp_path: Path
) -> None:
    broker, other = list(specs())
    installation.pass_all()
    worker = Child(
        "worker", processes.worker(broker), log=tmp_path / "worker.log", environment=installation.environment
    )
    worker.start()
    try:
        wait_for(lambda: "ready." in worker.read_log(), "the worker's start", seconds=60)
        assert installation.passed() == {broker: False, other: True}
        installation.pass_all()
        children = [child.pid for child in psutil.Process(worker.pid).children()]
        os.kill(children[0], signal.SIGKILL)
        wait_for(
            lambda: (
                len(new := {child.pid for child in psutil.Process(worker.pid).children()}) == len(children)
                and children[0] not in new
            ),
            "another child in its place",
            seconds=60,
        )
        assert installation.passed() == {broker: True, other: True}
    finally:
        worker.stop()
