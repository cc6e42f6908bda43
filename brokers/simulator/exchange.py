"""The simulated exchange: one matching engine under every broker's face.

A face translates its broker's protocol into these calls and these values back into its broker's words. Nothing
here knows a broker. All calls are plain and quick; the book is brought up to the market's time by each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from brokers.clock import SimulatedClock
from brokers.domain.enums import Exchange, MarketPhase
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Change, Funds, HeldPosition, Ticket, Trade, Why
from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.faults import Faults


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerRules:
    """How one broker takes orders. Given by its face when it is created."""

    #: (IST day, sequence from 1 within the day and broker, contract) -> order id.
    order_id: Callable[[date, int, Contract], str]
    #: Refusals that this broker reports in the book after accepting; the others raise ``Refused`` at once.
    late: frozenset[Why]
    #: A tag used before by the account is refused.
    unique_tags: bool = False
    #: Limits per account and calls of any kind; None means none.
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    #: Place, modify and cancel together.
    order_calls_per_second: int | None = 10


@dataclass(kw_only=True, slots=True)
class ExchangeSettings:
    """What a test may turn; also through ``POST /_sim/settings``. Durations are seconds of market time."""

    #: From acceptance until the exchange confirms.
    ack_seconds: float = 0.0
    #: From acceptance until the book shows an order.
    visible_seconds: float = 0.0
    #: From being executable until the first fill, and between the slices of a large order.
    fill_seconds: float = 0.0
    #: Lots that trade at once; a larger order fills in parts.
    fill_lots: int = 20
    #: Enforce the brokers' limits; off for load tests.
    limits: bool = True
    #: Prices move; off keeps every price at its base.
    moving: bool = True
    #: IST dates on which the exchange is closed besides weekends.
    holidays: frozenset[date] = field(default_factory=frozenset)


class Sessions:
    """Which logins are alive. A face derives its tokens from :meth:`generation` and asks :meth:`is_current`."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange

    def generation(self, account: SimulatedAccount) -> str:
        """A short id of the account's present session: the same for a whole trading day (IST, market time) and
        over restarts of the exchange, another one after :meth:`kill`.
        """
        raise NotImplementedError

    def is_current(self, account: SimulatedAccount, generation: str) -> bool:
        """False after :meth:`kill` and from 00:00 IST of the next day (market time) on."""
        return self.generation(account) == generation

    def kill(self, account: SimulatedAccount) -> None:
        """End the account's session; a new login gives a new generation."""
        raise NotImplementedError

    def expires_at(self) -> datetime:
        """The next 00:00 IST of market time, aware UTC."""
        raise NotImplementedError


class Universe:
    """The contracts of the clock's trading day. Made anew when the day changes."""

    def all(self, exchange: Exchange | None = None) -> list[Contract]:
        raise NotImplementedError

    def by_symbol(self, exchange: Exchange, symbol: str) -> Contract | None:
        raise NotImplementedError

    def by_token(self, exchange: Exchange, token: str) -> Contract | None:
        """Tokens are unique within an exchange; index tokens are in NSE and BSE."""
        raise NotImplementedError

    def of_underlying(self, exchange: Exchange, underlying: str) -> list[Contract]:
        """The futures and options (or the share) of an underlying."""
        raise NotImplementedError


class SimulatedExchange:
    """One exchange with its clock, prices, books and accounts."""

    faults: Faults
    settings: ExchangeSettings
    sessions: Sessions
    clock: SimulatedClock

    def __init__(
        self,
        home: Path,
        *,
        seed: int = 1,
        settings: ExchangeSettings | None = None,
        master_contracts: Iterable[Contract] = (),
    ) -> None:
        """``home`` is MCUBE_HOME: clock, truth log and the day's book live under it."""
        raise NotImplementedError

    def register(self, broker: str, rules: BrokerRules) -> None:
        """Give a broker's rules; called once by its face."""
        raise NotImplementedError

    # Market

    def now(self) -> datetime:
        """The market's time, aware UTC."""
        raise NotImplementedError

    def today(self) -> date:
        """The market's IST date."""
        raise NotImplementedError

    def phase(self, exchange: Exchange) -> MarketPhase:
        raise NotImplementedError

    @property
    def universe(self) -> Universe:
        raise NotImplementedError

    def quote(self, contract: Contract) -> MarketQuote:
        raise NotImplementedError

    # Orders. ``Refused`` says why; a broker's ``late`` reasons show in the book instead.

    def place(self, account: SimulatedAccount, ticket: Ticket) -> BookedOrder:
        """Take an order.

        :raises Refused: for a reason that this broker states at once.
        """
        raise NotImplementedError

    def modify(self, account: SimulatedAccount, order_id: str, change: Change) -> BookedOrder:
        """Change a live order.

        :raises Refused: unknown, finished, or the change is not allowed.
        """
        raise NotImplementedError

    def cancel(self, account: SimulatedAccount, order_id: str) -> BookedOrder:
        """Cancel what is left of a live order.

        :raises Refused: unknown or finished.
        """
        raise NotImplementedError

    # Reads, of the market's day

    def orders(self, account: SimulatedAccount) -> list[BookedOrder]:
        """The visible book, oldest first."""
        raise NotImplementedError

    def order(self, account: SimulatedAccount, order_id: str) -> BookedOrder | None:
        raise NotImplementedError

    def trades(self, account: SimulatedAccount) -> list[Trade]:
        """Fills, oldest first."""
        raise NotImplementedError

    def positions(self, account: SimulatedAccount) -> list[HeldPosition]:
        """Positions open or traded today; flat ones stay for the day."""
        raise NotImplementedError

    def funds(self, account: SimulatedAccount) -> Funds:
        raise NotImplementedError

    def required_margin(self, ticket: Ticket) -> Decimal:
        """What this order would block by itself, in rupees."""
        raise NotImplementedError
