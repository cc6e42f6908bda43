"""One process tree: started in order, watched, restarted, and ended without a remainder.

Every process leads its own group, so that its children are ended with it and a Ctrl-C in the terminal
reaches the supervisor alone. A guardian ends the groups if the supervisor itself is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mcube import guardian

POLL_SECONDS = 0.1
#: Seconds before a process that ended is started again: doubled each time, from the first to the last.
FIRST_BACKOFF, LAST_BACKOFF = 1.0, 30.0
#: A process that ran this long starts its backoff anew.
STEADY_SECONDS = 60.0
#: How much of a log is read to say why a process ended.
TAIL_BYTES = 4096


class StartFailed(Exception):
    """A process did not come up. The message says which, why, and where its log is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """What to run, and how to tell that it works."""

    name: str
    command: tuple[str, ...]
    #: Asked again and again until it says yes; raises nothing.
    is_ready: Callable[[], bool]
    #: On top of the supervisor's own environment.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Processes of one stage start together, when the stage before is ready; stages end in reverse.
    stage: int = 0
    ready_seconds: float = 60.0
    #: From SIGTERM to SIGKILL; more than its longest piece of work.
    stop_seconds: float = 10.0


@dataclass(kw_only=True)
class _Child:
    process: Process
    log: Path
    handle: subprocess.Popen[bytes]
    started: float
    backoff: float = FIRST_BACKOFF
    #: Monotonic time of the next start, while it is down.
    restart_due: float | None = None


class Supervisor:
    """Runs processes. ``tell`` receives one sentence for everything a person should know."""

    def __init__(self, *, logs: Path, tell: Callable[[str], None]) -> None:
        self._logs = logs
        self._tell = tell
        self._children: dict[str, _Child] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._guard = _Guard()
        self._watcher: threading.Thread | None = None

    def start(
        self,
        processes: Sequence[Process],
        *,
        on_ready: Callable[[Process], None] = lambda process: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start everything, stage by stage, and watch over it from then on.

        :raises StartFailed: one did not get ready, or ``interrupted`` said so; nothing is left running.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for stage in sorted({process.stage for process in processes}):
                members = [process for process in processes if process.stage == stage]
                for process in members:
                    self._spawn(process)
                self._await(members, on_ready, interrupted)
        except BaseException:
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End every process, last stage first, within the sum of the stages' longest ``stop_seconds``."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for stage in sorted({child.process.stage for child in self._children.values()}, reverse=True):
                self._end([child for child in self._children.values() if child.process.stage == stage])
            self._children.clear()
            self._guard.close()

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Keep one process down while the block runs, as an outage would, and start it again."""
        with self._lock:
            child = self._children[name]
            self._end([child])
            child.restart_due = float("inf")
        try:
            yield
        finally:
            with self._lock:
                self._respawn(child)

    def _spawn(self, process: Process) -> _Child:
        log = self._logs / f"{process.name}.log"
        if log.exists():
            os.replace(log, log.with_suffix(".log.1"))
        with self._lock:
            child = _Child(process=process, log=log, handle=self._popen(process, log), started=time.monotonic())
            self._children[process.name] = child
        return child

    def _popen(self, process: Process, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            handle = subprocess.Popen(
                process.command,
                env={**os.environ, **process.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard.note(handle.pid)
        return handle

    def _respawn(self, child: _Child) -> None:
        child.handle = self._popen(child.process, child.log)
        child.started, child.restart_due = time.monotonic(), None

    def _await(
        self, members: Sequence[Process], on_ready: Callable[[Process], None], interrupted: Callable[[], bool]
    ) -> None:
        begun = time.monotonic()
        waiting = list(members)
        while waiting:
            for process in list(waiting):
                child = self._children[process.name]
                if child.handle.poll() is not None:
                    raise StartFailed(f"{process.name} ended while starting{_why(child)}")
                if process.is_ready():
                    waiting.remove(process)
                    on_ready(process)
                elif time.monotonic() - begun > process.ready_seconds:
                    raise StartFailed(
                        f"{process.name} was not ready after {process.ready_seconds:.0f} seconds{_why(child)}"
                    )
            if interrupted():
                raise StartFailed("The start was interrupted; everything is stopped.")
            if waiting:
                self._stopping.wait(POLL_SECONDS)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            with self._lock:
                for child in self._children.values():
                    self._look_after(child)

    def _look_after(self, child: _Child) -> None:
        if child.restart_due is not None:
            if time.monotonic() >= child.restart_due:
                self._respawn(child)
                self._tell(f"{child.process.name} is started again.")
        elif child.handle.poll() is not None:
            self._clear(child)
            if time.monotonic() - child.started >= STEADY_SECONDS:
                child.backoff = FIRST_BACKOFF
            child.restart_due = time.monotonic() + child.backoff
            self._tell(f"{child.process.name} ended{_why(child)} It is started again in {child.backoff:.0f} s.")
            child.backoff = min(child.backoff * 2, LAST_BACKOFF)

    def _end(self, children: Sequence[_Child]) -> None:
        """Ask the leaders; kill what is left of their groups when its time is over."""
        begun = time.monotonic()
        running = [child for child in children if child.restart_due is None]
        for child in running:
            if child.handle.poll() is None:
                child.handle.terminate()
        for child in running:
            remaining = begun + child.process.stop_seconds - time.monotonic()
            try:
                child.handle.wait(max(remaining, 0))
            except subprocess.TimeoutExpired:
                self._tell(f"{child.process.name} did not end in {child.process.stop_seconds:.0f} s and is killed.")
            self._clear(child)

    def _clear(self, child: _Child) -> None:
        """Kill whatever of the child's group is still there, and forget the group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.handle.pid, signal.SIGKILL)
        child.handle.wait()
        self._guard.forget(child.handle.pid)


class _Guard:
    """The guardian's pipe. It is started with the first process that it is to look after."""

    def __init__(self) -> None:
        self._handle: subprocess.Popen[bytes] | None = None
        self._pipe: BinaryIO | None = None

    def note(self, group: int) -> None:
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._write(f"-{group}\n")

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and self._pipe is not None:
            self._pipe.close()
            handle.wait()

    def _write(self, line: str) -> None:
        if self._handle is None or self._pipe is None:
            reading, writing = os.pipe()
            self._handle = subprocess.Popen(
                (sys.executable, "-I", str(Path(guardian.__file__))), stdin=reading, start_new_session=True
            )
            os.close(reading)
            self._pipe = os.fdopen(writing, "wb", buffering=0)
        self._pipe.write(line.encode())


def _why(child: _Child) -> str:
    """How a process ended and the last thing it said, as the rest of a sentence."""
    status = child.handle.poll()
    how = ""
    if status is not None:
        how = f" by {signal.Signals(-status).name}" if status < 0 else f" with status {status}"
    with child.log.open("rb") as file:
        file.seek(max(0, child.log.stat().st_size - TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    # Nobody killed by SIGKILL has said why.
    said = f": {_words(lines[-1])}" if lines and status != -signal.SIGKILL else ""
    return f"{how}{said} (log: {child.log})."


def _words(line: str) -> str:
    """What a line of a log says: a JSON one's event, any other as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    event = entry.get("event") if isinstance(entry, dict) else None
    return str(event or line).strip()[:300]
