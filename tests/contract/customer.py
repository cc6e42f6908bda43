"""A trader with the whole of mcube in between: ledger, gateway and the real SDK, against the simulated exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from brokers import instruments
from brokers.adapter_interface import MasterRow
from brokers.clock import SimulatedClock, configured_clock
from brokers.domain.enums import Side
from brokers.domain.errors import BrokerError, RateLimited
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway, no_waiting
from brokers.ledger import operations
from brokers.limits import Urgency
from brokers.models import Alert, BrokerAccount, BrokerOrder, OrderIntent, SessionState
from brokers.recovery import reconciliation
from credentials.models import CredentialStore
from tests.contract.world import Catalogue, Trader
from tests.support.processes import wait_for
from tests.support.scripted_broker import give_back_calls

#: What a caller's second try and the first share.
KEY = "one-order"
#: A login and a reading of the book.
CALLS_OF_A_STEP = 5


class Customer:
    """What the caller of mcube sees, what the ledger says, and what the broker really holds."""

    def __init__(self, trader: Trader) -> None:
        assert isinstance(trader.catalogue, Catalogue)
        self.trader = trader
        self.broker = trader.spec.name
        columns = ("session_token", "sid", *(field.name for field in CredentialStore._meta.get_fields()))
        secrets = {name: value for name, value in trader.account.credentials().items() if name in columns}
        # A name of its own, so that no test lives on the call budget that another left over.
        self.name = trader.account.user_id
        CredentialStore.objects.create(service=self.broker, name=self.name, **secrets)
        self.account = BrokerAccount.objects.create(
            broker=self.broker, name=self.name, manual_trading=BrokerAccount.ManualTrading.NONE
        )
        master = cast(Any, SimpleNamespace(read_master=lambda: iter(_master(trader))))
        instruments.refresh(self.account, adapter=master, clock=configured_clock())
        self.gateway: BrokerGateway = BrokerFactory.get_broker(self.broker, self.name)
        self.gateway.login()
        self._prices: dict[str | None, Decimal] = {}

    # What a caller does

    def order(self, **changes: Any) -> dict[str, Any]:
        """A limit order for one lot of an option that rests a little below the market.

        Said again under the same client order id it has the same price, wherever the market has gone meanwhile.
        """
        option = self.trader.option
        order = {
            "symbol": option.symbol,
            "action": Side.BUY.value,
            "quantity": option.lot_size,
            "order_type": "LIMIT",
            "client_order_id": KEY,
        } | changes
        key = order["client_order_id"]
        if key not in self._prices:
            last = self.gateway.get_quote(option.symbol).last_price
            assert last is not None
            self._prices[key] = option.round_to_tick(last * Decimal("0.98"), up=False)
        return {"price": self._prices[key]} | order

    def place(self, **changes: Any) -> str | type[BrokerError]:
        """Place an order as a strategy does: the broker's order id, or the class of the error that told why not."""
        try:
            return self.gateway.place_order(**self.order(**changes))
        except BrokerError as error:
            return type(error)

    def record(self, **order: Any) -> OrderIntent:
        """Record an order without sending it."""
        basics = {"symbol": self.trader.option.symbol, "order_type": "LIMIT", "client_order_id": KEY}
        return operations.record_place(broker=self.broker, account=self.name, **(basics | order))

    def fail_reads(self, kind: str, **more: Any) -> None:
        """Make every read of the account fail, until the test ends; logins work."""
        for endpoint in ("funds", "margin", "positions", "holdings", "orders", "order", "trades", "trade"):
            self.trader.fault(kind, endpoint, count=0, **more)

    def reads_work(self) -> None:
        self.trader.simulator.ask(self.broker, "DELETE", "faults")

    def pass_time(self, seconds: float, *, step: float = 3) -> None:
        """Let time pass while beat ticks: senders are fenced and open questions are looked up."""
        clock = configured_clock()
        assert isinstance(clock, SimulatedClock)
        for _ in range(int(seconds / step)):
            clock.set(clock.now() + timedelta(seconds=step))
            self.let_calls_be_free()
            with no_waiting():
                reconciliation.recover(self.broker)

    def let_calls_be_free(self, calls: int = CALLS_OF_A_STEP) -> None:
        """Calls are counted in real time, which did not pass: a minute's are given back, a second is waited for."""
        _, seconds = self.trader.spec.capabilities.call_limits[0]
        if seconds > 1:
            give_back_calls(self.account)
        else:
            wait_for(lambda: self._has_room(calls), "room for calls", seconds=5)

    def _has_room(self, calls: int) -> bool:
        try:
            with no_waiting():
                self.gateway.require_room(calls, urgency=Urgency.ORDER)
        except RateLimited:
            return False
        return True

    # What the ledger says

    @property
    def intent(self) -> OrderIntent:
        return OrderIntent.objects.get(account=self.account, client_order_id=KEY)

    def placed_id(self, key: str = KEY) -> str | None:
        """The broker's id of an order as the ledger has it; None when it has none."""
        order = BrokerOrder.objects.filter(attempt__intent__account=self.account, attempt__intent__client_order_id=key)
        return order.values_list("broker_order_id", flat=True).first()

    @property
    def session(self) -> SessionState:
        return SessionState.objects.get(account=self.account)

    def alerts(self) -> set[str]:
        """The kinds of what a person is to know now."""
        return set(Alert.objects.filter(account=self.account, acknowledged_at=None).values_list("kind", flat=True))

    # What the broker holds

    def held(self) -> int:
        """Orders of this account that the exchange really took."""
        return self.trader.happened()["accepted"]

    def happened(self) -> Counter[str]:
        return self.trader.happened()


def _master(trader: Trader) -> Iterator[MasterRow]:
    """What is traded here, with what only another broker's master of the day states."""
    assert isinstance(trader.catalogue, Catalogue)
    wanted = {trader.option.symbol, trader.future.symbol, trader.share.symbol}
    for row in trader.catalogue.rows:
        found = trader.catalogue.find(trader.spec.name, row.key)
        if found is not None and found.symbol in wanted:
            yield replace(row, tick_size=found.tick_size, freeze_quantity=found.freeze_quantity)
