"""The project's own Python files, read once."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mcube.environment import CHECKOUT

PACKAGES = ("brokers", "credentials", "mcube", "tasks")
ADAPTERS = Path("brokers/adapters")


@dataclass(frozen=True, kw_only=True)
class Source:
    #: Relative to the checkout.
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")


@cache
def tracked_files() -> list[Path]:
    """Every file git has or would take, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    return sorted(name for name in names if (CHECKOUT / name).is_file())


@cache
def production_sources() -> list[Source]:
    """The code that runs, without tests and migrations."""
    return [_read(path) for path in tracked_files() if _is_production(path)]


def _is_production(path: Path) -> bool:
    return (
        path.suffix == ".py"
        and path.parts[0] in PACKAGES
        and "tests" not in path.parts
        and "migrations" not in path.parts
    )


def _read(path: Path) -> Source:
    text = (CHECKOUT / path).read_text()
    return Source(path=path, text=text, tree=ast.parse(text, filename=str(path)))
