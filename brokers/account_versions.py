"""Which reads of an account are older than what the ledger knows of its orders.

The version is made of the ledger's own rows: of every move of an intent, and of what the book said of each order. So it
changes in the very transaction that settles an order, and costs that transaction nothing. Who notes it before asking the
broker can tell afterwards whether the answer may lack an order that has settled since.
"""

from __future__ import annotations

from datetime import date

from django.db import connection

from brokers.domain.enums import TERMINAL_ORDER_STATUSES
from brokers.models import BrokerOrder, OrderIntent

_ENDED = sorted(TERMINAL_ORDER_STATUSES)
# Every reading of an account asks this, so it is plain SQL; what is told is only compared.
_VERSION = (
    "SELECT (SELECT SUM(intent.version) "  # noqa: S608
    f"FROM {OrderIntent._meta.db_table} intent WHERE intent.account_id = %s AND intent.trading_day = %s), "
    f"COUNT(*), COUNT(CASE WHEN seen.status IN ({', '.join(['%s'] * len(_ENDED))}) THEN 1 END), "
    "SUM(seen.quantity), SUM(seen.filled_quantity), SUM(seen.limit_price) "
    f"FROM {BrokerOrder._meta.db_table} seen WHERE seen.account_id = %s AND seen.trading_day = %s"
)


def of(account_id: int, day: date) -> str:
    """What differs whenever an order of the account's IST day has moved; one statement over the day's orders."""
    when = connection.ops.adapt_datefield_value(day)
    with connection.cursor() as cursor:
        cursor.execute(_VERSION, [account_id, when, *_ENDED, account_id, when])
        found = cursor.fetchone()
    return ":".join(str(each or 0) for each in (day, *found))
