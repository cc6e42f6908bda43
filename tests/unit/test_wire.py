"""The wire: total deadlines, no redirects, no retries, and evidence of what left."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import httpx
import pytest

from brokers.domain.errors import NotSent
from brokers.wire import HostRefused, Wire

Handle = Callable[[socket.socket, bytes], object]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    real_now = now

    def monotonic(self) -> float:
        return time.monotonic()


@contextmanager
def server(handle: Handle) -> Iterator[tuple[int, list[bytes]]]:
    """A raw server; ``handle(connection, request)`` answers each connection's first request."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        chunk = connection.recv(65536)
                        if not chunk:
                            break
                        data += chunk
                    requests.append(data)
                    with suppress(OSError):
                        handle(connection, data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire(clock=WallClock(), allowed_hosts=frozenset({"127.0.0.1"}))
    yield wire
    wire.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_reply_comes_with_its_evidence(wire: Wire) -> None:
    with server(lambda connection, _: connection.sendall(OK)) as (port, _), wire.call() as trace:
        reply = wire.request("POST", f"http://127.0.0.1:{port}/order?secret=1", {"a": "b"}, b"{}")
    assert (reply.status, reply.body) == (200, b"{}")
    assert trace.last is not None
    evidence = trace.last.evidence()
    assert evidence.left_this_machine
    assert evidence.http_status == 200
    assert evidence.target == "127.0.0.1/order"
    assert len(evidence.body_sha256) == 64


def test_a_refused_connection_proves_that_nothing_left(wire: Wire) -> None:
    with wire.call() as trace, pytest.raises(httpx.ConnectError):
        wire.request("POST", f"http://127.0.0.1:{closed_port()}/order", {}, b"x")
    assert not trace.left_this_machine


def test_a_dropped_connection_may_have_arrived(wire: Wire) -> None:
    with server(lambda connection, _: None) as (port, requests), wire.call() as trace:
        with pytest.raises(httpx.TransportError):
            wire.request("POST", f"http://127.0.0.1:{port}/order", {}, b"x")
        assert len(requests) == 1
    assert trace.left_this_machine


def test_a_dripping_reply_cannot_outlast_the_total_deadline(wire: Wire) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"x")

    with server(drip) as (port, _), wire.call(total_seconds=0.5) as trace:
        started = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            wire.request("GET", f"http://127.0.0.1:{port}/")
        stop.set()
    assert time.monotonic() - started < 2
    assert trace.left_this_machine


def test_a_redirect_is_an_answer_and_is_not_followed(wire: Wire) -> None:
    def redirect(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 307 Temporary\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    with server(redirect) as (port, requests):
        assert wire.request("POST", f"http://127.0.0.1:{port}/order", {}, b"x").status == 307
        assert len(requests) == 1


def test_a_server_error_is_not_sent_again(wire: Wire) -> None:
    def fail(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with server(fail) as (port, requests):
        assert wire.request("POST", f"http://127.0.0.1:{port}/order", {}, b"x").status == 503
        assert len(requests) == 1


def test_the_last_gate_stops_a_request_before_its_first_byte(wire: Wire) -> None:
    def gate() -> None:
        raise NotSent("The kill switch is on.")

    with server(lambda connection, _: connection.sendall(OK)) as (port, requests):
        with wire.call(before_first_byte=gate) as trace, pytest.raises(NotSent):
            wire.request("POST", f"http://127.0.0.1:{port}/order", {}, b"x")
        assert not trace.left_this_machine
    assert not any(b"POST" in request for request in requests)


def test_a_host_that_is_not_listed_is_refused() -> None:
    wire = Wire(clock=WallClock(), allowed_hosts=frozenset({"api.example.in"}), allowed_suffixes=(".broker.example",))
    with pytest.raises(HostRefused), wire.call():
        wire.request("GET", "http://evil.example/")
    with pytest.raises(HostRefused), wire.call():
        wire.request("GET", "http://notbroker.example/")


def test_a_route_sends_a_broker_s_host_to_loopback() -> None:
    with server(lambda connection, _: connection.sendall(OK)) as (port, requests):
        wire = Wire(
            clock=WallClock(),
            allowed_hosts=frozenset({"127.0.0.1"}),
            routes={"api.broker.example": f"http://127.0.0.1:{port}"},
        )
        assert wire.request("GET", "https://api.broker.example/x").status == 200
        assert requests[0].startswith(b"GET /x HTTP/1.1")
        wire.close()


def test_an_interruption_that_an_sdk_swallowed_is_raised_again(wire: Wire) -> None:
    class TimeLimit(Exception):
        pass

    def gate() -> None:
        raise TimeLimit

    with server(lambda connection, _: connection.sendall(OK)) as (port, _), wire.call(before_first_byte=gate) as trace:
        with pytest.raises(TimeLimit):
            wire.request("POST", f"http://127.0.0.1:{port}/", {}, b"x")
        with pytest.raises(TimeLimit):
            trace.raise_interruption()


def test_network_errors_are_no_interruption(wire: Wire) -> None:
    with wire.call() as trace:
        with pytest.raises(httpx.ConnectError):
            wire.request("GET", f"http://127.0.0.1:{closed_port()}/")
        trace.raise_interruption()


def test_an_httpx_client_over_the_wire_leaves_the_same_evidence(wire: Wire) -> None:
    with server(lambda connection, _: connection.sendall(OK)) as (port, _), wire.call() as trace:
        client = httpx.Client(transport=wire.transport())
        assert client.post(f"http://127.0.0.1:{port}/order", data={"a": "1"}).json() == {}
    assert trace.last is not None
    assert trace.last.http_status == 200
