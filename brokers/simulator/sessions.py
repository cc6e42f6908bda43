"""Which logins at the simulated brokers are alive."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from brokers.clock import IST
from brokers.simulator.accounts import SimulatedAccount


class Sessions:
    """A face derives its tokens from :meth:`generation` and asks :meth:`is_current`."""

    def __init__(self, today: Callable[[], date]) -> None:
        self._today = today
        self._kills: Counter[str] = Counter()

    def generation(self, account: SimulatedAccount) -> str:
        """A short id of the account's present session.

        The same for a whole trading day (IST, market time) and over restarts of the exchange; another one after
        :meth:`kill`.
        """
        return self._generation(account, self._today(), self._kills[account.key])

    def is_current(self, account: SimulatedAccount, generation: str) -> bool:
        """False after :meth:`kill` and from 00:00 IST of the next day (market time) on."""
        return self.generation(account) == generation

    def past(self, account: SimulatedAccount) -> set[str]:
        """The generations of the last seven days that are over."""
        today, kills = self._today(), self._kills[account.key]
        ended = {self._generation(account, today, kill) for kill in range(kills)}
        days = (today - timedelta(days=back) for back in range(1, 8))
        return ended | {self._generation(account, day, kill) for day in days for kill in range(kills + 1)}

    def kill(self, account: SimulatedAccount) -> None:
        """End the account's session; a new login gives a new generation."""
        self._kills[account.key] += 1

    def expires_at(self) -> datetime:
        """The next 00:00 IST of market time, aware UTC."""
        midnight = datetime.combine(self._today() + timedelta(days=1), time(), IST)
        return midnight.astimezone(UTC)

    @staticmethod
    def _generation(account: SimulatedAccount, day: date, kills: int) -> str:
        return hashlib.sha256(f"{account.key}/{day}/{kills}/{account.api_secret}".encode()).hexdigest()[:16]
