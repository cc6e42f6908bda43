"""A socket of the SDK's libraries that never reconnects, handles messages in order, and keeps up with what comes.

The libraries are python-socketio, its engineio, and websocket-client, as SDK 1.0.69 brings them (read and tried 2026-11-28). By
themselves they start a thread for each message, check each text twice, once in Python, and read a frame in three calls.
"""

from __future__ import annotations

import json
import logging
import re
import select
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from brokers.conflation import ConflatingQueue
from brokers.wire import Wire

log = logging.getLogger("brokers.breeze.feed")

#: Rows beyond which the newest of an instrument takes the place of what waits: some 20 ms of work.
MOST_WAITING = 1000
#: Rows that are handled before the socket is looked at again.
ROWS_AT_ONCE = 50
#: Bytes taken from the network at once.
CHUNK = 1 << 16
#: How a text with prices begins: its type, the event's name, and the token.
PRICES = re.compile(r'2\["stock",\s*\["(?P<token>[^"]*)"')


class FeedRefused(Exception):
    """The feed does not take the session."""


class FeedCut(Exception):
    """The feed's connection is gone, or none came about."""


class Prices:
    """Rows of prices that wait to be handled. Of the one thread that reads the socket."""

    def __init__(
        self, act: Callable[[object, datetime], None], replaced: Callable[[int], None], now: Callable[[], datetime]
    ) -> None:
        """``act`` is given a row and when it came, ``replaced`` how many were replaced by newer ones."""
        self._act = act
        self._replaced = replaced
        self._now = now
        self._came_at = now()
        self._waiting = ConflatingQueue[tuple[str, datetime]](MOST_WAITING)

    def note_arrival(self) -> None:
        self._came_at = self._now()

    def takes(self, text: object) -> bool:
        """Keep a text with prices for later; False for any other."""
        if not isinstance(text, str) or (found := PRICES.match(text)) is None:
            return False
        self._waiting.put(found["token"], (text, self._came_at))
        return True

    def handle_some(self) -> bool:
        """Whether more wait."""
        for _ in range(ROWS_AT_ONCE):
            if (taken := self._waiting.take()) is None:
                break
            text, came_at = taken
            try:
                _, row = json.loads(text[1:])
            except ValueError:
                log.warning("Breeze's rate feed sent what is no event: %s", text[:80])
                continue
            self._act(row, came_at)
        if replaced := self._waiting.take_replaced():
            self._replaced(replaced)
        return bool(self._waiting)


class FeedSocket:
    """One connection. ``url`` is of the configured names of the SDK's module."""

    def __init__(
        self,
        module: Any,
        sdk: Any,
        wire: Wire,
        url: str,
        *,
        acts: Mapping[str, Callable[[object], None]],
        over: Callable[[], None],
        prices: Prices | None = None,
    ) -> None:
        """``over`` is called at the connection's end."""
        address = wire.address(getattr(module.config, url))
        refusals: list[object] = []
        self._handler = module.SocketEventBreeze("/", sdk)
        #: What the library opens, since it forgets a socket on which the server does not say the first word.
        self._opened: list[Any] = []
        self._handler.sio = client = _client(module.socketio, self._opened, prices)
        for event, act in acts.items():
            client.on(event, act)
        client.on("connect_error", refusals.append)
        client.on("disconnect", lambda *_: over())
        try:
            self._handler.connect(address)
        except Exception as error:
            self.close()
            # What the server says of itself is a mapping; the library's own words of the network are text.
            if any(isinstance(each, Mapping) for each in refusals):
                raise FeedRefused from error
            raise FeedCut(str(error)) from error

    def emit(self, event: str, tokens: list[str]) -> None:
        """:raises FeedCut: the connection is gone."""
        try:
            self._handler.sio.emit(event, tokens)
        except Exception as error:
            raise FeedCut(str(error)) from error

    def close(self) -> None:
        """The SDK's own ``ws_disconnect`` leaves the connection open, and the library the socket that a server closed."""
        self._handler.sio.disconnect()
        for socket in self._opened:
            socket.shutdown()


def _client(socketio: Any, opened: list[Any], prices: Prices | None) -> Any:
    """A client of the library that follows no redirect and uses no proxy, which would lead past the allowed hosts."""
    engineio = socketio.client.engineio

    class Reading(engineio.client.websocket.WebSocket):  # type: ignore[misc,name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._ahead, self._place = b"", 0
            opened.append(self)

        def _recv(self, bufsize: int) -> bytes:
            if self._place == len(self._ahead):
                # While nothing comes, what waits is handled; otherwise some of it, so that the network keeps nothing back.
                while prices and prices.handle_some() and not select.select([self.sock], [], [], 0)[0]:
                    pass
                self._ahead, self._place = super()._recv(CHUNK), 0
                if prices:
                    prices.note_arrival()
            start, self._place = self._place, min(self._place + bufsize, len(self._ahead))
            return self._ahead[start : self._place]

    class Engine(engineio.Client):  # type: ignore[misc,name-defined]
        def _trigger_event(self, event: str, *args: Any, **options: Any) -> Any:
            if event == "message" and prices and prices.takes(args[0]):
                return None
            # Otherwise each message gets a thread of its own, and they overtake one another.
            return super()._trigger_event(event, *args, **{**options, "run_async": False})

    class Connection(socketio.Client):  # type: ignore[misc]
        def _engineio_client_class(self) -> Any:
            return Engine

    options = {
        "class_": Reading,
        "redirect_limit": 0,
        # The library looks at "no proxy" only where a proxy is named; otherwise it takes the environment's.
        "http_proxy_host": "none.invalid",
        "http_proxy_port": 1,
        "http_no_proxy": ["*"],
        # It is decoded afterwards, which refuses what is no UTF-8 as well.
        "skip_utf8_validation": True,
    }
    return Connection(reconnection=False, handle_sigint=False, websocket_extra_options=options)
