"""A whole installation for a test: its own folder, database, queue server, simulators, workers, beat and Flower."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil
import redis

from brokers.discovery import specs
from mcube import processes
from tests.support import call_limits
from tests.support.environment import USED
from tests.support.processes import CHECKOUT, Child, Valkey, clean_environment, free_port, wait_for

#: Redis database numbers of stacks on a real server, each claimed by the process of a test run.
STACK_REDIS_DATABASES = (12, 13, 14)
#: That of installations which a test starts by a command of the project, one after another.
COMMAND_REDIS_DATABASE = 15
FLOWER_PASSWORD = "flower-test-password"
READY_SECONDS = 60.0


class StrategyError(AssertionError):
    """What the strategy's process raised, by the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class QueueServer(Protocol):
    """One of the test's own."""

    url: str

    def start(self) -> None: ...

    def stop(self) -> object: ...

    def kill(self) -> None: ...


class Stack:
    """Its processes by name; ``workers`` by queue. Its queue server is the run's, or ``queue``."""

    def __init__(self, home: Path, *, unlimited: bool = False, queue: QueueServer | None = None) -> None:
        self.home = home
        self.simulator_port = free_port(2)
        self.flower_port = free_port()
        self.database_url = self._made_database = ""
        self._unlimited = unlimited
        self.queue = queue or (Valkey(home / "queue") if USED != "real" else None)
        self.redis_url = self.queue.url if self.queue else _claim_database(os.environ["MCUBE_REDIS_URL"])
        self.children: dict[str, Child] = {}
        self._strategy: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        found = {
            "MCUBE_HOME": str(self.home),
            "MCUBE_REDIS_URL": self.redis_url,
            "MCUBE_SIMULATOR_PORT": str(self.simulator_port),
            "MCUBE_FLOWER_PORT": str(self.flower_port),
            "MCUBE_ADMIN_PASSWORD": secrets.token_urlsafe(12),
        }
        return found | ({"DATABASE_URL": self.database_url} if self.database_url else {})

    # Life

    def prepare(self) -> None:
        """Make database and queue, and bring them up to date."""
        if self.queue is not None:
            self.queue.start()
        else:
            with redis.Redis.from_url(self.redis_url) as client:
                client.flushdb()
        if USED == "real":
            self.database_url = self._made_database = make_database(os.environ["DATABASE_URL"])
        self.manage("prepare")

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env=clean_environment() | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def start_simulators(self) -> None:
        command = processes.simulators(home=self.home, port=self.simulator_port)
        self.start("simulators", (*command, *(["--unlimited"] if self._unlimited else [])))
        for face in range(2):
            wait_for(lambda face=face: self._answers(face), f"face {face} of the simulator")  # type: ignore[misc]

    def start_workers(self, *queues: str) -> None:
        """Start a worker of each queue, all of them by default, and wait until they consume."""
        for queue in queues or processes.queues():
            self.start(f"worker-{queue}", processes.worker(queue))
        for queue in queues or processes.queues():
            wait_for(lambda queue=queue: self.consumes(queue), f"the worker of {queue}", seconds=READY_SECONDS)  # type: ignore[misc]

    def start_beat(self, name: str = "beat") -> Child:
        return self.start(name, processes.beat())

    def start_flower(self) -> None:
        self.start(
            "flower",
            processes.flower(host="127.0.0.1", port=self.flower_port),
            {"FLOWER_BASIC_AUTH": f"mcube:{FLOWER_PASSWORD}"},
        )

    def start(self, name: str, command: processes.Command, environment: Mapping[str, str] | None = None) -> Child:
        child = self.children.get(name) or Child(
            name,
            command,
            log=self.home / "logs" / f"{name}.log",
            environment=self.environment | dict(environment or {}),
        )
        child.start()
        self.children[name] = child
        return child

    def stop(self) -> None:
        """End every process.

        :raises AssertionError: an account made more calls than its broker allows.
        """
        try:
            self._check_limits()
        finally:
            self._end_processes()

    def _check_limits(self) -> None:
        simulators = self.children.get("simulators")
        if simulators is not None and simulators.is_running() and not self._unlimited:
            for face, broker in enumerate(specs()):
                call_limits.check(broker, self.control(face, "GET", "counters"))

    def _end_processes(self) -> None:
        if self._strategy is not None:
            self._strategy.kill()
            self._strategy.wait()
            for pipe in (self._strategy.stdin, self._strategy.stdout):
                if pipe is not None:
                    pipe.close()
        for child in reversed(self.children.values()):
            child.kill()
        if self.queue is not None:
            self.queue.kill()
        else:
            _give_back_database(self.redis_url)
        if self._made_database:
            drop_database(os.environ["DATABASE_URL"], self._made_database)

    def load_instruments(self, broker: str) -> None:
        """Read today's master, whole, before this returns."""
        self.manage("shell", "-c", f"from tasks.instruments import refresh_instruments as r; r(broker={broker!r})")

    # Asking

    def consumes(self, queue: str) -> bool:
        """Whether the worker of a queue takes messages from it now."""
        return "ready." in self.children[f"worker-{queue}"].read_log()

    def do(self, action: str, /, **arguments: Any) -> Any:
        """Have the strategy's process do one of ``tests.support.strategy``'s actions.

        :raises StrategyError: it raised.
        """
        process = self._strategy or self._start_strategy()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": action, "with": arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the strategy's process ended:\n{(self.home / 'logs' / 'strategy.log').read_text()}"
        answer = json.loads(line)
        if "error" in answer:
            raise StrategyError(answer["kind"], answer["error"])
        return answer["value"]

    def waiting(self, queue: str) -> int:
        """Messages that the workers of a queue have not taken, and polls that they have not finished."""
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            lists = [queue, *client.scan_iter(f"{queue}\x06\x16*")]
            return sum(int(client.llen(name)) for name in lists)

    def wait_for_performance(self, queue: str, *tasks: str) -> None:
        """Until the queue's worker has performed each of these; a message that is only taken is in no queue either."""
        worker = self.children[f"worker-{queue}"]
        ends = [re.compile(rf"\[{task}\] (?:succeeded|raised)") for task in tasks]
        wait_for(lambda: (log := worker.read_log()) and all(end.search(log) for end in ends), "the tasks' ends")

    def future(self, underlying: str) -> dict[str, Any]:
        """The nearest future's symbol, units in its lot, and tick, once both masters are in what is looked up."""

        def find() -> dict[str, Any]:
            found: list[dict[str, Any]] = self.do("find", symbol=f"{underlying} FUT")
            return found[0] if found and found[0]["tick_size"] != "None" else {}

        return wait_for(find, f"the futures on {underlying}")

    def intent(self, client_order_id: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.do("intents") if one["client_order_id"] == client_order_id)
        return found

    def truth(self, *events: str) -> list[dict[str, Any]]:
        """The exchange's truth log: every order it really accepted, or other ``events``."""
        path = self.home / "simulator" / "truth.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["event"] in (events or ("accepted",))]

    def control(self, face: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call ``/_sim/`` of a broker's face."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.simulator_port + face}/_sim/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
        )
        with urllib.request.urlopen(request, timeout=5) as reply:
            text = reply.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{child.read_log()[-4000:]}" for name, child in self.children.items())

    def _answers(self, face: int) -> bool:
        try:
            self.control(face, "GET", "health")
        except OSError:
            return False
        return True

    def _start_strategy(self) -> subprocess.Popen[str]:
        log = self.home / "logs" / "strategy.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as errors:
            self._strategy = subprocess.Popen(
                [sys.executable, "-m", "tests.support.strategy"],
                cwd=CHECKOUT,
                env=clean_environment() | self.environment | {"DJANGO_SETTINGS_MODULE": "mcube.settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self._strategy


@contextmanager
def running_stack(home: Path, *, unlimited: bool = False) -> Iterator[Stack]:
    """An installation with database, queue server and simulators; the test starts the rest."""
    home.mkdir(parents=True, exist_ok=True)
    stack = Stack(home, unlimited=unlimited)
    try:
        stack.prepare()
        stack.start_simulators()
        yield stack
    finally:
        stack.stop()


def _on_database(url: str, number: int = COMMAND_REDIS_DATABASE) -> str:
    return urlsplit(url)._replace(path=f"/{number}").geturl()


def _claim_database(url: str) -> str:
    """A Redis database that no other test run's workers read from; its claim is kept in the tests' own."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for number in STACK_REDIS_DATABASES:
            key = _claim_of(number)
            holder = client.get(key)
            if holder and not psutil.pid_exists(int(str(holder))):
                client.delete(key)
            if client.set(key, os.getpid(), nx=True):
                return _on_database(url, number)
    raise AssertionError(f"Redis databases {STACK_REDIS_DATABASES} are all in use by test runs; wait for one to end.")


def _give_back_database(url: str) -> None:
    number = int(urlsplit(url).path[1:])
    with redis.Redis.from_url(os.environ["MCUBE_REDIS_URL"]) as client:
        client.delete(_claim_of(number))


def _claim_of(number: int) -> str:
    return f"mcube-tests:database:{number}"


def make_database(server_url: str) -> str:
    """The address of a new, empty database on a PostgreSQL server."""
    name = f"mcube_stack_{secrets.token_hex(6)}"
    _execute(server_url, f'CREATE DATABASE "{name}"')
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, url: str) -> None:
    _execute(server_url, f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)')


def _execute(server_url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(urlsplit(server_url)._replace(path="/postgres").geturl(), autocommit=True) as connection:
        connection.execute(statement)
