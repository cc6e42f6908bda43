"""The installation of a run: the project's own commands, with the saboteur in its workers and strategies."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from mcube import processes
from tests.chaos.database import Database
from tests.chaos.plan import BROKERS, Plan
from tests.chaos.sabotage import BREAK_THE_LEDGER, FOLDER
from tests.support.processes import Child, wait_for
from tests.support.stack import READY_SECONDS, Stack

#: Processes of the queue that touches no broker: it sweeps and ticks.
OWN_CHILDREN = 4
#: How long a worker waits for the result of a process that was killed before it gives its place to another.
LOST_SECONDS = 2.0


class Installation(Stack):
    """A stack whose children are started again when they die, as a supervisor does."""

    def __init__(self, home: Path, plan: Plan, database: Database, folder: Path) -> None:
        super().__init__(home)
        assert self.queue is not None, "a chaos run flushes and kills its queue server, so it has its own"
        self.plan = plan
        self.folder = folder
        self.database = database
        self.database_url = database.url
        self.restarts: dict[str, int] = {}
        self._kept: set[str] = set()
        self._lock = threading.Lock()
        #: Leaders of process groups whose parent was killed alone.
        self._orphaned: list[int] = []

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "MCUBE_SAFETY_SCALE": f"{self.plan.scale:g}",
            "MCUBE_VISIBILITY_SECONDS": f"{self.plan.visibility_seconds:g}",
            "MCUBE_LOG_LEVEL": "WARNING",
            FOLDER: str(self.folder),
            "DJANGO_SETTINGS_MODULE": "mcube.settings",
            **({BREAK_THE_LEDGER: "1"} if self.plan.break_the_ledger else {}),
        }

    def start_all(self) -> None:
        """Database rows, simulators, accounts, workers and beat."""
        self.manage("prepare")
        command = processes.simulators(home=self.home, port=self.simulator_port)
        self.start("simulators", (*command, "--log-requests"))
        for face in range(len(BROKERS)):
            wait_for(lambda face=face: self._answers(face), f"face {face} of the simulator")  # type: ignore[misc]
        self.run("prepare", (sys.executable, "-m", "tests.chaos.prepare"))
        for queue in processes.queues():
            self.keep(f"worker-{queue}", self._worker(queue))
        for queue in processes.queues():
            wait_for(lambda queue=queue: self.consumes(queue), f"the worker of {queue}", seconds=READY_SECONDS)  # type: ignore[misc]
        self.keep("beat", processes.beat())

    def _check_limits(self) -> None:
        """The checker tells of them, with everything else."""

    def consumes(self, queue: str) -> bool:
        """Whether the worker of a queue has forked its processes; it logs nothing that says so at this level."""
        with suppress(psutil.NoSuchProcess):
            return len(psutil.Process(self.children[f"worker-{queue}"].pid).children()) >= self._children(queue)
        return False

    def _children(self, queue: str) -> int:
        return self.plan.children if queue in BROKERS else OWN_CHILDREN

    def _worker(self, queue: str) -> processes.Command:
        options = (
            "--concurrency",
            str(self._children(queue)),
            "--include",
            "tests.chaos.sabotage",
            "--loglevel",
            "WARNING",
            f"worker.lost_wait={LOST_SECONDS:g}",
        )
        return (*processes.worker(queue), *options)

    def run(self, name: str, command: processes.Command) -> None:
        """Run a process to its end.

        :raises AssertionError: it failed; the message has its log.
        """
        child = self.start(name, command)
        wait_for(lambda: not child.is_running(), f"{name} to end", seconds=300)
        assert child.stop() == 0, f"{name} failed:\n{child.read_log()[-4000:]}"

    def keep(self, name: str, command: processes.Command, environment: Mapping[str, str] | None = None) -> Child:
        """Start a process and start it again whenever it dies."""
        child = self.start(name, command, environment)
        self._kept.add(name)
        return child

    def look_after(self) -> None:
        """Start again what has died. A strategy that has ended well is done."""
        with self._lock:
            for name in list(self._kept):
                child = self.children[name]
                if child.is_running():
                    continue
                if name.startswith("strategy-") and child.stop() == 0:
                    self._kept.discard(name)
                    continue
                self.restarts[name] = self.restarts.get(name, 0) + 1
                self._orphaned.append(child.pid)
                child.start()

    def let_go(self, name: str) -> None:
        """Start it again no more."""
        with self._lock:
            self._kept.discard(name)

    def are_done(self, prefix: str) -> bool:
        return not any(name.startswith(prefix) for name in self._kept)

    def kill_parent(self, name: str) -> None:
        """SIGKILL to a worker's parent or to beat alone; what it forked lives on until it notices."""
        child = self.children[name]
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)

    def kill_a_child(self, name: str, choice: float) -> bool:
        """SIGKILL to one of a worker's processes."""
        try:
            forked = psutil.Process(self.children[name].pid).children()
        except psutil.NoSuchProcess:
            return False
        if not forked:
            return False
        with suppress(psutil.NoSuchProcess):
            forked[int(choice * len(forked))].kill()
        return True

    def stop_workers(self) -> None:
        """End them as a supervisor does, so that what they are at is finished."""
        for name in [*self._kept]:
            self.let_go(name)
            self.children[name].stop()

    def stop(self) -> None:
        self._kept.clear()
        for leader in self._orphaned:
            with suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
        super().stop()
