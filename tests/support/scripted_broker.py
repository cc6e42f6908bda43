"""A broker that answers by a script: for tests of the ledger, which must not care which broker it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import cast

import redis
from django.conf import settings

from brokers import instruments, limits
from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.clock import IST, SimulatedClock, configured_clock
from brokers.discovery import spec_of
from brokers.domain.account import MarginData, Position
from brokers.domain.enums import (
    Exchange,
    InstrumentKind,
    OptionRight,
    OrderStatus,
    OrderType,
    Product,
    Side,
    TimeInForce,
)
from brokers.domain.errors import BrokerError, NotSent, OrderOutcomeUnknown, OrderRejected
from brokers.domain.gtt import Gtt, GttAck, GttCancel, GttChange, GttRequest
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from brokers.models import BrokerAccount, SessionState
from brokers.simulator.accounts import default
from brokers.wire import Wire, WireRecord
from credentials import store
from credentials.models import CredentialStore
from tests.support.gtt_shelf import GttShelf

CALL = "NIFTY26DEC26000CE"
SHARE = "RELIANCE"
OPEN_MARKET = datetime(2026, 11, 23, 10, 0, tzinfo=IST)

Operation = OrderRequest | OrderChange | CancelRequest | GttRequest | GttChange | GttCancel
Ack = OrderAck | GttAck
Step = Callable[["ScriptedAdapter", Operation], Ack]


def accepts(adapter: ScriptedAdapter, operation: object) -> Ack:
    """The broker takes it."""
    adapter.leave()
    return adapter.accept(operation)


def refuses(text: str, code: str = "1009") -> Step:
    """The broker says no in a way that proves it."""

    def step(adapter: ScriptedAdapter, operation: object) -> OrderAck:
        adapter.leave()
        raise OrderRejected(f"The broker refused the order: {text}.", reason=text, code=code)

    return step


def takes_and_drops(adapter: ScriptedAdapter, operation: object) -> OrderAck:
    """The broker takes it and the answer is lost."""
    adapter.leave()
    adapter.accept(operation)
    raise OrderOutcomeUnknown("The connection was lost before the answer.")


def drops(adapter: ScriptedAdapter, operation: object) -> OrderAck:
    """The connection is lost, and the broker never had the request."""
    adapter.leave()
    raise OrderOutcomeUnknown("The connection was lost before the answer.")


def never_leaves(adapter: ScriptedAdapter, operation: object) -> OrderAck:
    """No connection could be made."""
    raise NotSent("The broker refused the connection.")


def raises(error: BaseException, *, left: bool) -> Step:
    """Something else happens, after the request left or before."""

    def step(adapter: ScriptedAdapter, operation: object) -> OrderAck:
        if left:
            adapter.leave()
        raise error

    return step


class ScriptedAdapter(BrokerAdapter):
    """Keeps a book, plays its script, and then accepts."""

    def __init__(self, context: AdapterContext, name: str) -> None:
        super().__init__(context)
        self.name = name
        self.capabilities = spec_of(name).capabilities
        self.script: list[Step] = []
        self.sent: list[Operation] = []
        self.book: dict[str, Order] = {}
        self.gtts = GttShelf()
        self.fills: list[Fill] = []
        self.positions: list[Position] | BrokerError = []
        self.margin: Decimal | BrokerError = Decimal(100_000)
        self.price: Decimal | None = Decimal("100.00")
        self.reads: list[str] = []
        #: What the next readings of the book find instead of it: rows, or an error.
        self.book_script: list[list[Order] | BrokerError] = []
        #: Order ids that the book does not show.
        self.hidden: set[str] = set()
        #: Every tag that an order has had, where the broker remembers.
        self.tags: dict[str, frozenset[str]] = {}
        self.logins: list[BrokerError] = []
        self._lock = threading.Lock()

    # What a script does

    def leave(self) -> None:
        """A byte leaves this machine, after the last gate."""
        trace = self.context.wire.trace
        assert trace is not None, "the gateway opens a call around every primitive"
        if trace.before_first_byte is not None:
            trace.before_first_byte()
        now = datetime.now(UTC)
        trace.records.append(
            WireRecord(method="POST", target="broker/order", started_at=now, first_byte_at=now, http_status=200)
        )

    def accept(self, operation: object) -> Ack:
        if isinstance(operation, (GttRequest, GttChange, GttCancel)):
            return self.gtts.accept(operation, self.context.clock.now())
        if isinstance(operation, OrderRequest):
            number = f"{len(self.book) + 1:06d}"
            tag = operation.client_tag if self.capabilities.echoes_client_tag else ""
            self.book[number] = book_row(number, operation, client_tag=tag, placed_at=self.context.clock.now())
            return OrderAck(broker_order_id=number)
        assert isinstance(operation, (OrderChange, CancelRequest))
        return OrderAck(broker_order_id=operation.broker_order_id)

    # Primitives

    def place(self, request: OrderRequest) -> OrderAck:
        return cast("OrderAck", self._play(request))

    def modify(self, change: OrderChange) -> OrderAck:
        return cast("OrderAck", self._play(change))

    def cancel(self, request: CancelRequest) -> OrderAck:
        return cast("OrderAck", self._play(request))

    def submit_gtt(self, request: GttRequest) -> GttAck:
        return cast("GttAck", self._play(request))

    def alter_gtt(self, change: GttChange) -> GttAck:
        return cast("GttAck", self._play(change))

    def withdraw_gtt(self, request: GttCancel) -> GttAck:
        return cast("GttAck", self._play(request))

    def _play(self, operation: Operation) -> Ack:
        with self._lock:
            step = self.script.pop(0) if self.script else accepts
            self.sent.append(operation)
        return step(self, operation)

    def open_session(self) -> SessionGrant:
        self.reads.append("login")
        if self.logins:
            raise self.logins.pop(0)
        return SessionGrant(session_token="token", expires_at=OPEN_MARKET + timedelta(hours=12))

    def use_session(self, grant: SessionGrant) -> None:
        pass

    def close(self) -> None:
        pass

    def fetch_margin(self) -> MarginData:
        self.reads.append("margin")
        if isinstance(self.margin, BrokerError):
            raise self.margin
        now = self.context.clock.now()
        return MarginData(available=self.margin, used=Decimal(0), total=self.margin, as_of=now)

    def fetch_positions(self) -> list[Position]:
        self.reads.append("positions")
        if isinstance(self.positions, BrokerError):
            raise self.positions
        return self.positions

    def fetch_orders(self) -> list[Order]:
        self.reads.append("orders")
        found = self.book_script.pop(0) if self.book_script else list(self.book.values())
        if isinstance(found, BrokerError):
            raise found
        return [row for row in found if row.broker_order_id not in self.hidden]

    def fetch_order_tags(self, broker_order_id: str, instrument: Instrument) -> frozenset[str]:
        self.reads.append("history")
        return self.tags.get(broker_order_id, frozenset())

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        return self.book[broker_order_id]

    def fetch_gtts(self, first: date, last: date) -> list[Gtt]:
        self.reads.append("gtts")
        return self.gtts.shown(first, last)

    def fetch_trades(self) -> list[Fill]:
        self.reads.append("trades")
        return self.fills

    def fetch_quote(self, instrument: Instrument) -> Quote:
        return Quote(
            symbol=instrument.symbol,
            exchange=instrument.exchange,
            last_price=self.price,
            as_of=self.context.clock.now(),
        )

    def read_master(self) -> Iterator[MasterRow | MasterProblem]:
        yield master_row(self.name, Exchange.NSE, SHARE, "2885", lot=1)
        yield master_row(self.name, Exchange.NFO, CALL, "51001", lot=65)


def master_row(broker: str, exchange: Exchange, symbol: str, token: str, *, lot: int) -> MasterRow:
    option = exchange.is_derivative
    return MasterRow(
        exchange=exchange,
        kind=InstrumentKind.OPTION if option else InstrumentKind.EQUITY,
        token=token,
        symbol=symbol,
        underlying="NIFTY" if option else symbol,
        expiry=date(2026, 12, 29) if option else None,
        strike=Decimal(26000) if option else None,
        right=OptionRight.CALL if option else None,
        lot_size=lot,
        tick_size=Decimal("0.05"),
        freeze_quantity=1800 if option else None,
        series="" if option else "EQ",
        name=symbol,
        key=f"{exchange}|{symbol}",
        identifiers={"token": token},
    )


def book_row(number: str, request: OrderRequest, **changes: object) -> Order:
    values: dict[str, object] = {
        "broker_order_id": number,
        "client_tag": request.client_tag,
        "symbol": request.instrument.symbol,
        "exchange": request.instrument.exchange.value,
        "side": request.side,
        "quantity": request.quantity,
        "filled_quantity": 0,
        "pending_quantity": request.quantity,
        "order_type": request.order_type,
        "product": request.product,
        "time_in_force": request.time_in_force,
        "limit_price": request.limit_price,
        "trigger_price": request.trigger_price,
        "average_price": None,
        "status": OrderStatus.OPEN,
        "broker_status": "open",
        "placed_at": None,
    }
    return Order(**(values | changes))  # type: ignore[arg-type]


def foreign_row(number: str, **changes: object) -> Order:
    """An order somebody typed into the broker's own app."""
    values: dict[str, object] = {
        "broker_order_id": number,
        "symbol": SHARE,
        "exchange": "NSE",
        "side": Side.BUY,
        "quantity": 1,
        "filled_quantity": 0,
        "pending_quantity": 1,
        "order_type": OrderType.LIMIT,
        "product": Product.CNC,
        "time_in_force": TimeInForce.DAY,
        "limit_price": Decimal("99.00"),
        "trigger_price": None,
        "average_price": None,
        "status": OrderStatus.OPEN,
        "broker_status": "open",
        "placed_at": None,
    }
    return Order(**(values | changes))  # type: ignore[arg-type]


def give_back_calls(account: BrokerAccount) -> None:
    """Let no test live on the call budget that another of the same minute left over."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(*client.scan_iter(f"mcube:calls:{{{account}}}:*"), "mcube:calls")
    limits.forget()


def install(broker: str) -> tuple[BrokerAccount, ScriptedAdapter]:
    """An account of ``broker`` with a session and instruments, whose adapter is scripted; the market is open."""
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    clock.set(OPEN_MARKET)
    account = BrokerAccount.objects.create(broker=broker, name="default")
    give_back_calls(account)
    synthetic = default(broker).credentials()
    required = {name: synthetic[name] for name in spec_of(broker).required_credentials}
    row = CredentialStore.objects.create(service=broker, name="default", **required)
    adapter = ScriptedAdapter(
        AdapterContext(
            account=str(account),
            secrets={},
            clock=clock,
            wire=Wire(clock=clock, allowed_hosts=frozenset()),
            base_url=None,
            instruments=instruments.lookup(),
        ),
        broker,
    )
    grant = adapter.open_session()
    store.save_session(broker, "default", grant, login_used_at=row.updated_at)
    SessionState.objects.create(
        account=account,
        status=SessionState.Status.VALID,
        version=1,
        expires_at=grant.expires_at,
        last_used_at=clock.now(),
    )
    instruments.refresh(account, adapter=adapter, clock=clock)
    gateway = BrokerGateway(account, adapter, clock=clock, wait=lambda seconds: None)
    BrokerFactory._gateways[(os.getpid(), broker, "default")] = gateway
    return account, adapter
