"""What beat's ticks are made of: a slot of the market's time, and one call for each active account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from brokers import budgets
from brokers.budgets import DayPlan
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import Exchange, MarketPhase

if TYPE_CHECKING:
    from brokers.models import BrokerAccount
    from tasks.base import BaseTask

#: Sessions and instruments are made ready this long before the first exchange opens.
BEFORE_OPEN = timedelta(minutes=75)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One beat of one schedule. Ticks of the same slot are the same tick, whoever sends them."""

    slot_at: datetime
    cadence: timedelta

    @classmethod
    def of(cls, slot_at: str | None, cadence_seconds: float | None) -> Tick:
        """Read what beat put into the call; called by hand, the tick is of this second."""
        cadence = timedelta(seconds=cadence_seconds or 1)
        return cls(slot_at=datetime.fromisoformat(slot_at) if slot_at else slot(cadence), cadence=cadence)

    def is_due(self, every: timedelta) -> bool:
        """Whether this tick is one of those that come only ``every`` so often."""
        return floor(self.slot_at, every) == self.slot_at


def floor(moment: datetime, cadence: timedelta) -> datetime:
    """The start of the slot that ``moment`` is in."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return moment - (moment - epoch) % cadence


def slot(cadence: timedelta) -> datetime:
    """The slot of now, in the market's time."""
    return floor(configured_clock().now(), cadence)


def market_is_active() -> bool:
    """Whether any exchange is in one of its phases now."""
    calendar = MarketCalendar(configured_clock())
    return any(calendar.phase(exchange) is not MarketPhase.CLOSED for exchange in Exchange)


def trading_day_is_near() -> bool:
    """Whether it is a trading day, and later than shortly before the first opening but before the last close."""
    clock = configured_clock()
    calendar = MarketCalendar(clock)
    now = clock.now()
    sessions = [calendar.session(exchange, trading_day(now)) for exchange in Exchange]
    held = [session for session in sessions if session is not None]
    return bool(held) and min(opens for opens, _ in held) - BEFORE_OPEN <= now <= max(closes for _, closes in held)


def each_account(
    task: BaseTask,
    tick: Tick,
    *,
    where: Callable[[BrokerAccount], bool] = lambda account: True,
    every: Callable[[BrokerAccount], timedelta | None] | None = None,
    more: Mapping[str, str] | None = None,
) -> int:
    """Enqueue ``task`` for every active account, with ``more`` arguments; return how many.

    With ``every``, only for those that have a cadence and for which a slot of it begins with this tick. The message
    lapses before the next slot's, and its id is that of the slot.
    """
    count = 0
    for account in active_accounts():
        cadence = every(account) if every else tick.cadence
        if cadence is None or (every and not tick.is_due(cadence)) or not where(account):
            continue
        kwargs: dict[str, object] = {
            "broker": account.broker,
            "account": account.name,
            "slot_at": tick.slot_at.isoformat(),
            **(more or {}),
        }
        if every:
            kwargs["cadence_seconds"] = cadence.total_seconds()
        task.apply_async(
            kwargs=kwargs,
            task_id=f"{task.name.rpartition('.')[2]}-{account.pk}-{tick.slot_at:%Y%m%dT%H%M%S}",
            expires=max(1.0, cadence.total_seconds() * 0.9),
        )
        count += 1
    return count


def day_plans() -> dict[int, DayPlan]:
    """How the day's calls of the active accounts last, by account."""
    return budgets.plans(active_accounts(), configured_clock())


def active_accounts() -> Iterator[BrokerAccount]:
    """Accounts that are polled and may trade."""
    from brokers.models import BrokerAccount

    return BrokerAccount.objects.filter(is_active=True).order_by("broker", "name").iterator()
