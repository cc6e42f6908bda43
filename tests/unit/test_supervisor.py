"""The process tree: order, restarts, and nothing left behind. Real processes, no Django."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mcube import guardian
from mcube.environment import CHECKOUT
from mcube.supervisor import Process, StartFailed, Supervisor

#: Says its pid in a file, starts a child of its own, and waits to be ended.
FAMILY = """
import os, pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
target = pathlib.Path(sys.argv[1])
draft = target.with_suffix(".draft")
draft.write_text(f"{os.getpid()} {child.pid}")
draft.replace(target)
signal.pause()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY


def until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if condition():
            return True
        pause.wait(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: list[int]) -> bool:
    """A killed process may take a moment to disappear."""
    return until(lambda: all(is_gone(pid) for pid in pids))


class Tree:
    """A supervisor and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(logs=folder / "logs", tell=self.said.append)

    def process(self, name: str, code: str = FAMILY, *, stage: int = 0, stop_seconds: float = 5.0) -> Process:
        return Process(
            name=name,
            command=(sys.executable, "-S", "-c", code, str(self.folder / name)),
            is_ready=(self.folder / name).exists,
            stage=stage,
            stop_seconds=stop_seconds,
            ready_seconds=20.0,
        )

    def pids(self, name: str) -> list[int]:
        return [int(word) for word in (self.folder / name).read_text().split()]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    yield made
    made.supervisor.stop()


def test_a_stage_starts_when_the_one_before_is_ready(tree: Tree) -> None:
    seen: list[str] = []
    first, second = tree.process("first"), tree.process("second", stage=1)
    tree.supervisor.start([second, first], on_ready=lambda process: seen.append(process.name))
    assert seen == ["first", "second"]


def test_stopping_ends_grandchildren_too(tree: Tree) -> None:
    tree.supervisor.start([tree.process("one"), tree.process("two", stage=1)])
    pids = tree.pids("one") + tree.pids("two")
    assert len(pids) == 4
    tree.supervisor.stop()
    assert all_gone(pids)
    assert tree.said == []


def test_a_process_that_ignores_its_end_is_killed_and_named(tree: Tree) -> None:
    tree.supervisor.start([tree.process("stubborn", STUBBORN, stop_seconds=0.3)])
    pids = tree.pids("stubborn")
    tree.supervisor.stop()
    assert all_gone(pids)
    assert any("stubborn did not end" in line for line in tree.said)


def test_a_crashed_process_comes_back_and_it_is_said(tree: Tree) -> None:
    tree.supervisor.start([tree.process("worker")])
    old = tree.pids("worker")
    (tree.folder / "worker").unlink()
    os.kill(old[0], signal.SIGKILL)
    assert until((tree.folder / "worker").exists)
    assert tree.pids("worker")[0] != old[0]
    assert all_gone(old)
    assert any(line.startswith("worker ended by SIGKILL (log: ") for line in tree.said)
    assert until(lambda: any("worker is started again" in line for line in tree.said))


def test_a_process_that_dies_while_starting_fails_the_start_with_its_last_words(tree: Tree) -> None:
    good = tree.process("good")
    bad = tree.process("bad", "raise SystemExit('MCUBE_MODE: no such mode.')", stage=1)
    with pytest.raises(StartFailed, match=r"bad ended while starting with status 1: MCUBE_MODE: no such mode\."):
        tree.supervisor.start([good, bad])
    assert all_gone(tree.pids("good"))


def test_last_words_in_json_are_told_as_their_event(tree: Tree) -> None:
    worker = tree.process("worker", """print('{"level": "error", "event": "no queue"}'); raise SystemExit(3)""")
    with pytest.raises(StartFailed, match=r"worker ended while starting with status 3: no queue \(log: "):
        tree.supervisor.start([worker])


def test_a_process_that_never_gets_ready_fails_the_start(tree: Tree) -> None:
    slow = Process(
        name="slow",
        command=(sys.executable, "-S", "-c", "import signal; signal.pause()"),
        is_ready=lambda: False,
        ready_seconds=0.2,
    )
    with pytest.raises(StartFailed, match="slow was not ready after 0 seconds"):
        tree.supervisor.start([slow])


def test_a_paused_process_is_down_for_the_while_and_not_called_a_crash(tree: Tree) -> None:
    tree.supervisor.start([tree.process("queue")])
    old = tree.pids("queue")
    (tree.folder / "queue").unlink()
    with tree.supervisor.paused("queue"):
        assert all_gone(old)
    assert until((tree.folder / "queue").exists)
    assert tree.said == []


SUPERVISING = """
import pathlib, signal, sys
from mcube.supervisor import Process, Supervisor
folder, code = pathlib.Path(sys.argv[1]), sys.argv[2]
supervisor = Supervisor(logs=folder / "logs", tell=print)
supervisor.start([
    Process(name=name, command=(sys.executable, "-S", "-c", code, str(folder / name)), is_ready=(folder / name).exists)
    for name in ("one", "two")
])
(folder / "up").touch()
signal.pause()
"""


def test_killing_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    running = subprocess.Popen([sys.executable, "-c", SUPERVISING, str(tmp_path), FAMILY], cwd=CHECKOUT)
    assert until((tmp_path / "up").exists)
    pids = [int(word) for name in ("one", "two") for word in (tmp_path / name).read_text().split()]
    running.kill()
    running.wait()
    assert all_gone(pids), "the guardian left processes running"


def test_the_guardian_forgets_groups_that_ended() -> None:
    assert guardian.read_groups(["+11\n", "+12\n", "-11\n", "+13\n", "-99\n"]) == [12, 13]
