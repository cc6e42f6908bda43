"""Switches that make a broker's face fail, each for an endpoint and a number of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong."""

    # The reply. ``when`` says whether the call took effect first.
    DELAY = "delay"  # ``seconds``, then as usual
    HANG = "hang"  # no reply for ``seconds`` (an hour when 0), then the connection is dropped
    DROP = "drop"  # the connection is closed without a byte
    BAD_GATEWAY = "bad_gateway"  # 502 with a page of HTML
    HTML = "html"  # 200 with a page of HTML
    NULL = "null"  # 200 with the text null
    EMPTY = "empty"  # 200 without a body
    GARBAGE = "garbage"  # 200 with bytes that are no JSON
    DRIP = "drip"  # the right reply, one byte each 0.25 s
    REDIRECT = "redirect"  # 307 to ``body``, the same URL when empty
    CUSTOM = "custom"  # ``status``, ``body``, ``content_type``
    # Refusals in the broker's own words; never take effect.
    SESSION_DEAD = "session_dead"  # the account's session ends for good; a new login is needed
    RATE_LIMIT = "rate_limit"
    STATIC_IP = "static_ip"
    REFUSE = "refuse"  # the broker's shape of a refusal with ``body`` as its text
    NO_DATA = "no_data"  # "no data" although there is some
    # The exchange's conduct.
    INVISIBLE = "invisible"  # accepted, but the book does not show it for ``seconds``
    STALE_BOOK = "stale_book"  # the book as it was when this was set
    NO_EFFECT = "no_effect"  # cancel or modify is confirmed and does nothing
    REJECT = "reject"  # accepted, then rejected in the book with ``body`` as the reason
    DUPLICATE = "duplicate"  # one call books two orders


class When(StrEnum):
    BEFORE = "before"  # the call takes no effect
    AFTER = "after"  # the call has taken effect


#: Names of endpoints that every face uses, whatever its paths are.
ENDPOINTS = frozenset(
    {
        "login", "customer", "place", "modify", "cancel", "orders", "order", "trades", "trade", "positions",
        "holdings", "funds", "margin", "quote", "master", "other",
    }
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Fault:
    """One switch. It is consulted by calls to its endpoint until it is used up."""

    broker: str
    #: One of :data:`ENDPOINTS`, or ``*`` for all.
    endpoint: str = "*"
    kind: Kind
    when: When = When.BEFORE
    #: How many calls it hits; 0 means until it is taken away.
    count: int = 1
    #: Calls that pass before it begins.
    skip: int = 0
    #: Only calls of this account (user id); empty means all.
    account: str = ""
    seconds: float = 0.0
    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    #: Market time at which it was set, as an epoch.
    set_at: float = 0.0
    used: int = field(default=0)


class Faults:
    """The switches of one exchange."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None: ...

    def clear(self, broker: str | None = None) -> None: ...

    def active(self) -> list[Fault]:
        """What is still to happen."""
        return list(self._faults)

    def take(self, broker: str, endpoint: str, account: str, kinds: Iterable[Kind]) -> Fault | None:
        """The next fault of these kinds for this call, counted as used; None when there is none."""
        raise NotImplementedError

    @staticmethod
    def parse(values: Mapping[str, object], broker: str) -> Fault:
        """A fault from the JSON of ``POST /_sim/faults``; ``broker`` is the face it was posted to.

        :raises ValueError: an unknown field, endpoint or kind; the message names what is accepted.
        """
        raise NotImplementedError
