"""Finds out what became of GTTs whose answer was lost: in the broker's GTT book, or from a person.

The broker keeps no reference of ours, so a GTT is known by its looks, and only once it had to be there. That it is
absent is never proved: how long a GTT book lags behind is measured nowhere. Nothing here sends anything.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max, Q

from brokers.alerts import raise_alert, was_raised
from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.capabilities import Operation
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import (
    CANCEL_KINDS,
    GTT_KINDS,
    OPEN_QUESTIONS,
    UNSETTLED_STATES,
    Actor,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.factory import BrokerFactory
from brokers.gtt import book
from brokers.ledger.delivery import UNRESOLVED
from brokers.ledger.transitions import StaleIntent, move
from brokers.limits import Urgency
from brokers.models import BrokerAccount, GttBook, GttOrder, HumanDecision, OrderAttempt, OrderIntent, Severity
from brokers.recovery import agenda, visibility
from brokers.recovery.agenda import Question
from brokers.recovery.answers import SENT_TWICE, alert_twice, ask_person, declare_absent, settle_absent, unless_stale
from brokers.recovery.deadlines import alert_overdue, ask_in_time
from brokers.recovery.matching import SKEW, let_refusals_give_way

#: Seconds between two readings for questions; longer once they are old, and for what a person said is not there.
OFTEN, SELDOM, WATCHING = 15, 60, 300
IS_OLD = timedelta(minutes=5)
#: In these it is found out or asked what the broker has, so that nothing is said of a second one.
_IN_HAND = UNSETTLED_STATES | OPEN_QUESTIONS | {IntentState.NOT_PLACED}


def reconcile(account: BrokerAccount, now: datetime) -> None:
    """Answer what can be answered of an account's open GTTs; read its GTT book if that is due.

    :raises RateLimited: the account's calls are used up for now; the next turn tries again.
    :raises BrokerError: the book could not be read.
    """
    if Operation.GTT_SINGLE not in spec_of(account.broker).capabilities.operations:
        return
    for attempt in agenda.absent(account).filter(intent__kind__in=GTT_KINDS, intent__not_after__lt=now):
        unless_stale(lambda each: settle_absent(each.intent, now), attempt)
    found = agenda.of(account, trading_day(now), GTT_KINDS)
    questions = [each for each in found if each.is_open or each.state != IntentState.ABSENT]
    within = visibility.bound(account, now)
    open_ones = [each for each in questions if each.is_open]
    alert_overdue(account, open_ones, within, now)
    if not _is_due(account, now):
        return
    proofs = {each.pk: visibility.proof_from(each, within) for each in open_ones}
    with ExitStack() as whatever_happens:
        # A book that cannot be read answers nothing, and a person is asked in time all the same.
        whatever_happens.callback(ask_in_time, account, open_ones, proofs)
        read_at = book.read(account, BrokerFactory.get_broker(account.broker, account.name), urgency=Urgency.QUESTION)
        _Round(account=account, read_at=read_at, within=within, now=now).judge(questions)


def candidates(intent: OrderIntent) -> list[GttOrder]:
    """GTTs of its symbol that the book shows since it was recorded: nobody's, and the one that the broker took it as."""
    shown = GttOrder.objects.filter(account=intent.account, symbol=intent.symbol, book_seen_at__gte=intent.created_at)
    return list(shown.filter(Q(attempt__isnull=True) | Q(attempt__intent=intent)).order_by("book_seen_at"))


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
    """Make ``gtt`` the attempt's, if it is not that already, and follow it to where it stands.

    :raises StaleIntent: the GTT or the attempt was taken by somebody else.
    """
    lost = (AttemptOutcome.UNKNOWN, AttemptOutcome.VOID)
    with transaction.atomic():
        let_refusals_give_way(attempt.intent)
        if gtt.attempt_id != attempt.pk and not (gtt.belong_to(attempt) and _found(attempt, lost)):
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
    """Whether something is to be read for: what is unknown, what was taken and not seen in the book yet, and what a
    person said today is not there, whether they had it sent again or not.
    """
    intents = OrderIntent.objects.filter(account=account, kind__in=GTT_KINDS)
    is_open = Q(state__in=[IntentState.UNKNOWN, IntentState.WORKING]) | Q(
        state=IntentState.ABSENT, kind__in=CANCEL_KINDS
    )
    open_ones = intents.filter(is_open).order_by("-updated_at")
    newest = open_ones.values_list("updated_at", flat=True).first()
    if newest is not None:
        pause = OFTEN if now - newest < IS_OLD else SELDOM
    elif (
        intents.filter(kind=IntentKind.GTT, state=IntentState.NOT_PLACED, trading_day=trading_day(now)).exists()
        or agenda.resent(trading_day(now), IntentKind.GTT).filter(intent__account=account).exists()
    ):
        pause = WATCHING
    else:
        return False
    asked_at = GttBook.objects.filter(account=account, asked_at__lte=now).values_list("asked_at", flat=True).first()
    return asked_at is None or now - asked_at >= visibility.scaled(pause)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    """One reading of the GTT book, and what it says of each question."""

    account: BrokerAccount
    #: When it was asked for.
    read_at: datetime
    #: How long after the last possible moment of sending a GTT may appear.
    within: timedelta
    now: datetime

    def judge(self, questions: list[Question]) -> None:
        with ExitStack() as turns:
            turns.callback(self._tell_of_cancels)
            turns.callback(self._tell_of_resent)
            # Oldest first, and one that fails keeps no other from its turn.
            for attempt in reversed(agenda.attempts(self.account, questions)):
                turns.callback(unless_stale, self._judge, attempt)

    def _judge(self, attempt: OrderAttempt) -> None:
        """Only what is still a question after the reading, and was one when its attempt left."""
        intent = attempt.intent
        if intent.state == IntentState.WORKING:
            is_over = intent.trading_day < trading_day(self.now)
            if is_over and attempt.outcome not in (AttemptOutcome.NOT_SENT, AttemptOutcome.VOID):
                ask_person(attempt, "its day is over, and the GTT book did not say what became of it", self.now)
        elif intent.state == IntentState.NOT_PLACED:
            if intent.kind == IntentKind.GTT and attempt.outcome != AttemptOutcome.NOT_SENT:
                self._watch(attempt)
        elif intent.state == IntentState.ABSENT:
            if intent.gtt is not None and intent.lost_cancel() == attempt:
                self._judge_mutation(attempt, intent.gtt)
        elif intent.state != IntentState.UNKNOWN or attempt.outcome != AttemptOutcome.UNKNOWN:
            return
        elif intent.kind == IntentKind.GTT:
            self._judge_placed(attempt)
        elif intent.gtt is not None:
            self._judge_mutation(attempt, intent.gtt)

    def _proof_at(self, attempt: OrderAttempt) -> datetime:
        """From when on a reading says something of an attempt."""
        return visibility.proof_from(attempt, self.within)

    def _has_had_its_time(self, attempt: OrderAttempt) -> bool:
        """Whether it had to be shown so long ago that it is not waited for any more."""
        return self.read_at > self._proof_at(attempt) + visibility.scaled(visibility.PROVING)

    def _may_be(self, attempt: OrderAttempt, gtt: GttOrder) -> bool:
        """Whether a GTT of the book is an attempt's, or looks like it and was placed while that could have been."""
        if gtt.attempt_id is not None:
            return gtt.attempt_id == attempt.pk
        begins, ends = attempt.armed_at - SKEW, self._proof_at(attempt) + SKEW
        in_time = gtt.placed_at is None or begins <= gtt.placed_at <= ends
        return in_time and not differences(attempt.intent, gtt)

    # A placement

    def _watch(self, attempt: OrderAttempt) -> None:
        """Look whether what a person said is not there shows up after all."""
        if late := self._late(attempt):
            ask_person(attempt, f"GTT {late} showed up although it was said not to be there", self.now)

    def _tell_of_resent(self) -> None:
        """Tell people once where it shows up beside the one that they had sent again."""
        resent = agenda.resent(trading_day(self.now), IntentKind.GTT).filter(intent__account=self.account)
        for attempt in resent.exclude(intent__state__in=_IN_HAND).select_related("intent__account"):
            if not was_raised(SENT_TWICE, str(attempt.pk)) and (late := self._late(attempt)):
                alert_twice(attempt, f"GTT {late} showed up although it was said not to be there", self.now)

    def _late(self, attempt: OrderAttempt) -> GttOrder | None:
        """What may be an attempt's, and was first shown after a person last answered what became of its intent."""
        intent = attempt.intent
        answers = intent.decisions.filter(kind__in=[HumanDecision.Kind.NOT_PLACED, HumanDecision.Kind.RESEND])
        # Not when the intent was last moved: what is sent again moves on, and readings are made all the time.
        since = answers.aggregate(last=Max("at"))["last"] or intent.updated_at
        shown = (gtt for gtt in candidates(intent) if gtt.book_seen_at and gtt.book_seen_at > since)
        return next((gtt for gtt in shown if self._may_be(attempt, gtt)), None)

    def _judge_placed(self, attempt: OrderAttempt) -> None:
        """Before it had to be there, another that looks the same could still be taken for it."""
        if self.read_at <= self._proof_at(attempt):
            return
        found = [gtt for gtt in candidates(attempt.intent) if self._may_be(attempt, gtt)]
        numbers = ", ".join(gtt.gtt_order_id for gtt in found)
        if len(found) > 1:
            ask_person(attempt, f"several GTTs of the book look like it: {numbers}", self.now)
        elif found and self.account.manual_trading != BrokerAccount.ManualTrading.NONE:
            ask_person(attempt, f"GTT {numbers} looks like it, and a person may have placed that", self.now)
        elif found and self._has_rivals(attempt, found[0]):
            ask_person(attempt, f"GTT {numbers} looks like it and like other lost GTTs", self.now)
        elif found:
            cause = f"found in the GTT book as {numbers}, the one that looks like it"
            adopt(attempt, found[0], actor=Actor.RECONCILER, cause=cause, now=self.now)
        elif self._has_had_its_time(attempt):
            ask_person(attempt, "the GTT book still does not show it, which proves nothing", self.now)

    def _has_rivals(self, attempt: OrderAttempt, gtt: GttOrder) -> bool:
        """Whether a GTT may as well be another's: what two entries differ in, the GTT book does not state."""
        others = OrderAttempt.objects.filter(
            intent__account=self.account,
            intent__kind=IntentKind.GTT,
            intent__symbol=gtt.symbol,
            outcome__in=UNRESOLVED,
        )
        return any(self._may_be(other, gtt) for other in others.exclude(pk=attempt.pk).select_related("intent"))

    # A cancel or a change

    def _judge_mutation(self, attempt: OrderAttempt, gtt: GttOrder) -> None:
        intent, status = attempt.intent, GttStatus(gtt.status)
        if status.is_over or (intent.kind == IntentKind.GTT_MODIFY and book.shows(gtt, intent)):
            self._found_effect(attempt, f"the GTT book shows {gtt} {status.lower()}")
        elif gtt.last_seen_at < self.read_at:
            # What is not shown says nothing, and must not keep the next cancel or change waiting for ever.
            if self._has_had_its_time(attempt):
                ask_person(attempt, f"the GTT book does not show {gtt}, so that it cannot be told", self.now)
        elif self.read_at <= (attempt.quiet_at if _is_sent_again(intent, self.now) else self._proof_at(attempt)):
            # It may still take effect.
            return
        elif intent.kind == IntentKind.GTT_MODIFY and not _is_as_before(gtt, intent):
            ask_person(attempt, f"the GTT book shows {gtt} with neither its old prices nor the new ones", self.now)
        else:
            declare_absent(attempt, f"the GTT book still shows {gtt} as it was", self.now)

    def _found_effect(self, attempt: OrderAttempt, cause: str) -> None:
        with transaction.atomic():
            if not _found(attempt, (AttemptOutcome.UNKNOWN,)):
                raise StaleIntent(f"{attempt} was judged meanwhile.")
            move(attempt.intent, IntentState.WORKING, actor=Actor.RECONCILER, cause=cause, at=self.now)
        book.follow(self.account, self.now)

    def _tell_of_cancels(self) -> None:
        """Tell people once of a GTT that the book shows active long after the broker took its cancel."""
        taken = OrderAttempt.objects.filter(
            intent__account=self.account,
            intent__kind=IntentKind.GTT_CANCEL,
            intent__state=IntentState.WORKING,
            intent__gtt__last_seen_at__gte=self.read_at,
        ).exclude(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID])
        for attempt in taken.select_related("intent__gtt"):
            if self.read_at > self._proof_at(attempt) and attempt.intent.gtt is not None:
                _tell_of_cancel(attempt.intent, attempt.intent.gtt, self.now)


def _tell_of_cancel(cancel: OrderIntent, gtt: GttOrder, now: datetime) -> None:
    if was_raised(book.NOT_CANCELLED, str(cancel.pk)):
        return
    with transaction.atomic():
        # Another reading may have shown it done since, and an alert of it would then be closed by nobody.
        if not OrderIntent.objects.select_for_update().filter(pk=cancel.pk, state=IntentState.WORKING):
            return
        raise_alert(
            book.NOT_CANCELLED,
            str(cancel.pk),
            severity=Severity.CRITICAL,
            happened=f"GTT {gtt} of {gtt.symbol} x {gtt.quantity} is {gtt.status.lower()} in the GTT book, although the "
            f"broker took {cancel}.",
            meaning="It may still trigger and send its order, whatever is switched here.",
            to_do="Cancel it once more, or in the broker's own app, and look there that it is gone.",
            at=now,
            account=cancel.account,
            intent=cancel,
        )


def _is_sent_again(intent: OrderIntent, now: datetime) -> bool:
    """Whether it is sent again at once, whatever the book is worth: the goal of a cancel stays the same."""
    return (intent.kind, intent.state) == (IntentKind.GTT_CANCEL, IntentState.UNKNOWN) and now <= intent.not_after


def _is_as_before(gtt: GttOrder, change: OrderIntent) -> bool:
    """Whether a GTT has the prices that a change found, or those of an earlier one that was taken and not shown yet."""
    found = (change.target_before or {}).get("triggers")
    earlier = OrderIntent.objects.filter(gtt=gtt, kind=IntentKind.GTT_MODIFY, pk__lt=change.pk)
    before = [found, *earlier.values_list("triggers", flat=True)]
    return any(book.shows_prices(gtt, triggers) for triggers in before if triggers)


def _found(attempt: OrderAttempt, lost: tuple[AttemptOutcome, ...]) -> bool:
    """Write that an attempt was found; False when somebody else judged it."""
    judged = OrderAttempt.objects.filter(pk=attempt.pk, outcome__in=lost).update(outcome=AttemptOutcome.ADOPTED)
    if judged:
        attempt.outcome = AttemptOutcome.ADOPTED
    return bool(judged)
