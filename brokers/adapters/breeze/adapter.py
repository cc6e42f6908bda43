"""ICICI Breeze behind the contract: each method builds, calls and parses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import httpx

from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.adapters.breeze import SPEC, building, errors, master, parsing, session, tables
from brokers.adapters.breeze.sdk import Client
from brokers.clock import trading_day
from brokers.domain.account import MarginData, Position
from brokers.domain.enums import Exchange
from brokers.domain.errors import BrokerUnavailable, NotSent, SessionExpired, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderRequest


class BreezeAPI(BrokerAdapter):
    """One Breeze account."""

    capabilities = SPEC.capabilities

    def __init__(self, context: AdapterContext) -> None:
        super().__init__(context)
        self._client: Client | None = None
        #: Executions of orders whose traded quantity has not grown since: (units, fills) by order id.
        self._fills: dict[str, tuple[int, list[Fill]]] = {}

    # Session

    def open_session(self) -> SessionGrant:
        return session.open_session(self._new_client(), self.context)

    def login_page(self) -> str:
        return session.login_url(self.context.secrets["api_key"], self.context.base_url)

    def use_session(self, grant: SessionGrant) -> None:
        client = self._new_client()
        session.resume(client, grant)
        self._client = client

    def close(self) -> None:
        self._client = None
        self._fills = {}
        self.context.wire.close()

    # Reads

    def fetch_margin(self) -> MarginData:
        funds = parsing.record(self._read("funds", "get_funds"), "funds")
        limits = parsing.record(
            self._read("margin", "get_margin", exchange_code=tables.MARGIN_EXCHANGE.value), "margin"
        )
        return parsing.margin(funds, limits, self._received_at())

    def fetch_positions(self) -> list[Position]:
        what = "positions"
        listed = parsing.rows(self._read(what, "get_portfolio_positions"), what)
        kept = [row for row in listed if parsing.is_position(row)]
        as_of = self._received_at()
        exchanges = sorted({parsing.text(row, "exchange_code").upper() for row in kept})
        traded = parsing.traded_today(row for exchange in exchanges for row in self._trade_rows(Exchange(exchange)))
        return [parsing.position(row, self._find, traded, as_of) for row in kept]

    def fetch_orders(self) -> list[Order]:
        """The book of every exchange; one that cannot be read makes the whole read fail."""
        today = self._today()
        orders: list[Order] = []
        for exchange in tables.EXCHANGES:
            what = f"order book of {exchange}"
            answer = self._read(what, "get_order_list", exchange_code=exchange.value, from_date=today, to_date=today)
            orders += self._orders(exchange, parsing.rows(answer, what))
        return orders

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        what, exchange = f"order {broker_order_id}", instrument.exchange
        answer = self._read(what, "get_order_detail", exchange_code=exchange.value, order_id=broker_order_id)
        for found in self._orders(exchange, parsing.rows(answer, what)):
            if found.broker_order_id == broker_order_id:
                return found
        raise BrokerUnavailable(f"Breeze does not show order {broker_order_id} at {exchange}; ask again.")

    def fetch_trades(self) -> list[Fill]:
        fills: list[Fill] = []
        for exchange in tables.EXCHANGES:
            listed = {parsing.text(row, "order_id"): row for row in self._trade_rows(exchange)}
            units = parsing.executed_units(listed.values())
            for order_id, row in listed.items():
                fills += self._fills_of(exchange, order_id, row, units[order_id])
        return fills

    def fetch_quote(self, instrument: Instrument) -> Quote:
        what = f"quote of {instrument.symbol}"
        answer = self._read(what, "get_quotes", **building.quote(instrument))
        return parsing.quote(parsing.rows(answer, what), instrument, self._received_at())

    def read_master(self) -> Iterator[MasterRow | MasterProblem]:
        """Read the first of the published archives that has every exchange.

        :raises BrokerUnavailable: none could be had.
        """
        failures = []
        client = self._new_client()
        for url in tables.MASTER_URLS:
            try:
                archive = client.download(url)
            except (httpx.TransportError, ValueError) as error:
                failures.append(f"{url}: {type(error).__name__} {error}")
                continue
            if master.is_complete(archive):
                return master.read(archive)
            failures.append(f"{url}: an exchange's file is missing")
        raise BrokerUnavailable(f"Breeze's instrument master could not be had ({'; '.join(failures)}); try again.")

    # Mutations

    def place(self, request: OrderRequest) -> OrderAck:
        what = f"order in {request.instrument.symbol}"
        arguments = building.place(request)
        reply = self._sender(what).call("place_order", **arguments)
        return OrderAck(
            broker_order_id=errors.taken_order_id(reply, what), message=_message(reply), evidence=reply.evidence
        )

    def modify(self, change: OrderChange) -> OrderAck:
        what, body = f"modification of order {change.broker_order_id}", building.modify(change)
        reply = self._sender(what).put_order(body)
        return self._changed(reply, what, change.broker_order_id)

    def cancel(self, request: CancelRequest) -> OrderAck:
        what, arguments = f"cancellation of order {request.broker_order_id}", building.cancel(request)
        reply = self._sender(what).call("cancel_order", **arguments)
        return self._changed(reply, what, request.broker_order_id)

    # Inside

    def _changed(self, reply: errors.Reply, what: str, order_id: str) -> OrderAck:
        taken = errors.taken_order_id(reply, what, expected=order_id)
        return OrderAck(broker_order_id=taken, message=_message(reply), evidence=reply.evidence)

    def _new_client(self) -> Client:
        secrets = self.context.secrets
        return Client(
            api_key=secrets["api_key"],
            api_secret=secrets["api_secret"],
            wire=self.context.wire,
            base_url=self.context.base_url,
        )

    def _session(self) -> Client:
        """The client with the account's session.

        :raises SessionExpired: none was handed over.
        """
        if self._client is None:
            raise SessionExpired(f"Account {self.context.account} has no Breeze session here; log in.")
        return self._client

    def _sender(self, what: str) -> Client:
        """As :meth:`_session`, for a mutation: without one nothing is sent, which is no refusal by the broker.

        :raises NotSent: no session was handed over.
        """
        if self._client is None:
            raise NotSent(
                f"The {what} was not sent, since account {self.context.account} has no session in use; log in."
            )
        return self._client

    def _read(self, what: str, method: str, **arguments: str) -> object:
        return errors.read_value(self._session().call(method, **arguments), what)

    def _trade_rows(self, exchange: Exchange) -> list[parsing.Row]:
        today, what = self._today(), f"trades of {exchange}"
        answer = self._read(what, "get_trade_list", exchange_code=exchange.value, from_date=today, to_date=today)
        return parsing.rows(answer, what)

    def _orders(self, exchange: Exchange, listed: list[parsing.Row]) -> list[Order]:
        executed: dict[str, int] = {}
        if any(parsing.may_be_partly_filled(row) for row in listed):
            executed = parsing.executed_units(self._trade_rows(exchange))
        return [parsing.order(row, self._find, executed) for row in listed]

    def _fills_of(self, exchange: Exchange, order_id: str, row: parsing.Row, units: int) -> list[Fill]:
        known_units, known = self._fills.get(order_id, (0, []))
        if known_units == units:
            return known
        what = f"trades of order {order_id}"
        answer = self._read(what, "get_trade_detail", exchange_code=exchange.value, order_id=order_id)
        fills = parsing.fills(row, parsing.rows(answer, what), self._find)
        if not fills:
            raise UnreadableReply(f"Breeze lists {units} units traded of order {order_id} and no execution; ask again.")
        self._fills[order_id] = (sum(fill.quantity for fill in fills), fills)
        return fills

    def _find(self, key: str) -> Instrument | None:
        return self.context.instruments.find(tables.NAME, key)

    def _today(self) -> str:
        return building.day(trading_day(self.context.clock.now()))

    def _received_at(self) -> datetime:
        return self.context.clock.now()


def _message(reply: errors.Reply) -> str:
    success = reply.envelope.get("Success")
    words = success.get("message") if isinstance(success, dict) else None
    return errors.redact(str(words or ""), reply.secrets)
