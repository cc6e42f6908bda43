"""How much of a processor the machine gave, measured beside a run: other work on it is no fault of the product's.

    python -m tests.chaos.machine FILE

Once a second it works for a moment and writes how long that took. ``share`` is the part of a processor it was given.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

#: Processor time of one moment of work, and the pause between two.
WORK_SECONDS = 0.03
PAUSE_SECONDS = 1.0


def measure() -> dict[str, float]:
    """One moment of work."""
    began_at, began, worked = time.time(), time.monotonic(), time.process_time()
    while time.process_time() - worked < WORK_SECONDS:
        pass
    share = (time.process_time() - worked) / (time.monotonic() - began)
    return {"wall_at": began_at, "share": min(share, 1.0)}


def main() -> None:
    with Path(sys.argv[1]).open("a") as log:
        while True:
            line = measure()
            time.sleep(PAUSE_SECONDS)
            # How long this share is taken for: what a sleeper is late by is lost as well.
            line["seconds"] = time.time() - line["wall_at"]
            log.write(json.dumps(line) + "\n")
            log.flush()


if __name__ == "__main__":
    main()
