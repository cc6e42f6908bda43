"""ICICI Breeze behind the contract: each method builds, calls and parses."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

import httpx

from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.adapters.breeze import (
    SPEC,
    building,
    building_gtt,
    errors,
    master,
    parsing,
    parsing_account,
    parsing_gtt,
    parsing_market,
    parsing_orders,
    session,
    tables,
)
from brokers.adapters.breeze.feed import BreezeFeed
from brokers.adapters.breeze.sdk import Client
from brokers.clock import trading_day
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.enums import CandleInterval, Exchange, OptionRight
from brokers.domain.errors import BrokerUnavailable, NotSent, SessionExpired, UnreadableReply
from brokers.domain.gtt import Gtt, GttAck, GttCancel, GttChange, GttRequest
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderEvent, OrderRequest
from brokers.feed_interface import BrokerFeed

log = logging.getLogger("brokers.breeze")

YEAR = timedelta(days=365)


class BreezeAPI(BrokerAdapter):
    """One Breeze account."""

    capabilities = SPEC.capabilities

    def __init__(self, context: AdapterContext) -> None:
        super().__init__(context)
        self._client: Client | None = None
        #: Executions by order id. What an interrupted reading has learnt is here alone.
        self._fills: dict[str, list[Fill]] = {}

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

    # Feeds

    def make_feed(self, grant: SessionGrant) -> BrokerFeed:
        client = self._new_client()
        session.resume(client, grant)
        return BreezeFeed(self.context, client)

    def check_feed(self, instrument: Instrument) -> None:
        building.feed_token(instrument)

    # Reads

    def fetch_margin(self) -> MarginData:
        funds = parsing.record(self._read("funds", "get_funds"), "funds")
        limits = parsing.record(
            self._read("margin", "get_margin", exchange_code=tables.MARGIN_EXCHANGE.value), "margin"
        )
        return parsing_account.margin(funds, limits, self._received_at())

    def fetch_positions(self) -> list[Position]:
        what = "positions"
        listed = parsing.rows(self._read(what, "get_portfolio_positions"), what)
        kept = [row for row in listed if parsing_account.is_position(row)]
        as_of = self._received_at()
        exchanges = parsing_account.exchanges_of(kept)
        traded = parsing_account.traded_today(row for exchange in exchanges for row in self._trade_rows(exchange))
        return [parsing_account.position(row, self._find, traded, as_of) for row in kept]

    def fetch_segment_margins(self) -> list[SegmentMargin]:
        funds = parsing.record(self._read("funds", "get_funds"), "funds")
        return parsing_account.segment_margins(funds, self._received_at())

    def fetch_margin_required(self, requests: Sequence[OrderRequest]) -> MarginRequired:
        """One call for the orders of each exchange, which are weighed against each other there.

        :raises UnsupportedFeature: there is an order in shares, for which Breeze calculates no margin.
        """
        what, answers = "margin of the planned orders", []
        for exchange, legs in building.margin_legs(requests).items():
            answer = self._read(what, "margin_calculator", lists=legs, exchange_code=exchange.value)
            answers.append(parsing.record(answer, what))
        return parsing_account.margin_required(answers, self._received_at())

    def fetch_holdings(self) -> list[Holding]:
        """The shares at NSE and at BSE; pledged ones are among them, and Breeze does not say which."""
        held: list[Holding] = []
        for exchange in tables.CASH_EXCHANGES:
            what = f"holdings at {exchange}"
            listed = parsing.rows(self._read(what, "get_portfolio_holdings", exchange_code=exchange.value), what)
            as_of = self._received_at()
            held += [parsing_account.holding(row, self._find, as_of) for row in listed]
        return held

    def fetch_demat_holdings(self) -> list[Holding]:
        what = "demat holdings"
        listed = parsing.rows(self._read(what, "get_demat_holdings"), what)
        as_of = self._received_at()
        return [parsing_account.demat_holding(row, self._find, as_of) for row in listed]

    def fetch_orders(self) -> list[Order]:
        """The book of every exchange; one that cannot be read makes the whole read fail."""
        today = self._today()
        return self.fetch_orders_between(today, today)

    def fetch_orders_between(self, first: date, last: date) -> list[Order]:
        """The books of every exchange, one call each however many days."""
        orders: list[Order] = []
        for exchange in tables.EXCHANGES:
            what = f"order book of {exchange}"
            answer = self._read(what, "get_order_list", exchange_code=exchange.value, **building.days(first, last))
            orders += self._orders(exchange, parsing.rows(answer, what), first, last)
        return orders

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        what, exchange = f"order {broker_order_id}", instrument.exchange
        answer = self._read(what, "get_order_detail", exchange_code=exchange.value, order_id=broker_order_id)
        today = self._today()
        for found in self._orders(exchange, parsing.rows(answer, what), today, today):
            if found.broker_order_id == broker_order_id:
                return found
        raise BrokerUnavailable(f"Breeze does not show order {broker_order_id} at {exchange}; ask again.")

    def fetch_order_history(self, broker_order_id: str, instrument: Instrument) -> list[OrderEvent]:
        """One event, the order's present row: Breeze keeps no other."""
        return [parsing_orders.present_state(self.fetch_order(broker_order_id, instrument))]

    def fetch_trades(self) -> list[Fill]:
        """The list of each exchange, and a call for each order whose executions nobody has read."""
        fills: list[Fill] = []
        recorded: defaultdict[str, list[Fill]] = defaultdict(list)
        for fill in self.context.recorded_fills():
            recorded[fill.broker_order_id].append(fill)
        for exchange in tables.EXCHANGES:
            listed = {parsing.text(row, "order_id"): row for row in self._trade_rows(exchange)}
            units = parsing_orders.executed_units(listed.values())
            for order_id, row in listed.items():
                fills += self._fills_of(exchange, order_id, row, units[order_id], recorded[order_id])
        return fills

    def fetch_trades_between(self, first: date, last: date) -> list[Fill]:
        """One fill an order and day, at the average price: the executions would be a call for every order."""
        listed = [row for exchange in tables.EXCHANGES for row in self._trade_rows(exchange, first, last)]
        return parsing_orders.fills_by_day(listed, self._find)

    def fetch_gtts(self, first: date, last: date) -> list[Gtt]:
        """The GTT books of both derivative exchanges; one that cannot be read makes the whole read fail."""
        gtts: list[Gtt] = []
        for exchange in tables.GTT_EXCHANGES:
            what, days = f"GTT book of {exchange}", building_gtt.days(first, last)
            listed = parsing.rows(self._read(what, "gtt_order_book", exchange_code=exchange.value, **days), what)
            gtts += [parsing_gtt.gtt(row, self._find) for row in listed]
        return gtts

    def fetch_quote(self, instrument: Instrument) -> Quote:
        return parsing_market.quote(self._quote_rows(instrument), instrument, self._received_at())

    def fetch_depth(self, instrument: Instrument) -> Depth:
        """One level a side, the best: Breeze states more in its feed only."""
        return parsing_market.depth(self._quote_rows(instrument), instrument, self._received_at())

    def fetch_year_range(self, instrument: Instrument) -> YearRange:
        """Of the candles of 365 days, which are not adjusted for corporate actions."""
        now = self.context.clock.now()
        days = self.fetch_candles(instrument, CandleInterval.DAY, now - YEAR, now)
        return parsing_market.year_range(days, instrument, self._received_at())

    def fetch_option_chain(self, underlying: Instrument, expiry: date, strikes: int) -> OptionChain:
        """Two calls, and one more where the rows do not state the underlying's price.

        :raises BrokerUnavailable: it is not known where the money is.
        """
        what, listed = f"option chain of {underlying.symbol}", []
        for right in OptionRight:
            arguments = building.option_chain(underlying, expiry, right)
            listed += parsing.rows(self._read(what, "get_option_chain_quotes", **arguments), what)
        as_of = self._received_at()
        options, unknown = parsing_market.options(listed, expiry, self._find)
        if unknown:
            log.warning("Breeze sent %d rows of the %s for %s that name no option of it", unknown, what, expiry)
        spot = parsing_market.spot_price(listed) or self.fetch_quote(underlying).last_price
        if spot is None:
            raise BrokerUnavailable(f"Breeze states no price of {underlying.symbol}, so its money is not known.")
        return OptionChain(
            underlying=underlying.underlying,
            exchange=arguments["exchange_code"],
            expiry=expiry,
            spot_price=spot,
            calls=parsing_market.around(options, OptionRight.CALL, spot, strikes),
            puts=parsing_market.around(options, OptionRight.PUT, spot, strikes),
            as_of=as_of,
        )

    def fetch_candles(
        self, instrument: Instrument, interval: CandleInterval, starts_at: datetime, ends_at: datetime
    ) -> list[Candle]:
        """By ``get_historical_data_v2``, page by page; a candle that two pages hold is the later page's.

        :raises UnsupportedFeature: Breeze has no candles of this interval.
        :raises UnreadableReply: a page is so long that a part of it may be missing.
        """
        what, found = f"candles of {instrument.symbol}", {}
        for first, last in building.history_pages(interval, starts_at, ends_at):
            arguments = building.history(instrument, interval, first, last)
            reply = self._session().call("get_historical_data_v2", **arguments)
            page = parsing.rows(errors.read_value(reply, what, believes_empty=True), what)
            if len(page) >= tables.MOST_CANDLES:
                raise UnreadableReply(f"Breeze sent {len(page)} {what}, so that some may be missing; ask for less.")
            found.update({each.opened_at: each for each in parsing_market.candles(page, instrument, interval)})
        return [found[opened_at] for opened_at in sorted(found) if starts_at <= opened_at < ends_at]

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

    def submit_gtt(self, request: GttRequest) -> GttAck:
        what, arguments = f"GTT in {request.instrument.symbol}", building_gtt.place(request, self._today())
        return self._send_gtt(what, f"{tables.GTT_METHODS[request.kind]}_place_order", arguments)

    def alter_gtt(self, change: GttChange) -> GttAck:
        what, arguments = f"modification of GTT {change.gtt_order_id}", building_gtt.modify(change)
        return self._send_gtt(what, f"{tables.GTT_METHODS[change.kind]}_modify_order", arguments, change.gtt_order_id)

    def withdraw_gtt(self, request: GttCancel) -> GttAck:
        what, arguments = f"cancellation of GTT {request.gtt_order_id}", building_gtt.cancel(request)
        return self._send_gtt(what, f"{tables.GTT_METHODS[request.kind]}_cancel_order", arguments, request.gtt_order_id)

    # Inside

    def _send_gtt(self, what: str, method: str, arguments: Mapping[str, object], expected: str = "") -> GttAck:
        reply = self._sender(what).call(method, **arguments)
        taken = errors.taken_gtt_id(reply, what, expected=expected)
        return GttAck(gtt_order_id=taken, message=_message(reply), evidence=reply.evidence)

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

    def _read(self, what: str, method: str, **arguments: object) -> object:
        return errors.read_value(self._session().call(method, **arguments), what)

    def _quote_rows(self, instrument: Instrument) -> list[parsing.Row]:
        what = f"quote of {instrument.symbol}"
        return parsing.rows(self._read(what, "get_quotes", **building.quote(instrument)), what)

    def _trade_rows(self, exchange: Exchange, first: date | None = None, last: date | None = None) -> list[parsing.Row]:
        """The trade list of the days, today where none are given."""
        days, what = building.days(first or self._today(), last or self._today()), f"trades of {exchange}"
        return parsing.rows(self._read(what, "get_trade_list", exchange_code=exchange.value, **days), what)

    def _orders(self, exchange: Exchange, listed: list[parsing.Row], first: date, last: date) -> list[Order]:
        executed: dict[str, int] = {}
        if any(parsing_orders.may_be_partly_filled(row) for row in listed):
            executed = parsing_orders.executed_units(self._trade_rows(exchange, first, last))
        return [parsing_orders.order(row, self._find, executed) for row in listed]

    def _fills_of(
        self, exchange: Exchange, order_id: str, row: parsing.Row, units: int, recorded: list[Fill]
    ) -> list[Fill]:
        for known in (self._fills.get(order_id, []), recorded):
            if sum(fill.quantity for fill in known) == units:
                return known
        what = f"trades of order {order_id}"
        answer = self._read(what, "get_trade_detail", exchange_code=exchange.value, order_id=order_id)
        fills = parsing_orders.fills(row, parsing.rows(answer, what), self._find)
        if not fills:
            raise UnreadableReply(f"Breeze lists {units} units traded of order {order_id} and no execution; ask again.")
        self._fills[order_id] = fills
        return fills

    def _find(self, key: str) -> Instrument | None:
        return self.context.instruments.find(tables.NAME, key)

    def _today(self) -> date:
        return trading_day(self.context.clock.now())

    def _received_at(self) -> datetime:
        return self.context.clock.now()


def _message(reply: errors.Reply) -> str:
    success = reply.envelope.get("Success")
    words = success.get("message") if isinstance(success, dict) else None
    return errors.redact(str(words or ""), reply.secrets)
