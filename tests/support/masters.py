"""Synthetic master rows, and an adapter that only reads a master."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

from brokers.adapter_interface import BrokerAdapter, MasterProblem, MasterRow
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.instruments.merging import Master
from brokers.instruments.rows import pack, unpack

DAY = date(2026, 11, 23)
MONTHLY = date(2026, 11, 24)
WEEKLY = date(2026, 12, 1)
NEXT_MONTHLY = date(2026, 12, 29)

Rows = Sequence[MasterRow | MasterProblem]


def share(symbol: str = "TESTCO", **changes: Any) -> MasterRow:
    """A share of NSE's main series."""
    values: dict[str, Any] = {
        "exchange": Exchange.NSE,
        "kind": InstrumentKind.EQUITY,
        "token": "1001",
        "symbol": symbol,
        "underlying": symbol,
        "lot_size": 1,
        "tick_size": Decimal("0.10"),
        "freeze_quantity": 50_000,
        "series": "EQ",
        "name": "TEST COMPANY LIMITED",
        "key": f"NSE|{symbol}",
        "identifiers": {"code": symbol},
    }
    return MasterRow(**values | changes)


def option(symbol: str = "", *, strike: int | str | None = 24000, **changes: Any) -> MasterRow:
    """An option of the synthetic index; without a symbol as a broker lists it that has none."""
    values: dict[str, Any] = {
        "exchange": Exchange.NFO,
        "kind": InstrumentKind.OPTION,
        "token": "50001",
        "symbol": symbol,
        "underlying": "TESTIDX",
        "expiry": MONTHLY,
        "strike": None if strike is None else Decimal(strike),
        "right": OptionRight.CALL,
        "lot_size": 65,
        "lower_band": Decimal("0.05"),
        "upper_band": Decimal("900"),
        "identifiers": {"code": "TSTIDX"},
    }
    values |= changes
    values.setdefault("key", f"{values['expiry']}|{strike}|{values['right']}|{symbol}")
    return MasterRow(**values)


def future(symbol: str = "", **changes: Any) -> MasterRow:
    return option(symbol, strike=None, **{"kind": InstrumentKind.FUTURE, "right": None, "token": "50002"} | changes)


def index(name: str = "TESTIDX", **changes: Any) -> MasterRow:
    values = {"kind": InstrumentKind.INDEX, "series": "", "token": name, "lot_size": None, "tick_size": None}
    return share(name, **values | {"freeze_quantity": None} | changes)


def many(count: int, **changes: Any) -> list[MasterRow]:
    """Shares enough for a master that is not absurdly small."""
    return [share(f"FILLER{number}", token=str(200_000 + number), **changes) for number in range(count)]


def master(broker: str, rows: Rows, *, day: date = DAY) -> Master:
    """A master as the merge is given it."""
    return Master(broker=broker, day=day, rows=list(unpack(pack(broker, iter(rows)).content)))


class MarketClock:
    """A clock that stands still."""

    def __init__(self, day: date = DAY) -> None:
        self.at = datetime(day.year, day.month, day.day, 3, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def real_now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class _Reader:
    def __init__(self, read: Callable[[], Iterator[MasterRow | MasterProblem]]) -> None:
        self.read_master = read


def serving(rows: Rows) -> BrokerAdapter:
    """An adapter whose broker serves these rows."""
    return reading(lambda: iter(rows))


def reading(read: Callable[[], Iterator[MasterRow | MasterProblem]]) -> BrokerAdapter:
    return cast(BrokerAdapter, _Reader(read))
