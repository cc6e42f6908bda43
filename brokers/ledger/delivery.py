"""Sends a recorded intent, at most once: gate, arm, send, classify, settle.

1. Gate: mode, account, market hours, lifetime, session, call budget. Nothing is written for what may pass.
2. Arm: one transaction that takes the intent by compare-and-set, writes the attempt and takes the
   order-rate token. It is committed before the first byte.
3. Send: no transaction is open. The last gate, just before the first byte, checks the send deadline.
4. Settle: one transaction writes what is proven. What is not proven is UNKNOWN.

Delivering an intent again finds it no longer READY and does nothing.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from brokers.clock import configured_clock
from brokers.domain.enums import Exchange, Mode, OrderStatus, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import (
    BrokerError,
    CredentialsNotFound,
    MarketClosed,
    NotSent,
    OrderDenied,
    OrderRejected,
    RateLimited,
    SDKMissing,
    SessionExpired,
)
from brokers.domain.evidence import WireEvidence
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import CancelRequest, OrderAck, OrderChange, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from brokers.ledger import fencing, pricing, queries, rate
from brokers.ledger.operations import lapse
from brokers.ledger.transitions import StaleIntent, move, wire_evidence
from brokers.models import BrokerOrder, OrderAttempt, OrderIntent
from brokers.wire import CONNECT_SECONDS, WireTrace

log = logging.getLogger("brokers.ledger")

#: From arming to the first byte; later the order is not sent.
SEND_SECONDS = 5.0
#: From the first connection to the last byte of the answer.
ANSWER_SECONDS = 10.0
#: After what cannot be done now, e.g. without a session.
TRY_AGAIN = timedelta(seconds=1)
#: Attempts that are proven not to have left; after these the intent lapses.
MAX_TRIES = 3

Operation = OrderRequest | OrderChange | CancelRequest


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


def deliver(intent_id: int) -> OrderIntent:
    """Send an intent if it is still to be sent; return it as it then is.

    Safe to call any number of times, from any process, at once or late. Outcomes are in the row; only
    what stops this process itself, e.g. a time limit, is raised, after the attempt was settled.
    """
    return try_to_deliver(intent_id)[0]


def try_to_deliver(intent_id: int) -> tuple[OrderIntent, Exception | None]:
    """As :func:`deliver`, and what keeps the intent waiting, if something does."""
    intent = queries.intent(intent_id)
    clock = configured_clock()
    now = clock.now()
    if intent.state != IntentState.READY or now < intent.not_before:
        return intent, None
    if now > intent.not_after:
        lapse(intent, now, Actor.SENDER)
        return intent, None
    try:
        gateway = BrokerFactory.get_broker(intent.account.broker, intent.account.name)
        _gate(intent, gateway)
        operation = _build(intent, gateway)
        session_version = gateway.prepare_send()
        attempt = _arm(intent, operation, session_version, clock.now())
    except OrderDenied as error:
        _deny(intent, error.message, now)
        return intent, None
    except RateLimited as error:
        _postpone(intent, error.message, now + error.retry_after)
        return intent, error
    except (BrokerError, CredentialsNotFound, SDKMissing) as error:
        _postpone(intent, str(error), now + TRY_AGAIN)
        return intent, error
    except StaleIntent:
        intent.refresh_from_db()
        return intent, None
    return _send(intent, attempt, operation, gateway), None


def _gate(intent: OrderIntent, gateway: BrokerGateway) -> None:
    """Refuse what must not be sent now.

    :raises OrderDenied: with the sentence that goes into the row.
    """
    if intent.mode != settings.MODE.value:
        raise OrderDenied(f"The order was recorded in {intent.mode} mode, and this installation runs {settings.MODE}.")
    if settings.MODE is not Mode.SIMULATED:
        raise OrderDenied(
            f"Orders in {settings.MODE} mode are refused by this version: live needs the start-up barrier and paper its "
            "simulated fills, and neither is built yet. Nothing was sent."
        )
    if not intent.account.is_active:
        raise OrderDenied(f"Account {intent.account} is paused; resume it in the admin.")
    if intent.kind == IntentKind.PLACE and not gateway.calendar.is_open(Exchange(intent.exchange)):
        raise MarketClosed(gateway.calendar.why_closed(Exchange(intent.exchange)))


def _build(intent: OrderIntent, gateway: BrokerGateway) -> Operation:
    """The domain's words for the intent. A market order is priced here, from a fresh quote.

    :raises OrderDenied: it cannot be priced, or breaks a rule of today's instrument.
    """
    instrument = gateway.resolve(intent.symbol, intent.exchange)
    if intent.kind == IntentKind.CANCEL:
        return CancelRequest(broker_order_id=_target(intent).broker_order_id, instrument=instrument)
    order_type, price = OrderType(intent.order_type), intent.limit_price
    if order_type is OrderType.MARKET:
        quote = gateway.quote(instrument, urgent=True)
        price = pricing.protected_limit(instrument, Side(intent.side), quote)
        order_type = OrderType.LIMIT
    if price is None:
        raise OrderDenied(f"{intent} has no price.")
    instrument.check_quantity(intent.quantity)
    instrument.check_price(price)
    if intent.kind == IntentKind.MODIFY:
        return OrderChange(
            broker_order_id=_target(intent).broker_order_id,
            instrument=instrument,
            quantity=intent.quantity,
            order_type=order_type,
            limit_price=price,
            trigger_price=intent.trigger_price,
            time_in_force=TimeInForce(intent.time_in_force),
        )
    return OrderRequest(
        client_order_id=intent.client_order_id,
        client_tag=intent.client_tag,
        instrument=instrument,
        side=Side(intent.side),
        quantity=intent.quantity,
        order_type=order_type,
        limit_price=price,
        trigger_price=intent.trigger_price,
        time_in_force=TimeInForce(intent.time_in_force),
        product=Product(intent.product),
    )


def _target(intent: OrderIntent) -> BrokerOrder:
    if intent.target is None:
        raise OrderDenied(f"{intent} names no order.")
    return intent.target


def _arm(intent: OrderIntent, operation: Operation, session_version: int, now: datetime) -> OrderAttempt:
    """Take the intent for this process, in one transaction.

    :raises StaleIntent: another process took it.
    :raises NotSent: an order that looks the same is unresolved; this one waits.
    :raises RateLimited: the account's order rate is used up for this second.
    """
    price = operation.limit_price if not isinstance(operation, CancelRequest) else None
    sender = fencing.this_process()
    try:
        with transaction.atomic():
            rate.take(intent.account, now)
            # Only a fresh intent is at version 0, and it has no attempt yet.
            number = 1 if intent.version == 0 else intent.attempts.count() + 1
            move(
                intent,
                IntentState.ARMED,
                actor=Actor.SENDER,
                cause=f"attempt {number} armed",
                at=now,
                waiting_reason="",
            )
            return OrderAttempt.objects.create(
                intent=intent,
                number=number,
                match_key=_match_key(intent, price),
                host=sender.host,
                boot_id=sender.boot_id,
                pid=sender.pid,
                pid_start=sender.pid_start,
                session_version=session_version,
                armed_at=now,
                send_deadline_at=now + timedelta(seconds=SEND_SECONDS),
                quiet_at=now + timedelta(seconds=SEND_SECONDS + ANSWER_SECONDS + CONNECT_SECONDS),
                sent_price=price,
            )
    except IntegrityError as error:
        intent.refresh_from_db()
        raise NotSent(
            f"{intent} waits: an order that looks the same has no known outcome yet, and {intent.account.broker} "
            "could not tell the two apart."
        ) from error


def _match_key(intent: OrderIntent, price: Decimal | None) -> str:
    """What makes two attempts look alike in this broker's book, as SHA-256."""
    from brokers.discovery import spec_of

    parts: list[object] = [intent.account_id, intent.trading_day, intent.kind]
    if intent.kind != IntentKind.PLACE:
        parts += [intent.target_id]
    elif spec_of(intent.account.broker).capabilities.echoes_client_tag:
        parts += [intent.client_tag]
    else:
        parts += [intent.exchange, intent.symbol, intent.side, intent.quantity, intent.product]
        parts += [price.normalize() if price else None, intent.trigger_price]
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def _send(intent: OrderIntent, attempt: OrderAttempt, operation: Operation, gateway: BrokerGateway) -> OrderIntent:
    clock = gateway.clock
    deadline = clock.monotonic() + SEND_SECONDS

    def last_gate() -> None:
        if clock.monotonic() >= deadline:
            raise NotSent(f"{intent} was not sent: its send deadline of {SEND_SECONDS:g} s had passed.")

    with gateway.sending(before_first_byte=last_gate, total_seconds=ANSWER_SECONDS) as trace:
        try:
            ack = gateway.transmit(operation)
            trace.raise_interruption()
            settlement = _acked(ack, trace)
        except BrokerError as error:
            settlement = classify(error, trace)
        except BaseException as error:
            _settle(intent, attempt, _interrupted(error, trace), clock.now())
            raise
    if settlement.outcome is AttemptOutcome.REFUSED and settlement.code == SESSION_REFUSED:
        gateway.report_expired(attempt.session_version)
    _settle(intent, attempt, settlement, clock.now())
    return intent


#: ``Settlement.code`` of a refusal that only says that the session is not valid.
SESSION_REFUSED = "session"


def classify(error: BrokerError, trace: WireTrace) -> Settlement:
    """What an error proves of an attempt. Fail closed: anything that is not proven is UNKNOWN."""
    outcome, state = AttemptOutcome.UNKNOWN, IntentState.UNKNOWN
    if isinstance(error, (NotSent, OrderDenied)) and not trace.left_this_machine:
        outcome, state = AttemptOutcome.NOT_SENT, IntentState.READY
    elif isinstance(error, (SessionExpired, OrderRejected)):
        outcome, state = AttemptOutcome.REFUSED, IntentState.REFUSED
    return Settlement(
        outcome=outcome,
        state=state,
        cause=error.message,
        code=SESSION_REFUSED if isinstance(error, SessionExpired) else error.code,
        text=error.reason or error.message,
        evidence=error.evidence or (trace.last.evidence() if trace.last else None),
    )


def _acked(ack: OrderAck, trace: WireTrace) -> Settlement:
    return Settlement(
        outcome=AttemptOutcome.ACKED,
        state=IntentState.WORKING,
        cause=f"the broker took it as {ack.broker_order_id}",
        text=ack.message,
        evidence=ack.evidence or (trace.last.evidence() if trace.last else None),
        broker_order_id=ack.broker_order_id,
    )


def _interrupted(error: BaseException, trace: WireTrace) -> Settlement:
    """This process was stopped in the middle, or a programming error struck."""
    evidence = trace.last.evidence() if trace.last else None
    cause = f"interrupted by {type(error).__name__}"
    if trace.left_this_machine:
        return Settlement(outcome=AttemptOutcome.UNKNOWN, state=IntentState.UNKNOWN, cause=cause, evidence=evidence)
    return Settlement(outcome=AttemptOutcome.NOT_SENT, state=IntentState.READY, cause=cause, evidence=evidence)


def _settle(intent: OrderIntent, attempt: OrderAttempt, result: Settlement, now: datetime) -> None:
    """Write what is proven, in one transaction.

    :raises StaleIntent: the attempt is no longer armed; somebody judged it first.
    """
    evidence = result.evidence
    with transaction.atomic():
        changed = OrderAttempt.objects.filter(pk=attempt.pk, outcome=AttemptOutcome.ARMED).update(
            outcome=result.outcome,
            first_byte_at=evidence.first_byte_at if evidence else None,
            finished_at=evidence.finished_at if evidence else None,
            http_status=evidence.http_status if evidence else None,
            exceptions=",".join(evidence.exceptions)[:300] if evidence else "",
            body_sha256=evidence.body_sha256 if evidence else "",
            reply_code=result.code[:32],
            reply_text=result.text[:500],
        )
        if changed != 1:
            raise StaleIntent(f"{attempt} was judged by somebody else before its answer was written.")
        changes: dict[str, Any] = {"closed_reason": result.cause[:500]} if result.state is IntentState.REFUSED else {}
        state = result.state
        if result.outcome is AttemptOutcome.NOT_SENT and attempt.number >= MAX_TRIES:
            state = IntentState.LAPSED
            changes = {"closed_reason": f"Not sent in {MAX_TRIES} tries. {result.cause}"[:500]}
        elif result.outcome is AttemptOutcome.NOT_SENT:
            changes = {"waiting_reason": result.cause[:500], "not_before": now + TRY_AGAIN}
        move(
            intent,
            state,
            actor=Actor.SENDER,
            cause=result.cause,
            at=now,
            evidence=wire_evidence(evidence),
            **changes,
        )
        if result.outcome is AttemptOutcome.ACKED and intent.kind == IntentKind.PLACE:
            _mirror(intent, attempt, result.broker_order_id, now)
    attempt.outcome = result.outcome
    log.info(
        "attempt settled",
        extra={"intent": intent.pk, "client_order_id": intent.client_order_id, "outcome": str(result.outcome)},
    )


def _mirror(intent: OrderIntent, attempt: OrderAttempt, broker_order_id: str, now: datetime) -> None:
    """Put the order into our mirror of the book; a reading of the book may have been quicker."""
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
        seen.filter(attempt__isnull=True).update(attempt=attempt, origin=BrokerOrder.Origin.OURS)


def _deny(intent: OrderIntent, reason: str, now: datetime) -> None:
    try:
        with transaction.atomic():
            move(intent, IntentState.DENIED, actor=Actor.SENDER, cause=reason, at=now, closed_reason=reason[:500])
    except StaleIntent:
        intent.refresh_from_db()


def _postpone(intent: OrderIntent, reason: str, until: datetime) -> None:
    """Leave it recorded and say why it waits; the sweeper rings again."""
    OrderIntent.objects.filter(pk=intent.pk, state=IntentState.READY, version=intent.version).update(
        not_before=until, waiting_reason=reason[:500]
    )
    intent.refresh_from_db()
