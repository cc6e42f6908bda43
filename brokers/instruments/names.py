"""The names of one edition in memory: shares and indices by name, and what is listed on each underlying.

Some 12,000 names and 250 underlyings, read once for each edition and process; the contracts themselves stay in the database.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import accumulate

from django.db.models import Count

from brokers.domain.enums import InstrumentKind
from brokers.instruments.words import Wanted
from brokers.models import InstrumentRecord

_SPOT = (InstrumentKind.EQUITY, InstrumentKind.INDEX)


@dataclass(slots=True)
class Listed:
    """What is listed on one underlying."""

    contracts: int = 0
    expiries: set[date] = field(default_factory=set)
    strikes: set[Decimal] = field(default_factory=set)


class Names:
    """The index of one edition."""

    def __init__(self, spots: Iterable[tuple[int, str, str]], listed: dict[str, Listed]) -> None:
        """``spots`` are (key of the record, symbol, name) of shares and indices."""
        # The shortest symbols first: what is found is in the order in which it is shown.
        rows = sorted(spots, key=lambda each: (len(each[1]), each[1], each[0]))
        lines = [_line(symbol, name) for _, symbol, name in rows]
        self.listed = listed
        self._keys = [key for key, _, _ in rows]
        # One text, since looking for a word in it takes a fraction of what looking into each name takes.
        self._text = "".join(lines) + "\n"
        self._starts = list(accumulate(map(len, lines), initial=0))
        self._line_of = dict.fromkeys(listed, "") | {symbol: _line(symbol, name) for _, symbol, name in rows}
        self._largest_first = sorted(listed, key=lambda symbol: (-listed[symbol].contracts, symbol))

    def is_name(self, word: str) -> bool:
        return word in self._line_of

    def spots(self, words: Sequence[str], limit: int) -> list[int]:
        """Keys of at most ``limit`` shares and indices with every word in symbol or name.

        Symbols that begin with the first word come first, then those in which each word begins a word.
        """
        found: dict[int, None] = {}
        rarest = min(words, key=self._text.count)
        for needle, before in ((f"\n {words[0]}", ""), (f" {rarest}", " "), (rarest, "")):
            wanted = [f"{before}{word}" for word in words]
            for number in self._lines_with(needle):
                line = self._text[self._starts[number] : self._starts[number + 1]]
                if all(each in line for each in wanted):
                    found[self._keys[number]] = None
                    if len(found) == limit:
                        return list(found)
        return list(found)

    def underlyings(self, wanted: Wanted) -> Iterator[str]:
        """Underlyings with contracts that are wanted: the likeliest by name first, then those with the most contracts."""
        symbols = self._largest_first
        if wanted.names:
            first = wanted.names[0]
            named = [each for each in symbols if all(word in (self._line_of[each] or each) for word in wanted.names)]
            symbols = sorted(named, key=lambda symbol: (symbol != first, not symbol.startswith(first)))
        strikes = set(wanted.strikes)
        for symbol in symbols:
            listed = self.listed[symbol]
            if (not strikes or strikes & listed.strikes) and wanted.expiries(listed.expiries):
                yield symbol

    def _lines_with(self, needle: str) -> Iterator[int]:
        """Numbers of the lines in which the text is, in their order."""
        place = self._text.find(needle)
        while place >= 0:
            number = bisect_right(self._starts, place) - 1
            yield number
            place = self._text.find(
                needle, self._starts[number + 1] if number + 1 < len(self._starts) else len(self._text)
            )


def read(edition_id: int) -> Names:
    """Read the index of an edition: two passes over its index of contracts and one over its shares."""
    records = InstrumentRecord.objects.filter(edition_id=edition_id)
    spots = records.filter(kind__in=_SPOT).values_list("pk", "symbol", "name")
    listed: dict[str, Listed] = defaultdict(Listed)
    contracts = records.filter(kind__in=(InstrumentKind.FUTURE, InstrumentKind.OPTION)).order_by()
    for underlying, expiry, count in contracts.values_list("underlying", "expiry").annotate(Count("pk")):
        listed[underlying].contracts += count
        listed[underlying].expiries.add(expiry)
    for underlying, strike in contracts.values_list("underlying", "strike").distinct():
        if strike is not None:
            listed[underlying].strikes.add(strike)
    return Names(spots.iterator(), dict(listed))


def _line(symbol: str, name: str) -> str:
    """A name as it is looked through: upper case, with a blank before each word."""
    return f"\n {symbol} {' '.join(name.upper().split())}"
