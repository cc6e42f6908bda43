"""The request log: one JSON line for every order request that reached the exchange, whatever became of it.

Kept on demand only. With the truth log it tells what was asked for, how often and when its first byte came.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO


class RequestLog:
    """``MCUBE_HOME/simulator/requests.jsonl``, flushed line by line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, began_at: float, offset: timedelta, **fields: object) -> None:
        """Add a request whose first byte came at ``began_at``, an epoch of the wall; ``offset`` leads to market time."""
        wall = datetime.fromtimestamp(began_at, UTC)
        line = {"wall_at": wall.isoformat(), "market_at": (wall + offset).isoformat(), **fields}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
