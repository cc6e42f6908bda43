"""How long the record of accesses is kept. The database refuses to forget earlier, whoever asks."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from credentials.models import CredentialAccess

#: Rows of one statement, so that the database's write lock is never held for long.
BATCH = 500


def forget(now: datetime, *, keep_reads: timedelta, keep_others: timedelta, batches: int = 20) -> int:
    """Delete readings, and logins and changes, that are older than they are kept; returns how many.

    At most ``batches`` statements; what is left is for the next time.

    :raises DatabaseError: they are to be kept for less than the database allows.
    """
    is_read = Q(action=CredentialAccess.Action.READ)
    old = CredentialAccess.objects.filter(
        (is_read & Q(at__lt=now - keep_reads)) | (~is_read & Q(at__lt=now - keep_others))
    )
    forgotten = 0
    for _ in range(batches):
        oldest = list(old.order_by("at").values_list("pk", flat=True)[:BATCH])
        # The model's own manager deletes nothing.
        forgotten += CredentialAccess._base_manager.filter(pk__in=oldest).delete()[0]
        if len(oldest) < BATCH:
            break
    return forgotten
