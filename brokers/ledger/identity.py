"""What an intent is known by: its key, the fingerprint of its content, and the tag it carries to the broker."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from brokers.clock import trading_day
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import IntentKind
from brokers.models import BrokerAccount, OrderIntent

MAX_KEY_LENGTH = 64


def check_words(key: str, strategy: str) -> None:
    """:raises OrderDenied: the key or the strategy is too long, not printable, or the key is empty."""
    if not key or len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise OrderDenied(f"Client order id {key[:80]!r} is not 1 to {MAX_KEY_LENGTH} printable characters.")
    if not isinstance(strategy, str) or len(strategy) > MAX_KEY_LENGTH or not strategy.isprintable():
        raise OrderDenied(
            f"Strategy {str(strategy)[:80]!r} is not a name of at most {MAX_KEY_LENGTH} printable characters."
        )
    if strategy != strategy.strip():
        # A kill switch or a limit of that name could not be set.
        raise OrderDenied(f"Strategy {strategy!r} begins or ends with a space; take it away.")


def fingerprint_of(kind: str, content: dict[str, Any]) -> str:
    """SHA-256 of what the caller asked for."""
    plain = {
        name: str(value.normalize()) if isinstance(value, Decimal) else value
        for name, value in sorted(content.items())
        if value is not None
    }
    return hashlib.sha256(json.dumps([kind, plain], separators=(",", ":")).encode()).hexdigest()


#: What :func:`client_tag` makes.
_OWN_TAG = re.compile(r"M[A-Z2-7]{15}")


def looks_like_ours(tag: str) -> bool:
    """Whether an installation of mcube made this tag, be it this one or another."""
    return _OWN_TAG.fullmatch(tag) is not None


def client_tag(account: BrokerAccount, client_order_id: str) -> str:
    """The broker-side tag of an intent: ``M`` and 15 characters, the same for its whole life."""
    digest = hashlib.sha256(f"{settings.SECRET_KEY}|{account.pk}|{client_order_id}".encode()).digest()
    return "M" + base64.b32encode(digest)[:15].decode()


def unsaved_intent(
    account: BrokerAccount,
    kind: IntentKind,
    client_order_id: str,
    content: dict[str, Any],
    *,
    fingerprint: dict[str, Any],
    now: datetime,
    **columns: Any,
) -> OrderIntent:
    """An intent of today, to be inserted by :func:`~brokers.ledger.transitions.create`."""
    return OrderIntent(
        account=account,
        kind=kind,
        client_order_id=client_order_id,
        fingerprint=fingerprint_of(kind, fingerprint),
        client_tag=client_tag(account, client_order_id),
        mode=settings.MODE.value,
        trading_day=trading_day(now),
        not_before=now,
        created_at=now,
        updated_at=now,
        **columns,
        **content,
    )
