"""How long the rows about people's logins are kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from axes.models import AccessAttempt, AccessLog


def forget(now: datetime, *, keep_failures: timedelta, keep_logins: timedelta) -> int:
    """Delete logins, and failed ones, that are older than they are kept; returns how many.

    A failed login keeps the name as it was typed, which may be a password typed into the wrong field.
    """
    failures, _ = AccessAttempt.objects.filter(attempt_time__lt=now - keep_failures).delete()
    logins, _ = AccessLog.objects.filter(attempt_time__lt=now - keep_logins).delete()
    return int(failures + logins)
