"""The account's order rate: a rolling second that no process can pass, kept in the ledger's database."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from brokers.domain.errors import RateLimited
from brokers.models import BrokerAccount, OrderRateGate

WINDOW_MS = 1000
#: As long as SQLite waits for its lock.
LOCK_WAIT_MS = 30_000


def take(account: BrokerAccount, now: datetime) -> None:
    """Take one token. Call inside the arming transaction, so that an order that is not armed costs none.

    The row is locked by the transaction: SQLite's is IMMEDIATE, PostgreSQL locks the row. A rolling
    window also bounds every calendar second.

    :raises RateLimited: the last second is full; says how long to wait.
    """
    gates = OrderRateGate.objects.filter(account=account)
    if connection.features.has_select_for_update:
        gates = gates.select_for_update()
    gate = gates.first()
    if gate is None:
        OrderRateGate.objects.get_or_create(account=account)
        gate = gates.get()
    recent, now_ms = _window(account, gate.recent_ms, now)
    OrderRateGate.objects.filter(pk=gate.pk).update(recent_ms=[*recent, now_ms])


def check(account: BrokerAccount, now: datetime) -> None:
    """Look whether a token could be taken now, and take none.

    :raises RateLimited: the last second is full; says how long to wait.
    """
    if gate := OrderRateGate.objects.filter(account=account).first():
        _window(account, gate.recent_ms, now)


def _window(account: BrokerAccount, tokens: list[int], now: datetime) -> tuple[list[int], int]:
    """The tokens of the last second, and now, both in epoch milliseconds.

    :raises RateLimited: there are as many as the account may have.
    """
    now_ms = int(now.timestamp() * 1000)
    # Who waited for the lock brings a time from before it; counting from the newest token keeps every one of them.
    # A token further ahead comes from a clock that was set back.
    newest = tokens[-1] if tokens else 0
    if now_ms < newest <= now_ms + LOCK_WAIT_MS:
        now_ms = newest
    recent = [moment for moment in tokens if now_ms - WINDOW_MS < moment <= now_ms]
    if len(recent) >= account.orders_per_second:
        wait = timedelta(milliseconds=recent[-account.orders_per_second] + WINDOW_MS - now_ms + 1)
        raise RateLimited(
            f"Account {account} has sent {len(recent)} order requests within a second, its limit is "
            f"{account.orders_per_second}; this one waits.",
            retry_after=wait,
        )
    return recent, now_ms
