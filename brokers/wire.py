"""The one HTTP transport under both SDKs.

A total deadline for each call, no redirects, no retries, HTTP/1.1 only, no proxies, an allow-list of
hosts, and for every request a record of what left and what came back. SDKs lose these facts; the
ledger needs them to tell "not sent" from "may have arrived".

Use::

    with wire.call(total_seconds=10, before_first_byte=gate) as trace:
        reply = sdk.place_order(...)
    trace.last.first_byte_at is None     # proven: nothing left this machine
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING

import httpcore
import httpx

from brokers.domain.errors import NotSent
from brokers.domain.evidence import WireEvidence

if TYPE_CHECKING:
    from brokers.interfaces import Clock

CONNECT_SECONDS = 3.0
DEFAULT_TOTAL_SECONDS = 10.0
#: Idle connections are dropped this soon, so that a request rarely meets one the broker has closed.
KEEPALIVE_SECONDS = 2.0
#: An instrument master is about 30 MB; nothing else comes near.
MAX_BODY_BYTES = 128 * 1024 * 1024


class HostRefused(NotSent):
    """The request was for a host that this wire may not reach."""


class ReplyTooLarge(Exception):
    """The reply's body is larger than any the brokers send."""


@dataclass(kw_only=True)
class WireRecord:
    """One HTTP request as it happened. ``body`` is the reply's, None when none was read whole."""

    method: str
    target: str
    started_at: datetime
    first_byte_at: datetime | None = None
    finished_at: datetime | None = None
    http_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    error: BaseException | None = None

    @property
    def clock_skew_seconds(self) -> float | None:
        """This machine's clock minus the server's, by the reply's ``Date``; None when it says none."""
        if self.finished_at is None or "date" not in self.headers:
            return None
        try:
            theirs = parsedate_to_datetime(self.headers["date"])
        except ValueError:
            return None
        return (self.finished_at - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))).total_seconds()

    def evidence(self) -> WireEvidence:
        chain: list[str] = []
        error = self.error
        while error is not None and len(chain) < 8:
            chain.append(type(error).__name__)
            error = error.__cause__ or error.__context__
        return WireEvidence(
            method=self.method,
            target=self.target,
            started_at=self.started_at,
            first_byte_at=self.first_byte_at,
            finished_at=self.finished_at or self.started_at,
            http_status=self.http_status,
            content_type=self.headers.get("content-type", ""),
            body_sha256=hashlib.sha256(self.body).hexdigest() if self.body is not None else "",
            exceptions=tuple(chain),
            server_date=self.headers.get("date", ""),
        )


@dataclass(kw_only=True)
class WireTrace:
    """The requests made inside one ``wire.call``."""

    deadline: float
    before_first_byte: Callable[[], None] | None = None
    records: list[WireRecord] = field(default_factory=list)

    @property
    def last(self) -> WireRecord | None:
        return self.records[-1] if self.records else None

    @property
    def left_this_machine(self) -> bool:
        """Whether any byte of any request in this call was handed to a socket."""
        return any(record.first_byte_at is not None for record in self.records)

    def raise_interruption(self) -> None:
        """Raise again what an SDK may have swallowed and is no fault of the network, e.g. a time limit."""
        for record in self.records:
            if record.error is not None and not isinstance(
                record.error,
                (
                    httpx.HTTPError,
                    httpcore.TimeoutException,
                    httpcore.NetworkError,
                    httpcore.ProtocolError,
                    httpcore.ConnectionNotAvailable,
                    OSError,
                    NotSent,
                    ReplyTooLarge,
                ),
            ):
                raise record.error


@dataclass(frozen=True, kw_only=True, slots=True)
class WireReply:
    """A complete reply, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_trace: ContextVar[WireTrace | None] = ContextVar("wire_trace", default=None)


class _Stream(httpcore.NetworkStream):
    """A socket that keeps the call's deadline and notes the first byte that leaves."""

    def __init__(self, inner: httpcore.NetworkStream, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._wire.remaining(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.note_first_byte()
        self._inner.write(buffer, self._wire.remaining(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = min(CONNECT_SECONDS, self._wire.remaining(httpcore.ConnectTimeout))
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, seconds), self._wire)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, wire: Wire) -> None:
        self._inner = httpcore.SyncBackend()
        self._wire = wire

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        seconds = min(CONNECT_SECONDS, self._wire.remaining(httpcore.ConnectTimeout))
        return _Stream(self._inner.connect_tcp(host, port, seconds, local_address, socket_options), self._wire)


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for the process: building it reads every certificate authority."""
    return httpx.create_ssl_context(trust_env=False)


class Wire:
    """HTTP for one broker account in one process. Threads may share it; a forked child may not."""

    def __init__(
        self,
        *,
        clock: Clock,
        allowed_hosts: frozenset[str],
        allowed_suffixes: tuple[str, ...] = (),
        routes: Mapping[str, str] | None = None,
    ) -> None:
        """``routes`` sends a host to another base URL: ``{"api.broker.in": "http://127.0.0.1:8101"}``.

        ``allowed_suffixes`` allow every host below a domain: ``(".broker.in",)``.
        """
        self._clock = clock
        self._allowed_hosts = allowed_hosts
        self._allowed_suffixes = allowed_suffixes
        self._routes = {host: httpx.URL(url) for host, url in (routes or {}).items()}
        self._record: ContextVar[WireRecord | None] = ContextVar("wire_record", default=None)
        self._lock = threading.Lock()
        self._pool: httpcore.ConnectionPool | None = None

    @contextmanager
    def call(
        self, *, total_seconds: float = DEFAULT_TOTAL_SECONDS, before_first_byte: Callable[[], None] | None = None
    ) -> Iterator[WireTrace]:
        """Open one call: everything sent inside shares ``total_seconds`` and lands in the trace.

        ``before_first_byte`` runs just before the first byte of each request; what it raises proves
        that the request was not sent.
        """
        trace = WireTrace(deadline=self._clock.monotonic() + total_seconds, before_first_byte=before_first_byte)
        token = _trace.set(trace)
        try:
            yield trace
        finally:
            _trace.reset(token)

    @property
    def trace(self) -> WireTrace | None:
        """The trace of the call that is open here, or None."""
        return _trace.get()

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> WireReply:
        """Send one request and read its whole reply.

        :raises HostRefused: the host is not on the allow-list; nothing was sent.
        :raises httpx.TransportError: as httpx names it; the trace says whether a byte had left.
        """
        trace = _trace.get()
        if trace is None:
            with self.call():
                return self.request(method, url, headers, body)
        target = self._target(httpx.URL(url))
        record = WireRecord(method=method, target=f"{target.host}{target.path}", started_at=self._clock.real_now())
        trace.records.append(record)
        token = self._record.set(record)
        try:
            return self._send(record, method, target, dict(headers or {}), body)
        except BaseException as error:
            record.error = error
            raise
        finally:
            record.finished_at = self._clock.real_now()
            self._record.reset(token)

    def address(self, url: str) -> str:
        """Where a web socket of this account may connect for ``url``: on its route, and to an allowed host only.

        :raises HostRefused: the host is not on the allow-list, or the broker's own is named without TLS.
        """
        target = self._target(httpx.URL(url))
        if not self._routes and target.scheme not in ("https", "wss"):
            raise HostRefused(f"Host {target.host} was named without TLS; nothing was sent.")
        return str(target)

    def transport(self) -> httpx.BaseTransport:
        """This wire as an httpx transport, for an SDK that takes one."""
        return _HttpxTransport(self)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def remaining(self, error: type[Exception]) -> float:
        """Seconds left of the open call.

        :raises Exception: ``error``, when none are left.
        """
        trace = _trace.get()
        if trace is None:
            return DEFAULT_TOTAL_SECONDS
        seconds = trace.deadline - self._clock.monotonic()
        if seconds <= 0:
            raise error("The call's total deadline has passed.")
        return seconds

    def note_first_byte(self) -> None:
        """Run the last gate and note the time, once a request."""
        record, trace = self._record.get(), _trace.get()
        if record is None or record.first_byte_at is not None:
            return
        if trace is not None:
            self.remaining(httpcore.ConnectTimeout)
            if trace.before_first_byte is not None:
                trace.before_first_byte()
        record.first_byte_at = self._clock.real_now()

    def _target(self, url: httpx.URL) -> httpx.URL:
        route = self._routes.get(url.host)
        if route is not None:
            url = url.copy_with(scheme=route.scheme, host=route.host, port=route.port)
        if url.host not in self._allowed_hosts and not url.host.endswith(self._allowed_suffixes):
            raise HostRefused(f"Host {url.host} is not on this account's allow-list; nothing was sent.")
        return url

    def _send(self, record: WireRecord, method: str, url: httpx.URL, headers: dict[str, str], body: bytes) -> WireReply:
        host = url.netloc.decode()
        fields = [(b"Host", host.encode())]
        fields += [
            (name.encode(), value.encode())
            for name, value in headers.items()
            if name.lower() not in ("host", "content-length", "transfer-encoding")
        ]
        if body or method in ("POST", "PUT", "PATCH"):
            fields.append((b"Content-Length", str(len(body)).encode()))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            with self._connections().stream(method, target, headers=fields, content=body) as reply:
                record.http_status = reply.status
                record.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in reply.headers}
                content = self._read(reply)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error
        record.body = content
        return WireReply(status=reply.status, headers=record.headers, body=content)

    def _read(self, reply: httpcore.Response) -> bytes:
        decoder = httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply))
        content = bytearray()
        for chunk in decoder.iter_bytes():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                raise ReplyTooLarge(f"The reply is larger than {MAX_BODY_BYTES} bytes.")
        return bytes(content)

    def _connections(self) -> httpcore.ConnectionPool:
        with self._lock:
            if self._pool is None:
                self._pool = httpcore.ConnectionPool(
                    ssl_context=_ssl_context(),
                    max_connections=20,
                    keepalive_expiry=KEEPALIVE_SECONDS,
                    http1=True,
                    http2=False,
                    retries=0,
                    network_backend=_Backend(self),
                )
            return self._pool


class _Body(httpx.SyncByteStream):
    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        yield from self._reply.iter_stream()


class _HttpxTransport(httpx.BaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        reply = self._wire.request(request.method, str(request.url), dict(request.headers.items()), request.read())
        headers = {
            k: v
            for k, v in reply.headers.items()
            if k not in ("content-encoding", "content-length", "transfer-encoding")
        }
        return httpx.Response(reply.status, headers=headers, content=reply.body, request=request)

    def close(self) -> None:
        self._wire.close()
