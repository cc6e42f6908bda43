"""The only importer of ``breeze_connect`` (1.0.69), and its tamer.

The package, imported plainly, downloads a 3 MB archive, makes ``./logs`` and writes every answer there,
puts itself into ``sys.path`` and a module called ``config`` into ``sys.modules``, and turns IPv6 off for
the process. Its calls have no timeout and follow redirects. :func:`load` undoes the former, and the
stand-in for ``requests`` puts the account's wire under the latter; the SDK's own code is not changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit, urlunsplit

from brokers.adapters.breeze.errors import Reply
from brokers.adapters.breeze.feed_socket import FeedSocket, Prices
from brokers.domain.errors import SDKMissing
from brokers.wire import Wire, WireTrace

PACKAGE = "breeze_connect"
#: An empty archive, so that importing fetches nothing.
NO_MASTER = "data:application/zip;base64,UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="
SDK_LOGGERS = ("APILogger", "WebsocketLogger")
#: Errors of these packages are the network's or the SDK's; any other came from outside and must not be swallowed.
OWN_FAULTS = frozenset({"builtins", "json", "httpx", "httpcore", "h11", "ssl", "socket", "brokers", "binascii"})

_lock = threading.Lock()
_loaded: ModuleType | None = None
_route: ContextVar[tuple[Wire, str | None] | None] = ContextVar("breeze_route", default=None)


def load() -> ModuleType:
    """The SDK's module, imported once a process without its side effects. Call it before forking workers.

    :raises ModuleNotFoundError: the package is not installed.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _import_quietly()
        return _loaded


def _import_quietly() -> ModuleType:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    # What the SDK imports itself comes first, so that the folder and module path are borrowed for a moment only.
    connection: Any = importlib.import_module("urllib3.util.connection")
    for name in ("pandas", "requests", "socketio"):
        importlib.import_module(name)
    has_ipv6 = connection.HAS_IPV6
    try:
        with _borrowed_folder(), _borrowed_config(Path(found.origin).parent / "config.py"):
            module = importlib.import_module(f"{PACKAGE}.{PACKAGE}")
            _silence_loggers()
    finally:
        connection.HAS_IPV6 = has_ipv6
    module.requests = _Requests()  # type: ignore[attr-defined]
    return module


@contextmanager
def _borrowed_folder() -> Iterator[None]:
    """Stand in an empty folder while the SDK makes ``./logs``; files opened there are gone with it."""
    before = os.open(".", os.O_RDONLY)
    try:
        with tempfile.TemporaryDirectory(prefix="mcube-") as folder:
            os.chdir(folder)
            try:
                yield
            finally:
                os.fchdir(before)
    finally:
        os.close(before)


@contextmanager
def _borrowed_config(path: Path) -> Iterator[None]:
    """Let the SDK find its settings under the name ``config``, then give that name back."""
    spec = importlib.util.spec_from_file_location("config", path)
    if spec is None or spec.loader is None:
        raise SDKMissing(f"The Breeze SDK is incomplete: {path.name} is missing; install the extra again.")
    config = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(config)
    config.SECURITY_MASTER_URL = NO_MASTER  # type: ignore[attr-defined]
    search_path, owner = list(sys.path), sys.modules.get("config")
    sys.modules["config"] = config
    try:
        yield
    finally:
        sys.path[:] = search_path
        if owner is None:
            del sys.modules["config"]
        else:
            sys.modules["config"] = owner


def _silence_loggers() -> None:
    """Answers hold names, funds and orders: the SDK's loggers get no handler and no parent."""
    for name in SDK_LOGGERS:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


class _Requests:
    """What the SDK takes for the ``requests`` module: the open account's wire."""

    def get(
        self,
        url: str,
        data: str = "",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> _Answer:
        return self._send("GET", f"{url}?{urlencode(params)}" if params else url, data, headers)

    def post(self, url: str, data: str = "", headers: Mapping[str, str] | None = None) -> _Answer:
        return self._send("POST", url, data, headers)

    def put(self, url: str, data: str = "", headers: Mapping[str, str] | None = None) -> _Answer:
        return self._send("PUT", url, data, headers)

    def delete(self, url: str, data: str = "", headers: Mapping[str, str] | None = None) -> _Answer:
        return self._send("DELETE", url, data, headers)

    def _send(self, method: str, url: str, data: str, headers: Mapping[str, str] | None) -> _Answer:
        route = _route.get()
        if route is None:
            raise RuntimeError("The Breeze SDK was called outside of its client; nothing was sent.")
        wire, base_url = route
        reply = wire.request(method, redirected(url, base_url), headers, data.encode())
        return _Answer(reply.status, reply.body)


class _Answer:
    """The part of a ``requests`` response that the SDK reads."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status_code = status
        self._body = body

    def json(self) -> object:
        """The body as JSON, its fractions as Decimal."""
        return json.loads(self._body, parse_float=Decimal, parse_constant=_refuse_constant)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number.")


def redirected(url: str, base_url: str | None) -> str:
    """``url`` on another host, when the account is pointed at one; the path stays."""
    if base_url is None:
        return url
    return urlunsplit(urlsplit(base_url)[:2] + urlsplit(url)[2:])


class Client:
    """One account's ``BreezeConnect`` over the account's wire."""

    def __init__(self, *, api_key: str, api_secret: str, wire: Wire, base_url: str | None) -> None:
        self._module = load()
        self._wire = wire
        self._base_url = base_url
        self._secrets = [api_key, api_secret]
        self._api_secret = api_secret
        self._sdk: Any = self._module.BreezeConnect(api_key)
        # The SDK would download and parse its whole master on each login, 70 MB a client.
        self._sdk.get_stock_script_list = lambda: None

    def log_in(self, api_session: str) -> Reply:
        """Exchange the token of the login page for a session key; on success :meth:`identity` has it."""
        self._secrets.append(api_session)
        return self._observe(lambda: self._sdk.generate_session(api_secret=self._api_secret, session_token=api_session))

    def identity(self) -> tuple[str, str]:
        """User id and decoded session key; the key is a secret."""
        return self._sdk.user_id, self._sdk.session_key

    def resume(self, user_id: str, session_key: str) -> None:
        """Continue a session that another process opened, without a call."""
        self._secrets.append(session_key)
        self._sdk.user_id = user_id
        self._sdk.session_key = session_key
        self._sdk.secret_key = self._api_secret
        self._sdk.api_handler = self._module.ApificationBreeze(self._sdk)

    def call(self, method: str, **arguments: object) -> Reply:
        """One method of the SDK, by its name."""
        return self._observe(lambda: getattr(self._sdk, method)(**arguments))

    def put_order(self, body: Mapping[str, str]) -> Reply:
        """Modify an order by the SDK's signed PUT.

        Its ``modify_order`` reads the order first and takes a throttled read for "Order not found" and a
        queued order for an executed one, so that step is left out.
        """

        def put() -> object:
            handler = self._sdk.api_handler
            text = json.dumps(body, separators=(",", ":"))
            answer = handler.make_request(
                self._module.req_type.PUT,
                self._module.api_endpoint.ORDER.value,
                text,
                handler.generate_headers(text),
            )
            return answer.json()

        return self._observe(put)

    def download(self, url: str) -> bytes:
        """Fetch a public file over the account's wire.

        :raises httpx.TransportError: as the wire names it.
        :raises ValueError: the answer is no file.
        """
        reply = self._wire.request("GET", redirected(url, self._base_url))
        if reply.status != 200:
            raise ValueError(f"HTTP {reply.status}")
        return reply.body

    def rate_socket(self, prices: Prices, over: Callable[[], None]) -> FeedSocket:
        """A connected socket for prices; ``over`` is called at its end.

        :raises FeedRefused: the session is not taken.
        :raises FeedCut: no connection came about.
        :raises HostRefused: the wire may not reach the address.
        """
        return FeedSocket(self._module, self._sdk, self._wire, "LIVE_STREAM_URL", acts={}, over=over, prices=prices)

    def order_socket(self, act: Callable[[object], None], over: Callable[[], None]) -> FeedSocket:
        """A connected socket whose ``order`` events ``act`` is given, otherwise as :meth:`rate_socket`."""
        return FeedSocket(self._module, self._sdk, self._wire, "LIVE_FEEDS_URL", acts={"order": act}, over=over)

    def _observe(self, act: Callable[[], object]) -> Reply:
        with self._open_call() as trace:
            seen = len(trace.records)
            payload: object = None
            failure: Exception | None = None
            token = _route.set((self._wire, self._base_url))
            try:
                payload = _run(act)
            except _SDKRaised as raised:
                stranger = _stranger(raised.error)
                if stranger is not None:
                    raise stranger from None
                failure = raised.error
            finally:
                _route.reset(token)
            trace.raise_interruption()
            return Reply(
                payload=payload, error=failure, records=tuple(trace.records[seen:]), secrets=tuple(self._secrets)
            )

    @contextmanager
    def _open_call(self) -> Iterator[WireTrace]:
        trace = self._wire.trace
        if trace is not None:
            yield trace
            return
        with self._wire.call() as opened:
            yield opened


class _SDKRaised(Exception):
    """The SDK raised, which it does in bare exceptions only."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _run(act: Callable[[], object]) -> object:
    try:
        return act()
    except Exception as error:
        raise _SDKRaised(error) from error


def _stranger(error: BaseException | None) -> BaseException | None:
    """The first error in the chain that neither the SDK nor the network raised, e.g. a task's time limit."""
    for _ in range(16):
        if error is None:
            return None
        if type(error).__module__.partition(".")[0] not in OWN_FAULTS:
            return error
        error = error.__cause__ or error.__context__
    return None
