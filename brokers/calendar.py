"""When an exchange trades, from the rows of :class:`SessionRule` and :class:`SpecialDay`.

What is not known is closed: a day that no rule covers, and every day of a year for which no holiday of
that exchange is listed. Hours are IST in the rows and aware UTC in every answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models.signals import post_delete, post_save

from brokers.clock import IST, trading_day
from brokers.domain.enums import Exchange, MarketPhase, parse
from brokers.interfaces import Clock
from brokers.models import SessionRule, SpecialDay

ShareClass = SessionRule.ShareClass

#: How long a process may work with rows that somebody has changed elsewhere, in seconds.
MAX_AGE_SECONDS = 5.0
#: How far ahead an opening is looked for.
_HORIZON = timedelta(days=40)
#: Which phase is told when the caller does not say which class of shares is meant.
_ORDER = (MarketPhase.CONTINUOUS, MarketPhase.CLOSING_AUCTION, MarketPhase.PRE_OPEN, MarketPhase.POST_CLOSE)


class _Window(NamedTuple):
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
    sessions: dict[tuple[str, date], SpecialDay]
    #: (exchange, year) with at least one holiday.
    known_years: frozenset[tuple[str, int]]


_rows: _Rows | None = None


def forget(**_: Any) -> None:
    """Read the rows anew at the next question in this process."""
    global _rows
    _rows = None


for _model in (SessionRule, SpecialDay):
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
            if window.start <= moment.time() < window.end and share_class in (None, window.share_class or share_class)
        ]
        return min(running, key=_ORDER.index, default=MarketPhase.CLOSED)

    def is_open(self, exchange: Exchange | str, at: datetime | None = None) -> bool:
        """Whether anything trades continuously; auctions do not count."""
        return self.phase(exchange, at) is MarketPhase.CONTINUOUS

    def is_trading_day(self, exchange: Exchange | str, day: date) -> bool:
        return self.session(exchange, day) is not None

    def session(self, exchange: Exchange | str, day: date) -> tuple[datetime, datetime] | None:
        """Start and end of continuous trading on an IST day, None when there is none."""
        windows = list(self._continuous(parse(Exchange, exchange), day))
        if not windows:
            return None
        return _utc(day, min(window.start for window in windows)), _utc(day, max(window.end for window in windows))

    def next_open(self, exchange: Exchange | str, after: datetime) -> datetime | None:
        """The first start of continuous trading later than ``after``; None when none is known."""
        day = trading_day(after)
        for offset in range(_HORIZON.days + 1):
            session = self.session(exchange, day + timedelta(days=offset))
            if session is not None and session[0] > after:
                return session[0]
        return None

    def known_until(self, exchange: Exchange | str) -> date | None:
        """The last day for which there are holidays and a rule, None when nothing is known."""
        name = parse(Exchange, exchange)
        years = [year for known, year in self._read().known_years if known == name]
        ends = [rule.valid_until or date.max for rule in self._read().rules.get(name, [])]
        return min(date(max(years), 12, 31), max(ends)) if years and ends else None

    def why_closed(self, exchange: Exchange | str, at: datetime | None = None) -> str:
        """One sentence on why nothing trades, and when it opens next; empty while it is open."""
        name, moment = parse(Exchange, exchange), at or self._clock.now()
        if self.is_open(name, moment):
            return ""
        opens_at = self.next_open(name, moment)
        opens = (
            f"it opens on {opens_at.astimezone(IST):%a %d %b %Y at %H:%M} IST" if opens_at else "no opening is known"
        )
        return f"{name} is closed at {moment.astimezone(IST):%a %d %b %Y %H:%M} IST ({self._reason(name, moment)}); {opens}."

    def _reason(self, exchange: Exchange, moment: datetime) -> str:
        day, rows = trading_day(moment), self._read()
        session = self.session(exchange, day)
        phase = self.phase(exchange, moment)
        if phase is not MarketPhase.CLOSED:
            return f"{phase.replace('_', ' ').lower()}, no continuous trading"
        if session is not None:
            return "outside trading hours"
        if (exchange, day) in rows.holidays:
            return f"holiday: {rows.holidays[exchange, day]}"
        if (exchange, day.year) not in rows.known_years:
            return f"the holidays of {day.year} are not known; add them to the special days"
        return "weekend" if day.weekday() >= 5 else "no session rule covers this day; add one"

    def _continuous(self, exchange: Exchange, day: date) -> Iterator[_Window]:
        return (window for window in self._windows(exchange, day) if window.phase is MarketPhase.CONTINUOUS)

    def _windows(self, exchange: Exchange, day: date) -> list[_Window]:
        """The phases of a day; none when it is closed or not known."""
        rows = self._read()
        special = rows.sessions.get((exchange, day))
        if special is not None and special.start_time is not None and special.end_time is not None:
            return [_Window(MarketPhase.CONTINUOUS, "", special.start_time, special.end_time)]
        if day.weekday() >= 5 or (exchange, day) in rows.holidays or (exchange, day.year) not in rows.known_years:
            return []
        return _ordinary(rows.rules.get(exchange, []), day)

    def _read(self) -> _Rows:
        global _rows
        now = self._clock.monotonic()
        if _rows is None or not 0 <= now - _rows.read_at < MAX_AGE_SECONDS:
            _rows = _load(now)
        return _rows


def _ordinary(rules: list[SessionRule], day: date) -> list[_Window]:
    valid = [rule for rule in rules if rule.valid_from <= day and (rule.valid_until is None or day <= rule.valid_until)]
    newest: dict[str, date] = {}
    for rule in valid:
        newest[rule.phase] = max(rule.valid_from, newest.get(rule.phase, rule.valid_from))
    return [
        _Window(MarketPhase(rule.phase), rule.share_class, rule.start_time, rule.end_time)
        for rule in valid
        if rule.valid_from == newest[rule.phase]
    ]


def _load(now: float) -> _Rows:
    rules: dict[str, list[SessionRule]] = {}
    for rule in SessionRule.objects.all():
        rules.setdefault(rule.exchange, []).append(rule)
    holidays: dict[tuple[str, date], str] = {}
    sessions: dict[tuple[str, date], SpecialDay] = {}
    for special in SpecialDay.objects.all():
        if special.kind == SpecialDay.Kind.HOLIDAY:
            holidays[special.exchange, special.date] = special.note or "no name given"
        else:
            sessions[special.exchange, special.date] = special
    known_years = frozenset((exchange, day.year) for exchange, day in holidays)
    return _Rows(read_at=now, rules=rules, holidays=holidays, sessions=sessions, known_years=known_years)


def _utc(day: date, at: time) -> datetime:
    return datetime.combine(day, at, IST).astimezone(UTC)
