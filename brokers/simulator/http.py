"""What both faces share of HTTP: one request value, one reply value, and the app that runs a face.

A face is an object with four methods, all plain functions without awaiting, so that each call is atomic:
the app reads the body, serves ``/_sim/``, counts the call, applies limits and faults and sends header and body at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from brokers.simulator.accounts import SimulatedAccount
    from brokers.simulator.exchange import SimulatedExchange
    from brokers.simulator.faults import Fault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


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
    #: The client's address.
    client: str = ""


@dataclass(kw_only=True, slots=True)
class Reply:
    """One HTTP reply; ``content`` that is not bytes is written as compact JSON."""

    content: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Face(Protocol):
    """One broker's protocol. Implemented in that broker's folder."""

    #: The broker's name, as its ``SPEC`` has it.
    broker: str

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


def face_app(exchange: SimulatedExchange, face: Face) -> App:
    """The ASGI app of a face: control endpoints, counters, limits, faults, then the face itself."""
    raise NotImplementedError
