"""Finds instruments by words, and symbols that look like a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from difflib import SequenceMatcher, get_close_matches
from itertools import islice
from os.path import commonprefix

from django.db import connection
from django.db.models import Q, QuerySet

from brokers.domain.enums import Exchange, InstrumentKind
from brokers.instruments.names import Names
from brokers.instruments.words import Wanted, read
from brokers.models import InstrumentRecord

_MOST = 200
#: Underlyings whose contracts are looked at in one search.
_UNDERLYINGS = 5
#: Symbols compared with a misspelt one in one step.
_POOL = 400


def search(edition_id: int, names: Names, text: str, limit: int) -> list[InstrumentRecord]:
    """Records that the words of ``text`` may mean, the likeliest first; at most ``limit`` of them.

    A word is a part of a symbol or name, an underlying, an expiry (``NOV``, ``26 NOV``, ``2026-11-26``), a strike, ``CE``,
    ``PE`` or ``FUT``; or the beginning of a contract's symbol. All must fit. Shares and indices come before contracts.
    """
    wanted, limit = read(text, names.is_name), max(0, min(limit, _MOST))
    if not wanted.words or not limit:
        return []
    records = InstrumentRecord.objects.filter(edition_id=edition_id)
    spots = names.spots(wanted.words, limit)
    # By their keys alone: with the edition as well, SQLite reads the whole edition.
    rows = InstrumentRecord.objects.in_bulk(spots)
    found = {pk: rows[pk] for pk in spots if pk in rows}
    for record in _contracts(records, names, wanted, limit):
        if len(found) >= limit:
            break
        found.setdefault(record.pk, record)
    return list(found.values())


def _contracts(
    records: QuerySet[InstrumentRecord], names: Names, wanted: Wanted, limit: int
) -> Iterator[InstrumentRecord]:
    """Contracts: those whose symbol begins with the only word, then those that the words describe."""
    if len(wanted.words) == 1 and any(map(str.isdigit, wanted.words[0])):
        yield from records.filter(_begins(wanted.words[0])).order_by("symbol")[:limit]
    if not wanted.names and not wanted.is_of_contract:
        return
    underlyings = list(islice(names.underlyings(wanted), _UNDERLYINGS))
    if wanted.names and underlyings[:1] == wanted.names[:1]:
        # Who writes NIFTY does not mean BANKNIFTY.
        underlyings = underlyings[:1]
    if wanted.strikes or wanted.kind is InstrumentKind.FUTURE:
        yield from _few(records, names, underlyings, wanted, limit)
        return
    for underlying in underlyings:
        yield from _of_underlying(records, names, underlying, wanted, limit)


def _few(
    records: QuerySet[InstrumentRecord], names: Names, underlyings: list[str], wanted: Wanted, limit: int
) -> list[InstrumentRecord]:
    """Futures, or the options of some strikes: few of any expiry, and the index alone tells which."""
    if wanted.right is not None:
        records = records.filter(right=wanted.right)
    if wanted.strikes:
        records = records.filter(strike__in=wanted.strikes)
    rows = records.filter(
        underlying__in=underlyings,
        kind=InstrumentKind.OPTION if wanted.strikes else InstrumentKind.FUTURE,
        expiry__in={day for each in underlyings for day in wanted.expiries(names.listed[each].expiries)},
    ).order_by("expiry", "exchange", "strike", "right")
    return sorted(rows[:limit], key=lambda record: underlyings.index(record.underlying))


def _of_underlying(
    records: QuerySet[InstrumentRecord], names: Names, underlying: str, wanted: Wanted, limit: int
) -> Iterator[InstrumentRecord]:
    """What is listed on one underlying and wanted: expiry by expiry, futures before options, by strike."""
    records = records.filter(underlying=underlying).order_by("exchange", "strike", "right")
    kinds = [InstrumentKind.FUTURE, InstrumentKind.OPTION]
    if wanted.right is not None or wanted.kind is not None:
        records, kinds = records.filter(right=wanted.right) if wanted.right else records, [InstrumentKind.OPTION]
    left = limit
    for expiry in wanted.expiries(names.listed[underlying].expiries):
        for kind in kinds:
            # One run of the index at a time, so that no more rows are read than are shown.
            rows = list(records.filter(expiry=expiry, kind=kind)[:left])
            yield from rows
            left -= len(rows)
            if left <= 0:
                return


def _begins(beginning: str) -> Q:
    """Symbols that begin so, in the way in which each database can use its index."""
    if connection.vendor == "sqlite":
        return Q(symbol__gte=beginning, symbol__lt=f"{beginning}\U0010ffff")
    return Q(symbol__startswith=beginning)


def expiries(edition_id: int, underlying: str, exchange: Exchange | None, first: date) -> list[date]:
    """Days from ``first`` on on which options of an underlying expire, the nearest first."""
    options = InstrumentRecord.objects.filter(
        edition_id=edition_id, underlying=underlying, kind=InstrumentKind.OPTION, expiry__gte=first
    )
    if exchange is not None:
        options = options.filter(exchange=exchange)
    days = options.order_by("expiry").values_list("expiry", flat=True).distinct()
    return [day for day in days if day is not None]


def nearest(edition_id: int, text: str, exchange: Exchange | None, count: int = 3) -> list[str]:
    """The symbols most like ``text``: compared are those that begin like it, then those that contain its middle."""
    records = InstrumentRecord.objects.filter(edition_id=edition_id)
    if exchange is not None:
        records = records.filter(exchange=exchange)
    symbols = records.order_by("symbol").values_list("symbol", flat=True)
    found: list[str] = []
    for length in _prefix_lengths(len(text)):
        found = _most_like(text, [*found, *symbols.filter(symbol__startswith=text[:length])[:_POOL]], 0.7)[:count]
        if len(found) == count:
            return found
    return _most_like(text, [*found, *symbols.filter(symbol__contains=text[1:5])[:_POOL]], 0.6)[:count]


def _most_like(text: str, symbols: Iterable[str], cutoff: float) -> list[str]:
    """The likest first; of those equally like, the ones that begin like ``text`` the longest."""

    def rank(symbol: str) -> tuple[float, int, str]:
        beginning = len(commonprefix([symbol, text]))  # noqa: RUF071 -- characters are what is meant
        return -SequenceMatcher(None, symbol, text).ratio(), -beginning, symbol

    return sorted(get_close_matches(text, dict.fromkeys(symbols), n=20, cutoff=cutoff), key=rank)


def _prefix_lengths(length: int) -> list[int]:
    """A few prefixes, from nearly all of it to its first letter."""
    wanted = {length - 1, length - 2, length - 4, length // 2, 4, 3, 2, 1}
    return sorted((each for each in wanted if 0 < each <= length), reverse=True)
