"""Reads of the ledger."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db.models import Q, QuerySet

from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.models import BrokerOrder, OrderAttempt, OrderIntent

#: Further than the order rate moves the time of an order that waited for its turn.
AHEAD = timedelta(minutes=1)


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


def has_open_orders(account_id: int) -> bool:
    """Whether anything of the account is under way, so that its book is read more often."""
    return OrderIntent.objects.filter(
        account_id=account_id, state__in=[IntentState.ARMED, IntentState.WORKING, IntentState.UNKNOWN]
    ).exists()
