"""From what came back to a class of error, by evidence.

The SDK loses the HTTP status, returns exceptions inside dicts and has five shapes of error (3.0.9, measured
2026-11-22). A reply is therefore read twice: what the SDK returned, and what the wire saw. Whatever is not
proven is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NoReturn

import httpx

from brokers.adapters.kotakneo import SPEC
from brokers.adapters.kotakneo.tables import (
    CODE_NO_DATA,
    CODE_ORDER_ENDED,
    CODES_DUPLICATE_TAG,
    CODES_SESSION,
    NO_CANDLES,
    REFUSAL_STATUSES,
    REFUSALS,
    UNKNOWN_SYMBOL,
)
from brokers.domain.errors import (
    BrokerError,
    BrokerUnavailable,
    LoginFailed,
    NotSent,
    OrderDenied,
    OrderEnded,
    OrderOutcomeUnknown,
    OrderRejected,
    RateLimited,
    SessionExpired,
    TagTaken,
    UnreadableReply,
)
from brokers.domain.evidence import WireEvidence
from brokers.domain.orders import OrderAck
from brokers.domain.redaction import scrub
from brokers.wire import ReplyTooLarge, WireRecord

_LONGEST_REASON = 300
#: Market data answers with codes of orders, whose advice would mislead there.
_MARKET_ADVICE = "Try again; if the answer stays, refresh the instruments."
#: What the SDK itself may raise while it reads an answer; anything else was put there from outside.
_EXPECTED = (ValueError, LookupError, TypeError, AttributeError, httpx.HTTPError, OSError, ReplyTooLarge)
_DEFAULT_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One call's answer: what the SDK returned, and the wire's records of that call."""

    body: Any = field(repr=False)
    records: tuple[WireRecord, ...]

    @property
    def record(self) -> WireRecord | None:
        """The call itself. Redirects are off, so that a second request can only be the login's look at the feeds."""
        return self.records[0] if self.records else None

    @property
    def status(self) -> int | None:
        return self.record.http_status if self.record else None

    @property
    def evidence(self) -> WireEvidence | None:
        return self.record.evidence() if self.record else None

    @property
    def left_this_machine(self) -> bool:
        return any(record.first_byte_at is not None for record in self.records)

    @property
    def complete(self) -> bool:
        """Whether a whole reply was read."""
        return self.record is not None and self.record.body is not None

    @property
    def exception(self) -> BaseException | None:
        """The exception that the SDK put into its dict, or None."""
        values = self.body.values() if isinstance(self.body, Mapping) else ()
        return next((value for value in values if isinstance(value, BaseException)), None)

    @property
    def code(self) -> str:
        """Kotak's ``stCode`` or its like, as text; empty without one."""
        for part in _parts(self.body):
            for name in ("stCode", "code"):
                if isinstance(part.get(name), (str, int)):
                    return str(part[name]).strip()
        return ""

    @property
    def reason(self) -> str:
        """Kotak's words, redacted and cut; empty without any."""
        words = []
        for part in _parts(self.body):
            for name in ("errMsg", "emsg", "message", "Error Message", "error", "Error", "stat"):
                value = part.get(name)
                if isinstance(value, str) and value.strip() and value.strip() not in words:
                    words.append(value.strip())
        return scrub(" / ".join(words))[:_LONGEST_REASON]

    @property
    def is_ok(self) -> bool:
        """HTTP 200, ``stat`` Ok, ``stCode`` 200 or none."""
        body = self.body
        return (
            self.status == HTTPStatus.OK
            and isinstance(body, Mapping)
            and str(body.get("stat", "")).strip().lower() == "ok"
            and str(body.get("stCode", "200")).strip() == "200"
        )

    @property
    def says_no_data(self) -> bool:
        return self.code == CODE_NO_DATA and self.status in (*REFUSAL_STATUSES, 404)


def raise_foreign(reply: Reply) -> None:
    """Raise again what the SDK swallowed and does not belong to the call: a time limit, the last gate's refusal."""
    inside = [reply.exception, *(record.error for record in reply.records)]
    for error in inside:
        if isinstance(error, NotSent):
            raise error
        if error is None or isinstance(error, _EXPECTED) or _is_of_sdk(error):
            continue
        raise error


def mutation_ack(reply: Reply, *, what: str, order_id: str | None = None) -> OrderAck:
    """Read the answer to an order, a change or a cancel. ``order_id`` is the order it was for; None for a new one.

    :raises NotSent: proven that no byte left.
    :raises OrderDenied: the SDK refused the arguments; no byte left.
    :raises SessionExpired: proven refused, since the session is not accepted.
    :raises OrderRejected: proven refused for another reason.
    :raises OrderOutcomeUnknown: everything else.
    """
    raise_foreign(reply)
    if not reply.left_this_machine:
        _raise_not_sent(reply, what)
    returned = str(reply.body.get("nOrdNo") or "").strip() if isinstance(reply.body, Mapping) else ""
    if reply.is_ok and returned and order_id in (None, returned):
        return OrderAck(broker_order_id=returned, message=reply.reason, evidence=reply.evidence)
    if _is_refusal(reply):
        _raise_refusal(reply, what, of_order=order_id is not None)
    kind = TagTaken if order_id is None and reply.code in CODES_DUPLICATE_TAG else OrderOutcomeUnknown
    raise kind(
        f"{what} may be at Kotak ({_unproven(reply)}); it is not sent again, read the order book.",
        reason=reply.reason,
        code=reply.code,
        evidence=reply.evidence,
    )


def read_rows(reply: Reply, *, what: str) -> list[Mapping[str, Any]]:
    """The rows of a book. Empty only when Kotak said "No Data" with its code.

    :raises BrokerError: as :func:`read_failure` says.
    """
    raise_foreign(reply)
    if reply.says_no_data:
        return []
    if not reply.is_ok:
        raise read_failure(reply, what=what)
    rows = reply.body.get("data")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise UnreadableReply(
            f"Kotak's answer for {what} says Ok and has no rows; an empty book is stated with code {CODE_NO_DATA}. "
            "Nothing is known, ask again.",
            reason=reply.reason,
            evidence=reply.evidence,
        )
    return rows


def history_rows(reply: Reply) -> list[Mapping[str, Any]]:
    """The rows of ``order_history``, which the SDK puts into one envelope more, errors included.

    :raises BrokerError: as :func:`read_failure` says.
    """
    return read_rows(_unwrapped(reply), what="the order's history")


def holding_rows(reply: Reply) -> list[Mapping[str, Any]]:
    """The rows of ``holdings``, which come without ``stat``.

    :raises BrokerError: as :func:`read_failure` says.
    """
    body = reply.body
    if isinstance(body, Mapping) and isinstance(body.get("data"), list) and "stat" not in body:
        return read_rows(replace(reply, body={**body, "stat": "Ok"}), what="holdings")
    return read_rows(reply, what="holdings")


def pool(reply: Reply, *, what: str) -> Mapping[str, Any]:
    """The figures of ``limits`` or, one envelope deeper, of ``margin_required``.

    :raises BrokerError: as :func:`read_failure` says.
    """
    raise_foreign(reply)
    inner = _unwrapped(reply)
    if not inner.is_ok:
        raise read_failure(inner, what=what)
    body: Mapping[str, Any] = inner.body
    return body


def market_list(reply: Reply, *, what: str) -> list[Any]:
    """The list that ``quotes`` answers; an error is a dict.

    :raises BrokerError: as :func:`read_failure` says.
    """
    raise_foreign(reply)
    if reply.status != HTTPStatus.OK or not isinstance(reply.body, list):
        raise read_failure(reply, what=what, advice=_MARKET_ADVICE)
    return reply.body


def market_data(reply: Reply, *, what: str) -> Mapping[str, Any]:
    """The whole answer of ``option_chain`` or ``historical_data``, whose ``data`` is an object.

    :raises BrokerError: as :func:`read_failure` says.
    """
    raise_foreign(reply)
    body = reply.body
    good = reply.status == HTTPStatus.OK and isinstance(body, Mapping) and isinstance(body.get("data"), Mapping)
    if not good or str(body.get("status", "success")).lower() != "success":
        raise read_failure(reply, what=what, advice=_MARKET_ADVICE)
    answer: Mapping[str, Any] = body
    return answer


def says_no_candles(reply: Reply) -> bool:
    """Whether Kotak says in words that it has no candles in a stretch, e.g. over a weekend."""
    return _is_fault(reply, NO_CANDLES)


def says_unknown_symbol(reply: Reply) -> bool:
    """Whether ``historical_data`` does not know the name that was asked for."""
    return _is_fault(reply, (UNKNOWN_SYMBOL,))


def read_failure(reply: Reply, *, what: str, advice: str = "") -> BrokerError:
    """The error of a read that failed: session, budget, or nothing known. ``advice`` is what to do in the last case."""
    facts: dict[str, Any] = {"reason": reply.reason, "code": reply.code}
    if not reply.left_this_machine:
        return BrokerUnavailable(
            f"Kotak cannot be reached for {what} ({_unproven(reply)}); check the network and try again.",
            evidence=reply.evidence,
            **facts,
        )
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(
            f"Kotak takes no more calls for now; ask for {what} later.", retry_after=_retry_after(reply), **facts
        )
    if reply.code in CODES_SESSION or (reply.status in (401, 403) and reply.code not in REFUSALS):
        return SessionExpired(
            f"Kotak does not accept the session for {what}; log in again.", evidence=reply.evidence, **facts
        )
    advice = advice or REFUSALS.get(reply.code, "Try again.")
    return BrokerUnavailable(
        f"Kotak did not answer {what} ({_unproven(reply)}). {advice}", evidence=reply.evidence, **facts
    )


def login_failure(reply: Reply, *, step: str, advice: str) -> BrokerError:
    """The error of a login step: refused with Kotak's words, or Kotak could not be asked."""
    raise_foreign(reply)
    refused = reply.complete and reply.status in REFUSAL_STATUSES and reply.reason and reply.exception is None
    if not refused:
        return BrokerUnavailable(
            f"Kotak did not answer the login ({step}: {_unproven(reply)}); try again in a minute.",
            reason=reply.reason,
            code=reply.code,
            evidence=reply.evidence,
        )
    return LoginFailed(
        f"Kotak refused the login ({step}: {reply.reason}). {advice}",
        reason=reply.reason,
        code=reply.code,
        evidence=reply.evidence,
    )


def _is_fault(reply: Reply, words: tuple[str, ...]) -> bool:
    said = reply.reason.lower()
    return reply.status == HTTPStatus.BAD_REQUEST and reply.complete and any(each in said for each in words)


def _unwrapped(reply: Reply) -> Reply:
    """What is inside the envelope that the SDK makes of some answers."""
    inner = reply.body.get("data") if isinstance(reply.body, Mapping) else None
    return replace(reply, body=inner) if isinstance(inner, Mapping) else reply


def _parts(body: object) -> list[Mapping[str, Any]]:
    """The body and the places inside it where Kotak puts code and words."""
    if not isinstance(body, Mapping):
        return []
    parts: list[Mapping[str, Any]] = [body]
    for name in ("fault", "error"):
        inner = body.get(name)
        candidates = inner if isinstance(inner, list) else [inner]
        parts += [part for part in candidates if isinstance(part, Mapping)]
    return parts


def _is_refusal(reply: Reply) -> bool:
    return (
        reply.complete
        and reply.status in REFUSAL_STATUSES
        and isinstance(reply.body, Mapping)
        and str(reply.body.get("stat", "")).strip().lower() != "ok"
        and not reply.body.get("nOrdNo")
        and reply.code in REFUSALS
    )


def _raise_refusal(reply: Reply, what: str, *, of_order: bool) -> NoReturn:
    kind: type[BrokerError] = SessionExpired if reply.code in CODES_SESSION else OrderRejected
    if of_order and reply.code == CODE_ORDER_ENDED:
        kind = OrderEnded
    raise kind(
        f"Kotak refused {what}: {reply.reason or reply.code}. {REFUSALS[reply.code]}",
        reason=reply.reason,
        code=reply.code,
        evidence=reply.evidence,
    )


def _raise_not_sent(reply: Reply, what: str) -> NoReturn:
    error = reply.exception
    if not reply.records and error is not None and _is_of_sdk(error) and isinstance(error, ValueError):
        raise OrderDenied(f"Kotak's SDK refused {what}: {error}") from error
    raise NotSent(
        f"{what} was not sent ({_unproven(reply)}); it may be tried again.",
        reason=reply.reason,
        evidence=reply.evidence,
    ) from error


def _unproven(reply: Reply) -> str:
    """Why a reply proves nothing, in a few words."""
    if reply.code in CODES_DUPLICATE_TAG:
        return f"code {reply.code}, which Kotak also answers for a tag it has already"
    if reply.record and reply.record.error is not None:
        return type(reply.record.error).__name__
    if reply.status is not None and reply.status != HTTPStatus.OK:
        return f"HTTP {reply.status}" + (f", {reply.reason}" if reply.reason else "")
    if reply.exception is not None:
        return "an answer that is no JSON" if reply.complete else type(reply.exception).__name__
    return reply.reason or "an answer without the expected content"


def _is_of_sdk(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in SPEC.sdk_packages


def _retry_after(reply: Reply) -> timedelta:
    stated = reply.record.headers.get("retry-after", "") if reply.record else ""
    seconds = float(stated) if stated.isdecimal() else _DEFAULT_RETRY_SECONDS
    return timedelta(seconds=min(seconds, _LONGEST_RETRY_SECONDS))
