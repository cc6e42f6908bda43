"""What time alone decides: whom to tell, when to ask a person, and how a day ends."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from brokers.alerts import raise_alert
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import Exchange, OrderStatus
from brokers.domain.order_states import CANCEL_KINDS, IntentState
from brokers.ledger import book
from brokers.models import Alert, BookRead, BrokerAccount, BrokerOrder, OrderAttempt, OrderIntent, Severity
from brokers.recovery import agenda, visibility
from brokers.recovery.agenda import Question
from brokers.recovery.answers import ask_person, settle_absent, unless_stale

#: A person is asked this long before the session ends at the latest.
BEFORE_CLOSE = timedelta(minutes=10)
#: Alerts in one round; the others come with the next.
MOST_ALERTS = 100
#: After the end of continuous trading the auctions are over as well and the books are settled.
SETTLED_AFTER = timedelta(minutes=30)
#: How often the book is then read while it shows an order still open.
SWEEP_EVERY = timedelta(minutes=30)


def last_ended_day(now: datetime) -> date:
    """The last day on which no exchange trades any more: today once all of them have long closed."""
    calendar, today = MarketCalendar(configured_clock()), trading_day(now)
    sessions_held = [session for exchange in Exchange if (session := calendar.session(exchange, today))]
    is_over = not sessions_held or now > max(closes for _, closes in sessions_held) + SETTLED_AFTER
    return today if is_over else today - timedelta(days=1)


def alert_overdue(account: BrokerAccount, questions: list[Question], within: timedelta, now: datetime) -> None:
    """Tell people of what has been unknown for longer than ``within``; at once when it was to reduce a position."""
    since = now - min(within, visibility.usual_bound())
    unknown = [each for each in questions if each.state == IntentState.UNKNOWN]
    late = [each for each in unknown if each.reduce_only or each.quiet_at < since]
    if not late:
        return
    # Since it became unknown, which it may do again when it is sent again.
    told = Alert.objects.filter(kind="unknown", intent=OuterRef("intent"), first_at__gte=OuterRef("intent__updated_at"))
    untold = OrderAttempt.objects.filter(~Exists(told), pk__in=[each.pk for each in late]).values_list("pk", flat=True)
    keys = set(untold[:MOST_ALERTS])
    for attempt in agenda.attempts(account, [each for each in late if each.pk in keys]):
        _tell_of_unknown(attempt.intent, now)


def _tell_of_unknown(intent: OrderIntent, now: datetime) -> None:
    with transaction.atomic():
        # Another round may have answered it since, and an alert of it would then be closed by nobody.
        if not OrderIntent.objects.select_for_update().filter(pk=intent.pk, state=IntentState.UNKNOWN):
            return
        raise_alert(
            "unknown",
            str(intent.pk),
            severity=Severity.WARNING,
            happened=f"The outcome of {intent} of {intent.symbol} x {intent.quantity} is still not known.",
            meaning="It may be at the broker. It is not sent again, and what it may cost stays reserved.",
            to_do="Nothing yet: the book is read until it is found or proved absent. Its page shows what is known.",
            at=now,
            account=intent.account,
            intent=intent,
        )


def ask_in_time(account: BrokerAccount, questions: list[Question], proofs: dict[int, datetime]) -> None:
    """Put what is still unknown before a person while something can still be done about it."""
    now, calendar = configured_clock().now(), MarketCalendar(configured_clock())
    held = lru_cache(calendar.session)
    over = [
        each for each in questions if now > _cut_off(held(Exchange(each.exchange), each.trading_day), proofs[each.pk])
    ]
    _ask(account, over, "the book could not settle it before the end of the session", now)


def ask_without_calls(account: BrokerAccount, questions: list[Question], proofs: dict[int, datetime]) -> None:
    """Put before a person what had its time, now that the calls which questions may make today are spent."""
    now = configured_clock().now()
    over = [each for each in questions if now > proofs[each.pk] + visibility.scaled(visibility.PROVING)]
    _ask(account, over, "the calls of the day are spent, so that the book cannot be read any more today", now)


def _ask(account: BrokerAccount, questions: list[Question], cause: str, now: datetime) -> None:
    """Unless the round that found them has answered them."""
    states = {each.pk: each.state for each in questions}
    for attempt in agenda.attempts(account, questions) if questions else ():
        if attempt.intent.state == states[attempt.pk]:
            unless_stale(ask_person, attempt, cause, now)


def _cut_off(session: tuple[datetime, datetime] | None, proof_at: datetime) -> datetime:
    """When a question goes to a person at the latest."""
    proved_by = proof_at + visibility.scaled(visibility.PROVING)
    return max(session[1] - BEFORE_CLOSE, proved_by) if session else proved_by


def close_what_is_over(account: BrokerAccount, questions: list[Question], now: datetime) -> bool:
    """Close what time alone has answered; whether there was anything."""
    day = trading_day(now)
    is_late = any(
        each.state == IntentState.ABSENT and each.not_after < now and each.kind not in CANCEL_KINDS
        for each in questions
    )
    is_left_over = any(
        each.state in (IntentState.UNKNOWN, IntentState.WORKING) and each.trading_day < day for each in questions
    )
    if is_late:
        for attempt in agenda.absent(account).filter(intent__not_after__lt=now):
            unless_stale(lambda each: settle_absent(each.intent, now), attempt)
    if is_left_over:
        for attempt in agenda.left_over(account, day):
            unless_stale(_end_day, attempt, now)
    return is_late or is_left_over


def _end_day(attempt: OrderAttempt, now: datetime) -> None:
    """End what was left of an earlier day: an order that the book still showed open after the close expired.

    :raises StaleIntent: somebody else ended it meanwhile.
    """
    intent = attempt.intent
    order = intent.target or BrokerOrder.objects.filter(attempt=attempt).first()
    if intent.state != IntentState.WORKING or order is None or order.attempt is None or not _seen_after_close(order):
        ask_person(attempt, "its day is over, and the book did not say what became of it", now)
        return
    reason = "it was open in the book after the close, and no order outlives its day"
    BrokerOrder.objects.filter(pk=order.pk, status=order.status).update(status=OrderStatus.EXPIRED, reason=reason)
    order.refresh_from_db()
    book.follow(order.attempt.intent, order, now)


def _seen_after_close(order: BrokerOrder) -> bool:
    session = MarketCalendar(configured_clock()).session(Exchange(order.exchange), order.trading_day)
    return session is not None and order.last_seen_at > session[1] + SETTLED_AFTER


def is_to_be_swept(account: BrokerAccount, last: BookRead | None, now: datetime) -> bool:
    """Whether the book is to be read once more after the close, for orders that it showed open before."""
    ended = last_ended_day(now)
    if ended != trading_day(now) or (last is not None and now - last.started_at < SWEEP_EVERY):
        return False
    working = OrderIntent.objects.filter(account=account, state=IntentState.WORKING, mode=settings.MODE.value)
    return working.filter(trading_day=ended).exists()
