"""What may be said about stored credentials: everything but their values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from brokers.clock import IST
from brokers.models import SessionState
from credentials import store
from credentials.fields import secret_fields
from credentials.keyring import DecryptError
from credentials.models import CredentialAccess, CredentialStore


def listing() -> list[dict[str, Any]]:
    """Every credential and which of its columns are set."""
    return [
        {"service": row.service, "name": row.name, "set": row.set_columns(), "updated_at": row.updated_at.isoformat()}
        for row in CredentialStore.objects.all()
    ]


def status() -> list[dict[str, Any]]:
    """What each credential lacks, where its session stands, and when it was last handed out."""
    states = {
        (state.account.broker, state.account.name): state
        for state in SessionState.objects.select_related("account").all()
    }
    return [_status_of(row, states.get((row.service, row.name))) for row in CredentialStore.objects.all()]


def _status_of(row: CredentialStore, state: SessionState | None) -> dict[str, Any]:
    read = CredentialAccess.objects.filter(service=row.service, name=row.name, action="READ").first()
    return {
        "service": row.service,
        "name": row.name,
        "missing": store.missing(row),
        "unreadable": _unreadable(row),
        "key": row.key_fingerprint,
        "session": state.status if state else SessionState.Status.NONE.value,
        "session_ends_at": _text(state.expires_at) if state else None,
        "session_message": state.message if state else "",
        "last_used_at": _text(read.at) if read else None,
    }


def _unreadable(row: CredentialStore) -> list[str]:
    """Columns that no configured key opens."""
    found = []
    for column, secret in secret_fields(CredentialStore).items():
        try:
            secret.reveal(row)
        except DecryptError:
            found.append(column)
    return found


def _text(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(IST):%Y-%m-%d %H:%M:%S} IST" if moment else None
