"""Who sends: what an attempt says of the process that armed it, so that another can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

#: Attempts that this process is sending now, by their keys.
_under_way: set[int] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    #: The host's name and its space of process ids, since those of a container mean nothing outside it.
    host: str
    #: Changes with every boot of the machine.
    boot_id: str
    pid: int
    #: When that process started: clock ticks since boot, or milliseconds since the epoch without /proc.
    pid_start: int


def this_process() -> Sender:
    """The running process; asked again after a fork, it answers for the child."""
    return _sender(os.getpid())


@contextmanager
def sending(attempt_id: int) -> Iterator[None]:
    """Around the sending of an attempt: inside, its own process takes it for alive."""
    _under_way.add(attempt_id)
    try:
        yield
    finally:
        _under_way.discard(attempt_id)


def is_sending(attempt_id: int) -> bool:
    """Whether this very process is sending an attempt now."""
    return attempt_id in _under_way


def started(pid: int) -> int | None:
    """When a process started, as in :class:`Sender`; None when there is none, or only what its parent has not reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 1000)
    except psutil.NoSuchProcess:
        return None


@lru_cache(maxsize=4)
def _sender(pid: int) -> Sender:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot_id, space = str(int(psutil.boot_time())), ""
    return Sender(host=f"{socket.gethostname()[:48]}/{space}", boot_id=boot_id, pid=pid, pid_start=started(pid) or 0)
