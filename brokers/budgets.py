"""The calls of a day, planned: when they run short against the time left, polls come slower.

Reads spend a day's budget evenly when all goes well. Somebody who asks for much, or a start in the middle of the day, leaves
less than the time that is left needs; then whatever is asked for regularly waits longer, before anything else is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from brokers.alerts import close_alert, open_keys, raise_alert, was_raised
from brokers.calendar import MarketCalendar
from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import Exchange
from brokers.domain.errors import BrokerUnavailable
from brokers.interfaces import Clock
from brokers.limits import DayCount, limiter_of, read_share
from brokers.models import BrokerAccount, DayCalls, Severity

#: A plan that is behind by less than this part is not behind.
TOLERANCE = 0.1
#: Polls are never slowed further than this: what the day's loss is held against must not grow old.
MOST = 10
_KIND = "calls_run_short"


@dataclass(frozen=True, kw_only=True, slots=True)
class DayPlan:
    """The calls of one account and day."""

    #: What reads may spend in the day.
    budget: int
    #: What was spent, orders included.
    spent: int
    #: Part of the trading day that is still to come, 1 before it and 0 after it.
    time_left: float

    @property
    def left(self) -> int:
        return max(0, self.budget - self.spent)

    @property
    def stretch(self) -> int:
        """How many times longer polls wait; 1 while the budget lasts at the pace at which it lasts a whole day."""
        part_left = self.left / self.budget
        if self.time_left <= part_left + TOLERANCE * self.time_left:
            return 1
        return MOST if part_left <= 0 else min(MOST, math.ceil(self.time_left / part_left))

    @property
    def words(self) -> str:
        """One sentence; empty while the budget lasts."""
        if self.stretch == 1:
            return ""
        return (
            f"{self.spent:,} of the {self.budget:,} calls that reads may make today are spent with {self.time_left:.0%} of "
            f"the day to come; polls come {self.stretch} times slower."
        )


def plans(accounts: Iterable[BrokerAccount], clock: Clock) -> dict[int, DayPlan]:
    """The plan of each account, by its key, whose broker limits a day; asked in one call.

    None while Redis does not answer: then nothing is read, however few calls are left.
    """
    limited, now = _limited(accounts), clock.now()
    if not limited:
        return {}
    try:
        spent = limiter_of(settings.REDIS_URL).spent(limited, trading_day(now))
    except BrokerUnavailable:
        return {}
    left = _time_left(clock, now)
    return {
        account.pk: DayPlan(budget=read_share(limit), spent=used, time_left=left)
        for (account, limit), used in zip(limited.items(), spent, strict=True)
    }


def note(accounts: Iterable[BrokerAccount], clock: Clock) -> None:
    """Write down the calls that each account has made today, and have those counted again that Redis has lost since.

    A process brings back its own; of those of processes that have ended nobody else knows. While Redis does not answer
    nothing is noted.
    """
    limited, day = _limited(accounts), trading_day(clock.now())
    if not limited:
        return
    known = {row.account_id: DayCount(row.calls, row.birth) for row in DayCalls.objects.filter(day=day)}
    noted = {account: known.get(account.pk, DayCount(0, 0)) for account in limited}
    try:
        counts = limiter_of(settings.REDIS_URL).give_back(noted, day)
    except BrokerUnavailable:
        return
    DayCalls.objects.bulk_create(
        [DayCalls(account=account, day=day, **count._asdict()) for account, count in counts.items()],
        update_conflicts=True,
        unique_fields=["account"],
        update_fields=["day", "calls", "birth"],
    )


def tell(accounts: Iterable[BrokerAccount], found: Mapping[int, DayPlan], now: datetime) -> None:
    """One alert for an account and day while its budget runs short; taken back when it lasts again."""
    told = open_keys(_KIND)
    for account in accounts:
        plan = found.get(account.pk)
        if plan is None:
            continue
        key = f"{account.pk}:{trading_day(now)}"
        if plan.stretch == 1:
            if key in told:
                close_alert(_KIND, key, because="the calls last for the rest of the day again", at=now)
        elif not was_raised(_KIND, key):
            raise_alert(
                _KIND,
                key,
                severity=Severity.WARNING,
                happened=f"{account}: {plan.words}",
                meaning="Snapshots and the books of accounts without open orders are older than usual; orders have calls of their own.",
                to_do="Look which strategy asks for so much, and have it use the cached reads; or poll more seldom in the admin.",
                at=now,
                account=account,
            )


def _limited(accounts: Iterable[BrokerAccount]) -> dict[BrokerAccount, int]:
    """The calls of a day, of those accounts whose broker limits them."""
    return {
        account: limit
        for account in accounts
        if (limit := spec_of(account.broker).capabilities.calls_per_day) is not None
    }


def _time_left(clock: Clock, now: datetime) -> float:
    """Part of today's trading, over all exchanges, that is still to come; 0 on a day without any."""
    calendar = MarketCalendar(clock)
    held = [session for exchange in Exchange if (session := calendar.session(exchange, trading_day(now))) is not None]
    if not held:
        return 0.0
    opens, closes = min(start for start, _ in held), max(end for _, end in held)
    return min(1.0, max(0.0, (closes - now) / (closes - opens)))
