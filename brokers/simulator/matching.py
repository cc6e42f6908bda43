"""The matching engine: confirms, triggers, fills in parts, expires. Driven by the market's clock only.

Nothing runs between calls. :meth:`Matcher.advance` does what has become due since the last one: scheduled steps at
their own times, one look at the prices for each second that somebody looks at, and the close.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import count
from math import floor
from typing import Protocol

from brokers.domain.enums import Exchange, OrderType, Side, TimeInForce
from brokers.simulator.book import BookedOrder, State
from brokers.simulator.hours import Hours, session
from brokers.simulator.prices import Prices
from brokers.simulator.rules import ExchangeSettings

#: Least time between the parts of a large order.
PART_SECONDS = 1.0


class Journal(Protocol):
    """Whom the engine tells. Called after the order was changed."""

    def changed(self, event: str, order: BookedOrder, at: datetime, **more: str) -> None: ...

    def filled(self, order: BookedOrder, quantity: int, price: Decimal, at: datetime) -> None: ...


class _Step(StrEnum):
    CONFIRM = "confirm"
    FILL = "fill"


def moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


class Matcher:
    """The live orders of every account."""

    def __init__(
        self, *, prices: Prices, hours: Hours, settings: ExchangeSettings, journal: Journal, day: Callable[[], date]
    ) -> None:
        self._prices = prices
        self._hours = hours
        self._settings = settings
        self._journal = journal
        self._day = day
        self._live: dict[tuple[Exchange, str], dict[str, BookedOrder]] = {}
        self._verdicts: dict[str, tuple[State, str]] = {}
        self._due: list[tuple[float, int, _Step, BookedOrder]] = []
        self._filling: set[str] = set()
        self._numbers = count()
        self._scanned = -1

    @property
    def is_busy(self) -> bool:
        return bool(self._live or self._due)

    # Requests

    def submit(self, order: BookedOrder, at: float, verdict: tuple[State, str] | None = None) -> None:
        """Take an order on its way; ``verdict`` is the state and reason with which the exchange will answer it."""
        self._book(order)[self._name(order)] = order
        if verdict:
            self._verdicts[self._name(order)] = verdict
        self._after(self._settings.ack_seconds, _Step.CONFIRM, order, at)

    def resume(self, order: BookedOrder, at: float) -> None:
        """Take back a live order of a restored book."""
        self._book(order)[self._name(order)] = order
        if order.state in (State.RECEIVED, State.QUEUED):
            self._after(self._settings.ack_seconds, _Step.CONFIRM, order, at)
        elif order.state is State.PARTIALLY_FILLED:
            self._fill_later(order, PART_SECONDS, at)

    def reconsider(self, order: BookedOrder, at: float) -> None:
        """Match an order again after its terms were changed."""
        if order.state in (State.OPEN, State.TRIGGER_PENDING, State.PARTIALLY_FILLED):
            self._match(order, at, fresh=True)

    def end(self, order: BookedOrder, state: State, event: str, at: float, reason: str = "", **more: str) -> None:
        """End an order for good; ``more`` goes into the journal."""
        order.state = state
        order.reason = reason
        if state in (State.CANCELLED, State.EXPIRED):
            order.cancelled_quantity = order.remaining_quantity
        self._forget(order)
        self._journal.changed(event, order, moment(at), **more)

    def expire_all(self, at: float) -> None:
        for order in [order for orders in self._live.values() for order in orders.values()]:
            self.end(order, State.EXPIRED, "expired", at)

    # Time

    def advance(self, now: float) -> None:
        """Do everything that has become due until ``now``."""
        while self._due and self._due[0][0] <= now:
            at, _, step, order = heapq.heappop(self._due)
            self._run(step, order, at)
        second = floor(now)
        if second != self._scanned and self._live:
            self._scanned = second
            self._scan(now)

    def rescan(self, now: float) -> None:
        """Look at the prices again, whenever that was done last."""
        self._scanned = -1
        self.advance(now)

    def _run(self, step: _Step, order: BookedOrder, at: float) -> None:
        if not order.state.is_live or not self._hours.is_open(order.contract.exchange, at, self._day()):
            return
        if step is _Step.CONFIRM:
            self._confirm(order, at)
        else:
            self._filling.discard(self._name(order))
            price = self._price_for(order, at, fresh=False)
            if price is not None:
                self._fill(order, price, at)

    def _scan(self, now: float) -> None:
        day = self._day()
        for key, orders in list(self._live.items()):
            exchange = key[0]
            if self._hours.is_over(exchange, now, day):
                closed_at = min(now, session(exchange, day)[1])
                for order in list(orders.values()):
                    self.end(order, State.EXPIRED, "expired", closed_at)
            elif self._hours.is_open(exchange, now, day):
                for order in list(orders.values()):
                    if order.confirmed_at is not None:
                        self._match(order, now, fresh=False)

    def _after(self, seconds: float, step: _Step, order: BookedOrder, at: float) -> None:
        if seconds > 0:
            heapq.heappush(self._due, (at + seconds, next(self._numbers), step, order))
        else:
            self._run(step, order, at)

    # Steps of one order

    def _confirm(self, order: BookedOrder, at: float) -> None:
        verdict = self._verdicts.pop(self._name(order), None)
        if verdict:
            state, reason = verdict
            self.end(order, state, state.value.lower(), at, reason)
            return
        order.confirmed_at = moment(at)
        segment = list(Exchange).index(order.contract.exchange) + 1
        order.exchange_order_id = f"1{segment}{order.placed_at:%m%d}{order.sequence:010d}"
        stop = order.order_type is OrderType.STOP_LIMIT and not order.triggered
        order.state = State.TRIGGER_PENDING if stop else State.OPEN
        self._journal.changed("confirmed", order, moment(at))
        self._match(order, at, fresh=True)
        if order.time_in_force is TimeInForce.IOC and order.state.is_live:
            self.end(order, State.CANCELLED, "cancelled", at)

    def _match(self, order: BookedOrder, at: float, *, fresh: bool) -> None:
        if order.state is State.TRIGGER_PENDING and not self._trigger(order, at):
            return
        if not order.state.is_live or self._name(order) in self._filling:
            return
        price = self._price_for(order, at, fresh=fresh)
        if price is None:
            return
        if self._settings.fill_seconds > 0 and order.time_in_force is TimeInForce.DAY:
            self._fill_later(order, self._settings.fill_seconds, at)
        else:
            self._fill(order, price, at)

    def _trigger(self, order: BookedOrder, at: float) -> bool:
        last = self._prices.last(order.contract, at)
        hit = last >= order.trigger_price if order.side is Side.BUY else last <= order.trigger_price
        if hit:
            order.triggered = True
            order.state = State.OPEN
            self._journal.changed("triggered", order, moment(at))
        return hit

    def _price_for(self, order: BookedOrder, at: float, *, fresh: bool) -> Decimal | None:
        """The price at which an order trades now: the other side's when it comes in, its own when it rests."""
        bid, ask = self._prices.book(order.contract, at)
        last = self._prices.last(order.contract, at)
        if order.side is Side.BUY:
            if order.price >= ask:
                return ask if fresh else order.price
            return order.price if not fresh and order.price >= last else None
        if order.price <= bid:
            return bid if fresh else order.price
        return order.price if not fresh and order.price <= last else None

    def _fill(self, order: BookedOrder, price: Decimal, at: float) -> None:
        slice_quantity = self._settings.fill_lots * order.contract.lot_size
        self.trade(order, min(order.remaining_quantity, slice_quantity), price, at)
        if order.state is State.PARTIALLY_FILLED and order.time_in_force is TimeInForce.DAY:
            self._fill_later(order, max(self._settings.fill_seconds, PART_SECONDS), at)

    def _fill_later(self, order: BookedOrder, seconds: float, at: float) -> None:
        self._filling.add(self._name(order))
        self._after(seconds, _Step.FILL, order, at)

    def trade(self, order: BookedOrder, quantity: int, price: Decimal, at: float) -> None:
        """Fill a part of an order, or all that is left."""
        paid = order.average_price * order.filled_quantity + price * quantity
        order.filled_quantity += quantity
        order.average_price = paid / order.filled_quantity
        order.state = State.PARTIALLY_FILLED if order.remaining_quantity else State.FILLED
        if order.state is State.FILLED:
            self._forget(order)
        self._journal.filled(order, quantity, price, moment(at))

    # The live orders

    @staticmethod
    def _name(order: BookedOrder) -> str:
        return f"{order.account}/{order.order_id}"

    def _book(self, order: BookedOrder) -> dict[str, BookedOrder]:
        return self._live.setdefault((order.contract.exchange, order.contract.symbol), {})

    def _forget(self, order: BookedOrder) -> None:
        key = (order.contract.exchange, order.contract.symbol)
        orders = self._live.get(key, {})
        orders.pop(self._name(order), None)
        if not orders:
            self._live.pop(key, None)
        self._verdicts.pop(self._name(order), None)
        self._filling.discard(self._name(order))
