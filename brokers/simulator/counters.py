"""Counts every account's calls by the wall's clock, for the brokers' limits and for tests that watch them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from time import time

from brokers.simulator.rules import BrokerRules

MINUTE_SECONDS = 60


@dataclass(kw_only=True, slots=True)
class Tally:
    """One account's calls of one sort."""

    total: int = 0
    today: int = 0
    day: date | None = None
    second: int = 0
    in_second: int = 0
    max_in_second: int = 0
    max_in_minute: int = 0
    max_in_day: int = 0
    recent: deque[float] = field(default_factory=deque, repr=False)

    def add(self, at: float, day: date) -> None:
        """Count a call at an epoch of the wall's clock, on a market day."""
        self.total += 1
        self.today = self.today + 1 if day == self.day else 1
        self.day = day
        self.max_in_day = max(self.max_in_day, self.today)
        self.in_second = self.in_second + 1 if int(at) == self.second else 1
        self.second = int(at)
        self.max_in_second = max(self.max_in_second, self.in_second)
        while self.recent and self.recent[0] <= at - MINUTE_SECONDS:
            self.recent.popleft()
        self.recent.append(at)
        self.max_in_minute = max(self.max_in_minute, len(self.recent))

    def summary(self) -> dict[str, int]:
        return {
            "total": self.total,
            "today": self.today,
            "max_in_second": self.max_in_second,
            "max_in_minute": self.max_in_minute,
            "max_in_day": self.max_in_day,
        }


class Counters:
    """The tallies of every account: calls of any kind, and order requests."""

    def __init__(self, time: Callable[[], float] = time) -> None:
        self._time = time
        self._calls: dict[str, Tally] = {}
        self._orders: dict[str, Tally] = {}
        self._endpoints: dict[str, dict[str, int]] = {}

    def count(self, account: str, endpoint: str, *, is_order: bool, day: date) -> None:
        at = self._time()
        self._calls.setdefault(account, Tally()).add(at, day)
        if is_order:
            self._orders.setdefault(account, Tally()).add(at, day)
        endpoints = self._endpoints.setdefault(account, {})
        endpoints[endpoint] = endpoints.get(endpoint, 0) + 1

    def exceeded(self, account: str, rules: BrokerRules, *, is_order: bool) -> str:
        """Which limit the call counted last went over: ``second``, ``minute``, ``day``, or nothing."""
        calls, orders = self._calls[account], self._orders.get(account)
        limit = rules.order_calls_per_second
        if is_order and orders and limit is not None and orders.in_second > limit:
            return "second"
        if rules.calls_per_minute is not None and len(calls.recent) > rules.calls_per_minute:
            return "minute"
        if rules.calls_per_day is not None and calls.today > rules.calls_per_day:
            return "day"
        return ""

    def reset(self) -> None:
        self._calls.clear()
        self._orders.clear()
        self._endpoints.clear()

    def summary(self, broker: str) -> dict[str, dict[str, object]]:
        """By user id: calls, order requests, and calls by endpoint."""
        return {
            account.partition(":")[2]: {
                "calls": calls.summary(),
                "orders": self._orders.get(account, Tally()).summary(),
                "endpoints": dict(self._endpoints.get(account, {})),
            }
            for account, calls in self._calls.items()
            if account.startswith(f"{broker}:")
        }
