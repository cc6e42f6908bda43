"""How long an order may stay out of a broker's book, and when the book is read for an open question.

All lengths shrink by ``MCUBE_SAFETY_SCALE``, which is 1 outside of tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time, timedelta

from django.conf import settings
from django.db.models import OuterRef, Subquery

from brokers.clock import IST, trading_day
from brokers.domain.capabilities import Capabilities
from brokers.domain.order_states import AttemptOutcome, IntentKind
from brokers.models import BookRead, BrokerAccount, BrokerOrder, OrderAttempt, OrderBookSnapshot
from brokers.recovery.agenda import Question

#: Seconds after an outcome became unknown at which the book is read; then each minute.
LADDER = (1, 2, 4, 8, 15, 30, 60, 90, 120, 180)
MINUTE = 60
#: Seconds between two readings that prove an absence together, how many come that often, and how long those take.
SPACING = 20
ENOUGH = 6
PROVING = SPACING * ENOUGH
#: Seconds between any two readings for questions.
GAP = 2
#: A reading that has not ended is waited for so long; then its process is taken for dead.
UNDER_WAY = timedelta(seconds=45)
#: A broker with a budget for the day is read this much less often once a question is old.
BUDGETED_STRETCH = 4
#: The bound is this many times what 999 of 1000 orders took, and never below the floor. Books that lagged once for an
#: hour are not waited for that long ever after, so it is never above the ceiling either.
SAFETY_FACTOR = 3
FLOOR, CEILING = 120, 900
FEWEST_SAMPLES, MOST_SAMPLES = 200, 1000
SAMPLE_DAYS = timedelta(days=7)
#: Books are slow around the opening (IST).
OPENING = (time(9, 0), time(9, 20))


def scaled(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * settings.SAFETY_SCALE)


def bound(account: BrokerAccount, now: datetime) -> timedelta:
    """How long after its last possible moment of sending an order may appear in this account's book."""
    seen = BrokerOrder.objects.filter(
        account=account,
        trading_day__gte=trading_day(now - SAMPLE_DAYS),
        attempt__outcome=AttemptOutcome.ACKED,
        book_seen_at__isnull=False,
    )
    before = BookRead.objects.filter(
        account=account, ok=True, started_at__lt=OuterRef("book_seen_at"), finished_at__lt=OuterRef("book_seen_at")
    )
    by_schedule = OrderBookSnapshot.objects.filter(
        account=account,
        status=OrderBookSnapshot.Status.OK,
        slot_at__lte=OuterRef("book_seen_at"),
        taken_at__lt=OuterRef("book_seen_at"),
    )
    seen = seen.annotate(
        missed_at=Subquery(before.order_by("-started_at").values("started_at")[:1]),
        missed_by_schedule_at=Subquery(by_schedule.order_by("-slot_at").values("taken_at")[:1]),
    )
    moments = seen.order_by("-pk").values_list(
        "attempt__armed_at", "missed_at", "missed_by_schedule_at", "book_seen_at"
    )[:MOST_SAMPLES]
    known = (_delay(armed_at, missed, seen_at) for armed_at, *missed, seen_at in moments if seen_at)
    delays = sorted(delay for delay in known if delay is not None)
    if len(delays) < FEWEST_SAMPLES:
        return usual_bound()
    return min(max(delays[int(len(delays) * 0.999)] * SAFETY_FACTOR, scaled(FLOOR)), scaled(CEILING))


def _delay(armed_at: datetime, missed: Iterable[datetime | None], seen_at: datetime) -> timedelta | None:
    """How long a book took to show an order; None where it was not read soon enough to tell.

    ``missed`` has the last readings before the one that showed it. A book that is read every four minutes is not late
    by as much: where the reading before was long ago, only that it still missed the order is known.
    """
    missed_at = max([armed_at, *(each for each in missed if each is not None)])
    if seen_at - missed_at <= scaled(SPACING):
        return seen_at - armed_at
    return missed_at - armed_at if missed_at > armed_at else None


def usual_bound() -> timedelta:
    """The bound while too little is known of an account's book."""
    return scaled(max(settings.VISIBILITY_SECONDS, FLOOR))


def proof_from(attempt: OrderAttempt | Question, account_bound: timedelta) -> datetime:
    """From when on a reading of the book that does not show the order says something."""
    opening = OPENING[0] <= attempt.armed_at.astimezone(IST).time() < OPENING[1]
    return attempt.quiet_at + account_bound * (2 if opening else 1)


def is_due(
    question: Question,
    capabilities: Capabilities,
    account_bound: timedelta,
    readings: Sequence[BookRead],
    now: datetime,
) -> bool:
    """Whether the book is to be read for this question now. ``readings`` are the account's :data:`ENOUGH` newest."""
    # Where the clock was set back nothing need wait until it has caught up.
    readings = [reading for reading in readings if reading.started_at <= now]
    last = readings[0] if readings else None
    if last is not None and now - last.started_at < (UNDER_WAY if last.finished_at is None else scaled(GAP)):
        return False
    proof_at = proof_from(question, account_bound)
    if now > proof_at:
        stretch = BUDGETED_STRETCH if capabilities.calls_per_day else 1
        is_old = len(readings) >= ENOUGH and readings[ENOUGH - 1].started_at > proof_at
        complete = [reading.complete for reading in readings[:ENOUGH]]
        if is_old and (all(complete) or not any(complete)):
            pause = MINUTE * stretch
        elif is_old and not complete[0]:
            # A book that can be read now and then.
            pause = MINUTE
        else:
            # One that can be read again is read as often as a proof needs, however long it could not be.
            pause = SPACING
        return last is None or last.started_at <= proof_at or now - last.started_at >= scaled(pause)
    if question.kind == IntentKind.PLACE and not capabilities.echoes_client_tag:
        # It could not be told from another before the bound has passed, so that nothing is gained by looking.
        return False
    if question.since > now:
        return last is None or now - last.started_at >= scaled(MINUTE)
    rung = _rung(now - question.since)
    return rung is not None and (last is None or last.started_at < question.since + rung)


def _rung(age: timedelta) -> timedelta | None:
    """The last rung of the ladder at or below an age; None below the first."""
    last = scaled(LADDER[-1])
    if age >= last:
        return last + (age - last) // scaled(MINUTE) * scaled(MINUTE)
    return max((scaled(rung) for rung in LADDER if scaled(rung) <= age), default=None)
