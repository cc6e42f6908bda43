"""What people are told of cancels and changes that the broker took, and whose effect its book does not show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from brokers.alerts import close_alert, raise_alert
from brokers.alerts.unshown import LATE
from brokers.clock import trading_day
from brokers.domain.enums import OrderStatus
from brokers.domain.order_states import AttemptOutcome, IntentKind, IntentState
from brokers.models import Alert, BrokerAccount, BrokerOrder, OrderAttempt, OrderIntent, Severity

_KIND = "no_effect"


def tell(account: BrokerAccount, shown: Iterable[BrokerOrder], *, at: datetime) -> None:
    """Tell once for each cancel or change that a book shows without effect long after it was taken.

    ``shown`` has what this reading showed, as it is written now.
    """
    still_open = {order.pk: order for order in shown if not OrderStatus(order.status).is_terminal}
    if not still_open:
        return
    told = Alert.objects.filter(kind=_KIND, intent=OuterRef("intent"))
    # What a later change made of the order is not to be seen as if the first had come to nothing.
    later = OrderIntent.objects.filter(
        target=OuterRef("intent__target"),
        kind=IntentKind.MODIFY,
        pk__gt=OuterRef("intent"),
        state__in=[IntentState.WORKING, IntentState.DONE],
    )
    taken = OrderAttempt.objects.filter(
        Q(intent__kind=IntentKind.CANCEL) | Q(~Exists(later), intent__kind=IntentKind.MODIFY),
        ~Exists(told),
        intent__account=account,
        intent__trading_day=trading_day(at),
        intent__state=IntentState.WORKING,
        quiet_at__lt=at - LATE,
    ).exclude(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID])
    for attempt in taken.select_related("intent"):
        if (order := still_open.get(attempt.intent.target_id or 0)) is not None:
            _tell(attempt, order, at)


def take_back(intent: OrderIntent, at: datetime) -> None:
    """Its order ended, or has the new values; or a person is asked about it."""
    close_alert(_KIND, str(intent.pk), because=f"it is {intent.state} now", at=at)


def _tell(attempt: OrderAttempt, order: BrokerOrder, at: datetime) -> None:
    intent = attempt.intent
    took = "said that it had ended" if attempt.outcome == AttemptOutcome.REFUSED else "took it"
    word = f" ({order.broker_status!r})" if order.broker_status else ""
    is_cancel = intent.kind == IntentKind.CANCEL
    with transaction.atomic():
        # Another reading may have shown its effect since, and an alert of it would then be closed by nobody.
        if not OrderIntent.objects.select_for_update().filter(pk=intent.pk, state=IntentState.WORKING):
            return
        raise_alert(
            _KIND,
            str(intent.pk),
            severity=Severity.WARNING,
            happened=f"{intent}, to {'cancel' if is_cancel else 'change'} order {order} of {order.symbol}, was sent "
            f"{(at - attempt.armed_at).total_seconds():.0f} s ago, the broker {took}, and the order book shows the order "
            f"{order.status.lower()}{word}{'' if is_cancel else ' without the new values'}.",
            meaning=f"It had no effect so far: the order {'is not cancelled' if is_cancel else 'is as shown'}, and may trade.",
            to_do=f"{'Cancel' if is_cancel else 'Change'} it once more, or in the broker's app, and look there what it is.",
            at=at,
            account=intent.account,
            intent=intent,
        )
