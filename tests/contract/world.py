"""The world of the contract suite: the real simulator as a process, and traders who use a real SDK against it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from brokers.adapter_interface import AdapterContext, BrokerAdapter, MasterProblem, MasterRow, SessionGrant
from brokers.clock import IST, SimulatedClock
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import InvalidSymbol, PersonNeeded
from brokers.domain.instruments import Instrument
from brokers.domain.orders import CancelRequest, OrderAck, OrderChange, OrderRequest
from brokers.interfaces import AdapterSpec
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.contracts import Contract
from brokers.simulator.instruments import synthetic
from brokers.wire import WireTrace
from tests.support import call_limits
from tests.support.call_limits import Pace, PacedWire

CHECKOUT = Path(__file__).resolve().parents[2]
#: A Monday in session.
MARKET_TIME = datetime(2026, 11, 23, 10, 30, tzinfo=IST)
LOOPBACK = "127.0.0.1"
#: Longer than any answer of the simulator takes, shorter than a person notices.
IMPATIENT_SECONDS = 0.4


class Simulator:
    """``python -m brokers.simulator`` on free ports, ended by its process id."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.urls: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        # Plain HTTP on loopback: without reading the machine's certificates, which takes longer than the call.
        self._client = httpx.Client(trust_env=False, verify=False, timeout=10)

    def start(self) -> None:
        SimulatedClock(self.home / "simulated-clock.json").set(MARKET_TIME)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "brokers.simulator", "--home", str(self.home), "--port", "0"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the simulator ended before it was ready"
        self.urls = json.loads(line)["urls"]

    def stop(self) -> None:
        """:raises AssertionError: an account made more calls than its broker allows."""
        try:
            for broker in self.urls:
                call_limits.check(broker, self.ask(broker, "GET", "counters").json())
        finally:
            self._client.close()
            if self._process is not None:
                self._process.terminate()
                self._process.wait(10)
                assert self._process.stdout is not None
                self._process.stdout.close()

    def ask(self, broker: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """One call of a control endpoint."""
        answer = self._client.request(method, f"{self.urls[broker]}/_sim/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer


class Catalogue:
    """One broker's instruments of the day: its own identifiers beside what the exchange says of each contract."""

    def __init__(self, spec: AdapterSpec, read: Iterable[MasterRow | MasterProblem]) -> None:
        items = list(read)
        self.rows = [item for item in items if isinstance(item, MasterRow)]
        self.problems = [item for item in items if isinstance(item, MasterProblem)]
        self.contracts = {(each.exchange, each.token): each for each in synthetic(MARKET_TIME.date())}
        indices = {
            (each.exchange, each.underlying): each
            for each in self.contracts.values()
            if each.kind is InstrumentKind.INDEX
        }
        self._by_key = {
            (spec.name, row.key): _instrument(spec, row, contract)
            for row in self.rows
            # A broker may give an index a token of its own.
            if (
                contract := self.contracts.get((row.exchange, row.token)) or indices.get((row.exchange, row.underlying))
            )
        }

    def find(self, broker: str, key: str) -> Instrument | None:
        return self._by_key.get((broker, key))

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        for each in self._by_key.values():
            if each.symbol == symbol and exchange in (None, each.exchange):
                return each
        raise InvalidSymbol(f"There is no {symbol}.")

    def traded_on(self, exchange: Exchange) -> Instrument:
        """A share of that exchange, or one of its futures."""
        kind = InstrumentKind.FUTURE if exchange.is_derivative else InstrumentKind.EQUITY
        return next(each for each in self._by_key.values() if (each.exchange, each.kind) == (exchange, kind))

    def nearest(
        self,
        kind: InstrumentKind,
        right: OptionRight | None = None,
        *,
        underlying: str = "NIFTY",
        exchange: Exchange = Exchange.NFO,
    ) -> Instrument:
        """The future or option of the underlying that expires first, an option at the money."""
        spot = next(
            each.base_price for each in self.contracts.values() if each.expiry is None and each.underlying == underlying
        )

        def rank(each: Instrument) -> tuple[date, Decimal]:
            return each.expiry or date.max, abs((each.strike or spot) - spot)

        fitting = (
            each
            for each in self._by_key.values()
            if (each.exchange, each.underlying, each.kind, each.right) == (exchange, underlying, kind, right)
        )
        return min(fitting, key=rank)


def _instrument(spec: AdapterSpec, row: MasterRow, contract: Contract) -> Instrument:
    return Instrument(
        symbol=contract.symbol,
        exchange=contract.exchange,
        kind=contract.kind,
        underlying=contract.underlying,
        expiry=contract.expiry,
        strike=contract.strike,
        right=contract.right,
        lot_size=contract.lot_size,
        tick_size=contract.tick_size,
        freeze_quantity=contract.freeze_quantity,
        lower_band=contract.lower_band or None,
        upper_band=contract.upper_band or None,
        name=contract.name,
        master_day=MARKET_TIME.date(),
        identifiers={spec.name: row.identifiers},
    )


class NoCatalogue:
    """A lookup before the master was read."""

    def find(self, broker: str, key: str) -> Instrument | None:
        return None

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        raise InvalidSymbol(f"There is no {symbol}.")


@dataclass
class Trader:
    """One synthetic account at one broker, and its adapter."""

    spec: AdapterSpec
    simulator: Simulator
    account: SimulatedAccount
    catalogue: Catalogue | NoCatalogue
    orders_made: int = 0
    _adapters: list[BrokerAdapter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.simulator.urls[self.spec.name]

    @cached_property
    def clock(self) -> SimulatedClock:
        return SimulatedClock(self.simulator.home / "simulated-clock.json")

    @cached_property
    def pace(self) -> Pace:
        """Of all adapters of the account, by the tightest of its limits."""
        return Pace(*self.spec.capabilities.call_limits[0])

    @cached_property
    def adapter(self) -> BrokerAdapter:
        """The account's adapter, logged in."""
        made, grant = self.log_in()
        made.use_session(grant)
        return made

    def new_adapter(self, *, at: str | None = None, **secrets: str) -> BrokerAdapter:
        """An adapter without a session. ``at`` sends every call, also to an address of the session, elsewhere."""
        url = at or self.url
        module, _, name = self.spec.adapter.partition(":")
        wire = PacedWire(
            self.pace,
            clock=self.clock,
            allowed_hosts=frozenset({LOOPBACK}),
            routes=dict.fromkeys([*self.spec.hosts, *([LOOPBACK] if at else [])], url),
        )
        made: BrokerAdapter = getattr(import_module(module), name)(
            AdapterContext(
                account=f"{self.spec.name}/{self.account.user_id}",
                secrets={"session_token": "", **self.account.credentials(), **secrets},
                clock=self.clock,
                wire=wire,
                base_url=url,
                instruments=self.catalogue,
            )
        )
        self._adapters.append(made)
        return made

    def close(self) -> None:
        """Drop the sockets of every adapter made here."""
        for adapter in self._adapters:
            adapter.close()

    def log_in(self, **secrets: str) -> tuple[BrokerAdapter, SessionGrant]:
        """Log in, playing the person where one is needed."""
        made = self.new_adapter(**secrets)
        try:
            return made, made.open_session()
        except PersonNeeded as needed:
            token = self.play_person(needed)
            made = self.new_adapter(**secrets, session_token=token)
            return made, made.open_session()

    def play_person(self, needed: PersonNeeded) -> str:
        """The token that the account's owner brings back from the login page."""
        face = import_module(self.spec.simulator.partition(":")[0])
        page, _, query = needed.login_url.partition("?")
        key = self.account.api_key
        token: str = face.play_person(needed.login_url if key in query else f"{page}?api_key={key}")
        return token

    def needs(self, operation: Operation) -> None:
        """Skip the test at a broker that does not offer the operation."""
        if operation not in self.spec.capabilities.operations:
            pytest.skip(f"Operation.{operation.name} is not in Capabilities.operations")

    # The instruments traded here

    @cached_property
    def option(self) -> Instrument:
        assert isinstance(self.catalogue, Catalogue)
        return self.catalogue.nearest(InstrumentKind.OPTION, OptionRight.CALL)

    @cached_property
    def future(self) -> Instrument:
        assert isinstance(self.catalogue, Catalogue)
        return self.catalogue.nearest(InstrumentKind.FUTURE)

    @cached_property
    def put(self) -> Instrument:
        assert isinstance(self.catalogue, Catalogue)
        return self.catalogue.nearest(InstrumentKind.OPTION, OptionRight.PUT)

    @cached_property
    def share(self) -> Instrument:
        return self.catalogue.resolve("RELIANCE", Exchange.NSE)

    @cached_property
    def index(self) -> Instrument:
        """The underlying of the option."""
        return self.catalogue.resolve("NIFTY 50", Exchange.NSE)

    # Orders

    def order(self, **changes: Any) -> OrderRequest:
        """A limit order for one lot of an option, priced so low that it rests."""
        self.orders_made += 1
        made = OrderRequest(
            client_order_id=f"contract-{self.account.number}-{self.orders_made}",
            client_tag=f"CT{self.account.number:04d}{self.orders_made:04d}",
            instrument=self.option,
            side=Side.BUY,
            quantity=self.option.lot_size or 0,
            order_type=OrderType.LIMIT,
            limit_price=self.lowest(self.option),
            product=Product.NRML,
        )
        return replace(made, **changes)

    @staticmethod
    def lowest(instrument: Instrument) -> Decimal:
        """The lowest price in rupees that the band allows."""
        assert instrument.lower_band is not None
        return instrument.round_to_tick(instrument.lower_band, up=True)

    @staticmethod
    def highest(instrument: Instrument) -> Decimal:
        """The highest price in rupees that the band allows."""
        assert instrument.upper_band is not None
        return instrument.round_to_tick(instrument.upper_band, up=False)

    def change(self, order_id: str, request: OrderRequest, **changes: Any) -> OrderChange:
        """The order as it is, with one tick more in its price."""
        assert request.instrument.tick_size is not None
        made = OrderChange(
            broker_order_id=order_id,
            instrument=request.instrument,
            quantity=request.quantity,
            order_type=request.order_type,
            limit_price=request.limit_price + request.instrument.tick_size,
            trigger_price=request.trigger_price,
        )
        return replace(made, **changes)

    def mutation(self, verb: str) -> Callable[[BrokerAdapter], OrderAck]:
        """``place``, ``modify`` or ``cancel``, ready to be sent; what it needs is at the broker already."""
        request = self.order()
        if verb == "place":
            return lambda adapter: adapter.place(request)
        order_id = self.adapter.place(request).broker_order_id
        if verb == "modify":
            change = self.change(order_id, request)
            return lambda adapter: adapter.modify(change)
        cancel = CancelRequest(broker_order_id=order_id, instrument=request.instrument)
        return lambda adapter: adapter.cancel(cancel)

    # What the exchange knows and does

    def control(self, method: str, path: str, **body: Any) -> Any:
        """A control endpoint, for this account."""
        return self.simulator.ask(
            self.spec.name, method, path, body | {"account": self.account.user_id} if body else None
        )

    def fault(self, kind: str, endpoint: str, **more: Any) -> None:
        """Make the broker fail. Faults go when the test ends."""
        self.simulator.ask(self.spec.name, "POST", "faults", {"kind": kind, "endpoint": endpoint, **more})

    def fill(self, order_id: str, quantity: int) -> None:
        self.control("POST", "fill", order_id=order_id, quantity=quantity)

    def kill_session(self) -> None:
        self.simulator.ask(self.spec.name, "POST", "sessions/kill", {"account": self.account.user_id})

    def calls(self) -> int:
        """How many calls of this account the broker has counted."""
        counted = self.simulator.ask(self.spec.name, "GET", "counters").json()
        calls: int = counted[self.account.user_id]["calls"]["total"] if self.account.user_id in counted else 0
        return calls

    def truth(self) -> list[dict[str, Any]]:
        """What really happened to this account's orders, oldest first."""
        lines = self.simulator.ask(self.spec.name, "GET", "truth").text.splitlines()
        mine = (self.spec.name, self.account.user_id)
        return [line for text in lines if ((line := json.loads(text))["broker"], line["account"]) == mine]

    def happened(self) -> Counter[str]:
        """How often each event is in the truth log."""
        return Counter(str(line["event"]) for line in self.truth())


#: Where the truth log, like an order, has each of its words.
PLACE_OF: dict[type[StrEnum], str] = {
    Exchange: "exchange",
    OrderType: "order_type",
    Product: "product",
    TimeInForce: "time_in_force",
}
WORDS = [word for kind in PLACE_OF for word in kind]
#: The event of the truth log that shows that a mutation took effect.
EVENT_OF = {"place": "accepted", "modify": "modified", "cancel": "cancelled"}


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address on loopback where every connection is refused."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield f"http://{LOOPBACK}:{bound.getsockname()[1]}"


@contextmanager
def one_call(adapter: BrokerAdapter, **options: Any) -> Iterator[WireTrace]:
    """One call as the gateway makes it: inside a trace, and what an SDK swallowed is raised again."""
    with adapter.context.wire.call(**options) as trace:
        try:
            yield trace
        finally:
            trace.raise_interruption()
