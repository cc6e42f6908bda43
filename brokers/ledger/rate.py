"""The account's order rate: a rolling second that no process can pass, kept in the ledger's database."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from brokers.domain.errors import RateLimited
from brokers.models import BrokerAccount, OrderRateGate

WINDOW_MS = 1000


def take(account: BrokerAccount, now: datetime) -> None:
    """Take one token. Call inside the arming transaction, so that an order that is not armed costs none.

    The row is locked by the transaction: SQLite's is IMMEDIATE, PostgreSQL locks the row. A rolling
    window also bounds every calendar second.

    :raises RateLimited: the last second is full; says how long to wait.
    """
    now_ms = int(now.timestamp() * 1000)
    gates = OrderRateGate.objects.filter(account=account)
    if connection.features.has_select_for_update:
        gates = gates.select_for_update()
    gate = gates.first()
    if gate is None:
        OrderRateGate.objects.get_or_create(account=account)
        gate = gates.get()
    recent = [moment for moment in gate.recent_ms if now_ms - WINDOW_MS < moment <= now_ms]
    if len(recent) >= account.orders_per_second:
        wait = timedelta(milliseconds=recent[-account.orders_per_second] + WINDOW_MS - now_ms + 1)
        raise RateLimited(
            f"Account {account} has sent {len(recent)} order requests within a second, its limit is "
            f"{account.orders_per_second}; this one waits.",
            retry_after=wait,
        )
    OrderRateGate.objects.filter(pk=gate.pk).update(recent_ms=[*recent, now_ms])
