"""The broker's side of the contract: what an adapter is given, and the primitives it brings over its SDK.

Only the gateway calls an adapter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.capabilities import Capabilities, Operation
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import OrderDenied, UnsupportedFeature
from brokers.domain.gtt import Gtt, GttAck, GttCancel, GttChange, GttRequest
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderEvent, OrderRequest
from brokers.feed_interface import BrokerFeed
from brokers.interfaces import BrokerInterface, Clock

if TYPE_CHECKING:
    from brokers.wire import Wire


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
    #: Executions of today that were read before, by any process.
    recorded_fills: Callable[[], Sequence[Fill]] = lambda: ()


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

    # Reads that not every broker offers: each has an Operation, and Capabilities says whether it is there

    def fetch_quotes(self, instruments: Sequence[Instrument]) -> list[Quote]:
        """The newest quote of each, in their order; one call each unless the broker takes several at once."""
        return [self.fetch_quote(instrument) for instrument in instruments]

    def fetch_depth(self, instrument: Instrument) -> Depth:
        self._lacks(Operation.DEPTH)

    def fetch_year_range(self, instrument: Instrument) -> YearRange:
        self._lacks(Operation.YEAR_RANGE)

    def fetch_option_chain(self, underlying: Instrument, expiry: date, strikes: int) -> OptionChain:
        """``strikes`` strikes on each side of the money of one expiry; ``underlying`` is an index or a share."""
        self._lacks(Operation.OPTION_CHAIN)

    def fetch_candles(
        self, instrument: Instrument, interval: CandleInterval, starts_at: datetime, ends_at: datetime
    ) -> list[Candle]:
        """Candles that open from ``starts_at`` (inclusive) to ``ends_at`` (exclusive): sorted, each once.

        It takes as many calls as the broker's longest answer needs.
        """
        self._lacks(Operation.CANDLES)

    def fetch_holdings(self) -> list[Holding]:
        self._lacks(Operation.HOLDINGS)

    def fetch_demat_holdings(self) -> list[Holding]:
        """What the depository holds, without a cost."""
        self._lacks(Operation.DEMAT_HOLDINGS)

    def fetch_segment_margins(self) -> list[SegmentMargin]:
        self._lacks(Operation.SEGMENT_MARGINS)

    def fetch_margin_required(self, requests: Sequence[OrderRequest]) -> MarginRequired:
        """What one order, or several together, would block. Sends no order."""
        self._lacks(Operation.MARGIN_REQUIRED)

    def fetch_order_history(self, broker_order_id: str, instrument: Instrument) -> list[OrderEvent]:
        self._lacks(Operation.ORDER_HISTORY)

    def fetch_orders_between(self, first: date, last: date) -> list[Order]:
        """The books of the IST days from ``first`` to ``last``, both included."""
        self._lacks(Operation.ORDERS_BETWEEN)

    def fetch_trades_between(self, first: date, last: date) -> list[Fill]:
        self._lacks(Operation.TRADES_BETWEEN)

    def fetch_gtts(self, first: date, last: date) -> list[Gtt]:
        """The GTTs placed on the IST days from ``first`` to ``last``, both included, ended ones among them."""
        self._lacks(Operation.GTT_SINGLE)

    def make_feed(self, grant: SessionGrant) -> BrokerFeed:
        """A feed of that session, not started. Makes no call."""
        self._lacks(Operation.LIVE_FEED)

    def check_feed(self, instrument: Instrument) -> None:
        """Makes no call.

        :raises OrderDenied: the broker's feed does not have the instrument; so does UnsupportedFeature.
        """
        self._lacks(Operation.LIVE_FEED)

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

    def submit_gtt(self, request: GttRequest) -> GttAck:
        self._lacks(Operation.GTT_THREE_LEG if request.entry else Operation.GTT_SINGLE)

    def alter_gtt(self, change: GttChange) -> GttAck:
        self._lacks(Operation.GTT_SINGLE)

    def withdraw_gtt(self, request: GttCancel) -> GttAck:
        self._lacks(Operation.GTT_SINGLE)

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
        return self.fetch_quote(self._resolve(symbol, exchange))

    def get_quotes(self, symbols: Sequence[str], exchange: str | None = None) -> list[Quote]:
        return self.fetch_quotes([self._resolve(symbol, exchange) for symbol in symbols])

    def get_depth(self, symbol: str, exchange: str | None = None) -> Depth:
        return self.fetch_depth(self._resolve(symbol, exchange))

    def get_year_range(self, symbol: str, exchange: str | None = None) -> YearRange:
        return self.fetch_year_range(self._resolve(symbol, exchange))

    def get_holdings(self) -> list[Holding]:
        return self.fetch_holdings()

    def get_demat_holdings(self) -> list[Holding]:
        return self.fetch_demat_holdings()

    def get_segment_margins(self) -> list[SegmentMargin]:
        return self.fetch_segment_margins()

    def place_order(self, *args: object, **kwargs: object) -> Any:
        raise UnsupportedFeature("An adapter does nothing of this by itself; ask BrokerFactory.get_broker().")

    place_gtt = place_gtt_three_leg = modify_gtt = cancel_gtt = get_gtts = place_order
    modify_order = cancel_order = close_position = close_all_positions = place_order
    search_symbol = is_market_open = get_expiries = get_option_chain = get_candles = place_order
    get_margin_required = get_order_history = get_orders_between = get_trades_between = place_order
    subscribe_live_feed = unsubscribe_live_feed = place_order

    # Inside

    def _resolve(self, symbol: str, exchange: str | None) -> Instrument:
        return self.context.instruments.resolve(symbol, Exchange(exchange) if exchange else None)

    def _lacks(self, operation: Operation) -> NoReturn:
        self.capabilities.require(operation, self.context.account)
        raise NotImplementedError(f"{type(self).__name__} claims {operation.words} and does not bring it.")
