"""What an order costs beside others whose outcome is not known: ``python -m benchmarks --unresolved 1000``.

The same orders are measured with the questions closed and open in turn, in one run of one stack, since the machine
may be busier a minute later. Each time they are opened they are as good as new, when their book is read most often.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from benchmarks import stack

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from benchmarks.orders import Row
    from benchmarks.stack import Groups
    from brokers.models import OrderIntent

#: Orders of one measurement, which begins with a ring for the open questions.
ORDERS = 150
#: Orders lost at a time: one that waits too long in the queue lapses, and no answer to it is lost.
BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How many orders are lost, over how many accounts, and how often one is measured without and with them."""

    count: int
    accounts: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The measurements of one broker, in pairs."""

    broker: str
    wanted: Wanted
    closed: list[Row]
    opened: list[Row]


def measure(broker: str, wanted: Wanted, home: Path, others: Groups) -> Comparison:
    """Lose the answers, then measure with them closed and open in turn."""
    from benchmarks.orders import groups_of, one_at_a_time, worker

    rows: dict[bool, list[Row]] = {False: [], True: []}
    with worker(broker, 2, home) as pool:
        groups = groups_of(pool, others)
        lose(broker, wanted)
        for number in range(wanted.pairs):
            # Whatever grows or wanders over a pair is as often on one side as on the other.
            for is_open in (False, True) if number % 2 else (True, False):
                put(broker, is_open=is_open, count=wanted.count)
                rows[is_open].append(one_at_a_time("", broker, groups, ORDERS))
        put(broker, is_open=True, count=wanted.count)
    return Comparison(broker=broker, wanted=wanted, closed=rows[False], opened=rows[True])


def lose(broker: str, wanted: Wanted) -> None:
    """Have the broker take orders of another share and give no answer."""
    from django.conf import settings

    from benchmarks.orders import place
    from brokers.models import OrderIntent

    faults = f"{settings.BROKER_URLS[broker]}/_sim/faults"
    drop = {"endpoint": "place", "kind": "drop", "when": "before", "count": 0}
    httpx.post(faults, json=drop, trust_env=False).raise_for_status()
    lost = OrderIntent.objects.filter(account__broker=broker, symbol="INFY", state="UNKNOWN")
    for number in range(wanted.count):
        place(broker, number, symbol="INFY", price=f"{1350 + number % 1000 / 10:.1f}", accounts=wanted.accounts)
        if (number + 1) % BATCH == 0 or number + 1 == wanted.count:
            stack.until(partial(_are, lost, number + 1), f"the loss of {number + 1} answers")
    httpx.delete(faults, trust_env=False).raise_for_status()


def _are(rows: QuerySet[OrderIntent], count: int) -> bool:
    return rows.count() == count


def put(broker: str, *, is_open: bool, count: int) -> None:
    """Open the questions as of now, or put them aside as orders that never left.

    :raises SystemExit: some were answered meanwhile, so that nothing was measured.
    """
    from brokers.clock import configured_clock
    from brokers.models import OrderAttempt, OrderIntent

    state, outcome = ("UNKNOWN", "UNKNOWN") if is_open else ("LAPSED", "NOT_SENT")
    now: datetime = configured_clock().now()
    lost = OrderIntent.objects.filter(account__broker=broker, symbol="INFY", state__in=["UNKNOWN", "LAPSED"])
    if lost.update(state=state, updated_at=now) != count:
        raise SystemExit(f"Some of {count} orders did not stay unresolved.")
    OrderAttempt.objects.filter(intent__in=lost).update(outcome=outcome)


def report(comparisons: list[Comparison]) -> None:
    """Print both sides, and the median of the pairs' ratios with the smallest and the largest."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="One order at a time beside unresolved ones; CPU in ms an order")
    for column in ("broker", "unresolved", "accounts", "figure", "without", "with", "ratio", "of the pairs"):
        table.add_column(column, justify="left" if column in ("broker", "figure") else "right")
    for each in comparisons:
        for figure, of in (("p50 ms", p50), ("p99 ms", p99), ("CPU", lambda row: row.cpu)):
            without, beside = [of(row) for row in each.closed], [of(row) for row in each.opened]
            ratios = [one / other for one, other in zip(beside, without, strict=True)]
            table.add_row(
                *(each.broker, f"{each.wanted.count:,}", str(each.wanted.accounts), figure),
                f"{statistics.median(without):.1f}",
                f"{statistics.median(beside):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
    Console(width=160).print(table)


def p50(row: Row) -> float:
    return statistics.median(row.latencies_ms)


def p99(row: Row) -> float:
    return statistics.quantiles(row.latencies_ms, n=100)[98]
