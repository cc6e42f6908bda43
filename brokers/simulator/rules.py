"""What a broker's face and a test may decide about the simulated exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from brokers.simulator.book import Why
from brokers.simulator.contracts import Contract


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerRules:
    """How one broker takes orders. Given by its face when it is created."""

    #: (IST day, sequence from 1 within the day and broker, contract) -> order id.
    order_id: Callable[[date, int, Contract], str]
    #: (IST day, sequence from 1 within the day and broker) -> id of a GTT; None when the broker keeps none.
    gtt_id: Callable[[date, int], str] | None = None
    #: Refusals that this broker reports in the book after accepting; the others raise ``Refused`` at once.
    late: frozenset[Why]
    #: An order above the freeze quantity is held as FROZEN instead of being rejected; needs FREEZE in ``late``.
    holds_frozen: bool = False
    #: A tag used before by the account is refused.
    unique_tags: bool = False
    #: Limits per account and calls of any kind; None means none.
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    #: Place, modify and cancel together, in one second of the wall's clock.
    order_calls_per_second: int | None = 10


@dataclass(kw_only=True, slots=True)
class ExchangeSettings:
    """What a test may turn; also through ``POST /_sim/settings``. Durations are seconds of market time."""

    #: From acceptance until the exchange confirms.
    ack_seconds: float = 0.0
    #: From acceptance until the book shows an order.
    visible_seconds: float = 0.0
    #: From being executable until the first fill; the parts of a large order follow at least a second apart.
    fill_seconds: float = 0.0
    #: Lots that trade at once; a larger order fills in parts.
    fill_lots: int = 20
    #: Enforce the brokers' call limits; off for load tests.
    limits: bool = True
    #: Prices move; off keeps every price at its base.
    moving: bool = True
    #: Where a login page sends the person back to, with the token in the query; empty shows the token in a page.
    login_redirect: str = ""
    #: IST dates on which the exchange is closed besides weekends.
    holidays: frozenset[date] = field(default_factory=frozenset)
