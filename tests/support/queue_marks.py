"""The files through which a test and the tasks of ``queue_app`` speak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.processes import Child

#: Starts a worker of ``queue_app`` on a transport, ``mcube`` or ``kombu``, with so many slots.
WorkerOn = Callable[..., Child]


class Marks:
    """What the tasks of ``queue_app`` wrote: who started how often, who ended; and what lets them go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def count(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text()) if path.exists() else 0

    def let_go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()
