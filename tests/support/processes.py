"""Child processes of a test: started in their own group, logged to a file, ended by process id."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import redis

CHECKOUT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.05
STOP_SECONDS = 20.0

T = TypeVar("T")

#: Below Linux's and macOS's ephemeral ports, above what has a name.
LISTENING_PORTS = range(15_000, 32_000)


def free_port(count: int = 1) -> int:
    """The first of ``count`` ports in a row that nobody listens on.

    Of those that systems give to no outgoing connection, so that none takes it before the process that is started does.
    """
    while True:
        first = secrets.choice(LISTENING_PORTS)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = 60.0) -> T:
    """Ask until ``condition`` gives something true, and return it.

    :raises AssertionError: it did not within ``seconds``; the message says ``what`` was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {seconds:g} s for {what}; the last answer was {value!r}.")
        time.sleep(POLL_SECONDS)


class Child:
    """One process with the group it leads."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self._log_starts_at = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_starts_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=CHECKOUT,
                env=clean_environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """End it as a supervisor would; kill its group if it does not end. Returns the exit status."""
        if self._process is None:
            return None
        if self.is_running():
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to the process and everything it forked."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def read_log(self) -> str:
        """What it wrote since it was last started."""
        return self.log.read_bytes()[self._log_starts_at :].decode(errors="replace") if self.log.exists() else ""


class Valkey(Child):
    """An embedded queue server with a password; it keeps port and data over a restart."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        from mcube.processes import valkey, valkey_configuration

        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.url = f"redis://:{secrets.token_urlsafe(12)}@127.0.0.1:{self.port}/0"
        configuration = folder / "valkey.conf"
        password = self.url.partition("://:")[2].partition("@")[0]
        configuration.write_text(valkey_configuration(folder=folder, port=self.port, password=password))
        super().__init__("valkey", valkey(configuration=configuration), log=folder / "valkey.log")

    def start(self) -> None:
        super().start()
        wait_for(self.answers, "the embedded Valkey to answer", seconds=10)

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would point a process at another installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MCUBE_") and name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")
    }
