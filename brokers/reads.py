"""Every read that a trader may ask of a gateway: what is resolved here, and what the adapter is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from brokers import instruments
from brokers.adapter_interface import BrokerAdapter
from brokers.calendar import MarketCalendar
from brokers.candles import gaps_in
from brokers.clock import IST, trading_day
from brokers.discovery import spec_of
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.capabilities import Operation
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind
from brokers.domain.errors import InvalidSymbol, OrderDenied
from brokers.domain.inputs import day_of, moment, parse_or_deny
from brokers.domain.instruments import Instrument
from brokers.domain.market import CandleSeries, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import Fill, Order, OrderEvent
from brokers.feeds import subscriptions, ticks
from brokers.interfaces import BrokerInterface, Clock
from brokers.limits import Urgency
from brokers.models import BrokerAccount

T = TypeVar("T")

#: Seconds that a read of many answers may take, e.g. the candles of a year.
LONG_READ_SECONDS = 60.0
#: No broker's answer holds more strikes on one side of the money.
MOST_STRIKES = 100


class GatewayReads(BrokerInterface):
    """The reads of :class:`~brokers.gateway.BrokerGateway`."""

    account: BrokerAccount
    clock: Clock
    calendar: MarketCalendar

    @abstractmethod
    def read(
        self, operation: Callable[[BrokerAdapter], T], *, urgency: Urgency = Urgency.POLL, total_seconds: float = ...
    ) -> T:
        """Make one read within session and budget."""

    @abstractmethod
    def check_feed(self, instrument: Instrument) -> None:
        """:raises OrderDenied: the broker's live feed does not have the instrument."""

    # The account

    def get_margin(self) -> MarginData:
        return self.read(lambda adapter: adapter.fetch_margin())

    def get_segment_margins(self) -> list[SegmentMargin]:
        self._require(Operation.SEGMENT_MARGINS)
        return self.read(lambda adapter: adapter.fetch_segment_margins())

    def get_margin_required(self, orders: Sequence[Mapping[str, Any]]) -> MarginRequired:
        self._require(Operation.MARGIN_REQUIRED)
        from brokers import preview

        if not orders:
            raise OrderDenied("No orders were given; give one, or the legs of a basket.")
        requests = [preview.request_of(self.account, order, quote=self.quote) for order in orders]
        return self.read(lambda adapter: adapter.fetch_margin_required(requests))

    def get_positions(self) -> list[Position]:
        return self.read(lambda adapter: adapter.fetch_positions())

    def get_holdings(self) -> list[Holding]:
        self._require(Operation.HOLDINGS)
        return self.read(lambda adapter: adapter.fetch_holdings())

    def get_demat_holdings(self) -> list[Holding]:
        self._require(Operation.DEMAT_HOLDINGS)
        return self.read(lambda adapter: adapter.fetch_demat_holdings())

    # Orders

    def get_orders(self) -> list[Order]:
        return self.read(lambda adapter: adapter.fetch_orders())

    def get_order(self, order_id: str) -> Order:
        instrument = self._instrument_of(order_id)
        return self.read(lambda adapter: adapter.fetch_order(order_id, instrument))

    def get_order_history(self, order_id: str) -> list[OrderEvent]:
        self._require(Operation.ORDER_HISTORY)
        instrument = self._instrument_of(order_id)
        return self.read(lambda adapter: adapter.fetch_order_history(order_id, instrument))

    def get_orders_between(self, first: date | str, last: date | str) -> list[Order]:
        self._require(Operation.ORDERS_BETWEEN)
        days = self._days(first, last)
        return self.read(lambda adapter: adapter.fetch_orders_between(*days), total_seconds=LONG_READ_SECONDS)

    def get_trades(self) -> list[Fill]:
        return self.read(lambda adapter: adapter.fetch_trades())

    def get_trades_between(self, first: date | str, last: date | str) -> list[Fill]:
        self._require(Operation.TRADES_BETWEEN)
        days = self._days(first, last)
        return self.read(lambda adapter: adapter.fetch_trades_between(*days), total_seconds=LONG_READ_SECONDS)

    # Prices

    def get_quote(self, symbol: str, exchange: str | None = None, *, not_before: datetime | None = None) -> Quote:
        """A tick of the account's live feed that is fresh, and no older than ``not_before``; a call only without one."""
        instrument = self.resolve(symbol, exchange)
        tick = ticks.store().fresh(
            self.account, instrument.exchange, instrument.symbol, now=self.clock.now(), not_before=not_before
        )
        return tick or self.quote(instrument)

    def quote(self, instrument: Instrument, *, urgency: Urgency = Urgency.POLL) -> Quote:
        """The newest quote; what it is needed for says how much of the budget it may use."""
        return self.read(lambda adapter: adapter.fetch_quote(instrument), urgency=urgency)

    def get_quotes(self, symbols: Sequence[str], exchange: str | None = None) -> list[Quote]:
        wanted = [self.resolve(symbol, exchange) for symbol in symbols]
        if not wanted:
            return []
        return self.read(lambda adapter: adapter.fetch_quotes(wanted), total_seconds=LONG_READ_SECONDS)

    def get_depth(self, symbol: str, exchange: str | None = None, *, not_before: datetime | None = None) -> Depth:
        """That of the account's live feed if it is fresh, and no older than ``not_before``; a call only without one."""
        self._require(Operation.DEPTH)
        instrument = self.resolve(symbol, exchange)
        fed = ticks.store().fresh_depth(
            self.account, instrument.exchange, instrument.symbol, now=self.clock.now(), not_before=not_before
        )
        return fed or self.read(lambda adapter: adapter.fetch_depth(instrument))

    def get_year_range(self, symbol: str, exchange: str | None = None) -> YearRange:
        self._require(Operation.YEAR_RANGE)
        instrument = self.resolve(symbol, exchange)
        return self.read(lambda adapter: adapter.fetch_year_range(instrument))

    def get_expiries(self, underlying: str, exchange: str | None = None) -> list[date]:
        return instruments.lookup().expiries(underlying, parse_or_deny(Exchange, exchange) if exchange else None)

    def get_option_chain(self, underlying: str, expiry: date | str | None = None, strikes: int = 10) -> OptionChain:
        self._require(Operation.OPTION_CHAIN)
        if not 1 <= strikes <= MOST_STRIKES:
            raise OrderDenied(f"{strikes} strikes on each side are not 1 to {MOST_STRIKES}.")
        spot = self.resolve(underlying)
        listed = self.get_expiries(spot.underlying)
        if not listed:
            raise InvalidSymbol(f"{spot.symbol} has no options today; ask for an index or a share that has.")
        wanted = listed[0] if expiry is None else day_of(expiry, "Expiry")
        if wanted not in listed:
            known = ", ".join(day.isoformat() for day in listed[:8])
            raise InvalidSymbol(f"Options of {spot.symbol} do not expire on {wanted}; they expire on {known}.")
        return self.read(lambda adapter: adapter.fetch_option_chain(spot, wanted, strikes))

    def get_candles(
        self,
        symbol: str,
        interval: str,
        starts_at: datetime | str,
        ends_at: datetime | str,
        exchange: str | None = None,
    ) -> CandleSeries:
        self._require(Operation.CANDLES)
        instrument = self.resolve(symbol, exchange)
        length = parse_or_deny(CandleInterval, interval)
        first, end = _aware(starts_at, "Start"), min(_aware(ends_at, "End"), self.clock.now())
        if first >= end:
            raise OrderDenied(f"Candles from {first.isoformat()} to {end.isoformat()} are none; give an earlier start.")
        found = self.read(
            lambda adapter: adapter.fetch_candles(instrument, length, first, end), total_seconds=LONG_READ_SECONDS
        )
        return CandleSeries(
            symbol=instrument.symbol,
            exchange=instrument.exchange.value,
            interval=length,
            candles=tuple(found),
            gaps=gaps_in(
                found,
                length,
                first,
                end,
                calendar=self.calendar,
                exchange=instrument.exchange,
                share_class=instruments.lookup().share_class(instrument.underlying),
            ),
            as_of=self.clock.now(),
        )

    # The live feed, which a process of its own keeps: what is wanted of it is noted here

    def subscribe_live_feed(
        self, symbols: Sequence[str], exchange: str | None = None, *, subscriber: str = "", depth: bool = False
    ) -> bool:
        self._require(Operation.DEPTH_FEED if depth else Operation.LIVE_FEED)
        wanted = [self.resolve(symbol, exchange) for symbol in symbols]
        for instrument in wanted:
            self.check_feed(instrument)
            if depth and instrument.kind is InstrumentKind.INDEX:
                raise OrderDenied(f"{instrument.symbol} is an index, which has no depth; subscribe to its ticks alone.")
        room = spec_of(self.account.broker).capabilities
        subscriptions.add(self.account, wanted, subscriber=subscriber, depth=depth, room=room)
        return True

    def unsubscribe_live_feed(
        self, symbols: Sequence[str], exchange: str | None = None, *, subscriber: str = ""
    ) -> bool:
        self._require(Operation.LIVE_FEED)
        # Not resolved: what is not traded any more can be taken back, too.
        given = [symbol.strip().upper() for symbol in symbols]
        where = parse_or_deny(Exchange, exchange) if exchange else None
        return subscriptions.remove(self.account, given, where, subscriber=subscriber) > 0

    # Of today's instruments and the calendar: no call

    def search_symbol(self, symbol: str) -> list[dict[str, Any]]:
        return [
            {
                "symbol": found.symbol,
                "exchange": found.exchange.value,
                "kind": found.kind.value,
                "underlying": found.underlying,
                "expiry": found.expiry,
                "strike": found.strike,
                "right": found.right.value if found.right else None,
                "lot_size": found.lot_size,
                "tick_size": found.tick_size,
                "freeze_quantity": found.freeze_quantity,
                "name": found.name,
            }
            for found in instruments.lookup().search(symbol)
        ]

    def is_market_open(self, exchange: str = "NSE") -> bool:
        return self.calendar.is_open(parse_or_deny(Exchange, exchange))

    def resolve(self, symbol: str, exchange: str | None = None) -> Instrument:
        """Today's instrument of a symbol.

        :raises InvalidSymbol: none, or more than one; the message names the nearest.
        """
        return instruments.lookup().resolve(symbol, parse_or_deny(Exchange, exchange) if exchange else None)

    # Inside

    def _require(self, operation: Operation) -> None:
        """Before anything is asked. :raises UnsupportedFeature: the broker does not offer it."""
        spec_of(self.account.broker).capabilities.require(operation, str(self.account))

    def _instrument_of(self, order_id: str) -> Instrument:
        from brokers.ledger import queries

        order = queries.broker_order(self.account.pk, order_id, trading_day(self.clock.now()))
        return self.resolve(order.symbol, order.exchange)

    def _days(self, first: date | str, last: date | str) -> tuple[date, date]:
        days = day_of(first, "First day"), day_of(last, "Last day")
        today = trading_day(self.clock.now())
        if not days[0] <= days[1] <= today:
            raise OrderDenied(f"From {days[0]} to {days[1]} is no range of days up to today, {today}.")
        return days


def _aware(value: datetime | str, name: str) -> datetime:
    """A caller's time; IST when it has no offset."""
    given = moment(value, name)
    if given is None:
        raise OrderDenied(f"{name} is missing; give an ISO time.")
    return given if given.tzinfo else given.replace(tzinfo=IST)
