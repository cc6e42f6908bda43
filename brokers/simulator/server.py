"""Runs the simulated exchange: one process, one loop, one port for each broker's face."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from brokers.discovery import specs
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.requests import RequestLog
from brokers.simulator.rules import ExchangeSettings

HOST = "127.0.0.1"
TICK_SECONDS = 0.25
BACKLOG = 512


class PortTaken(Exception):
    """A port that a face needs is in use. The message names it."""


class _OneSend:
    """A transport that sends what is written in one step of the loop at once: header and body together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
        self._waiting.clear()


class _Protocol(H11Protocol):
    """uvicorn's protocol, which also shows the app its transport, so that a fault can drop the connection, and the time."""

    #: When the first byte of the request under way came, as an epoch of the wall; 0 between requests.
    _began_at = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_OneSend(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._began_at = self._began_at or time.time()
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        scope: Any = self.scope
        if scope is not None:
            extensions = scope.setdefault("extensions", {})
            extensions["transport"] = self.transport
            extensions.setdefault("began_at", self._began_at)

    def on_response_complete(self) -> None:
        self._began_at = 0.0
        super().on_response_complete()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal; :func:`serve` handles them for all servers."""
        yield


def modules(brokers: Collection[str] = ()) -> dict[str, ModuleType]:
    """The simulator module of each broker, or of the named ones, in the order of names.

    :raises ValueError: a name that is no broker's.
    """
    known = specs()
    for name in brokers:
        if name not in known:
            raise ValueError(f"There is no broker {name!r}; choose from {', '.join(known)}.")
    wanted = [name for name in known if not brokers or name in brokers]
    return {name: import_module(known[name].simulator.partition(":")[0]) for name in wanted}


def listed_contracts(faces: Iterable[ModuleType], master_dir: Path | None) -> list[Contract]:
    """The contracts of the real masters in a folder, from every face that can read them.

    :raises ValueError: the folder holds none that anybody can read.
    """
    if master_dir is None:
        return []
    contracts: list[Contract] = []
    for face in faces:
        read = getattr(face, "read_contracts", None)
        if read is not None:
            contracts += read(master_dir)
    if not contracts:
        raise ValueError(f"No instrument master was found in {master_dir}; give the folder that holds them.")
    return contracts


def bind(port: int, host: str = HOST) -> socket.socket:
    """A listening socket, on loopback unless told otherwise; port 0 takes any.

    :raises PortTaken: somebody else listens there.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Port {port} on {host} is taken ({error.strerror}); stop what listens there or choose another port."
        ) from error
    listener.listen(BACKLOG)
    return listener


def run(
    home: Path,
    *,
    port: int,
    host: str = HOST,
    master_dir: Path | None = None,
    unlimited: bool = False,
    log_requests: bool = False,
    brokers: Collection[str] = (),
) -> None:
    """Serve the faces of all brokers, or of the named ones, until SIGTERM or SIGINT.

    Each face has the port of its place among all brokers; with port 0 each takes a free one.

    :raises PortTaken: a port is in use.
    :raises ValueError: ``master_dir`` holds no master, or a name is no broker's.
    """
    faces = modules(brokers)
    sockets = {name: bind(port + number if port else 0, host) for number, name in enumerate(specs()) if name in faces}
    exchange = SimulatedExchange(
        home,
        settings=ExchangeSettings(limits=not unlimited),
        listed=listed_contracts(faces.values(), master_dir),
        master_dir=master_dir,
    )
    if log_requests:
        exchange.requests = RequestLog(home / "simulator" / "requests.jsonl")
    apps = {name: face.create_face(exchange) for name, face in faces.items()}
    asyncio.run(serve(exchange, apps, sockets))


async def serve(exchange: SimulatedExchange, apps: dict[str, Any], sockets: dict[str, socket.socket]) -> None:
    """Serve each app on its socket; prints one JSON line when all listen."""
    servers = [_Server(_config(app)) for app in apps.values()]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(server._serve([sockets[name]])) for name, server in zip(apps, servers, strict=True)]
    ticker = asyncio.create_task(_tick(exchange))
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    urls = {name: f"http://{HOST}:{sockets[name].getsockname()[1]}" for name in apps}
    sys.stdout.write(json.dumps({"ready": True, "urls": urls}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    ticker.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
    exchange.truth.close()
    if exchange.requests:
        exchange.requests.close()


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        # Without a library for web sockets the faces have no feeds.
        ws="auto",
        lifespan="off",
        access_log=False,
        log_level="warning",
        loop="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        server_header=False,
    )


async def _tick(exchange: SimulatedExchange) -> None:
    """Let time change the books while nobody asks."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        if exchange.is_busy:
            exchange.advance()
