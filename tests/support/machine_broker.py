"""A broker that knows the truth, loses answers and shows books that lag or lie: for whole histories of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.clock import trading_day
from brokers.domain.account import Position
from brokers.domain.enums import OrderStatus, Product, Side
from brokers.domain.errors import (
    BrokerError,
    BrokerUnavailable,
    NotSent,
    OrderEnded,
    OrderOutcomeUnknown,
    OrderRejected,
    SessionExpired,
    TagTaken,
)
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderRequest
from tests.support.scripted_broker import Operation, ScriptedAdapter, book_row

#: What may happen to a request. After "taken" comes what becomes of the answer.
WIRE_FAULTS = (
    *("taken", "taken, answer lost", "taken late, answer lost", "lost"),
    *("refused", "no connection", "session refused", "error before", "error after"),
)
BOOK_FAULTS = ("", "unreachable", "no data", "shrunken", "old session", "session expired")
#: Seconds until an order shows up in the book, all within what the ledger waits for at least.
DELAYS = (0, 7, 45, 150)


@dataclass(slots=True, repr=False)
class Truth:
    """One order at the broker."""

    number: str
    #: Whose it is; empty for a person's.
    client_order_id: str
    row: Order
    placed_at: datetime
    shows_at: datetime
    was_cancelled: bool = False
    #: Every quantity and price it has had.
    values: list[tuple[int, Decimal | None]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.number} of {self.client_order_id or 'a person'}, {self.row.status}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request that reached the broker's wire."""

    operation: OrderRequest | OrderChange | CancelRequest
    at: datetime


class MachineBroker(ScriptedAdapter):
    """Keeps the truth apart from what it answers and shows."""

    def __init__(self, context: AdapterContext, name: str) -> None:
        super().__init__(context, name)
        self.begin()

    def begin(self) -> None:
        """Forget everything, for the next history."""
        self.truth: dict[str, Truth] = {}
        self.requests: list[Request] = []
        self.fills = []
        self.fault = "taken"
        self.delay = 0
        self.book_fault = ""
        #: Called with the name of the place that a sending process is at.
        self.seam: Callable[[str], None] = lambda place: None
        #: Called with every request as its first byte leaves.
        self.witness: Callable[[Request], None] = lambda request: None
        #: What an old session goes on showing until somebody logs in.
        self._frozen: list[Order] | None = None
        self._flying: list[tuple[datetime, OrderRequest | OrderChange | CancelRequest]] = []
        self._expired = False
        #: Order ids that a reading of the book has shown.
        self._seen: set[str] = set()

    # Orders

    def _play(self, operation: Operation) -> OrderAck:
        assert isinstance(operation, (OrderRequest, OrderChange, CancelRequest))
        fault = self.fault
        self.seam("connecting")
        if fault == "no connection":
            raise NotSent("The broker refused the connection.")
        if fault == "error before":
            raise ZeroDivisionError("a programming error before the request")
        self.leave()
        request = Request(operation, self.context.clock.now())
        self.witness(request)
        self.requests.append(request)
        self.seam("writing")
        if fault == "lost":
            raise OrderOutcomeUnknown("The connection was lost before the answer.")
        if fault == "session refused":
            raise SessionExpired("The session is not valid.")
        if fault == "refused":
            raise OrderRejected("The broker refused it: no funds.", reason="no funds", code="1009")
        if fault == "taken late, answer lost":
            self._flying.append((request.at + timedelta(seconds=9), operation))
            raise OrderOutcomeUnknown("No answer within the time.")
        ack = self._take(operation)
        self.seam("written")
        if fault == "taken, answer lost":
            raise OrderOutcomeUnknown("The broker answered with HTTP 502.")
        if fault == "error after":
            raise ZeroDivisionError("a programming error after the request")
        return ack

    def _take(self, operation: OrderRequest | OrderChange | CancelRequest) -> OrderAck:
        now = self.context.clock.now()
        if isinstance(operation, OrderRequest):
            same = [each for each in self.truth.values() if each.row.client_tag == operation.client_tag]
            if same and self.capabilities.refuses_duplicate_tag:
                raise TagTaken("The broker has an order with this tag.")
            tag = operation.client_tag if self.capabilities.echoes_client_tag else ""
            row = book_row(self._next_number(), operation, client_tag=tag, placed_at=now)
            self._put(row, operation.client_order_id)
            return OrderAck(broker_order_id=row.broker_order_id)
        truth = self.truth[operation.broker_order_id]
        if truth.row.status.is_terminal:
            raise OrderEnded("The order is already complete.")
        if isinstance(operation, CancelRequest):
            self.end(truth, OrderStatus.CANCELLED)
        else:
            pending = operation.quantity - truth.row.filled_quantity
            if pending <= 0:
                raise OrderRejected("So much is filled already.", reason="filled", code="1")
            truth.row = replace(
                truth.row, quantity=operation.quantity, pending_quantity=pending, limit_price=operation.limit_price
            )
            truth.values.append((truth.row.quantity, truth.row.limit_price))
        return OrderAck(broker_order_id=operation.broker_order_id)

    def _put(self, row: Order, client_order_id: str) -> None:
        now = self.context.clock.now()
        shows_at = now + timedelta(seconds=self.delay)
        truth = Truth(row.broker_order_id, client_order_id, row, now, shows_at)
        truth.values.append((row.quantity, row.limit_price))
        self.truth[row.broker_order_id] = truth

    def _next_number(self) -> str:
        return f"{len(self.truth) + 1:06d}"

    def land(self) -> None:
        """Let requests that were under way arrive, if it is time."""
        now = self.context.clock.now()
        due = [operation for arrives_at, operation in self._flying if arrives_at <= now]
        self._flying = [each for each in self._flying if each[0] > now]
        for operation in due:
            try:
                self._take(operation)
            except BrokerError:
                # Nobody is there any more to hear the refusal.
                continue

    @property
    def flying(self) -> list[OrderRequest]:
        return [operation for _, operation in self._flying if isinstance(operation, OrderRequest)]

    # What the exchange and people do

    def trade(self, truth: Truth, units: int) -> None:
        """Fill so much of an order, also of one that was cancelled."""
        units = min(units, truth.row.quantity - truth.row.filled_quantity)
        filled = truth.row.filled_quantity + units
        price = truth.row.limit_price or Decimal(100)
        whole = filled == truth.row.quantity
        truth.row = replace(
            truth.row,
            filled_quantity=filled,
            pending_quantity=truth.row.quantity - filled,
            average_price=price,
            status=OrderStatus.FILLED if whole else truth.row.status,
            broker_status="complete" if whole else truth.row.broker_status,
        )
        self.fills.append(
            Fill(
                broker_order_id=truth.number,
                fill_id=f"f{len(self.fills) + 1}",
                symbol=truth.row.symbol,
                exchange=truth.row.exchange,
                side=truth.row.side,
                quantity=units,
                price=price,
                filled_at=self.context.clock.now(),
            )
        )

    def end(self, truth: Truth, status: OrderStatus) -> None:
        truth.row = replace(truth.row, status=status, broker_status=status.lower())
        truth.was_cancelled |= status is OrderStatus.CANCELLED

    def type_by_hand(self, like: Order) -> None:
        """Somebody places the same order in the broker's own app."""
        row = replace(
            like,
            broker_order_id=self._next_number(),
            client_tag="",
            status=OrderStatus.OPEN,
            broker_status="open",
            filled_quantity=0,
            pending_quantity=like.quantity,
            placed_at=self.context.clock.now(),
        )
        self._put(row, "")

    # Reads

    def today(self) -> list[Truth]:
        day = trading_day(self.context.clock.now())
        return [each for each in self.truth.values() if trading_day(each.placed_at) == day]

    def _shown(self) -> list[Order]:
        now = self.context.clock.now()
        return [each.row for each in self.today() if each.shows_at <= now]

    def heal(self) -> None:
        """Let every fault of the book end."""
        self.book_fault, self._frozen, self._expired = "", None, False

    def age_session(self) -> None:
        """The session goes on showing the book of now, until somebody logs in."""
        self._frozen = self._shown()

    def _fail(self) -> None:
        if self.book_fault == "unreachable":
            raise BrokerUnavailable("The broker does not answer.")
        if self._expired:
            raise SessionExpired("The session is not valid.")

    def fetch_orders(self) -> list[Order]:
        if self.book_fault == "session expired":
            self._expired, self.book_fault = True, ""
        self._fail()
        if self.book_fault == "no data":
            return []
        rows = self._shown() if self._frozen is None else self._frozen
        if self.book_fault == "shrunken":
            # What was never shown and never will be, nobody could tell from what is not there.
            missing = next((row for row in rows if row.broker_order_id in self._seen), None)
            return [row for row in rows if row is not missing]
        self._seen |= {row.broker_order_id for row in rows}
        return rows

    def fetch_trades(self) -> list[Fill]:
        self._fail()
        shown = {row.broker_order_id for row in (self._shown() if self._frozen is None else self._frozen)}
        return [fill for fill in self.fills if fill.broker_order_id in shown]

    def fetch_positions(self) -> list[Position]:
        self._fail()
        net: dict[tuple[str, str, Product | None], int] = {}
        rows = {each.number: each.row for each in self.truth.values()}
        for fill in self.fills:
            row = rows[fill.broker_order_id]
            key = (row.symbol, row.exchange, row.product)
            net[key] = net.get(key, 0) + (fill.quantity if fill.side is Side.BUY else -fill.quantity)
        return [
            Position(
                symbol=symbol,
                exchange=exchange,
                product=product,
                quantity=units,
                average_price=Decimal(100),
                last_price=Decimal(100),
                pnl=Decimal(0),
                as_of=self.context.clock.now(),
            )
            for (symbol, exchange, product), units in net.items()
        ]

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        self._fail()
        return self.truth[broker_order_id].row

    def open_session(self) -> SessionGrant:
        if self.book_fault == "unreachable":
            raise BrokerUnavailable("The broker does not answer.")
        self._frozen, self._expired = None, False
        return SessionGrant(session_token="token", expires_at=self.context.clock.now() + timedelta(hours=12))
