"""Which reads of an account are older than what the ledger knows of its orders.

The number grows in the very transaction that writes what became of an order. Who notes it before asking the broker can
tell afterwards whether the answer may lack an order that has settled since.
"""

from __future__ import annotations

from django.db.models import F

from brokers.models import AccountVersion


def of(account_id: int) -> int:
    """The account's number now; 0 before its first order."""
    return AccountVersion.objects.filter(pk=account_id).values_list("number", flat=True).first() or 0


def grow(account_id: int) -> None:
    """Make every earlier read of the account too old. The last statement of the transaction that settles an order.

    Last, so that who waits for this row holds nothing that its holder still needs.
    """
    row = AccountVersion.objects.filter(pk=account_id)
    if not row.update(number=F("number") + 1):
        AccountVersion.objects.bulk_create([AccountVersion(account_id=account_id)], ignore_conflicts=True)
        row.update(number=F("number") + 1)
