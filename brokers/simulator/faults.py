"""Switches that make a broker's face fail, each for an endpoint and a number of calls."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from random import Random
from time import monotonic
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator


class Kind(StrEnum):
    """What goes wrong."""

    # The reply. ``when`` says whether the call took effect first.
    DELAY = "delay"  # ``seconds``, then as usual
    HANG = "hang"  # no reply for ``seconds`` (an hour when 0), then the connection is dropped
    DROP = "drop"  # the connection is closed without a byte
    RESET = "reset"  # the connection is reset without a byte
    BAD_GATEWAY = "bad_gateway"  # 502 with a page of HTML
    HTML = "html"  # 200 with a page of HTML
    NULL = "null"  # 200 with the text null
    EMPTY = "empty"  # 200 without a body
    GARBAGE = "garbage"  # 200 with bytes that are no JSON
    DRIP = "drip"  # the right reply, one byte each ``seconds`` (0.25 when 0)
    PARTIAL = "partial"  # the right reply, closed after half of its body
    REDIRECT = "redirect"  # 307 to ``body``, the same path when empty
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


REFUSALS = frozenset({Kind.SESSION_DEAD, Kind.RATE_LIMIT, Kind.STATIC_IP, Kind.REFUSE, Kind.NO_DATA})
CONDUCT = frozenset({Kind.INVISIBLE, Kind.STALE_BOOK, Kind.NO_EFFECT, Kind.REJECT, Kind.DUPLICATE})
REPLIES = frozenset(Kind) - REFUSALS - CONDUCT
#: They spoil a reply that the call has earned, whatever ``when`` says.
SPOIL_THE_REPLY = frozenset({Kind.DRIP, Kind.PARTIAL})


class When(StrEnum):
    BEFORE = "before"  # the call takes no effect
    AFTER = "after"  # the call has taken effect


#: Names of endpoints that every face uses, whatever its paths are.
ENDPOINTS = frozenset(
    {
        "login", "customer", "place", "modify", "cancel", "orders", "order", "trades", "trade", "positions",
        "holdings", "demat", "funds", "margin", "calculator", "quote", "chain", "candles", "master", "other",
        "gtt_place", "gtt_modify", "gtt_cancel", "gtts",
    }
)  # fmt: skip

#: Endpoints whose calls count as order requests.
MUTATIONS = frozenset({"place", "modify", "cancel", "gtt_place", "gtt_modify", "gtt_cancel"})


class Fault(BaseModel):
    """One switch. It is consulted by calls to its endpoint until it is used up."""

    model_config = ConfigDict(extra="forbid")

    #: The face it was posted to, when left out.
    broker: str = Field(default="", validate_default=True)
    #: One of :data:`ENDPOINTS`, or ``*`` for all.
    endpoint: str = "*"
    kind: Kind
    when: When = When.BEFORE
    #: How many calls it hits; 0 means until it is taken away.
    count: Annotated[int, Field(ge=0)] = 1
    #: Calls that pass before it begins.
    skip: Annotated[int, Field(ge=0)] = 0
    #: How likely it hits a call that fits, by a seed of its own, so that a run can be repeated.
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    #: Only calls of this account (user id); empty means all.
    account: str = ""
    #: Seconds after which it is over, by the wall; 0 means never.
    lasts: Annotated[float, Field(ge=0)] = 0.0
    #: Ends with the account's next login: what a session that has gone bad does. Needs ``account``.
    until_login: bool = False
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    status: Annotated[int, Field(ge=200, le=599)] = 200
    body: str = ""
    content_type: str = "application/json"
    #: Market time at which it was set, as an epoch; filled in when it is set.
    set_at: float = 0.0

    _used: int = PrivateAttr(default=0)
    _passed: int = PrivateAttr(default=0)
    _random: Random = PrivateAttr(default_factory=Random)
    _began: float = PrivateAttr(default_factory=monotonic)

    def model_post_init(self, _: object) -> None:
        self._random.seed(f"{self.seed}/{self.broker}/{self.endpoint}/{self.kind}")

    @field_validator("broker")
    @classmethod
    def _face(cls, value: str, info: ValidationInfo) -> str:
        return value or (info.context or {}).get("broker", "")

    @field_validator("endpoint")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "*" and value not in ENDPOINTS:
            raise ValueError(f"there is no endpoint {value!r}; choose * or one of {', '.join(sorted(ENDPOINTS))}")
        return value

    def take(self) -> bool:
        """Count a call that this fault fits; True when it is hit."""
        if self._passed < self.skip:
            self._passed += 1
            return False
        if self.is_spent or (self.probability < 1 and self._random.random() >= self.probability):
            return False
        self._used += 1
        return True

    @property
    def used(self) -> int:
        """How many calls it has hit."""
        return self._used

    @property
    def is_spent(self) -> bool:
        is_over = bool(self.lasts) and monotonic() > self._began + self.lasts
        return is_over or (bool(self.count) and self._used >= self.count)


class Faults:
    """The switches of one exchange."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self, broker: str | None = None) -> None:
        self._faults = [fault for fault in self._faults if broker not in (None, fault.broker)]

    def logged_in(self, broker: str, user_id: str) -> None:
        """Take away what ends with this account's login."""
        self._faults = [
            fault
            for fault in self._faults
            if not (fault.until_login and fault.broker == broker and fault.account == user_id)
        ]

    def active(self) -> list[Fault]:
        """What is still to happen."""
        return [fault for fault in self._faults if not fault.is_spent]

    def take(self, broker: str, endpoint: str, user_id: str, kinds: Iterable[Kind]) -> Fault | None:
        """The oldest fault of these kinds that hits this call, counted as used; None when there is none."""
        if not self._faults:
            return None
        for fault in self._faults:
            if (
                fault.kind in kinds
                and fault.broker == broker
                and fault.endpoint in ("*", endpoint)
                and fault.account in ("", user_id)
                and fault.take()
            ):
                return fault
        return None
