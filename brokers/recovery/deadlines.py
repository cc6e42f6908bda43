"""What time alone decides: whom to tell, when to ask a person, and how a day ends."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from brokers.alerts import raise_alert
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import Exchange, OrderStatus
from brokers.domain.order_states import IntentState
from brokers.ledger import book, queries
from brokers.models import Alert, BookRead, BrokerAccount, BrokerOrder, OrderAttempt, OrderIntent, Severity
from brokers.recovery import visibility
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


def alert_overdue(account: BrokerAccount, within: timedelta, now: datetime) -> None:
    """Tell people of what has been unknown for longer than ``within``; at once when it was to reduce a position."""
    since = now - min(within, visibility.usual_bound())
    late = queries.questions(account).filter(Q(intent__reduce_only=True) | Q(quiet_at__lt=since))
    # Since it became unknown, which it may do again when it is sent again.
    told = Alert.objects.filter(kind="unknown", intent=OuterRef("intent"), first_at__gte=OuterRef("intent__updated_at"))
    for attempt in late.filter(~Exists(told))[:MOST_ALERTS]:
        intent = attempt.intent
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


def ask_in_time(questions: list[OrderAttempt], proofs: dict[int, datetime]) -> None:
    """Put what is still unknown before a person while something can still be done about it."""
    now = configured_clock().now()
    for attempt in questions:
        if attempt.intent.state == IntentState.UNKNOWN and now > _cut_off(attempt, proofs[attempt.pk]):
            unless_stale(ask_person, attempt, "the book could not settle it before the end of the session", now)


def _cut_off(attempt: OrderAttempt, proof_at: datetime) -> datetime:
    """When a question goes to a person at the latest."""
    proved_by = proof_at + visibility.scaled(visibility.PROVING)
    calendar = MarketCalendar(configured_clock())
    session = calendar.session(Exchange(attempt.intent.exchange), attempt.intent.trading_day)
    return max(session[1] - BEFORE_CLOSE, proved_by) if session else proved_by


def close_what_is_over(account: BrokerAccount, now: datetime) -> None:
    for attempt in queries.absent(account).filter(intent__not_after__lt=now):
        unless_stale(lambda each: settle_absent(each.intent, now), attempt)
    for attempt in queries.left_over(account, trading_day(now)):
        unless_stale(_end_day, attempt, now)


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
    return OrderIntent.objects.filter(account=account, state=IntentState.WORKING, trading_day=ended).exists()
