"""Reads that anybody may ask a worker for, and where their answers wait.

Results of tasks are not kept, so an answer waits in Redis under the words of the call::

    get_quote.delay(broker="kotakneo", symbol="RELIANCE")
    answer = get_quote.latest(broker="kotakneo", symbol="RELIANCE")   # None until a worker has answered
    answer.value, answer.as_of

A failure waits there as a failure: ``value`` raises it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import redis
from django.conf import settings

from brokers import codec, shared_reads
from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.domain.errors import AccountNotFound, BrokerUnavailable
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from tasks.base import ReadTask, log

#: An answer waits this long; its ``as_of`` says how old it is.
KEPT = timedelta(hours=1)
#: An answer may be this much older than the question, unless the call says otherwise.
ACCEPTED_AGE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The newest answer to one question."""

    #: When the broker's answer was received, or when the last try failed. Aware market time.
    as_of: datetime
    failure: Exception | None = None
    _value: Any = field(default=None, repr=False)

    @property
    def value(self) -> Any:
        """What the broker said. :raises BrokerError: there was no answer, and why."""
        if self.failure is not None:
            raise self.failure
        return self._value


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    as_of: datetime
    #: Either is JSON.
    value: str | None = None
    failure: str | None = None


class AnsweredTask(ReadTask):
    """A read of the contract, of the same name as the task. Calls of the same words at once cost one call.

    Besides its own words every call takes ``max_age_seconds``: how much older than the question an answer may be.
    """

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish the question with the moment it was asked: whatever is read later answers it."""
        asked = {"asked_at": configured_clock().now().isoformat(), **(kwargs or {})}
        return super().apply_async(args, asked, *rest, **options)

    def answer(self, broker: str, account: str, how: Mapping[str, Any], **words: Any) -> None:
        """Read, or take what was read since the question, and keep it for :meth:`latest`.

        :raises BrokerError: it could not be read; transient faults are tried again.
        """
        asked_at = how.get("asked_at")
        moment = datetime.fromisoformat(asked_at) if asked_at else configured_clock().now()
        not_before = moment - timedelta(seconds=float(how.get("max_age_seconds", ACCEPTED_AGE_SECONDS)))
        with no_waiting():
            gateway = BrokerFactory.get_broker(broker, account)
            found = shared_reads.read(gateway, self._method, not_before=not_before, **words)
        kept = _Kept(as_of=found.as_of, value=codec.dump(shared_reads.kind_of(self._method), found.value))
        _keep(self._key(broker, account, words), kept)

    def latest(self, *, broker: str, account: str = "default", **words: Any) -> Answer | None:
        """The newest answer to a question of the same words, or None.

        :raises redis.RedisError: Redis cannot be asked.
        """
        text = _redis().get(self._key_of({"broker": broker, "account": account, **words}))
        if text is None:
            return None
        kept: _Kept = codec.load(_Kept, text)
        if kept.failure is not None:
            return Answer(as_of=kept.as_of, failure=codec.load_error(kept.failure))
        return Answer(as_of=kept.as_of, _value=codec.load(shared_reads.kind_of(self._method), kept.value or ""))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """After the last try: keep why there is no answer, unless a later question has one by now."""
        if not isinstance(exc, codec.SHARED_ERRORS):
            exc = BrokerUnavailable(f"{self.name} broke ({type(exc).__name__}); the worker's log says where.")
        try:
            failed = _Kept(as_of=configured_clock().now(), failure=codec.dump_error(exc))
            _keep_failure(self._key_of(kwargs), failed, kwargs.get("asked_at"))
        except (redis.RedisError, TypeError, AccountNotFound) as error:
            log.warning("a failure of %s is not kept for who asked (%s)", self.name, type(error).__name__)

    @property
    def _method(self) -> str:
        return self.name.rpartition(".")[2]

    def _key_of(self, given: Mapping[str, Any]) -> str:
        """The key of a call, with what it left out."""
        bound = inspect.signature(self.run).bind(**given)
        bound.apply_defaults()
        words = dict(bound.arguments)
        return self._key(words.pop("broker"), words.pop("account"), {n: v for n, v in words.items() if n != "how"})

    def _key(self, broker: str, account: str, words: Mapping[str, Any]) -> str:
        return f"mcube:answers:{spec_of(broker).name}/{account}:{self._method}:{shared_reads.words_of(words)}"


def _keep(key: str, kept: _Kept) -> None:
    _redis().set(key, codec.dump(_Kept, kept), ex=KEPT)


def _keep_failure(key: str, failed: _Kept, asked_at: str | None) -> None:
    """Keep it, unless what is kept was answered since the question."""

    def unless_answered(turn: Any) -> None:
        text = turn.get(key)
        turn.multi()
        if not asked_at or text is None or not _answers(text, datetime.fromisoformat(asked_at), failed.as_of):
            turn.set(key, codec.dump(_Kept, failed), ex=KEPT)

    _redis().transaction(unless_answered, key)


def _answers(text: str, asked_at: datetime, now: datetime) -> bool:
    try:
        kept: _Kept = codec.load(_Kept, text)
    except ValueError:
        return False  # another version's
    # One further in the future is of a clock that was set back.
    return kept.failure is None and asked_at <= kept.as_of <= now + shared_reads.SKEW


@cache
def _redis() -> Any:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)
