"""What beat's ticks are made of: a slot of the market's time, and one call for each active account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zlib import crc32

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    def reads(self, every: timedelta, offset: timedelta) -> datetime | None:
        """The slot that is read with this tick, where each is read ``offset`` after its start; None for none."""
        start = floor(self.slot_at, every)
        # To the tick before it, where ticks are further apart.
        return start if self.slot_at - start == offset - offset % self.cadence else None


def floor(moment: datetime, cadence: timedelta) -> datetime:
    """The start of the slot that ``moment`` is in."""
    return moment - (moment - _EPOCH) % cadence


def slot(cadence: timedelta) -> datetime:
    """The slot of now, in the market's time."""
    return floor(configured_clock().now(), cadence)


def slot_of(slot_at: str | None) -> datetime:
    """The slot that a reading is for. One that no schedule asked for has its own, which is none of any cadence's."""
    if slot_at:
        return datetime.fromisoformat(slot_at)
    now = configured_clock().now()
    # Scheduled slots begin with a whole second.
    return now.replace(microsecond=now.microsecond or 1)


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
    offset: Callable[[BrokerAccount, timedelta], timedelta] = lambda account, every: timedelta(0),
    more: Mapping[str, str] | None = None,
) -> int:
    """Enqueue ``task`` for every active account, with ``more`` arguments; return how many.

    With ``every``, only for those that have a cadence and a slot of it that is read ``offset`` after its start, with
    this tick. The message lapses before the next slot's is sent, and its id is that of the slot.
    """
    count = 0
    for account in in_turn(active_accounts(), tick):
        cadence = every(account) if every else None
        if (every and cadence is None) or not where(account):
            continue
        slot_at = tick.reads(cadence, offset(account, cadence)) if cadence else tick.slot_at
        if slot_at is not None:
            enqueue(task, account, slot_at, tick.cadence, cadence, more or {})
            count += 1
    return count


def enqueue(
    task: BaseTask,
    account: BrokerAccount,
    slot_at: datetime,
    lasts: timedelta,
    every: timedelta | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Enqueue ``task`` for one slot of an account; ``lasts`` says how long the message does where it has no cadence."""
    kwargs: dict[str, object] = {
        "broker": account.broker,
        "account": account.name,
        "slot_at": slot_at.isoformat(),
        **(more or {}),
    }
    if every:
        kwargs["cadence_seconds"] = every.total_seconds()
    task.apply_async(
        kwargs=kwargs,
        task_id=f"{task.name.rpartition('.')[2]}-{account.pk}-{slot_at:%Y%m%dT%H%M%S}",
        expires=max(1.0, (every or lasts).total_seconds() * 0.9),
    )


def in_turn(accounts: Iterable[BrokerAccount], tick: Tick) -> list[BrokerAccount]:
    """The accounts in another order at each tick, which follows from its slot: a full queue starves none for ever."""
    return sorted(accounts, key=lambda account: crc32(f"{tick.slot_at.timestamp():.0f} {account}".encode()))


def day_plans() -> dict[int, DayPlan]:
    """How the day's calls of the active accounts last, by account."""
    return budgets.plans(active_accounts(), configured_clock())


def active_accounts() -> Iterator[BrokerAccount]:
    """Accounts that are polled and may trade."""
    from brokers.models import BrokerAccount

    return BrokerAccount.objects.filter(is_active=True).order_by("broker", "name").iterator()
