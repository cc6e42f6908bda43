"""The contract with a broker: what a trader may call, and how a broker makes itself known.

:class:`BrokerFactory` gives a ``BrokerInterface`` for an account. What an adapter must bring is in
:mod:`brokers.adapter_interface`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.capabilities import Capabilities
from brokers.domain.errors import BrokerUnavailable, OrderDenied
from brokers.domain.gtt import Gtt
from brokers.domain.inputs import Price, rupees
from brokers.domain.market import CandleSeries, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import Fill, Order, OrderEvent

if TYPE_CHECKING:
    from brokers.factory import BrokerFactory as BrokerFactory


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
    def place_gtt(
        self,
        symbol: str,
        action: str,
        quantity: int,
        *,
        trigger_price: Price,
        price: Price,
        exchange: str | None = None,
        product: str | None = None,
        client_order_id: str | None = None,
        strategy: str = "",
        reduce_only: bool = False,
    ) -> str:
        """Have the broker keep a limit order until the market reaches its trigger; returns the GTT's id.

        Prices in rupees a unit. Raises as :meth:`place_order`, and :class:`UnsupportedFeature` where it is not offered.
        """

    @abstractmethod
    def place_gtt_three_leg(
        self,
        symbol: str,
        action: str,
        quantity: int,
        *,
        price: Price,
        target_trigger_price: Price,
        target_price: Price,
        stop_trigger_price: Price,
        stop_price: Price,
        exchange: str | None = None,
        product: str | None = None,
        client_order_id: str | None = None,
        strategy: str = "",
    ) -> str:
        """Enter at ``price`` at once, and have the broker keep a target and a stop that close it; as :meth:`place_gtt`."""

    @abstractmethod
    def modify_gtt(
        self,
        gtt_order_id: str,
        *,
        trigger_price: Price = None,
        price: Price = None,
        target_trigger_price: Price = None,
        target_price: Price = None,
        stop_trigger_price: Price = None,
        stop_price: Price = None,
        client_order_id: str | None = None,
    ) -> str: ...

    @abstractmethod
    def cancel_gtt(self, gtt_order_id: str) -> bool: ...

    @abstractmethod
    def get_gtts(self, first: date | str | None = None, last: date | str | None = None) -> list[Gtt]:
        """The GTT book of the IST days on which they were placed; by default from the oldest active one until today."""

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
    def get_quotes(self, symbols: Sequence[str], exchange: str | None = None) -> list[Quote]:
        """The newest quote of each symbol, in their order."""

    @abstractmethod
    def get_depth(self, symbol: str, exchange: str | None = None) -> Depth: ...

    @abstractmethod
    def get_year_range(self, symbol: str, exchange: str | None = None) -> YearRange:
        """The lowest and the highest price of 52 weeks."""

    @abstractmethod
    def get_expiries(self, underlying: str, exchange: str | None = None) -> list[date]:
        """Expiry days of an underlying's options, the nearest first, from today's instruments; costs no call."""

    @abstractmethod
    def get_option_chain(self, underlying: str, expiry: date | str | None = None, strikes: int = 10) -> OptionChain:
        """``strikes`` strikes on each side of the money; the nearest expiry unless one is given."""

    @abstractmethod
    def get_candles(
        self,
        symbol: str,
        interval: str,
        starts_at: datetime | str,
        ends_at: datetime | str,
        exchange: str | None = None,
    ) -> CandleSeries:
        """Candles from ``starts_at`` (inclusive) to ``ends_at`` (exclusive), however many calls that takes.

        Times without an offset are IST. What the exchange traded and the broker does not state is in ``gaps``.
        """

    @abstractmethod
    def get_holdings(self) -> list[Holding]: ...

    @abstractmethod
    def get_demat_holdings(self) -> list[Holding]: ...

    @abstractmethod
    def get_segment_margins(self) -> list[SegmentMargin]: ...

    @abstractmethod
    def get_margin_required(self, orders: Sequence[Mapping[str, Any]]) -> MarginRequired:
        """What one order, or a basket of them, would block. Each is written as for :meth:`place_order`."""

    @abstractmethod
    def get_order_history(self, order_id: str) -> list[OrderEvent]:
        """What an order of today has been through, the oldest first, as far as the broker tells."""

    @abstractmethod
    def get_orders_between(self, first: date | str, last: date | str) -> list[Order]:
        """The order books of the IST days from ``first`` to ``last``, both included."""

    @abstractmethod
    def get_trades_between(self, first: date | str, last: date | str) -> list[Fill]: ...

    @abstractmethod
    def search_symbol(self, symbol: str) -> list[dict[str, Any]]: ...

    @abstractmethod
    def is_market_open(self, exchange: str = "NSE") -> bool: ...

    @abstractmethod
    def subscribe_live_feed(
        self, symbols: Sequence[str], exchange: str | None = None, *, subscriber: str = "", depth: bool = False
    ) -> bool:
        """Have ticks of these symbols come, now and after restarts, until unsubscribed; True when it is noted.

        With ``depth`` their best prices on both sides come as well. A subscriber is a strategy's name. An instrument
        is fed for as long as any subscriber wants it, and its depth for as long as any wants that.

        :raises InvalidSymbol: a symbol is not known; then none of them is noted.
        :raises OrderDenied: the broker's feed does not have one, or has no room for so many.
        """

    @abstractmethod
    def unsubscribe_live_feed(
        self, symbols: Sequence[str], exchange: str | None = None, *, subscriber: str = ""
    ) -> bool:
        """Take back what this subscriber wanted, ticks and depth; True when there was anything to take back."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Slicing:
    """How what is too large for one order is sent."""

    lots_per_order: int
    #: Seconds between two slices of a leg.
    pace_seconds: int


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
    #: Of a basket and of a closing, where the caller names none.
    basket_slicing: Slicing = Slicing(lots_per_order=20, pace_seconds=20)
    close_slicing: Slicing = Slicing(lots_per_order=10, pace_seconds=10)


def __getattr__(name: str) -> Any:
    """Hand on ``BrokerFactory`` without importing Django's models with the contract."""
    if name == "BrokerFactory":
        from brokers.factory import BrokerFactory

        return BrokerFactory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
