"""What an order costs: CPU of all processes from enqueue to accepted, latency, and orders a second.

    make bench

Prints; does not fail on time. Every broker is the simulated exchange, spoken to by the real SDK over
loopback; its CPU is listed apart. A bare Celery task on the same queue, machine and run stands beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import stack, unresolved
from benchmarks.stack import Groups

#: The groups that all brokers share.
Others = Groups

ACCOUNTS = 20
LATENCY_ORDERS = 100
#: Orders between two rings for the open questions: as many as one client places in the three seconds between beat's
#: where an order takes 20 ms. By orders and not by the clock, since a busy machine slows orders and not the clock.
RING_EVERY = 150


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report."""

    what: str
    orders: int
    seconds: float
    cpu_ms: dict[str, float]
    latencies_ms: list[float]

    @property
    def cpu(self) -> float:
        """Milliseconds an order of all that is ours."""
        return sum(ms for name, ms in self.cpu_ms.items() if name != "simulators")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=600, help="orders in each throughput run")
    parser.add_argument("--brokers", nargs="*", help="names; all by default")
    parser.add_argument(
        "--unresolved", type=int, default=0, help="measure one order at a time beside so many unknown ones, and no more"
    )
    parser.add_argument("--spread", type=int, default=ACCOUNTS, help="accounts that the unknown ones are spread over")
    parser.add_argument("--pairs", type=int, default=6, help="how often one is measured without and with them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcube-bench-") as folder:
        stack.settle(folder)
        # What is lost stays open to the end.
        os.environ["MCUBE_VISIBILITY_SECONDS"] = "900"
        if options.unresolved:
            wanted = unresolved.Wanted(count=options.unresolved, accounts=options.spread, pairs=options.pairs)
            with brokers_of(Path(folder), options.brokers) as (names, others):
                unresolved.report([unresolved.measure(name, wanted, Path(folder), others) for name in names])
        else:
            with brokers_of(Path(folder), options.brokers) as (names, others):
                report([row for name in names for row in measure(name, options.orders, Path(folder), others)])


@contextmanager
def brokers_of(home: Path, wanted: list[str] | None) -> Iterator[tuple[list[str], Others]]:
    """A stack without workers; the names of the brokers to measure, and its processes."""
    with stack.installation(home, unlimited=True) as others:
        from brokers.discovery import specs

        # Ticks, lots and freeze quantities come from several masters, so that every broker is prepared.
        for broker in specs():
            prepare(broker)
        yield wanted or list(specs()), others


def measure(broker: str, orders: int, home: Path, others: Others) -> Iterator[Row]:
    """One broker, with one and with two worker processes."""
    for slots in (1, 2):
        with worker(broker, slots, home) as pool:
            yield from runs(broker, slots, orders, groups_of(pool, others))


def prepare(broker: str) -> None:
    """Accounts with credentials and sessions, and today's instruments."""
    from brokers import instruments, sessions
    from brokers.clock import configured_clock
    from brokers.models import BrokerAccount
    from brokers.simulator.accounts import numbered
    from credentials.models import CredentialStore

    for number in range(1, ACCOUNTS + 1):
        name = "default" if number == 1 else f"bench-{number}"
        account, _ = BrokerAccount.objects.get_or_create(broker=broker, name=name)
        CredentialStore.objects.get_or_create(
            service=broker, name=name, defaults=numbered(broker, number).credentials()
        )
        sessions.ensure(account, clock=configured_clock())
        if number == 1:
            instruments.refresh(account)


@contextmanager
def worker(broker: str, slots: int, home: Path) -> Iterator[psutil.Process]:
    """One worker of the broker's queue, warm."""
    from benchmarks.noop import noop
    from mcube import processes

    options = ("--concurrency", str(slots), "--include", "benchmarks.noop", "--loglevel", "WARNING")
    with stack.process((*processes.worker(broker), *options), home / f"{broker}.log") as pool:
        stack.until(lambda: len(pool.children(recursive=True)) == slots, "the worker's start")
        noop.apply_async(queue=broker)
        stack.drained(broker)
        # Each process builds its clients on its first orders; that is not what an order costs.
        warm = [place(broker, number) for number in range(3 * slots * ACCOUNTS)]
        settled(warm)
        yield pool


def groups_of(pool: psutil.Process, others: Others) -> Groups:
    """The processes whose CPU is counted together."""
    database = stack.postgres_processes() if on_postgresql() else []
    return {"client": [psutil.Process()], "worker": [pool], "database": database, **others}


def runs(broker: str, slots: int, orders: int, groups: Groups) -> Iterator[Row]:
    from benchmarks.noop import noop

    name = f"{broker}, {slots} worker process{'es' if slots > 1 else ''}"
    with counted(groups) as cpu:
        started = time.perf_counter()
        for _ in range(orders):
            noop.apply_async(queue=broker)
        stack.drained(broker)
        seconds = time.perf_counter() - started
    yield Row(what=f"{name}: bare task", orders=orders, seconds=seconds, cpu_ms=per(cpu, orders), latencies_ms=[])

    yield one_at_a_time(f"{name}: one client, one order at a time", broker, groups)

    with counted(groups) as cpu:
        started = time.perf_counter()
        keys = [place(broker, number) for number in range(orders)]
        settled(keys)
        seconds = time.perf_counter() - started
    yield Row(
        what=f"{name}: all at once",
        orders=orders,
        seconds=seconds,
        cpu_ms=per(cpu, orders),
        latencies_ms=latencies(keys),
    )


def one_at_a_time(what: str, broker: str, groups: Groups, orders: int = LATENCY_ORDERS) -> Row:
    """Each order is placed when the one before has its outcome; the open questions have their turns meanwhile."""
    from tasks.reconciliation import schedule

    keys: list[str] = []
    with counted(groups) as cpu:
        started = time.perf_counter()
        for number in range(orders):
            if number % RING_EVERY == 0:
                schedule()
            keys.append(place(broker, number))
            settled(keys[-1:])
        seconds = time.perf_counter() - started
    return Row(what=what, orders=orders, seconds=seconds, cpu_ms=per(cpu, orders), latencies_ms=latencies(keys))


def place(broker: str, number: int, *, symbol: str = "RELIANCE", price: str = "", accounts: int = ACCOUNTS) -> str:
    """Enqueue one limit order on the next account; returns its client order id."""
    from tasks.orders import place_order

    account = number % accounts + 1
    key = uuid.uuid4().hex
    place_order.delay(
        broker=broker,
        account="default" if account == 1 else f"bench-{account}",
        symbol=symbol,
        action="B",
        quantity=1,
        order_type="LIMIT",
        # A price of its own keeps orders apart at a broker that echoes no tag.
        price=price or f"{1270 + number % 900 / 10:.1f}",
        client_order_id=key,
    )
    return key


def settled(keys: list[str]) -> None:
    """Wait until every order has an outcome.

    :raises SystemExit: not all were accepted.
    """
    from brokers.models import OrderIntent

    mine = OrderIntent.objects.filter(client_order_id__in=keys)
    deadline = time.monotonic() + 120
    while mine.filter(state__in=["READY", "ARMED"]).exists():
        if time.monotonic() > deadline:
            break
        time.sleep(0.002 if len(keys) == 1 else 0.05)
    wrong = mine.exclude(state__in=["WORKING", "FILLED", "CANCELLED"])
    if first := wrong.first():
        raise SystemExit(
            f"{wrong.count()} orders were not accepted; the first is {first.state}: {first.closed_reason or first.waiting_reason}"
        )


def latencies(keys: list[str]) -> list[float]:
    """Milliseconds from recording to the written outcome, order by order."""
    from brokers.models import OrderEvent

    events = OrderEvent.objects.filter(intent__client_order_id__in=keys, to_state="WORKING").values_list(
        "at", "intent__created_at"
    )
    return [(at - created).total_seconds() * 1000 for at, created in events]


def on_postgresql() -> bool:
    from django.db import connection

    return connection.vendor == "postgresql"


@contextmanager
def counted(groups: Groups) -> Iterator[dict[str, float]]:
    """CPU seconds of each group over the block."""
    with stack.counted(groups) as used:
        yield used
    # A child of this process is in another group already.
    used["client"] -= sum(used[name] for name in ("worker", "queue", "simulators"))


def per(cpu: dict[str, float], orders: int) -> dict[str, float]:
    return {name: seconds / orders * 1000 for name, seconds in cpu.items()}


def report(rows: list[Row]) -> None:
    """Print the table."""
    from django.db import connection
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{ACCOUNTS} accounts a broker, database {connection.vendor}, CPU in ms an order")
    for column in ("run", "orders/s", "p50 ms", "p99 ms", "CPU", "client", "worker", "queue", "database", "simulators"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in rows:
        quantiles = statistics.quantiles(row.latencies_ms, n=100) if len(row.latencies_ms) > 1 else None
        table.add_row(
            row.what,
            f"{row.orders / row.seconds:.0f}",
            f"{quantiles[49]:.1f}" if quantiles else "",
            f"{quantiles[98]:.1f}" if quantiles else "",
            f"{row.cpu:.1f}",
            *(f"{row.cpu_ms[name]:.1f}" for name in ("client", "worker", "queue", "database", "simulators")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
