"""Breeze's feeds on the simulated exchange: Engine.IO 4 with Socket.IO over one web socket, written from the published
protocol. Every connection is told its user's order events and the prices that it joined."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from brokers.domain.enums import Exchange
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder
from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.sockets import TICK_SECONDS, Closed, Socket, Sockets, together

BROKER = "breeze"
EXCHANGES = {"4": (Exchange.NSE, Exchange.NFO), "1": (Exchange.BSE,), "8": (Exchange.BFO,)}
PING_SECONDS, PING_TIMEOUT_SECONDS = 25, 20
OPEN, CLOSE, PING = "0", "1", "2"
CONNECT, EVENT, REFUSE = "40", "42", "44"
#: Where the exchange, and quotes or depth, and the token stand in a name.
NAME = re.compile(r"(?P<place>\d+)\.(?P<kind>[12])!(?P<token>.+)")
#: Items of an order event.
ORDER_ITEMS = 47

SessionKey = Callable[[SimulatedAccount], str]


class Feeds:
    """Who listens, and what they are told. ``session_key`` is that of an account's present session."""

    def __init__(self, exchange: SimulatedExchange, session_key: SessionKey) -> None:
        self._exchange = exchange
        self._session_key = session_key
        self._events: dict[asyncio.Queue[str], str] = {}
        self.sockets = Sockets({"/socket.io/": self._serve})
        exchange.truth.listeners.append(self._happened)

    async def _serve(self, socket: Socket) -> None:
        hello = {"sid": uuid.uuid4().hex, "upgrades": [], "pingInterval": PING_SECONDS * 1000}
        await socket.send(OPEN + json.dumps({**hello, "pingTimeout": PING_TIMEOUT_SECONDS * 1000, "maxPayload": 10**6}))
        said = await socket.text()
        auth = _json_of(said.removeprefix(CONNECT)) if said.startswith(CONNECT) else None
        user, key = (str(auth.get("user")), str(auth.get("token"))) if isinstance(auth, dict) else ("", "")
        account = accounts.find(BROKER, "user_id", user)
        if account is None or key != self._session_key(account):
            await socket.send(REFUSE + json.dumps({"message": "Authentication error"}))
            return
        await socket.send(CONNECT + json.dumps({"sid": uuid.uuid4().hex}))
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._events[queue] = account.key
        wanted: dict[str, Contract] = {}
        try:
            await together(
                self._listen(socket, wanted),
                self._tick(socket, account, key, wanted),
                _tell(socket, queue),
                _ping(socket),
            )
        finally:
            del self._events[queue]

    async def _listen(self, socket: Socket, wanted: dict[str, Contract]) -> None:
        while True:
            said = await socket.text()
            if said.startswith(CLOSE) or said == "41":
                raise Closed
            call = _json_of(said.removeprefix(EVENT)) if said.startswith(EVENT) else None
            if not isinstance(call, list) or len(call) != 2:
                continue
            names = call[1] if isinstance(call[1], list) else [call[1]]
            found = {name: contract for name in map(str, names) if (contract := self._contract(name)) is not None}
            if call[0] == "leave":
                for name in found:
                    wanted.pop(name, None)
            elif call[0] == "join":
                wanted |= found
                await self._send(socket, found)

    async def _tick(self, socket: Socket, account: SimulatedAccount, key: str, wanted: dict[str, Contract]) -> None:
        while key == self._session_key(account):
            await asyncio.sleep(TICK_SECONDS)
            await self._send(socket, dict(wanted))

    async def _send(self, socket: Socket, wanted: dict[str, Contract]) -> None:
        for name, contract in wanted.items():
            seen = self._exchange.quote(contract)
            row = _depth(name, seen) if ".2!" in name else _row(name, seen)
            await socket.send(EVENT + json.dumps(["stock", row]))

    def _contract(self, name: str) -> Contract | None:
        named = NAME.fullmatch(name)
        if named is None:
            return None
        universe = self._exchange.universe
        for exchange in EXCHANGES.get(named["place"], ()):
            found = universe.by_token(exchange, named["token"]) or universe.by_symbol(exchange, named["token"])
            if found is not None:
                return found
        return None

    def _happened(self, order: BookedOrder) -> None:
        for queue, key in self._events.items():
            if key == order.account:
                queue.put_nowait(EVENT + json.dumps(["order", _order(order)]))


async def _tell(socket: Socket, queue: asyncio.Queue[str]) -> None:
    while True:
        await socket.send(await queue.get())


async def _ping(socket: Socket) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await socket.send(PING)


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _row(name: str, seen: MarketQuote) -> list[object]:
    """21 items for what is traded for cash, 23 with open interest for derivatives."""
    contract = seen.contract
    first: list[object] = [
        *(name, float(seen.open), float(seen.last_price), float(seen.high), float(seen.low)),
        round(float(seen.last_price - seen.previous_close), 2),
        *(float(seen.bid), seen.bid_quantity, float(seen.ask), seen.ask_quantity),
        *(contract.lot_size, float(seen.last_price)),
    ]
    interest: list[object] = [seen.open_interest, 0] if contract.expiry else []
    return [
        *first,
        *interest,
        *(seen.volume, seen.bid_quantity * 5, seen.ask_quantity * 5, "1.0C", ""),
        *(
            float(contract.lower_band),
            float(contract.upper_band),
            int(seen.traded_at_epoch),
            float(seen.previous_close),
        ),
    ]


def _depth(name: str, seen: MarketQuote) -> list[object]:
    """Five rows with both sides; orders are counted everywhere but at BSE, flags are NSE's and NFO's alone."""
    exchange = seen.contract.exchange

    def side(price: Decimal, quantity: int) -> list[object]:
        orders: list[object] = [] if exchange is Exchange.BSE else [3 if quantity else 0]
        flags: list[object] = [0] if exchange in EXCHANGES["4"] else []
        return [float(price), quantity, *orders, *flags]

    pairs = zip(seen.bids, seen.asks, strict=True)
    return [name, int(seen.traded_at_epoch), [side(*bid) + side(*ask) for bid, ask in pairs]]


def _order(order: BookedOrder) -> list[str]:
    """An event of an order; what is not known of these items is blank."""
    derivative = order.contract.exchange.is_derivative
    known = {
        11: "6" if derivative else "4",
        13: order.contract.exchange.value,
        26 if derivative else 23: order.order_id,
    }
    return [known.get(place, "*") for place in range(ORDER_ITEMS)]
