"""Prices that move without costing anything: each is a pure function of seed, contract and second.

An underlying walks by noise of several periods around the day's base; a future follows it, an option follows it by
the Black-Scholes formula with a fixed volatility and no interest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from math import erf, floor, log, sqrt
from zlib import crc32

from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.simulator.contracts import Contract

#: (period in seconds, largest move as a part of the price).
WAVES = ((14_400, 0.006), (2_700, 0.003), (420, 0.0015), (60, 0.0006), (7, 0.0002))
INDEX_VOLATILITY = 0.13
SHARE_VOLATILITY = 0.26
#: A future's premium over its underlying for a year.
CARRY_PER_YEAR = 0.065
YEAR_SECONDS = 365 * 86_400
_MASK = (1 << 64) - 1


def _lattice(seed: int, index: int) -> float:
    """A number from -1 to 1 that depends on nothing else (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) / (1 << 63) - 1


def walk(seed: int, second: int) -> float:
    """The factor on the base price at an epoch second."""
    move = 0.0
    for period, size in WAVES:
        index, rest = divmod(second, period)
        part = rest / period
        ease = part * part * (3 - 2 * part)
        low, high = _lattice(seed + period, index), _lattice(seed + period, index + 1)
        move += size * (low + (high - low) * ease)
    return 1 + move


@lru_cache(maxsize=256)
def _expiry_epoch(expiry: date) -> float:
    return datetime.combine(expiry, time(15, 30), IST).timestamp()


def _normal(value: float) -> float:
    return 0.5 * (1 + erf(value / 1.4142135623730951))


def option_value(*, spot: float, strike: float, right: OptionRight, seconds: float, volatility: float) -> float:
    """Black-Scholes without interest; the intrinsic value at expiry."""
    deviation = volatility * sqrt(max(seconds, 60.0) / YEAR_SECONDS)
    d1 = log(spot / strike) / deviation + deviation / 2
    call = spot * _normal(d1) - strike * _normal(d1 - deviation)
    return call if right is OptionRight.CALL else call - spot + strike


def fair_value(contract: Contract, spot: float, second: float) -> float:
    """What a contract is worth when its underlying stands at ``spot``."""
    if contract.expiry is None:
        return spot
    left = max(_expiry_epoch(contract.expiry) - second, 0.0)
    if contract.strike is None or contract.right is None:
        return spot * (1 + CARRY_PER_YEAR * left / YEAR_SECONDS)
    volatility = INDEX_VOLATILITY if contract.on_index else SHARE_VOLATILITY
    return option_value(
        spot=spot, strike=float(contract.strike), right=contract.right, seconds=left, volatility=volatility
    )


def on_tick(value: float, contract: Contract) -> Decimal:
    """The nearest price of the contract's tick, one tick at least and within the band."""
    tick = contract.tick_size
    price = tick * max(1, round(value / float(tick)))
    if contract.kind is not InstrumentKind.INDEX and contract.upper_band:
        price = min(max(price, contract.lower_band), contract.upper_band)
    return price


class Prices:
    """The price of everything at a second, with pins that stop the walk."""

    def __init__(self, *, seed: int, base_of: Callable[[str], float], moving: Callable[[], bool]) -> None:
        self._seed = seed
        self._base_of = base_of
        self._moving = moving
        self._pins: dict[tuple[Exchange, str], Decimal] = {}
        self._spot_pins: dict[str, float] = {}
        self._second = -1
        self._last: dict[tuple[Exchange, str], Decimal] = {}

    def pin(self, contract: Contract, price: Decimal | None) -> None:
        """Hold a contract's price; its derivatives follow. None lets it walk again."""
        key = (contract.exchange, contract.symbol)
        spot = contract.expiry is None
        if price is None:
            self._pins.pop(key, None)
            if spot:
                self._spot_pins.pop(contract.underlying, None)
        else:
            self._pins[key] = price
            if spot:
                self._spot_pins[contract.underlying] = float(price)
        self._last.clear()

    def base(self, underlying: str) -> float:
        """The underlying's base of the day."""
        return self._base_of(underlying)

    def spot(self, underlying: str, second: int) -> float:
        """The underlying's price, not rounded."""
        pinned = self._spot_pins.get(underlying)
        if pinned is not None:
            return pinned
        base = self._base_of(underlying)
        return base * walk(self._seed + crc32(underlying.encode()), second) if self._moving() else base

    def last(self, contract: Contract, epoch: float) -> Decimal:
        """The last traded price in rupees at an epoch."""
        second = floor(epoch)
        if second != self._second:
            self._second = second
            self._last.clear()
        key = (contract.exchange, contract.symbol)
        price = self._last.get(key)
        if price is None:
            price = self._last[key] = self.at(contract, second)
        return price

    def at(self, contract: Contract, second: int) -> Decimal:
        """The last traded price at any second, not kept."""
        pinned = self._pins.get((contract.exchange, contract.symbol))
        if pinned is not None:
            return pinned
        return on_tick(fair_value(contract, self.spot(contract.underlying, second), second), contract)

    def book(self, contract: Contract, epoch: float) -> tuple[Decimal, Decimal]:
        """Best bid and best ask, one tick around the last price."""
        last, tick = self.last(contract, epoch), contract.tick_size
        return max(last - tick, tick), last + tick
