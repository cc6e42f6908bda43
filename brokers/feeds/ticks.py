"""Ticks in Redis: a bounded stream for each instrument of an account, the newest of all in one hash, and signs of life.

A tick is a :class:`~brokers.domain.market.Quote` whose ``as_of`` is when it came.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

import redis
from django.conf import settings
from pydantic import TypeAdapter
from redis.backoff import NoBackoff
from redis.lock import Lock
from redis.retry import Retry

from brokers import codec
from brokers.domain.enums import Exchange
from brokers.domain.market import Quote
from brokers.models import BrokerAccount

log = logging.getLogger("brokers.feeds")

SOCKET_SECONDS = 0.5
#: Entries of one stream, roughly: minutes of a busy instrument. At 400 bytes each, 3,000 instruments take 0.6 GB at most.
STREAM_LENGTH = 500
#: Ticks written at once, so that no answer of Redis takes long.
BATCH = 500
#: Of an instrument that nobody subscribes to any more, its ticks go after this long.
KEPT = timedelta(days=2)
#: How often a stream's life is prolonged.
_PROLONGED_SECONDS = 3600.0
#: What serves in place of a quote that costs a call.
FRESH = timedelta(seconds=2)
#: Clocks of two machines differ by less.
SKEW = timedelta(seconds=1)
#: Signs of life last this long.
LIFE_SECONDS = 15
#: How long Redis is left alone after it did not answer to a reader.
PAUSE_SECONDS = 5.0
#: The process that keeps an account's feed has this lease and renews it at each look.
LEASE_SECONDS = 10.0

_quote = TypeAdapter(Quote)


class TickStore:
    """The ticks of every account on one Redis server. Threads may share it."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._prolonged: dict[str, float] = {}
        self._silent_until = 0.0

    # For who keeps the feed. All raise redis.RedisError.

    def write(self, account: BrokerAccount, ticks: Sequence[Quote], newest: Sequence[Quote]) -> None:
        """Note the newest tick of each instrument, and append all of them to their streams."""
        with self._redis.pipeline(transaction=False) as batch:
            if newest:
                fields: Mapping[Any, Any] = {
                    f"{each.exchange}:{each.symbol}": _quote.dump_json(each) for each in newest
                }
                batch.hset(_newest(account), mapping=fields)
                batch.expire(_newest(account), KEPT)
            batch.execute()
        for start in range(0, len(ticks), BATCH):
            self._append(account, ticks[start : start + BATCH])

    def _append(self, account: BrokerAccount, ticks: Sequence[Quote]) -> None:
        now = time.monotonic()
        with self._redis.pipeline(transaction=False) as batch:
            for tick in ticks:
                key = _stream(account, tick.exchange, tick.symbol)
                batch.xadd(key, {"tick": _quote.dump_json(tick)}, maxlen=STREAM_LENGTH, approximate=True)
                if self._prolonged.get(key, 0.0) <= now:
                    self._prolonged[key] = now + _PROLONGED_SECONDS
                    batch.expire(key, KEPT)
            batch.execute()

    def tell(self, account: BrokerAccount, **signs: str | int | float) -> None:
        """Show how the account's feed stands, for a short while."""
        key, fields = _life(account), cast("Mapping[Any, Any]", signs)
        with self._redis.pipeline() as batch:
            batch.delete(key)
            batch.hset(key, mapping=fields)
            batch.expire(key, LIFE_SECONDS)
            batch.execute()

    def lease(self, account: BrokerAccount) -> Lock:
        """The right to keep the account's feed, which one process has."""
        return Lock(self._redis, f"{_life(account)}:lease", timeout=LEASE_SECONDS, thread_local=False)

    # For everybody

    def fresh(self, account: BrokerAccount, exchange: Exchange, symbol: str, *, now: datetime) -> Quote | None:
        """The newest tick if it is fresh; None as well when Redis does not answer, which costs no time again and again."""
        if time.monotonic() < self._silent_until:
            return None
        try:
            text = self._redis.hget(_newest(account), f"{exchange.value}:{symbol}")
        except redis.RedisError:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            return None
        tick = _loaded(text)
        return tick if tick and -SKEW <= now - tick.as_of < FRESH else None

    def read(
        self, account: BrokerAccount, exchange: Exchange, symbol: str, *, after: str = "0", count: int = 1000
    ) -> list[tuple[str, Quote]]:
        """Ticks of one instrument after an entry's id, the oldest first, with their ids.

        :raises redis.RedisError: Redis does not answer.
        """
        entries: Any = self._redis.xrange(_stream(account, exchange.value, symbol), min=f"({after}", count=count)
        found = [(str(number), _loaded(fields.get("tick"))) for number, fields in entries]
        return [(number, tick) for number, tick in found if tick is not None]

    def life(self, account: BrokerAccount) -> dict[str, str]:
        """How the account's feed stands; empty when no process keeps it.

        :raises redis.RedisError: Redis does not answer.
        """
        signs: Any = self._redis.hgetall(_life(account))
        return dict(signs)


@cache
def store() -> TickStore:
    """The store of this process."""
    return TickStore(settings.REDIS_URL)


def _loaded(text: Any) -> Quote | None:
    try:
        tick: Quote | None = codec.load(Quote, text) if text else None
    except ValueError:
        return None  # another version's
    return tick


def _stream(account: BrokerAccount, exchange: str, symbol: str) -> str:
    return f"mcube:ticks:{account}:{exchange}:{symbol}"


def _newest(account: BrokerAccount) -> str:
    return f"mcube:ticks:{account}"


def _life(account: BrokerAccount) -> str:
    return f"mcube:feed:{account}"
