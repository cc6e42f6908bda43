"""Quotes no older than five seconds, shared by every process through Redis, so that a check costs few calls.

Without Redis each process asks the broker for itself.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from brokers import codec
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.gateway import BrokerGateway
from brokers.limits import Urgency

MAX_AGE = timedelta(seconds=5)
SOCKET_SECONDS = 0.5
#: How long Redis is left alone after it did not answer.
PAUSE_SECONDS = 5.0
#: Symbols that a process remembers; more are forgotten together.
MOST = 2000


class QuoteBoard:
    """The newest quotes that this process knows of."""

    def __init__(self, redis_url: str) -> None:
        self._known: dict[str, Quote] = {}
        self._silent_until = 0.0
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            decode_responses=True,
            # A second try costs the order more time than a quote from the broker.
            retry=Retry(NoBackoff(), 0),
        )

    def fresh(self, gateway: BrokerGateway, instrument: Instrument) -> Quote:
        """A quote of at most five seconds ago; asks the broker only when no process of it has one.

        :raises BrokerError: the broker was asked and gave none.
        """
        key = f"mcube:quote:{gateway.account.broker}:{instrument.exchange}:{instrument.symbol}"
        now = gateway.clock.now()
        quote = self._known.get(key)
        if quote is None or not is_fresh(quote, now):
            quote = self._shared(key, now)
        if quote is None:
            quote = gateway.quote(instrument, urgency=Urgency.ORDER)
            self._share(key, quote)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = quote
        return quote

    def forget(self) -> None:
        """Ask anew for every symbol, in this process."""
        self._known.clear()
        self._silent_until = 0.0

    def _shared(self, key: str, now: datetime) -> Quote | None:
        if time.monotonic() < self._silent_until:
            return None
        try:
            text = self._redis.get(key)
        except redis.RedisError:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            return None
        if not isinstance(text, str):
            return None
        try:
            quote: Quote = codec.load(Quote, text)
        except ValueError:
            return None  # another version's
        return quote if is_fresh(quote, now) else None

    def _share(self, key: str, quote: Quote) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.set(key, codec.dump(Quote, quote), px=MAX_AGE)
        except redis.RedisError:
            self._silent_until = time.monotonic() + PAUSE_SECONDS


def is_fresh(quote: Quote, now: datetime) -> bool:
    """Whether it is of the last five seconds; one from the future comes from a clock that was set back."""
    return timedelta(0) <= now - quote.as_of < MAX_AGE


@cache
def board() -> QuoteBoard:
    """The board of this process."""
    return QuoteBoard(settings.REDIS_URL)
