"""What people are told of orders that the broker took, and that its book does not show."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from brokers.alerts import close_alert, raise_alert
from brokers.domain.enums import OrderStatus
from brokers.models import BrokerAccount, BrokerOrder, Severity

#: How long a book may take to show an order; as long as one is looked for whose answer was lost.
LATE = timedelta(minutes=3)
_KIND = "not_in_book"


def tell(
    account: BrokerAccount, mirror: Collection[BrokerOrder], shown: Collection[BrokerOrder], *, at: datetime
) -> None:
    """Tell once for an account and day that a readable book lacks orders of ``mirror`` that were acknowledged long ago.

    ``shown`` has what this reading showed, as it was before. When the last of them has come, the alert is taken back.
    """
    late = [order for order in mirror if order.book_seen_at is None and at - order.first_seen_at > LATE]
    if not late:
        return
    key = f"{account.pk}:{late[0].trading_day}"
    here = {order.pk for order in shown}
    missing = [order for order in late if order.pk not in here and not OrderStatus(order.status).is_terminal]
    if not missing:
        close_alert(_KIND, key, because="the book shows it now", at=at)
        return
    many = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise_alert(
        _KIND,
        key,
        severity=Severity.WARNING,
        happened=f"The order book of {account} could be read and does not show order {missing[0]}{many}, which the "
        f"broker took {(at - missing[0].first_seen_at).total_seconds():.0f} s ago.",
        meaning="What became of it is not known, and no lost order of the account is proved absent meanwhile. An old "
        "session has been seen to show an old book.",
        to_do="Look in the broker's app; log in anew if it is there.",
        at=at,
        account=account,
    )
