"""When an exchange trades, from the rows of :class:`SessionRule`, :class:`SpecialDay` and :class:`HolidayList`.

What is not known is closed: a day that no rule covers, and every day of a year whose list of holidays is not
entered. Hours are IST in the rows and aware UTC in every answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from django.db.models.signals import post_delete, post_save

from brokers.clock import IST, trading_day
from brokers.domain.enums import Exchange, MarketPhase, parse
from brokers.interfaces import Clock
from brokers.models import HolidayList, SessionRule, SpecialDay

ShareClass = SessionRule.ShareClass

#: How long a process may work with rows that somebody has changed elsewhere, in seconds.
MAX_AGE_SECONDS = 5.0
#: How far ahead an opening is looked for.
_HORIZON = timedelta(days=40)
#: Which phase is told when the caller does not say which class of shares is meant.
_ORDER = (MarketPhase.CONTINUOUS, MarketPhase.CLOSING_AUCTION, MarketPhase.PRE_OPEN, MarketPhase.POST_CLOSE)


class Window(NamedTuple):
    """One phase of one day, IST; empty ``share_class`` when it is for everything the exchange trades."""

    phase: MarketPhase
    share_class: str
    start: time
    end: time


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows, as one process read them at one moment."""

    read_at: float
    rules: dict[str, list[SessionRule]]
    holidays: dict[tuple[str, date], str]
    #: The phases of days with special hours, and what the day is called.
    sessions: dict[tuple[str, date], list[Window]]
    occasions: dict[tuple[str, date], str]
    #: (exchange, year) whose holidays are all entered.
    known_years: frozenset[tuple[str, int]]


_rows: _Rows | None = None


def forget(**_: Any) -> None:
    """Read the rows anew at the next question in this process."""
    global _rows
    _rows = None


for _model in (SessionRule, SpecialDay, HolidayList):
    post_save.connect(forget, sender=_model)
    post_delete.connect(forget, sender=_model)


class MarketCalendar:
    """Answers for one clock. Cheap to make; the rows are shared by all of a process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def phase(
        self, exchange: Exchange | str, at: datetime | None = None, *, share_class: str | None = None
    ) -> MarketPhase:
        """The phase at a moment (now when not given).

        The closing auction takes only shares that have derivatives, while the others still trade. Without a
        ``share_class`` the most open phase of the two is told.
        """
        moment = (at or self._clock.now()).astimezone(IST)
        running = [
            window.phase
            for window in self._windows(parse(Exchange, exchange), moment.date())
            if window.start <= moment.time() < window.end and _is_for(window, share_class)
        ]
        return min(running, key=_ORDER.index, default=MarketPhase.CLOSED)

    def is_open(self, exchange: Exchange | str, at: datetime | None = None, *, share_class: str | None = None) -> bool:
        """Whether anything, or anything of a class of shares, trades continuously; auctions do not count."""
        return self.phase(exchange, at, share_class=share_class) is MarketPhase.CONTINUOUS

    def is_trading_day(self, exchange: Exchange | str, day: date) -> bool:
        return self.session(exchange, day) is not None

    def is_known(self, exchange: Exchange | str, day: date) -> bool:
        """Whether there are rows by which the exchange trades on a day or does not; what is not known is closed."""
        name, rows = parse(Exchange, exchange), self._read()
        if (name, day) in rows.sessions or (name, day) in rows.holidays:
            return True
        return (name, day.year) in rows.known_years and bool(ordinary_day(rows.rules.get(name, []), day))

    def session(self, exchange: Exchange | str, day: date) -> tuple[datetime, datetime] | None:
        """First start and last end of continuous trading on an IST day, None when there is none."""
        windows = list(self._continuous(parse(Exchange, exchange), day))
        if not windows:
            return None
        return _utc(day, min(window.start for window in windows)), _utc(day, max(window.end for window in windows))

    def trading(self, exchange: Exchange | str, day: date, *, share_class: str) -> list[tuple[datetime, datetime]]:
        """Start and end of each stretch in which a class of shares trades continuously on an IST day, in order.

        Derivatives are of every class.
        """
        windows = [each for each in self._continuous(parse(Exchange, exchange), day) if _is_for(each, share_class)]
        return sorted((_utc(day, window.start), _utc(day, window.end)) for window in windows)

    def next_open(self, exchange: Exchange | str, after: datetime) -> datetime | None:
        """The first start of continuous trading later than ``after``; None when none is known."""
        name, day = parse(Exchange, exchange), trading_day(after)
        for offset in range(_HORIZON.days + 1):
            that_day = day + timedelta(days=offset)
            starts = [_utc(that_day, window.start) for window in self._continuous(name, that_day)]
            if later := [start for start in starts if start > after]:
                return min(later)
        return None

    def known_until(self, exchange: Exchange | str) -> date | None:
        """The last day for which there are a list of holidays and a rule, None when nothing is known."""
        name = parse(Exchange, exchange)
        years = [year for known, year in self._read().known_years if known == name]
        ends = [rule.valid_until or date.max for rule in self._read().rules.get(name, [])]
        return min(date(max(years), 12, 31), max(ends)) if years and ends else None

    def why_closed(
        self, exchange: Exchange | str, at: datetime | None = None, *, share_class: str | None = None
    ) -> str:
        """One sentence on why nothing trades, and when it opens next; empty while it is open."""
        name, moment = parse(Exchange, exchange), at or self._clock.now()
        phase = self.phase(name, moment, share_class=share_class)
        if phase is MarketPhase.CONTINUOUS:
            return ""
        opens_at = self.next_open(name, moment)
        if opens_at:
            opens = f"it opens on {opens_at.astimezone(IST):%a %d %b %Y at %H:%M} IST"
        else:
            opens = f"no opening is known{self._where_knowledge_ends(name, trading_day(moment))}"
        at_this_time = f"{moment.astimezone(IST):%a %d %b %Y %H:%M} IST"
        return f"{name} is closed at {at_this_time} ({self._reason(name, moment, phase)}); {opens}."

    def _reason(self, exchange: Exchange, moment: datetime, phase: MarketPhase) -> str:
        day, rows = trading_day(moment), self._read()
        if phase is not MarketPhase.CLOSED:
            return f"{phase.replace('_', ' ').lower()}, no continuous trading"
        if (exchange, day) in rows.sessions:
            return f"outside the special hours of the day: {rows.occasions[exchange, day]}"
        if self.session(exchange, day) is not None:
            return "outside trading hours"
        if (exchange, day) in rows.holidays:
            return f"holiday: {rows.holidays[exchange, day]}"
        if (exchange, day.year) not in rows.known_years:
            return f"the holidays of {day.year} are not known; enter the exchange's list of holidays in the admin"
        return "weekend" if day.weekday() >= 5 else "no session rule covers this day; add one"

    def _where_knowledge_ends(self, exchange: Exchange, day: date) -> str:
        until = self.known_until(exchange)
        return f" after {until:%d %b %Y}" if until and day <= until else ""

    def _continuous(self, exchange: Exchange, day: date) -> Iterator[Window]:
        return (window for window in self._windows(exchange, day) if window.phase is MarketPhase.CONTINUOUS)

    def _windows(self, exchange: Exchange, day: date) -> list[Window]:
        """The phases of a day; none when it is closed or not known."""
        rows = self._read()
        if (special := rows.sessions.get((exchange, day))) is not None:
            return special
        if day.weekday() >= 5 or (exchange, day) in rows.holidays or (exchange, day.year) not in rows.known_years:
            return []
        return ordinary_day(rows.rules.get(exchange, []), day)

    def _read(self) -> _Rows:
        global _rows
        now = self._clock.monotonic()
        if _rows is None or not 0 <= now - _rows.read_at < MAX_AGE_SECONDS:
            _rows = _load(now)
        return _rows


def clash(windows: Iterable[Window]) -> tuple[Window, Window] | None:
    """Two phases that are at the same time for the same shares; None when there are none."""
    for share_class in ShareClass:
        of_class = sorted((each for each in windows if _is_for(each, share_class)), key=lambda each: each.start)
        for before, after in pairwise(of_class):
            if after.start < before.end:
                return before, after
    return None


def ordinary_day(rules: Iterable[SessionRule], day: date) -> list[Window]:
    """The phases that rules of one exchange give a day, were it neither special nor a week-end."""
    valid = [rule for rule in rules if rule.valid_from <= day and (rule.valid_until is None or day <= rule.valid_until)]
    newest: dict[str, date] = {}
    for rule in valid:
        newest[rule.phase] = max(rule.valid_from, newest.get(rule.phase, rule.valid_from))
    return [
        Window(MarketPhase(rule.phase), rule.share_class, rule.start_time, rule.end_time)
        for rule in valid
        if rule.valid_from == newest[rule.phase]
    ]


def _is_for(window: Window, share_class: str | None) -> bool:
    return share_class is None or window.share_class in ("", share_class)


def _load(now: float) -> _Rows:
    rules: dict[str, list[SessionRule]] = {}
    for rule in SessionRule.objects.all():
        rules.setdefault(rule.exchange, []).append(rule)
    holidays: dict[tuple[str, date], str] = {}
    sessions: dict[tuple[str, date], list[Window]] = {}
    occasions: dict[tuple[str, date], str] = {}
    for special in SpecialDay.objects.all():
        day, note = (special.exchange, special.date), special.note or "no name given"
        if special.kind == SpecialDay.Kind.HOLIDAY:
            holidays[day] = note
        elif special.start_time is not None and special.end_time is not None:
            window = Window(MarketPhase(special.phase), special.share_class, special.start_time, special.end_time)
            sessions.setdefault(day, []).append(window)
            occasions[day] = note
    return _Rows(
        read_at=now,
        rules=rules,
        holidays=holidays,
        sessions=sessions,
        occasions=occasions,
        known_years=frozenset(HolidayList.objects.values_list("exchange", "year")),
    )


def _utc(day: date, at: time) -> datetime:
    return datetime.combine(day, at, IST).astimezone(UTC)
