"""A trader with a scripted broker and four options to make plans of, and the workers and beat that move plans on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.clock import SimulatedClock, configured_clock
from brokers.domain.account import Position
from brokers.domain.enums import Exchange, OptionRight, OrderStatus, Product, Side
from brokers.domain.order_states import IntentState
from brokers.domain.orders import OrderRequest
from brokers.factory import BrokerFactory
from brokers.ledger import book
from brokers.ledger.delivery import deliver
from brokers.models import Alert, BrokerAccount, OrderIntent, OrderPlan
from brokers.plans import closing, recording, running
from brokers.plans.status import PlanProgress, progress
from tests.support import scripted_broker
from tests.support.scripted_broker import SHARE, ScriptedAdapter

CALL, PUT = "NIFTY26DEC26000CE", "NIFTY26DEC24000PE"
FAR_CALL, FAR_PUT = "NIFTY26DEC27000CE", "NIFTY26DEC23000PE"
LOT, FREEZE = 65, 1800
#: What a strategy asks for where a test says nothing else, so that both brokers cut and pace alike.
LOTS_PER_ORDER, PACE, CLOSE_PACE = 20, 20, 10


def strangle_master(adapter: ScriptedAdapter) -> Iterator[MasterRow | MasterProblem]:
    """A share, and the four options of a hedged strangle."""
    yield scripted_broker.master_row(adapter.name, Exchange.NSE, SHARE, "2885", lot=1)
    for token, symbol in enumerate((CALL, PUT, FAR_CALL, FAR_PUT), 51001):
        row = scripted_broker.master_row(adapter.name, Exchange.NFO, symbol, str(token), lot=LOT)
        yield replace(
            row,
            strike=Decimal(symbol.removeprefix("NIFTY26DEC")[:5]),
            right=OptionRight(symbol.removeprefix(symbol[:-2])),
        )


def install(broker: str) -> PlanDesk:
    """A desk at ``broker``; ``ScriptedAdapter.read_master`` is to be :func:`strangle_master` meanwhile."""
    account, adapter = scripted_broker.install(broker)
    adapter.margin = Decimal(1_000_000_000)
    return PlanDesk(account, adapter)


def leg(symbol: str, action: str, lots: int, **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "action": action, "lots": lots, "order_type": "LIMIT", "price": "100"} | more


class PlanDesk:
    def __init__(self, account: BrokerAccount, adapter: ScriptedAdapter) -> None:
        self.account = account
        self.adapter = adapter
        self.gateway = BrokerFactory.get_broker(account.broker, account.name)
        #: Units that the broker's positions state, and how far they lag behind its book.
        self.held: dict[tuple[str, Product], int] = {}
        self.adapter.positions = []

    # What a strategy does

    def record(self, *legs: dict[str, Any], key: str = "p1", **changes: Any) -> OrderPlan:
        words: dict[str, Any] = {"lots_per_order": LOTS_PER_ORDER, "pace_seconds": PACE} | changes
        return recording.record_basket(broker=self.account.broker, legs=legs, client_order_id=key, **words)

    def close(self, symbol: str | None = CALL, key: str = "c1", **changes: Any) -> OrderPlan:
        words: dict[str, Any] = {"pace_seconds": CLOSE_PACE} | changes
        return closing.record_close(broker=self.account.broker, symbol=symbol, client_order_id=key, **words)

    # What beat and the workers do

    def tick(self, plan: OrderPlan) -> running.Step:
        """Everything that is due now; a slice that the order rate puts off gets the second that it waits for."""
        while True:
            step = running.advance(plan.pk)
            if step.needs_positions:
                closing.look(plan.pk)
                step = running.advance(plan.pk)
            ready = OrderIntent.objects.filter(pk__in=[intent.pk for intent in step.intents]) | self._put_off(plan)
            if not ready:
                return step
            for intent in ready:
                deliver(intent.pk)
            if self._put_off(plan):
                self.pass_time(1)

    def _put_off(self, plan: OrderPlan) -> QuerySet[OrderIntent]:
        return OrderIntent.objects.filter(plan=plan, state=IntentState.READY).exclude(waiting_reason="")

    def sync(self) -> None:
        """The order book is read."""
        book.apply_book(self.account, self.adapter.book.values(), configured_clock().now())

    def run(self, plan: OrderPlan, *, seconds: int = 600) -> None:
        """Let the market's time pass, with everything filled at once, until the plan ends or waits."""
        for _ in range(seconds):
            self.tick(plan)
            self.fill()
            if OrderPlan.objects.get(pk=plan.pk).finished_at is not None:
                return
            self.pass_time(1)

    # What happens at the broker

    def pass_time(self, seconds: float) -> None:
        clock = configured_clock()
        assert isinstance(clock, SimulatedClock)
        clock.set(clock.now() + timedelta(seconds=seconds))
        scripted_broker.give_back_calls(self.account)

    def fill(self, *symbols: str) -> None:
        """What works at the exchange is filled, all or that of some symbols; book and positions say so."""
        for number, row in self.adapter.book.items():
            if row.status is OrderStatus.OPEN and (not symbols or row.symbol in symbols):
                self.end(number, OrderStatus.FILLED, row.quantity)
        self.sync()

    def end(self, number: str, status: OrderStatus, filled: int = 0, *, shows: bool = True) -> None:
        """One order ends; ``shows`` says whether the positions show its fills."""
        row = self.adapter.book[number]
        self.adapter.book[number] = replace(row, status=status, filled_quantity=filled, pending_quantity=0)
        if shows and row.product is not None:
            self.hold(row.symbol, filled if row.side is Side.BUY else -filled, row.product)

    def hold(self, symbol: str, units: int, product: Product = Product.NRML) -> None:
        """Add to a position, whoever traded it."""
        place = (symbol, product)
        self.held[place] = self.held.get(place, 0) + units
        self.adapter.positions = [
            Position(
                symbol=of_symbol,
                exchange="NSE" if of_symbol == SHARE else "NFO",
                product=of_product,
                quantity=quantity,
                average_price=Decimal(100),
                last_price=Decimal(100),
                pnl=Decimal(0),
                as_of=configured_clock().now(),
            )
            for (of_symbol, of_product), quantity in self.held.items()
        ]

    # What is seen

    def sent(self) -> list[tuple[str, str, int]]:
        """What reached the broker, in order: side, symbol, units."""
        return [
            (one.side.value, one.instrument.symbol, one.quantity)
            for one in self.adapter.sent
            if isinstance(one, OrderRequest)
        ]

    def progress(self, plan: OrderPlan) -> PlanProgress:
        return progress(OrderPlan.objects.select_related("account").get(pk=plan.pk))

    def states(self, plan: OrderPlan) -> list[str]:
        return list(OrderIntent.objects.filter(plan=plan).order_by("leg", "slice").values_list("state", flat=True))

    def alerts(self, kind: str) -> list[Alert]:
        return list(Alert.objects.filter(kind=kind).order_by("pk"))
