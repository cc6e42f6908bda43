"""The call budget of a broker account, shared by every process through Redis.

One script counts all windows at once, by the server's clock: a call is granted in every window or in
none. Polls may use a part of each window only, and of the day both they and questions leave a part to orders. When
the server loses its counts, every process brings back what it remembers of its own with its next call, as it does with
what could not wait while the server was away; those of the day are noted elsewhere as well, and given back from there.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import redis
from django.conf import settings

from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerUnavailable, RateLimited

if TYPE_CHECKING:
    from brokers.models import BrokerAccount

log = logging.getLogger("brokers.limits")


class Urgency(IntEnum):
    """What a call is for; what can wait leaves a part of the budget to what cannot."""

    POLL = 0
    #: Finds out what became of an order. It may take a whole window, and must leave orders something of the day.
    QUESTION = 1
    #: Sends an order, or is needed for one.
    ORDER = 2


#: Parts of a window, and of the day, that are kept for what is more urgent.
WINDOW_RESERVE = {Urgency.POLL: 0.25, Urgency.QUESTION: 0.0, Urgency.ORDER: 0.0}
DAY_RESERVE = {Urgency.POLL: 0.10, Urgency.QUESTION: 0.05, Urgency.ORDER: 0.0}
#: Each window is counted this much longer, since a call reaches the broker a moment after its grant.
SLACK_MS = 200
#: What a caller is told to wait when the day's budget is spent; it is not the limiter's to know the day's end.
DAY_SPENT_WAIT = timedelta(hours=1)
SOCKET_SECONDS = 2.0

#: One in so many calls of a window is taken for forgotten when the server lost its counts: made by processes that have
#: ended since.
FORGOTTEN_PART = 2
#: One in so many calls of a window is left alone: for a call that a stopped process sends late, or that was made
#: while Redis was away.
HEADROOM_PART = 20

_GRANTED, _WAIT, _DAY_SPENT, _COUNTS_WERE_LOST = range(4)

# KEYS: log of grants (sorted set, score = ms), count of the day, birth of these counts in ms.
# ARGV: the birth that the caller knows, the day's limit (-1: none), then limit and window in ms for each window.
# Returns one of the codes above with: the moment of the grant, the milliseconds to wait, 0, the birth.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], now, 'NX', 'EX', 172800)
local birth = redis.call('GET', KEYS[3])
if birth ~= ARGV[1] then return {3, tonumber(birth)} end
local day_limit = tonumber(ARGV[2])
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
if day_limit >= 0 and used >= day_limit then return {2, 0} end
local wait, longest = 0, 1
for i = 3, #ARGV, 2 do
  local limit, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  longest = math.max(longest, window)
  if redis.call('ZCOUNT', KEYS[1], '(' .. (now - window), '+inf') >= limit then
    local blocking = redis.call('ZRANGE', KEYS[1], -limit, -limit, 'WITHSCORES')
    wait = math.max(wait, 1, blocking[2] and tonumber(blocking[2]) + window - now or window)
  end
end
if wait > 0 then return {1, wait} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - longest)
local number = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('EXPIRE', KEYS[3], 172800)
redis.call('ZADD', KEYS[1], now, now .. ':' .. birth .. ':' .. number)
redis.call('PEXPIRE', KEYS[1], longest)
return {0, now}
"""

# KEYS: as above, what processes brought back of the day, what was noted of it. ARGV: the caller's name, its count of the
# day, how many calls of others are taken for forgotten, the birth of the counts, the moments of the caller's newest grants.
# What was brought back and what was noted are the same calls: the larger of both is counted.
_BRING_BACK = """
local own = tonumber(ARGV[2])
if own > 0 then
  local brought, noted = tonumber(redis.call('GET', KEYS[4]) or '0'), tonumber(redis.call('GET', KEYS[5]) or '0')
  redis.call('INCRBY', KEYS[2], math.max(brought + own, noted) - math.max(brought, noted))
  redis.call('EXPIRE', KEYS[2], 172800)
  redis.call('SET', KEYS[4], brought + own, 'EX', 172800)
end
for i = 1, tonumber(ARGV[3]) do redis.call('ZADD', KEYS[1], ARGV[4], 'forgotten:' .. i) end
for i = 5, #ARGV do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i] .. ':' .. ARGV[1] .. ':' .. i) end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], 172800) end
"""

# KEYS: as above. ARGV: the count of the day that was noted, the birth of the counts that said so.
# Returns the count as it then is, and the birth of these counts.
_GIVE_BACK = """
local time = redis.call('TIME')
redis.call('SET', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), 'NX', 'EX', 172800)
local birth, count = redis.call('GET', KEYS[3]), tonumber(redis.call('GET', KEYS[2]) or '0')
local noted, lost = tonumber(ARGV[1]), 0
if birth == ARGV[2] then
  lost = noted - count
elseif redis.call('SET', KEYS[5], noted, 'NX', 'EX', 172800) then
  lost = noted - tonumber(redis.call('GET', KEYS[4]) or '0')
end
if lost > 0 then
  count = redis.call('INCRBY', KEYS[2], lost)
  redis.call('EXPIRE', KEYS[2], 172800)
end
return {count, tonumber(birth)}
"""


# KEYS: the first three. ARGV: the birth that the caller knows, the caller's name, the moments of calls that were not counted
# when they were made. Returns whether they are counted now.
_COUNT_LATE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('INCRBY', KEYS[2], #ARGV - 2)
redis.call('EXPIRE', KEYS[2], 172800)
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i] .. ':' .. ARGV[2] .. ':late:' .. i) end
redis.call('EXPIRE', KEYS[1], 172800)
return 1
"""


class DayCount(NamedTuple):
    """The calls of an account and day, and when the counts were born that say so, in the server's milliseconds."""

    calls: int
    birth: int


@dataclass(kw_only=True)
class _Memory:
    """What this process was granted of one key."""

    #: Of the counts that know of it, in the server's milliseconds.
    birth: int = 0
    day: str = ""
    of_day: int = 0
    #: Milliseconds by the server's clock. No broker grants more in its longest window.
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=1000))
    #: Of these, what was made while the server could not be asked, in this machine's milliseconds.
    uncounted: deque[int] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, moment: int, day: str, longest_ms: int) -> None:
        """What is older than the longest window is forgotten, since no window would count it; never the newest."""
        self.of_day = self.of_day + 1 if day == self.day else 1
        self.day = day
        self.recent.append(moment)
        while len(self.recent) > 1 and self.recent[0] <= moment - longest_ms:
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
        self._grant = self._redis.register_script(_SCRIPT)
        self._bring_back = self._redis.register_script(_BRING_BACK)
        self._give_back = self._redis.register_script(_GIVE_BACK)
        self._late = self._redis.register_script(_COUNT_LATE)

    def count(self, account: BrokerAccount, now: datetime, *, urgency: Urgency) -> None:
        """Count one call of an account at its broker, within the limits that the broker states.

        Without Redis all but polls are let through: an order's own limits are in the ledger's database.

        :raises RateLimited, BrokerUnavailable: as :meth:`acquire` says.
        """
        capabilities = spec_of(account.broker).capabilities
        try:
            self.acquire(
                str(account),
                windows=capabilities.call_limits,
                per_day=capabilities.calls_per_day,
                day=trading_day(now).isoformat(),
                urgency=urgency,
            )
        except BrokerUnavailable:
            if urgency is Urgency.POLL:
                raise
            log.warning("call not counted yet, since Redis does not answer", extra={"account": str(account)})
            longest_seconds = max((seconds for _, seconds in capabilities.call_limits), default=0)
            self.note_uncounted(str(account), trading_day(now).isoformat(), longest_seconds * 1000 + SLACK_MS)

    def note_uncounted(self, key: str, day: str, longest_ms: int) -> None:
        """Remember a call that is made while Redis is away, to be counted when it is back."""
        # What the server's clock says is not known; it is this machine's, or kept like it.
        moment = time.time_ns() // 1_000_000
        memory = _memories.setdefault(key, _Memory())
        with _memory_lock:
            memory.note(moment, day, longest_ms)
            memory.uncounted.append(moment)

    def require_room(self, account: BrokerAccount, *, calls: int) -> None:
        """Look whether so many calls of a question or an order fit into every window now; counts none of them.

        :raises RateLimited: they do not. Begun all the same, they would be given up half-way and be lost.
        :raises BrokerUnavailable: Redis cannot be asked.
        """
        try:
            seconds_now, micros = self._redis.time()
            for limit, seconds in spec_of(account.broker).capabilities.call_limits:
                since = seconds_now * 1000 + micros // 1000 - seconds * 1000 - SLACK_MS
                used = int(self._redis.zcount(f"mcube:calls:{{{account}}}:log", f"({since}", "+inf"))
                if used + calls > limit - limit // HEADROOM_PART:
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
    ) -> None:
        """Count one call of ``key``, or refuse it and count nothing.

        ``windows`` are (calls, seconds); ``day`` names the market's day, e.g. ``2026-11-22``.

        :raises RateLimited: a window is full or the day is spent; says how long to wait.
        :raises BrokerUnavailable: Redis cannot be asked; without a count no call is made.
        """
        budget = [-1 if per_day is None else _share(per_day, DAY_RESERVE[urgency])]
        for calls, seconds in windows:
            budget += [_share(calls - calls // HEADROOM_PART, WINDOW_RESERVE[urgency]), seconds * 1000 + SLACK_MS]
        try:
            code, value = self._ask(key, day, budget)
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

    def _ask(self, key: str, day: str, budget: list[int]) -> tuple[int, int]:
        """Code and value of the script, once the counts know what this process was granted before."""
        keys = _keys(key, day)
        memory = _memories.setdefault(key, _Memory())
        self._count_late(keys, memory)
        code, value = self._grant(keys=keys[:3], args=[memory.birth, *budget])
        if code == _COUNTS_WERE_LOST:
            with _memory_lock:
                if memory.birth != value:
                    of_day = memory.of_day if memory.day == day else 0
                    # Who remembers nothing is new, and so may be the counts.
                    forgotten = (
                        max((limit // FORGOTTEN_PART for limit in budget[1::2]), default=0) if memory.recent else 0
                    )
                    args = [os.getpid(), of_day, forgotten, value, *memory.recent]
                    self._bring_back(keys=keys, args=args)
                    memory.birth = value
                    memory.uncounted.clear()
            code, value = self._grant(keys=keys[:3], args=[memory.birth, *budget])
        if code == _GRANTED:
            with _memory_lock:
                memory.note(value, day, max(budget[2::2], default=0))
        return code, value

    def _count_late(self, keys: list[str], memory: _Memory) -> None:
        """Count what was made while Redis was away; if its counts are new, everything is brought back instead."""
        if not memory.uncounted:
            return
        with _memory_lock:
            if self._late(keys=keys[:3], args=[memory.birth, os.getpid(), *memory.uncounted]):
                memory.uncounted.clear()

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


def _share(limit: int, reserve: float) -> int:
    """The part of ``limit`` that this call may fill: all of it, or all but the reserve, and never none."""
    return max(1, limit - math.ceil(limit * reserve))
