"""Fixtures of the acceptance tests: real processes, ended by process id."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from brokers.discovery import specs
from tests.support.processes import Child, Valkey, wait_for
from tests.support.queue_marks import Marks, WorkerOn
from tests.support.stack import Stack, running_stack

_numbers = count(1)
#: The simulator's numbers of the accounts that tests open; installations keep the first for themselves.
_accounts = count(1001)
#: Of all orders of the run.
_prices: set[Decimal] = set()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "queue")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture
def worker_on(server: Valkey, tmp_path: Path) -> Iterator[WorkerOn]:
    started: list[Child] = []

    def start(transport: str, slots: int = 2) -> Child:
        worker = Child(
            "worker",
            [
                *(sys.executable, "-m", "celery", "-A", "tests.support.queue_app", "worker"),
                *("--concurrency", str(slots), "--without-gossip", "--without-mingle"),
            ],
            log=tmp_path / "worker.log",
            environment={
                "QUEUE_URL": server.url,
                "QUEUE_FOLDER": str(tmp_path),
                "QUEUE_TRANSPORT": transport,
                "MCUBE_HOME": str(tmp_path / "home"),
            },
        )
        worker.start()
        started.append(worker)
        wait_for(lambda: "ready." in worker.read_log(), "the worker to be ready")
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def producer(server: Valkey) -> Celery:
    return Celery("producer", broker=server.url, set_as_current=False)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation with simulators, workers and today's instruments; beat and Flower are the tests' to start."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start_workers()
        for broker in specs():
            stack.do("send", task="tasks.instruments.refresh_instruments", broker=broker)
        for broker in specs():
            wait_for(lambda broker=broker: stack.do("instrument_count", broker=broker), f"the instruments of {broker}")  # type: ignore[misc]
        yield stack


@pytest.fixture
def no_faults(stack: Stack) -> Iterator[None]:
    """The brokers behave again after the test."""
    yield
    for face in range(len(specs())):
        stack.control(face, "DELETE", "faults")


@pytest.fixture
def own_account(stack: Stack) -> str:
    """The name of an account of each broker that no other test uses: it has all of its calls, and nothing open."""
    number = next(_accounts)
    for broker in specs():
        stack.do("open_account", broker=broker, name=f"test-{number}", number=number)
    return f"test-{number}"


@pytest.fixture
def an_order(stack: Stack, own_account: str, request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """Makes orders that rest at the exchange, each with an id of its own, on the test's own accounts."""
    future = stack.future("NIFTY")
    symbol, tick = future["symbol"], Decimal(future["tick_size"])

    def make(broker: str, **changes: Any) -> dict[str, Any]:
        number = next(_numbers)
        key = f"{request.node.name[:50]}-{number}"
        price = Decimal(stack.do("resting_price", broker=broker, account=own_account, symbol=symbol))
        # No two look alike, however the market moves: a test knows its order at the exchange by the price.
        while price in _prices:
            price -= tick
        _prices.add(price)
        return {
            "broker": broker,
            "account": own_account,
            "symbol": symbol,
            "action": "B",
            "quantity": future["lot_size"],
            "order_type": "LIMIT",
            "price": str(price),
            "client_order_id": key,
        } | changes

    return make
