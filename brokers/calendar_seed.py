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
_SEBI = "SEBI HO/47/11/11(3)2025-MRD-POD2/I/2765/2026 of 16 Jan 2026"
_AUGUST_CASH = f"{_SEBI}, 4.2; NSE/CMTR/74466 of 29 May 2026, BSE 20260610-41"
_AUGUST_NFO = f"{_SEBI}, 4.2.3; NSE/FAOP/74467 of 29 May 2026"
_AUGUST_BFO = f"{_SEBI}, 4.2.3, for all exchanges; BSE's own circular was not seen, verify"
_SEPTEMBER = f"{_SEBI}, which aligns the pre-open with the closing auction: closes at random from 09:08 to 09:10"
_DECEMBER = "README of aion-indian-market-calendar 1.6.0 alone; verify with the exchanges before 2026-12-07"
_PRE_OPEN_DERIVATIVES = "NSE/FAOP/71092 and BSE 20251110-40: for futures of the current month only"

START = date(2025, 1, 1)
AUGUST = date(2026, 8, 3)
SEPTEMBER = date(2026, 9, 7)
DECEMBER = date(2026, 12, 7)

_OPEN = time(9, 15)

#: (exchanges, phase, share class, start, end, valid from, valid until, source)
_RULES: tuple[tuple[tuple[str, ...], str, str, time, time, date, date | None, str], ...] = (
    (CASH, "PRE_OPEN", "", time(9, 0), time(9, 8), START, date(2026, 9, 6), _TIMINGS),
    (CASH, "CONTINUOUS", "", _OPEN, time(15, 30), START, date(2026, 8, 2), _TIMINGS),
    (CASH, "POST_CLOSE", "", time(15, 40), time(16, 0), START, date(2026, 8, 2), _TIMINGS),
    (DERIVATIVES, "CONTINUOUS", "", _OPEN, time(15, 30), START, date(2026, 8, 2), _TIMINGS),
    (DERIVATIVES, "PRE_OPEN", "", time(9, 0), time(9, 8), date(2025, 12, 8), None, _PRE_OPEN_DERIVATIVES),
    (CASH, "CONTINUOUS", "FNO", _OPEN, time(15, 15), AUGUST, date(2026, 12, 6), _AUGUST_CASH),
    (CASH, "CLOSING_AUCTION", "FNO", time(15, 15), time(15, 35), AUGUST, date(2026, 12, 6), _AUGUST_CASH),
    (CASH, "CONTINUOUS", "OTHER", _OPEN, time(15, 30), AUGUST, date(2026, 12, 6), _AUGUST_CASH),
    (CASH, "POST_CLOSE", "", time(15, 50), time(16, 0), AUGUST, None, _AUGUST_CASH),
    (("NFO",), "CONTINUOUS", "", _OPEN, time(15, 40), AUGUST, date(2026, 12, 6), _AUGUST_NFO),
    (("BFO",), "CONTINUOUS", "", _OPEN, time(15, 40), AUGUST, date(2026, 12, 6), _AUGUST_BFO),
    (CASH, "PRE_OPEN", "", time(9, 0), time(9, 10), SEPTEMBER, None, _SEPTEMBER),
    (CASH, "CONTINUOUS", "", _OPEN, time(15, 30), DECEMBER, None, _DECEMBER),
    (CASH, "CLOSING_AUCTION", "FNO", time(15, 30), time(15, 40), DECEMBER, None, _DECEMBER),
    (DERIVATIVES, "CONTINUOUS", "", _OPEN, time(15, 45), DECEMBER, None, _DECEMBER),
)

_LIST_2025 = "NSE's holiday list of 2025, read April 2025; BSE closes on the same days"
_LIST_2026 = "NSE/CMTR/71775 and NSE/FAOP/71777 of 12 Dec 2025; BSE closes on the same days"
_ELECTION = "BSE 20260112-8 of 12 Jan 2026; NSE closed on the same day"

#: Years whose holidays are all below.
_LISTS: tuple[tuple[int, str], ...] = ((2025, _LIST_2025), (2026, _LIST_2026))

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
    ("2026-01-15", "Municipal elections in Maharashtra", _ELECTION),
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

_BUDGET_2025 = "NSE circular of December 2024: the hours of an ordinary day"
_BUDGET_2026 = "NSE/CMTR/72349 and NSE/FAOP/72352, BSE 20260116-33 and 20260116-34, all of 16 Jan 2026"
_MUHURAT_2025 = "NSE's circular of 22 Sep 2025, as reported by livemint.com; BSE kept the same hours"
_MUHURAT_2026 = (
    "provisional: NSE/CMTR/71775 names the day alone; the hours are the usual ones in openalgo's list of August 2026"
)

#: What somebody has still to hold against the exchange's circular.
_UNVERIFIED = frozenset({_AUGUST_BFO, _DECEMBER, _MUHURAT_2026})

#: (exchanges, day, phase, start, end, note, source)
_SESSIONS: tuple[tuple[tuple[str, ...], str, str, time, time, str, str], ...] = (
    (CASH, "2025-02-01", "PRE_OPEN", time(9, 0), time(9, 8), "Union budget, a Saturday", _BUDGET_2025),
    (EXCHANGES, "2025-02-01", "CONTINUOUS", _OPEN, time(15, 30), "Union budget, a Saturday", _BUDGET_2025),
    (CASH, "2025-02-01", "POST_CLOSE", time(15, 40), time(16, 0), "Union budget, a Saturday", _BUDGET_2025),
    (CASH, "2025-10-21", "PRE_OPEN", time(13, 30), time(13, 45), "Muhurat", _MUHURAT_2025),
    (EXCHANGES, "2025-10-21", "CONTINUOUS", time(13, 45), time(14, 45), "Muhurat", _MUHURAT_2025),
    (CASH, "2025-10-21", "POST_CLOSE", time(14, 55), time(15, 5), "Muhurat", _MUHURAT_2025),
    (EXCHANGES, "2026-02-01", "PRE_OPEN", time(9, 0), time(9, 8), "Union budget, a Sunday", _BUDGET_2026),
    (EXCHANGES, "2026-02-01", "CONTINUOUS", _OPEN, time(15, 30), "Union budget, a Sunday", _BUDGET_2026),
    (CASH, "2026-02-01", "POST_CLOSE", time(15, 40), time(16, 0), "Union budget, a Sunday", _BUDGET_2026),
    (EXCHANGES, "2026-11-08", "CONTINUOUS", time(18, 0), time(19, 15), "Muhurat, a Sunday", _MUHURAT_2026),
)


def rules() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each rule as what identifies it and what it says."""
    for exchanges, phase, share_class, start, end, valid_from, valid_until, source in _RULES:
        for exchange in exchanges:
            yield (
                {"exchange": exchange, "phase": phase, "share_class": share_class, "valid_from": valid_from},
                {
                    "start_time": start,
                    "end_time": end,
                    "valid_until": valid_until,
                    "source": source,
                    "is_verified": source not in _UNVERIFIED,
                },
            )


def special_days() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each holiday and special phase as what identifies it and what it says.

    A phase a person moved is still the same: its hours do not identify it.
    """
    for exchange in EXCHANGES:
        for day, note, source in _HOLIDAYS:
            yield (
                {"exchange": exchange, "date": date.fromisoformat(day), "kind": "HOLIDAY"},
                {"note": note, "source": source},
            )
    for exchanges, day, phase, start, end, note, source in _SESSIONS:
        for exchange in exchanges:
            yield (
                {"exchange": exchange, "date": date.fromisoformat(day), "kind": "SESSION", "phase": phase},
                {
                    "start_time": start,
                    "end_time": end,
                    "note": note,
                    "source": source,
                    "is_verified": source not in _UNVERIFIED,
                },
            )


def seed(rule_model: Any, special_day_model: Any, holiday_list_model: Any) -> None:
    """Add the rows that are missing. Takes the models, since a migration has its own."""
    lists = (({"exchange": each, "year": year}, {"source": source}) for year, source in _LISTS for each in EXCHANGES)
    for model, rows in ((rule_model, rules()), (special_day_model, special_days()), (holiday_list_model, lists)):
        for identity, content in rows:
            if not model.objects.filter(**identity).exists():
                model.objects.create(**identity, **content)
