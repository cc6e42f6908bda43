"""Sends a recorded intent, at most once: gate, arm, send, classify, settle.

1. Gate: what ``brokers.risk.gate`` asks before arming, session, call budget. Nothing is written for what may pass.
2. Arm: one transaction that holds the order against what is open, takes the intent by compare-and-set and
   writes the attempt. It is committed before the first byte.
3. Send: no transaction is open. The last gate, just before the first byte, checks the send deadline and
   the kill switches.
4. Settle: one transaction writes what is proven. What is not proven is UNKNOWN.

Delivering an intent again finds it no longer READY and does nothing.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction

from brokers import barrier
from brokers.clock import IST, configured_clock
from brokers.domain.errors import (
    BrokerError,
    CredentialsNotFound,
    NotSent,
    OrderDenied,
    RateLimited,
    SDKMissing,
)
from brokers.domain.order_states import CANCEL_KINDS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import OrderChange, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from brokers.ledger import queries, sender
from brokers.ledger.operations import lapse
from brokers.ledger.settlement import TRY_AGAIN, acked, classify, interrupted, settle
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import OrderAttempt, OrderIntent
from brokers.risk import exposure, gate, strangers
from brokers.risk.operation import Operation, operation_of
from brokers.wire import CONNECT_SECONDS

log = logging.getLogger("brokers.ledger")

#: From arming to the first byte; later the order is not sent.
SEND_SECONDS = 5.0
#: From the first connection to the last byte of the answer.
ANSWER_SECONDS = 10.0
#: After finding an order that looks the same and has no known outcome.
LOOK_ALIKE_AGAIN = timedelta(seconds=5)

#: An attempt of one of these may be at the broker, or on its way.
UNRESOLVED = (AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN)


class LookAlike(NotSent):
    """An order that looks the same is unresolved, and this broker could not tell the two apart."""


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
    if intent.state != IntentState.READY:
        return intent, None
    if now > intent.not_after:
        lapse(intent, now, Actor.SENDER)
        return intent, None
    if now < intent.not_before:
        return intent, None
    try:
        gateway = BrokerFactory.get_broker(intent.account.broker, intent.account.name)
        gate.check_now(intent, gateway)
        if intent.kind not in CANCEL_KINDS:
            barrier.check(intent.account, now)
        if intent.waiting_reason:
            _check_turn(intent, now)
        operation = operation_of(intent, gateway)
        clearance = gate.check_order(intent, operation, gateway)
        session_version = gateway.prepare_send()
        # From before the attempt's times are taken: what arming takes, or a pause after it, is not given on top.
        deadline = clock.monotonic() + SEND_SECONDS
        attempt = _arm(intent, operation, clearance, session_version, clock.now())
    except OrderDenied as error:
        _deny(intent, error, now)
        return intent, None
    except RateLimited as error:
        _postpone(intent, error.message, now + error.retry_after)
        return intent, error
    except exposure.Unsettled as error:
        _postpone(intent, error.message, error.until)
        return intent, error
    except LookAlike as error:
        _postpone(intent, error.message, now + LOOK_ALIKE_AGAIN)
        return intent, error
    except (BrokerError, CredentialsNotFound, SDKMissing) as error:
        _postpone(intent, str(error), now + TRY_AGAIN)
        return intent, error
    except StaleIntent:
        intent.refresh_from_db()
        return intent, None
    return _send(intent, attempt, operation, gateway, deadline), None


def _check_turn(intent: OrderIntent, now: datetime) -> None:
    """Keep an intent that had to wait before from spending a call only to find that it must wait on.

    :raises RateLimited: the account's order rate is still used up.
    :raises NotSent: the look-alike is still unresolved.
    """
    gate.check_turn(intent, now)
    if intent.limit_price is not None:
        key = _match_key(intent, intent.limit_price)
        if OrderAttempt.objects.filter(match_key=key, outcome__in=UNRESOLVED).exists():
            raise LookAlike(intent.waiting_reason)


def _arm(
    intent: OrderIntent, operation: Operation, clearance: gate.Clearance, session_version: int, now: datetime
) -> OrderAttempt:
    """Take the intent for this process, in one transaction.

    :raises StaleIntent: another process took it.
    :raises LookAlike: an order that looks the same is unresolved; this one waits.
    :raises NotSent: it is sent again, and what was called absent showed up.
    :raises RateLimited: an order rate is used up for now.
    :raises OrderDenied: it does not go together with what is open, or a kill switch was set meanwhile.
    """
    price = operation.limit_price if isinstance(operation, OrderRequest | OrderChange) else None
    armed_by = sender.this_process()
    try:
        with transaction.atomic(durable=True):
            now, kill_epoch = gate.check_while_arming(intent, clearance, now)
            # Only a fresh intent is at version 0, and it has no attempt yet.
            number = 1 if intent.version == 0 else intent.attempts.count() + 1
            if number > 1 and (order := strangers.reappeared(intent)):
                raise NotSent(f"{intent} waits: order {order} may be it, although it was called absent.")
            move(
                intent,
                IntentState.ARMED,
                actor=Actor.SENDER,
                cause=f"attempt {number} armed",
                at=now,
                waiting_reason="",
                kill_epoch=kill_epoch,
                reserved_rupees=clearance.rupees,
            )
            return OrderAttempt.objects.create(
                intent=intent,
                number=number,
                match_key=_match_key(intent, price),
                host=armed_by.host,
                boot_id=armed_by.boot_id,
                pid=armed_by.pid,
                pid_start=armed_by.pid_start,
                session_version=session_version,
                armed_at=now,
                send_deadline_at=now + timedelta(seconds=SEND_SECONDS),
                quiet_at=now + timedelta(seconds=SEND_SECONDS + ANSWER_SECONDS + CONNECT_SECONDS),
                sent_price=price,
            )
    except IntegrityError as error:
        intent.refresh_from_db()
        raise LookAlike(
            f"{intent} waits: an order that looks the same has no known outcome yet, and {intent.account.broker} "
            "could not tell the two apart."
        ) from error


def _match_key(intent: OrderIntent, price: Decimal | None) -> str:
    """What makes two attempts look alike in this broker's book, as SHA-256."""
    from brokers.discovery import spec_of

    # What a three-leg GTT enters with looks like any other order.
    enters = intent.kind == IntentKind.GTT and intent.trigger_price is None
    kind = IntentKind.PLACE if enters else intent.kind
    parts: list[object] = [intent.account_id, intent.trading_day, kind]
    if target := intent.target_id or intent.gtt_id:
        parts += [target]
    elif spec_of(intent.account.broker).capabilities.echoes_client_tag and not intent.triggers:
        parts += [intent.client_tag]
    else:
        parts += [intent.exchange, intent.symbol, intent.side, intent.quantity, intent.product]
        price = price or intent.limit_price
        parts += [price.normalize() if price else None, intent.trigger_price]
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def _send(
    intent: OrderIntent, attempt: OrderAttempt, operation: Operation, gateway: BrokerGateway, deadline: float
) -> OrderIntent:
    clock = gateway.clock

    def last_gate() -> None:
        # The database may be slow to answer, so that time is looked at last.
        gate.check_before_first_byte(intent)
        if clock.monotonic() >= deadline:
            raise NotSent(f"{intent} was not sent: its send deadline of {SEND_SECONDS:g} s had passed.")
        if clock.now() > intent.not_after:
            raise NotSent(f"{intent} was not sent: its time ended at {intent.not_after.astimezone(IST):%H:%M:%S} IST.")

    with (
        sender.sending(attempt.pk),
        gateway.sending(before_first_byte=last_gate, total_seconds=ANSWER_SECONDS) as trace,
    ):
        try:
            ack = gateway.transmit(operation)
            trace.raise_interruption()
            settlement = acked(ack, trace)
        except BrokerError as error:
            settlement = classify(error, trace)
        except BaseException as error:
            settle(intent, attempt, interrupted(error, trace), clock.now())
            raise
    settle(intent, attempt, settlement, clock.now())
    if settlement.outcome is AttemptOutcome.REFUSED and settlement.code == OrderAttempt.SESSION_REFUSED:
        gateway.report_expired(attempt.session_version)
    return intent


def _deny(intent: OrderIntent, error: OrderDenied, now: datetime) -> None:
    reason = error.message
    try:
        with transaction.atomic():
            gate.note_refusal(intent, error, now)
            move(intent, IntentState.DENIED, actor=Actor.SENDER, cause=reason, at=now, closed_reason=reason[:500])
    except StaleIntent:
        intent.refresh_from_db()


def _postpone(intent: OrderIntent, reason: str, until: datetime) -> None:
    """Leave it recorded and say why it waits; the sweeper rings again."""
    # Of several that failed at once, one postpones it and rings.
    waiting = OrderIntent.objects.filter(pk=intent.pk, state=IntentState.READY, version=intent.version)
    waiting.filter(not_before=intent.not_before).update(not_before=until, waiting_reason=reason[:500])
    intent.refresh_from_db()
