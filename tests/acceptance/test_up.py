"""`manage.py up` as a person runs it: one process tree that starts, mends itself, and leaves nothing behind."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from brokers.discovery import specs
from mcube import processes
from tests.support.environment import USED
from tests.support.processes import CHECKOUT, Child, clean_environment, free_port, wait_for
from tests.support.stack import _on_database, drop_database, make_database

START_SECONDS = 120.0


class Installation:
    """A folder and ports of its own; on real servers a database and a queue of its own as well."""

    def __init__(self, home: Path) -> None:
        self.home = home
        first = free_port(4 + len(specs()))
        self.web, self.flower, self.queue, self.simulator = first, first + 1, first + 2, first + 3
        self.environment = {
            "MCUBE_HOME": str(home),
            "MCUBE_WEB_PORT": str(self.web),
            "MCUBE_FLOWER_PORT": str(self.flower),
            "MCUBE_REDIS_PORT": str(self.queue),
            "MCUBE_SIMULATOR_PORT": str(self.simulator),
            "MCUBE_FLOWER_PASSWORD": secrets.token_urlsafe(12),
        }
        if USED == "real":
            self.environment["DATABASE_URL"] = make_database(os.environ["DATABASE_URL"])
            self.environment["MCUBE_REDIS_URL"] = _on_database(os.environ["MCUBE_REDIS_URL"])

    def up(self, log: Path) -> Child:
        child = Child("up", [sys.executable, "manage.py", "up"], log=log, environment=self.environment)
        child.start()
        return child

    def refused(self, **changes: str) -> str:
        """What `up` says when it does not start; it ends with status 1 and one sentence."""
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=CHECKOUT,
            env=clean_environment() | self.environment | changes,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.removeprefix("CommandError: ")

    def remove(self) -> None:
        if USED == "real":
            drop_database(os.environ["DATABASE_URL"], self.environment["DATABASE_URL"])


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "home")
    yield made
    made.remove()


def family(pid: int) -> dict[int, str]:
    """Every process below this one, and its command line."""
    return {child.pid: " ".join(child.cmdline()) for child in psutil.Process(pid).children(recursive=True)}


def is_gone(pid: int, command: str) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or " ".join(process.cmdline()) != command
    except psutil.NoSuchProcess:
        return True


def fetch(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.timeout(300)
def test_up_starts_everything_mends_a_crash_and_leaves_no_process(installation: Installation, tmp_path: Path) -> None:
    up = installation.up(tmp_path / "up.log")
    try:
        wait_for(
            lambda: "Ctrl-C stops" in up.read_log() or not up.is_running(), "up to be ready", seconds=START_SECONDS
        )
        said = up.read_log()
        for name in (
            *(f"worker-{queue}" for queue in processes.queues()),
            "beat",
            "feeds",
            "flower",
            "web",
            "simulators",
        ):
            assert f"{name} is ready" in said
        assert said.count("shown once") == 1
        assert fetch(f"http://127.0.0.1:{installation.web}/ready") == 200
        assert fetch(f"http://127.0.0.1:{installation.flower}/api/workers") == 401
        assert "runs already" in installation.refused()

        tree = family(up.pid)
        assert not [line for line in tree.values() if installation.environment["MCUBE_FLOWER_PASSWORD"] in line]
        victim = next(pid for pid, line in tree.items() if f"worker --queues {processes.OWN_QUEUE} " in line)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: f"worker-{processes.OWN_QUEUE} is started again" in up.read_log(), "the worker to come back")
        assert f"worker-{processes.OWN_QUEUE} ended by SIGKILL" in up.read_log()

        tree |= family(up.pid)
        os.kill(up.pid, signal.SIGINT)
        wait_for(lambda: not up.is_running(), "up to end", seconds=60)
        assert "Everything is stopped." in up.read_log()
        assert up.stop() == 0
        wait_for(lambda: all(is_gone(pid, line) for pid, line in tree.items()), "every process to be gone", seconds=5)
    finally:
        up.stop(60)


@pytest.mark.timeout(300)
def test_killing_up_leaves_no_process(installation: Installation, tmp_path: Path) -> None:
    up = installation.up(tmp_path / "up.log")
    try:
        wait_for(lambda: "simulators is ready" in up.read_log(), "up to have started something", seconds=START_SECONDS)
        tree = family(up.pid)
        assert len(tree) >= 2
        os.kill(up.pid, signal.SIGKILL)
        wait_for(lambda: all(is_gone(pid, line) for pid, line in tree.items()), "every process to be gone", seconds=30)
    finally:
        up.stop(60)


def test_a_taken_port_is_one_sentence_and_nothing_starts(installation: Installation) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", installation.flower))
        listener.listen()
        said = installation.refused()
    assert said == (
        f"Port {installation.flower} is taken; stop what uses it, or set MCUBE_FLOWER_PORT to a free port and start again.\n"
    )
    assert not (installation.home / "mcube.sqlite3").exists()
    assert not (installation.home / "logs").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCUBE_MODE", "lvie"),
        ("MCUBE_WEB_PORT", "70000"),
        ("DATABASE_URL", "mysql://127.0.0.1/x"),
        ("MCUBE_REDIS_URL", "127.0.0.1:6379"),
        ("MCUBE_ENCRYPTION_KEYS", "short"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_starts(installation: Installation, name: str, value: str) -> None:
    said = installation.refused(**{name: value})
    assert said.startswith(f"{name}:")
    assert len(said.splitlines()) == 1


def test_a_server_that_does_not_answer_is_named(installation: Installation) -> None:
    said = installation.refused(MCUBE_REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert said.startswith("MCUBE_REDIS_URL: ")
    assert "does not answer" in said
    assert "secret" not in said
    said = installation.refused(DATABASE_URL=f"postgres://mcube:secret@127.0.0.1:{free_port()}/mcube")
    assert said.startswith("DATABASE_URL: ")
    assert "secret" not in said
