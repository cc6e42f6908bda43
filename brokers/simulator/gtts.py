"""Keeps the GTTs of every account, fires them when the price comes, and sends what they hold into the book.

Nothing runs between calls. What is not documented of any broker is assumed, as its face's notes say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from brokers.clock import trading_day
from brokers.domain.enums import MarketPhase, OrderType, Product, Side
from brokers.domain.gtt import GttRole
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Refused, State, Ticket, Why
from brokers.simulator.checks import objection
from brokers.simulator.clearing import AccountBook
from brokers.simulator.contracts import Contract
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.gtt_book import BookedGtt, BookedLeg, LegState
from brokers.simulator.matching import moment

if TYPE_CHECKING:
    from brokers.simulator.exchange import SimulatedExchange


@dataclass(frozen=True, kw_only=True, slots=True)
class LegTicket:
    """One trigger as a face asks for it. Prices are rupees."""

    role: GttRole
    side: Side
    trigger_price: Decimal
    limit_price: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class GttTicket:
    """What a face asks the exchange to keep."""

    contract: Contract
    product: Product
    #: Units.
    quantity: int
    legs: tuple[LegTicket, ...]
    #: The limit order that goes out at once, before its target and stop.
    entry: Ticket | None = None


class Gtts:
    """The GTTs of one exchange. ``book_of`` finds or makes an account's book; ``books`` are those there are."""

    def __init__(
        self,
        exchange: SimulatedExchange,
        book_of: Callable[[SimulatedAccount], AccountBook],
        books: Iterable[AccountBook],
    ) -> None:
        self._exchange = exchange
        self._book_of = book_of
        self._books = books
        self._sequence: Counter[tuple[str, date]] = Counter()
        self._live: list[tuple[SimulatedAccount, BookedGtt]] = []
        self._advancing = False

    @property
    def is_busy(self) -> bool:
        """Whether a price or a fill may fire one."""
        return bool(self._live)

    def resume(self) -> None:
        """Take back the GTTs of restored books."""
        for book in self._books:
            for gtt in book.gtts.values():
                key = (book.account.broker, trading_day(gtt.placed_at))
                self._sequence[key] = max(self._sequence[key], gtt.sequence)
                self._live.append((book.account, gtt))

    # Requests

    def place(self, account: SimulatedAccount, ticket: GttTicket) -> BookedGtt:
        """Keep a GTT; the entry of a three-leg one goes into the book at once.

        :raises Refused: a leg or the entry breaks a rule, or the broker keeps none.
        """
        self._exchange.advance()
        for leg in ticket.legs:
            _check(ticket, leg)
        gtt = self._accept(account, ticket)
        if self._fault(account, "gtt_place", Kind.DUPLICATE):
            self._accept(account, ticket)
        self._exchange.advance()
        return gtt

    def _accept(self, account: SimulatedAccount, ticket: GttTicket) -> BookedGtt:
        exchange, day = self._exchange, self._exchange.today()
        name_of = exchange.rules(account.broker).gtt_id
        if name_of is None:
            raise Refused(Why.PRODUCT, "This broker keeps no GTT.")
        entry = exchange.place(account, ticket.entry) if ticket.entry else None
        book, now = self._book_of(account), exchange.now()
        hidden = self._fault(account, "gtt_place", Kind.INVISIBLE)
        self._sequence[account.broker, day] += 1
        sequence = self._sequence[account.broker, day]
        gtt = BookedGtt(
            gtt_id=name_of(day, sequence),
            account=account.key,
            contract=ticket.contract,
            product=ticket.product,
            quantity=ticket.quantity,
            legs=[self._leg(ticket, leg, now) for leg in ticket.legs],
            entry=entry,
            entry_order_id=entry.order_id if entry else "",
            armed_quantity=0 if entry else ticket.quantity,
            reference=exchange.reference,
            placed_at=now,
            visible_at=now + timedelta(seconds=hidden.seconds if hidden else exchange.settings.visible_seconds),
            sequence=sequence,
        )
        book.gtts[gtt.gtt_id] = gtt
        self._live.append((account, gtt))
        exchange.truth.write_gtt("gtt_accepted", gtt, now)
        return gtt

    def _leg(self, ticket: GttTicket, leg: LegTicket, now: datetime) -> BookedLeg:
        return BookedLeg(
            role=leg.role,
            side=leg.side,
            trigger_price=leg.trigger_price,
            limit_price=leg.limit_price,
            fires_above=self._fires_above(ticket.contract, leg, now),
            state=LegState.WAITING if ticket.entry else LegState.ACTIVE,
        )

    def _fires_above(self, contract: Contract, leg: LegTicket, now: datetime) -> bool:
        """A single fires when the price comes to its trigger from where it is; a target and a stop by what they are for."""
        if leg.role is GttRole.ORDER:
            return leg.trigger_price >= self._exchange.prices.last(contract, now.timestamp())
        return (leg.role is GttRole.TARGET) == (leg.side is Side.SELL)

    def modify(self, account: SimulatedAccount, gtt_id: str, legs: Mapping[GttRole, LegTicket]) -> BookedGtt:
        """Change the prices of the legs of a live GTT.

        :raises Refused: unknown, ended, or a leg that it has not or that breaks a rule.
        """
        self._exchange.advance()
        gtt = self._unended(account, gtt_id)
        changed = [(leg, legs[leg.role]) for leg in gtt.legs if leg.role in legs]
        if len(changed) != len(legs) or any(leg.side is not new.side for leg, new in changed):
            raise Refused(Why.ORDER_TYPE, f"GTT {gtt_id} has no such leg.")
        for _, new in changed:
            _check(gtt, new)
        if self._fault(account, "gtt_modify", Kind.NO_EFFECT):
            return gtt
        now = self._exchange.now()
        for leg, new in changed:
            leg.trigger_price, leg.limit_price = new.trigger_price, new.limit_price
            leg.fires_above = self._fires_above(gtt.contract, new, now)
        self._exchange.truth.write_gtt("gtt_modified", gtt, now)
        self._exchange.advance()
        return gtt

    def cancel(self, account: SimulatedAccount, gtt_id: str) -> BookedGtt:
        """Cancel the legs of a live GTT; its entry is an ordinary order, and stays.

        :raises Refused: unknown or ended.
        """
        self._exchange.advance()
        gtt = self._unended(account, gtt_id)
        if not self._fault(account, "gtt_cancel", Kind.NO_EFFECT):
            self._end(gtt, LegState.CANCELLED, "gtt_cancelled", self._exchange.now())
        return gtt

    def all(self, account: SimulatedAccount, first: date | None = None, last: date | None = None) -> list[BookedGtt]:
        """The visible GTTs placed on the IST days ``first`` to ``last`` (today when not given), oldest first."""
        self._exchange.advance()
        today, now = self._exchange.today(), self._exchange.now()
        return [
            gtt
            for gtt in self._book_of(account).gtts.values()
            if gtt.visible_at <= now and (first or today) <= trading_day(gtt.placed_at) <= (last or today)
        ]

    def find(self, account: SimulatedAccount, gtt_id: str) -> BookedGtt | None:
        return self._book_of(account).gtts.get(gtt_id)

    def _unended(self, account: SimulatedAccount, gtt_id: str) -> BookedGtt:
        gtt = self.find(account, gtt_id)
        if gtt is None:
            raise Refused(Why.NO_SUCH_ORDER, f"There is no GTT {gtt_id}.")
        if not gtt.is_live:
            raise Refused(Why.ORDER_DONE, f"GTT {gtt_id} has ended.")
        return gtt

    # Time

    def advance(self, epoch: float) -> None:
        """Expire, arm and fire what is due. The orders that it sends bring the exchange here again, for nothing."""
        if self._advancing or not self._live:
            return
        self._advancing = True
        try:
            self._live = [pair for pair in self._live if pair[1].is_live]
            for account, gtt in self._live:
                self._look_at(account, gtt, epoch)
        finally:
            self._advancing = False

    def _look_at(self, account: SimulatedAccount, gtt: BookedGtt, epoch: float) -> None:
        contract = self._exchange.universe.by_symbol(gtt.contract.exchange, gtt.contract.symbol)
        if contract is None:
            self._end(gtt, LegState.EXPIRED, "gtt_expired", moment(epoch))
            return
        gtt.contract = contract
        if not gtt.armed_quantity:
            self._arm(gtt, epoch)
        if not gtt.armed_quantity or self._exchange.phase(contract.exchange) is not MarketPhase.CONTINUOUS:
            return
        price = self._exchange.prices.last(contract, epoch)
        for leg in gtt.legs:
            hit = price >= leg.trigger_price if leg.fires_above else price <= leg.trigger_price
            if hit and leg.state is LegState.ACTIVE:
                self._fire(account, gtt, leg, epoch)

    def _arm(self, gtt: BookedGtt, epoch: float) -> None:
        """Once the entry has ended its legs are for what it bought or sold; of a day gone by nothing is known."""
        entry = gtt.entry
        if entry is not None and (entry.state.is_live or entry.state is State.FROZEN):
            return
        if entry is None or not entry.filled_quantity:
            self._end(gtt, LegState.CANCELLED, "gtt_cancelled", moment(epoch))
            return
        gtt.armed_quantity = entry.filled_quantity
        for leg in gtt.legs:
            leg.state = LegState.ACTIVE
        self._exchange.truth.write_gtt("gtt_armed", gtt, moment(epoch))

    def _fire(self, account: SimulatedAccount, gtt: BookedGtt, leg: BookedLeg, epoch: float) -> None:
        """Send the leg's order; the other leg is over with it."""
        leg.state = LegState.TRIGGERED
        for other in gtt.legs:
            if other.state.is_live:
                other.state = LegState.CANCELLED
        exchange = self._exchange
        asking, exchange.reference = exchange.reference, gtt.reference
        try:
            leg.order_id = self._send(account, gtt, leg).order_id
        except Refused as refused:
            leg.state, leg.reason = LegState.REJECTED, refused.message
        finally:
            exchange.reference = asking
        exchange.truth.write_gtt("gtt_triggered", gtt, moment(epoch))

    def _send(self, account: SimulatedAccount, gtt: BookedGtt, leg: BookedLeg) -> BookedOrder:
        ticket = Ticket(
            contract=gtt.contract,
            side=leg.side,
            quantity=gtt.armed_quantity,
            order_type=OrderType.LIMIT,
            price=leg.limit_price,
            product=gtt.product,
            source="GTT",
        )
        return self._exchange.place(account, ticket)

    def _end(self, gtt: BookedGtt, state: LegState, event: str, at: datetime) -> None:
        for leg in gtt.legs:
            if leg.state.is_live:
                leg.state = state
        self._exchange.truth.write_gtt(event, gtt, at)

    def _fault(self, account: SimulatedAccount, endpoint: str, kind: Kind) -> Fault | None:
        return self._exchange.faults.take(account.broker, endpoint, account.user_id, (kind,))


def _check(gtt: GttTicket | BookedGtt, leg: LegTicket) -> None:
    """Hold a leg against the contract's rules, but for the band, which is the day's.

    :raises Refused: it breaks one.
    """
    contract = replace(gtt.contract, lower_band=Decimal(0), upper_band=Decimal(0))
    for price in (leg.limit_price, leg.trigger_price):
        refused = objection(
            Ticket(
                contract=contract,
                side=leg.side,
                quantity=gtt.quantity,
                order_type=OrderType.LIMIT,
                price=price,
                product=gtt.product,
            )
        )
        if refused:
            raise refused
