"""What must not be in the repository: places of one machine, registry hosts, private keys, large files."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_the_lock_pins_every_package_by_hash() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    packages = re.findall(r"^[A-Za-z0-9._-]+(?:\[[a-z,]+\])?==\S+.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert len(packages) > 80
    assert not [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package]
