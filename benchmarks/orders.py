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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks import stack

ACCOUNTS = 20
LATENCY_ORDERS = 100
#: Orders between two rings for the open questions, which beat gives each second.
RING_EVERY = 25


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report."""

    what: str
    orders: int
    seconds: float
    cpu_ms: dict[str, float]
    latencies_ms: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=600, help="orders in each throughput run")
    parser.add_argument("--brokers", nargs="*", help="names; all by default")
    parser.add_argument(
        "--unresolved", type=int, default=0, help="measure one order at a time beside so many unknown ones, and no more"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcube-bench-") as folder:
        base = stack.free_ports(4)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "mcube.settings",
            "MCUBE_HOME": folder,
            "MCUBE_REDIS_PORT": str(base),
            "MCUBE_SIMULATOR_PORT": str(base + 1),
            "MCUBE_LOG_LEVEL": "WARNING",
        }
        os.environ.pop("MCUBE_REDIS_URL", None)
        rows = list(measure(Path(folder), options.orders, options.brokers, options.unresolved))
    report(rows)


def measure(home: Path, orders: int, brokers: list[str] | None, unresolved: int) -> Iterator[Row]:
    """Start the stack once, then measure broker by broker, with one and with two worker processes."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from brokers.discovery import specs
    from mcube import market_time, processes, secrets

    port = settings.ENV.redis_port
    configuration = home / "valkey.conf"
    configuration.write_text(
        processes.valkey_configuration(
            folder=home, port=port, password=secrets.redis_url(settings.ENV).split(":")[2].split("@")[0]
        )
    )
    simulator_log = home / "simulator.log"
    with ExitStack() as running:
        valkey = running.enter_context(
            stack.process(processes.valkey(configuration=configuration), home / "valkey.log")
        )
        call_command("migrate", verbosity=0)
        market_time.settle()
        simulators = running.enter_context(
            stack.process(
                (*processes.simulators(home=home, port=settings.ENV.simulator_port), "--unlimited"), simulator_log
            )
        )
        stack.until(lambda: stack.ready_line(simulator_log), "the simulators' start")
        # Ticks, lots and freeze quantities come from several masters, so that every broker is prepared.
        for broker in specs():
            prepare(broker)
        for broker in brokers or list(specs()):
            for slots in (2,) if unresolved else (1, 2):
                with worker(broker, slots, home) as pool:
                    groups = groups_of(pool, valkey, simulators)
                    if unresolved:
                        yield from beside_unresolved(broker, unresolved, groups)
                    else:
                        yield from runs(broker, slots, orders, groups)


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
        drained(broker)
        # Each process builds its clients on its first orders; that is not what an order costs.
        warm = [place(broker, number) for number in range(3 * slots * ACCOUNTS)]
        settled(warm)
        yield pool


def groups_of(
    pool: psutil.Process, valkey: psutil.Process, simulators: psutil.Process
) -> dict[str, list[psutil.Process]]:
    """The processes whose CPU is counted together."""
    return {
        "client": [psutil.Process()],
        "worker": [pool],
        "queue": [valkey],
        "database": stack.postgres_processes() if on_postgresql() else [],
        "simulators": [simulators],
    }


def runs(broker: str, slots: int, orders: int, groups: dict[str, list[psutil.Process]]) -> Iterator[Row]:
    from benchmarks.noop import noop

    name = f"{broker}, {slots} worker process{'es' if slots > 1 else ''}"
    with counted(groups) as cpu:
        started = time.perf_counter()
        for _ in range(orders):
            noop.apply_async(queue=broker)
        drained(broker)
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


def one_at_a_time(what: str, broker: str, groups: dict[str, list[psutil.Process]]) -> Row:
    """Each order is placed when the one before has its outcome; the open questions have their turns meanwhile."""
    from tasks.reconciliation import schedule

    keys: list[str] = []
    with counted(groups) as cpu:
        started = time.perf_counter()
        for number in range(LATENCY_ORDERS):
            if number % RING_EVERY == 0:
                schedule()
            keys.append(place(broker, number))
            settled(keys[-1:])
        seconds = time.perf_counter() - started
    return Row(
        what=what,
        orders=LATENCY_ORDERS,
        seconds=seconds,
        cpu_ms=per(cpu, LATENCY_ORDERS),
        latencies_ms=latencies(keys),
    )


def beside_unresolved(broker: str, count: int, groups: dict[str, list[psutil.Process]]) -> Iterator[Row]:
    """Latency without and with ``count`` orders of another share whose answer was lost."""
    from django.conf import settings

    from brokers.models import OrderIntent

    yield one_at_a_time(f"{broker}: nothing unresolved", broker, groups)
    faults = f"{settings.BROKER_URLS[broker]}/_sim/faults"
    drop = {"endpoint": "place", "kind": "drop", "when": "before", "count": 0}
    httpx.post(faults, json=drop, trust_env=False).raise_for_status()
    for number in range(count):
        place(broker, number, symbol="INFY", price=f"{1350 + number % 1000 / 10:.1f}")
    unknown = OrderIntent.objects.filter(account__broker=broker, symbol="INFY", state="UNKNOWN")
    stack.until(lambda: unknown.count() == count, f"the loss of {count} answers", seconds=count * 0.2 + 60)
    httpx.delete(faults, trust_env=False).raise_for_status()
    row = one_at_a_time(f"{broker}: {count:,} unresolved", broker, groups)
    if unknown.count() < count:
        raise SystemExit(f"Only {unknown.count()} of {count} orders were unresolved to the end.")
    yield row


def place(broker: str, number: int, *, symbol: str = "RELIANCE", price: str = "") -> str:
    """Enqueue one limit order on the next account; returns its client order id."""
    from tasks.orders import place_order

    account = number % ACCOUNTS + 1
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


def drained(queue: str) -> None:
    """Wait until a queue is empty."""
    import redis
    from django.conf import settings

    client = redis.Redis.from_url(settings.REDIS_URL)
    stack.until(lambda: not any(client.llen(key) for key in client.keys(f"{queue}*")), f"the emptying of queue {queue}")


def on_postgresql() -> bool:
    from django.db import connection

    return connection.vendor == "postgresql"


@contextmanager
def counted(groups: dict[str, list[psutil.Process]]) -> Iterator[dict[str, float]]:
    """CPU seconds of each group over the block."""
    before = {name: stack.cpu_seconds(*members) for name, members in groups.items()}
    used: dict[str, float] = {}
    yield used
    # A child of this process is in another group already.
    used |= {name: stack.cpu_seconds(*members) - before[name] for name, members in groups.items()}
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
        ours = sum(ms for name, ms in row.cpu_ms.items() if name != "simulators")
        quantiles = statistics.quantiles(row.latencies_ms, n=100) if len(row.latencies_ms) > 1 else None
        table.add_row(
            row.what,
            f"{row.orders / row.seconds:.0f}",
            f"{quantiles[49]:.1f}" if quantiles else "",
            f"{quantiles[98]:.1f}" if quantiles else "",
            f"{ours:.1f}",
            *(f"{row.cpu_ms[name]:.1f}" for name in ("client", "worker", "queue", "database", "simulators")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
