"""What must not be in the repository: places of one machine, registry hosts, private keys, large files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcube.environment import CHECKOUT
from tests.architecture.sources import tracked_files

LARGEST_BYTES = 500_000
#: Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(
        "|".join(("/" + "work/", "/" + "root/", "/" + "home/[a-z]+/", "/" + "Users/[a-z]"))
    ),
    "a package registry's host": re.compile(
        "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "--(extra-)?index" + "-url "))
    ),
    "a private key": re.compile("BEGIN [A-Z ]*PRIVATE" + " KEY"),
}


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        content = (CHECKOUT / path).read_bytes()
        if b"\0" not in content:
            found.append((path, content.decode()))
    return found


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    found = [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: {what}: {match.group()}"
        for path, text in texts()
        for what, pattern in FORBIDDEN.items()
        if (match := pattern.search(text))
    ]
    assert not found, found


def test_no_file_is_large() -> None:
    large = {str(path): size for path in tracked_files() if (size := (CHECKOUT / path).stat().st_size) > LARGEST_BYTES}
    assert not large


def pinned(lock: str) -> dict[str, str]:
    """What a lock installs: its name and version, and the rest of its lines."""
    entries = re.findall(
        r"^([A-Za-z0-9._-]+(?:\[[a-z,]+\])?==\S+)(.*?)(?=^\S|\Z)",
        (CHECKOUT / lock).read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return dict(entries)


@pytest.mark.parametrize(("lock", "packages"), [("requirements.lock", 80), ("requirements-run.lock", 60)])
def test_a_lock_pins_every_package_by_hash(lock: str, packages: int) -> None:
    found = pinned(lock)
    assert len(found) > packages
    assert not [name for name, lines in found.items() if "--hash=sha256:" not in lines]


def test_an_image_holds_what_was_tested_and_no_tool_of_development() -> None:
    tested, run = pinned("requirements.lock").keys(), pinned("requirements-run.lock").keys()
    assert run <= tested, "run `make lock`"
    development = {name.partition("==")[0] for name in tested - run}
    assert {"pytest", "mypy", "ruff", "hypothesis"} <= development
    assert "requirements-run.lock" in (CHECKOUT / "Dockerfile").read_text()
