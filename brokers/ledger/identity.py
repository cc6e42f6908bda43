"""What an intent is known by: the fingerprint of its content and the tag it carries to the broker."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal
from typing import Any

from django.conf import settings

from brokers.domain.order_states import IntentKind
from brokers.models import BrokerAccount


def fingerprint_of(kind: IntentKind, content: dict[str, Any]) -> str:
    """SHA-256 of what the caller asked for."""
    plain = {
        name: str(value.normalize()) if isinstance(value, Decimal) else value
        for name, value in sorted(content.items())
        if value is not None
    }
    return hashlib.sha256(json.dumps([kind, plain], separators=(",", ":")).encode()).hexdigest()


def client_tag(account: BrokerAccount, client_order_id: str) -> str:
    """The broker-side tag of an intent: ``M`` and 15 characters, the same for its whole life."""
    digest = hashlib.sha256(f"{settings.SECRET_KEY}|{account.pk}|{client_order_id}".encode()).digest()
    return "M" + base64.b32encode(digest)[:15].decode()
