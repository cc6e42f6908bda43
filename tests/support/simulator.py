"""A simulated exchange inside the test's process, with a clock that stands still until it is set."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from brokers.clock import IST, SimulatedClock
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Ticket, Why
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.rules import BrokerRules, ExchangeSettings

BROKER = "testbroker"
MONDAY = date(2026, 11, 23)
CALL = "NIFTY26NOV22250CE"
FUTURE = "NIFTY26NOVFUT"


class StandingClock(SimulatedClock):
    """Market time that moves only when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moment = datetime(2026, 11, 23, 10, 0, tzinfo=IST).astimezone(UTC)

    def now(self) -> datetime:
        return self.moment

    def set(self, market_time: datetime) -> None:
        self.moment = market_time.astimezone(UTC)


class Market:
    """An exchange with one broker, its default account, and prices that stand still."""

    def __init__(
        self,
        home: Path,
        *,
        late: frozenset[Why] = frozenset(),
        holds_frozen: bool = False,
        unique_tags: bool = False,
        settings: ExchangeSettings | None = None,
    ) -> None:
        self.clock = StandingClock(home / "simulated-clock.json")
        self.settings = settings or ExchangeSettings(moving=False)
        self.exchange = SimulatedExchange(home, settings=self.settings, clock=self.clock)
        self.exchange.register(
            BROKER,
            BrokerRules(
                order_id=lambda day, sequence, contract: f"{day:%y%m%d}{sequence:06d}",
                gtt_id=lambda day, sequence: f"G{day:%y%m%d}{sequence:06d}",
                late=late,
                holds_frozen=holds_frozen,
                unique_tags=unique_tags,
            ),
        )
        self.account: SimulatedAccount = accounts.default(BROKER)

    def contract(self, symbol: str = CALL, exchange: Exchange = Exchange.NFO) -> Contract:
        found = self.exchange.universe.by_symbol(exchange, symbol)
        assert found is not None, f"{symbol} is not listed"
        return found

    def place(
        self,
        *,
        symbol: str = CALL,
        exchange: Exchange = Exchange.NFO,
        side: Side = Side.BUY,
        quantity: int = 65,
        price: str = "50",
        trigger: str = "0",
        product: Product = Product.NRML,
        validity: TimeInForce = TimeInForce.DAY,
        tag: str = "",
        order_type: OrderType | None = None,
    ) -> BookedOrder:
        kind = order_type or (OrderType.LIMIT if trigger == "0" else OrderType.STOP_LIMIT)
        ticket = Ticket(
            contract=self.contract(symbol, exchange),
            side=side,
            quantity=quantity,
            order_type=kind,
            price=Decimal(price),
            trigger_price=Decimal(trigger),
            product=product,
            time_in_force=validity,
            tag=tag,
        )
        return self.exchange.place(self.account, ticket)

    def pin(self, price: str, symbol: str = CALL, exchange: Exchange = Exchange.NFO) -> None:
        self.exchange.pin(self.contract(symbol, exchange), Decimal(price))

    def pass_time(self, seconds: float) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))
        self.exchange.advance()

    def truth(self) -> list[Mapping[str, object]]:
        return list(self.exchange.truth.lines())


class Markets:
    """Opens markets in folders of one test and closes them after it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._opened: list[Market] = []

    def open(
        self,
        folder: str = "",
        *,
        late: frozenset[Why] = frozenset(),
        holds_frozen: bool = False,
        unique_tags: bool = False,
        settings: ExchangeSettings | None = None,
    ) -> Market:
        market = Market(
            self._home / folder, late=late, holds_frozen=holds_frozen, unique_tags=unique_tags, settings=settings
        )
        self._opened.append(market)
        return market

    def close(self) -> None:
        for market in self._opened:
            market.exchange.truth.close()
