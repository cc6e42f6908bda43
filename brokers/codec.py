"""Values of the domain, and errors, as JSON text: for what processes tell each other through Redis.

A value comes back equal to what it was: amounts as Decimal, times as aware UTC. Nothing here is kept for longer than the
version of the code that wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from brokers.domain import errors
from brokers.domain.redaction import scrub

#: Failures of a read that mean the same to everybody who asked.
SHARED_ERRORS = (errors.BrokerError, errors.AccountNotFound, errors.CredentialsNotFound, errors.SDKMissing)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    kind: str
    message: str
    reason: str = ""
    code: str = ""
    retry_after: timedelta | None = None


def dump(kind: Any, value: Any) -> str:
    """A value of a type, e.g. ``Quote`` or ``list[Position]``, as JSON text."""
    return _adapter(kind).dump_json(value).decode()


def load(kind: Any, text: str | bytes) -> Any:
    """The value of :func:`dump`.

    :raises ValueError: the text is not one of that type, e.g. since another version wrote it.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise ValueError(f"This is not {kind} as JSON: {error.error_count()} mistakes.") from None


def dump_error(error: Exception) -> str:
    """One of :data:`SHARED_ERRORS` as JSON text. What it says is searched for secrets; an address to log in is left out."""
    failure = _Failure(
        kind=type(error).__name__,
        message=scrub(str(error)),
        reason=scrub(getattr(error, "reason", "")),
        code=getattr(error, "code", ""),
        retry_after=getattr(error, "retry_after", None),
    )
    return dump(_Failure, failure)


def load_error(text: str | bytes) -> Exception:
    """The error of :func:`dump_error`, without its evidence. One that this version does not know is a BrokerUnavailable."""
    failure: _Failure = load(_Failure, text)
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, SHARED_ERRORS)):
        kind = errors.BrokerUnavailable
    if not issubclass(kind, errors.BrokerError):
        return kind(failure.message)
    further: dict[str, Any] = {}
    if issubclass(kind, errors.RateLimited):
        further["retry_after"] = failure.retry_after or timedelta(0)
    if issubclass(kind, errors.PersonNeeded):
        further["login_url"] = ""
    return kind(failure.message, reason=failure.reason, code=failure.code, **further)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
