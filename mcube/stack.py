"""The whole system on one machine, bound to 127.0.0.1: what `up` and `demo` start and stop."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from rich.console import Console

from brokers.clock import CLOCK_FILE, IST, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import Mode
from mcube import environment, probe, processes, redis_trouble, secrets
from mcube.supervisor import Process, Supervisor

LOOPBACK = "127.0.0.1"
#: Longer than a send's total deadline, so that an order under way is never cut in two.
WORKER_STOP_SECONDS = 30.0


class CannotStart(Exception):
    """Something is in the way; nothing was started. The message says what to do."""


def uses_embedded_queue() -> bool:
    return not settings.ENV.redis_url.get_secret_value()


def runs_simulators() -> bool:
    """Whether a broker's SDK is pointed at the simulators of this stack."""
    return settings.MODE is Mode.SIMULATED and any(environment.broker_url(broker) is None for broker in specs())


def ports() -> dict[int, str]:
    """Every port this stack listens on, and the setting that moves it."""
    env = settings.ENV
    taken = {env.web_port: "MCUBE_WEB_PORT", env.flower_port: "MCUBE_FLOWER_PORT"}
    if uses_embedded_queue():
        taken[env.redis_port] = "MCUBE_REDIS_PORT"
    if runs_simulators():
        taken |= {env.simulator_port + position: "MCUBE_SIMULATOR_PORT" for position in range(len(specs()))}
    return taken


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of loopback."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def check() -> None:
    """Find what would stop the start, before anything is changed.

    :raises CannotStart: a port is taken, or a configured server does not answer.
    """
    if settings.MODE is Mode.LIVE and (settings.HOME / CLOCK_FILE).exists():
        raise CannotStart(
            f"MCUBE_HOME: {settings.HOME} holds a simulated installation, whose accounts are nobody's; set MCUBE_HOME and "
            "DATABASE_URL to a folder and a database of their own for live use."
        )
    for port, setting in ports().items():
        if not is_free(port):
            raise CannotStart(
                f"Port {port} is taken; stop what uses it, or set {setting} to a free port and start again."
            )
    if not uses_embedded_queue() and (trouble := redis_trouble.find()):
        raise CannotStart(f"MCUBE_REDIS_URL: {_shown(settings.REDIS_URL)} {trouble.what}. {trouble.remedy}")
    try:
        connection.ensure_connection()
    except OperationalError as error:
        raise CannotStart(
            f"DATABASE_URL: {database_shown()} cannot be used: {str(error).strip().splitlines()[0]}."
        ) from error


@contextmanager
def only_one() -> Iterator[None]:
    """Hold ``MCUBE_HOME`` for this stack.

    :raises CannotStart: another stack runs from it.
    """
    settings.HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.HOME / "up.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise CannotStart(
                f"mcube runs already from {settings.HOME} (process {file.read().strip() or 'unknown'}); "
                "stop it with Ctrl-C first, or set MCUBE_HOME to another folder."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def running(console: Console, *, interrupted: Callable[[], bool] = lambda: False) -> Iterator[Supervisor]:
    """The stack, started, until the block ends.

    :raises CannotStart: something is in the way; nothing was started.
    :raises StartFailed: a process did not come up; nothing is left running.
    """
    with only_one():
        check()
        call_command("prepare", tell=console.out)
        connection.close()
        supervisor = Supervisor(logs=settings.HOME / "logs", tell=console.out)
        try:
            with console.status("Starting"):
                supervisor.start(
                    members(),
                    on_ready=lambda process: console.out(f"  {process.name} is ready"),
                    interrupted=interrupted,
                )
            _ring_for_the_day()
            yield supervisor
        finally:
            supervisor.stop()


def _ring_for_the_day() -> None:
    """Have sessions opened and instruments loaded now; their schedules come round only after minutes."""
    from tasks import instruments, sessions

    sessions.schedule.delay()
    instruments.schedule.delay()


def overview() -> str:
    """What runs where, for a person."""
    env = settings.ENV
    lines = {
        "Web admin": f"http://{LOOPBACK}:{env.web_port}/admin/",
        "Flower": f"http://{LOOPBACK}:{env.flower_port}/ (user mcube, password in {_flower_password_place()})",
        "Workers": ", ".join(processes.queues()),
        "Queue": queue_shown(),
        "Database": database_shown(),
    }
    if runs_simulators():
        lines["Simulators"] = ", ".join(
            f"{broker} {LOOPBACK}:{env.simulator_port + position}" for position, broker in enumerate(specs())
        )
    lines["Market time"] = f"{configured_clock().now().astimezone(IST):%a %d %b %Y %H:%M:%S} IST"
    lines["Logs"] = str(settings.HOME / "logs")
    width = max(map(len, lines))
    return f"mcube runs in {settings.MODE} mode.\n" + "\n".join(f"  {k:{width}}  {v}" for k, v in lines.items())


def members() -> list[Process]:
    """Every process of this stack, with the question that tells whether it works."""
    env = settings.ENV
    found = [*_queue_server(), *_simulators(), *(_worker(queue) for queue in processes.queues())]
    found.append(Process(name="beat", command=processes.beat(), is_ready=probe.beat_ticks, stage=2))
    found.append(Process(name="feeds", command=processes.feeds(), is_ready=probe.feeds_are_kept, stage=2))
    found.append(
        Process(
            name="flower",
            command=processes.flower(host=LOOPBACK, port=env.flower_port),
            environment={"FLOWER_BASIC_AUTH": f"mcube:{secrets.flower_password(env)}"},
            is_ready=lambda: probe.url_answers(f"http://{LOOPBACK}:{env.flower_port}/healthcheck"),
            stage=2,
        )
    )
    found.append(
        Process(
            name="web",
            command=processes.web(host=LOOPBACK, port=env.web_port),
            is_ready=lambda: probe.url_answers(f"http://{LOOPBACK}:{env.web_port}/live"),
            stage=2,
        )
    )
    return found


def database_shown() -> str:
    """The database without its password."""
    used = settings.DATABASES["default"]
    if used["ENGINE"].endswith("sqlite3"):
        return f"SQLite {used['NAME']}"
    return f"PostgreSQL {used['NAME']} at {used['HOST'] or 'localhost'}:{used['PORT'] or 5432}"


def queue_shown() -> str:
    """The queue server without its password."""
    kind = "embedded Valkey" if uses_embedded_queue() else "Redis"
    return f"{kind} {_shown(settings.REDIS_URL)}"


def _flower_password_place() -> str:
    if settings.ENV.flower_password.get_secret_value():
        return "MCUBE_FLOWER_PASSWORD"
    return str(settings.HOME / "keys" / "flower-password")


def _queue_server() -> list[Process]:
    if not uses_embedded_queue():
        return []
    folder = settings.HOME / "queue"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration = folder / "valkey.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        processes.valkey_configuration(
            folder=folder, port=settings.ENV.redis_port, password=urlsplit(settings.REDIS_URL).password or ""
        )
    )
    return [Process(name="queue", command=processes.valkey(configuration=configuration), is_ready=probe.redis_answers)]


def _simulators() -> list[Process]:
    if not runs_simulators():
        return []
    first = settings.ENV.simulator_port
    faces = [f"http://{LOOPBACK}:{first + position}/_sim/health" for position in range(len(specs()))]
    return [
        Process(
            name="simulators",
            command=processes.simulators(home=settings.HOME, port=first),
            is_ready=lambda: all(map(probe.url_answers, faces)),
        )
    ]


def _worker(queue: str) -> Process:
    return Process(
        name=f"worker-{queue}",
        command=processes.worker(queue),
        is_ready=lambda: probe.worker_answers(queue),
        stage=1,
        stop_seconds=WORKER_STOP_SECONDS,
    )


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}:{parts.port or 6379}"
