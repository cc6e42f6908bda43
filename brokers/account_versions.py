"""Which reads of an account are older than what the ledger knows of its orders.

The version is made of the ledger's own rows: of every move of an intent, and of what the book said of each order. So it
changes in the very transaction that settles an order, and costs that transaction nothing. Who notes it before asking the
broker can tell afterwards whether the answer may lack an order that has settled since.
"""

from __future__ import annotations

from datetime import date

from django.db.models import Count, Q, Sum

from brokers.domain.enums import TERMINAL_ORDER_STATUSES
from brokers.models import BrokerOrder, OrderIntent

_ENDED = Q(status__in=sorted(TERMINAL_ORDER_STATUSES))


def of(account_id: int, day: date) -> str:
    """What differs whenever an order of the account's IST day has moved; two statements over the day's orders."""
    intents = OrderIntent.objects.filter(account=account_id, trading_day=day).aggregate(moves=Sum("version"))
    orders = BrokerOrder.objects.filter(account=account_id, trading_day=day).aggregate(
        count=Count("pk"),
        ended=Count("pk", filter=_ENDED),
        quantity=Sum("quantity"),
        filled=Sum("filled_quantity"),
        price=Sum("limit_price"),
    )
    return ":".join(str(each or 0) for each in (day, *intents.values(), *orders.values()))
