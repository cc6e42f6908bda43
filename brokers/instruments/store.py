"""Looks instruments up in the current edition, by symbol or by a broker's key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TypeVar

from django.db import connection
from django.db.models import Model

from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import InvalidSymbol
from brokers.domain.instruments import Instrument
from brokers.instruments import searching
from brokers.instruments.names import Names
from brokers.instruments.names import read as read_names
from brokers.instruments.symbols import MAIN_SERIES, OTHER_SERIES, plain
from brokers.models import InstrumentEdition, InstrumentListing, InstrumentRecord, SessionRule

K = TypeVar("K")

#: How long a process may answer from an edition before it asks whether there is a newer one, in seconds.
MAX_AGE_SECONDS = 1.0
#: Instruments that one process remembers, about 2 kB each.
_REMEMBERED = 10_000
#: NSE's segments first, as traders mean them when they name no exchange.
_PREFERENCE = (Exchange.NSE, Exchange.NFO, Exchange.BSE, Exchange.BFO)


@dataclass(slots=True)
class _Book:
    """One edition, and what this process has looked up in it."""

    edition_id: int
    day: date
    by_symbol: dict[tuple[str, Exchange | None], Instrument] = field(default_factory=dict)
    by_key: dict[tuple[str, str], Instrument] = field(default_factory=dict)
    #: Read at the first search.
    names: Names | None = None


class InstrumentStore:
    """Reads the current edition by indexed query and remembers what it found; shared by a whole process."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._book: _Book | None = None
        self._checked_at = float("-inf")

    @property
    def day(self) -> date | None:
        """The IST day of the current edition; None when no master was ever loaded."""
        book = self._current()
        return None if book is None else book.day

    @property
    def edition(self) -> int | None:
        """Which edition is the current one; in another every instrument may have other identifiers."""
        book = self._current()
        return None if book is None else book.edition_id

    def find(self, broker: str, key: str) -> Instrument | None:
        """The instrument whose row in the master of ``broker`` had this ``key``, or None."""
        book = self._current()
        if book is None:
            return None
        if (broker, key) in book.by_key:
            return book.by_key[broker, key]
        found = _select(_by_key(), (book.edition_id, broker, key)) if key.isprintable() else []
        if found:
            return _remember(book.by_key, (broker, key), found[0])
        return self.find(broker, key) if self._is_superseded(book) else None

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        """The instrument with this trading symbol, in any case.

        ``RELIANCE-EQ`` is ``RELIANCE``; a share of NSE's other series is found by its bare name, too. What both
        exchanges list is NSE's unless the exchange is named.

        :raises InvalidSymbol: none, or more than one; the message names the nearest.
        """
        text = str(symbol).strip().upper()
        book = self._current()
        if book is None:
            raise InvalidSymbol(f"Symbol {symbol!r} cannot be found, since no instruments are loaded; refresh them.")
        if (text, exchange) in book.by_symbol:
            return book.by_symbol[text, exchange]
        if not text.isprintable():  # nor could a database be asked
            raise _unknown(book, text, exchange, [])
        best = _best(_select(_by_symbol(), (book.edition_id, *_spellings(text))), text, exchange)
        if len(best) == 1:
            return _remember(book.by_symbol, (text, exchange), best[0])
        if not best and self._is_superseded(book):
            return self.resolve(symbol, exchange)
        if best:
            raise _ambiguous(text, best)
        raise _unknown(book, text, exchange, searching.nearest(book.edition_id, text, exchange))

    def search(self, text: str, limit: int = 20) -> list[Instrument]:
        """Instruments that the words may mean, the likeliest first: ``NIFTY 24500 CE``, ``NIFTY 26 NOV``, ``reliance ind``."""
        book = self._current()
        if book is None:
            return []
        if book.names is None:
            book.names = read_names(book.edition_id)
        found = searching.search(book.edition_id, book.names, text, limit)
        if not found and self._is_superseded(book):
            return self.search(text, limit)
        return [to_instrument(row) for row in found]

    def expiries(self, underlying: str, exchange: Exchange | None = None) -> list[date]:
        """Days on which options of an underlying expire, from the edition's day on, the nearest first."""
        book = self._current()
        text = str(underlying).strip().upper()
        if book is None or not text.isprintable():
            return []
        return searching.expiries(book.edition_id, text, exchange, book.day)

    def share_class(self, symbol: str) -> SessionRule.ShareClass:
        """Which of a cash market's two endings of the day a share or an index has.

        The closing auction is for shares that have derivatives at any exchange; indices are made of those.
        """
        return SessionRule.ShareClass.DERIVATIVES if self.expiries(symbol) else SessionRule.ShareClass.OTHER

    def forget(self) -> None:
        """Ask for the current edition anew at the next question."""
        self._book, self._checked_at = None, float("-inf")

    def _current(self) -> _Book | None:
        now = self._monotonic()
        if now - self._checked_at >= MAX_AGE_SECONDS:
            self._check(now)
        return self._book

    def _check(self, now: float) -> None:
        newest = InstrumentEdition.objects.filter(is_current=True).values_list("pk", "master_day").first()
        if newest is None:
            self._book = None
        elif self._book is None or (self._book.edition_id, self._book.day) != newest:
            self._book = _Book(*newest)
        self._checked_at = now

    def _is_superseded(self, book: _Book) -> bool:
        """Whether a miss may only mean that the edition was replaced and cleared away meanwhile."""
        self._check(self._monotonic())
        return self._book is not book


@cache
def lookup() -> InstrumentStore:
    """The store of this process."""
    return InstrumentStore()


def forget() -> None:
    """Ask for the current edition anew at the next question in this process."""
    lookup().forget()


def to_instrument(record: InstrumentRecord) -> Instrument:
    return Instrument(
        symbol=record.symbol,
        exchange=Exchange(record.exchange),
        kind=InstrumentKind(record.kind),
        underlying=record.underlying,
        expiry=record.expiry,
        strike=_decimal(record.strike),
        right=OptionRight(record.right) if record.right else None,
        lot_size=record.lot_size,
        tick_size=_decimal(record.tick_size),
        freeze_quantity=record.freeze_quantity,
        lower_band=_decimal(record.lower_band),
        upper_band=_decimal(record.upper_band),
        name=record.name,
        master_day=record.master_day,
        identifiers=record.identifiers,
    )


def _decimal(number: Decimal | None) -> Decimal | None:
    return None if number is None else Decimal(plain(number))


def _spellings(text: str) -> list[str]:
    """The symbols that ``text`` may stand for; always as many, so that the query is the same."""
    base = text.removesuffix(f"-{MAIN_SERIES}")
    others = [text if base != text else f"{text}-{series}" for series in OTHER_SERIES]
    return [text, base, *others]


def _best(found: Sequence[Instrument], text: str, exchange: Exchange | None) -> list[Instrument]:
    """The candidates that fit best: the named exchange or NSE's first, the symbol as written before others."""
    if exchange is not None:
        found = [each for each in found if each.exchange is exchange]
    ranks = [(_PREFERENCE.index(each.exchange), each.symbol != text) for each in found]
    return [each for each, rank in zip(found, ranks, strict=True) if rank == min(ranks)]


def _ambiguous(text: str, found: Sequence[Instrument]) -> InvalidSymbol:
    listed = ", ".join(f"{each.symbol} ({each.exchange} {each.kind.lower()} {each.name})" for each in found[:5])
    return InvalidSymbol(f"Symbol {text!r} is {len(found)} instruments at once: {listed}; it cannot be traded.")


def _unknown(book: _Book, text: str, exchange: Exchange | None, nearest: Sequence[str]) -> InvalidSymbol:
    hint = f"the nearest are {', '.join(nearest)}" if nearest else "nothing there looks like it"
    where = f" on {exchange}" if exchange else ""
    return InvalidSymbol(f"Symbol {text!r} is not in the instruments of {book.day:%d %b %Y}{where}; {hint}.")


def _remember(known: dict[K, Instrument], key: K, instrument: Instrument) -> Instrument:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = instrument
    return instrument


def _select(sql: str, parameters: Sequence[object]) -> list[Instrument]:
    """Plain SQL, since building the query takes the ORM three times as long as the database needs to answer it."""
    return [to_instrument(record) for record in InstrumentRecord.objects.raw(sql, parameters)]


@cache
def _by_symbol() -> str:
    marks = ", ".join(["%s"] * len(_spellings("")))
    return f"SELECT * FROM {_table(InstrumentRecord)} WHERE edition_id = %s AND symbol IN ({marks})"  # noqa: S608


@cache
def _by_key() -> str:
    return (
        f"SELECT record.* FROM {_table(InstrumentListing)} listing "  # noqa: S608
        f"JOIN {_table(InstrumentRecord)} record ON record.id = listing.instrument_id "
        "WHERE listing.edition_id = %s AND listing.broker = %s AND listing.key = %s"
    )


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)
