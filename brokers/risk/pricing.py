"""Turns a market order into a limit order that a fresh quote protects, for every broker alike.

The exchanges take no plain market orders from API clients since 2026-04-01 (NSE's standards of
2025-05-05, read 2026-11-22).
"""

from __future__ import annotations

from decimal import Decimal

from brokers.domain.enums import InstrumentKind, Side
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote

#: (price in rupees up to, protection as a share of it). The bands Kotak Neo publishes for its own
#: conversion (place_order notes, read 2026-11-22), used for both brokers.
_SHARES_AND_FUTURES = ((Decimal(100), Decimal("0.02")), (Decimal(500), Decimal("0.01")), (None, Decimal("0.005")))
_OPTIONS = (
    (Decimal(5), Decimal("0.10")),
    (Decimal(10), Decimal("0.05")),
    (Decimal(100), Decimal("0.03")),
    (Decimal(500), Decimal("0.02")),
    (None, Decimal("0.01")),
)
#: Rupees; an option below one rupee is protected by this much, and nothing by less than one tick.
_CHEAP_OPTION = Decimal("0.10")


def protected_limit(instrument: Instrument, side: Side, quote: Quote) -> Decimal:
    """The limit price in rupees at which a market order goes out.

    Starts from the other side's best price, or the last one, moves by the band, keeps to the tick and
    to the day's limits.

    :raises OrderDenied: the quote has no price to start from.
    """
    other_side = quote.ask_price if side is Side.BUY else quote.bid_price
    start = other_side or quote.last_price
    if start is None or start <= 0:
        raise OrderDenied(f"{instrument.symbol} has no price now, so a market order cannot be protected; give a limit.")
    distance = max(start * _share(instrument, start), _minimum(instrument, start))
    buying = side is Side.BUY
    price = instrument.round_to_tick(start + distance if buying else start - distance, up=buying)
    if buying:
        for limit in (instrument.upper_band, quote.upper_circuit):
            price = min(price, limit) if limit else price
        return instrument.round_to_tick(price, up=False)
    for limit in (instrument.lower_band, quote.lower_circuit):
        price = max(price, limit) if limit else price
    price = instrument.round_to_tick(price, up=True)
    return max(price, instrument.tick_size or price)


def _share(instrument: Instrument, price: Decimal) -> Decimal:
    bands = _OPTIONS if instrument.kind is InstrumentKind.OPTION else _SHARES_AND_FUTURES
    return next(share for limit, share in bands if limit is None or price <= limit)


def _minimum(instrument: Instrument, price: Decimal) -> Decimal:
    if instrument.kind is InstrumentKind.OPTION and price < 1:
        return _CHEAP_OPTION
    return instrument.tick_size or Decimal(0)
