"""A quote of a contract, made from the price function alone."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from math import floor
from zlib import crc32

from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.hours import session
from brokers.simulator.prices import Prices, fair_value, on_tick

#: How many moments of the day the high and the low are taken from.
SAMPLES = 12


def quote(contract: Contract, *, prices: Prices, now: float, day: date) -> MarketQuote:
    """The market in a contract; before and after hours as at the nearest moment of the session."""
    opens, closes = session(contract.exchange, day)
    at = min(max(now, opens), closes - 1)
    last = prices.last(contract, at)
    bid, ask = prices.book(contract, at)
    step = max(1, floor((at - opens) / SAMPLES))
    seen = [prices.at(contract, second) for second in range(floor(opens), floor(at), step)] + [last]
    weight = crc32(contract.symbol.encode())
    base = prices.base(contract.underlying)
    previous = contract.base_price or on_tick(fair_value(contract, base, opens), contract)
    derived = contract.expiry is not None
    return MarketQuote(
        contract=contract,
        last_price=last,
        traded_at_epoch=float(floor(at)),
        bid=bid,
        ask=ask,
        bid_quantity=contract.lot_size * (1 + (weight + floor(at)) % 40),
        ask_quantity=contract.lot_size * (1 + (weight * 7 + floor(at)) % 40),
        open=seen[0],
        high=max(seen),
        low=min(seen),
        previous_close=previous,
        volume=contract.lot_size * (weight % 50 + 1) * floor(at - opens),
        open_interest=contract.lot_size * (weight % 9_000 + 100) if derived else 0,
        spot=Decimal(prices.spot(contract.underlying, floor(at))).quantize(Decimal("0.01")) if derived else None,
    )
