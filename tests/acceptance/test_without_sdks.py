"""An installation without any broker's SDK: it boots, migrates and says which package is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brokers.discovery import specs
from tests.support.processes import CHECKOUT, clean_environment

ABSENT = sorted({package for spec in specs().values() for package in spec.sdk_packages} | {"numpy", "pandas"})

#: Runs first in each process: the absent packages are found nowhere on the path.
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

absent, find = {ABSENT!r}, PathFinder.find_spec


@classmethod
def find_spec(cls, name, *rest):
    return None if name.partition(".")[0] in absent else find(name, *rest)


PathFinder.find_spec = find_spec
"""
MANAGE = "import runpy; sys.argv[0] = 'manage.py'; runpy.run_path('manage.py', run_name='__main__')"
ABOUT_PANDAS = "tests/unit/test_calendar.py::test_the_weekday_holidays_agree_with_pandas_market_calendars"
PYTEST = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def run(home: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *arguments],
        cwd=CHECKOUT,
        env=clean_environment() | {"MCUBE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("package", ABSENT)
def test_the_packages_are_absent_in_these_processes(package: str, tmp_path: Path) -> None:
    done = run(tmp_path, f"import {package}")
    assert f"No module named '{package}'" in done.stderr


def test_the_system_boots_migrates_and_names_the_missing_package(tmp_path: Path) -> None:
    for command in ("check", "migrate", "seed_simulated"):
        done = run(tmp_path, MANAGE, command)
        assert done.returncode == 0, done.stderr
    for spec in specs().values():
        asked = f"from brokers.interfaces import BrokerFactory; BrokerFactory.get_broker({spec.name!r})"
        done = run(tmp_path, MANAGE, "shell", "--no-imports", "-c", asked)
        assert (
            f"SDKMissing: The package of {spec.verbose_name} is not installed; install the extra '{spec.extra}': "
            f"pip install '.[{spec.extra}]'."
        ) in done.stderr
    done = run(tmp_path, MANAGE, "doctor")
    assert done.returncode == 1
    assert all(f"FAIL  SDKs: {spec.verbose_name}" in done.stdout for spec in specs().values())


def test_the_unit_tests_need_no_sdk(tmp_path: Path) -> None:
    done = run(tmp_path, PYTEST, "tests/unit", "-q", "-p", "no:xdist", "--deselect", ABOUT_PANDAS)
    assert done.returncode == 0, done.stdout + done.stderr
