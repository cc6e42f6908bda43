"""The call budget of a broker account, shared by every process through Redis.

One script counts all windows at once, by the server's clock: a call is granted in every window or in
none. Reads may use a part of each window only; the rest is kept for calls that cannot wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import redis
from django.conf import settings

from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerUnavailable, RateLimited

if TYPE_CHECKING:
    from brokers.models import BrokerAccount

log = logging.getLogger("brokers.limits")

#: Part of a window and of the day that only urgent calls may use.
WINDOW_RESERVE = 0.25
DAY_RESERVE = 0.10
#: Each window is counted this much longer, since a call reaches the broker a moment after its grant.
SLACK_MS = 200
#: What a caller is told to wait when the day's budget is spent; it is not the limiter's to know the day's end.
DAY_SPENT_WAIT = timedelta(hours=1)
SOCKET_SECONDS = 2.0

# KEYS: log of grants (sorted set, score = ms), count of the day.
# ARGV: the day's limit (-1: none), then limit and window in ms for each window.
# Returns 0 when granted, -1 when the day is spent, else the milliseconds to wait.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local day_limit = tonumber(ARGV[1])
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
if day_limit >= 0 and used >= day_limit then return -1 end
local wait, longest = 0, 1
for i = 2, #ARGV, 2 do
  local limit, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  longest = math.max(longest, window)
  if redis.call('ZCOUNT', KEYS[1], '(' .. (now - window), '+inf') >= limit then
    local blocking = redis.call('ZRANGE', KEYS[1], -limit, -limit, 'WITHSCORES')
    wait = math.max(wait, 1, blocking[2] and tonumber(blocking[2]) + window - now or window)
  end
end
if wait > 0 then return wait end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - longest)
local number = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('ZADD', KEYS[1], now, now .. ':' .. number)
redis.call('PEXPIRE', KEYS[1], longest)
return 0
"""


class CallLimiter:
    """Grants calls to a broker within its limits. Processes and threads may share one account."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
        )
        # Loads the script again by itself after SCRIPT FLUSH or a restart of the server.
        self._grant = self._redis.register_script(_SCRIPT)

    def count(self, account: BrokerAccount, now: datetime, *, urgent: bool) -> None:
        """Count one call of an account at its broker, within the limits that the broker states.

        Without Redis an ``urgent`` one is let through: an order's own limits are in the ledger's database.

        :raises RateLimited, BrokerUnavailable: as :meth:`acquire` says.
        """
        capabilities = spec_of(account.broker).capabilities
        try:
            self.acquire(
                str(account),
                windows=capabilities.call_limits,
                per_day=capabilities.calls_per_day,
                day=trading_day(now).isoformat(),
                urgent=urgent,
            )
        except BrokerUnavailable:
            if not urgent:
                raise
            log.warning("call not counted, since Redis does not answer", extra={"account": str(account)})

    def acquire(
        self,
        key: str,
        *,
        windows: Sequence[tuple[int, int]],
        per_day: int | None,
        day: str,
        urgent: bool = False,
    ) -> None:
        """Count one call of ``key``, or refuse it and count nothing.

        ``windows`` are (calls, seconds); ``day`` names the market's day, e.g. ``2026-11-22``. An
        ``urgent`` call may use the reserve.

        :raises RateLimited: a window is full or the day is spent; says how long to wait.
        :raises BrokerUnavailable: Redis cannot be asked; without a count no call is made.
        """
        budget = [-1 if per_day is None else _share(per_day, DAY_RESERVE, urgent)]
        for calls, seconds in windows:
            budget += [_share(calls, WINDOW_RESERVE, urgent), seconds * 1000 + SLACK_MS]
        try:
            wait = int(self._grant(keys=[f"mcube:calls:{{{key}}}:log", f"mcube:calls:{{{key}}}:{day}"], args=budget))
        except redis.RedisError as error:
            raise BrokerUnavailable(
                f"The calls of {key} cannot be counted, since Redis does not answer ({type(error).__name__}); "
                "no call is made. Start Redis, then try again."
            ) from error
        if wait < 0:
            raise RateLimited(
                f"The {budget[0]} calls that {key} may make on {day} are spent; "
                + ("no more is possible today." if urgent else "the rest is kept for orders."),
                retry_after=DAY_SPENT_WAIT,
            )
        if wait > 0:
            raise RateLimited(
                f"{key} has used its calls for now; try again in {wait} ms.", retry_after=timedelta(milliseconds=wait)
            )

    def close(self) -> None:
        self._redis.close()


def count_urgent(account: BrokerAccount, now: datetime, *, calls: int) -> None:
    """Count calls of an account that cannot wait for reads, one after another.

    :raises RateLimited: there is no room for all of them; those before it stay counted.
    """
    limiter = CallLimiter(settings.REDIS_URL)
    try:
        for _ in range(calls):
            limiter.count(account, now, urgent=True)
    finally:
        limiter.close()


def _share(limit: int, reserve: float, urgent: bool) -> int:
    """The part of ``limit`` that this call may fill: all of it, or all but the reserve, and never none."""
    return limit if urgent else max(1, limit - math.ceil(limit * reserve))
