"""Writes what is proven of an attempt. What is not proven is UNKNOWN."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from brokers.alerts import close_alert, raise_alert
from brokers.domain.enums import OrderStatus, OrderType
from brokers.domain.errors import (
    BrokerError,
    NotSent,
    OrderDenied,
    OrderEnded,
    OrderRejected,
    SessionExpired,
    TagTaken,
)
from brokers.domain.evidence import WireEvidence
from brokers.domain.gtt import GttAck
from brokers.domain.order_states import PLACING_KINDS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import OrderAck
from brokers.ledger.transitions import StaleIntent, move, wire_evidence
from brokers.models import BrokerOrder, GttOrder, OrderAttempt, OrderIntent, Severity
from brokers.wire import WireTrace

log = logging.getLogger("brokers.ledger")

#: After an attempt that did not leave, or what cannot be done now, e.g. without a session.
TRY_AGAIN = timedelta(seconds=1)
#: Attempts that are proven not to have left; after these the intent lapses.
MAX_TRIES = 3
#: ``Settlement.code`` of an answer that says that the broker has an order with this tag.
TAG_TAKEN = "tag taken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What is proven of an attempt, and where the intent goes."""

    outcome: AttemptOutcome
    state: IntentState
    cause: str
    code: str = ""
    text: str = ""
    evidence: WireEvidence | None = None
    broker_order_id: str = ""


def classify(error: BrokerError, trace: WireTrace) -> Settlement:
    """What an error proves of an attempt. Fail closed: anything that is not proven is UNKNOWN."""
    outcome, state = AttemptOutcome.UNKNOWN, IntentState.UNKNOWN
    if isinstance(error, (NotSent, OrderDenied, SessionExpired)) and not trace.left_this_machine:
        outcome, state = AttemptOutcome.NOT_SENT, IntentState.READY
    elif isinstance(error, OrderEnded):
        # The request was refused; whether its goal is reached, the book tells.
        outcome, state = AttemptOutcome.REFUSED, IntentState.WORKING
    elif isinstance(error, (SessionExpired, OrderRejected)):
        outcome, state = AttemptOutcome.REFUSED, IntentState.REFUSED
    codes = {SessionExpired: OrderAttempt.SESSION_REFUSED, TagTaken: TAG_TAKEN}
    return Settlement(
        outcome=outcome,
        state=state,
        cause=error.message,
        code=codes.get(type(error), error.code),
        text=error.reason or error.message,
        evidence=error.evidence or (trace.last.evidence() if trace.last else None),
    )


def acked(ack: OrderAck | GttAck, trace: WireTrace) -> Settlement:
    """The broker took the request."""
    taken_as = ack.gtt_order_id if isinstance(ack, GttAck) else ack.broker_order_id
    return Settlement(
        outcome=AttemptOutcome.ACKED,
        state=IntentState.WORKING,
        cause=f"the broker took it as {taken_as}",
        text=ack.message,
        evidence=ack.evidence or (trace.last.evidence() if trace.last else None),
        broker_order_id=taken_as,
    )


def interrupted(error: BaseException, trace: WireTrace) -> Settlement:
    """This process was stopped in the middle, or a programming error struck."""
    evidence = trace.last.evidence() if trace.last else None
    cause = f"interrupted by {type(error).__name__}"
    if trace.left_this_machine:
        return Settlement(outcome=AttemptOutcome.UNKNOWN, state=IntentState.UNKNOWN, cause=cause, evidence=evidence)
    return Settlement(outcome=AttemptOutcome.NOT_SENT, state=IntentState.READY, cause=cause, evidence=evidence)


def settle(intent: OrderIntent, attempt: OrderAttempt, result: Settlement, now: datetime) -> None:
    """Write what is proven, in one transaction.

    An acknowledgement that comes after the attempt was called UNKNOWN is stronger evidence than that, and counts.
    Any other answer to an attempt that somebody has judged changes nothing; ``intent`` is brought up to date.
    """
    try:
        with transaction.atomic():
            if result.outcome is AttemptOutcome.ACKED and intent.kind in PLACING_KINDS:
                result = _mirrored(intent, attempt, result, now)
            outcome, state, changes = _where_to(intent, attempt, result, now)
            _judge(intent, attempt, outcome, result)
            if now > attempt.quiet_at:
                close_alert("sender_not_judged", str(attempt.pk), because=f"its sender says {outcome}", at=now)
            evidence = wire_evidence(result.evidence)
            move(intent, state, actor=Actor.SENDER, cause=result.cause, at=now, evidence=evidence, **changes)
    except StaleIntent:
        intent.refresh_from_db()
        _note_late_answer(intent, attempt, result, now)
        return
    attempt.outcome = outcome
    log.info(
        "attempt settled",
        extra={"intent": intent.pk, "client_order_id": intent.client_order_id, "outcome": str(outcome)},
    )


def _where_to(
    intent: OrderIntent, attempt: OrderAttempt, result: Settlement, now: datetime
) -> tuple[AttemptOutcome, IntentState, dict[str, Any]]:
    """Outcome, state and columns, after the rules for sending again."""
    again: dict[str, Any] = {"waiting_reason": result.cause[:500], "not_before": now + TRY_AGAIN}
    if result.outcome is AttemptOutcome.NOT_SENT:
        if attempt.number >= MAX_TRIES:
            reason = f"Not sent in {MAX_TRIES} tries. {result.cause}"[:500]
            return result.outcome, IntentState.LAPSED, {"closed_reason": reason}
        return result.outcome, result.state, again
    refused = result.state is IntentState.REFUSED or (
        # Only a cancel or a change can be refused and have its goal reached all the same.
        result.outcome is AttemptOutcome.REFUSED and intent.kind in PLACING_KINDS
    )
    if not refused:
        return result.outcome, result.state, {}
    if result.code == OrderAttempt.SESSION_REFUSED and now + TRY_AGAIN <= intent.not_after:
        refused_before = intent.attempts.filter(outcome=AttemptOutcome.VOID, reply_code=result.code)
        if not refused_before.exists():
            return AttemptOutcome.VOID, IntentState.READY, again
    return result.outcome, IntentState.REFUSED, {"closed_reason": result.cause[:500]}


def _judge(intent: OrderIntent, attempt: OrderAttempt, outcome: AttemptOutcome, result: Settlement) -> None:
    """Write the attempt's outcome.

    :raises StaleIntent: it has one already.
    """
    evidence = result.evidence
    values: dict[str, Any] = {
        "outcome": outcome,
        "first_byte_at": evidence.first_byte_at if evidence else None,
        "finished_at": evidence.finished_at if evidence else None,
        "http_status": evidence.http_status if evidence else None,
        "exceptions": ",".join(evidence.exceptions)[:300] if evidence else "",
        "body_sha256": evidence.body_sha256 if evidence else "",
        "reply_code": result.code[:32],
        "reply_text": result.text[:500],
    }
    row = OrderAttempt.objects.filter(pk=attempt.pk)
    if row.filter(outcome=AttemptOutcome.ARMED).update(**values):
        return
    intent.refresh_from_db()
    late = outcome is AttemptOutcome.ACKED and intent.state == IntentState.UNKNOWN
    if not late or not row.filter(outcome=AttemptOutcome.UNKNOWN).update(**values):
        raise StaleIntent(f"{attempt} was judged by somebody else before its answer was written.")


def _note_late_answer(intent: OrderIntent, attempt: OrderAttempt, result: Settlement, now: datetime) -> None:
    """Tell a person of an order that the broker took after it was given up."""
    is_followed = any(mirror.objects.filter(attempt=attempt).exists() for mirror in (BrokerOrder, GttOrder))
    if result.outcome is not AttemptOutcome.ACKED or is_followed:
        return
    raise_alert(
        "late_answer",
        str(attempt.pk),
        severity=Severity.CRITICAL,
        happened=f"The broker took {intent} as order {result.broker_order_id} after it was judged to be {intent.state}.",
        meaning="The order is at the broker, and the ledger does not follow it.",
        to_do="Look at the order in the broker's own app, then adopt it on the intent's page or cancel it there.",
        at=now,
        account=intent.account,
        intent=intent,
    )


def _mirrored(intent: OrderIntent, attempt: OrderAttempt, result: Settlement, now: datetime) -> Settlement:
    """Put the order into our mirror of the book; a reading of the book may have been quicker.

    One broker order belongs to one attempt: an id that another attempt has proves nothing about this one.
    """
    broker_order_id = result.broker_order_id
    elsewhere = f"the broker answered with order {broker_order_id}, which is another order's"
    of_another = replace(result, outcome=AttemptOutcome.UNKNOWN, state=IntentState.UNKNOWN, cause=elsewhere)
    if intent.kind == IntentKind.GTT:
        return result if GttOrder.take(intent, attempt, broker_order_id, now) else of_another
    try:
        with transaction.atomic():
            BrokerOrder.objects.create(
                account=intent.account,
                trading_day=intent.trading_day,
                broker_order_id=broker_order_id,
                attempt=attempt,
                origin=BrokerOrder.Origin.OURS,
                client_tag=intent.client_tag,
                exchange=intent.exchange,
                symbol=intent.symbol,
                side=intent.side,
                order_type=OrderType.LIMIT if intent.order_type == OrderType.MARKET else intent.order_type,
                product=intent.product,
                quantity=intent.quantity,
                limit_price=attempt.sent_price,
                trigger_price=intent.trigger_price,
                status=OrderStatus.PENDING,
                first_seen_at=now,
                last_seen_at=now,
            )
    except IntegrityError:
        seen = BrokerOrder.objects.filter(
            account=intent.account, trading_day=intent.trading_day, broker_order_id=broker_order_id
        )
        if not seen.filter(attempt__isnull=True).update(attempt=attempt, origin=BrokerOrder.Origin.OURS):
            return of_another
    return result
