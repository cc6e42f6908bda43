"""What a reply of Breeze means: a value, a refusal, or not known.

Whatever is not proven stays unknown. Breeze has eight envelopes (NOTES.md); the HTTP status and the
exception come from the wire, since the SDK loses both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn

from brokers.adapters.breeze import tables
from brokers.domain.errors import (
    BrokerUnavailable,
    NotSent,
    OrderDenied,
    OrderEnded,
    OrderOutcomeUnknown,
    OrderRejected,
    RateLimited,
    SessionExpired,
    UnreadableReply,
)
from brokers.domain.evidence import WireEvidence
from brokers.domain.redaction import scrub
from brokers.wire import WireRecord

MAX_REASON = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One SDK call: what it returned or raised, and what the wire saw meanwhile."""

    payload: object = field(default=None, repr=False)
    #: The SDK's bare exception; None when it returned.
    error: Exception | None = None
    records: tuple[WireRecord, ...] = ()
    #: Values that must not appear in a message.
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def evidence(self) -> WireEvidence | None:
        return self.records[-1].evidence() if self.records else None

    @property
    def http_status(self) -> int | None:
        return self.records[-1].http_status if self.records else None

    @property
    def left_this_machine(self) -> bool:
        return any(record.first_byte_at is not None for record in self.records)

    @property
    def envelope(self) -> dict[str, object]:
        """The JSON object of a complete reply; empty when there is none."""
        return self.payload if self.error is None and isinstance(self.payload, dict) else {}

    @property
    def words(self) -> str:
        """The broker's own text, cut and without secrets."""
        text = str(self.envelope.get("Error") or self.envelope.get("ExceptionMessage") or "").strip()
        return redact(text, self.secrets)

    @property
    def code(self) -> str:
        status = self.envelope.get("Status")
        return "" if status is None else str(status)

    @property
    def succeeded(self) -> bool:
        """Whether it is the success envelope: HTTP 200, Status 200, a Success and no Error."""
        return (
            self.http_status == 200
            and self.envelope.get("Status") == 200
            and self.envelope.get("Success") not in (None, "")
            and not self.envelope.get("Error")
        )

    def raise_gate(self) -> None:
        """Raise again what the last gate before the first byte raised.

        :raises NotSent: the gate's own error.
        """
        for record in self.records:
            if isinstance(record.error, NotSent):
                raise record.error


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the secrets and what looks like one, at most ``MAX_REASON`` characters."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[redacted]")
    return scrub(text)[:MAX_REASON]


def read_value(reply: Reply, what: str, *, believes_empty: bool = False) -> object:
    """The ``Success`` of a read; None when Breeze says in words that there is nothing.

    An empty list is believed only where ``believes_empty``: it is how the history says it, and nothing else does.

    :raises SessionExpired: the session is not accepted.
    :raises RateLimited: too many calls.
    :raises BrokerUnavailable: anything else; nothing is known.
    """
    reply.raise_gate()
    if reply.succeeded:
        if reply.envelope["Success"] == [] and not believes_empty:
            raise UnreadableReply(
                f"Breeze sent an empty list for the {what}, where it says 'no data' when there is nothing; ask again.",
                evidence=reply.evidence,
            )
        return reply.envelope["Success"]
    if says_nothing_there(reply):
        return None
    raise_read_error(reply, what)


def says_nothing_there(reply: Reply) -> bool:
    """Whether a complete, well-formed reply says in words that there is nothing."""
    return (
        reply.http_status in (200, 404)
        and "Success" in reply.envelope
        and reply.envelope["Success"] in (None, [])
        and tables.NOTHING_THERE.match(reply.words) is not None
    )


def raise_read_error(reply: Reply, what: str) -> NoReturn:
    """Raise what a read that gave no value means.

    :raises SessionExpired: the session is not accepted.
    :raises RateLimited: too many calls.
    :raises BrokerUnavailable: anything else; nothing is known.
    """
    words, evidence = reply.words, reply.evidence
    if reply.error is not None and reply.http_status is None:
        raise BrokerUnavailable(
            f"Breeze could not be asked for the {what} ({_cause(reply)}); nothing is known, ask again.",
            evidence=evidence,
        ) from reply.error
    if advice := _advice_on_set_up(reply):
        raise BrokerUnavailable(
            f"Breeze did not give the {what}: {words}. {advice}", reason=words, code=reply.code, evidence=evidence
        )
    if tables.SESSION_OVER.search(words):
        raise SessionExpired(
            "Breeze does not accept the session; log in again.", reason=words, code=reply.code, evidence=evidence
        )
    if tables.TOO_MANY_CALLS.search(words) or reply.http_status == 429:
        wait = timedelta(minutes=10 if tables.TOO_MANY_CALLS_TODAY.search(words) else 1)
        raise RateLimited(
            f"Breeze refused the {what}: {words or 'too many calls'}; wait {wait}.",
            retry_after=wait,
            reason=words,
            code=reply.code,
        )
    if words and reply.envelope:
        raise BrokerUnavailable(
            f"Breeze did not give the {what}: {words}. Nothing is known; ask again.",
            reason=words,
            code=reply.code,
            evidence=evidence,
        )
    raise UnreadableReply(
        f"Breeze answered the {what} with something unreadable (HTTP {reply.http_status}); ask again.",
        evidence=evidence,
    ) from reply.error


def _advice_on_set_up(reply: Reply) -> str:
    """What a person has to mend before any call succeeds; empty when it is not that."""
    if tables.BAD_KEY.search(reply.words):
        return "The api_key and the api_secret do not belong together; check both with setup_credentials."
    if tables.WRONG_ADDRESS.search(reply.words):
        return "Breeze takes no calls from this address; register it for the application at api.icicidirect.com."
    if tables.SESSION_OVER.search(reply.words):
        return _wrong_clock(reply)
    return ""


def taken_order_id(reply: Reply, what: str, *, expected: str = "") -> str:
    """The order id of a mutation that Breeze took; ``expected`` is the id a modify or cancel must answer with.

    :raises NotSent: proven; no byte left.
    :raises OrderRejected: proven refused, by a text of the list in ``tables``.
    :raises SessionExpired: proven refused, since the session is not accepted.
    :raises OrderOutcomeUnknown: everything else.
    """
    return _taken_id(reply, what, "order_id", expected=expected, book="order book")


def taken_gtt_id(reply: Reply, what: str, *, expected: str = "") -> str:
    """The id of a GTT that Breeze took, changed or cancelled; otherwise as :func:`taken_order_id`."""
    return _taken_id(reply, what, "gtt_order_id", expected=expected, book="GTT book")


def _taken_id(reply: Reply, what: str, name: str, *, expected: str, book: str) -> str:
    reply.raise_gate()
    if not reply.left_this_machine:
        _raise_never_left(reply, what)
    if reply.succeeded:
        success = reply.envelope["Success"]
        found = tables.ORDER_ID.search(str(success.get(name) or "")) if isinstance(success, dict) else None
        if found is not None and (not expected or found.group() == expected):
            return found.group()
    _raise_if_refused(reply, what, of_order=bool(expected))
    detail = reply.words or _cause(reply)
    raise OrderOutcomeUnknown(
        f"It is not known whether Breeze took the {what} ({detail}); look it up in the {book}, do not send it again.",
        reason=reply.words,
        code=reply.code,
        evidence=reply.evidence,
    ) from reply.error


def _raise_never_left(reply: Reply, what: str) -> NoReturn:
    if not reply.records and reply.words:
        raise OrderDenied(f"The Breeze SDK refused the {what} and sent nothing: {reply.words}.", reason=reply.words)
    raise NotSent(
        f"The {what} was not sent to Breeze ({_cause(reply)}); trying again is safe.", evidence=reply.evidence
    ) from reply.error


def _raise_if_refused(reply: Reply, what: str, *, of_order: bool) -> None:
    words, status = reply.words, reply.envelope.get("Status")
    if not words or reply.http_status not in tables.REFUSAL_HTTP or reply.envelope.get("Success"):
        return
    if tables.SESSION_OVER.search(words):
        if wrong_clock := _wrong_clock(reply):
            raise OrderRejected(
                f"Breeze refused the {what}: {words}. {wrong_clock}",
                reason=words,
                code=reply.code,
                evidence=reply.evidence,
            )
        raise SessionExpired(
            f"Breeze refused the {what}, since it does not accept the session; log in again.",
            reason=words,
            code=reply.code,
            evidence=reply.evidence,
        )
    has_ended = of_order and tables.ORDER_ENDED.search(words)
    proven = (
        has_ended
        or (of_order and tables.NO_SUCH_ORDER.search(words))
        or (isinstance(status, int) and status in tables.REFUSAL_STATUS)
        or tables.TOO_MANY_CALLS.search(words)
        or tables.BAD_KEY.search(words)
        or tables.REFUSED.search(words)
    )
    if proven:
        kind = OrderEnded if has_ended else OrderRejected
        raise kind(f"Breeze refused the {what}: {words}", reason=words, code=reply.code, evidence=reply.evidence)


def _wrong_clock(reply: Reply) -> str:
    """What is wrong with this machine's clock, when it is so far off that every call is refused; otherwise empty."""
    skew = reply.records[-1].clock_skew_seconds if reply.records else None
    if skew is None or abs(skew) <= tables.CLOCK_TOLERANCE_SECONDS:
        return ""
    return f"This machine's clock is {skew:+.0f} s away from Breeze's; set it right, and keep it by NTP."


def _cause(reply: Reply) -> str:
    """Why there is no usable reply, in a few words that hold no secret."""
    if reply.http_status is not None:
        return f"HTTP {reply.http_status} without an answer that can be read"
    chain = reply.evidence.exceptions if reply.evidence else ()
    return chain[0] if chain else "no answer"
