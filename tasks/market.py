"""Quotes on request. Results of tasks are not kept, so a quote waits in Redis for whoever asked."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import redis
from django.conf import settings

from brokers.discovery import spec_of
from brokers.domain.market import Quote
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from mcube.celery import app
from tasks.base import ReadTask

#: A quote is kept this long; its ``as_of`` says how old it is.
KEPT = timedelta(hours=1)
_MONEY = (
    *("last_price", "bid_price", "ask_price", "open", "high", "low"),
    *("previous_close", "lower_circuit", "upper_circuit"),
)
_MOMENTS = ("traded_at", "as_of")


@app.task(name="tasks.market.get_quote", base=ReadTask)
def get_quote(*, broker: str, symbol: str, account: str = "default", exchange: str | None = None, **_: Any) -> None:
    """Ask the broker for a quote and keep it for :func:`latest_quote`."""
    with no_waiting():
        quote = BrokerFactory.get_broker(broker, account).get_quote(symbol, exchange)
    _redis().set(_key(broker, account, symbol, exchange), _dump(quote), ex=KEPT)


def latest_quote(*, broker: str, symbol: str, account: str = "default", exchange: str | None = None) -> Quote | None:
    """The newest quote that :func:`get_quote` brought for the same words, or None. Read its ``as_of``.

    :raises redis.RedisError: the cache cannot be asked.
    """
    text = _redis().get(_key(broker, account, symbol, exchange))
    return _load(text) if text else None


@cache
def _redis() -> Any:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)


def _key(broker: str, account: str, symbol: str, exchange: str | None) -> str:
    return f"mcube:quote:{spec_of(broker).name}:{account}:{exchange or ''}:{symbol}"


def _dump(quote: Quote) -> str:
    values = {field.name: getattr(quote, field.name) for field in fields(quote)}
    return json.dumps({name: str(v) if isinstance(v, Decimal | datetime) else v for name, v in values.items()})


def _load(text: str) -> Quote:
    values = json.loads(text)
    for name in _MONEY:
        values[name] = None if values[name] is None else Decimal(values[name])
    for name in _MOMENTS:
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    return Quote(**values)
