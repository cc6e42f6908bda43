"""Who armed an attempt, so that it can be told later whether that process still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    host: str
    #: Changes with every boot of the machine.
    boot_id: str
    pid: int
    #: Milliseconds since the epoch at which that process started.
    pid_start: int


def this_process() -> Sender:
    """The running process; asked again after a fork, it answers for the child."""
    return _sender(os.getpid())


@lru_cache(maxsize=4)
def _sender(pid: int) -> Sender:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = str(int(psutil.boot_time()))
    return Sender(
        host=socket.gethostname(),
        boot_id=boot_id,
        pid=pid,
        pid_start=int(psutil.Process(pid).create_time() * 1000),
    )
