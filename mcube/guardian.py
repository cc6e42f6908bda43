"""Ends what a supervisor leaves behind when it is killed.

Started by ``mcube.supervisor`` with a pipe on its standard input: ``+123`` notes a process group, ``-123``
forgets it. When the pipe closes, the supervisor is gone, whatever became of it: every group still noted is
asked to end, and killed after ``GRACE_SECONDS``. Standard library only; it starts in a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05


def read_groups(lines: Iterable[str]) -> list[int]:
    """The groups still noted when the lines end, oldest first."""
    groups: list[int] = []
    for line in lines:
        sign, number = line[0], int(line[1:])
        if sign == "+":
            groups.append(number)
        elif number in groups:
            groups.remove(number)
    return groups


def end(groups: list[int]) -> None:
    """Ask the leaders to end, newest first; kill each group when its leader has ended, or its time is over."""
    for leader in reversed(groups):
        _signal(os.kill, leader, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    pause = threading.Event()
    while groups and time.monotonic() < deadline:
        for group in [leader for leader in groups if not _is_alive(leader)]:
            _signal(os.killpg, group, signal.SIGKILL)
            groups.remove(group)
        pause.wait(POLL_SECONDS)
    for group in groups:
        _signal(os.killpg, group, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False  # ended, or the number belongs to somebody else by now
    return True


def _signal(send: Callable[[int, int], None], group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        send(group, number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end(read_groups(sys.stdin))
