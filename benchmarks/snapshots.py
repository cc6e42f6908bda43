"""``python -m benchmarks.snapshots``: what a year of snapshots weighs, and how long the usual questions take.

Ten accounts, margins, positions of four lines and order books every 10 s of trading, thinned as by default: a week whole,
one a minute to the 90th day, one a day to the 365th. Made in an SQLite file of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ACCOUNTS, LINES = 10, 4
LAST = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)  # a Friday's close
OPEN_SECONDS = 375 * 60
#: Age in days up to which there is a slot every so many seconds.
KEPT = ((7, 10), (90, 60), (365, OPEN_SECONDS))
MONEY = "1234567.25"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"MCUBE_HOME": home, "DJANGO_SETTINGS_MODULE": "mcube.settings", "DATABASE_URL": ""}
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        fill()
        report(Path(home))


def slots() -> Iterator[datetime]:
    """The slots that are left, oldest first."""
    for age in range(365, -1, -1):
        close = LAST - timedelta(days=age)
        if close.weekday() < 5:
            step = next(step for days, step in KEPT if age <= days)
            yield from (close - timedelta(seconds=back) for back in range(OPEN_SECONDS, 0, -step))


def fill() -> None:
    from django.db import connection, transaction

    from brokers.discovery import specs
    from brokers.models import BrokerAccount, MarginSnapshot, OrderBookSnapshot, PositionLine, PositionSnapshot

    accounts = [
        BrokerAccount.objects.create(broker=next(iter(specs())), name=f"account-{number}") for number in range(ACCOUNTS)
    ]
    keys = [(account.pk, slot) for slot in slots() for account in accounts]
    common = {"status": "OK", "error": "", "cadence_seconds": 10, "is_late": False}
    money = dict.fromkeys(("available", "used", "total", "cash", "collateral"), MONEY)
    details = '{"allocated": "1234567.25", "blocked": "250000.00", "unallocated": "984567.25", "bank": "1500000.00"}'

    def rows(**more: Any) -> Iterator[dict[str, Any]]:
        for number, (account, slot) in enumerate(keys, 1):
            text = slot.strftime("%Y-%m-%d %H:%M:%S")
            yield {
                "id": number,
                "account_id": account,
                "slot_at": text,
                "taken_at": text,
                "created_at": text,
                **common,
                **more,
            }

    def lines() -> Iterator[dict[str, Any]]:
        fixed = {"exchange": "NFO", "product": "NRML", "underlying": "NIFTY", "expiry": "2026-12-29", "strike": "26000"}
        counted = {"right": "CE", "quantity": -75, "buy_quantity": 0, "sell_quantity": 75, "buy_amount": 0}
        priced = {"sell_amount": "8426.25", "average_price": "112.35", "last_price": "120.4", "pnl": "-603.75"}
        for number in range(1, len(keys) + 1):
            for line in range(LINES):
                yield {
                    "snapshot_id": number,
                    "symbol": f"NIFTY26DEC{26000 + 50 * line}CE",
                    **fixed,
                    **counted,
                    **priced,
                }

    with transaction.atomic(), connection.cursor() as cursor:
        for model, made in (
            (MarginSnapshot, rows(**money, details=details)),
            (PositionSnapshot, rows(pnl="-1875.25")),
            (OrderBookSnapshot, rows(orders=12)),
            (PositionLine, lines()),
        ):
            names = list(first := next(made))
            columns = ", ".join(f'"{name}"' for name in names)
            statement = f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({', '.join(['%s'] * len(names))})"
            cursor.execute(statement, list(first.values()))
            # SQLite takes any iterable; a list would be a gigabyte.
            cursor.executemany(statement, (list(row.values()) for row in made))  # type: ignore[arg-type]
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def report(home: Path) -> None:
    from brokers import slots as day
    from brokers.clock import SystemClock
    from brokers.models import BrokerAccount, MarginSnapshot, OrderBookSnapshot, PositionLine, PositionSnapshot

    for model in (MarginSnapshot, PositionSnapshot, PositionLine, OrderBookSnapshot):
        print(f"{model.__name__:20} {model._default_manager.count():>10,} rows")
    size = sum(file.stat().st_size for file in home.rglob("*.sqlite3*"))
    print(f"{'database':20} {size / 1e6:>10,.0f} MB")
    account, friday = BrokerAccount.objects.get(name="account-5"), LAST.date()
    positions = PositionSnapshot.objects.filter(account=account)
    questions: dict[str, Callable[[], Any]] = {
        "newest of an account": lambda: positions.order_by("-slot_at").first(),
        "a whole day's curve": lambda: day.day_curve(account, friday),
        "a thinned day's curve": lambda: day.day_curve(account, date(2026, 10, 15)),
        "a day's slots and gaps": lambda: day.slots_of_day(account, friday, SystemClock()),
        "newest page of a list": lambda: list(MarginSnapshot.objects.order_by("-id")[:51]),
        "page of what failed": lambda: list(MarginSnapshot.objects.filter(status="FAILED").order_by("-id")[:51]),
        "page of what was late": lambda: list(MarginSnapshot.objects.filter(is_late=True).order_by("-id")[:51]),
    }
    for name, ask in questions.items():
        print(f"{name:24} {1000 * statistics.median(_seconds(ask) for _ in range(5)):>8.1f} ms")


def _seconds(ask: Callable[[], Any]) -> float:
    """Of the processor's time, since the machine may be busy."""
    before = time.process_time()
    ask()
    return time.process_time() - before


if __name__ == "__main__":
    main()
