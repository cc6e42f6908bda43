"""The table of faults names tests that are there, and every one of them."""

from __future__ import annotations

import re

from mcube.environment import CHECKOUT

FILES = ("tests/contract/test_faults_of_peers.py", "tests/acceptance/test_faults_of_peers_processes.py")


def test_the_table_of_faults_names_every_test_and_no_other() -> None:
    named = re.findall(r"`(test_\w+)`", (CHECKOUT / "docs" / "faults.md").read_text())
    written = [name for path in FILES for name in re.findall(r"^def (test_\w+)", (CHECKOUT / path).read_text(), re.M)]
    assert sorted(named) == sorted(written)
