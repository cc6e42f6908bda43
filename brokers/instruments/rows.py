"""Master rows on their way into the database and back: checked, counted, packed."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight

#: How many problems of one load are kept in words.
PROBLEMS_KEPT = 50
_BATCH = 1000
_READ = 256 * 1024
#: The widths of their columns.
_LONGEST = {"symbol": 64, "underlying": 64, "key": 128}


class StoredRow(NamedTuple):
    """A checked :class:`MasterRow` as it is kept: the same fields, the identifiers as JSON text."""

    exchange: Exchange
    kind: InstrumentKind
    token: str
    symbol: str
    underlying: str
    expiry: date | None
    strike: Decimal | None
    right: OptionRight | None
    lot_size: int | None
    tick_size: Decimal | None
    freeze_quantity: int | None
    lower_band: Decimal | None
    upper_band: Decimal | None
    series: str
    name: str
    key: str
    identifiers: str


@dataclass(slots=True)
class PackedRows:
    """The good rows of one master as they are stored, and what was refused."""

    content: bytes = b""
    digest: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    problem_count: int = 0
    problems: list[MasterProblem] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        return self.counts.total()

    def refuse(self, problem: MasterProblem) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)


def pack(source: str, rows: Iterator[MasterRow | MasterProblem]) -> PackedRows:
    """Check each row and pack the good ones. Holds a thousand rows at a time."""
    packed = PackedRows()
    compressor, digest, content = zlib.compressobj(1), hashlib.sha256(), bytearray()
    good = _good(source, rows, packed)
    while batch := [_cells(row) for row in islice(good, _BATCH)]:
        line = json.dumps(batch, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        content += compressor.compress(line)
    packed.content = bytes(content + compressor.flush())
    packed.digest = digest.hexdigest()
    return packed


def unpack(content: bytes) -> Iterator[StoredRow]:
    """The rows of :func:`pack`. Equal dates, numbers and names are one object, since a master repeats them."""
    read = _Reader()
    decompressor, rest = zlib.decompressobj(), b""
    for start in range(0, len(content), _READ):
        *lines, rest = (rest + decompressor.decompress(content[start : start + _READ])).split(b"\n")
        for line in lines:
            yield from map(read.row, json.loads(line))


def why_refused(row: MasterRow) -> str:
    """What is wrong with a row, as a sentence; empty for a good one."""
    for name, longest in _LONGEST.items():
        text = getattr(row, name)
        if len(text) > longest:
            return f"Its {name} {text[:longest]!r}... is longer than {longest} characters."
        if not text.isprintable():
            return f"Its {name} {text!r} has characters that cannot be written."
    if not all(value.isprintable() for value in row.identifiers.values()):
        return f"An identifier of {row.key!r} has characters that cannot be written."
    if not row.key:
        return "It has no key."
    if row.kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION):
        if row.expiry is None or not (row.underlying or row.symbol):
            return f"{row.kind} {row.key!r} has no expiry or no underlying."
        if row.kind is InstrumentKind.OPTION and (row.strike is None or row.right is None):
            return f"Option {row.key!r} has no strike or no right."
    elif not row.symbol:
        return f"{row.kind} {row.key!r} has no symbol."
    for name in ("strike", "lot_size", "tick_size", "freeze_quantity", "lower_band", "upper_band"):
        number = getattr(row, name)
        if number is not None and (not Decimal(number).is_finite() or (number <= 0 and name != "lower_band")):
            return f"Its {name} {number} is not a number above zero."
    return ""


def _good(source: str, rows: Iterator[MasterRow | MasterProblem], packed: PackedRows) -> Iterator[MasterRow]:
    """The rows that pass; the others are noted in ``packed``."""
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        if isinstance(row, MasterProblem):
            packed.refuse(row)
            continue
        reason = f"Key {row.key!r} was used by an earlier row." if row.key in seen else why_refused(row)
        if reason:
            packed.refuse(MasterProblem(source=source, line=number, reason=reason))
            continue
        seen.add(row.key)
        packed.counts[row.exchange.value] += 1
        yield row


def _cells(row: MasterRow) -> tuple[Any, ...]:
    """One row in the order of :class:`StoredRow`, in JSON's types."""
    return (
        row.exchange.value,
        row.kind.value,
        row.token,
        row.symbol.strip().upper(),
        row.underlying.strip().upper(),
        row.expiry and row.expiry.isoformat(),
        _text(row.strike),
        row.right and row.right.value,
        row.lot_size,
        _text(row.tick_size),
        row.freeze_quantity,
        _text(row.lower_band),
        _text(row.upper_band),
        row.series.strip().upper(),
        _printable(row.name)[:128],
        row.key,
        json.dumps(dict(row.identifiers)),
    )


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


class _Reader:
    """Makes rows of cells, and one object of equal values."""

    def __init__(self) -> None:
        self._exchanges = {each.value: each for each in Exchange}
        self._kinds = {each.value: each for each in InstrumentKind}
        self._rights: dict[str | None, OptionRight | None] = {None: None, **{each.value: each for each in OptionRight}}
        self._dates: dict[str | None, date | None] = {None: None}
        self._numbers: dict[str | None, Decimal | None] = {None: None}
        self._texts: dict[str, str] = {}

    def row(self, cells: list[Any]) -> StoredRow:
        exchange, kind, token, symbol, underlying, expiry, strike, right, lot, tick, freeze, low, high, *words = cells
        series, name, key, identifiers = words
        text, number = self._texts.setdefault, self._number
        return StoredRow(
            exchange=self._exchanges[exchange],
            kind=self._kinds[kind],
            token=token,
            symbol=symbol,
            underlying=text(underlying, underlying),
            expiry=self._date(expiry),
            strike=number(strike),
            right=self._rights[right],
            lot_size=lot,
            tick_size=number(tick),
            freeze_quantity=freeze,
            lower_band=number(low),
            upper_band=number(high),
            series=text(series, series),
            name=text(name, name),
            key=key,
            identifiers=identifiers,
        )

    def _date(self, text: str | None) -> date | None:
        if text not in self._dates:
            self._dates[text] = date.fromisoformat(str(text))
        return self._dates[text]

    def _number(self, text: str | None) -> Decimal | None:
        if text not in self._numbers:
            self._numbers[text] = Decimal(str(text))
        return self._numbers[text]
