"""What the faces share of HTTP: one request value, one reply value, and the app that runs a face.

A face is an object with four methods, all plain functions without awaiting, so that each call is atomic: the app
reads the body, serves ``/_sim/``, counts the call, applies limits and faults and sends the reply.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from brokers.simulator.control import Control
from brokers.simulator.faults import MUTATIONS, REFUSALS, REPLIES, SPOIL_THE_REPLY, Fault, Kind, When
from brokers.simulator.sockets import Receive, Scope, Send, Sockets

if TYPE_CHECKING:
    from brokers.simulator.accounts import SimulatedAccount
    from brokers.simulator.exchange import SimulatedExchange

App = Callable[[Scope, Receive, Send], Awaitable[None]]

HTML_PAGE = (
    b"<html><head><title>An error occurred</title></head><body><h1>An error occurred.</h1>"
    b"<p>Sorry, the page you are looking for is currently unavailable.</p><hr>nginx</body></html>"
)
HANG_SECONDS = 3_600.0
DRIP_SECONDS = 0.25
#: Who asks, for those who check afterwards. Nothing in the product sends it.
REFERENCE = "x-reference"
#: Endpoints whose success is a fresh login.
LOGINS = frozenset({"login", "customer"})


@dataclass(kw_only=True, slots=True)
class Request:
    """One HTTP request, its body complete."""

    method: str
    #: Decoded path without the query.
    path: str
    #: The path as it came, percent-encoded.
    raw_path: bytes
    #: The query string as it came.
    query: bytes
    #: Lower-case names.
    headers: Mapping[str, str]
    body: bytes
    #: ``host:port`` that the client spoke to.
    host: str = ""
    #: When its first byte came, as an epoch of the wall; 0 when the server did not note it.
    began_at: float = 0.0


@dataclass(kw_only=True, slots=True)
class Reply:
    """One HTTP reply; ``content`` that is neither bytes nor str is written as compact JSON."""

    content: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        if isinstance(self.content, str):
            return self.content.encode()
        return json.dumps(self.content, separators=(",", ":")).encode()


class Face(Protocol):
    """One broker's protocol. Implemented in that broker's folder."""

    #: The broker's name, as its ``SPEC`` has it.
    broker: str
    #: Its feeds.
    sockets: Sockets

    def endpoint(self, request: Request) -> str:
        """Which of :data:`brokers.simulator.faults.ENDPOINTS` is called; ``""`` when no such path exists."""

    def account(self, request: Request) -> SimulatedAccount | None:
        """Whose call it is by its headers, unchecked; None when that cannot be said."""

    def handle(self, endpoint: str, request: Request, account: SimulatedAccount | None) -> Reply:
        """Check the session, do it and answer in the broker's form. ``endpoint`` is ``""`` for unknown paths."""

    def refuse(self, fault: Fault, request: Request) -> Reply:
        """The broker's reply for a fault of kind SESSION_DEAD, RATE_LIMIT, STATIC_IP, REFUSE or NO_DATA.

        RATE_LIMIT comes here also when a real limit was exceeded; ``fault.body`` is then ``second``, ``minute`` or
        ``day``.
        """


class _Dropped(Exception):
    """The connection is to be closed without another byte."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


def face_app(exchange: SimulatedExchange, face: Face) -> App:
    """The ASGI app of a face: control endpoints, counters, limits, faults, then the face itself."""
    control = Control(exchange, face.broker, face.sockets)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await face.sockets.serve(scope, receive, send)
        if scope["type"] != "http":
            return
        try:
            request = await _read(scope, receive)
            if request.path.startswith("/_sim/"):
                status, body, content_type = control.handle(request.method, request.path, request.body)
                await _send(Reply(content=body, status=status, content_type=content_type), send)
            else:
                await _serve(exchange, face, request, receive, send)
        except _Dropped as dropped:
            await _close(scope, reset=dropped.reset)
        except asyncio.CancelledError:
            await _close(scope)

    return app


async def _serve(exchange: SimulatedExchange, face: Face, request: Request, receive: Receive, send: Send) -> None:
    endpoint, account = face.endpoint(request), face.account(request)
    fault = exchange.faults.take(face.broker, endpoint or "other", account.user_id if account else "", REPLIES)
    if exchange.requests and endpoint in MUTATIONS:
        exchange.requests.write(
            request.began_at or time.time(),
            exchange.clock.offset(),
            broker=face.broker,
            account=account.user_id if account else "",
            endpoint=endpoint,
            reference=request.headers.get(REFERENCE, ""),
            fault=f"{fault.kind} {fault.when}" if fault else "",
        )
    if fault and fault.when is When.BEFORE and fault.kind not in SPOIL_THE_REPLY:
        spoiled = await _spoil(fault, request, receive)
        if spoiled:
            await _send(spoiled, send)
            return
    reply = _answer(exchange, face, endpoint, request, account)
    if fault and fault.kind is Kind.DRIP:
        await _drip(reply, fault.seconds or DRIP_SECONDS, receive, send)
        return
    if fault and fault.kind is Kind.PARTIAL:
        await _send_half(reply, send)
        raise _Dropped
    if fault and fault.when is When.AFTER:
        reply = await _spoil(fault, request, receive) or reply
    await _send(reply, send)


def _answer(
    exchange: SimulatedExchange, face: Face, endpoint: str, request: Request, account: SimulatedAccount | None
) -> Reply:
    """Count the call, then refuse it or let the face do it."""
    if account is None:
        return face.handle(endpoint, request, account)
    rules, is_order = exchange.rules(face.broker), endpoint in MUTATIONS
    exchange.counters.count(account.key, endpoint or "other", is_order=is_order, day=exchange.today())
    exceeded = exchange.counters.exceeded(account.key, rules, is_order=is_order) if exchange.settings.limits else ""
    if exceeded:
        return face.refuse(Fault(broker=face.broker, kind=Kind.RATE_LIMIT, body=exceeded), request)
    fault = exchange.faults.take(face.broker, endpoint or "other", account.user_id, REFUSALS)
    if fault:
        if fault.kind is Kind.SESSION_DEAD:
            exchange.sessions.kill(account)
        return face.refuse(fault, request)
    exchange.reference = request.headers.get(REFERENCE, "")
    try:
        reply = face.handle(endpoint, request, account)
    finally:
        exchange.reference = ""
    if endpoint in LOGINS and reply.status == 200:
        exchange.faults.logged_in(face.broker, account.user_id)
    return reply


async def _spoil(fault: Fault, request: Request, receive: Receive) -> Reply | None:
    """Wait, or give the reply that stands for the right one; None when the call goes on as usual.

    :raises _Dropped: there is to be no reply.
    """
    if fault.kind is Kind.DELAY:
        await asyncio.sleep(fault.seconds)
        return None
    if fault.kind is Kind.HANG:
        await _wait(fault.seconds or HANG_SECONDS, receive)
    if fault.kind in (Kind.HANG, Kind.DROP, Kind.RESET):
        raise _Dropped(reset=fault.kind is Kind.RESET)
    return _spoiled(fault, request)


def _spoiled(fault: Fault, request: Request) -> Reply:
    html = "text/html; charset=utf-8"
    if fault.kind is Kind.BAD_GATEWAY:
        return Reply(content=HTML_PAGE, status=502, content_type=html)
    if fault.kind is Kind.HTML:
        return Reply(content=HTML_PAGE, content_type=html)
    if fault.kind is Kind.NULL:
        return Reply(content=b"null")
    if fault.kind is Kind.EMPTY:
        return Reply(content=b"")
    if fault.kind is Kind.GARBAGE:
        return Reply(content=b'{"half of it": "\xff\xfe')
    if fault.kind is Kind.REDIRECT:
        target = fault.body or f"http://{request.host}{request.raw_path.decode()}"
        return Reply(content=b"", status=307, headers={"location": target})
    return Reply(content=fault.body, status=fault.status, content_type=fault.content_type)


async def _read(scope: Scope, receive: Receive) -> Request:
    """The whole request.

    :raises _Dropped: the client went away in the middle of it.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Dropped
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        method=scope["method"],
        path=scope["path"],
        raw_path=scope["raw_path"],
        query=scope["query_string"],
        headers=headers,
        body=b"".join(parts),
        host=headers.get("host", ""),
        began_at=scope.get("extensions", {}).get("began_at", 0.0),
    )


def _start(reply: Reply, length: int) -> dict[str, Any]:
    headers = [(b"content-type", reply.content_type.encode()), (b"content-length", str(length).encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _send(reply: Reply, send: Send) -> None:
    body = reply.body()
    await send(_start(reply, len(body)))
    await send({"type": "http.response.body", "body": body})


async def _send_half(reply: Reply, send: Send) -> None:
    """Half of the body; the length in the header promises all of it."""
    body = reply.body()
    await send(_start(reply, len(body)))
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    # The server writes what it was given in the next step of the loop.
    await asyncio.sleep(0)


async def _drip(reply: Reply, seconds: float, receive: Receive, send: Send) -> None:
    body = reply.body()
    await send(_start(reply, len(body)))
    for index in range(len(body)):
        await send({"type": "http.response.body", "body": body[index : index + 1], "more_body": True})
        await _wait(seconds, receive)
    await send({"type": "http.response.body", "body": b""})


async def _wait(seconds: float, receive: Receive) -> None:
    """Let time pass.

    :raises _Dropped: the client has gone, so there is nobody to answer.
    """
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                continue
    except TimeoutError:
        return
    raise _Dropped


async def _close(scope: Scope, *, reset: bool = False) -> None:
    """Close the connection under the server, which offers no way to say so, and let it notice."""
    transport = scope["extensions"]["transport"]
    if reset:
        # Without lingering a close is a reset.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0)
