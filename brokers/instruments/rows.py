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
from typing import Any

from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.interfaces import MasterProblem, MasterRow

#: How many problems of one load are kept in words.
PROBLEMS_KEPT = 50
_CHUNK = 256 * 1024
_LONGEST = {"symbol": 64, "underlying": 64, "key": 128}


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
    """Check each row and pack the good ones. Holds one row at a time."""
    packed = PackedRows()
    compressor, digest = zlib.compressobj(6), hashlib.sha256()
    content = bytearray()
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
        line = json.dumps(_cells(row), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        digest.update(line)
        content += compressor.compress(line)
    packed.content = bytes(content + compressor.flush())
    packed.digest = digest.hexdigest()
    return packed


def unpack(content: bytes) -> Iterator[MasterRow]:
    """The rows of :func:`pack`. Equal values are one object, since a master repeats most of them."""
    known: dict[Any, Any] = {}
    decompressor, rest = zlib.decompressobj(), b""
    for start in range(0, len(content), _CHUNK):
        *lines, rest = (rest + decompressor.decompress(content[start : start + _CHUNK])).split(b"\n")
        for line in lines:
            yield _row(json.loads(line), known)


def why_refused(row: MasterRow) -> str:
    """What is wrong with a row, as a sentence; empty for a good one."""
    for name, longest in _LONGEST.items():
        if len(getattr(row, name)) > longest:
            return f"Its {name} {getattr(row, name)[:longest]!r}... is longer than {longest} characters."
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


def _cells(row: MasterRow) -> list[Any]:
    return [
        row.exchange.value,
        row.kind.value,
        row.token,
        row.symbol.strip().upper(),
        row.underlying.strip().upper(),
        row.expiry.isoformat() if row.expiry else None,
        _text(row.strike),
        row.right.value if row.right else None,
        row.lot_size,
        _text(row.tick_size),
        row.freeze_quantity,
        _text(row.lower_band),
        _text(row.upper_band),
        row.series.strip().upper(),
        row.isin,
        row.name[:128],
        row.key,
        dict(row.identifiers),
    ]


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def _row(cells: list[Any], known: dict[Any, Any]) -> MasterRow:
    def date_of(text: str | None) -> date | None:
        return None if text is None else known.get(text) or known.setdefault(text, date.fromisoformat(text))

    def number(text: str | None) -> Decimal | None:
        if text is None:
            return None
        found: Decimal | None = known.get(("decimal", text))
        return known.setdefault(("decimal", text), Decimal(text)) if found is None else found

    def one(text: str) -> str:
        return str(known.setdefault(("text", text), text))

    return MasterRow(
        exchange=Exchange(cells[0]),
        kind=InstrumentKind(cells[1]),
        token=cells[2],
        symbol=cells[3],
        underlying=one(cells[4]),
        expiry=date_of(cells[5]),
        strike=number(cells[6]),
        right=OptionRight(cells[7]) if cells[7] else None,
        lot_size=cells[8],
        tick_size=number(cells[9]),
        freeze_quantity=cells[10],
        lower_band=number(cells[11]),
        upper_band=number(cells[12]),
        series=one(cells[13]),
        isin=cells[14],
        name=one(cells[15]),
        key=cells[16],
        identifiers={one(name): one(value) for name, value in cells[17].items()},
    )
