"""What is to be found out: the orders that are unknown, watched or left over, and the accounts that have some."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, time
from operator import attrgetter
from typing import NamedTuple

from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery

from brokers.clock import IST
from brokers.domain.order_states import (
    CANCEL_KINDS,
    GTT_KINDS,
    ORDER_KINDS,
    PLACING_KINDS,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.models import BrokerAccount, OrderAttempt, OrderIntent


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
    #: It was called absent, and was to be sent again.
    is_resent: bool

    @property
    def is_open(self) -> bool:
        """Nobody knows yet what became of it, and nobody was asked."""
        if self.kind in CANCEL_KINDS and self.state == IntentState.ABSENT:
            return self.outcome == AttemptOutcome.VOID
        return self.outcome == AttemptOutcome.UNKNOWN and self.state == IntentState.UNKNOWN


_TO_FIND_OUT = (IntentState.UNKNOWN, IntentState.ABSENT, IntentState.NOT_PLACED, IntentState.WORKING)
_OF_ATTEMPT = ("pk", "outcome", "session_version", "armed_at", "quiet_at")
_OF_INTENT = (
    *("kind", "state", "trading_day", "not_after", "exchange", "symbol", "side", "client_tag", "target_id"),
    *("reduce_only", "updated_at"),
)


def of(account: BrokerAccount, day: date, kinds: Collection[IntentKind] = ORDER_KINDS) -> list[Question]:
    """What of an account is open, watched until ``day`` ends, or left over from an earlier day; oldest first."""
    watched_on = resent(day, IntentKind.PLACE).filter(intent__account=account)
    again = set(watched_on.values_list("pk", flat=True)) if IntentKind.PLACE in kinds else set()
    # The states stand by themselves as well, so that both databases see which index serves.
    rows = _rows(account).filter(
        Q(intent__state__in=[IntentState.UNKNOWN, IntentState.ABSENT])
        | Q(intent__state=IntentState.NOT_PLACED, intent__trading_day=day)
        | Q(intent__state=IntentState.WORKING, intent__trading_day__lt=day),
        intent__state__in=_TO_FIND_OUT,
        intent__kind__in=kinds,
    )
    columns = (*_OF_ATTEMPT, *(f"intent__{name}" for name in _OF_INTENT))
    found = set(rows.values_list(*columns))
    if again:
        found.update(_rows(account).filter(pk__in=again).values_list(*columns))
    questions = (Question._make((*row, row[0] in again)) for row in found)
    return sorted(questions, key=attrgetter("armed_at"))


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
    """The newest attempts of what is proved absent and may still be sent again. A cancel is not among them: in that
    state it is an open question.
    """
    newest = OrderAttempt.objects.filter(intent=OuterRef("intent")).order_by("-number").values("pk")[:1]
    proved = _attempts(account).filter(intent__state=IntentState.ABSENT, pk=Subquery(newest))
    return proved.exclude(intent__kind__in=CANCEL_KINDS)


def left_over(account: BrokerAccount, day: date) -> QuerySet[OrderAttempt]:
    """Attempts of earlier days that are unknown, or were working when their day ended."""
    return (
        _attempts(account)
        .filter(
            intent__state__in=[IntentState.UNKNOWN, IntentState.WORKING],
            intent__kind__in=ORDER_KINDS,
            intent__trading_day__lt=day,
        )
        .exclude(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID])
    )


def resent(day: date, *kinds: IntentKind) -> QuerySet[OrderAttempt]:
    """What was called absent today and was to be sent again, by whomever and whatever came of that."""
    called_absent = OrderAttempt.objects.filter(
        outcome=AttemptOutcome.VOID,
        armed_at__gte=datetime.combine(day, time.min, IST),
        intent__kind__in=kinds,
        intent__trading_day=day,
    ).exclude(reply_code=OrderAttempt.SESSION_REFUSED)
    return called_absent.exclude(
        intent__state__in=[IntentState.ABSENT, IntentState.NOT_PLACED, IntentState.NEEDS_HUMAN]
    )


def accounts_in_question(day: date, *, ended: date) -> QuerySet[BrokerAccount]:
    """The accounts that have something to find out, or to watch until ``day`` ends, or open since ``ended``."""
    intents = OrderIntent.objects.filter(
        Q(state__in=[IntentState.UNKNOWN, IntentState.ABSENT])
        | Q(state=IntentState.NOT_PLACED, trading_day=day)
        | Q(state=IntentState.WORKING, trading_day__lte=ended)
        | Q(state=IntentState.WORKING, kind__in=GTT_KINDS),
        mode=settings.MODE.value,
    )
    watched_on = Q(pk__in=resent(day, *PLACING_KINDS).values("intent__account"))
    return BrokerAccount.objects.filter(Q(pk__in=intents.values("account")) | watched_on).order_by("pk")


def _attempts(account: BrokerAccount) -> QuerySet[OrderAttempt]:
    return _rows(account).select_related("intent__account", "intent__target").order_by("armed_at")


def _rows(account: BrokerAccount) -> QuerySet[OrderAttempt]:
    return OrderAttempt.objects.filter(intent__account=account, intent__mode=settings.MODE.value)
