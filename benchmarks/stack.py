"""Starts what the benchmark needs, by the same commands as `up`, and reads the CPU time of each part."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

START_SECONDS = 60.0
#: Processes whose CPU is counted together, by what they are.
Groups = dict[str, list[psutil.Process]]


def settle(folder: str) -> None:
    """Have this process and those it starts use an installation in ``folder``, on ports of its own."""
    base = free_ports(4)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "mcube.settings",
        "MCUBE_HOME": folder,
        "MCUBE_REDIS_PORT": str(base),
        "MCUBE_SIMULATOR_PORT": str(base + 1),
        "MCUBE_LOG_LEVEL": "WARNING",
    }
    os.environ.pop("MCUBE_REDIS_URL", None)


@contextmanager
def installation(home: Path, *, unlimited: bool) -> Iterator[Groups]:
    """Queue, database and simulators, which hold no call against a limit when ``unlimited``; no worker."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from mcube import market_time, processes, secrets

    configuration = home / "valkey.conf"
    configuration.write_text(
        processes.valkey_configuration(
            folder=home,
            port=settings.ENV.redis_port,
            password=secrets.redis_url(settings.ENV).split(":")[2].split("@")[0],
        )
    )
    log = home / "simulator.log"
    command = processes.simulators(home=home, port=settings.ENV.simulator_port)
    with ExitStack() as running:
        queue = running.enter_context(process(processes.valkey(configuration=configuration), home / "valkey.log"))
        call_command("migrate", verbosity=0)
        market_time.settle()
        exchange = running.enter_context(process((*command, *(["--unlimited"] if unlimited else [])), log))
        until(lambda: ready_line(log), "the simulators' start")
        yield {"queue": [queue], "simulators": [exchange]}


def free_ports(count: int) -> int:
    """The first of ``count`` free ports in a row."""
    for base in range(20000 + os.getpid() % 10000, 60000, count):
        try:
            for port in range(base, base + count):
                with socket.create_server(("127.0.0.1", port)):
                    pass
        except OSError:
            continue
        return base
    raise SystemExit("No free ports in a row on 127.0.0.1.")


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a condition.

    :raises SystemExit: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within {seconds:g} s.")
        time.sleep(0.02)


@contextmanager
def process(command: tuple[str, ...], log: Path, **environment: str) -> Iterator[psutil.Process]:
    """Run a command in a process group of its own; end it at the end of the block."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        )
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def cpu_seconds(*roots: psutil.Process, children: bool = True) -> float:
    """User and system time of processes and all their children, so far."""
    total = 0.0
    for root in roots:
        for member in [root, *(root.children(recursive=True) if children else ())]:
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


@contextmanager
def counted(groups: Groups, *, children: bool = True) -> Iterator[dict[str, float]]:
    """CPU seconds of each group over the block, with those of the members' children."""
    before = {name: cpu_seconds(*members, children=children) for name, members in groups.items()}
    used: dict[str, float] = {}
    yield used
    used |= {name: cpu_seconds(*members, children=children) - before[name] for name, members in groups.items()}


def drained(queue: str) -> None:
    """Wait until a queue is empty."""
    import redis
    from django.conf import settings

    client = redis.Redis.from_url(settings.REDIS_URL)
    until(lambda: not any(client.llen(key) for key in client.keys(f"{queue}*")), f"the emptying of queue {queue}")


def postgres_processes() -> list[psutil.Process]:
    """The database server's processes on this machine, when it is PostgreSQL."""
    return [
        candidate
        for candidate in psutil.process_iter(["name"])
        if (candidate.info["name"] or "").startswith("postgres")
        and (parent := candidate.parent()) is not None
        and not (parent.name() or "").startswith("postgres")
    ]


def ready_line(log: Path) -> bool:
    """Whether a simulator has printed that it listens."""
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            if json.loads(line).get("ready"):
                return True
        except ValueError:
            continue
    return False
