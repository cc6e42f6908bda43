"""The account's order rate, in several windows at once that no process can pass, kept in the ledger's database.

Requests of orders, changes and cancels are counted together by second and minute, as the exchanges count
them; who is over has to wait. New orders leave a part of these windows to cancels and exits. Orders are
also counted by day; who is over that is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from brokers.clock import IST, trading_day
from brokers.discovery import spec_of
from brokers.domain.errors import OrderDenied, RateLimited
from brokers.models import BrokerAccount, OrderRateGate

MINUTE_MS = 60_000
#: A second, and what an order may need from its token to its first byte: delays below the difference bring
#: no second at the broker over the limit.
SECOND_MS = 1_200
#: One in so many requests of a second or a minute is kept for cancels and exits.
RESERVED_PART = 4
#: As long as SQLite waits for its lock.
LOCK_WAIT_MS = 30_000


_TABLE = OrderRateGate._meta.db_table
# Plain SQL, because these two run for every order.
_READ = f"SELECT recent_ms, day, day_count FROM {_TABLE} WHERE account_id = %s"  # noqa: S608
_WRITE = f"UPDATE {_TABLE} SET recent_ms = %s, day = %s, day_count = %s WHERE account_id = %s"  # noqa: S608


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderRates:
    """What the effective limits say of an account; None where they say nothing."""

    #: The smallest of this, the account's own ``orders_per_second`` and what its broker takes holds.
    per_second: int | None = None
    per_minute: int | None = None
    per_day: int | None = None


NO_RATES = OrderRates()


def take(
    account: BrokerAccount,
    now: datetime,
    *,
    urgent: bool = False,
    counts_for_day: bool = True,
    rates: OrderRates = NO_RATES,
) -> datetime:
    """Take one token, and return its time: the time at which the order counts as armed.

    Call inside the arming transaction, so that an order that is not armed costs none. The row is locked by
    the transaction: SQLite's is IMMEDIATE, PostgreSQL locks the row. An ``urgent`` request, a cancel or an
    exit, may use the reserve and is never over the day's limit. ``counts_for_day`` is for what is a new
    order, and not for its second attempt.

    :raises RateLimited: a second or a minute is full; says how long to wait.
    :raises OrderDenied: the day's orders are used up.
    """
    gate = _read(account, locked=True)
    if gate is None:
        OrderRateGate.objects.get_or_create(account=account)
        gate = _read(account, locked=True) or _Gate([], None, 0)
    at = gate.moment(now)
    recent = gate.check(account, at, urgent, counts_for_day, rates)
    day = trading_day(at)
    with connection.cursor() as cursor:
        tokens = json.dumps([*recent, _epoch_ms(at)])
        cursor.execute(_WRITE, [tokens, day.isoformat(), gate.count_of(day) + counts_for_day, account.pk])
    return at


def check(
    account: BrokerAccount,
    now: datetime,
    *,
    urgent: bool = False,
    counts_for_day: bool = True,
    rates: OrderRates = NO_RATES,
) -> None:
    """Look whether a token could be taken now, and take none.

    :raises RateLimited: a second or a minute is full; says how long to wait.
    :raises OrderDenied: the day's orders are used up.
    """
    if gate := _read(account, locked=False):
        gate.check(account, gate.moment(now), urgent, counts_for_day, rates)


@dataclass(frozen=True, slots=True)
class _Gate:
    """The row, as read."""

    tokens: list[int]
    day: date | None
    day_count: int

    def moment(self, now: datetime) -> datetime:
        """The time at which a token is taken.

        Who waited for the lock brings a time from before it; counting from the newest token keeps every one of
        them. A token further ahead comes from a clock that was set back.
        """
        newest = self.tokens[-1] if self.tokens else 0
        if _epoch_ms(now) < newest <= _epoch_ms(now) + LOCK_WAIT_MS:
            return datetime.fromtimestamp(newest / 1000, UTC)
        return now

    def count_of(self, day: date) -> int:
        return self.day_count if self.day == day else 0

    def check(
        self, account: BrokerAccount, at: datetime, urgent: bool, counts_for_day: bool, rates: OrderRates
    ) -> list[int]:
        """The tokens of the last minute, if one more may be taken."""
        sent, day = self.count_of(trading_day(at)), trading_day(at)
        if counts_for_day and not urgent and rates.per_day is not None and sent >= rates.per_day:
            raise OrderDenied(
                f"Account {account} has sent {sent} orders on {day:%d %b %Y}, its limit of orders a day is "
                f"{rates.per_day}; cancels and exits still go, and a person may raise the limit in the admin."
            )
        now_ms = _epoch_ms(at)
        recent = [moment for moment in self.tokens if now_ms - MINUTE_MS < moment <= now_ms]
        per_second = min(account.orders_per_second, spec_of(account.broker).capabilities.order_requests_per_second)
        if rates.per_second is not None:
            per_second = min(per_second, rates.per_second)
        _hold(account, recent, now_ms, "second", SECOND_MS, per_second, urgent)
        if rates.per_minute is not None:
            _hold(account, recent, now_ms, "minute", MINUTE_MS, rates.per_minute, urgent)
        return recent


def _read(account: BrokerAccount, *, locked: bool) -> _Gate | None:
    lock = " FOR UPDATE" if locked and connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(_READ + lock, [account.pk])
        row = cursor.fetchone()
    return _Gate(json.loads(row[0]), row[1], row[2]) if row else None


def _hold(
    account: BrokerAccount, recent: list[int], now_ms: int, name: str, window_ms: int, limit: int, urgent: bool
) -> None:
    """:raises RateLimited: the window that ends now is full."""
    open_to_it = limit if urgent else limit - _reserve(limit)
    if sum(1 for moment in recent if moment > now_ms - window_ms) < open_to_it:
        return
    blocking = recent[-open_to_it] if open_to_it else now_ms
    again_ms = blocking + window_ms - now_ms + 1
    kept = f", {_reserve(limit)} of them kept for cancels and exits" if limit > open_to_it else ""
    raise RateLimited(
        f"Account {account} has used its order requests of this {name}: it may make {limit}{kept}. "
        f"This one waits until {_clock_time(now_ms + again_ms)} IST.",
        retry_after=timedelta(milliseconds=again_ms),
    )


def _reserve(limit: int) -> int:
    """Requests that only cancels and exits may use."""
    return limit // RESERVED_PART


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _clock_time(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, IST):%H:%M:%S.%f}"[:-3]
