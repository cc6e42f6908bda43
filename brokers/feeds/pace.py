"""How soon order events have the book read: at once, and seldom when they cost calls that the schedule lives on."""

from __future__ import annotations

import math

from brokers import budgets
from brokers.calendar import MarketCalendar
from brokers.discovery import spec_of
from brokers.domain.enums import Exchange, MarketPhase
from brokers.interfaces import Clock
from brokers.models import BrokerAccount

#: Order events within this time are one read.
FIRST_SECONDS = 1.0
#: The same where the broker counts the calls of a day. While events keep coming each read is waited for twice as long as
#: the one before, from the first to the last: a feed that flaps, or a day of many orders, would spend them all.
LIMITED_FIRST_SECONDS, LIMITED_LAST_SECONDS = 10.0, 80.0
#: There, while no exchange is in any phase: what happens to an order then can wait.
CLOSED_SECONDS = 300.0


class ReadPace:
    """Of one account. Asks Redis and the database in :meth:`look` only."""

    def __init__(self, account: BrokerAccount, clock: Clock) -> None:
        self._account, self._clock = account, clock
        self._calendar = MarketCalendar(clock)
        self._is_limited = spec_of(account.broker).capabilities.calls_per_day is not None
        self._first = LIMITED_FIRST_SECONDS if self._is_limited else FIRST_SECONDS
        self._last = LIMITED_LAST_SECONDS if self._is_limited else FIRST_SECONDS
        self._seconds, self._read_at = self._first, -math.inf
        #: How many times longer reads wait than when the day's calls last, and how long at least.
        self._stretch, self._least = budgets.MOST if self._is_limited else 1, 0.0

    def look(self) -> None:
        """Hold the pace against the calls that are left of the day, and against the hours."""
        if not self._is_limited:
            return
        plan = budgets.plans([self._account], self._clock).get(self._account.pk)
        self._stretch = plan.stretch if plan else budgets.MOST
        is_closed = all(self._calendar.phase(exchange) is MarketPhase.CLOSED for exchange in Exchange)
        self._least = CLOSED_SECONDS if is_closed else 0.0

    def may_read(self, now: float) -> bool:
        """Whether the book may be read at these monotonic seconds."""
        return now - self._read_at >= self._wait

    def note_read(self, now: float) -> None:
        """The book was asked for."""
        keeps_coming = now - self._read_at <= 2 * self._wait
        self._seconds = min(2 * self._seconds, self._last) if keeps_coming else self._first
        self._read_at = now

    @property
    def _wait(self) -> float:
        return max(self._seconds * self._stretch, self._least)
