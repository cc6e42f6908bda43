"""One trading session against the simulated exchange, as a strategy would run it: by enqueueing tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import httpx

from brokers.clock import IST, configured_clock, trading_day
from brokers.domain.enums import Side
from brokers.domain.errors import BrokerError
from brokers.domain.instruments import Instrument
from brokers.domain.order_states import IntentState
from brokers.models import (
    BrokerAccount,
    BrokerOrder,
    InstrumentMaster,
    MarginSnapshot,
    OrderIntent,
    PositionSnapshot,
    SessionState,
)
from brokers.models.snapshots import Snapshot
from mcube.demo.market import Market, Truth
from tasks import instruments, orders, sessions, snapshots

#: Every order is enqueued this often; the ledger makes one of it.
DELIVERIES = 3
WAIT_SECONDS = 20.0
STRATEGY = "demo"


class DidNotHappen(Exception):
    """Something the script waited for did not come about. The message says what."""


@dataclass(kw_only=True)
class Session:
    """The script and what it found. ``checks`` maps a sentence to whether it held."""

    tell: Callable[[str], None]
    interrupted: Callable[[], bool]
    checks: dict[str, bool] = field(default_factory=dict)
    truth: list[Truth] = field(default_factory=list)
    margins: list[MarginSnapshot] = field(default_factory=list)
    positions: list[PositionSnapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        accounts = list(BrokerAccount.objects.filter(is_active=True).order_by("broker"))
        #: The options go where the broker echoes our tag, the future where an order is known by its looks alone.
        self.accounts = {account.broker: account for account in accounts}
        self.options = Market.where(echoes_tag=True)
        self.futures = Market.where(echoes_tag=False)

    @property
    def held(self) -> bool:
        return bool(self.checks) and all(self.checks.values())

    def run(self) -> None:
        """Play the whole script; what does not come about ends it and is a check that did not hold."""
        steps = (
            self.log_in,
            self.refresh_instruments,
            self.take_snapshots,
            self.compare_margins,
            self.place,
            self.modify_and_cancel,
            self.follow_to_the_end,
            self.take_snapshots,
            self.lose_a_reply,
            self.hold_ledger_against_truth,
        )
        try:
            for step in steps:
                step()
        except (DidNotHappen, BrokerError, LookupError, httpx.HTTPError) as error:
            self.checks[str(error)] = False

    def log_in(self) -> None:
        self.tell("Logging in to every broker")
        for account in self.accounts.values():
            sessions.refresh_session.delay(broker=account.broker, account=account.name)
        valid = SessionState.objects.filter(status=SessionState.Status.VALID)
        self.until("every account has a session", lambda: valid.count() == len(self.accounts))

    def refresh_instruments(self) -> None:
        self.tell("Refreshing the instruments")
        for account in self.accounts.values():
            instruments.refresh_instruments.delay(broker=account.broker, account=account.name)
        today = trading_day(configured_clock().now())
        loaded = InstrumentMaster.objects.filter(master_day=today)
        self.until("every broker's instruments of today are loaded", lambda: loaded.count() == len(self.accounts))

    def take_snapshots(self) -> None:
        """Margins and positions of one slot; a slot that could not be read is a row that says so, and the next is tried."""
        self.tell("Taking margins and positions")
        when = "after" if self.margins else "before"
        self.until(f"{when} trading, every account's margin and positions are rows of one slot", self.slot_is_taken)

    def slot_is_taken(self) -> bool:
        slot = configured_clock().now().replace(microsecond=0)
        for account in self.accounts.values():
            call = {"broker": account.broker, "account": account.name, "slot_at": slot.isoformat()}
            snapshots.snapshot_margin.delay(**call)
            snapshots.snapshot_positions.delay(**call)
        margins = MarginSnapshot.objects.filter(slot_at=slot).select_related("account")
        positions = PositionSnapshot.objects.filter(slot_at=slot).select_related("account")
        self.until(
            f"a worker looked at the slot of {slot.astimezone(IST):%H:%M:%S} IST",
            lambda: margins.count() == positions.count() == len(self.accounts),
            note=False,
        )
        if any(row.status != Snapshot.Status.OK for row in (*margins, *positions)):
            return False
        self.margins += list(margins)
        self.positions += list(positions)
        return True

    def compare_margins(self) -> None:
        best = max(self.margins, key=lambda row: row.available or Decimal(0))
        self.tell(f"Most margin is available at {best.account.broker}: Rs {best.available:,.2f}")
        self.checks["a broker with enough margin was found"] = bool(best.available)

    def place(self) -> None:
        self.tell(f"Placing a strangle at {self.options.broker} and a future at {self.futures.broker}")
        call, put, future = self.options.strangle_and_future()
        self.enqueue_order("demo-call", self.options, call, Side.SELL, self.options.far_price(call, Side.SELL))
        self.enqueue_order("demo-put", self.options, put, Side.SELL, self.options.near_price(put, Side.SELL))
        self.enqueue_order(
            "demo-future", self.futures, future, Side.BUY, self.futures.far_price(future, Side.BUY), lots=2
        )
        placed = ("demo-call", "demo-put", "demo-future")
        self.until("the broker took every order", lambda: all(self.order_of(name) for name in placed))

    def modify_and_cancel(self) -> None:
        call, future = self.order("demo-call"), self.order("demo-future")
        self.tell("Bringing the call's price to the market; a part of the future trades, the rest is cancelled")
        price = str(self.options.near_price(self.options.find(call.symbol), Side.SELL))
        self.deliver_thrice(
            lambda: orders.modify_order.delay(
                broker=self.options.broker,
                order_id=call.broker_order_id,
                price=price,
                client_order_id="demo-call-modify",
            )
        )
        self.futures.fill(future.broker_order_id, self.futures.find(future.symbol).lot_size or 0)
        self.deliver_thrice(
            lambda: orders.cancel_order.delay(
                broker=self.futures.broker, order_id=future.broker_order_id, client_order_id="demo-future-cancel"
            )
        )

    def follow_to_the_end(self) -> None:
        self.tell("Following the orders by the brokers' books until they have ended")
        expected = {
            "demo-call": IntentState.FILLED,
            "demo-put": IntentState.FILLED,
            "demo-future": IntentState.CANCELLED,
            "demo-call-modify": IntentState.DONE,
            "demo-future-cancel": IntentState.DONE,
        }
        self.until("the ledger says of every order how it ended", lambda: self.states() == expected, sync=True)
        future = self.order("demo-future")
        self.checks["the part that traded before the cancel is kept"] = 0 < future.filled_quantity < future.quantity

    def lose_a_reply(self) -> None:
        self.tell(f"Dropping {self.options.broker}'s reply to an order that it takes")
        self.options.drop_next_reply()
        call, _put, _future = self.options.strangle_and_future()
        self.enqueue_order("demo-lost", self.options, call, Side.SELL, self.options.far_price(call, Side.SELL))
        self.until(
            "an order whose reply is lost is UNKNOWN, and nobody sends it again",
            lambda: self.states().get("demo-lost") == IntentState.UNKNOWN,
        )

    def hold_ledger_against_truth(self) -> None:
        self.truth = self.options.truth() + self.futures.truth()
        self.checks[f"what was enqueued {DELIVERIES} times was sent once"] = all(
            intent.attempts.count() == 1 for intent in self.intents()
        )
        known = set(
            BrokerOrder.objects.filter(origin=BrokerOrder.Origin.OURS).values_list("broker_order_id", flat=True)
        )
        self.checks["every order the ledger knows is at the exchange"] = known <= {one.order_id for one in self.truth}
        for market in (self.options, self.futures):
            sent = OrderIntent.objects.filter(account__broker=market.broker, kind="PLACE", attempts__isnull=False)
            accepted = [order for order in self.truth if order.broker == market.broker]
            self.checks[f"{market.broker}: {sent.count()} orders sent, {len(accepted)} at the exchange"] = (
                sent.distinct().count() == len(accepted) > 0
            )

    def enqueue_order(
        self, name: str, market: Market, instrument: Instrument, side: Side, price: Decimal, *, lots: int = 1
    ) -> None:
        self.deliver_thrice(
            lambda: orders.place_order.delay(
                broker=market.broker,
                symbol=instrument.symbol,
                exchange=instrument.exchange.value,
                action=side.value,
                quantity=lots * (instrument.lot_size or 0),
                order_type="LIMIT",
                price=str(price),
                client_order_id=name,
                strategy=STRATEGY,
            )
        )

    def deliver_thrice(self, enqueue: Callable[[], object]) -> None:
        for _ in range(DELIVERIES):
            enqueue()

    def intents(self) -> list[OrderIntent]:
        """Everything this session asked for, oldest first."""
        return list(OrderIntent.objects.select_related("account").order_by("created_at"))

    def states(self) -> dict[str, str]:
        return {intent.client_order_id: IntentState(intent.state) for intent in self.intents()}

    def order_of(self, client_order_id: str) -> BrokerOrder | None:
        """The order at the broker of one of our intents, as the ledger knows it."""
        return BrokerOrder.objects.filter(attempt__intent__client_order_id=client_order_id).first()

    def order(self, client_order_id: str) -> BrokerOrder:
        return BrokerOrder.objects.get(attempt__intent__client_order_id=client_order_id)

    def until(self, what: str, condition: Callable[[], bool], *, sync: bool = False, note: bool = True) -> None:
        """Wait for the condition and ``note`` it as a check; ``sync`` has the books read meanwhile.

        :raises DidNotHappen: it did not come about in time.
        """
        pause = threading.Event()
        deadline = time.monotonic() + WAIT_SECONDS
        next_sync = 0.0
        while not condition():
            now = time.monotonic()
            if now > deadline or self.interrupted():
                raise DidNotHappen(what)
            if sync and now >= next_sync:
                next_sync = now + 1
                for account in self.accounts.values():
                    orders.sync_orders.delay(broker=account.broker, account=account.name)
            pause.wait(0.1)
        if note:
            self.checks[what] = True
