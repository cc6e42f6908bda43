"""What is known about trading days and hours, as data with its sources. People correct it in admin.

Dates and hours are IST. Seeding adds what is missing and never changes a row that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from typing import Any

EXCHANGES = ("NSE", "BSE", "NFO", "BFO")
CASH = ("NSE", "BSE")
DERIVATIVES = ("NFO", "BFO")

_TIMINGS = "nseindia.com market timings; BSE keeps the same hours"
_AUGUST = "SEBI and NSE circulars on the closing auction and the longer derivatives session, as reported May 2026"
_AUGUST_BFO = f"{_AUGUST}; BSE's own circular was not seen, verify"
_DECEMBER = "README of aion-indian-market-calendar 1.6.0 alone; verify with the exchanges before 2026-12-07"
_PRE_OPEN_DERIVATIVES = "NSE/FAOP/71092 and BSE 20251110-40: for futures of the current month only"

START = date(2025, 1, 1)
AUGUST = date(2026, 8, 3)
DECEMBER = date(2026, 12, 7)

_OPEN = time(9, 15)

#: (exchanges, phase, share class, start, end, valid from, valid until, source)
_RULES: tuple[tuple[tuple[str, ...], str, str, time, time, date, date | None, str], ...] = (
    (CASH, "PRE_OPEN", "", time(9, 0), time(9, 8), START, None, _TIMINGS),
    (CASH, "CONTINUOUS", "", _OPEN, time(15, 30), START, date(2026, 8, 2), _TIMINGS),
    (CASH, "POST_CLOSE", "", time(15, 40), time(16, 0), START, None, _TIMINGS),
    (DERIVATIVES, "CONTINUOUS", "", _OPEN, time(15, 30), START, date(2026, 8, 2), _TIMINGS),
    (DERIVATIVES, "PRE_OPEN", "", time(9, 0), time(9, 8), date(2025, 12, 8), None, _PRE_OPEN_DERIVATIVES),
    (CASH, "CONTINUOUS", "FNO", _OPEN, time(15, 15), AUGUST, date(2026, 12, 6), _AUGUST),
    (CASH, "CLOSING_AUCTION", "FNO", time(15, 15), time(15, 35), AUGUST, date(2026, 12, 6), _AUGUST),
    (CASH, "CONTINUOUS", "OTHER", _OPEN, time(15, 30), AUGUST, date(2026, 12, 6), _AUGUST),
    (("NFO",), "CONTINUOUS", "", _OPEN, time(15, 40), AUGUST, date(2026, 12, 6), _AUGUST),
    (("BFO",), "CONTINUOUS", "", _OPEN, time(15, 40), AUGUST, date(2026, 12, 6), _AUGUST_BFO),
    (CASH, "CONTINUOUS", "", _OPEN, time(15, 30), DECEMBER, None, _DECEMBER),
    (CASH, "CLOSING_AUCTION", "FNO", time(15, 30), time(15, 40), DECEMBER, None, _DECEMBER),
    (DERIVATIVES, "CONTINUOUS", "", _OPEN, time(15, 45), DECEMBER, None, _DECEMBER),
)

_LIST_2025 = "NSE's holiday list of 2025, read April 2025; BSE closes on the same days"
_LIST_2026 = "exchange holidays of 2026 as listed by openalgo, August 2026"

_HOLIDAYS: tuple[tuple[str, str, str], ...] = (
    ("2025-01-26", "Republic Day", _LIST_2025),
    ("2025-02-26", "Mahashivratri", _LIST_2025),
    ("2025-03-14", "Holi", _LIST_2025),
    ("2025-03-31", "Id-ul-Fitr", _LIST_2025),
    ("2025-04-06", "Ram Navami", _LIST_2025),
    ("2025-04-10", "Mahavir Jayanti", _LIST_2025),
    ("2025-04-14", "Ambedkar Jayanti", _LIST_2025),
    ("2025-04-18", "Good Friday", _LIST_2025),
    ("2025-05-01", "Maharashtra Day", _LIST_2025),
    ("2025-06-07", "Bakri Id", _LIST_2025),
    ("2025-07-06", "Muharram", _LIST_2025),
    ("2025-08-15", "Independence Day", _LIST_2025),
    ("2025-08-27", "Ganesh Chaturthi", _LIST_2025),
    ("2025-10-02", "Gandhi Jayanti and Dussehra", _LIST_2025),
    ("2025-10-21", "Diwali Laxmi Pujan", _LIST_2025),
    ("2025-10-22", "Balipratipada", _LIST_2025),
    ("2025-11-05", "Guru Nanak Jayanti", _LIST_2025),
    ("2025-12-25", "Christmas", _LIST_2025),
    ("2026-01-15", "Municipal elections in Maharashtra", _LIST_2026),
    ("2026-01-26", "Republic Day", _LIST_2026),
    ("2026-03-03", "Holi", _LIST_2026),
    ("2026-03-26", "Ram Navami", _LIST_2026),
    ("2026-03-31", "Mahavir Jayanti", _LIST_2026),
    ("2026-04-03", "Good Friday", _LIST_2026),
    ("2026-04-14", "Ambedkar Jayanti", _LIST_2026),
    ("2026-05-01", "Maharashtra Day", _LIST_2026),
    ("2026-05-28", "Bakri Id", _LIST_2026),
    ("2026-06-26", "Muharram", _LIST_2026),
    ("2026-09-14", "Ganesh Chaturthi", _LIST_2026),
    ("2026-10-02", "Gandhi Jayanti", _LIST_2026),
    ("2026-10-20", "Dussehra", _LIST_2026),
    ("2026-11-10", "Balipratipada", _LIST_2026),
    ("2026-11-24", "Guru Nanak Jayanti", _LIST_2026),
    ("2026-12-25", "Christmas", _LIST_2026),
)

#: (day, start, end, note, source)
_SESSIONS: tuple[tuple[str, time, time, str, str], ...] = (
    ("2025-02-01", _OPEN, time(15, 30), "Union budget, a Saturday", "NSE circular of December 2024"),
    ("2025-10-21", time(13, 45), time(14, 45), "Muhurat", "NSE, as reported by localnewswave.com"),
    ("2026-02-01", _OPEN, time(15, 30), "Union budget, a Sunday", "reported by the exchanges, January 2026"),
    (
        "2026-11-08",
        time(18, 0),
        time(19, 15),
        "Muhurat, a Sunday",
        "provisional: the usual hours in openalgo's list of August 2026; the exchange's circular was not seen",
    ),
)


def rules() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each rule as what identifies it and what it says."""
    for exchanges, phase, share_class, start, end, valid_from, valid_until, source in _RULES:
        for exchange in exchanges:
            yield (
                {"exchange": exchange, "phase": phase, "share_class": share_class, "valid_from": valid_from},
                {"start_time": start, "end_time": end, "valid_until": valid_until, "source": source},
            )


def special_days() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each holiday and session as what identifies it and what it says."""
    for exchange in EXCHANGES:
        for day, note, source in _HOLIDAYS:
            yield (
                {"exchange": exchange, "date": date.fromisoformat(day), "kind": "HOLIDAY"},
                {"note": note, "source": source},
            )
        for day, start, end, note, source in _SESSIONS:
            yield (
                {"exchange": exchange, "date": date.fromisoformat(day), "kind": "SESSION"},
                {"start_time": start, "end_time": end, "note": note, "source": source},
            )


def seed(rule_model: Any, special_day_model: Any) -> None:
    """Add the rows that are missing. Takes the models, since a migration has its own."""
    for identity, content in rules():
        rule_model.objects.get_or_create(**identity, defaults=content)
    for identity, content in special_days():
        special_day_model.objects.get_or_create(**identity, defaults=content)
