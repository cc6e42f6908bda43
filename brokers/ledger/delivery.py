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
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction

from brokers.clock import configured_clock
from brokers.domain.enums import Exchange, Mode, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import (
    BrokerError,
    CredentialsNotFound,
    MarketClosed,
    NotSent,
    OrderDenied,
    RateLimited,
    SDKMissing,
)
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from brokers.ledger import fencing, pricing, queries, rate
from brokers.ledger.operations import lapse
from brokers.ledger.settlement import SESSION_REFUSED, TRY_AGAIN, acked, classify, interrupted, settle
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerOrder, OrderAttempt, OrderIntent
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

Operation = OrderRequest | OrderChange | CancelRequest


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
        _gate(intent, gateway)
        if intent.waiting_reason:
            _check_turn(intent, now)
        operation = _build(intent, gateway)
        session_version = gateway.prepare_send()
        attempt = _arm(intent, operation, session_version, clock.now())
    except OrderDenied as error:
        _deny(intent, error.message, now)
        return intent, None
    except RateLimited as error:
        _postpone(intent, error.message, now + error.retry_after)
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
    if intent.kind != IntentKind.CANCEL and not intent.account.is_active:
        raise OrderDenied(f"Account {intent.account} is paused; resume it in the admin. Cancels still go.")
    if intent.kind == IntentKind.PLACE and not gateway.calendar.is_open(Exchange(intent.exchange)):
        raise MarketClosed(gateway.calendar.why_closed(Exchange(intent.exchange)))


def _check_turn(intent: OrderIntent, now: datetime) -> None:
    """Keep an intent that had to wait before from spending a call only to find that it must wait on.

    :raises RateLimited: the account's order rate is still used up.
    :raises NotSent: the look-alike is still unresolved.
    """
    rate.check(intent.account, now)
    if intent.limit_price is not None:
        key = _match_key(intent, intent.limit_price)
        if OrderAttempt.objects.filter(match_key=key, outcome__in=UNRESOLVED).exists():
            raise LookAlike(intent.waiting_reason)


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
    :raises LookAlike: an order that looks the same is unresolved; this one waits.
    :raises RateLimited: the account's order rate is used up for this second.
    """
    price = operation.limit_price if not isinstance(operation, CancelRequest) else None
    sender = fencing.this_process()
    try:
        with transaction.atomic(durable=True):
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
        raise LookAlike(
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
        if clock.now() > intent.not_after:
            raise NotSent(f"{intent} was not sent: its time had run out by {intent.not_after.isoformat()}.")

    with gateway.sending(before_first_byte=last_gate, total_seconds=ANSWER_SECONDS) as trace:
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
    if settlement.outcome is AttemptOutcome.REFUSED and settlement.code == SESSION_REFUSED:
        gateway.report_expired(attempt.session_version)
    return intent


def _deny(intent: OrderIntent, reason: str, now: datetime) -> None:
    try:
        with transaction.atomic():
            move(intent, IntentState.DENIED, actor=Actor.SENDER, cause=reason, at=now, closed_reason=reason[:500])
    except StaleIntent:
        intent.refresh_from_db()


def _postpone(intent: OrderIntent, reason: str, until: datetime) -> None:
    """Leave it recorded and say why it waits; the sweeper rings again."""
    # Of several that failed at once, one postpones it and rings.
    waiting = OrderIntent.objects.filter(pk=intent.pk, state=IntentState.READY, version=intent.version)
    waiting.filter(not_before=intent.not_before).update(not_before=until, waiting_reason=reason[:500])
    intent.refresh_from_db()
