"""Orders, fills, positions and funds as the simulated exchange keeps them. Money is rupees, quantities are units."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from brokers.domain.enums import OrderType, Product, Side, TimeInForce
from brokers.simulator.contracts import Contract


class State(StrEnum):
    """Where an order is on its way. A face translates these into its broker's words."""

    RECEIVED = "RECEIVED"  # the broker took it
    QUEUED = "QUEUED"  # checked, on its way to the exchange
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"  # with or without fills before
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"  # with or without fills before
    FROZEN = "FROZEN"  # held by the freeze-quantity check

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL

    @property
    def is_live(self) -> bool:
        """At the exchange, or on its way there."""
        return self not in _TERMINAL and self is not State.FROZEN


_TERMINAL = frozenset({State.FILLED, State.CANCELLED, State.REJECTED, State.EXPIRED})


class Why(StrEnum):
    """Reasons to say no. A face translates these into its broker's texts and codes."""

    ORDER_TYPE = "ORDER_TYPE"
    QUANTITY = "QUANTITY"
    LOT = "LOT"
    FREEZE = "FREEZE"
    PRICE = "PRICE"
    TICK = "TICK"
    BAND = "BAND"
    TRIGGER = "TRIGGER"
    PRODUCT = "PRODUCT"
    MARGIN = "MARGIN"
    HOLDING = "HOLDING"
    CLOSED = "CLOSED"
    DUPLICATE_TAG = "DUPLICATE_TAG"
    NO_SUCH_ORDER = "NO_SUCH_ORDER"
    ORDER_DONE = "ORDER_DONE"
    #: Injected by a fault; the text is the fault's.
    INJECTED = "INJECTED"


class Refused(Exception):
    """The exchange or the broker's checks say no; nothing was booked."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What a face asks the exchange to do."""

    contract: Contract
    side: Side
    quantity: int
    #: MARKET is refused by the exchange.
    order_type: OrderType
    price: Decimal
    trigger_price: Decimal = Decimal(0)
    product: Product
    time_in_force: TimeInForce = TimeInForce.DAY
    disclosed_quantity: int = 0
    #: The client's tag or remark, exactly as received; kept in the truth log.
    tag: str = ""
    #: ``API``, ``PERSON`` for an order typed in the broker's own app, ``GTT`` for one that a trigger sent.
    source: str = "API"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a modification asks for; None leaves as it is."""

    quantity: int | None = None
    order_type: OrderType | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    disclosed_quantity: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One step in the life of an order."""

    at: datetime
    state: State
    quantity: int
    price: Decimal
    trigger_price: Decimal
    filled_quantity: int
    cancelled_quantity: int
    average_price: Decimal
    reason: str


@dataclass(kw_only=True, slots=True)
class BookedOrder:
    """One order in the book. Faces read it and never write it."""

    order_id: str
    #: Empty until the exchange has confirmed it.
    exchange_order_id: str = ""
    #: Key of the account in the exchange, :attr:`SimulatedAccount.key`.
    account: str
    contract: Contract
    side: Side
    order_type: OrderType
    product: Product
    time_in_force: TimeInForce
    quantity: int
    price: Decimal
    trigger_price: Decimal
    disclosed_quantity: int
    tag: str
    source: str
    #: What the caller's hidden header said of the request, for those who check afterwards; no face shows it.
    reference: str = ""
    state: State
    filled_quantity: int = 0
    cancelled_quantity: int = 0
    #: 0 without fills.
    average_price: Decimal = Decimal(0)
    #: Why it was rejected; empty otherwise.
    reason: str = ""
    #: Times are market time.
    placed_at: datetime
    #: When the exchange confirmed it; None before.
    confirmed_at: datetime | None = None
    updated_at: datetime
    #: From when on the book shows it.
    visible_at: datetime
    #: A stop order's trigger has traded.
    triggered: bool = False
    modifications: int = 0
    fills: int = 0
    #: The same on every restart of the exchange, counting up within the day.
    sequence: int
    #: Oldest first.
    history: list[Moment] = field(default_factory=list, repr=False)

    @property
    def remaining_quantity(self) -> int:
        """Units still to be filled while it is live; what it ended without otherwise."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Trade:
    """One fill."""

    fill_id: str
    #: 1 for the first fill of its order.
    leg: int
    order: BookedOrder
    quantity: int
    price: Decimal
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldPosition:
    """One contract and product of one account: the day's fills and what was carried in."""

    contract: Contract
    product: Product
    buy_quantity: int = 0
    sell_quantity: int = 0
    buy_amount: Decimal = Decimal(0)
    sell_amount: Decimal = Decimal(0)
    carried_buy_quantity: int = 0
    carried_sell_quantity: int = 0
    #: At the last close, as exchanges settle.
    carried_buy_amount: Decimal = Decimal(0)
    carried_sell_amount: Decimal = Decimal(0)
    last_price: Decimal

    @property
    def net_quantity(self) -> int:
        return self.buy_quantity + self.carried_buy_quantity - self.sell_quantity - self.carried_sell_quantity

    @property
    def average_price(self) -> Decimal:
        """Rupees a unit of the open side; 0 when flat."""
        net = self.net_quantity
        if not net:
            return Decimal(0)
        if net > 0:
            return (self.buy_amount + self.carried_buy_amount) / (self.buy_quantity + self.carried_buy_quantity)
        return (self.sell_amount + self.carried_sell_amount) / (self.sell_quantity + self.carried_sell_quantity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Funds:
    """An account's money."""

    #: What it started the day with.
    cash: Decimal
    #: Blocked by open orders.
    blocked_by_orders: Decimal
    #: Blocked by positions.
    blocked_by_positions: Decimal
    #: The part of both that is blocked in derivatives.
    blocked_in_derivatives: Decimal
    #: Premiums and profits of the day that were settled into cash.
    realized: Decimal

    @property
    def used(self) -> Decimal:
        return self.blocked_by_orders + self.blocked_by_positions

    @property
    def available(self) -> Decimal:
        return self.cash + self.realized - self.used


T = TypeVar("T")


def _either(new: T | None, old: T) -> T:
    return old if new is None else new


def changed_ticket(order: BookedOrder, change: Change) -> Ticket:
    """The order as it would be after a change."""
    return Ticket(
        contract=order.contract,
        side=order.side,
        quantity=_either(change.quantity, order.quantity),
        order_type=_either(change.order_type, order.order_type),
        price=_either(change.price, order.price),
        trigger_price=_either(change.trigger_price, order.trigger_price),
        product=order.product,
        time_in_force=_either(change.time_in_force, order.time_in_force),
        disclosed_quantity=_either(change.disclosed_quantity, order.disclosed_quantity),
        tag=order.tag,
        source=order.source,
    )
