"""Web sockets of the faces: a connection as a face sees it, and how tests cut and silence all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: How often the feeds tell prices.
TICK_SECONDS = 1.0


class Closed(Exception):
    """The connection is gone."""


class Socket:
    """One accepted connection. A method of a closed one raises :class:`Closed`."""

    def __init__(self, receive: Receive, send: Send, sockets: Sockets) -> None:
        self._receive = receive
        self._send = send
        self._sockets = sockets
        self._closed = False

    async def text(self) -> str:
        """The next text that comes."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._closed = True
            if self._closed:
                raise Closed
            if message.get("text") is not None:
                return str(message["text"])

    async def send(self, content: str | bytes) -> None:
        """Send text or bytes; while the feeds are silenced nothing leaves."""
        if self._closed:
            raise Closed
        if not self._sockets.silent:
            kind = "text" if isinstance(content, str) else "bytes"
            await self._send({"type": "websocket.send", kind: content})

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(Exception):
                await self._send({"type": "websocket.close", "code": 1001})


Handler = Callable[[Socket], Coroutine[Any, Any, None]]


class Sockets:
    """The open connections of one face, by path."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._open: dict[Socket, asyncio.Task[Any]] = {}
        #: Connections are accepted.
        self.up = True
        #: Connections stay and nothing is sent on them.
        self.silent = False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection from its handshake to its end."""
        await receive()
        handler = self._handlers.get(scope["path"])
        if handler is None or not self.up:
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        socket = Socket(receive, send, self)
        self._open[socket] = asyncio.ensure_future(handler(socket))
        try:
            await self._open[socket]
        except (Closed, asyncio.CancelledError):
            pass
        finally:
            self._open.pop(socket).cancel()
            await socket.close()

    def steer(self, *, up: bool, silent: bool) -> int:
        """Let connections be, or cut them all and take none; returns how many are open now."""
        self.up, self.silent = up, silent
        if not up:
            for task in self._open.values():
                task.cancel()
        return len(self._open) if up else 0


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do these until the first of them ends, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
