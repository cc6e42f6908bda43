"""`make demo`: one scripted session on a stack of its own, judged by its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import CHECKOUT, Child, clean_environment, wait_for

#: What a person is promised, installation aside.
PROMISED_SECONDS = 90


@pytest.mark.timeout(240)
def test_the_demo_holds_and_needs_nothing_of_the_installation_beside_it(tmp_path: Path) -> None:
    # The installation's own database and queue must not be touched, nor even be there.
    beside = {"MCUBE_HOME": str(tmp_path), "MCUBE_WEB_PORT": "1", "MCUBE_REDIS_PORT": "2", "MCUBE_SIMULATOR_PORT": "3"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=CHECKOUT,
        env=clean_environment() | beside,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Everything held." in done.stdout
    assert "UNKNOWN" in done.stdout
    assert " NO " not in done.stdout
    assert not (tmp_path / "mcube.sqlite3").exists()
    print(f"The demo took {time.monotonic() - began:.0f} s of the {PROMISED_SECONDS} s promised.")


@pytest.mark.timeout(120)
def test_two_demos_at_once_are_refused_and_ctrl_c_ends_one(tmp_path: Path) -> None:
    home = {"MCUBE_HOME": str(tmp_path)}
    demo = Child("demo", [sys.executable, "manage.py", "demo"], log=tmp_path / "demo.log", environment=home)
    demo.start()
    try:
        wait_for(lambda: "queue is ready" in demo.read_log(), "the demo to have started something", seconds=60)
        # However long the second one takes to start, the first does not end meanwhile.
        os.kill(demo.pid, signal.SIGSTOP)
        tree = [child.pid for child in psutil.Process(demo.pid).children(recursive=True)]
        second = subprocess.run(
            [sys.executable, "manage.py", "demo"],
            cwd=CHECKOUT,
            env=clean_environment() | home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 1
        assert "A demo runs already" in second.stderr
        os.kill(demo.pid, signal.SIGCONT)
        os.kill(demo.pid, signal.SIGINT)
        wait_for(lambda: not demo.is_running(), "the demo to end", seconds=60)
        assert demo.stop() == 1
        wait_for(lambda: not any(map(psutil.pid_exists, tree)), "every process to be gone", seconds=5)
    finally:
        demo.stop(60)
