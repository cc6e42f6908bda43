"""The call budget of a broker account, shared by every process through Redis.

One script counts all windows at once, by the server's clock: a call is granted in every window or in none. Polls and
questions leave a part of each window and of the day to what is more urgent. When the server loses its counts, or starts
anew and may have lost the last of them, every process brings back what it remembers of its own with its next call, as it
does with what could not wait while the server was away; those of the day are noted elsewhere as well, and given back from
there.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import redis
from django.conf import settings

from brokers import limit_scripts
from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerUnavailable, RateLimited

if TYPE_CHECKING:
    from brokers.models import BrokerAccount

log = logging.getLogger("brokers.limits")


class Urgency(IntEnum):
    """What a call is for; what can wait leaves a part of the budget to what cannot."""

    POLL = 0
    #: Finds out what became of an order. It leaves orders enough of a window to cancel, or to leave a position.
    QUESTION = 1
    #: Sends an order, or is needed for one.
    ORDER = 2


#: Parts of a window, and of the day, that are kept for what is more urgent.
WINDOW_RESERVE = {Urgency.POLL: 0.25, Urgency.QUESTION: 0.10, Urgency.ORDER: 0.0}
DAY_RESERVE = {Urgency.POLL: 0.10, Urgency.QUESTION: 0.05, Urgency.ORDER: 0.0}
#: Each window is counted this much longer, since a call reaches the broker a moment after its grant.
SLACK_MS = 200
#: What a caller is told to wait when the day's budget is spent; it is not the limiter's to know the day's end.
DAY_SPENT_WAIT = timedelta(hours=1)
SOCKET_SECONDS = 2.0

#: One in so many calls of a window is taken for forgotten when the server lost its counts: made by processes that have
#: ended since. Who remembers none itself, as a new process does, knows of the loss by the account's session.
FORGOTTEN_PART = 2
#: One in so many calls of a window is left alone: for a call that a stopped process sends late, or that was made
#: while Redis was away.
HEADROOM_PART = 20

#: What GRANT answers.
_GRANTED, _WAIT, _DAY_SPENT, _COUNTS_WERE_LOST = range(4)


class DayCount(NamedTuple):
    """The calls of an account and day, and when the counts were born that say so, in the server's milliseconds."""

    calls: int
    birth: int


class _Call(NamedTuple):
    """A call of this process: its moment in milliseconds by the server's clock, and what tells it from others of that."""

    moment: int
    name: str

    def __str__(self) -> str:
        return f"{self.moment}:{self.name}"


@dataclass(kw_only=True)
class _Memory:
    """What this process was granted of one key."""

    #: No other process of any machine has it.
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Of the counts that know of it, in the server's milliseconds.
    birth: int = 0
    #: The server's; none when a call could not be counted.
    run: str = ""
    #: Later calls were never counted, and of the others a new run can lack only those that a window still counts.
    counted_until: int = 0
    day: str = ""
    of_day: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    #: No broker grants more in its longest window.
    recent: deque[_Call] = field(default_factory=lambda: deque(maxlen=1000))

    def next_name(self) -> str:
        return f"{self.owner}:{next(self.numbers)}"

    def note(self, moment: int, name: str, day: str) -> None:
        self.of_day = self.of_day + 1 if day == self.day else 1
        self.day = day
        self.recent.append(_Call(moment, name))

    def maybe_uncounted(self, since: int) -> Iterator[_Call]:
        """What a new run of the server may lack; ``since`` is from when on a window counts."""
        return (call for call in self.recent if call.moment > min(since, self.counted_until))

    def forget_before(self, moment: int) -> None:
        """Forget what no window counts any more; never the newest."""
        while len(self.recent) > 1 and self.recent[0].moment <= moment:
            self.recent.popleft()


_memories: dict[str, _Memory] = {}
_memory_lock = threading.Lock()


def forget() -> None:
    """Remember no grant, as a new process does."""
    _memories.clear()


os.register_at_fork(after_in_child=forget)


class CallLimiter:
    """Grants calls to a broker within its limits. Processes and threads may share one account."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
        )
        # Loads the script again by itself after SCRIPT FLUSH or a restart of the server.
        self._grant = self._redis.register_script(limit_scripts.GRANT)
        self._bring_back = self._redis.register_script(limit_scripts.BRING_BACK)
        self._give_back = self._redis.register_script(limit_scripts.GIVE_BACK)
        self._late = self._redis.register_script(limit_scripts.COUNT_LATE)

    def count(self, account: BrokerAccount, now: datetime, *, urgency: Urgency) -> None:
        """Count one call of an account at its broker, within the limits that the broker states.

        Without Redis only orders are let through: their own limits are in the ledger's database.

        :raises RateLimited, BrokerUnavailable: as :meth:`acquire` says.
        """
        capabilities = spec_of(account.broker).capabilities
        day = trading_day(now).isoformat()
        try:
            self.acquire(
                str(account),
                windows=capabilities.call_limits,
                per_day=capabilities.calls_per_day,
                day=day,
                urgency=urgency,
                was_called=lambda: _was_called(account, now),
            )
        except BrokerUnavailable:
            if urgency is not Urgency.ORDER:
                raise
            memory = _memories.setdefault(str(account), _Memory())
            with _memory_lock:
                # What the server's clock says is not known; it is this machine's, or kept like it.
                memory.note(time.time_ns() // 1_000_000, memory.next_name(), day)
                memory.run = ""
            log.warning("call not counted yet, since Redis does not answer", extra={"account": str(account)})

    def require_room(self, account: BrokerAccount, *, calls: int, urgency: Urgency) -> None:
        """Look whether so many calls fit into every window now; counts none of them.

        :raises RateLimited: they do not. Begun all the same, they would be given up half-way and be lost.
        :raises BrokerUnavailable: Redis cannot be asked.
        """
        try:
            seconds_now, micros = self._redis.time()
            for limit, seconds in spec_of(account.broker).capabilities.call_limits:
                since = seconds_now * 1000 + micros // 1000 - seconds * 1000 - SLACK_MS
                used = int(self._redis.zcount(f"mcube:calls:{{{account}}}:log", f"({since}", "+inf"))
                if used + calls > _open_to(urgency, limit):
                    raise RateLimited(
                        f"{account} has no room for {calls} calls now, {used} of {limit} in {seconds} s are used; "
                        "try again in a second.",
                        retry_after=timedelta(seconds=1),
                    )
        except redis.RedisError as error:
            raise _uncounted(str(account), error) from error

    def acquire(
        self,
        key: str,
        *,
        windows: Sequence[tuple[int, int]],
        per_day: int | None,
        day: str,
        urgency: Urgency = Urgency.POLL,
        was_called: Callable[[], bool] = lambda: False,
    ) -> None:
        """Count one call of ``key``, or refuse it and count nothing.

        ``windows`` are (calls, seconds); ``day`` names the market's day, e.g. ``2026-11-22``. ``was_called`` says whether
        calls are known to have been made before, which new counts lack.

        :raises RateLimited: a window is full or the day is spent; says how long to wait.
        :raises BrokerUnavailable: Redis cannot be asked; without a count no call is made.
        """
        budget = [-1 if per_day is None else _share(per_day, DAY_RESERVE[urgency])]
        for calls, seconds in windows:
            budget += [_open_to(urgency, calls), seconds * 1000 + SLACK_MS]
        try:
            code, value = self._ask(key, day, budget, _forgotten(windows), was_called)
        except redis.RedisError as error:
            raise _uncounted(key, error) from error
        if code == _DAY_SPENT:
            raise RateLimited(
                f"The {budget[0]} calls that {key} may make on {day} are spent; "
                + ("no more is possible today." if urgency is Urgency.ORDER else "the rest is kept for orders."),
                retry_after=DAY_SPENT_WAIT,
            )
        if code != _GRANTED:
            wait = value if code == _WAIT else SLACK_MS
            raise RateLimited(
                f"{key} has used its calls for now; try again in {wait} ms.", retry_after=timedelta(milliseconds=wait)
            )

    def _ask(
        self, key: str, day: str, budget: list[int], forgotten: int, was_called: Callable[[], bool]
    ) -> tuple[int, int]:
        """Code and value of the script, once the counts know what this process was granted before."""
        keys = _keys(key, day)
        memory = _memories.setdefault(key, _Memory())
        name = memory.next_name()
        longest_ms = max(budget[2::2], default=0)
        code, value, *server = self._grant(keys=keys[:3], args=[memory.birth, memory.run, name, *budget])
        if code == _COUNTS_WERE_LOST:
            run, now, is_new = server
            were_lost = bool(memory.recent) or (is_new and was_called())
            with _memory_lock:
                if memory.birth != value:
                    of_day = memory.of_day if memory.day == day else 0
                    of_others = forgotten if were_lost else 0
                    self._bring_back(keys=keys, args=[memory.owner, of_day, of_others, value, *map(str, memory.recent)])
                else:
                    self._late(keys=keys[:3], args=[value, *map(str, memory.maybe_uncounted(now - longest_ms))])
                memory.birth, memory.run, memory.counted_until = value, run.decode(), now
            code, value, *_ = self._grant(keys=keys[:3], args=[memory.birth, memory.run, name, *budget])
        if code == _GRANTED:
            with _memory_lock:
                memory.note(value, name, day)
                memory.counted_until = value
                memory.forget_before(value - longest_ms)
        return code, value

    def spent(self, accounts: Iterable[BrokerAccount], day: date) -> list[int]:
        """How many calls each account has made on an IST day, in their order.

        :raises BrokerUnavailable: Redis cannot be asked.
        """
        try:
            counts = self._redis.mget([f"mcube:calls:{{{account}}}:{day.isoformat()}" for account in accounts])
        except redis.RedisError as error:
            raise _unknown(error) from error
        return [int(count or 0) for count in counts]

    def give_back(self, noted: Mapping[BrokerAccount, DayCount], day: date) -> dict[BrokerAccount, DayCount]:
        """Count again what was noted of an IST day and lost since; return the counts as they then are.

        :raises BrokerUnavailable: Redis cannot be asked.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for account, count in noted.items():
                    self._give_back(keys=_keys(str(account), day.isoformat()), args=[*count], client=pipeline)
                counts = pipeline.execute()
        except redis.RedisError as error:
            raise _unknown(error) from error
        return {account: DayCount(*count) for account, count in zip(noted, counts, strict=True)}

    def close(self) -> None:
        self._redis.close()


@cache
def limiter_of(redis_url: str) -> CallLimiter:
    """The one of this process, whose connections all accounts share."""
    return CallLimiter(redis_url)


def count_for_order(account: BrokerAccount, now: datetime, *, calls: int) -> None:
    """Count calls of an account that cannot wait for reads, one after another.

    :raises RateLimited: there is no room for all of them; those before it stay counted.
    """
    limiter = limiter_of(settings.REDIS_URL)
    for _ in range(calls):
        limiter.count(account, now, urgency=Urgency.ORDER)


def read_share(calls_per_day: int) -> int:
    """The part of a day's budget that reads may spend."""
    return _share(calls_per_day, DAY_RESERVE[Urgency.POLL])


def _was_called(account: BrokerAccount, now: datetime) -> bool:
    """Whether the account has logged in on this IST day, which takes calls."""
    from brokers.models import SessionState

    opened = SessionState.objects.filter(account_id=account.pk).values_list("opened_at", flat=True).first()
    return opened is not None and trading_day(opened) == trading_day(now)


def _keys(key: str, day: str) -> list[str]:
    names = ("log", day, "birth", f"{day}:brought", f"{day}:noted")
    return [f"mcube:calls:{{{key}}}:{name}" for name in names]


def _unknown(error: redis.RedisError) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"The calls of the day are not known, since Redis does not answer ({type(error).__name__})."
    )


def _uncounted(key: str, error: redis.RedisError) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"The calls of {key} cannot be counted, since Redis does not answer ({type(error).__name__}); "
        "no call is made. Start Redis, then try again."
    )


def _open_to(urgency: Urgency, calls: int) -> int:
    """How many calls of a window may be made before one of this urgency has to wait."""
    return _share(calls - calls // HEADROOM_PART, WINDOW_RESERVE[urgency])


def _forgotten(windows: Sequence[tuple[int, int]]) -> int:
    """Calls of others that are taken for forgotten, whoever is the first to notice."""
    return max((_open_to(Urgency.ORDER, calls) // FORGOTTEN_PART for calls, _ in windows), default=0)


def _share(limit: int, reserve: float) -> int:
    """The part of ``limit`` that this call may fill: all of it, or all but the reserve, and never none."""
    return max(1, limit - math.ceil(limit * reserve))
