"""Enters an exchange's holidays of a year: the admin's page and ``manage.py holidays`` come here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from django.db import transaction
from django.db.models import QuerySet

from brokers.models import HolidayList, SpecialDay


def days_in(text: str, year: int) -> dict[date, str]:
    """Holidays of ``year`` and their names, written one a line: ``2027-01-26 Republic Day``.

    :raises ValueError: a sentence on the first line that is not of that kind.
    """
    days: dict[date, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        written, _, name = line.partition(" ")
        try:
            day = date.fromisoformat(written)
        except ValueError as error:
            raise ValueError(
                f"{line[:80]!r} does not begin with a day; write e.g. {year}-01-26 Republic Day."
            ) from error
        if day.year != year:
            raise ValueError(f"{day} is not a day of {year}; a list is of one year.")
        days[day] = name.strip()[:200]
    return days


def check(exchange: str, year: int, days: Mapping[date, str]) -> None:
    """:raises ValueError: no holiday is given and none is there; such a list would open the exchange on all of them."""
    if not days and not _known(exchange, year).exists():
        raise ValueError(f"No holiday of {exchange} in {year} is there; write the exchange's whole list.")


def enter(exchange: str, year: int, days: Mapping[date, str], source: str) -> int:
    """Make a year known: add its list and those holidays that are missing; returns how many were added.

    :raises ValueError: as :func:`check`.
    """
    check(exchange, year, days)
    with transaction.atomic():
        missing = sorted(set(days) - set(_known(exchange, year).values_list("date", flat=True)))
        for day in missing:
            SpecialDay.objects.create(
                exchange=exchange, date=day, kind=SpecialDay.Kind.HOLIDAY, note=days[day], source=source
            )
        HolidayList.objects.get_or_create(exchange=exchange, year=year, defaults={"source": source})
    return len(missing)


def _known(exchange: str, year: int) -> QuerySet[SpecialDay]:
    return SpecialDay.objects.filter(exchange=exchange, date__year=year, kind=SpecialDay.Kind.HOLIDAY)
