"""Finds instruments by words, and symbols that look like a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from difflib import SequenceMatcher, get_close_matches
from os.path import commonprefix

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Length

from brokers.domain.enums import Exchange, InstrumentKind
from brokers.models import InstrumentRecord

_MOST = 200
#: Symbols compared with a misspelt one in one step.
_POOL = 400


def search(edition_id: int, text: str, limit: int) -> QuerySet[InstrumentRecord]:
    """Records with every word in symbol or name; symbols that begin with the first word come first."""
    words = "".join(each if each.isprintable() else " " for each in text.upper()).split()
    records = InstrumentRecord.objects.filter(edition_id=edition_id)
    if not words:
        return records.none()
    for word in words:
        records = records.filter(Q(symbol__contains=word) | Q(name__icontains=word))
    elsewhere = ExpressionWrapper(~Q(symbol__startswith=words[0]), output_field=BooleanField())
    return records.order_by(elsewhere, Length("symbol"), "symbol")[: max(0, min(limit, _MOST))]


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
