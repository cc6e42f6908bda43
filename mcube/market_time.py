"""Where the simulated exchange's clock stands when a stack starts: in session, and never back."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from django.conf import settings
from django.core.management.base import CommandError

from brokers.calendar import MarketCalendar
from brokers.clock import CLOCK_FILE, IST, SimulatedClock, trading_day
from brokers.domain.enums import Exchange

#: IST; the opening auction is over and prices have settled.
START = time(9, 30)
EXCHANGE = Exchange.NFO
#: No exchange is closed for longer.
LONGEST_PAUSE_DAYS = 14


def settle() -> datetime:
    """Move the installation's simulated clock into a session if it is not in one; return the market's time.

    Where nothing has happened by the clock yet, the last session that the calendar knows will do as well.

    :raises CommandError: the calendar knows no further session, or none at all.
    """
    path = settings.HOME / CLOCK_FILE
    clock = SimulatedClock(path)
    calendar = MarketCalendar(clock)
    now = clock.now()
    if not path.exists():  # nothing has happened by this clock yet, so today's session may start anew
        target = _start(calendar, trading_day(now)) or _last_start(calendar, now) or _next_start(calendar, now)
    elif calendar.is_open(EXCHANGE, now):
        return now
    else:
        target = _next_start(calendar, now)
    clock.set(target)
    return target


def _next_start(calendar: MarketCalendar, now: datetime) -> datetime:
    opening = calendar.next_open(EXCHANGE, now)
    if opening is None:
        raise CommandError(
            f"The calendar knows no session of {EXCHANGE} after {now:%d %b %Y}; enter the year's holidays with "
            "manage.py holidays."
        )
    return _start(calendar, trading_day(opening)) or opening


def _last_start(calendar: MarketCalendar, now: datetime) -> datetime | None:
    """The start of the last session that is known, when the calendar ended before now; None otherwise."""
    until = calendar.known_until(EXCHANGE)
    if until is None or until >= trading_day(now):
        return None
    days = (until - timedelta(days=back) for back in range(LONGEST_PAUSE_DAYS))
    return next((start for day in days if (start := _start(calendar, day)) is not None), None)


def _start(calendar: MarketCalendar, day: date) -> datetime | None:
    """09:30 IST of a session, or a quarter of an hour into one at special hours; None on a day without."""
    session = calendar.session(EXCHANGE, day)
    if session is None:
        return None
    opening, closing = session
    usual = datetime.combine(trading_day(opening), START, IST)
    return usual if opening <= usual < closing else opening + timedelta(minutes=15)
