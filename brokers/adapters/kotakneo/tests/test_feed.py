"""Kotak's feeds through the real SDK, against a server that refuses in silence, redirects, stalls and sends nonsense."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.adapters.kotakneo import SPEC, feed, parsing_feed
from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.clock import SystemClock
from brokers.domain.enums import Exchange, InstrumentKind
from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, Quote
from brokers.feed_interface import BrokerFeed, FeedState
from brokers.wire import Wire

SHARE = Instrument(
    symbol="RELIANCE",
    exchange=Exchange.NSE,
    kind=InstrumentKind.EQUITY,
    underlying="RELIANCE",
    master_day=datetime(2026, 11, 23, tzinfo=UTC).date(),
    identifiers={SPEC.name: {"exchange_segment": "nse_cm", "token": "2885", "trading_symbol": "RELIANCE-EQ"}},
)
HELLO = json.dumps(
    {"message_code": 1119, "format": "native_batch", "exchanges": {"nse_cm": {"value": 1, "divider": 100}}}
)
TAKEN = json.dumps({"ak": "ok", "type": "cn", "task": "cn", "msg": "connected"})
REFUSED = json.dumps({"ak": "nk", "type": "cn", "task": "cn", "msg": "Authentication Failed"})
SECONDS = 15.0

Play = Callable[[Any], Awaitable[None]]


class Server:
    """A web socket server on loopback in a thread of its own; each path plays a part."""

    def __init__(self) -> None:
        self.parts: dict[str, Play] = {"/apifeed": self.market, "/realtime": self.orders}
        self.redirect = ""
        self.paths: list[str] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._ready.wait(SECONDS)

    async def _run(self) -> None:
        self._end = asyncio.Event()
        async with websockets.serve(self._play, "127.0.0.1", 0, process_request=self._request) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end.wait()

    def _request(self, connection: Any, request: Any) -> Any:
        self.paths.append(request.path)
        if self.redirect and not request.path.startswith("/elsewhere"):
            answer = connection.respond(HTTPStatus.TEMPORARY_REDIRECT, "")
            answer.headers["Location"] = self.redirect
            return answer
        return None

    async def _play(self, connection: Any) -> None:
        with suppress(websockets.ConnectionClosed):
            await self.parts[connection.request.path](connection)

    async def market(self, connection: Any) -> None:
        await connection.recv()
        await connection.send(HELLO)
        async for _ in connection:
            await connection.send(json.dumps({"message_code": 1109, "trading_symbols": {"nse_cm|2885": "RELIANCE-EQ"}}))

    async def orders(self, connection: Any) -> None:
        await connection.recv()
        await connection.send(TAKEN)
        await connection.wait_closed()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(SECONDS)
        self._loop.close()


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.ticks: list[Quote] = []
        self.depths: list[Depth] = []
        self.orders = 0
        self.replaced = 0
        self.states: dict[FeedState, str] = {}

    def on_tick(self, tick: Quote) -> None:
        with self.news:
            self.ticks.append(tick)
            self.news.notify_all()

    def on_depth(self, depth: Depth) -> None:
        with self.news:
            self.depths.append(depth)
            self.news.notify_all()

    def on_replaced(self, count: int) -> None:
        with self.news:
            self.replaced += count
            self.news.notify_all()

    def on_order(self) -> None:
        with self.news:
            self.orders += 1
            self.news.notify_all()

    def on_state(self, state: FeedState, words: str) -> None:
        with self.news:
            self.states[state] = words
            self.news.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(condition, SECONDS), (self.states, self.ticks, self.orders)

    def until_state(self, state: FeedState) -> str:
        self.until(lambda: state in self.states)
        return self.states[state]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def start(server: Server) -> Iterator[Callable[[], Listener]]:
    feeds: list[BrokerFeed] = []

    def started() -> Listener:
        url = f"http://127.0.0.1:{server.port}"
        clock = SystemClock()
        context = AdapterContext(
            account="kotakneo/test",
            secrets={"api_key": "key"},
            clock=clock,
            wire=Wire(clock=clock, allowed_hosts=frozenset({"127.0.0.1"}), routes=dict.fromkeys(SPEC.hosts, url)),
            base_url=url,
            instruments=None,  # type: ignore[arg-type]
        )
        details = {"base_url": url, "ucc": "AB123", "feed_url": f"{url}/apifeed", "rt_url": f"{url}/realtime"}
        grant = SessionGrant(session_token="token", sid="sid", details=details, expires_at=clock.now())
        made, listener = NeoAPI(context).make_feed(grant), Listener()
        feeds.append(made)
        made.start(listener)
        made.subscribe([SHARE])
        return listener

    yield started
    for each in feeds:
        each.stop()


def mini_picture(last: int) -> bytes:
    """A touch line with last, bid and ask in paise."""
    return picture(last, [(10, last - 5, 1), (20, last + 5, 1)], level=4)


def picture(last: int, rows: list[tuple[int, int, int]], *, level: int) -> bytes:
    """Last in paise, and rows of both sides: units, paise, orders."""
    side = len(rows) // 2
    numbers = [2885, 0, 0, 500, 0, 0, 0, 0, 0, 0, last, 0, last, 0, side, side, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, 1, 2, 1]
    body = struct.pack("<IqqqqqIIIIIqIIIIhiIdiIIIIIBI", *numbers)
    body += b"".join(struct.pack("<qii", *row) for row in rows)
    return struct.pack("<HHbBBBB", 9 + len(body), 7208, 1, level, 0, 0, 0) + body


def test_a_refusal_that_the_sdk_drops_is_noticed(server: Server, start: Callable[[], Listener]) -> None:
    async def refuse(connection: Any) -> None:
        await connection.recv()
        await connection.send(REFUSED)
        await connection.wait_closed()

    server.parts["/realtime"] = refuse
    listener = start()
    assert "order feed does not take the session" in listener.until_state(FeedState.REFUSED)
    assert FeedState.UP not in listener.states


def test_silence_in_place_of_an_acknowledgement_is_a_refusal(
    server: Server, start: Callable[[], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ACK_SECONDS", 0.2)

    async def say_nothing(connection: Any) -> None:
        await connection.wait_closed()

    server.parts["/realtime"] = say_nothing
    assert "did not acknowledge" in start().until_state(FeedState.REFUSED)


def test_accepted_and_closed_at_once_is_one_attempt(server: Server, start: Callable[[], Listener]) -> None:
    async def close(connection: Any) -> None:
        await connection.recv()

    server.parts["/realtime"] = close
    start().until_state(FeedState.DOWN)
    assert server.paths.count("/realtime") == 1


def test_an_end_right_behind_a_message_is_noticed(server: Server, start: Callable[[], Listener]) -> None:
    async def tick_and_go(connection: Any) -> None:
        await connection.recv()
        await connection.send(HELLO)
        await connection.recv()
        await connection.send(json.dumps({"message_code": 1109, "trading_symbols": {}}))
        await connection.send(mini_picture(140_000))

    server.parts["/apifeed"] = tick_and_go
    listener = start()
    assert "market feed was cut" in listener.until_state(FeedState.DOWN)


def test_a_redirect_is_not_followed(server: Server, start: Callable[[], Listener]) -> None:
    server.redirect = f"ws://127.0.0.1:{server.port}/elsewhere"
    start().until_state(FeedState.DOWN)
    assert "/elsewhere" not in server.paths


def test_a_proxy_of_the_environment_is_not_used(
    server: Server, start: Callable[[], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
    start().until_state(FeedState.UP)


def test_nonsense_changes_nothing(server: Server, start: Callable[[], Listener]) -> None:
    async def market(connection: Any) -> None:
        await connection.recv()
        await connection.send(HELLO)
        await connection.recv()
        for frame in (b"", b"\xff" * 40, "no json", "[]", mini_picture(140_005)[:30]):
            await connection.send(frame)
        await connection.send(json.dumps({"message_code": 1109, "trading_symbols": {"nse_cm|2885": "RELIANCE-EQ"}}))
        await connection.send(mini_picture(140_005))
        await connection.wait_closed()

    async def orders(connection: Any) -> None:
        await connection.recv()
        await connection.send(TAKEN)
        for frame in ("", "[1]", "null", b"\xff", json.dumps({"type": "hb"})):
            await connection.send(frame)
        # Two that do not fit the SDK's model, which are events all the same.
        await connection.send(json.dumps({"type": "order", "data": {"avgPrc": 1.5, "lotSz": 1}}))
        await connection.send(json.dumps({"type": "position", "data": None}))
        await connection.wait_closed()

    server.parts |= {"/apifeed": market, "/realtime": orders}
    listener = start()
    listener.until(lambda: bool(listener.ticks) and listener.orders == 3)
    tick = listener.ticks[0]
    assert (tick.last_price, tick.bid_price, tick.ask_price) == (Decimal("1400.05"), Decimal("1400"), Decimal("1400.1"))
    assert (tick.bid_quantity, tick.ask_quantity, tick.volume) == (10, 20, 500)
    # Not stated is None, never zero.
    assert (tick.open, tick.lower_circuit, tick.traded_at) == (None, None, None)
    assert not listener.depths


def test_rows_with_zeros_are_no_levels_of_depth(server: Server, start: Callable[[], Listener]) -> None:
    async def market(connection: Any) -> None:
        await connection.recv()
        await connection.send(HELLO)
        await connection.recv()
        await connection.send(json.dumps({"message_code": 1109, "trading_symbols": {"nse_cm|2885": "RELIANCE-EQ"}}))
        buyers = [(10, 140_000, 2), (30, 139_995, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)]
        await connection.send(picture(140_005, [*buyers, *[(0, 0, 0)] * 5], level=8))
        await connection.wait_closed()

    server.parts["/apifeed"] = market
    listener = start()
    listener.until(lambda: bool(listener.depths))
    depth = listener.depths[0]
    assert [(level.price, level.quantity, level.orders) for level in depth.bids] == [
        (Decimal(1400), 10, 2),
        (Decimal("1399.95"), 30, None),
    ]
    # Nothing is known of the whole book where zero stands beside levels.
    assert (depth.asks, depth.total_bid_quantity, depth.total_ask_quantity) == ((), None, 0)
    assert listener.ticks[0].last_price == Decimal("1400.05")


def test_of_too_many_ticks_the_newest_stays(
    server: Server, start: Callable[[], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_WAITING", 10)
    sent = 2000

    async def market(connection: Any) -> None:
        await connection.recv()
        await connection.send(HELLO)
        await connection.recv()
        await connection.send(json.dumps({"message_code": 1109, "trading_symbols": {"nse_cm|2885": "RELIANCE-EQ"}}))
        await connection.send(b"".join(mini_picture(100_000 + number) for number in range(sent)))
        await connection.wait_closed()

    server.parts["/apifeed"] = market
    listener = start()
    listener.until(lambda: listener.replaced + len(listener.ticks) == sent)
    assert listener.replaced == sent - 11
    assert listener.ticks[-1].last_price == Decimal(100_000 + sent - 1) / 100
    assert [tick.last_price for tick in listener.ticks[:10]] == [
        Decimal(100_000 + number) / 100 for number in range(10)
    ]


@given(paise=st.integers(min_value=1, max_value=2**31 - 1))
def test_a_price_is_exactly_the_exchanges(paise: int) -> None:
    message: Any = SimpleNamespace(last_traded_price=paise / 100, last_trade_time=0)
    quote = parsing_feed.quote(message, SHARE, as_of=datetime(2026, 11, 23, tzinfo=UTC))
    assert quote.last_price == Decimal(paise) / 100


@given(seconds=st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_no_time_of_trade_breaks_a_tick(seconds: int) -> None:
    now = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
    message: Any = SimpleNamespace(last_traded_price=1.0, last_trade_time=seconds)
    traded_at = parsing_feed.quote(message, SHARE, as_of=now).traded_at
    assert traded_at is None or abs(traded_at - now) < timedelta(days=10)
