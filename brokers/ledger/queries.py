"""Reads of the ledger."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery

from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.models import BrokerAccount, BrokerOrder, HumanDecision, OrderAttempt, OrderIntent

#: Further than the order rate moves the time of an order that waited for its turn.
AHEAD = timedelta(minutes=1)


class Timing(NamedTuple):
    """When an open question arose: all that it takes to say whether the book is to be read for it."""

    kind: str
    armed_at: datetime
    quiet_at: datetime
    #: When its outcome became what it is.
    since: datetime


def intent(intent_id: int) -> OrderIntent:
    """One intent with its account."""
    return OrderIntent.objects.select_related("account").get(pk=intent_id)


def broker_order(account_id: int, broker_order_id: str, trading_day: date) -> BrokerOrder:
    """An order of today by the broker's id.

    :raises OrderDenied: the ledger does not know it.
    """
    order = (
        BrokerOrder.objects.select_related("attempt__intent")
        .filter(account_id=account_id, trading_day=trading_day, broker_order_id=str(broker_order_id))
        .first()
    )
    if order is None:
        raise OrderDenied(f"Order {broker_order_id!r} is not in today's book as mcube knows it; sync the orders first.")
    return order


def unknown() -> QuerySet[OrderIntent]:
    """Intents that may be at the broker, oldest first."""
    return OrderIntent.objects.filter(state=IntentState.UNKNOWN).select_related("account").order_by("created_at")


def overdue(now: datetime) -> QuerySet[OrderAttempt]:
    """Attempts still armed after every timeout has passed: their sender died or hangs. Not judged here.

    One that was armed in the future is as late: the clock was set back, and it would not be looked at for long.
    """
    late = Q(quiet_at__lt=now) | Q(armed_at__gt=now + AHEAD)
    return (
        OrderAttempt.objects.filter(late, intent__state=IntentState.ARMED, outcome=AttemptOutcome.ARMED)
        .select_related("intent__account")
        .order_by("armed_at")
    )


def questions(account: BrokerAccount) -> QuerySet[OrderAttempt]:
    """The unresolved attempts of an account whose intents nobody was asked about, oldest first."""
    return _attempts(account).filter(outcome=AttemptOutcome.UNKNOWN, intent__state=IntentState.UNKNOWN)


def watched(account: BrokerAccount, day: date) -> QuerySet[OrderAttempt]:
    """What was proved absent today and is looked for until the day ends, also after a person had it sent again."""
    return _attempts(account).filter(
        Q(intent__state__in=[IntentState.ABSENT, IntentState.NOT_PLACED]) | Q(pk__in=_resent(day).values("attempt")),
        outcome=AttemptOutcome.VOID,
        intent__kind=IntentKind.PLACE,
        intent__trading_day=day,
    )


def timings(account: BrokerAccount, day: date) -> list[Timing]:
    """Of every question, and of everything watched; there may be a thousand, and they are looked at every few seconds."""
    columns = ("intent__kind", "armed_at", "quiet_at", "intent__updated_at")
    both = (questions(account), watched(account, day))
    return [Timing(*row) for each in both for row in each.select_related(None).order_by().values_list(*columns)]


def absent(account: BrokerAccount) -> QuerySet[OrderAttempt]:
    """The newest attempts of what is proved absent and may still be sent again."""
    newest = OrderAttempt.objects.filter(intent=OuterRef("intent")).order_by("-number").values("pk")[:1]
    return _attempts(account).filter(intent__state=IntentState.ABSENT, pk=Subquery(newest))


def left_over(account: BrokerAccount, day: date) -> QuerySet[OrderAttempt]:
    """Attempts of earlier days that are unknown, or were working when their day ended."""
    return (
        _attempts(account)
        .filter(intent__state__in=[IntentState.UNKNOWN, IntentState.WORKING], intent__trading_day__lt=day)
        .exclude(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID])
    )


def accounts_in_question(day: date, *, ended: date) -> QuerySet[BrokerAccount]:
    """The accounts that have something to find out, or to watch until ``day`` ends, or open since ``ended``."""
    intents = OrderIntent.objects.filter(
        Q(state__in=[IntentState.UNKNOWN, IntentState.ABSENT])
        | Q(state=IntentState.NOT_PLACED, trading_day=day)
        | Q(state=IntentState.WORKING, trading_day__lte=ended),
        mode=settings.MODE.value,
    )
    watched_on = Q(pk__in=_resent(day).values("intent__account"))
    return BrokerAccount.objects.filter(Q(pk__in=intents.values("account")) | watched_on).order_by("pk")


def _resent(day: date) -> QuerySet[HumanDecision]:
    return HumanDecision.objects.filter(kind=HumanDecision.Kind.RESEND, intent__trading_day=day)


def _attempts(account: BrokerAccount) -> QuerySet[OrderAttempt]:
    return (
        OrderAttempt.objects.filter(intent__account=account, intent__mode=settings.MODE.value)
        .select_related("intent__account", "intent__target")
        .order_by("armed_at")
    )


def has_open_orders(account_id: int) -> bool:
    """Whether anything of the account is under way, so that its book is read more often."""
    return OrderIntent.objects.filter(
        account_id=account_id, state__in=[IntentState.ARMED, IntentState.WORKING, IntentState.UNKNOWN]
    ).exists()
