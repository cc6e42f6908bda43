"""Runs every test on the embedded servers, then what touches servers again on PostgreSQL and Redis, if they are there.

``python -m tests [pytest options]``
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.environment import real_servers

ON_SERVERS = ("tests/integration", "tests/contract", "tests/acceptance")


def main(options: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *options]
    status = subprocess.run(command, env=os.environ | {"MCUBE_TEST_SERVERS": "embedded"}, check=False).returncode
    if status:
        return status
    if real_servers() is None:
        print("PostgreSQL and Redis are neither configured nor at their standard ports: no second run.")
        return 0
    return subprocess.run(
        [*command, *ON_SERVERS], env=os.environ | {"MCUBE_TEST_SERVERS": "real"}, check=False
    ).returncode


sys.exit(main(sys.argv[1:]))
