"""An order on its way to a broker, and what the broker's book says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from brokers.domain.enums import OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.evidence import WireEvidence
from brokers.domain.instruments import Instrument
from brokers.domain.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderRequest:
    """One order, complete and checked, as an adapter is to send it. Never a MARKET order."""

    #: Ours, unique per account.
    client_order_id: str
    #: At most 16 characters ``[A-Z0-9]``, fixed for the intent's life; sent where the broker has a field for it.
    client_tag: str
    instrument: Instrument
    side: Side
    #: Units, a whole number of lots.
    quantity: int
    order_type: OrderType
    #: Rupees a unit, on the tick.
    limit_price: Decimal
    #: Rupees a unit; only for STOP_LIMIT.
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    product: Product


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderChange:
    """New absolute values for a working order."""

    broker_order_id: str
    instrument: Instrument
    #: Units, the order's new total.
    quantity: int
    order_type: OrderType
    limit_price: Decimal
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    broker_order_id: str
    instrument: Instrument


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderAck:
    """The broker took the request. Accepted is not done: the book tells what became of it."""

    broker_order_id: str
    #: The broker's words, redacted.
    message: str = ""
    evidence: WireEvidence | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Order(Record):
    """One row of the broker's order book."""

    broker_order_id: str
    #: The exchange's number; empty until the exchange has it.
    exchange_order_id: str = ""
    #: Our tag as the broker echoes it; empty where the broker echoes none.
    client_tag: str = ""
    #: The exchange's trading symbol, or the broker's own words in brackets when no instrument answers.
    symbol: str
    exchange: str
    side: Side
    #: Units.
    quantity: int
    filled_quantity: int
    #: Units still working; 0 once the order has ended.
    pending_quantity: int
    order_type: OrderType
    product: Product | None
    time_in_force: TimeInForce
    #: Rupees; None when the row states none.
    limit_price: Decimal | None
    trigger_price: Decimal | None
    #: Rupees; None while nothing is filled.
    average_price: Decimal | None
    status: OrderStatus
    #: The broker's own word for the status.
    broker_status: str
    #: Why it was rejected, in the broker's words; empty otherwise.
    reason: str = ""
    placed_at: datetime | None
    #: The row as the broker sent it, for evidence; never read by logic outside the adapter.
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill(Record):
    """One execution."""

    broker_order_id: str
    #: Unique within the account and day; where the broker gives none, built from what identifies the row.
    fill_id: str
    symbol: str
    exchange: str
    side: Side
    #: Units.
    quantity: int
    #: Rupees a unit.
    price: Decimal
    filled_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderEvent(Record):
    """One thing that happened to an order, as its broker tells."""

    broker_order_id: str
    status: OrderStatus
    #: The broker's own word for the status.
    broker_status: str
    filled_quantity: int
    #: Rupees a unit; None when the broker does not state it.
    limit_price: Decimal | None = None
    reason: str = ""
    #: None when the broker does not say when.
    happened_at: datetime | None
