"""One process asks, and the others that want the same wait for its answer.

Who takes the lease of a key in Redis leads: it asks and keeps the answer. The others wait for the end of that flight. A
lease is renewed while its leader is at work and lapses soon after it died; then exactly one of the others leads.
A failure is told to those who waited, and kept for nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from redis.lock import Lock

from brokers import codec
from brokers.domain.errors import BrokerUnavailable

log = logging.getLogger("brokers.single_flight")

#: The leader is given up this long after its last sign of life.
LEASE_SECONDS = 3.0
RENEWED_EVERY_SECONDS = 1.0
#: How long one waits for others before it is told that the broker cannot be asked.
PATIENCE_SECONDS = 20.0
#: One look at a flight; then whether its leader is alive is looked at again.
LOOK_MS = 500
SOCKET_SECONDS = 2.0
#: Answers older than this are nobody's.
KEPT = timedelta(hours=1)
_FLIGHT_REMEMBERED = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """An answer as it is kept."""

    #: The value as JSON.
    text: str
    #: When this was received from the broker.
    as_of: datetime
    #: Of :mod:`brokers.account_versions`, before the broker was asked.
    version: str


class SingleFlight:
    """The flights of one Redis server. Threads and processes may share one."""

    def __init__(self, redis_url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS, decode_responses=True
        )
        self._monotonic = monotonic

    def fetch(self, key: str, *, ask: Callable[[], Landed], serves: Callable[[Landed], bool]) -> Landed:
        """An answer that ``serves``: the one kept, the one that somebody is waiting for now, or a new one of ``ask``.

        :raises BrokerUnavailable: Redis does not answer, so that nothing is asked; or others take too long.
        :raises BrokerError: whoever asked was told so.
        """
        try:
            return self._fetch(key, ask, serves)
        except redis.RedisError as error:
            raise BrokerUnavailable(
                f"The broker is not asked, since Redis does not answer ({type(error).__name__}) and others may be asking "
                "the same. Start Redis, then try again."
            ) from error

    def keep(self, key: str, landed: Landed) -> None:
        """Keep what was asked outside of any flight. Nothing is lost where that fails: whoever wants it asks."""
        try:
            self._redis.set(_value(key), codec.dump(Landed, landed), ex=KEPT)
        except redis.RedisError:
            log.info("an answer is not kept, since Redis does not answer", extra={"read": key})

    def _fetch(self, key: str, ask: Callable[[], Landed], serves: Callable[[Landed], bool]) -> Landed:
        deadline = self._monotonic() + PATIENCE_SECONDS
        while self._monotonic() < deadline:
            landed = self._kept(key)
            if landed is not None and serves(landed):
                return landed
            lease = Lock(
                self._redis, _lease(key), timeout=LEASE_SECONDS, thread_local=False, raise_on_release_error=False
            )
            if lease.acquire(blocking=False):
                return self._lead(key, lease, ask, serves)
            self._await(key, deadline)
        raise BrokerUnavailable(
            f"Others have been asking the broker the same for {PATIENCE_SECONDS:.0f} s without an answer; try again."
        )

    def _lead(self, key: str, lease: Lock, ask: Callable[[], Landed], serves: Callable[[Landed], bool]) -> Landed:
        """Ask, and tell those who wait how it ended."""
        kept, ending = None, {"abandoned": ""}
        try:
            # Somebody may have ended a flight since this one looked.
            landed = self._kept(key)
            if landed is None or not serves(landed):
                with self._renewing(lease):
                    landed = kept = ask()
            ending = {"landed": ""}
            return landed
        except codec.SHARED_ERRORS as error:
            ending = {"failure": codec.dump_error(error)}
            raise
        finally:
            self._end(key, lease, kept, ending)

    def _end(self, key: str, lease: Lock, landed: Landed | None, ending: dict[str, str]) -> None:
        flight = _flight(key, bytes(lease.local.token or b"").decode())
        try:
            with self._redis.pipeline() as told:
                # Who was frozen while another took over has an older answer than what is kept by now.
                if landed is not None and lease.owned():
                    told.set(_value(key), codec.dump(Landed, landed), ex=KEPT)
                told.xadd(flight, ending)  # type: ignore[arg-type]
                told.expire(flight, _FLIGHT_REMEMBERED)
                told.execute()
            lease.release()
        except redis.RedisError:
            # They take over when the lease lapses.
            log.warning("those who wait are not told, since Redis does not answer", extra={"read": key})

    def _await(self, key: str, deadline: float) -> None:
        """Wait until the flight that is under way has ended, or its leader is lost.

        :raises BrokerError: the failure of that flight.
        """
        leader = self._redis.get(_lease(key))
        is_under_way = leader is not None
        while is_under_way and self._monotonic() < deadline:
            # Looked at before the flight is: when it ended since, its end is there to be read.
            is_under_way = self._redis.get(_lease(key)) == leader
            found: Any = self._redis.xread(
                {_flight(key, str(leader)): "0"}, count=1, block=LOOK_MS if is_under_way else None
            )
            for _, entries in found or []:
                for _, ending in entries:
                    if "failure" in ending:
                        raise codec.load_error(ending["failure"])
                return

    def _kept(self, key: str) -> Landed | None:
        text = self._redis.get(_value(key))
        if text is None:
            return None
        try:
            landed: Landed = codec.load(Landed, str(text))
        except ValueError:
            return None  # another version's
        return landed

    @contextmanager
    def _renewing(self, lease: Lock) -> Iterator[None]:
        """Keep the lease while the caller is at work."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEWED_EVERY_SECONDS):
                try:
                    lease.reacquire()
                except redis.RedisError:
                    log.info("a lease is not renewed", extra={"lease": str(lease.name)})

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _value(key: str) -> str:
    return f"mcube:reads:{key}:value"


def _lease(key: str) -> str:
    return f"mcube:reads:{key}:lease"


def _flight(key: str, token: str) -> str:
    return f"mcube:reads:{key}:flight:{token}"
