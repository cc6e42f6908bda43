"""pytest-celery's nodes as local processes, for machines without a container engine.

The plugin's nodes ask a "container" for a handful of things: id, name, status, attrs, logs, kill, restart. A
process can answer them all, so that set-up, clusters and tests stay those of the plugin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_celery import CeleryWorkerContainer, RedisContainer

from tests.support.processes import Child, Valkey, wait_for

ENGINE_SECONDS = 2.0


def engine() -> str:
    """``docker`` or ``local``, as MCUBE_TEST_ENGINE says; ``auto``, the default, asks whether an engine answers."""
    wanted = os.environ.get("MCUBE_TEST_ENGINE", "auto")
    if wanted not in ("auto", "docker", "local"):
        raise SystemExit(f"MCUBE_TEST_ENGINE: {wanted!r} is not auto, docker or local.")
    if wanted != "auto":
        return wanted
    return "docker" if shutil.which("docker") and _engine_answers() else "local"


def _engine_answers() -> bool:
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=ENGINE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class _Process:
    """What the plugin asks of a container, answered by a child process."""

    child: Child

    @property
    def id(self) -> str:
        return f"{self.child.name}-{id(self.child)}"

    @property
    def name(self) -> str:
        return self.child.name

    @property
    def status(self) -> str:
        return "running" if self.child.is_running() else "exited"

    @property
    def attrs(self) -> dict[str, Any]:
        return {"Config": {"Hostname": "127.0.0.1"}}

    def logs(self) -> str:
        return self.child.read_log()

    def reload(self) -> None:
        """A process knows its state without asking."""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        if str(signal).removeprefix("SIG") in ("KILL", "9"):
            self.child.kill()
        else:
            self.child.stop()

    def restart(self, timeout: int = 10) -> None:
        self.child.stop(timeout)
        self.child.start()
        self.ready()

    def remove(self, force: bool = False) -> None:
        self.child.kill()

    def teardown(self) -> None:
        self.child.kill()

    def ready(self) -> bool:
        raise NotImplementedError


class LocalRedis(_Process, RedisContainer):  # type: ignore[misc]
    """An embedded Valkey in the place of a Redis container."""

    def __init__(self, folder: Path) -> None:
        self.child = self._server = Valkey(folder)
        self.child.start()

    def ready(self) -> bool:
        return wait_for(self._server.answers, "the embedded Valkey to answer")

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def host_url(self) -> str:
        return self._server.url

    @property
    def hostname(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self._server.port


class LocalWorker(_Process, CeleryWorkerContainer):  # type: ignore[misc]
    """A worker started from the content that a worker container would get as its volume."""

    def __init__(
        self, folder: Path, *, content: dict[str, bytes], command: list[str], environment: dict[str, Any]
    ) -> None:
        for name, text in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        self.child = Child(
            "worker",
            [sys.executable, "-m", *command],
            log=folder / "worker.log",
            environment={name: str(value) for name, value in environment.items()} | {"PYTHONPATH": str(folder)},
        )
        self.child.start()

    def ready(self) -> bool:
        return wait_for(lambda: "ready." in self.logs(), "the worker to be ready")
