"""One broker account in one process: session, call budget, adapter, evidence.

The gateway is the only caller of an adapter. Reads go straight through it (:mod:`brokers.reads` lists them); orders
go through the ledger, which comes back here to send.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction

from brokers import limits, sessions
from brokers.adapter_interface import BrokerAdapter
from brokers.calendar import MarketCalendar
from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import OrderDenied, RateLimited, SessionExpired
from brokers.domain.gtt import GttAck, GttCancel, GttChange, GttRequest
from brokers.domain.inputs import Price
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderAck, OrderChange, OrderRequest
from brokers.gtt.calls import GatewayGtts
from brokers.interfaces import Clock
from brokers.limits import Urgency
from brokers.models import BrokerAccount, OrderIntent
from brokers.reads import GatewayReads
from brokers.session_marks import Marks, marks_of
from brokers.wire import WireTrace

T = TypeVar("T")

#: How long a caller waits for its turn or for another process's login. Tasks do not wait: they come again.
PATIENCE_SECONDS = 20.0
READ_SECONDS = 10.0
#: How long a read of many answers waits for its next call, in a task too: given up half-way it would begin anew and use
#: the same calls again. A window of a second gives one back within this; one of a minute does not.
PACE_SECONDS = 2.0
_patience: ContextVar[float] = ContextVar("patience_seconds", default=PATIENCE_SECONDS)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, nothing waits for a call budget or a login: what cannot be done now raises. For tasks."""
    token = _patience.set(0.0)
    try:
        yield
    finally:
        _patience.reset(token)


def _refuse_open_transaction() -> None:
    """What was sent must not be forgotten when a transaction around it is rolled back.

    :raises OrderDenied: the caller has a transaction open; nothing is recorded or sent.
    """
    try:
        with transaction.atomic(durable=True):
            pass
    except RuntimeError as error:
        raise OrderDenied(
            "An order is sent only after it is committed, and a transaction is open here; call this outside of "
            "transaction.atomic(), or enqueue the task, which is sent when the transaction commits."
        ) from error


class _Held(NamedTuple):
    """The session that a gateway used last, and the marks it had."""

    session: sessions.Session
    marks: Marks | None
    #: Its use is noted once a minute.
    noted_until: datetime


class BrokerGateway(GatewayReads, GatewayGtts):
    """What :meth:`BrokerFactory.get_broker` returns."""

    def __init__(
        self,
        account: BrokerAccount,
        adapter: BrokerAdapter,
        *,
        clock: Clock,
        wait: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.account = account
        self.spec = spec_of(account.broker)
        self.clock = clock
        self.calendar = MarketCalendar(clock)
        self._adapter = adapter
        self._wait = wait
        self._new_id = new_id
        self._limiter = limits.limiter_of(settings.REDIS_URL)
        self._session_version: int | None = None
        self._held: _Held | None = None
        self._lock = threading.RLock()

    # Session

    def login(self) -> bool:
        self._use(self._session())
        return True

    def logout(self) -> bool:
        self.close()
        return True

    def close(self) -> None:
        """Drop sockets and secrets; the next call opens them again."""
        with self._lock:
            self._session_version = self._held = None
            self._adapter.close()

    # Reads

    def read(
        self,
        operation: Callable[[BrokerAdapter], T],
        *,
        urgency: Urgency = Urgency.POLL,
        total_seconds: float = READ_SECONDS,
    ) -> T:
        """Make one read within session and budget, which counts every request; log in first if nobody has.

        A session that expired is looked up once more, since another process may have renewed it.

        :raises BrokerError: by what the caller must do; never an empty value for a failure.
        """
        session = self._session()
        for last_try in (False, True):
            self._use(session)
            try:
                return self._make(operation, urgency=urgency, total_seconds=total_seconds)
            except SessionExpired:
                sessions.report_expired(self.account, session.version, clock=self.clock)
                if last_try:
                    raise
                session = self._session()
        raise AssertionError("unreachable")

    def read_public(self, operation: Callable[[BrokerAdapter], T], *, total_seconds: float) -> T:
        """Make one read that needs no session, within budget; as :meth:`read`."""
        return self._make(operation, urgency=Urgency.POLL, total_seconds=total_seconds)

    def check_feed(self, instrument: Instrument) -> None:
        self._adapter.check_feed(instrument)

    def require_room(self, calls: int, *, urgency: Urgency) -> None:
        """See that so many calls can be made one after another.

        :raises RateLimited: the account's calls are used up for now.
        """
        self._patiently(
            lambda: self._limiter.require_room(self.account, calls=calls, urgency=urgency), seconds=_patience.get()
        )

    # Mutations, for the ledger alone

    def prepare_send(self) -> int:
        """Make sure an order could go out now: session and budget. Returns the session's version.

        :raises RateLimited: wait; nothing was sent.
        :raises BrokerError: no session; nothing was sent.
        """
        session = self._session()
        self._use(session)
        self._take_budget(urgency=Urgency.ORDER)
        return session.version

    @contextmanager
    def sending(self, *, before_first_byte: Callable[[], None], total_seconds: float) -> Iterator[WireTrace]:
        """Open the one call in which :meth:`transmit` sends a mutation; yields what the wire sees."""
        with self._adapter.context.wire.call(total_seconds=total_seconds, before_first_byte=before_first_byte) as trace:
            yield trace

    def transmit(
        self, operation: OrderRequest | OrderChange | CancelRequest | GttRequest | GttChange | GttCancel
    ) -> OrderAck | GttAck:
        """Send one mutation, once. Call :meth:`prepare_send` and arm the attempt before.

        :raises BrokerError: classified from evidence; see the adapter's contract.
        """
        if isinstance(operation, OrderRequest):
            return self._adapter.place(operation)
        if isinstance(operation, OrderChange):
            return self._adapter.modify(operation)
        if isinstance(operation, CancelRequest):
            return self._adapter.cancel(operation)
        if isinstance(operation, GttRequest):
            return self._adapter.submit_gtt(operation)
        if isinstance(operation, GttChange):
            return self._adapter.alter_gtt(operation)
        return self._adapter.withdraw_gtt(operation)

    def report_expired(self, session_version: int) -> None:
        """A mutation found the session refused."""
        sessions.report_expired(self.account, session_version, clock=self.clock)

    # Orders, through the ledger

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
        from brokers.ledger import operations

        return self.record_and_wait(
            operations.record_place,
            client_order_id=client_order_id,
            has_own_key=bool(client_order_id),
            symbol=symbol,
            side=action,
            quantity=quantity,
            order_type=order_type,
            limit_price=price,
            trigger_price=trigger_price,
            exchange=exchange,
            product=product,
            time_in_force=time_in_force,
            strategy=strategy,
        )

    def modify_order(
        self,
        order_id: str,
        *,
        quantity: int | None = None,
        price: Price = None,
        trigger_price: Price = None,
        order_type: str | None = None,
        client_order_id: str | None = None,
    ) -> str:
        from brokers.ledger import operations

        return self.record_and_wait(
            operations.record_modify,
            client_order_id=client_order_id,
            broker_order_id=order_id,
            quantity=quantity,
            limit_price=price,
            trigger_price=trigger_price,
            order_type=order_type,
        )

    def cancel_order(self, order_id: str) -> bool:
        from brokers.ledger import operations, queries

        _refuse_open_transaction()
        order = queries.broker_order(self.account.pk, order_id, trading_day(self.clock.now()))
        if order.status != OrderStatus.CANCELLED:
            self.record_and_wait(operations.record_cancel, client_order_id=None, broker_order_id=order_id)
        return True

    def record_and_wait(
        self, record: Callable[..., OrderIntent], *, client_order_id: str | None, **content: Any
    ) -> str:
        from brokers import outcome

        _refuse_open_transaction()
        key = client_order_id or self._new_id()
        intent = record(broker=self.account.broker, account=self.account.name, client_order_id=key, **content)
        return outcome.wait_for(intent.pk, wait=self._wait, monotonic=self.clock.monotonic)

    def close_position(self, symbol: str, exchange: str | None = None, product: str | None = None) -> bool:
        from brokers.plans import closing

        return self._close(closing.named(symbol), exchange, product)

    def close_all_positions(self) -> bool:
        return self._close()

    def _close(self, symbol: str | None = None, exchange: str | None = None, product: str | None = None) -> bool:
        from brokers.plans import closing, driving

        _refuse_open_transaction()
        plan = closing.record_close(
            broker=self.account.broker,
            account=self.account.name,
            symbol=symbol,
            exchange=exchange,
            product=product,
            client_order_id=self._new_id(),
        )
        driving.close_until_flat(plan.pk, wait=self._wait, monotonic=self.clock.monotonic)
        return True

    # Inside

    def _session(self) -> sessions.Session:
        """The account's session; opened by :mod:`brokers.sessions` unless it is the one held here.

        :raises BrokerError: there is none, and none could be opened.
        """
        marks, now = marks_of(self.account), self.clock.now()
        held = self._held
        if held and marks and held.marks == marks and now < held.session.grant.expires_at:
            if now >= held.noted_until:
                sessions.note_use(self.account, now)
                self._held = held._replace(noted_until=now + sessions.USE_NOTED_EVERY)
            return held.session
        session = sessions.ensure(self.account, clock=self.clock, wait=self._wait if _patience.get() > 0 else None)
        # Marks read before: what changed meanwhile shows at the next look.
        self._held = _Held(session=session, marks=marks, noted_until=now + sessions.USE_NOTED_EVERY)
        return session

    def _use(self, session: sessions.Session) -> None:
        """Hand the session to the adapter, once for each version."""
        with self._lock:
            if self._session_version != session.version:
                self._adapter.use_session(session.grant)
                self._session_version = session.version

    def _make(self, operation: Callable[[BrokerAdapter], T], *, urgency: Urgency, total_seconds: float) -> T:
        self._take_budget(urgency=urgency)
        further = self._count_further(urgency=urgency, total_seconds=total_seconds)
        with self._adapter.context.wire.call(total_seconds=total_seconds, before_first_byte=further) as trace:
            value = operation(self._adapter)
        trace.raise_interruption()
        return value

    def _count_further(self, *, urgency: Urgency, total_seconds: float) -> Callable[[], None]:
        """What counts the second and every later request of one read, e.g. one for each exchange's book.

        A short read does not wait here, since its deadline runs; a long one goes at the pace that the limits allow.
        """
        requests, ends = count(), self.clock.monotonic() + total_seconds
        patience = max(_patience.get(), PACE_SECONDS) if total_seconds > READ_SECONDS else 0.0

        def before_first_byte() -> None:
            if next(requests):
                self._patiently(
                    lambda: self._acquire(urgency=urgency), seconds=min(patience, ends - self.clock.monotonic())
                )

        return before_first_byte

    def _acquire(self, *, urgency: Urgency) -> None:
        self._limiter.count(self.account, self.clock.now(), urgency=urgency)

    def _take_budget(self, *, urgency: Urgency) -> None:
        self._patiently(lambda: self._acquire(urgency=urgency), seconds=_patience.get())

    def _patiently(self, ask: Callable[[], None], *, seconds: float) -> None:
        """Ask again while the calls are used up, for so long."""
        deadline = self.clock.monotonic() + seconds
        while True:
            try:
                return ask()
            except RateLimited as error:
                if self.clock.monotonic() + error.retry_after.total_seconds() > deadline:
                    raise
                self._wait(max(error.retry_after, timedelta(milliseconds=5)).total_seconds())
