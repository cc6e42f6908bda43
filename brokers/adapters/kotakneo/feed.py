"""Kotak's two feeds as one: prices over the market socket, order events over the other (SDK 3.0.9, read 2026-11-28).

The SDK would reconnect by itself, five times, and then fall silent; here a cut is the end of the feed and whoever keeps it
makes another. Order events are hints: what they say is not taken from them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from brokers.adapter_interface import AdapterContext
from brokers.adapters.kotakneo import building, parsing_feed, sdk
from brokers.conflation import ConflatingQueue
from brokers.domain.enums import InstrumentKind
from brokers.domain.instruments import Instrument
from brokers.feed_interface import BrokerFeed, FeedListener, FeedState

log = logging.getLogger("brokers.kotakneo.feed")

#: Both sockets are open in this time, and the market feed has said something, or the line is dead: the next try costs
#: less than the SDK's ten seconds, after which it would take silence for a refusal.
OPEN_SECONDS = 5.0
#: The order feed acknowledges a session in this time or does not take it. It drops a refusal like an acknowledgement,
#: and stays open without ever sending anything.
ACK_SECONDS = 10.0
STOP_SECONDS = 5.0
#: Packets beyond which the newest of an instrument takes the place of what waits: some 30 ms of decoding.
MOST_WAITING = 1000
#: Packets that are decoded before the sockets are looked at again.
PACKETS_AT_ONCE = 100
#: The level of messages that have five rows a side.
DEPTH_LEVEL = 8
#: Tokens in one frame of a subscription.
TOKENS_A_FRAME = 1000
#: Events that say that the book has changed.
_EVENTS = frozenset({"order", "position"})

_Key = tuple[str, str]
#: An instrument, and by which of the socket's subscriptions it comes: ``scrips``, ``depth`` or ``index``.
_Wish = tuple[Instrument, str]


class NeoFeed(BrokerFeed):
    """One thread with a loop of its own, two sockets in it."""

    def __init__(self, context: AdapterContext, client: Any) -> None:
        self._context = context
        self._client = client
        self._lock = threading.Lock()
        self._wanted: dict[_Key, _Wish] = {}
        self._sent: dict[_Key, _Wish] = {}
        #: Undecoded packets, each with when it came.
        self._waiting = ConflatingQueue[tuple[bytes, datetime]](MOST_WAITING)
        self._is_reading = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        #: The order feed has said something; ``_taken`` is whether it was an acknowledgement, None when it was cut.
        self._answered = asyncio.Event()
        self._taken: bool | None = None
        self._ending = ""
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, listener: FeedListener) -> None:
        self._listener = listener
        name = f"feed-{self._context.account}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=name, daemon=True)
        self._thread.start()

    def subscribe(self, instruments: Sequence[Instrument], *, depth: bool = False) -> None:
        with self._lock:
            self._wanted |= {_key(each): (each, _means(each, depth)) for each in instruments}
        self._wake()

    def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        with self._lock:
            for each in instruments:
                self._wanted.pop(_key(each), None)
        self._wake()

    def stop(self) -> None:
        self._stopped = True
        self._end("stopped")
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    # Inside: in the loop's thread, but for _wake and _end

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        state, words = FeedState.DOWN, ""
        sockets: list[Any] = []
        try:
            market, orders = sdk.feeds(self._client, self._context.wire)
            sockets += [market, orders]
            await self._open(market, orders)
            await self._keep(market)
            words = self._ending
        except sdk.feed_refusals():
            state, words = FeedState.REFUSED, "Kotak's market feed does not take the session; log in again."
        except _Refused as error:
            state, words = FeedState.REFUSED, str(error)
        except sdk.feed_errors() as error:
            words = f"Kotak's feeds cannot be reached: {error}"
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)
            self._tell(state, words or "Kotak's feeds ended.")

    async def _open(self, market: Any, orders: Any) -> None:
        sdk.when_packets(market, lambda packets: self._on_packets(market, packets))
        orders.on_raw = self._on_order_frame
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await asyncio.gather(market.connect(), orders.connect())
        except TimeoutError:
            raise ConnectionResetError(f"nothing came in {OPEN_SECONDS:.0f} s.") from None
        sdk.when_over(market, lambda: self._end("Kotak's market feed was cut."))
        sdk.when_over(orders, self._on_order_cut)
        try:
            await asyncio.wait_for(self._answered.wait(), ACK_SECONDS)
        except TimeoutError:
            raise _Refused(f"Kotak's order feed did not acknowledge the session in {ACK_SECONDS:.0f} s.") from None
        if self._taken is None:
            raise ConnectionResetError("the order feed was cut before it said anything.")
        if not self._taken:
            raise _Refused("Kotak's order feed does not take the session; log in again.")
        self._tell(FeedState.UP, "Kotak's feeds are up.")
        # What happened while nobody listened is not told again.
        self._listener.on_order()

    async def _keep(self, market: Any) -> None:
        """Subscribe to what is wanted, until the feed ends."""
        while not self._ending:
            self._changed.clear()
            with self._lock:
                wanted = dict(self._wanted)
            # One whose depth is wanted from now on, or no more, is both.
            await self._drop(market, [key for key, wish in self._sent.items() if wanted.get(key) != wish])
            await self._add(market, {key: wish for key, wish in wanted.items() if key not in self._sent})
            await self._changed.wait()

    async def _add(self, market: Any, wanted: dict[_Key, _Wish]) -> None:
        # Before they are sent: the first ticks come before the acknowledgement is through.
        self._sent |= wanted
        for means, subscribe in (
            ("scrips", market.subscribe_scrips),
            ("depth", market.subscribe_depth),
            ("index", market.subscribe_index),
        ):
            keys = [key for key, wish in wanted.items() if wish[1] == means]
            for start in range(0, len(keys), TOKENS_A_FRAME):
                if not self._ending:
                    await subscribe([sdk.feed_token(*key) for key in keys[start : start + TOKENS_A_FRAME]])
        unknown = [each.symbol for key, (each, _) in wanted.items() if "|".join(key) not in market.trading_symbols]
        if unknown and not self._ending:
            log.warning("Kotak's feed acknowledged nothing of %s", ", ".join(unknown[:20]))

    async def _drop(self, market: Any, keys: list[_Key]) -> None:
        for means, unsubscribe in (
            ("scrips", market.unsubscribe_scrips),
            ("depth", market.unsubscribe_depth),
            ("index", market.unsubscribe_index),
        ):
            tokens = [sdk.feed_token(*key) for key in keys if self._sent[key][1] == means]
            if tokens and not self._ending:
                await unsubscribe(tokens)
        for key in keys:
            self._sent.pop(key, None)

    def _on_packets(self, market: Any, packets: list[bytes]) -> None:
        came_at = self._context.clock.now()
        for packet in packets:
            # What it is, of which exchange and level, and the token (SDK 3.0.9, protocol.py).
            self._waiting.put((packet[2:6], packet[9:13]), (packet, came_at))
        if not self._is_reading:
            self._is_reading = True
            self._read_soon(market)

    def _read_soon(self, market: Any) -> None:
        asyncio.get_running_loop().call_soon(self._read, market)

    def _read(self, market: Any) -> None:
        """Decode some of what waits; the sockets are read in between."""
        try:
            for _ in range(PACKETS_AT_ONCE):
                if (taken := self._waiting.take()) is None:
                    break
                packet, came_at = taken
                self._on_market(sdk.decoded(market, packet), came_at)
            if (replaced := self._waiting.take_replaced()) and not self._stopped:
                self._listener.on_replaced(replaced)
        finally:
            self._is_reading = bool(self._waiting)
            if self._is_reading:
                self._read_soon(market)

    def _on_market(self, message: Any, came_at: datetime) -> None:
        kind = getattr(message, "type", "")
        if kind not in ("scrip", "index"):
            return
        # An index is asked for by its name and comes with a token of its own.
        token = message.name if kind == "index" else message.instrument_token
        wish = self._sent.get((message.exchange_segment, token))
        if wish is None or self._stopped:
            return
        instrument, _ = wish
        tick = parsing_feed.quote(message, instrument, as_of=came_at)
        if tick:
            self._listener.on_tick(tick)
        if kind == "scrip" and message.level == DEPTH_LEVEL:
            self._listener.on_depth(parsing_feed.depth(message, instrument, as_of=came_at))

    def _on_order_frame(self, raw: str | bytes) -> None:
        try:
            frame = json.loads(raw)
        except ValueError:
            return
        kind = frame.get("type") if isinstance(frame, dict) else None
        if kind == "cn" and not self._answered.is_set():
            self._taken = frame.get("ak") == "ok"
            self._answered.set()
        elif kind == "cn" and frame.get("ak") != "ok":
            self._end("Kotak's order feed took back the session.")
        elif kind in _EVENTS and not self._stopped:
            self._listener.on_order()

    def _on_order_cut(self) -> None:
        self._end("Kotak's order feed was cut.")
        self._answered.set()

    def _tell(self, state: FeedState, words: str) -> None:
        if not self._stopped:
            self._listener.on_state(state, words)

    def _end(self, words: str) -> None:
        self._ending = self._ending or words
        self._wake()

    def _wake(self) -> None:
        # The loop may end between the two.
        with suppress(RuntimeError):
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._changed.set)


class _Refused(Exception):
    """The order feed does not take the session."""


def _key(instrument: Instrument) -> _Key:
    token = building.quote_token(instrument)
    return token["exchange_segment"], token["instrument_token"]


def _means(instrument: Instrument, depth: bool) -> str:
    if instrument.kind is InstrumentKind.INDEX:
        return "index"
    # Its messages have all that those of the touch line have.
    return "depth" if depth else "scrips"
