"""Kotak Neo behind its SDK: each method builds, calls and parses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.adapters.kotakneo import (
    SPEC,
    building,
    errors,
    master,
    parsing_account,
    parsing_market,
    parsing_orders,
    sdk,
    session,
)
from brokers.adapters.kotakneo.errors import Reply
from brokers.adapters.kotakneo.feed import NeoFeed
from brokers.adapters.kotakneo.tables import MOST_QUOTES, SEGMENTS
from brokers.clock import trading_day
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.enums import CandleInterval, Exchange
from brokers.domain.errors import BrokerUnavailable, NotSent, SessionExpired
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import CancelRequest, Fill, Order, OrderAck, OrderChange, OrderEvent, OrderRequest
from brokers.feed_interface import BrokerFeed

log = logging.getLogger("brokers.kotakneo")


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

    # Reads of the account

    def fetch_margin(self) -> MarginData:
        return parsing_account.margin(self._limits("margin"), as_of=self.context.clock.now())

    def fetch_segment_margins(self) -> list[SegmentMargin]:
        return parsing_account.segment_margins(self._limits("segment margins"), as_of=self.context.clock.now())

    def fetch_margin_required(self, requests: Sequence[OrderRequest]) -> MarginRequired:
        """One call for each order, so that a basket is a sum."""
        arguments = [building.margin_arguments(request) for request in requests]
        bodies = [self._margin_of(each) for each in arguments]
        return parsing_account.margin_required(bodies, as_of=self.context.clock.now())

    def fetch_positions(self) -> list[Position]:
        rows = self._rows(self._session_client().positions, "positions")
        return parsing_account.positions(rows, self.context.instruments, as_of=self.context.clock.now())

    def fetch_holdings(self) -> list[Holding]:
        """Two calls or more: Kotak's holdings have no price of now, which its quotes have."""
        rows = errors.holding_rows(self._ask(self._session_client().holdings))
        shares = parsing_account.held_shares(rows, self.context.instruments)
        prices: dict[tuple[Exchange, str], Decimal] = {}
        for asked in _portions([share for share in shares if share]):
            prices |= parsing_market.last_prices(self._quoted(asked, "ltp", "prices of holdings"), asked)
        return parsing_account.holdings(rows, shares, prices, as_of=self.context.clock.now())

    def fetch_orders(self) -> list[Order]:
        rows = self._rows(self._session_client().order_report, "orders")
        return parsing_orders.orders(rows, self.context.instruments)

    def fetch_order(self, broker_order_id: str, instrument: Instrument) -> Order:
        wanted, client = building.order_id(broker_order_id), self._session_client()
        rows = self._rows(lambda: client.order_report(order_id=wanted), "the order")
        for order in parsing_orders.orders(rows, self.context.instruments):
            if order.broker_order_id == wanted:
                return order
        raise BrokerUnavailable(f"Kotak does not show order {wanted} today; read the order book, or ask again.")

    def fetch_order_tags(self, broker_order_id: str, instrument: Instrument) -> frozenset[str]:
        return parsing_orders.tags(self._history(building.order_id(broker_order_id)))

    def fetch_order_history(self, broker_order_id: str, instrument: Instrument) -> list[OrderEvent]:
        wanted = building.order_id(broker_order_id)
        return parsing_orders.events(self._history(wanted), wanted)

    def fetch_trades(self) -> list[Fill]:
        rows = self._rows(self._session_client().trade_report, "trades")
        return parsing_orders.fills(rows, self.context.instruments)

    # Reads of the market

    def fetch_quote(self, instrument: Instrument) -> Quote:
        return self.fetch_quotes([instrument])[0]

    def fetch_quotes(self, instruments: Sequence[Instrument]) -> list[Quote]:
        """Fifty a call."""
        found: list[Quote] = []
        for asked in _portions(instruments):
            body = self._quoted(asked, "all", f"the quotes of {len(asked)} instruments")
            found += parsing_market.quotes(body, asked, as_of=self.context.clock.now())
        return found

    def fetch_depth(self, instrument: Instrument) -> Depth:
        """Five levels."""
        [asked] = _portions([instrument])
        # Of all kinds of quotes only this one has the totals, too.
        body = self._quoted(asked, "all", f"the depth of {instrument.symbol}")
        return parsing_market.depth(body, *asked[0], as_of=self.context.clock.now())

    def fetch_year_range(self, instrument: Instrument) -> YearRange:
        [asked] = _portions([instrument])
        body = self._quoted(asked, "52w", f"the year's prices of {instrument.symbol}")
        return parsing_market.year_range(body, *asked[0], as_of=self.context.clock.now())

    def fetch_option_chain(self, underlying: Instrument, expiry: date, strikes: int) -> OptionChain:
        arguments, client = building.chain_arguments(underlying, expiry, strikes), self._session_client()
        reply = self._ask(lambda: client.option_chain(**arguments))
        body = errors.market_data(reply, what=f"the option chain of {underlying.underlying}")
        chain, unknown = parsing_market.option_chain(
            body["data"],
            underlying,
            expiry,
            strikes,
            self.context.instruments,
            exchange=SEGMENTS[arguments["exchange"]],
            as_of=self.context.clock.now(),
        )
        if unknown:
            log.warning("Kotak's chain of %s has %d options that no instrument is", underlying.underlying, unknown)
        return chain

    def fetch_candles(
        self, instrument: Instrument, interval: CandleInterval, starts_at: datetime, ends_at: datetime
    ) -> list[Candle]:
        pages, names = building.candle_arguments(interval, starts_at, ends_at), building.neosymbols(instrument)
        found: dict[datetime, Candle] = {}
        for page in pages:
            for candle in self._candles(instrument, names, interval, page):
                if starts_at <= candle.opened_at < ends_at:
                    # Of one that comes twice the later is the newer.
                    found[candle.opened_at] = candle
        return [found[opened_at] for opened_at in sorted(found)]

    def read_master(self) -> Iterator[MasterRow | MasterProblem]:
        def files() -> Reply:
            reply = self._ask(self._session_client().scrip_master)
            errors.raise_foreign(reply)
            return reply

        return master.read(self.context.wire, files, today=trading_day(self.context.clock.now()))

    # Feeds

    def make_feed(self, grant: SessionGrant) -> BrokerFeed:
        client = sdk.client(self.context)
        session.use_session(client, grant)
        return NeoFeed(self.context, client)

    def check_feed(self, instrument: Instrument) -> None:
        building.quote_token(instrument)

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

    def _limits(self, what: str) -> Mapping[str, Any]:
        return errors.pool(self._ask(self._session_client().limits), what=what)

    def _margin_of(self, arguments: Mapping[str, str]) -> Mapping[str, Any]:
        client = self._session_client()
        return errors.pool(self._ask(lambda: client.margin_required(**arguments)), what="the margin of an order")

    def _history(self, order_id: str) -> list[Mapping[str, Any]]:
        client = self._session_client()
        return errors.history_rows(self._ask(lambda: client.order_history(order_id=order_id)))

    def _quoted(self, asked: Sequence[tuple[dict[str, str], Instrument]], kind: str, what: str) -> list[Any]:
        tokens, client = [token for token, _ in asked], self._session_client()
        reply = self._ask(lambda: client.quotes(instrument_tokens=tokens, quote_type=kind))
        return errors.market_list(reply, what=what)

    def _candles(
        self, instrument: Instrument, names: list[str], interval: CandleInterval, page: Mapping[str, str]
    ) -> list[Candle]:
        """One page. ``names`` loses those that Kotak turns out not to know, so that each is tried once."""
        client = self._session_client()
        while True:
            reply = self._ask(lambda: client.historical_data(neosymbol=names[0], **page))
            if not errors.says_unknown_symbol(reply) or len(names) == 1:
                break
            names.pop(0)
        if errors.says_no_candles(reply):
            return []
        body = errors.market_data(reply, what=f"candles of {instrument.symbol}")
        return parsing_market.candles(body, instrument, interval)

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


def _portions(instruments: Sequence[Instrument]) -> list[list[tuple[dict[str, str], Instrument]]]:
    """The instruments with what each is quoted by, as many together as one call takes."""
    asked = [(building.quote_token(instrument), instrument) for instrument in instruments]
    return [asked[start : start + MOST_QUOTES] for start in range(0, len(asked), MOST_QUOTES)]
