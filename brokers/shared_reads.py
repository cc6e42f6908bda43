"""Reads that are shared: by age, by everybody who asks the same at once, and never from before an order settled.

The caller says how old an answer may be. A younger one that some process has is given out without a call; otherwise one
process asks the broker and all who wait for the same are given its answer, or its failure. What was asked before an order
of the account settled is never given to a call made after it. Without Redis nothing is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Generic, TypeVar, get_type_hints

from django.conf import settings

from brokers import account_versions, codec
from brokers.clock import trading_day
from brokers.domain.account import MarginData, Position
from brokers.domain.errors import OrderDenied
from brokers.domain.market import OptionChain, Quote
from brokers.gateway import BrokerGateway
from brokers.interfaces import BrokerInterface
from brokers.single_flight import KEPT, Landed, SingleFlight

T = TypeVar("T")

#: Clocks of two machines differ by less. An answer further in the future is of a clock that was set back.
SKEW = timedelta(seconds=1)
#: Arguments that mean the same in any case.
_NAMES = frozenset({"symbol", "underlying", "exchange"})
#: What a live feed may answer instead of the broker, with something older than the question.
_FED = frozenset({"get_quote", "get_depth"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading(Generic[T]):
    """What a broker answered, and when."""

    value: T
    #: When a process received it. Of a value that says so itself, the same moment.
    as_of: datetime


def get_margin_cached(broker: BrokerGateway, timeout: float = 300) -> MarginData:
    """The margin, at most ``timeout`` seconds old; its ``as_of`` says how old.

    :raises BrokerError: as ``broker.get_margin()``; a failure is never kept.
    """
    margin: MarginData = read(broker, "get_margin", not_before=_ago(broker, timeout)).value
    return margin


def get_positions_cached(broker: BrokerGateway, timeout: float = 300) -> Reading[list[Position]]:
    """The positions, at most ``timeout`` seconds old, with the moment they are of, since there may be none."""
    return read(broker, "get_positions", not_before=_ago(broker, timeout))


def get_quote_cached(broker: BrokerGateway, symbol: str, exchange: str | None = None, *, timeout: float = 5) -> Quote:
    """A quote, at most ``timeout`` seconds old by its ``as_of``."""
    quote: Quote = read(broker, "get_quote", not_before=_ago(broker, timeout), symbol=symbol, exchange=exchange).value
    return quote


def get_option_chain_cached(
    broker: BrokerGateway,
    underlying: str,
    expiry: date | str | None = None,
    strikes: int = 10,
    *,
    timeout: float = 30,
) -> OptionChain:
    """An option chain, at most ``timeout`` seconds old by its ``as_of``."""
    chain: OptionChain = read(
        broker,
        "get_option_chain",
        not_before=_ago(broker, timeout),
        underlying=underlying,
        expiry=expiry,
        strikes=strikes,
    ).value
    return chain


def read(broker: BrokerGateway, method: str, *, not_before: datetime, **arguments: Any) -> Reading[Any]:
    """Any read of the contract by its name, e.g. ``get_depth``, received at ``not_before`` (aware) or later.

    :raises BrokerError: as the method itself; or Redis does not answer.
    """
    kind, account_id = kind_of(method), broker.account.pk

    def serves(landed: Landed) -> bool:
        now = broker.clock.now()
        is_young = not_before <= landed.as_of <= now + SKEW
        return is_young and landed.version == account_versions.of(account_id, trading_day(now))

    age = {"not_before": not_before} if method in _FED else {}
    landed = _flights().fetch(
        _key(broker, method, arguments), ask=lambda: _ask(broker, method, arguments, age)[1], serves=serves
    )
    return Reading(value=codec.load(kind, landed.text), as_of=landed.as_of)


def ask(broker: BrokerGateway, method: str, **arguments: Any) -> Reading[Any]:
    """Ask the broker itself, and keep the answer for those who accept one of its age.

    For readings that are due anyway: nobody is waited for, and nobody is kept waiting.

    :raises BrokerError: as the method itself.
    """
    value, landed = _ask(broker, method, arguments)
    _flights().keep(_key(broker, method, arguments), landed)
    return Reading(value=value, as_of=landed.as_of)


def words_of(arguments: Mapping[str, Any]) -> str:
    """The arguments as one text; equal for calls that mean the same."""
    given = {name: value for name, value in arguments.items() if value is not None}
    words = {name: str(value).strip().upper() if name in _NAMES else value for name, value in given.items()}
    return json.dumps(words, sort_keys=True, separators=(",", ":"), default=str)


@cache
def kind_of(method: str) -> Any:
    """The type that a read of the contract returns."""
    return get_type_hints(getattr(BrokerInterface, method))["return"]


def _ask(
    broker: BrokerGateway, method: str, arguments: Mapping[str, Any], age: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Any, Landed]:
    # Before the call: what settles meanwhile may be missing in its answer.
    version = account_versions.of(broker.account.pk, trading_day(broker.clock.now()))
    value = getattr(broker, method)(**arguments, **age)
    as_of = getattr(value, "as_of", None) or broker.clock.now()
    return value, Landed(text=codec.dump(kind_of(method), value), as_of=as_of, version=version)


def _key(broker: BrokerGateway, method: str, arguments: Mapping[str, Any]) -> str:
    # The key of the row as well, since a new account may have the name of one that was deleted.
    return f"{broker.account}#{broker.account.pk}:{method}:{words_of(arguments)}"


@cache
def _flights() -> SingleFlight:
    return SingleFlight(settings.REDIS_URL)


def _ago(broker: BrokerGateway, seconds: float) -> datetime:
    if not 0 <= seconds < math.inf:
        raise OrderDenied(f"An age of {seconds} s is not zero or more; say how old an answer may be.")
    return broker.clock.now() - timedelta(seconds=min(seconds, KEPT.total_seconds()))
