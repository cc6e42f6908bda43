"""The contract with a broker: what a trader may call, and what an adapter must bring.

``BrokerInterface`` is the trader's side; :class:`BrokerFactory` gives one for an account.
``BrokerAdapter`` is the broker's side: a handful of primitives over its SDK. Only the gateway
calls an adapter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from brokers.domain.account import MarginData, Position
from brokers.domain.capabilities import Capabilities
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, OrderDenied, UnsupportedFeature
from brokers.domain.inputs import Price, rupees
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderRequest

if TYPE_CHECKING:
    from brokers.factory import BrokerFactory as BrokerFactory
    from brokers.wire import Wire


class BrokerInterface(ABC):
    """Everything a trader may ask of one broker account.

    A read returns a value that says when it was taken, or raises a
    :class:`~brokers.domain.errors.BrokerError`; it never returns an empty success for a failure.
    """

    @abstractmethod
    def login(self) -> bool:
        """Make sure there is a session; make no new one while it is valid.

        :raises LoginFailed: the broker refused, or a person is needed.
        """

    @abstractmethod
    def logout(self) -> bool:
        """Let go of this handle. The account's session stays for everybody else."""

    @abstractmethod
    def get_margin(self) -> MarginData: ...

    @abstractmethod
    def get_positions(self) -> list[Position]: ...

    @abstractmethod
    def place_order(
        self,
        symbol: str,
        action: str,
        quantity: int,
        order_type: str = "MKT",
        price: Price = None,
        *,
        exchange: str | None = None,
        product: str | None = None,
        trigger_price: Price = None,
        time_in_force: str = "DAY",
        client_order_id: str | None = None,
        strategy: str = "",
    ) -> str:
        """Record the order, send it at most once, wait, and return the broker's order id.

        ``quantity`` is in units; ``price`` in rupees a unit. A market order goes out as a limit order
        protected by a fresh quote. Without a ``client_order_id`` every call is a new order.

        :raises OrderDenied: refused here; nothing was sent.
        :raises OrderRejected: the broker said no.
        :raises OrderOutcomeUnknown: it may be at the broker; carries the client order id.
        """

    @abstractmethod
    def modify_order(
        self,
        order_id: str,
        *,
        quantity: int | None = None,
        price: Price = None,
        trigger_price: Price = None,
        order_type: str | None = None,
        client_order_id: str | None = None,
    ) -> str: ...

    @abstractmethod
    def cancel_order(self, order_id: str) -> bool:
        """Ask the broker to cancel; True when it took the request or the order is cancelled already."""

    @abstractmethod
    def close_position(self, symbol: str, exchange: str | None = None, product: str | None = None) -> bool:
        """Close what is held of a symbol; True when the broker says flat, :class:`NotFlat` when it does not."""

    @abstractmethod
    def close_all_positions(self) -> bool: ...

    @abstractmethod
    def get_orders(self) -> list[Order]: ...

    @abstractmethod
    def get_order(self, order_id: str) -> Order: ...

    @abstractmethod
    def get_trades(self) -> list[Fill]: ...

    @abstractmethod
    def get_quote(self, symbol: str, exchange: str | None = None) -> Quote:
        """Return the newest quote; it is falsy when the broker has no price."""

    @abstractmethod
    def search_symbol(self, symbol: str) -> list[dict[str, Any]]: ...

    @abstractmethod
    def is_market_open(self, exchange: str = "NSE") -> bool: ...

    def subscribe_live_feed(self, symbols: Sequence[str]) -> bool:
        raise UnsupportedFeature("Live feeds are not offered yet; ask for quotes with get_quote.")

    def unsubscribe_live_feed(self, symbols: Sequence[str]) -> bool:
        raise UnsupportedFeature("Live feeds are not offered yet; ask for quotes with get_quote.")

    def get_available_margin(self) -> float:
        """Rupees that new orders may use now."""
        return float(self.get_margin().available)

    def check_margin_sufficient(self, required: Decimal | float | int | str) -> bool:
        """Whether the margin available now covers ``required`` rupees.

        :raises OrderDenied: ``required`` is not a finite number.
        """
        needed = rupees(required, "Required margin")
        if needed is None:
            raise OrderDenied("Required margin is missing; give rupees.")
        return self.get_margin().available >= needed

    def has_open_positions(self) -> bool:
        return any(position.quantity for position in self.get_positions())

    def get_position_pnl(self) -> float:
        """Rupees over all positions.

        :raises BrokerUnavailable: a position's profit cannot be stated, since its price is missing.
        """
        positions = self.get_positions()
        unpriced = [position.symbol for position in positions if position.pnl is None]
        if unpriced:
            raise BrokerUnavailable(
                f"The profit of {', '.join(unpriced)} is not known, since the broker states no last price; ask again."
            )
        return float(sum((position.pnl or Decimal(0) for position in positions), Decimal(0)))


class Clock(Protocol):
    """Time as the system may see it. Everything on the order path takes its time from here."""

    def now(self) -> datetime:
        """The market's time, aware UTC. In simulated mode this is the simulated exchange's clock."""

    def real_now(self) -> datetime:
        """The wall's time, aware UTC: for signatures and one-time passwords."""

    def monotonic(self) -> float:
        """Seconds that never go back, for deadlines."""


class InstrumentLookup(Protocol):
    """How an adapter finds an instrument. Implemented over the instrument master."""

    def find(self, broker: str, key: str) -> Instrument | None:
        """The instrument of today whose master row of ``broker`` had this ``key``, or None."""

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        """The instrument of today with this trading symbol.

        :raises InvalidSymbol: none, or more than one; the message names the nearest.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionGrant:
    """One login's yield. ``session_token`` and ``sid`` are secrets and are stored encrypted."""

    session_token: str
    sid: str = ""
    #: What else another process needs to use the session; never a secret.
    details: Mapping[str, str] = field(default_factory=dict)
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SessionGrant(expires_at={self.expires_at.isoformat()})"


@dataclass(frozen=True, kw_only=True, slots=True)
class MasterRow:
    """One contract as one broker's instrument master states it."""

    exchange: Exchange
    kind: InstrumentKind
    #: The exchange's token of that day; it means nothing on another day.
    token: str
    #: The exchange's trading symbol; empty when this master does not carry it.
    symbol: str
    #: The exchange's name of the underlying; empty when this master does not carry it.
    underlying: str
    expiry: date | None = None
    strike: Decimal | None = None
    right: OptionRight | None = None
    lot_size: int | None = None
    #: None wherever this broker's figure is known to be wrong.
    tick_size: Decimal | None = None
    freeze_quantity: int | None = None
    lower_band: Decimal | None = None
    upper_band: Decimal | None = None
    series: str = ""
    isin: str = ""
    name: str = ""
    #: What ``InstrumentLookup.find`` finds it by; unique within the broker and day.
    key: str
    #: What building an order needs, e.g. the broker's own code.
    identifiers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class MasterProblem:
    """A row of a master that was refused, and why."""

    source: str
    line: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterContext:
    """All that an adapter is given: no ORM, no settings, no Celery."""

    account: str
    #: The account's credential columns by name, e.g. ``api_key``; absent ones are empty strings.
    secrets: Mapping[str, str] = field(repr=False)
    clock: Clock
    wire: Wire
    #: Where the SDK is pointed, e.g. ``http://127.0.0.1:8101``; None means the broker's own hosts.
    base_url: str | None
    instruments: InstrumentLookup


class BrokerAdapter(BrokerInterface):
    """A broker behind its SDK: each primitive builds, calls and parses.

    Every primitive raises a :class:`~brokers.domain.errors.BrokerError`, classified from evidence.
    Anything that may have reached the broker and is not proven refused is ``OrderOutcomeUnknown``
    on a mutation and ``BrokerUnavailable`` on a read. An empty list is returned only when the
    broker said in so many words that there is nothing.
    """

    capabilities: Capabilities

    def __init__(self, context: AdapterContext) -> None:
        self.context = context

    @abstractmethod
    def open_session(self) -> SessionGrant:
        """Log in at the broker and return what other processes need. Stores nothing.

        :raises LoginFailed: refused, or a person is needed; the message says what to do.
        :raises BrokerUnavailable: the broker could not be asked.
        """

    def login_page(self) -> str:
        """The page on which a person logs in, for their browser only. No call."""
        raise UnsupportedFeature(f"{self.context.account} logs in by itself; use Log in now.")

    @abstractmethod
    def use_session(self, grant: SessionGrant) -> None:
        """Continue a session that some process opened, without any call to the broker."""

    @abstractmethod
    def close(self) -> None:
        """Drop sockets and secrets held by this object. Makes no call to the broker."""

    # Reads

    @abstractmethod
    def fetch_margin(self) -> MarginData: ...

    @abstractmethod
    def fetch_positions(self) -> list[Position]: ...

    @abstractmethod
    def fetch_orders(self) -> list[Order]:
        """The whole order book of today, every exchange this broker trades."""

    @abstractmethod
    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order: ...

    def fetch_order_tags(self, broker_order_id: str, instrument: Instrument) -> frozenset[str]:
        """Every tag that an order has had, where the broker replaces it and remembers; otherwise none."""
        return frozenset()

    @abstractmethod
    def fetch_trades(self) -> list[Fill]: ...

    @abstractmethod
    def fetch_quote(self, instrument: Instrument) -> Quote: ...

    @abstractmethod
    def read_master(self) -> Iterator[MasterRow | MasterProblem]:
        """Download and read the broker's instrument master, exchange by exchange."""

    # Mutations: one call each, never repeated

    @abstractmethod
    def place(self, request: OrderRequest) -> OrderAck: ...

    @abstractmethod
    def modify(self, change: OrderChange) -> OrderAck: ...

    @abstractmethod
    def cancel(self, request: CancelRequest) -> OrderAck: ...

    # The trader's contract over the primitives

    def login(self) -> bool:
        self.use_session(self.open_session())
        return True

    def logout(self) -> bool:
        self.close()
        return True

    def get_margin(self) -> MarginData:
        return self.fetch_margin()

    def get_positions(self) -> list[Position]:
        return self.fetch_positions()

    def get_orders(self) -> list[Order]:
        return self.fetch_orders()

    def get_order(self, order_id: str) -> Order:
        for order in self.fetch_orders():
            if order.broker_order_id == order_id:
                return order
        raise OrderDenied(f"Order {order_id} is not in today's order book of account {self.context.account}.")

    def get_trades(self) -> list[Fill]:
        return self.fetch_trades()

    def get_quote(self, symbol: str, exchange: str | None = None) -> Quote:
        return self.fetch_quote(self.context.instruments.resolve(symbol, Exchange(exchange) if exchange else None))

    def place_order(self, *args: object, **kwargs: object) -> Any:
        raise UnsupportedFeature("An adapter does nothing of this by itself; ask BrokerFactory.get_broker().")

    modify_order = cancel_order = close_position = close_all_positions = place_order
    search_symbol = is_market_open = place_order


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSpec:
    """How a broker makes itself known. One per adapter folder, named ``SPEC``, importing no SDK."""

    #: Folder name; also its queue, its credential service and its part of setting names.
    name: str
    verbose_name: str
    #: Other names callers write, upper case.
    aliases: frozenset[str] = frozenset()
    #: ``package.module:Class``, imported when first used.
    adapter: str
    #: ``package.module:create_face``, the broker's face on the simulated exchange.
    simulator: str
    #: Top-level packages that only ``sdk.py`` of this folder may import.
    sdk_packages: frozenset[str]
    #: The extra that installs them.
    extra: str
    #: Hosts that the wire may reach in live mode.
    hosts: frozenset[str]
    #: Domains whose every host the wire may reach in live mode, with a leading dot.
    host_suffixes: tuple[str, ...] = ()
    #: Credential columns without which no login is possible.
    required_credentials: tuple[str, ...]
    #: What a credential column is at this broker and where it is found: column -> one sentence for the person
    #: who fills it in. Columns named here that are not required are offered as optional.
    credential_hints: Mapping[str, str] = field(default_factory=dict)
    capabilities: Capabilities


def __getattr__(name: str) -> Any:
    """Hand on ``BrokerFactory`` without importing Django's models with the contract."""
    if name == "BrokerFactory":
        from brokers.factory import BrokerFactory

        return BrokerFactory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
