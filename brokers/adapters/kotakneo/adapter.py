"""Kotak Neo behind its SDK: each method builds, calls and parses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.adapters.kotakneo import SPEC, building, errors, master, parsing, sdk, session
from brokers.adapters.kotakneo.errors import Reply
from brokers.clock import trading_day
from brokers.domain.account import MarginData, Position
from brokers.domain.errors import BrokerUnavailable, NotSent, SessionExpired
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderRequest


class NeoAPI(BrokerAdapter):
    """One Kotak Neo account. Threads may share it; a forked child makes its own."""

    capabilities = SPEC.capabilities

    def __init__(self, context: AdapterContext) -> None:
        super().__init__(context)
        self._client: Any = None

    # Session

    def open_session(self) -> SessionGrant:
        return session.open_session(self.context, sdk.client(self.context), self._ask)

    def use_session(self, grant: SessionGrant) -> None:
        client = sdk.client(self.context)
        session.use_session(client, grant)
        self._client = client

    def close(self) -> None:
        self._client = None
        self.context.wire.close()

    # Reads

    def fetch_margin(self) -> MarginData:
        reply = self._ask(self._session_client().limits)
        errors.raise_foreign(reply)
        if not reply.is_ok:
            raise errors.read_failure(reply, what="margin")
        return parsing.margin(reply.body, as_of=self.context.clock.now())

    def fetch_positions(self) -> list[Position]:
        rows = self._rows(self._session_client().positions, "positions")
        return parsing.positions(rows, self.context.instruments, as_of=self.context.clock.now())

    def fetch_orders(self) -> list[Order]:
        return parsing.orders(self._rows(self._session_client().order_report, "orders"), self.context.instruments)

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        wanted, client = building.order_id(broker_order_id), self._session_client()
        rows = self._rows(lambda: client.order_report(order_id=wanted), "the order")
        for order in parsing.orders(rows, self.context.instruments):
            if order.broker_order_id == wanted:
                return order
        raise BrokerUnavailable(f"Kotak does not show order {wanted} today; read the order book, or ask again.")

    def fetch_order_tags(self, broker_order_id: str, instrument: Instrument) -> frozenset[str]:
        wanted, client = building.order_id(broker_order_id), self._session_client()
        return parsing.tags(errors.history_rows(self._ask(lambda: client.order_history(order_id=wanted))))

    def fetch_trades(self) -> list[Fill]:
        return parsing.fills(self._rows(self._session_client().trade_report, "trades"), self.context.instruments)

    def fetch_quote(self, instrument: Instrument) -> Quote:
        token, client = building.quote_token(instrument), self._session_client()
        reply = self._ask(lambda: client.quotes(instrument_tokens=[token], quote_type="all"))
        errors.raise_foreign(reply)
        if reply.status != 200 or not isinstance(reply.body, list):
            raise errors.read_failure(reply, what=f"a quote of {instrument.symbol}")
        return parsing.quote(reply.body, token, instrument, as_of=self.context.clock.now())

    def read_master(self) -> Iterator[MasterRow | MasterProblem]:
        def files() -> Reply:
            reply = self._ask(self._session_client().scrip_master)
            errors.raise_foreign(reply)
            return reply

        return master.read(self.context.wire, files, today=trading_day(self.context.clock.now()))

    # Mutations: one call each, never repeated

    def place(self, request: OrderRequest) -> OrderAck:
        arguments = building.place_arguments(request)
        return self._mutate("place_order", arguments, what=f"Order {request.client_order_id}")

    def modify(self, change: OrderChange) -> OrderAck:
        arguments = building.modify_arguments(change)
        return self._mutate(
            "modify_order",
            arguments,
            what=f"The change of order {change.broker_order_id}",
            order_id=change.broker_order_id,
        )

    def cancel(self, request: CancelRequest) -> OrderAck:
        arguments = building.cancel_arguments(request)
        return self._mutate(
            "cancel_order",
            arguments,
            what=f"The cancel of order {request.broker_order_id}",
            order_id=request.broker_order_id,
        )

    # Inside

    def _mutate(self, method: str, arguments: Mapping[str, str], *, what: str, order_id: str | None = None) -> OrderAck:
        client = self._client
        if client is None:
            raise NotSent(f"{what} was not sent, since account {self.context.account} has no session in use; log in.")
        reply = self._ask(lambda: getattr(client, method)(**arguments))
        return errors.mutation_ack(reply, what=what, order_id=order_id)

    def _rows(self, call: Callable[[], Any], what: str) -> list[Mapping[str, Any]]:
        return errors.read_rows(self._ask(call), what=what)

    def _session_client(self) -> Any:
        if self._client is None:
            raise SessionExpired(f"Account {self.context.account} has no session in use; log in.")
        return self._client

    def _ask(self, call: Callable[[], Any]) -> Reply:
        """Make one SDK call and keep what the wire saw of it, whoever opened the trace."""
        wire = self.context.wire
        if wire.trace is None:
            with wire.call():
                return self._ask(call)
        seen = len(wire.trace.records)
        try:
            body = call()
        except sdk.raised_errors() as error:
            body = {"Error": error}
        return Reply(body=body, records=tuple(wire.trace.records[seen:]))
