"""Beat: single by a lock in Redis, and every tick says which slot of the market's time it is."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

import redis
from celery import schedules
from django.conf import settings
from django_celery_beat.schedulers import DatabaseScheduler

from tasks import ticks

logger = logging.getLogger(__name__)

LOCK_KEY = "mcube:beat"
#: A beat that died is replaced after this long. It is refreshed at every tick, at least once a second.
LOCK_SECONDS = 5
STANDBY_SECONDS = 1.0

# Take the lock when it is free, keep it when it is ours. Returns 1 when we hold it.
_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class BeatLock:
    """A lease on the right to tick. Losing Redis is losing the lock."""

    def __init__(self, redis_url: str, *, token: str, seconds: float = LOCK_SECONDS) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._hold = self._redis.register_script(_HOLD)
        self._release = self._redis.register_script(_RELEASE)
        self._token = token
        self._milliseconds = int(seconds * 1000)

    def hold(self) -> bool:
        """Take or keep the lock; False when another has it or Redis does not answer."""
        try:
            return bool(self._hold(keys=[LOCK_KEY], args=[self._token, self._milliseconds]))
        except redis.RedisError as error:
            logger.warning("Beat waits, since Redis does not answer (%s).", type(error).__name__)
            return False

    def release(self) -> None:
        """Let another beat take over at once."""
        try:
            self._release(keys=[LOCK_KEY], args=[self._token])
        except redis.RedisError:
            logger.info("The lock of beat is left to run out, since Redis does not answer.")
        finally:
            self._redis.close()


class LockedScheduler(DatabaseScheduler):  # type: ignore[misc]
    """The scheduler of django-celery-beat, ticking in one process only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = BeatLock(settings.REDIS_URL, token=uuid.uuid4().hex)
        self._is_holder = False
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, if this is the beat that ticks; return the seconds until the next look."""
        held = self._lock.hold()
        if held != self._is_holder:
            logger.info("This beat ticks now." if held else "Another beat ticks; this one stands by.")
            # What the other one sent meanwhile is in the database.
            self._initial_read, self._heap = True, None
        self._is_holder = held
        if not held:
            return STANDBY_SECONDS
        seconds: float = super().tick(*args, **kwargs)
        return seconds

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        if not entry.task.startswith("tasks."):
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        # Not this entry itself: the scheduler compares entries to find out what people changed.
        stamped = type(entry)(entry.model, app=self.app)
        stamped.kwargs = {**entry.kwargs, **_stamp(entry.schedule)}
        return super().apply_async(stamped, producer=producer, advance=advance, **kwargs)

    def close(self) -> None:
        super().close()
        self._lock.release()


def holder(redis_url: str) -> str | None:
    """Who ticks: the token of the beat that has the lock, or None.

    :raises redis.RedisError: Redis cannot be asked.
    """
    with redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1, decode_responses=True) as client:
        token = client.get(LOCK_KEY)
    return str(token) if token else None


def _stamp(schedule: Any) -> dict[str, Any]:
    """The slot a tick stands for, and how long slots are."""
    if not isinstance(schedule, schedules.schedule):
        return {}
    cadence: timedelta = schedule.run_every  # type: ignore[attr-defined]
    return {"slot_at": ticks.slot(cadence).isoformat(), "cadence_seconds": cadence.total_seconds()}
