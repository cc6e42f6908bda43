"""``python -m benchmarks.rounds``: margins and positions of a thousand accounts, round after round.

A stack of its own: embedded queue, both simulators with their limits on, one worker a queue, as ``up`` starts them.
Every account is logged in before, so that the workers only take up the sessions. A round is one tick of the schedule,
sent as beat sends it; it ends when every account has its two rows of that slot, or with the slot. The first round, in
which every process makes its clients, is shown and not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks import stack
from benchmarks.stack import Groups

LOOK_SECONDS = 0.5
#: Each account holds a lot of its nearest future, so that there are lines to write.
UNDERLYING = "NIFTY"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What became of one slot."""

    slot_at: datetime
    #: From the tick to the last row, in the market's time; None when none came.
    seconds: float | None
    taken: int
    late: int
    failed: int
    #: Seconds by kind of process.
    cpu: dict[str, float]
    #: Megabytes of each worker process, in the order of their start.
    resident: list[float]
    #: What the first failed row says.
    error: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000, help="half of them at each broker")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds; one more goes before them")
    parser.add_argument("--every", type=int, default=30, help="seconds between rounds, a multiple of 10")
    parser.add_argument("--lines", type=int, default=1, help="positions of each account, 0 or 1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcube-rounds-") as folder:
        stack.settle(folder)
        with stack.installation(Path(folder), unlimited=False) as others:
            prepare(options.accounts, options.every, options.lines)
            with workers(Path(folder)) as groups:
                reset_counters()
                rounds = list(run(options, groups | others))
                report(rounds, options, most_calls())


def prepare(accounts: int, every: int, lines: int) -> None:
    """Accounts with credentials, sessions and a position each, read at one cadence and nothing else; instruments."""
    from brokers import instruments, sessions
    from brokers.clock import configured_clock
    from brokers.discovery import specs
    from brokers.models import BrokerAccount, SnapshotCadence, SnapshotKind
    from brokers.simulator.accounts import numbered
    from credentials.models import CredentialStore

    clock, names = configured_clock(), list(specs())
    for position in range(accounts):
        broker, number = names[position % len(names)], position // len(names) + 1
        name = "default" if number == 1 else f"bench-{number:04}"
        account = BrokerAccount.objects.create(broker=broker, name=name)
        person = numbered(broker, number)
        CredentialStore.objects.create(service=broker, name=name, **person.credentials())
        for kind in SnapshotKind:
            read = kind in (SnapshotKind.MARGIN, SnapshotKind.POSITIONS)
            SnapshotCadence.objects.create(account=account, kind=kind, seconds=every if read else 0)
        sessions.ensure(account, clock=clock)
        if number == 1:
            instruments.refresh(account)
        if lines:
            future = instruments.lookup().search(f"{UNDERLYING} FUT")[0]
            held = {"exchange": "NFO", "symbol": future.symbol, "quantity": future.lot_size}
            control(
                broker,
                "POST",
                "positions",
                {"account": person.user_id, "product": "NRML", "price": "26000", **held},
            )


@contextmanager
def workers(home: Path) -> Iterator[Groups]:
    """A worker of every queue, as ``up`` starts them."""
    from mcube import processes
    from mcube.celery import WORKER_SLOTS

    with ExitStack() as running:
        pools = {
            queue: running.enter_context(stack.process(processes.worker(queue), home / f"{queue}.log"))
            for queue in processes.queues()
        }
        for queue, pool in pools.items():
            stack.until(lambda pool=pool: len(pool.children()) == WORKER_SLOTS, f"the start of {queue}'s worker")  # type: ignore[misc]
        database = stack.postgres_processes() if os.environ.get("DATABASE_URL", "").startswith("postgres") else []
        kinds = {f"worker {queue}": pool.children() for queue, pool in pools.items()}
        # What reads the queue and hands on.
        yield {**kinds, "workers' parents": list(pools.values()), "database": database}


def run(options: argparse.Namespace, groups: Groups) -> Iterator[Round]:
    """The rounds, the first of them to warm up."""
    for number in range(options.rounds + 1):
        one = one_round(options.accounts, timedelta(seconds=options.every), groups)
        yield one
        print(line(number, one, options.accounts), flush=True)


def one_round(accounts: int, every: timedelta, groups: Groups) -> Round:
    from django.db.models import Max

    from brokers.clock import configured_clock
    from brokers.models import MarginSnapshot, PositionSnapshot
    from tasks.snapshots import schedule
    from tasks.ticks import floor

    clock = configured_clock()
    slot_at = floor(clock.now(), every) + every
    time.sleep((slot_at - clock.now()).total_seconds())
    # The slot alone has no index, and looking must not cost more each round.
    tables: list[Any] = [
        model._default_manager.filter(
            slot_at=slot_at, pk__gt=model._default_manager.aggregate(last=Max("pk"))["last"] or 0
        )
        for model in (MarginSnapshot, PositionSnapshot)
    ]
    with stack.counted(groups, children=False) as cpu:
        schedule.apply_async(kwargs={"slot_at": slot_at.isoformat(), "cadence_seconds": 10}, expires=9)
        # A second before the next slot, at which the next tick is due.
        while clock.now() < slot_at + every - timedelta(seconds=1):
            if sum(rows.filter(status="OK").count() for rows in tables) == 2 * accounts:
                break
            time.sleep(LOOK_SECONDS)
    rows = [row for table in tables for row in table.values_list("status", "is_late", "created_at", "error")]
    return Round(
        slot_at=slot_at,
        seconds=max(((made - slot_at).total_seconds() for _, _, made, _ in rows), default=None),
        taken=sum(status == "OK" for status, *_ in rows),
        late=sum(is_late for _, is_late, *_ in rows),
        failed=sum(status == "FAILED" for status, *_ in rows),
        cpu=cpu,
        resident=resident(groups),
        error=next((error for *_, error in rows if error), ""),
    )


def resident(groups: Groups) -> list[float]:
    """Megabytes of every worker process, by age; memory that processes share is counted in each."""
    members = [member for name, those in groups.items() if name.startswith("worker") for member in those]
    return [member.memory_info().rss / 1e6 for member in sorted(members, key=lambda member: member.create_time())]


def control(broker: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    from django.conf import settings

    reply = httpx.request(method, f"{settings.BROKER_URLS[broker]}/_sim/{path}", json=body, trust_env=False)
    return reply.raise_for_status().json()


def reset_counters() -> None:
    from brokers.discovery import specs

    for broker in specs():
        control(broker, "DELETE", "counters")


def most_calls() -> dict[str, dict[str, int]]:
    """By broker: the most calls that one account made in a second and in a minute, and what it may make."""
    from brokers.discovery import specs

    found = {}
    for broker, spec in specs().items():
        calls = [account["calls"] for account in control(broker, "GET", "counters").values()]
        allowed = {f"allowed in {seconds} s": limit for limit, seconds in spec.capabilities.call_limits}
        most = {name: max((each[name] for each in calls), default=0) for name in ("max_in_second", "max_in_minute")}
        found[broker] = {"calls": sum(each["total"] for each in calls), **most, **allowed}
    return found


def line(number: int, one: Round, accounts: int) -> str:
    """One round in one line; CPU in ms a reading."""
    cpu = " ".join(f"{name} {seconds / (2 * accounts) * 1000:.1f}" for name, seconds in one.cpu.items())
    seconds = "none" if one.seconds is None else f"{one.seconds:.1f} s"
    return (
        f"{number:>3} {one.slot_at:%H:%M:%S} {seconds:>7} taken {one.taken} late {one.late} failed {one.failed} "
        f"missing {2 * accounts - one.taken - one.failed}; ms a reading {sum(one.cpu.values()) / (2 * accounts) * 1000:.1f} "
        f"({cpu}); MB {sum(one.resident):.0f}, largest {max(one.resident):.0f} {one.error[:120]}"
    )


def report(rounds: list[Round], options: argparse.Namespace, calls: dict[str, dict[str, int]]) -> None:
    """Print what the counted rounds say together."""
    counted = rounds[1:] or rounds
    readings = 2 * options.accounts
    took = [one.seconds for one in counted if one.seconds is not None]
    print(f"{options.accounts} accounts, {len(counted)} rounds of {readings} readings every {options.every} s")
    print(f"seconds: median {statistics.median(took):.1f}, longest {max(took):.1f}" if took else "nothing was taken")
    missing = sum(readings - one.taken - one.failed for one in counted)
    print(
        f"taken {sum(one.taken for one in counted)}, late {sum(one.late for one in counted)}, "
        f"failed {sum(one.failed for one in counted)}, missing {missing}"
    )
    for name in counted[0].cpu:
        print(f"{name:18} {statistics.median(one.cpu[name] for one in counted) / readings * 1000:>6.1f} ms a reading")
    print(f"{'together':18} {statistics.median(sum(one.cpu.values()) for one in counted) / readings * 1000:>6.1f}")
    slopes = [_slope([one.resident[place] for one in counted]) for place in range(len(counted[0].resident))]
    print(
        f"megabytes of {len(slopes)} processes: first {sum(counted[0].resident):.0f}, last {sum(counted[-1].resident):.0f}"
    )
    print(f"megabytes a round of each: {' '.join(f'{slope:+.2f}' for slope in slopes)}")
    for broker, most in calls.items():
        print(f"{broker}: {', '.join(f'{name} {value}' for name, value in most.items())}")


def _slope(values: list[float]) -> float:
    return statistics.linear_regression(range(len(values)), values).slope if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
