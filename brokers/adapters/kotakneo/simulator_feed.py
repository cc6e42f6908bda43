"""Kotak Neo's feeds on the simulated exchange, written from the observed protocol (2026-11): prices packed little-endian,
several in a frame; order events as JSON. A session that is not taken is told in one frame and the socket stays open."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Iterable
from decimal import Decimal

from brokers.adapters.kotakneo import simulator_rows as rows
from brokers.adapters.kotakneo.simulator_orders import SEGMENTS, trading_symbol
from brokers.adapters.kotakneo.simulator_session import BROKER, Logins
from brokers.domain.enums import Exchange, InstrumentKind
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder
from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.sockets import TICK_SECONDS, Socket, Sockets, together

EXCHANGE_IDS = {Exchange.NSE: 1, Exchange.NFO: 2, Exchange.BSE: 5, Exchange.BFO: 6}
DIVIDER = 100
HEADER = struct.Struct("<HHbBBBB")
PICTURE = struct.Struct("<IqqqqqIIIIIqIIIIhiIdiIIIIIBI")
ROW = struct.Struct("<qii")
INDEX = struct.Struct("<IiiiiiQiiidBi21s")
PICTURE_CODE, INDEX_CODE = 7208, 7207
TOUCH_LINE, DEPTH = 4, 8
#: What is subscribed to, by the end of the event's name.
LEVELS = {"Scrips": TOUCH_LINE, "Depth": DEPTH, "Indices": 0}
PACKETS_A_FRAME = 50
INDEX_NAMES = {"Nifty 50": "NIFTY", "Nifty Bank": "BANKNIFTY", "Nifty Fin Service": "FINNIFTY", "SENSEX": "SENSEX"}
#: What a connection is told: names of contracts, and how much of each.
Wanted = dict[tuple[str, int], Contract]
HANDSHAKE = re.compile(r"\{type:cn,Authorization:(?P<token>[^,]*),Sid:(?P<sid>[^,]*),src:\w+\}")


class Feeds:
    """Both feeds: who listens, and what they are told."""

    def __init__(self, exchange: SimulatedExchange, logins: Logins) -> None:
        self._exchange = exchange
        self._logins = logins
        self._events: dict[asyncio.Queue[str], str] = {}
        self.sockets = Sockets({"/apifeed": self._market, "/realtime": self._orders})
        exchange.truth.listeners.append(self._happened)

    # Prices

    async def _market(self, socket: Socket) -> None:
        hello = _object(await socket.text())
        account = accounts.find(BROKER, "ucc", str(hello.get("user", "")))
        if account is None or not self._is_sid(account, hello.get("auth")):
            await socket.send(json.dumps({"message_code": 1118, "error": "invalid session"}))
            return
        exchanges = {name: {"value": EXCHANGE_IDS[exchange], "divider": DIVIDER} for name, exchange in SEGMENTS.items()}
        await socket.send(json.dumps({"message_code": 1119, "format": "native_batch", "exchanges": exchanges}))
        wanted: Wanted = {}
        await together(self._tick(socket, account, str(hello["auth"]), wanted), self._subscriptions(socket, wanted))

    async def _subscriptions(self, socket: Socket, wanted: Wanted) -> None:
        while True:
            await self._subscription(socket, _object(await socket.text()), wanted)

    async def _subscription(self, socket: Socket, frame: dict[str, object], wanted: Wanted) -> None:
        event = str(frame.get("event", ""))
        level = LEVELS.get(event.removeprefix("un").removeprefix("subscribe"))
        if level is None:
            return
        found = {
            (name, level): contract
            for name in str(frame.get("inputtoken", "")).split(",")
            if (contract := self._contract(name)) is not None
        }
        if event.startswith("unsubscribe"):
            for key in found:
                wanted.pop(key, None)
            return
        if frame.get("ack_symbol"):
            symbols = {name: trading_symbol(contract) for (name, _), contract in found.items()}
            await socket.send(json.dumps({"message_code": 1109, "trading_symbols": symbols}))
        wanted |= found
        await self._send(socket, found)

    async def _tick(self, socket: Socket, account: SimulatedAccount, sid: str, wanted: Wanted) -> None:
        while self._is_sid(account, sid):
            await asyncio.sleep(TICK_SECONDS)
            await self._send(socket, dict(wanted))

    async def _send(self, socket: Socket, wanted: Wanted) -> None:
        packets = [_packet(*key, self._exchange.quote(contract)) for key, contract in wanted.items()]
        for start in range(0, len(packets), PACKETS_A_FRAME):
            await socket.send(b"".join(packets[start : start + PACKETS_A_FRAME]))

    def _contract(self, name: str) -> Contract | None:
        segment, _, token = name.partition("|")
        exchange = SEGMENTS.get(segment)
        if exchange is None:
            return None
        if token in INDEX_NAMES:
            listed = self._exchange.universe.of_underlying(exchange, INDEX_NAMES[token])
            return next((each for each in listed if each.kind is InstrumentKind.INDEX), None)
        return self._exchange.universe.by_token(exchange, token)

    def _is_sid(self, account: SimulatedAccount, sid: object) -> bool:
        return sid == self._logins.sid(account, "trade")

    # Orders

    async def _orders(self, socket: Socket) -> None:
        said = HANDSHAKE.fullmatch(await socket.text())
        token, sid = (said["token"], said["sid"]) if said else ("", "")
        account = self._logins.account(token)
        if account and not self._logins.holds(account, {"auth": token, "sid": sid}, "trade"):
            account = None
        if account is None:
            refusal = {"ak": "nk", "type": "cn", "task": "cn", "msg": "Authentication Failed"}
            await socket.send(json.dumps(refusal))
            # Silent from here on, and open.
            await _ignore(socket)
            return
        await socket.send(json.dumps({"ak": "ok", "type": "cn", "task": "cn", "msg": "connected"}))
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._events[queue] = account.key
        try:
            await together(_tell(socket, queue), _ignore(socket))
        finally:
            del self._events[queue]

    def _happened(self, order: BookedOrder) -> None:
        listeners = [queue for queue, key in self._events.items() if key == order.account]
        account = accounts.find(BROKER, "user_id", order.account.partition(":")[2]) if listeners else None
        if account is not None:
            event = json.dumps({"type": "order", "data": rows.order(order, account)})
            for queue in listeners:
                queue.put_nowait(event)


async def _ignore(socket: Socket) -> None:
    while True:
        await socket.text()


async def _tell(socket: Socket, queue: asyncio.Queue[str]) -> None:
    while True:
        await socket.send(await queue.get())


def _object(text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _packet(name: str, level: int, seen: MarketQuote) -> bytes:
    """A touch line with one row a side, depth with five, or an index."""
    contract = seen.contract
    if contract.kind is InstrumentKind.INDEX:
        return _index_packet(name.partition("|")[2], seen)
    open_, close, high, low, last = _paise([seen.open, seen.previous_close, seen.high, seen.low, seen.last_price])
    moved, upper, lower = _paise([seen.last_price - seen.previous_close, contract.upper_band, contract.lower_band])
    traded_at, rows = int(seen.traded_at_epoch), 5 if level == DEPTH else 1
    body = PICTURE.pack(
        *(int(contract.token), seen.bid_quantity * 5, seen.ask_quantity * 5, seen.volume, traded_at, traded_at),
        *(open_, close, high, low, last, contract.lot_size, last, 0, rows, rows, 0, _part(seen)),
        *(seen.open_interest, 0.0, moved, upper, lower, high * 2, low // 2, contract.lot_size, 2, 1),
    )
    for price, quantity in (*seen.bids[:rows], *seen.asks[:rows]):
        body += ROW.pack(quantity, *_paise([price]), 3 if quantity else 0)
    return _headed(body, PICTURE_CODE, contract.exchange, level)


def _index_packet(name: str, seen: MarketQuote) -> bytes:
    open_, close, high, low, last = _paise([seen.open, seen.previous_close, seen.high, seen.low, seen.last_price])
    body = INDEX.pack(
        *(26000, open_, close, high, low, last, int(seen.traded_at_epoch), high * 2, low // 2),
        *(_part(seen), 0.0, 2, DIVIDER, name.encode()),
    )
    return _headed(body, INDEX_CODE, seen.contract.exchange, 0)


def _headed(body: bytes, code: int, exchange: Exchange, level: int) -> bytes:
    return HEADER.pack(HEADER.size + len(body), code, EXCHANGE_IDS[exchange], level, 0, 0, 0) + body


def _paise(prices: Iterable[Decimal]) -> list[int]:
    return [int(price * DIVIDER) for price in prices]


def _part(seen: MarketQuote) -> int:
    """The change in hundredths of a per cent."""
    return int((seen.last_price / seen.previous_close - 1) * 10_000) if seen.previous_close else 0
