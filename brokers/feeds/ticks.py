"""Ticks in Redis: a bounded stream for each instrument of an account, the newest of all in one hash, and signs of life.

A tick is a :class:`~brokers.domain.market.Quote` whose ``as_of`` is when it came. Depth is kept likewise, under names of
its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import redis
from django.conf import settings
from pydantic import TypeAdapter, ValidationError
from redis.backoff import NoBackoff
from redis.lock import Lock
from redis.retry import Retry

from brokers import codec
from brokers.domain.enums import Exchange
from brokers.domain.market import Depth, Quote
from brokers.feeds.life import FeedLife
from brokers.models import BrokerAccount

log = logging.getLogger("brokers.feeds")

SOCKET_SECONDS = 0.5
#: Entries of one stream, roughly: minutes of a busy instrument. At 400 bytes each, 3,000 instruments take 0.6 GB at most.
STREAM_LENGTH = 500
#: The same of depth, which takes 800 bytes and is of use for less long.
DEPTH_STREAM_LENGTH = 100
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

#: What a feed tells of an instrument.
News = Quote | Depth
N = TypeVar("N", Quote, Depth)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where one kind of news is kept: a word in its keys, and the field of a stream's entry."""

    word: str
    field: str
    adapter: TypeAdapter[Any]

    def newest(self, account: BrokerAccount) -> str:
        return f"mcube:{self.word}:{account}"

    def stream(self, account: BrokerAccount, exchange: str, symbol: str) -> str:
        return f"mcube:{self.word}:{account}:{exchange}:{symbol}"


_PLACES: Mapping[type[News], _Place] = {
    Quote: _Place(word="ticks", field="tick", adapter=TypeAdapter(Quote)),
    Depth: _Place(word="depth", field="depth", adapter=TypeAdapter(Depth)),
}
_LIFE = TypeAdapter(FeedLife)


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

    def write(self, account: BrokerAccount, news: Sequence[News], newest: Sequence[News]) -> None:
        """Note the newest of each instrument, and append all of them to their streams."""
        texts = {id(each): _text(each) for each in newest}
        with self._redis.pipeline(transaction=False) as batch:
            for kind, place in _PLACES.items():
                fields: Mapping[Any, Any] = {
                    f"{each.exchange}:{each.symbol}": texts[id(each)] for each in newest if type(each) is kind
                }
                if fields:
                    batch.hset(place.newest(account), mapping=fields)
                    batch.expire(place.newest(account), KEPT)
            batch.execute()
        for start in range(0, len(news), BATCH):
            self._append(account, news[start : start + BATCH], texts)

    def _append(self, account: BrokerAccount, news: Sequence[News], texts: Mapping[int, bytes]) -> None:
        now = time.monotonic()
        lengths = {Quote: STREAM_LENGTH, Depth: DEPTH_STREAM_LENGTH}
        with self._redis.pipeline(transaction=False) as batch:
            for each in news:
                place = _PLACES[type(each)]
                key = place.stream(account, each.exchange, each.symbol)
                text = texts.get(id(each)) or _text(each)
                batch.xadd(key, {place.field: text}, maxlen=lengths[type(each)], approximate=True)
                if self._prolonged.get(key, 0.0) <= now:
                    self._prolonged[key] = now + _PROLONGED_SECONDS
                    batch.expire(key, KEPT)
            batch.execute()

    def tell(self, account: BrokerAccount, life: FeedLife) -> None:
        """Show how the account's feed stands, for a short while."""
        key, fields = _life(account), _LIFE.dump_python(life, mode="json", exclude_none=True)
        with self._redis.pipeline() as batch:
            batch.delete(key)
            batch.hset(key, mapping=fields)
            batch.expire(key, LIFE_SECONDS)
            batch.execute()

    def lease(self, account: BrokerAccount) -> Lock:
        """The right to keep the account's feed, which one process has."""
        return Lock(self._redis, f"{_life(account)}:lease", timeout=LEASE_SECONDS, thread_local=False)

    # For everybody

    def fresh(
        self,
        account: BrokerAccount,
        exchange: Exchange,
        symbol: str,
        *,
        now: datetime,
        not_before: datetime | None = None,
    ) -> Quote | None:
        """The newest tick if it is fresh, and came at ``not_before`` or later where one is given.

        None as well when Redis does not answer, which costs no time again and again.
        """
        return self._fresh(Quote, account, exchange, symbol, now, not_before)

    def fresh_depth(
        self,
        account: BrokerAccount,
        exchange: Exchange,
        symbol: str,
        *,
        now: datetime,
        not_before: datetime | None = None,
    ) -> Depth | None:
        """The newest depth, as :meth:`fresh`."""
        return self._fresh(Depth, account, exchange, symbol, now, not_before)

    def read(
        self, account: BrokerAccount, exchange: Exchange, symbol: str, *, after: str = "0", count: int = 1000
    ) -> list[tuple[str, Quote]]:
        """Ticks of one instrument after an entry's id, the oldest first, with their ids.

        :raises redis.RedisError: Redis does not answer.
        """
        return self._read(Quote, account, exchange, symbol, after, count)

    def read_depth(
        self, account: BrokerAccount, exchange: Exchange, symbol: str, *, after: str = "0", count: int = 1000
    ) -> list[tuple[str, Depth]]:
        """Depths of one instrument, as :meth:`read`."""
        return self._read(Depth, account, exchange, symbol, after, count)

    def lives(self, accounts: Sequence[BrokerAccount]) -> dict[int, FeedLife]:
        """How the feeds stand, by the accounts' keys; one that no process keeps is missing.

        :raises redis.RedisError: Redis does not answer.
        """
        with self._redis.pipeline(transaction=False) as batch:
            for account in accounts:
                batch.hgetall(_life(account))
            told = batch.execute()
        found = {}
        for account, signs in zip(accounts, told, strict=True):
            # Another version's are none.
            with suppress(ValidationError):
                found[account.pk] = _LIFE.validate_python(signs)
        return found

    # Inside

    def _fresh(
        self,
        kind: type[N],
        account: BrokerAccount,
        exchange: Exchange,
        symbol: str,
        now: datetime,
        not_before: datetime | None,
    ) -> N | None:
        if time.monotonic() < self._silent_until:
            return None
        try:
            text = self._redis.hget(_PLACES[kind].newest(account), f"{exchange.value}:{symbol}")
        except redis.RedisError:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            return None
        found = _loaded(kind, text)
        if not found or not -SKEW <= now - found.as_of < FRESH:
            return None
        return found if not_before is None or found.as_of >= not_before else None

    def _read(
        self, kind: type[N], account: BrokerAccount, exchange: Exchange, symbol: str, after: str, count: int
    ) -> list[tuple[str, N]]:
        place = _PLACES[kind]
        key = place.stream(account, exchange.value, symbol)
        entries: Any = self._redis.xrange(key, min=f"({after}", count=count)
        found = [(str(number), _loaded(kind, fields.get(place.field))) for number, fields in entries]
        return [(number, each) for number, each in found if each is not None]


@cache
def store() -> TickStore:
    """The store of this process."""
    return TickStore(settings.REDIS_URL)


def _text(news: News) -> bytes:
    return _PLACES[type(news)].adapter.dump_json(news)


def _loaded(kind: type[N], text: Any) -> N | None:
    try:
        found: N | None = codec.load(kind, text) if text else None
    except ValueError:
        return None  # another version's
    return found


def _life(account: BrokerAccount) -> str:
    return f"mcube:feed:{account}"
