"""Finds out what became of GTTs whose answer was lost: in the broker's GTT book, or from a person.

The broker keeps no reference of ours, so a GTT is known by its looks, and only once it had to be there. That it is
absent is never proved: how long a GTT book lags behind is measured nowhere. Nothing here sends anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from brokers.clock import trading_day
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import GTT_KINDS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.factory import BrokerFactory
from brokers.gtt import book
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerAccount, GttBook, GttOrder, OrderAttempt, OrderIntent
from brokers.recovery import agenda, visibility
from brokers.recovery.answers import ask_person, declare_absent, settle_absent, unless_stale
from brokers.recovery.deadlines import alert_overdue
from brokers.recovery.matching import SKEW

#: Seconds between two readings for questions; longer once they are old.
OFTEN, SELDOM = 15, 60
IS_OLD = timedelta(minutes=5)


def reconcile(account: BrokerAccount, now: datetime) -> None:
    """Answer what can be answered of an account's open GTTs; read its GTT book if that is due.

    :raises RateLimited: the account's calls are used up for now; the next turn tries again.
    :raises BrokerError: the book could not be read.
    """
    for attempt in agenda.absent(account).filter(intent__kind__in=GTT_KINDS, intent__not_after__lt=now):
        unless_stale(lambda each: settle_absent(each.intent, now), attempt)
    questions = [each for each in agenda.of(account, trading_day(now), GTT_KINDS) if each.state != IntentState.ABSENT]
    within = visibility.bound(account, now)
    alert_overdue(account, [each for each in questions if each.is_open], within, now)
    if not _is_due(account, now):
        return
    read_at = book.read(account, BrokerFactory.get_broker(account.broker, account.name), urgent=True)
    for attempt in agenda.attempts(account, questions):
        unless_stale(_judge, attempt, read_at, visibility.proof_from(attempt, within), now)


def candidates(intent: OrderIntent) -> list[GttOrder]:
    """Nobody's GTTs of its symbol that came into the book since it was recorded."""
    free = GttOrder.objects.filter(account=intent.account, attempt__isnull=True, symbol=intent.symbol)
    return list(free.filter(first_seen_at__gte=intent.created_at).order_by("first_seen_at"))


def differences(intent: OrderIntent, gtt: GttOrder) -> list[str]:
    """In what a GTT of the book is not what was sent, in words; empty when it is."""
    pairs: list[tuple[str, object, object]] = [
        ("exchange", intent.exchange, gtt.exchange),
        ("symbol", intent.symbol, gtt.symbol),
        ("quantity", intent.quantity, gtt.quantity),
        ("product", intent.product, gtt.product),
    ]
    found = [f"{name} {shown} where {sent} was sent" for name, sent, shown in pairs if sent != shown]
    return found if book.shows(gtt, intent) else [*found, "other triggers or prices"]


def adopt(attempt: OrderAttempt, gtt: GttOrder, *, actor: Actor, cause: str, now: datetime) -> None:
    """Make ``gtt`` the attempt's, and follow it to where it stands.

    :raises StaleIntent: the GTT or the attempt was taken by somebody else.
    """
    with transaction.atomic():
        claimed = gtt.belong_to(attempt)
        if not claimed or not _found(attempt, (AttemptOutcome.UNKNOWN, AttemptOutcome.VOID)):
            raise StaleIntent(f"{gtt} or {attempt} was taken meanwhile.")
        evidence = {"gtt_order_id": gtt.gtt_order_id, "attempt": attempt.number}
        move(attempt.intent, IntentState.WORKING, actor=actor, cause=cause, at=now, evidence=evidence, closed_reason="")
    book.follow(attempt.intent.account, now)


def facts(gtt: GttOrder) -> dict[str, Any]:
    """A candidate as JSON, in the words that the order book's candidates have."""
    first = gtt.legs[0] if gtt.legs else {}
    return {
        "broker_order_id": gtt.gtt_order_id,
        "client_tag": "",
        "origin": gtt.origin,
        "status": gtt.status,
        "quantity": gtt.quantity,
        "filled_quantity": 0,
        "limit_price": first.get("limit_price"),
        "trigger_price": first.get("trigger_price"),
        "placed_at": str(gtt.placed_at) if gtt.placed_at else None,
        "first_seen_at": str(gtt.first_seen_at),
        "last_seen_at": str(gtt.last_seen_at),
    }


def _is_due(account: BrokerAccount, now: datetime) -> bool:
    """Whether something is to be read for: what is unknown, and what was taken and not seen in the book yet."""
    open_ones = OrderIntent.objects.filter(
        account=account, kind__in=GTT_KINDS, state__in=[IntentState.UNKNOWN, IntentState.WORKING]
    )
    newest = open_ones.order_by("-updated_at").values_list("updated_at", flat=True).first()
    if newest is None:
        return False
    asked_at = GttBook.objects.filter(account=account, asked_at__lte=now).values_list("asked_at", flat=True).first()
    pause = OFTEN if now - newest < IS_OLD else SELDOM
    return asked_at is None or now - asked_at >= visibility.scaled(pause)


def _judge(attempt: OrderAttempt, read_at: datetime, proof_at: datetime, now: datetime) -> None:
    intent = attempt.intent
    if intent.state == IntentState.WORKING:
        if intent.trading_day < trading_day(now):
            ask_person(attempt, "its day is over, and the GTT book did not say what became of it", now)
    elif intent.kind == IntentKind.GTT:
        _judge_placed(attempt, read_at, proof_at, now)
    elif intent.gtt is not None:
        _judge_mutation(attempt, intent.gtt, read_at, proof_at, now)


def _judge_placed(attempt: OrderAttempt, read_at: datetime, proof_at: datetime, now: datetime) -> None:
    """Before it had to be there, another that looks the same could still be taken for it."""
    if read_at <= proof_at:
        return
    begins, ends = attempt.armed_at - SKEW, proof_at + SKEW
    found = [
        gtt
        for gtt in candidates(attempt.intent)
        if (gtt.placed_at is None or begins <= gtt.placed_at <= ends) and not differences(attempt.intent, gtt)
    ]
    numbers = ", ".join(gtt.gtt_order_id for gtt in found)
    if len(found) > 1:
        ask_person(attempt, f"several GTTs of the book look like it: {numbers}", now)
    elif found and attempt.intent.account.manual_trading != BrokerAccount.ManualTrading.NONE:
        ask_person(attempt, f"GTT {numbers} looks like it, and a person may have placed that", now)
    elif found:
        cause = f"found in the GTT book as {numbers}, the one that looks like it"
        adopt(attempt, found[0], actor=Actor.RECONCILER, cause=cause, now=now)
    elif read_at > proof_at + visibility.scaled(visibility.PROVING):
        ask_person(attempt, "the GTT book still does not show it, which proves nothing", now)


def _judge_mutation(attempt: OrderAttempt, gtt: GttOrder, read_at: datetime, proof_at: datetime, now: datetime) -> None:
    intent, status = attempt.intent, GttStatus(gtt.status)
    if status.is_over or (intent.kind == IntentKind.GTT_MODIFY and book.shows(gtt, intent)):
        with transaction.atomic():
            if not _found(attempt, (AttemptOutcome.UNKNOWN,)):
                raise StaleIntent(f"{attempt} was judged meanwhile.")
            cause = f"the GTT book shows {gtt} {status.lower()}"
            move(intent, IntentState.WORKING, actor=Actor.RECONCILER, cause=cause, at=now)
        book.follow(intent.account, now)
    elif gtt.last_seen_at < read_at:
        # The reading did not show it.
        return
    elif read_at > (attempt.quiet_at if intent.kind == IntentKind.GTT_CANCEL else proof_at):
        declare_absent(attempt, f"the GTT book still shows {gtt} as it was", now)
        settle_absent(intent, now)


def _found(attempt: OrderAttempt, lost: tuple[AttemptOutcome, ...]) -> bool:
    """Write that an attempt was found; False when somebody else judged it."""
    judged = OrderAttempt.objects.filter(pk=attempt.pk, outcome__in=lost).update(outcome=AttemptOutcome.ADOPTED)
    if judged:
        attempt.outcome = AttemptOutcome.ADOPTED
    return bool(judged)
