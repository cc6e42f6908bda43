"""Celery's Redis transport, mended, taught to leave room for orders, and made to cost less.

All of it reaches into kombu, whose version is therefore pinned by Celery's; the tests that show why
(``tests/acceptance/test_queue_outage.py``, ``tests/acceptance/test_read_slots.py``) say when they may go.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import kombu.transport
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

#: How long one BRPOP waits at most while reads are left in the queue. The end of a read ends it at once, unless the
#: server does not let clients do that.
GATED_POLL_SECONDS = 0.1


def _always() -> bool:
    return True


class Channel(kombu_redis.Channel):
    """Survives a restart of the queue server, and takes no read while reads fill their share of the slots."""

    #: Asked before every poll. While it says no, the list of the lowest priority, the reads', is left alone.
    reads_may_start: Callable[[], bool] = staticmethod(_always)

    #: What publishes and acknowledges, one for the pool that it was made for.
    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        # kombu 5.7.0 makes one for every command. That costs several times what the command does: redis-py fills a
        # table of hundreds of commands for each. It holds no connection; the pool does.
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        kept = self._kept_client
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept_client = super()._create_client()  # type: ignore[misc]
        return kept

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        # kombu 5.7.0 closes a lost connection's channel twice. The second close, and the late ack of a task
        # that ran meanwhile, ask for parameters that are gone and get an AttributeError, which nothing
        # expects: the worker exits. A lost connection is an error that it does expect.
        if self._is_lost():
            raise RedisConnectionError("The connection to the queue server was lost and is closed.")
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        return params

    def close(self) -> None:
        if self._is_lost():
            # What this channel held is still on the server, which gives it out again after the visibility
            # timeout. Putting it back now would run it beside the copy that is running here.
            self.do_restore = False
        super().close()

    def _is_lost(self) -> bool:
        return self.connection is None or self.connection.client is None

    #: kombu's: the connection that a poll waits on.
    _in_poll: Any
    #: The poll under way leaves reads alone, and the server's number of the connection that it waits on, by its socket.
    _is_gated = False
    _number: tuple[Any, int] | None = None

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._is_gated = not self.reads_may_start()
        if not self._is_gated:
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        self._look_up_number()
        steps = self.priority_steps
        self.priority_steps = steps[:-1]
        try:
            super()._brpop_start(GATED_POLL_SECONDS)  # type: ignore[misc]
        finally:
            self.priority_steps = steps

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """A read is acknowledged when it has ended: if that frees its slot, the next poll takes reads again."""
        super().basic_ack(delivery_tag, multiple=multiple)
        if self._in_poll and self._is_gated and self._number and self.reads_may_start():
            with suppress(RedisError):
                self._create_client().client_unblock(self._number[1])

    def _look_up_number(self) -> None:
        """Ask once for each connection, while nothing waits on it."""
        connection = self.client.connection
        if self._number is None or self._number[0] is not connection._sock:
            self._number = None
            connection.send_command("CLIENT", "ID")
            with suppress(ResponseError):
                self._number = (connection._sock, int(self.client.parse_response(connection, "CLIENT ID")))


class Transport(kombu_redis.Transport):
    Channel = Channel


def settings_for(redis_url: str) -> dict[str, Any]:
    """Celery's settings for the queue server that the rest of mcube reaches by ``redis_url``.

    Celery and Flower take what TLS needs apart from the address; kombu checks no certificate unless told to.
    """
    parts = urlsplit(redis_url)
    options = dict(parse_qsl(parts.query))
    tls: dict[str, Any] = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    url = parts._replace(query=urlencode(options)).geturl().replace("unix://", "redis+socket://", 1)
    if parts.scheme == "rediss":
        tls |= {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return {"broker_url": url, "broker_use_ssl": tls or None}


def install() -> None:
    """Make ``redis://`` and ``rediss://`` mean this transport, before the first connection of the process."""
    for scheme in ("redis", "rediss"):
        kombu.transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
