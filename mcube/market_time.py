"""Where the simulated exchange's clock stands when a stack starts: in session, and never back."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from brokers.clock import IST, SimulatedClock, trading_day
from brokers.domain.enums import Exchange

if TYPE_CHECKING:
    from brokers.calendar import MarketCalendar

#: IST; the opening auction is over and prices have settled.
START = time(9, 30)
EXCHANGE = Exchange.NFO


def settle(clock: SimulatedClock, calendar: MarketCalendar, *, first: bool) -> datetime:
    """Move the clock into a session if it is not in one, and return the market's time.

    ``first``: nothing has been recorded by this clock yet, so that today's session may start anew.

    :raises LookupError: the calendar knows no further session.
    """
    now = clock.now()
    if first:
        target = _start(calendar, trading_day(now)) or _next_start(calendar, now)
    elif calendar.is_open(EXCHANGE, now):
        return now
    else:
        target = _next_start(calendar, now)
    clock.set(target)
    return target


def _next_start(calendar: MarketCalendar, now: datetime) -> datetime:
    opening = calendar.next_open(EXCHANGE, now)
    if opening is None:
        raise LookupError(
            f"The calendar knows no session of {EXCHANGE} after {now:%d %b %Y}; add the next year's days in the admin."
        )
    return _start(calendar, trading_day(opening)) or opening


def _start(calendar: MarketCalendar, day: object) -> datetime | None:
    """09:30 IST of a session, or a quarter of an hour into one at special hours; None on a day without."""
    session = calendar.session(EXCHANGE, day)
    if session is None:
        return None
    opening, closing = session
    usual = datetime.combine(trading_day(opening), START, IST)
    return usual if opening <= usual < closing else opening + timedelta(minutes=15)
