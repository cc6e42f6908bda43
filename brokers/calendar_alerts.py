"""Tells people in time that the calendar ends: what is not known counts as closed, and nothing would trade."""

from __future__ import annotations

from brokers.alerts import close_alert, raise_alert
from brokers.calendar import MarketCalendar
from brokers.clock import trading_day
from brokers.domain.enums import Exchange
from brokers.interfaces import Clock
from brokers.models import Severity

#: A calendar that is known for fewer days than this is soon at its end. The exchanges publish a year in December.
DAYS_AHEAD = 30
_KIND = "calendar_ends"


def tell(clock: Clock) -> None:
    """One alert for each exchange whose known days end soon, graver when they have ended; taken back when they do not."""
    calendar, now = MarketCalendar(clock), clock.now()
    for exchange in Exchange:
        until = calendar.known_until(exchange)
        days = (until - trading_day(now)).days if until else -1
        if days >= DAYS_AHEAD:
            close_alert(_KIND, exchange, because="the calendar goes on", at=now)
            continue
        raise_alert(
            _KIND,
            exchange,
            severity=Severity.WARNING if days >= 0 else Severity.CRITICAL,
            happened=f"The calendar of {exchange} is known until {until:%d %b %Y}."
            if until
            else f"{exchange} has no calendar.",
            meaning="A day that is not known counts as closed: no order is sent and nothing is read by schedule.",
            to_do="Enter the exchange's list of holidays of the next year in the admin, and its hours if they ended.",
            at=now,
        )
