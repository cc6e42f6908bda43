"""A whole installation in one process and in simulated time: beat, queues, workers, both brokers, one clock.

The brokers are the real simulators behind real sockets, spoken to by the real SDKs; the tasks are run by Celery's own
tracer. What is made here is time, and the queue between the tasks, which delivers by that time.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any

import time_machine
import uvicorn
from celery import schedules
from celery.app.trace import build_tracer

from brokers.clock import IST, SimulatedClock
from brokers.simulator import server
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.rules import ExchangeSettings
from mcube import beat
from mcube.celery import app
from mcube.processes import OWN_QUEUE
from mcube.schedule import TABLE, Entry
from tasks.routing import Priority
from tests.support import call_limits

#: What one delivery costs, so that nothing happens at the same moment as what caused it.
LATENCY = timedelta(milliseconds=20)


class Wall:
    """The true time, and this machine's clock, which may be wrong. Both stand still until they are moved."""

    def __init__(self, start: datetime) -> None:
        self.true = start.astimezone(UTC)
        self.wrong_by = timedelta(0)
        self._machine = time_machine.travel(self.true, tick=False)
        self._coordinates = self._machine.start()

    @property
    def machine(self) -> datetime:
        """What this machine takes for the time."""
        return self.true + self.wrong_by

    def move_to(self, true: datetime) -> None:
        self.true = max(self.true, true.astimezone(UTC))
        self._coordinates.move_to(self.machine, tick=False)

    def set_wrong(self, by: timedelta) -> None:
        self.wrong_by = by
        self._coordinates.move_to(self.machine, tick=False)

    def stop(self) -> None:
        self._machine.stop()


class TrueClock(SimulatedClock):
    """The exchange's clock, which is right whatever this machine's says."""

    def __init__(self, wall: Wall) -> None:
        super().__init__(Path("/nonexistent"))
        self._wall = wall

    def now(self) -> datetime:
        return self._wall.true

    def real_now(self) -> datetime:
        return self._wall.true

    def offset(self) -> timedelta:
        return timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as a broker's server saw it."""

    at: datetime
    broker: str
    method: str
    path: str
    status: int
    #: The reply, when it is small and JSON.
    reply: Mapping[str, Any]


class Brokers:
    """The simulators of all brokers in a thread of this process, and what each was asked."""

    def __init__(self, home: Path, wall: Wall, settings: ExchangeSettings) -> None:
        self.calls: list[Call] = []
        self.exchange = SimulatedExchange(home, settings=settings, clock=TrueClock(wall))
        self._wall = wall
        apps = {name: module.create_face(self.exchange) for name, module in server.modules().items()}
        sockets = {name: server.bind(0) for name in apps}
        self.urls = {name: f"http://{server.HOST}:{bound.getsockname()[1]}" for name, bound in sockets.items()}
        self._servers = {name: server._Server(self._config(name, face)) for name, face in apps.items()}
        self._sockets = sockets
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        give_up = time.monotonic() + 10
        while not all(each.started for each in self._servers.values()):
            assert time.monotonic() < give_up, "the simulators did not start"
            threading.Event().wait(0.005)

    def stop(self) -> None:
        """:raises AssertionError: an account made more calls than its broker allows."""
        for each in self._servers.values():
            each.should_exit = True
        self._thread.join(10)
        self.exchange.truth.close()
        for broker in self.urls:
            call_limits.check(broker, self.exchange.counters.summary(broker), time_leaps=True)

    async def _serve(self) -> None:
        await asyncio.gather(*(each._serve([self._sockets[name]]) for name, each in self._servers.items()))

    def _config(self, broker: str, face: Any) -> uvicorn.Config:
        config = server._config(self._noting(broker, face))
        config.date_header = False  # it would tell this machine's time
        return config

    def _noting(self, broker: str, face: Any) -> Any:
        async def noting(scope: Any, receive: Any, send: Any) -> None:
            status, body = 0, b""

            async def see(message: Any) -> None:
                nonlocal status, body
                if message["type"] == "http.response.start":
                    status = message["status"]
                    stated = format_datetime(self._wall.true, usegmt=True).encode()
                    message = {**message, "headers": [*message["headers"], (b"date", stated)]}
                elif len(body) < 4000:
                    body += message.get("body", b"")
                await send(message)

            await face(scope, receive, see)
            self.calls.append(
                Call(
                    at=self._wall.true,
                    broker=broker,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    reply=_json_of(body),
                )
            )

        return noting


def _json_of(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(order=True, kw_only=True, slots=True)
class Message:
    """One message of a queue; sorted as a queue serves."""

    priority: int
    number: int
    due_at: datetime = field(compare=False)
    expires_at: datetime | None = field(compare=False)
    queue: str = field(compare=False)
    name: str = field(compare=False)
    kwargs: dict[str, Any] = field(compare=False)
    task_id: str = field(compare=False)
    retries: int = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One task that a worker ran: when, and for how many real seconds it held its slot."""

    at: datetime
    name: str
    kwargs: Mapping[str, Any]
    state: str
    seconds: float


class Installation:
    """Beat, the queues and one worker. ``thin`` says how seldom an entry ticks while nothing is looked at closely."""

    def __init__(self, wall: Wall, *, thin: Mapping[str, int], between: Callable[[], None]) -> None:
        app.loader.import_default_modules()
        self.wall = wall
        self.runs: list[Run] = []
        self.expired: list[Message] = []
        self.closely = False
        self._thin = thin
        #: Called before each moment at which something happens.
        self._between = between
        self._messages: list[Message] = []
        self._numbers = count()
        self._last = {entry.name: wall.machine for entry in TABLE}

    # What happens

    def run_to(self, true: datetime, *, closely: bool = False) -> None:
        """Let time pass; ``closely`` with every entry of beat at its own cadence."""
        self.closely = closely
        until = true.astimezone(UTC)
        while (moment := self._next()) - self.wall.wrong_by <= until:
            self.wall.move_to(moment - self.wall.wrong_by)
            self._between()
            self._tick()
            self._work()
        self.wall.move_to(until)
        self.closely = False

    @property
    def waiting(self) -> list[Message]:
        return sorted(self._messages, key=lambda each: each.due_at)

    def _next(self) -> datetime:
        return min([self._due(entry) for entry in TABLE] + [each.due_at for each in self._messages])

    # Beat

    def _due(self, entry: Entry) -> datetime:
        last = self._last[entry.name]
        if entry.at is None:
            assert entry.every is not None
            seconds = entry.every if self.closely else max(entry.every, self._thin.get(entry.name, 0))
            epoch = datetime(1970, 1, 1, tzinfo=UTC)
            cadence = timedelta(seconds=seconds)
            return last - (last - epoch) % cadence + cadence
        minutes, hour = entry.at
        days = (
            last.astimezone(IST).replace(hour=int(hour), second=0, microsecond=0) + timedelta(days=n) for n in (0, 1)
        )
        moments = [day.replace(minute=int(minute)) for day in days for minute in minutes.split(",")]
        return min(moment for moment in moments if moment > last).astimezone(UTC)

    def _tick(self) -> None:
        now = self.wall.machine
        for entry in TABLE:
            if self._due(entry) <= now:
                self._last[entry.name] = now
                timing = schedules.schedule(timedelta(seconds=entry.every)) if entry.every else None
                app.send_task(
                    entry.task,
                    kwargs=beat._stamp(timing),
                    queue=OWN_QUEUE,
                    priority=int(entry.priority),
                    expires=entry.expires,
                )

    # The queues and the worker

    def publish(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: Any = None,
        task_id: str | None = None,
        task_type: Any = None,
        retries: int = 0,
        **options: Any,
    ) -> str:
        """Stands for ``app.send_task``: routed by the real routes, written as JSON, delivered by simulated time."""
        assert not args
        task: Any = task_type or app.tasks[name]
        given = {"queue": options.get("queue"), "priority": options.get("priority")}
        given = {key: value for key, value in given.items() if value is not None}
        route = app.amqp.router.route(dict(given), name, args, kwargs, task)
        now = self.wall.machine
        due_at = eta or now + timedelta(seconds=countdown or 0)
        if isinstance(expires, str):  # of a task that is tried again
            expires = datetime.fromisoformat(expires)
        number = next(self._numbers)
        self._messages.append(
            Message(
                priority=int(given.get("priority", route.get("priority", Priority.READ))),
                number=number,
                due_at=due_at,
                expires_at=now + timedelta(seconds=expires) if isinstance(expires, int | float) else expires,
                queue=getattr(route["queue"], "name", route["queue"]),
                name=name,
                kwargs=json.loads(json.dumps(kwargs or {})),
                task_id=task_id or f"made-up-{number}",
                retries=retries,
            )
        )
        return self._messages[-1].task_id

    def _work(self) -> None:
        while ready := [each for each in self._messages if each.due_at <= self.wall.machine]:
            message = min(ready)
            self._messages.remove(message)
            if message.expires_at is not None and message.expires_at < self.wall.machine:
                self.expired.append(message)
                continue
            self._perform(message)
            self.wall.move_to(self.wall.true + LATENCY)

    def _perform(self, message: Message) -> None:
        task, at, began = app.tasks[message.name], self.wall.true, time.monotonic()
        request = {
            "id": message.task_id,
            "task": message.name,
            "args": [],
            "kwargs": message.kwargs,
            "retries": message.retries,
            "expires": message.expires_at.isoformat() if message.expires_at else None,
            "delivery_info": {"routing_key": message.queue, "priority": message.priority},
            "is_eager": False,
            "called_directly": False,
        }
        _, info, _, _ = build_tracer(message.name, task, app=app)(message.task_id, [], message.kwargs, request)
        self.runs.append(
            Run(
                at=at,
                name=message.name,
                kwargs=message.kwargs,
                state=info.state if info is not None else "SUCCESS",
                seconds=time.monotonic() - began,
            )
        )


@contextmanager
def published_to(installation: Installation, monkeypatch: Any) -> Iterator[None]:
    """Every call of a task goes to this installation's queues."""
    with monkeypatch.context() as patch:
        patch.setattr(app, "send_task", installation.publish)
        yield
