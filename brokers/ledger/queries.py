"""Reads of the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery

from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.models import BrokerAccount, BrokerOrder, HumanDecision, OrderAttempt, OrderIntent

#: Further than the order rate moves the time of an order that waited for its turn.
AHEAD = timedelta(minutes=1)


class Question(NamedTuple):
    """An attempt of something to find out, in the columns that every look at it needs; there may be a thousand."""

    pk: int
    outcome: str
    session_version: int
    armed_at: datetime
    quiet_at: datetime
    kind: str
    state: str
    trading_day: date
    not_after: datetime
    exchange: str
    symbol: str
    side: str
    client_tag: str
    target_id: int | None
    reduce_only: bool
    #: When its outcome became what it is.
    since: datetime
    #: A person had it sent again after it was proved absent.
    is_resent: bool

    @property
    def is_open(self) -> bool:
        """Nobody knows yet what became of it, and nobody was asked."""
        return self.outcome == AttemptOutcome.UNKNOWN and self.state == IntentState.UNKNOWN


_OF_ATTEMPT = ("pk", "outcome", "session_version", "armed_at", "quiet_at")
_OF_INTENT = (
    *("kind", "state", "trading_day", "not_after", "exchange", "symbol", "side", "client_tag", "target_id"),
    *("reduce_only", "updated_at"),
)


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


def agenda(account: BrokerAccount, day: date) -> list[Question]:
    """What of an account is open, watched until ``day`` ends, or left over from an earlier day; oldest first."""
    resent = set(_resent(day).filter(intent__account=account).values_list("attempt", flat=True))
    ways = Q(intent__state__in=[IntentState.UNKNOWN, IntentState.ABSENT])
    ways |= Q(intent__state=IntentState.NOT_PLACED, intent__trading_day=day)
    ways |= Q(intent__state=IntentState.WORKING, intent__trading_day__lt=day)
    if resent:
        ways |= Q(pk__in=resent)
    rows = OrderAttempt.objects.filter(ways, intent__account=account, intent__mode=settings.MODE.value)
    columns = (*_OF_ATTEMPT, *(f"intent__{name}" for name in _OF_INTENT))
    found = rows.order_by("armed_at").values_list(*columns)
    return [Question(*row, row[0] in resent) for row in found]


def watched(questions: Iterable[Question], day: date) -> list[Question]:
    """Of an agenda, what was proved absent today and is looked for until the day ends, also after it was sent again."""
    return [
        each
        for each in questions
        if (each.outcome, each.kind, each.trading_day) == (AttemptOutcome.VOID, IntentKind.PLACE, day)
        and (each.is_resent or each.state in (IntentState.ABSENT, IntentState.NOT_PLACED))
    ]


def attempts(account: BrokerAccount, questions: Iterable[Question]) -> list[OrderAttempt]:
    """The whole rows of some questions, with their intents, oldest first."""
    rows = OrderAttempt.objects.filter(pk__in=[each.pk for each in questions]).select_related("intent__target")
    found = list(rows.order_by("armed_at"))
    for attempt in found:
        attempt.intent.account = account
    return found


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
