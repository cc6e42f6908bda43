"""The only importer of Kotak's SDK.

Importing the package changes what belongs to others: it configures structlog for the whole process, sets the
levels of httpx and httpcore, opens ``./logs`` and logs login answers. :func:`load` imports it once, late, and
puts everything back; the SDK's own loggers stay silent for good.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import structlog

from brokers.domain.errors import NotSent

if TYPE_CHECKING:
    from brokers.adapter_interface import AdapterContext
    from brokers.wire import Wire

#: Read by the SDK while it is imported (3.0.9, logger.py).
_QUIET = {"NEO_LOG_FILE_ENABLED": "false", "NEO_LOG_LEVEL": "NOLOG", "NEO_LOG_FILE_LEVEL": "NOLOG"}
#: Read by the SDK at each use (3.0.9, utils): private data must not land in the home directory.
_CACHE_VARIABLES = ("NEO_SCRIP_CACHE_DIR", "NEO_HOLDINGS_CACHE_DIR")
#: The wire keeps the deadline; the SDK's own timeout (seconds, for each read) must not be the shorter one.
_SDK_TIMEOUT_SECONDS = 120

#: From the start of a feed's connection until it is open.
_OPEN_SECONDS = 5
#: Frames that wait to be split; the library's sixteen would leave the rest with the network, where they grow old.
_FRAMES = 512


@cache
def load() -> ModuleType:
    """Import the SDK and leave the process as it was.

    :raises ModuleNotFoundError: the package is not installed.
    """
    with _structlog_kept(), _levels_kept("httpx", "httpcore"), _environment(_QUIET):
        import neo_api_client

        _pin_loggers(neo_api_client.__name__)
        _guard_sockets()
    folder = tempfile.mkdtemp(prefix="kotakneo-sdk-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for variable in _CACHE_VARIABLES:
        os.environ.setdefault(variable, folder)
    module: ModuleType = neo_api_client
    return module


def client(context: AdapterContext) -> Any:
    """A client of the SDK over the account's wire: no redirects, no HTTP/2, no call made yet."""
    with structlog.contextvars.bound_contextvars(environment=""):  # the SDK binds one and leaves it there
        neo = load().NeoAPI(
            consumer_key=context.secrets["api_key"],
            environment="prod",
            transport=context.wire.transport(),
            http2=False,
            timeout=_SDK_TIMEOUT_SECONDS,
        )
    neo.api_client.rest_client.session.follow_redirects = False
    # After each answer it would write the holdings to a file, and lose the answer when it cannot (3.0.9, neo_api.py).
    neo._cache_holdings_response = _keep_nothing
    return neo


def _keep_nothing(_: object) -> None:
    pass


def raised_errors() -> tuple[type[Exception], ...]:
    """What quotes and login raise where the other methods return it in a dict."""
    load()
    from neo_api_client.exceptions import OpenApiException

    return (OpenApiException, TypeError, AttributeError, LookupError, ValueError)


def feeds(client: Any, wire: Wire) -> tuple[Any, Any]:
    """The sockets for prices and for order events of the client's session: not connected, and never reconnecting.

    :raises HostRefused: a feed's address is one that the wire may not reach.
    """
    once = {"reconnect_delay": 0, "max_reconnect_attempts": 0, "max_connect_retries": 0}
    sockets = client.create_websocket(**once), client.create_order_feed(**once)
    for socket in sockets:
        url = wire.address(socket.url)
        # The SDK takes both schemes where it makes a socket, and only the socket's own where it connects.
        socket.url = f"ws{url.removeprefix('http')}" if url.startswith("http") else url
        # Every message goes into a queue without a bound as well, which nobody reads here.
        socket._message_queue = _Nowhere()
    return sockets


def when_over(socket: Any, act: Callable[[], None]) -> None:
    """Have ``act`` called when a connected socket receives nothing any more.

    The SDK's ``on_disconnect`` is not called when the end comes right behind a message (3.0.9, seen 2026-11-28).
    """
    socket._receive_task.add_done_callback(lambda _: act())


def when_packets(socket: Any, act: Callable[[list[bytes]], None]) -> None:
    """Have ``act`` called with what each frame of the market feed holds, undecoded, in place of the SDK's own way.

    That decodes everything at once however much waits, and holds back what it has no trading symbol for yet.
    """
    from neo_api_client.websocket.feed.protocol import split_batch

    socket._handle_binary_frame = lambda frame: act(split_batch(frame))


def decoded(socket: Any, packet: bytes) -> Any:
    """The SDK's message of a packet; None when it makes nothing of it."""
    return socket._decode_packet(packet)


def feed_token(segment: str, token: str) -> Any:
    """What a subscription names an instrument by."""
    from neo_api_client.websocket.feed import WsToken

    return WsToken(segment, token)


def feed_refusals() -> tuple[type[Exception], ...]:
    """What a feed raises when the session is not taken."""
    from neo_api_client.websocket.feed.exceptions import AuthenticationError as OfMarket
    from neo_api_client.websocket.orderfeed.exceptions import AuthenticationError as OfOrders

    return (OfMarket, OfOrders)


def feed_errors() -> tuple[type[Exception], ...]:
    """What a feed raises when it cannot be reached or is cut, or may not be."""
    from neo_api_client.websocket.feed.exceptions import SFeedWebSocketError
    from neo_api_client.websocket.orderfeed.exceptions import OrderFeedWebSocketError

    return (SFeedWebSocketError, OrderFeedWebSocketError, NotSent, OSError)


class _Nowhere:
    def put_nowait(self, _: object) -> None:
        pass


def _guard_sockets() -> None:
    """Have the SDK's sockets follow no redirect and use no proxy: either would lead past the list of allowed hosts."""
    from neo_api_client.websocket.feed import client as market
    from neo_api_client.websocket.orderfeed import client as orders

    modules: tuple[Any, ...] = (market, orders)
    library = modules[0].websockets

    class Connect(library.connect):  # type: ignore[misc,name-defined]
        def __init__(self, uri: str, **options: Any) -> None:
            kept = {"open_timeout": _OPEN_SECONDS, "close_timeout": 1, "max_queue": _FRAMES}
            super().__init__(uri, proxy=None, **kept, **options)

        def process_redirect(self, exc: Exception) -> Exception:
            return exc

    guarded = SimpleNamespace(connect=Connect, exceptions=library.exceptions)
    for module in modules:
        module.websockets = guarded


def _pin_loggers(package: str) -> None:
    """Fix every logger of the SDK to the silent configuration that is set while it is imported."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and hasattr(getattr(module, "logger", None), "bind"):
            module.logger.bind()


@contextmanager
def _structlog_kept() -> Iterator[None]:
    configured, saved = structlog.is_configured(), structlog.get_config()
    # The SDK sets no wrapper class, so its loggers get this one, which drops all it ever logs (3.0.9: up to error).
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**saved)
        if not configured:
            structlog.reset_defaults()


@contextmanager
def _levels_kept(*names: str) -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
