"""The simulated exchange: one matching engine under every broker's face.

A face translates its broker's protocol into these calls and these values back into its broker's words. Nothing
here knows a broker. All calls are plain and quick; each brings the books up to the market's time first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import floor
from pathlib import Path

from brokers.clock import CLOCK_FILE, IST, SimulatedClock, trading_day
from brokers.domain.enums import Exchange, MarketPhase
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import (
    BookedOrder,
    Change,
    Funds,
    HeldPosition,
    Refused,
    State,
    Ticket,
    Trade,
    Why,
    changed_ticket,
)
from brokers.simulator.checks import objection
from brokers.simulator.clearing import AccountBook
from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.counters import Counters
from brokers.simulator.faults import Fault, Faults, Kind
from brokers.simulator.gtts import Gtts
from brokers.simulator.history import as_of, record
from brokers.simulator.hours import Hours
from brokers.simulator.instruments import Universe, synthetic
from brokers.simulator.matching import Matcher, moment
from brokers.simulator.prices import Prices
from brokers.simulator.quotes import quote
from brokers.simulator.requests import RequestLog
from brokers.simulator.restoring import Books, restore
from brokers.simulator.rules import BrokerRules, ExchangeSettings
from brokers.simulator.sessions import Sessions
from brokers.simulator.truth import TruthLog


class SimulatedExchange:
    """One exchange with its clock, prices, books and accounts."""

    def __init__(
        self,
        home: Path,
        *,
        seed: int = 1,
        settings: ExchangeSettings | None = None,
        listed: Iterable[Contract] = (),
        master_dir: Path | None = None,
        clock: SimulatedClock | None = None,
    ) -> None:
        """``home`` is MCUBE_HOME: the clock, unless one is given, and the truth log live under it.

        ``listed`` are the contracts of real masters, the made-up market is taken when there are none; ``master_dir``
        is where faces find the bytes of those masters.
        """
        self.clock = clock or SimulatedClock(home / CLOCK_FILE)
        self.settings = settings or ExchangeSettings()
        self.master_dir = master_dir
        self.faults = Faults()
        self.counters = Counters()
        self.sessions = Sessions(self.today)
        self.truth = TruthLog(home / "simulator" / "truth.jsonl")
        #: What the request being served says of itself in its hidden header.
        self.reference = ""
        self.requests: RequestLog | None = None
        self._listed = list(listed)
        self._hours = Hours(self.settings)
        self._rules: dict[str, BrokerRules] = {}
        self._sequence: Counter[tuple[str, date]] = Counter()
        self._accounts: dict[str, AccountBook] = {}
        self._day = self.today()
        self._universe = self._list_contracts()
        self.prices = Prices(seed=seed, base_of=self._base_of, moving=lambda: self.settings.moving)
        self._matcher = Matcher(
            prices=self.prices, hours=self._hours, settings=self.settings, journal=self, day=lambda: self._day
        )
        self.gtts = Gtts(self, self._book, self._accounts.values())
        self._restore()

    def register(self, broker: str, rules: BrokerRules) -> None:
        """Give a broker's rules; called once by its face."""
        self._rules[broker] = rules

    def rules(self, broker: str) -> BrokerRules:
        return self._rules[broker]

    # Market

    def now(self) -> datetime:
        """The market's time, aware UTC."""
        return self.clock.now()

    def today(self) -> date:
        """The market's IST date."""
        return trading_day(self.clock.now())

    def phase(self, exchange: Exchange) -> MarketPhase:
        return self._hours.phase(exchange, self.now().timestamp(), self.today())

    @property
    def universe(self) -> Universe:
        """The contracts of the market's day."""
        self.advance()
        return self._universe

    def pin(self, contract: Contract, price: Decimal | None) -> None:
        """Hold a price, its derivatives following; None lets it walk again. The books see it at once."""
        self.prices.pin(contract, price)
        self._matcher.rescan(self.now().timestamp())
        self.advance()

    def quote(self, contract: Contract) -> MarketQuote:
        self.advance()
        return quote(contract, prices=self.prices, now=self.now().timestamp(), day=self._day)

    def advance(self) -> float:
        """Bring everything up to the market's time and return it as an epoch."""
        now = self.clock.now()
        day = trading_day(now)
        if day != self._day:
            self._begin_day(day)
        epoch = now.timestamp()
        self._matcher.advance(epoch)
        self.gtts.advance(epoch)
        return epoch

    @property
    def is_busy(self) -> bool:
        """Whether time alone may change a book."""
        return self._matcher.is_busy or self.gtts.is_busy

    # Orders. ``Refused`` says why; a broker's ``late`` reasons show in the book instead.

    def place(self, account: SimulatedAccount, ticket: Ticket) -> BookedOrder:
        """Take an order.

        :raises Refused: for a reason that this broker states at once.
        """
        epoch, book, rules = self.advance(), self._book(account), self._rules[account.broker]
        refused = self._object(book, ticket, rules, epoch)
        if refused and refused.why not in rules.late:
            raise refused
        order = self._accept(book, ticket, refused, epoch)
        if self._fault(account, "place", Kind.DUPLICATE):
            self._accept(book, ticket, refused, epoch)
        return order

    def _object(self, book: AccountBook, ticket: Ticket, rules: BrokerRules, epoch: float) -> Refused | None:
        if not self._hours.is_open(ticket.contract.exchange, epoch, self._day):
            return Refused(Why.CLOSED, f"{ticket.contract.exchange} is closed now.")
        if rules.unique_tags and ticket.tag and ticket.tag in book.tags:
            return Refused(Why.DUPLICATE_TAG, f"Tag {ticket.tag} was used before.")
        return objection(ticket) or book.objection(ticket)

    def _accept(self, book: AccountBook, ticket: Ticket, refused: Refused | None, epoch: float) -> BookedOrder:
        account, now = book.account, moment(epoch)
        rules = self._rules[account.broker]
        self._sequence[account.broker, self._day] += 1
        sequence = self._sequence[account.broker, self._day]
        hidden = self._fault(account, "place", Kind.INVISIBLE)
        delay = hidden.seconds if hidden else self.settings.visible_seconds
        order = BookedOrder(
            order_id=rules.order_id(self._day, sequence, ticket.contract),
            account=account.key,
            contract=ticket.contract,
            side=ticket.side,
            order_type=ticket.order_type,
            product=ticket.product,
            time_in_force=ticket.time_in_force,
            quantity=ticket.quantity,
            price=ticket.price,
            trigger_price=ticket.trigger_price,
            disclosed_quantity=ticket.disclosed_quantity,
            tag=ticket.tag,
            source=ticket.source,
            reference=self.reference,
            state=State.RECEIVED,
            placed_at=now,
            updated_at=now,
            visible_at=now + timedelta(seconds=delay),
            sequence=sequence,
        )
        book.orders[order.order_id] = order
        if ticket.tag:
            book.tags.add(ticket.tag)
        verdict = self._verdict(account, refused)
        if verdict is None:
            book.block(order)
        self.changed("accepted", order, now)
        self._matcher.submit(order, epoch, verdict)
        return order

    def _verdict(self, account: SimulatedAccount, refused: Refused | None) -> tuple[State, str] | None:
        if refused:
            held = refused.why is Why.FREEZE and self._rules[account.broker].holds_frozen
            return (State.FROZEN if held else State.REJECTED), refused.message
        fault = self._fault(account, "place", Kind.REJECT)
        return (State.REJECTED, fault.body or "Rejected on purpose.") if fault else None

    def modify(self, account: SimulatedAccount, order_id: str, change: Change) -> BookedOrder:
        """Change a live order.

        :raises Refused: unknown, finished, or the change is not allowed.
        """
        epoch, book = self.advance(), self._book(account)
        order = self._live_order(book, order_id)
        ticket = changed_ticket(order, change)
        refused = objection(ticket) or self._object_change(book, order, ticket)
        if refused:
            raise refused
        if self._fault(account, "modify", Kind.NO_EFFECT):
            return order
        order.quantity, order.price, order.trigger_price = ticket.quantity, ticket.price, ticket.trigger_price
        order.order_type, order.time_in_force = ticket.order_type, ticket.time_in_force
        order.disclosed_quantity = ticket.disclosed_quantity
        order.modifications += 1
        book.block(order)
        self.changed("modified", order, moment(epoch), by=self.reference)
        self._matcher.reconsider(order, epoch)
        return order

    def _object_change(self, book: AccountBook, order: BookedOrder, ticket: Ticket) -> Refused | None:
        if ticket.quantity <= order.filled_quantity:
            return Refused(Why.QUANTITY, f"{order.filled_quantity} of order {order.order_id} are filled already.")
        more = book.required(ticket) - book.blocked_by(order)
        available = book.funds().available
        if more > available:
            return Refused(Why.MARGIN, f"Margin of {more:.2f} needed, {available:.2f} available.")
        return None

    def cancel(self, account: SimulatedAccount, order_id: str) -> BookedOrder:
        """Cancel what is left of a live order.

        :raises Refused: unknown or finished.
        """
        epoch = self.advance()
        order = self._live_order(self._book(account), order_id)
        if not self._fault(account, "cancel", Kind.NO_EFFECT):
            self._matcher.end(order, State.CANCELLED, "cancelled", epoch, by=self.reference)
        return order

    def force_fill(self, account: SimulatedAccount, order_id: str, quantity: int, price: Decimal | None) -> BookedOrder:
        """Fill a live order by hand, at its own price when none is given.

        :raises Refused: unknown, finished, or more than what is left.
        """
        epoch = self.advance()
        order = self._live_order(self._book(account), order_id)
        if not 0 < quantity <= order.remaining_quantity:
            raise Refused(Why.QUANTITY, f"{order.remaining_quantity} of order {order_id} are left to fill.")
        self._matcher.trade(order, quantity, price or order.price, epoch)
        return order

    def _live_order(self, book: AccountBook, order_id: str) -> BookedOrder:
        order = book.orders.get(order_id)
        if order is None:
            raise Refused(Why.NO_SUCH_ORDER, f"There is no order {order_id}.")
        if not order.state.is_live:
            raise Refused(Why.ORDER_DONE, f"Order {order_id} is {order.state}.")
        return order

    # Reads

    def orders(
        self, account: SimulatedAccount, first: date | None = None, last: date | None = None
    ) -> list[BookedOrder]:
        """The visible book of the IST days ``first`` to ``last`` (today when not given), oldest first."""
        self.advance()
        stale = self._fault(account, "orders", Kind.STALE_BOOK)
        first, last, now = first or self._day, last or self._day, self.now()
        found = [
            order
            for order in self._book(account).orders.values()
            if order.visible_at <= now and first <= trading_day(order.placed_at) <= last
        ]
        return [past for order in found if (past := as_of(order, stale.set_at))] if stale else found

    def order(self, account: SimulatedAccount, order_id: str) -> BookedOrder | None:
        """One visible order."""
        self.advance()
        order = self._book(account).orders.get(order_id)
        stale = self._fault(account, "order", Kind.STALE_BOOK)
        if order is None or order.visible_at > self.now():
            return None
        return as_of(order, stale.set_at) if stale else order

    def trades(self, account: SimulatedAccount, first: date | None = None, last: date | None = None) -> list[Trade]:
        """Fills of the IST days ``first`` to ``last`` (today when not given), oldest first."""
        self.advance()
        stale = self._fault(account, "trades", Kind.STALE_BOOK)
        until = moment(stale.set_at) if stale else self.now()
        first, last = first or self._day, last or self._day
        return [
            trade
            for trade in self._book(account).trades
            if trade.order.visible_at <= self.now() and trade.at <= until and first <= trading_day(trade.at) <= last
        ]

    def positions(self, account: SimulatedAccount) -> list[HeldPosition]:
        """Positions open or traded today; flat ones stay for the day."""
        self.advance()
        return self._book(account).positions()

    def funds(self, account: SimulatedAccount) -> Funds:
        self.advance()
        return self._book(account).funds()

    def required_margin(self, account: SimulatedAccount, ticket: Ticket) -> Decimal:
        """What this order would block now, in rupees."""
        return self._book(account).required(ticket)

    def carry(self, account: SimulatedAccount, position: HeldPosition) -> None:
        """Bring a position into the day, at its average price."""
        quantity, price = position.net_quantity, position.average_price
        self._book(account).carry(position.contract, position.product, quantity, price)
        self.truth.write_carried(account.key, self.now(), position)

    # What the engine tells

    def changed(self, event: str, order: BookedOrder, at: datetime, **more: str) -> None:
        record(order, at)
        if not order.state.is_live:
            self._accounts[order.account].release(order)
        if event != "confirmed":
            self.truth.write(event, order, at, **more)

    def filled(self, order: BookedOrder, quantity: int, price: Decimal, at: datetime) -> None:
        record(order, at)
        book = self._accounts[order.account]
        order.fills += 1
        fill_id = f"{order.placed_at:%d%m}{order.sequence:07d}{order.fills:02d}"
        book.apply(Trade(fill_id=fill_id, leg=order.fills, order=order, quantity=quantity, price=price, at=at))
        if not order.state.is_live:
            book.release(order)
        fill = {"fill_id": fill_id, "leg": order.fills, "quantity": quantity, "price": str(price)}
        self.truth.write("filled", order, at, fill=fill)

    # Inside

    def _book(self, account: SimulatedAccount) -> AccountBook:
        book = self._accounts.get(account.key)
        if book is None:
            book = AccountBook(account, price_of=self._price_now, spot_of=self._spot_now)
            self._accounts[account.key] = book
        return book

    def _fault(self, account: SimulatedAccount, endpoint: str, kind: Kind) -> Fault | None:
        return self.faults.take(account.broker, endpoint, account.user_id, (kind,))

    def _list_contracts(self) -> Universe:
        return Universe(self._day, self._listed or synthetic(self._day, self.settings.holidays))

    def _base_of(self, underlying: str) -> float:
        return self._universe.base(underlying)

    def _price_now(self, contract: Contract) -> Decimal:
        return self.prices.last(contract, self.now().timestamp())

    def _spot_now(self, contract: Contract) -> Decimal:
        spot = self.prices.spot(contract.underlying, floor(self.now().timestamp()))
        return Decimal(spot).quantize(Decimal("0.01"))

    def _begin_day(self, day: date) -> None:
        midnight = datetime.combine(self._day + timedelta(days=1), time(), IST)
        self._matcher.expire_all(midnight.timestamp() - 1)
        carried = [(book.account, position) for book in self._accounts.values() for position in book.end_day()]
        self._day = day
        self._universe = self._list_contracts()
        for account, position in carried:
            if self._universe.by_symbol(position.contract.exchange, position.contract.symbol):
                self.carry(account, position)

    def _restore(self) -> None:
        books = Books(account=self._book, universe=self._universe, day=self._day)
        for broker, sequence in restore(self.truth, books).items():
            self._sequence[broker, self._day] = sequence
        self.gtts.resume()
        now = self.now().timestamp()
        for book in self._accounts.values():
            for order in book.orders.values():
                if order.state.is_live:
                    book.block(order)
                    self._matcher.resume(order, now)
