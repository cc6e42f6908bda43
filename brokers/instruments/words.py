"""What the words of a search may mean. A search offers choices; which contract is meant, the master alone says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from brokers.domain.enums import InstrumentKind, OptionRight

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
_RIGHTS = {"CE": OptionRight.CALL, "CALL": OptionRight.CALL, "PE": OptionRight.PUT, "PUT": OptionRight.PUT}
_KINDS = {"FUT": InstrumentKind.FUTURE, "FUTURE": InstrumentKind.FUTURE, "OPTION": InstrumentKind.OPTION}
#: ``24500CE``, ``26NOV24500PE`` fall apart into these.
_PIECE = re.compile(r"\d+(?:\.\d+)?|[^\d\s]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: Words beyond these are not looked at.
MOST_WORDS = 12
_LONGEST_WORD = 64


@dataclass(slots=True)
class Wanted:
    """A search, read."""

    #: Every word as it was written, upper case.
    words: list[str] = field(default_factory=list)
    #: Those that are parts of a name.
    names: list[str] = field(default_factory=list)
    right: OptionRight | None = None
    kind: InstrumentKind | None = None
    strikes: list[Decimal] = field(default_factory=list)
    month: int | None = None
    #: Numbers beside the month: a day, a year, or in ``26 NOV`` either.
    beside_month: list[int] = field(default_factory=list)
    day: date | None = None

    @property
    def is_of_contract(self) -> bool:
        """Whether more than a name is asked for."""
        return bool(self.right or self.kind or self.strikes or self.month or self.day)

    def expiries(self, listed: Iterable[date]) -> list[date]:
        """Those of the ``listed`` days that are meant, the nearest first; all when none is named."""
        days = sorted(listed)
        if self.day is not None:
            return [day for day in days if day == self.day]
        if self.month is None:
            return days
        days = [day for day in days if day.month == self.month]
        if not self.beside_month:
            return days
        # As a day before as a year, since there are more days than years to choose from.
        return [day for day in days if all(_fits(day, n) for n in self.beside_month) and self._has_day(day)] or [
            day for day in days if all(_is_year(day, n) for n in self.beside_month)
        ]

    def _has_day(self, day: date) -> bool:
        return any(number == day.day for number in self.beside_month)


def read(text: str, is_name: Callable[[str], bool]) -> Wanted:
    """Read a search; ``is_name`` tells of a word with digits, e.g. ``360ONE``, that it is a name all the same."""
    printable = "".join(each if each.isprintable() else " " for each in text.upper())
    wanted = Wanted(words=[word[:_LONGEST_WORD] for word in printable.split()[:MOST_WORDS]])
    pieces = [piece for word in wanted.words for piece in _pieces(word, wanted, is_name)]
    for place, piece in enumerate(pieces):
        _take(wanted, piece, pieces[:place], pieces[place + 1 :])
    return wanted


def _pieces(word: str, wanted: Wanted, is_name: Callable[[str], bool]) -> list[str]:
    try:
        wanted.day = date.fromisoformat(word)
    except ValueError:
        return [word] if is_name(word) or not any(map(str.isdigit, word)) else _PIECE.findall(word)
    return []


def _take(wanted: Wanted, piece: str, before: list[str], after: list[str]) -> None:
    if piece in _RIGHTS:
        wanted.right = _RIGHTS[piece]
    elif piece in _KINDS:
        wanted.kind = _KINDS[piece]
    elif piece in _MONTHS:
        wanted.month = _MONTHS[piece]
    elif not _NUMBER.fullmatch(piece):
        if name := piece.strip("-"):
            wanted.names.append(name)
    elif _is_beside_month(piece, before, after):
        wanted.beside_month.append(int(piece))
    else:
        wanted.strikes.append(Decimal(piece))


def _is_beside_month(piece: str, before: list[str], after: list[str]) -> bool:
    """Whether a number is a day or a year: at most two digits or a year of this century, next to a month."""
    if not (len(piece) <= 2 or (len(piece) == 4 and piece.startswith("20"))) or not piece.isdigit():
        return False
    return after[:1] in [[month] for month in _MONTHS] or before[-1:] in [[month] for month in _MONTHS]


def _fits(day: date, number: int) -> bool:
    return number == day.day or _is_year(day, number)


def _is_year(day: date, number: int) -> bool:
    return number in (day.year, day.year % 100)
