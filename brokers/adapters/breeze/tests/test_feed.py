"""Breeze's rate feed: what an event says, and that the library's sockets lead nowhere else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.adapters.breeze import building, feed_socket, parsing_feed
from brokers.adapters.breeze.feed_socket import FeedCut, Prices
from brokers.adapters.breeze.sdk import Client
from brokers.clock import SystemClock
from brokers.domain.enums import Exchange, InstrumentKind
from brokers.domain.errors import InvalidSymbol, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.wire import Wire

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
HOSTS = ("livestream.icicidirect.com", "livefeeds.icicidirect.com")


def instrument(exchange: Exchange = Exchange.NSE, token: str = "2885") -> Instrument:
    return Instrument(
        symbol="RELIANCE",
        exchange=exchange,
        kind=InstrumentKind.EQUITY,
        underlying="RELIANCE",
        master_day=NOW.date(),
        identifiers={"breeze": {"stock_code": "RELIND", "exchange_code": exchange.value, "token": token}},
    )


#: Laid out as the SDK 1.0.69 reads them; the numbers are made up.
CASH = ["4.1!2885", 1390, 1400.05, 1410.5, 1380, 0.7, 1400, 10, 1400.1, 20, 1, 1399, 12345, 50, 60, "1328.72C", ""]
CASH += [1260.5, 1540.1, 1_763_873_995, 1391.2]
OPTION = [
    "4.1!51001",
    100,
    101.5,
    110,
    95,
    1.5,
    101,
    65,
    102,
    130,
    65,
    100,
    6500,
    650,
    4550,
    1,
    2,
    "1.2L",
    "",
    5.05,
    350,
]
OPTION += [1_763_873_995, 99.5]


def test_a_quote_of_a_share() -> None:
    quote = parsing_feed.quote(CASH, instrument(), as_of=NOW)
    assert (quote.last_price, quote.open, quote.previous_close) == (
        Decimal("1400.05"),
        Decimal(1390),
        Decimal("1391.2"),
    )
    assert (quote.bid_price, quote.bid_quantity, quote.ask_price, quote.ask_quantity) == (
        Decimal(1400),
        10,
        Decimal("1400.1"),
        20,
    )
    assert (quote.lower_circuit, quote.upper_circuit) == (Decimal("1260.5"), Decimal("1540.1"))
    assert (quote.volume, quote.open_interest, quote.as_of) == (12345, None, NOW)
    assert quote.traded_at == datetime(2025, 11, 23, 4, 59, 55, tzinfo=UTC)


def test_a_quote_of_a_derivative_has_its_open_interest() -> None:
    quote = parsing_feed.quote(OPTION, instrument(Exchange.NFO, "51001"), as_of=NOW)
    assert (quote.last_price, quote.open_interest, quote.volume) == (Decimal("101.5"), 6500, 4550)
    assert (quote.lower_circuit, quote.previous_close) == (Decimal("5.05"), Decimal("99.5"))


@pytest.mark.parametrize(
    ("exchange", "token", "bid", "ask", "orders"),
    [
        (Exchange.NSE, "2885", [1400.05, 10, 2, 0], [1400.1, 20, 4, 0], (2, 4)),
        (Exchange.BSE, "500325", [1400.05, 10], [1400.1, 20], (None, None)),
        (Exchange.BFO, "861001", [1400.05, 10, 2], [1400.1, 20, 4], (2, 4)),
    ],
)
def test_depth_as_each_exchange_lays_it_out(
    exchange: Exchange, token: str, bid: list[float], ask: list[float], orders: tuple[int | None, int | None]
) -> None:
    # What comes first is not the best, and where nobody stands there are zeros.
    better, nobody = [1400.0 + 0.07, *bid[1:]], [0] * (len(bid) + len(ask))
    row = [building.feed_token(instrument(exchange, token), depth=True), 1_763_873_995]
    assert parsing_feed.is_depth(str(row[0]))
    depth = parsing_feed.depth(
        [*row, [bid + ask, better + [0] * len(ask), nobody]], instrument(exchange, token), as_of=NOW
    )
    assert [(level.price, level.quantity) for level in depth.bids] == [
        (Decimal("1400.07"), 10),
        (Decimal("1400.05"), 10),
    ]
    assert [(level.price, level.quantity, level.orders) for level in depth.asks] == [(Decimal("1400.1"), 20, orders[1])]
    assert (depth.bids[1].orders, depth.exchange, depth.as_of) == (orders[0], exchange.value, NOW)


def test_zero_is_not_a_price() -> None:
    quote = parsing_feed.quote([CASH[0], *[0] * 20], instrument(), as_of=NOW)
    assert not quote
    assert (quote.bid_price, quote.upper_circuit, quote.traded_at) == (None, None, None)


def test_of_too_many_ticks_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_socket, "MOST_WAITING", 10)
    handled: list[tuple[object, datetime]] = []
    replaced: list[int] = []
    prices = Prices(lambda row, came_at: handled.append((row, came_at)), replaced.append, lambda: NOW)
    for number in range(2000):
        row = ["4.1!2885", number]
        assert prices.takes("2" + json.dumps(["stock", row]))
    while prices.handle_some():
        pass
    assert sum(replaced) == 2000 - 11
    assert [row for row, _ in handled] == [["4.1!2885", number] for number in (*range(10), 1999)]
    assert {came_at for _, came_at in handled} == {NOW}


def test_what_is_no_price_is_left_to_the_library() -> None:
    prices = Prices(lambda row, came_at: None, lambda count: None, lambda: NOW)
    for text in ('2["order",["1"]]', "0", '2["stock"]', "", b"2", None):
        assert not prices.takes(text)
    # One that begins like a price and is broken harms nothing.
    assert prices.takes('2["stock",["4.1!2885",')
    assert not prices.handle_some()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@given(items=st.lists(anything, min_size=19, max_size=25))
def test_nonsense_is_refused_and_never_a_number(items: list[object]) -> None:
    try:
        quote = parsing_feed.quote(["4.1!2885", *items], instrument(), as_of=NOW)
    except UnreadableReply:
        return
    assert quote.last_price is None or quote.last_price > 0


@given(rows=anything | st.lists(st.lists(anything, min_size=4, max_size=8), max_size=5))
def test_nonsense_in_depth_is_refused_and_never_a_level(rows: object) -> None:
    try:
        depth = parsing_feed.depth(["4.2!2885", 1_763_873_995, rows], instrument(), as_of=NOW)
    except UnreadableReply:
        return
    assert all(level.price > 0 and level.quantity > 0 for level in (*depth.bids, *depth.asks))


@given(row=anything)
def test_nothing_breaks_the_question_whose_tick_it_is(row: object) -> None:
    assert isinstance(parsing_feed.token(row), str)


@pytest.mark.parametrize(
    ("exchange", "token", "expected"),
    [
        (Exchange.NSE, "2885", "4.1!2885"),
        (Exchange.NFO, "51001", "4.1!51001"),
        (Exchange.BSE, "500325", "1.1!500325"),
        (Exchange.BFO, "861001", "8.1!861001"),
        (Exchange.NSE, "NIFTY 50", "4.1!NIFTY 50"),
    ],
)
def test_tokens_of_the_feed(exchange: Exchange, token: str, expected: str) -> None:
    assert building.feed_token(instrument(exchange, token)) == expected


def test_what_the_master_lacks_has_no_token() -> None:
    with pytest.raises(InvalidSymbol, match="OTHER"):
        building.feed_token(
            Instrument(
                symbol="OTHER",
                exchange=Exchange.NSE,
                kind=InstrumentKind.EQUITY,
                underlying="OTHER",
                master_day=NOW.date(),
            )
        )


class OneAnswer:
    """Listens on loopback, gives every connection the same answer, and counts them."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(4096))
                connection.sendall(self.answer)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def elsewhere() -> Iterator[OneAnswer]:
    made = OneAnswer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    yield made
    made.stop()


def connect(url: str) -> None:
    wire = Wire(clock=SystemClock(), allowed_hosts=frozenset({"127.0.0.1"}), routes=dict.fromkeys(HOSTS, url))
    client = Client(api_key="key", api_secret="secret", wire=wire, base_url=url)
    client.resume("USER", "key")
    with pytest.raises(FeedCut):
        client.rate_socket(Prices(lambda row, came_at: None, lambda count: None, lambda: NOW), lambda: None)


def test_a_redirect_is_not_followed(elsewhere: OneAnswer) -> None:
    target = elsewhere.url.replace("http", "ws", 1)
    answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}/\r\nContent-Length: 0\r\n\r\n"
    redirecting = OneAnswer(answer.encode())
    try:
        connect(redirecting.url)
        assert len(redirecting.requests) == 1
        assert not elsewhere.requests
    finally:
        redirecting.stop()


def test_a_proxy_of_the_environment_is_not_used(elsewhere: OneAnswer, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = OneAnswer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    try:
        connect(elsewhere.url)
        assert elsewhere.requests
        assert not proxy.requests
    finally:
        proxy.stop()
