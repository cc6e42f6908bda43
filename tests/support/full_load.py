"""Loads real masters in a process of its own and prints what it cost: ``python -m tests.support.full_load DATA``.

The process is new, so that its memory is this load's alone. DATABASE_URL and MCUBE_HOME say where it loads.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

DAY = date(2026, 7, 30)


def breeze(data: Path) -> Iterator[Any]:
    from brokers.adapters.breeze import master

    yield from master.read((data / "breeze" / "SecurityMaster-2026-07-30.zip").read_bytes())


def kotakneo(data: Path) -> Iterator[Any]:
    from brokers.adapters.kotakneo import master

    folder = data / "kotak-neo"
    for segment, file in (
        ("nse_fo", folder / "reconstructed" / "nse_fo-2026-07-30.RECONSTRUCTED.csv.gz"),
        ("nse_cm", folder / "nse_cm-2025-12-29.csv.gz"),
    ):
        yield from master.parse(gzip.decompress(file.read_bytes()), segment, today=DAY)


def main(data: Path) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command

    from brokers.models import InstrumentListing, InstrumentMaster, InstrumentRecord

    call_command("migrate", verbosity=0)
    cost = _load(data)
    cost["rows"] = sum(InstrumentMaster.objects.values_list("row_count", flat=True))
    cost["records"] = InstrumentRecord.objects.count()
    cost["merged"] = InstrumentListing.objects.count() - cost["records"]
    return cost | _look_up() | _searches() | _symbols()


def _load(data: Path) -> dict[str, Any]:
    from brokers import instruments
    from brokers.models import BrokerAccount
    from tests.support.masters import MarketClock, reading

    wall, cpu, yardstick = 0.0, 0.0, _yardstick()
    for broker, rows in (("breeze", breeze), ("kotakneo", kotakneo)):
        adapter = reading(lambda rows=rows: rows(data))  # type: ignore[misc]
        began, cpu_began = time.perf_counter(), time.process_time()
        instruments.refresh(BrokerAccount(broker=broker), adapter=adapter, clock=MarketClock(DAY))
        wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - cpu_began
        yardstick += _yardstick()
    return {"seconds": wall, "cpu_seconds": cpu, "yardstick_seconds": yardstick / 3, "peak_mb": _peak_mb()}


def _yardstick() -> float:
    """Processor seconds of work that stays the same: what this machine is worth at this moment."""
    began = time.process_time()
    for number in range(200_000):
        json.loads(json.dumps({"strike": str(Decimal(number) / 20), "expiry": DAY.isoformat()}))
    return time.process_time() - began


def _peak_mb() -> float:
    """This program's own peak; Linux's ru_maxrss starts at the size of the process that forked it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


def _look_up() -> dict[str, float]:
    """Milliseconds of one look-up that the process has not made before, and of one that it has."""
    from brokers.domain.enums import Exchange
    from brokers.instruments import InstrumentStore
    from brokers.models import InstrumentListing

    listed = list(InstrumentListing.objects.select_related("instrument").order_by("broker", "key")[::250])
    names = [(row.instrument.symbol, Exchange(row.instrument.exchange)) for row in listed]
    names = [name for name in names if name[1].is_derivative]
    stores = [InstrumentStore() for _ in range(3)]
    known = [stores[0]] * 3
    return {
        "resolve_ms": _median_ms(lambda store, name: store.resolve(*name), stores, names),
        "find_ms": _median_ms(lambda store, row: store.find(row.broker, row.key), stores, listed),
        "again_ms": _median_ms(lambda store, name: store.resolve(*name), known, names),
    }


def _searches() -> dict[str, float]:
    """Milliseconds of searches of every shape over the whole edition; how many do not find what they describe.

    Of the processor's time, as the machine's other work slows the wall's clock; SQLite's work is part of it.
    """
    from brokers.instruments import InstrumentStore
    from brokers.models import InstrumentRecord

    store = InstrumentStore()
    started = time.perf_counter()
    store.search("NIFTY")
    first = time.perf_counter() - started
    slow: list[tuple[float, str]] = []
    missed: list[str] = []
    for text, symbol in _questions(list(InstrumentRecord.objects.order_by("pk")[::900])):
        tries = []
        for _ in range(3):  # the best of them, since the machine has other work
            began = time.process_time()
            found = store.search(text)
            tries.append(time.process_time() - began)
        slow.append((min(tries) * 1000, text))
        if symbol and symbol not in [each.symbol for each in found]:
            missed.append(f"{text} -> {symbol}")
    slow.sort()
    sys.stdout.write(f"the slowest searches: {slow[-5:]}; missed: {missed[:10]}\n")
    return {
        "searches": len(slow),
        "search_first_ms": first * 1000,
        "search_p50_ms": slow[len(slow) // 2][0],
        "search_p99_ms": slow[int(len(slow) * 0.99)][0],
        "search_missed": len(missed),
    }


def _questions(records: list[Any]) -> Iterator[tuple[str, str]]:
    """What a trader may type, and the symbol that must be on the first page; none where many fit as well."""
    for row in records:
        yield row.symbol, row.symbol
        yield row.symbol[: len(row.symbol) * 2 // 3], ""
        yield row.underlying.lower(), ""
        yield " ".join(row.name.split()[:2]), ""
        yield f"zz{row.symbol[1:4]}", ""
        if row.expiry is None:
            continue
        month, kind = f"{row.expiry:%b}", row.right or "FUT"
        yield f"{row.underlying} {row.expiry:%d} {month} {kind}", ""
        yield f"{row.underlying} {month} {kind}", ""
        yield f"{month} {kind}", ""
        if row.strike is not None:
            strike = f"{row.strike.normalize():f}"
            yield f"{row.underlying} {strike} {row.right}", ""
            yield f"{row.underlying} {row.expiry:%d %b %Y} {strike} {row.right}", row.symbol
            yield f"{strike} {row.right}", ""
    yield "reliance ind", "RELIANCE"
    yield "nifty", "NIFTY"
    for text in (
        "a",
        "ltd",
        "e e e",
        "26",
        "ce",
        "nov",
        "fut",
        "limited india",
        "%",
        "bank nov fut",
        "x" * 500,
        "1 2 3",
    ):
        yield text, ""


def _median_ms(question: Callable[[Any, Any], object], stores: list[Any], asked: list[Any]) -> float:
    """The median over the questions; of each question the best of its tries, since the machine has other work."""
    best = []
    for each in asked:
        tries = []
        for store in stores:
            started = time.perf_counter()
            assert question(store, each) is not None
            tries.append(time.perf_counter() - started)
        best.append(min(tries))
    return statistics.median(best) * 1000


def _symbols() -> dict[str, int]:
    """How many of the exchange's own symbols the convention builds alike."""
    from brokers.domain.enums import OptionRight
    from brokers.instruments.symbols import derivative_symbol, monthly_expiries
    from brokers.models import InstrumentRecord

    listed = InstrumentRecord.objects.filter(exchange="NFO", listings__broker="kotakneo").values_list(
        "symbol", "underlying", "expiry", "strike", "right"
    )
    rows = [(symbol, name, expiry, strike, right) for symbol, name, expiry, strike, right in listed if expiry]
    expiries: dict[str, set[date]] = {}
    for _, underlying, expiry, _, _ in rows:
        expiries.setdefault(underlying, set()).add(expiry)
    monthly = {underlying: monthly_expiries(days) for underlying, days in expiries.items()}
    wrong = sum(
        symbol
        != derivative_symbol(
            underlying,
            expiry,
            is_monthly=expiry in monthly[underlying],
            strike=strike,
            right=OptionRight(right) if right else None,
        )
        for symbol, underlying, expiry, strike, right in rows
    )
    return {"symbols": len(rows), "symbols_built_otherwise": wrong}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
