"""Whether an account's session is still the one that a process holds, told by one small statement.

Every call to a broker asks this, so it is plain SQL; what is told is only compared, never read.
"""

from __future__ import annotations

from typing import Any

from django.db import connection

from brokers.models import BrokerAccount, SessionState
from credentials.models import CredentialStore

Marks = tuple[Any, ...]

_MARKS = (
    "SELECT state.status, state.version, state.expires_at, "  # noqa: S608
    "stored.updated_at, stored.login_used_at, stored.session_token, stored.sid "
    f"FROM {SessionState._meta.db_table} state JOIN {CredentialStore._meta.db_table} stored "
    "ON stored.service = %s AND stored.name = %s WHERE state.account_id = %s"
)


def marks_of(account: BrokerAccount) -> Marks | None:
    """What differs whenever the session, its state or its credentials were changed; None without any."""
    with connection.cursor() as cursor:
        cursor.execute(_MARKS, [account.broker, account.name, account.pk])
        row: Marks | None = cursor.fetchone()
    return row
