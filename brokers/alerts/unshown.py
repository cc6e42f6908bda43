"""What people are told of orders that the broker took, and that its book does not show, or not any more."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from brokers.alerts import close_alert, raise_alert
from brokers.domain.enums import OrderStatus
from brokers.models import Alert, BrokerAccount, BrokerOrder, Severity

#: How long a book may take to show an order; as long as one is looked for whose answer was lost.
LATE = timedelta(minutes=3)
_KIND = "not_in_book"


def tell(
    account: BrokerAccount, mirror: Collection[BrokerOrder], shown: Collection[BrokerOrder], *, at: datetime
) -> None:
    """Tell once for an account and day that a readable book lacks orders of ours that it should have shown long ago.

    ``mirror`` has the orders as they were before this reading, ``shown`` those that it showed. When the last of them
    has come, the alert is taken back; what somebody has acknowledged is told anew when another one is missing.
    """
    ours = [order for order in mirror if order.origin == BrokerOrder.Origin.OURS]
    late = [order for order in ours if at - order.last_seen_at > LATE]
    if not late:
        return
    key = f"{account.pk}:{late[0].trading_day}"
    here = {order.pk for order in shown}
    missing = [order for order in late if order.pk not in here and not OrderStatus(order.status).is_terminal]
    if not missing:
        close_alert(_KIND, key, because="the book shows it now", at=at)
        return
    newest = max(missing, key=lambda order: order.last_seen_at)
    seen_by_somebody = Alert.objects.filter(
        kind=_KIND,
        key=f"{_KIND}:{key}",
        acknowledged_at__isnull=False,
        first_at__gt=newest.last_seen_at + LATE,
    )
    if seen_by_somebody.exists():
        return
    many = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    how = "the broker took" if newest.book_seen_at is None else "it last showed"
    raise_alert(
        _KIND,
        key,
        severity=Severity.WARNING,
        happened=f"The order book of {account} could be read and does not show order {newest}{many}, which {how} "
        f"{(at - newest.last_seen_at).total_seconds():.0f} s ago.",
        meaning="What became of it is not known, and no lost order of the account is proved absent meanwhile. An old "
        "session has been seen to show an old book.",
        to_do="Look in the broker's app; log in anew if it is there.",
        at=at,
        account=account,
    )
