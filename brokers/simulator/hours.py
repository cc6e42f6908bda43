"""When the simulated exchange is open: five days a week, by the market's clock.

Cash trades 09:15 to 15:30, derivatives to 15:40 IST (exchange circulars in force from 2026-08-03). The closing
auction of shares with derivatives is not simulated.
"""

from __future__ import annotations

from datetime import date, datetime, time
from functools import lru_cache

from brokers.clock import IST
from brokers.domain.enums import Exchange, MarketPhase
from brokers.simulator.rules import ExchangeSettings

PRE_OPEN = time(9, 0)
OPEN = time(9, 15)
CLOSE_CASH = time(15, 30)
CLOSE_DERIVATIVES = time(15, 40)


@lru_cache(maxsize=64)
def session(exchange: Exchange, day: date) -> tuple[float, float]:
    """Epochs between which the exchange trades, were ``day`` a trading day."""
    close = CLOSE_DERIVATIVES if exchange.is_derivative else CLOSE_CASH
    return datetime.combine(day, OPEN, IST).timestamp(), datetime.combine(day, close, IST).timestamp()


class Hours:
    """Opening hours under the settings of one exchange."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings

    def is_trading_day(self, day: date) -> bool:
        return day.weekday() < 5 and day not in self._settings.holidays

    def is_open(self, exchange: Exchange, at: float, day: date) -> bool:
        """Whether orders are taken and matched at the epoch ``at``, which lies in the IST ``day``."""
        opens, closes = session(exchange, day)
        return opens <= at < closes and self.is_trading_day(day)

    def is_over(self, exchange: Exchange, at: float, day: date) -> bool:
        """Whether the session of ``day`` has ended, or there is none."""
        return at >= session(exchange, day)[1] or not self.is_trading_day(day)

    def phase(self, exchange: Exchange, at: float, day: date) -> MarketPhase:
        if not self.is_trading_day(day):
            return MarketPhase.CLOSED
        if self.is_open(exchange, at, day):
            return MarketPhase.CONTINUOUS
        opens, _ = session(exchange, day)
        before = datetime.combine(day, PRE_OPEN, IST).timestamp()
        return MarketPhase.PRE_OPEN if before <= at < opens else MarketPhase.CLOSED
