"""Runs every test on the embedded servers, then what touches servers again on PostgreSQL and Redis, if they are there.

``python -m tests [pytest options]``. What starts whole installations runs alone; the rest on two processes. A short
chaos run comes between; the long one is a command of its own. The first run that fails ends it, and the last is pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.environment import real_servers

ACCEPTANCE = "tests/acceptance"
#: What brings its own servers, whichever the run has.
WITH_OWN_SERVERS = (
    "celery_setup",
    "compose",
    "demo",
    "live_start",
    "queue_outage",
    "read_slots",
    "redis_tls",
    "without_sdks",
)
NOT_AGAIN = [f"--ignore={ACCEPTANCE}/test_{name}.py" for name in WITH_OWN_SERVERS]
#: What touches neither rows nor the queue is the same on any server.
ON_SERVERS = (
    *("tests/integration", "tests/contract/test_faults_of_peers.py", "tests/contract/test_lost_answers.py"),
    *("--ignore-glob", "tests/integration/test_simulator_*"),
)
TWO_PROCESSES = ("--numprocesses", "2", "--dist", "loadfile")


def main(options: list[str]) -> int:
    """The status of the first run that failed, or 0."""
    runs = [
        ("embedded", ("pytest", *TWO_PROCESSES, "--ignore", ACCEPTANCE, *options)),
        ("embedded", ("tests.chaos",)),
        ("embedded", ("pytest", ACCEPTANCE, *options)),
    ]
    if real_servers() is None:
        print("PostgreSQL and Redis are neither configured nor at their standard ports: no second run.", flush=True)
    else:
        runs.append(("real", ("pytest", *TWO_PROCESSES, *ON_SERVERS, *options)))
        runs.append(("real", ("pytest", ACCEPTANCE, *NOT_AGAIN, *options)))
    for servers, module in runs:
        command = [sys.executable, "-m", *module]
        status = subprocess.run(command, env=os.environ | {"MCUBE_TEST_SERVERS": servers}, check=False).returncode
        if status:
            return status
    return 0


sys.exit(main(sys.argv[1:]))
