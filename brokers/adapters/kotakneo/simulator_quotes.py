"""The rows of Kotak Neo's market data, made from the simulated exchange's prices.

Quotes are all text; an option chain has prices as text and the rest as numbers; candles are lists of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from brokers.adapters.kotakneo.simulator_orders import SEGMENT_OF, trading_symbol
from brokers.domain.enums import OptionRight
from brokers.simulator.candles import PastCandle
from brokers.simulator.contracts import MarketQuote

Row = dict[str, Any]


def quote(seen: MarketQuote, kind: str) -> Row:
    """One quote, every number as text; ``kind`` is what was asked for."""
    contract = seen.contract
    row: Row = {
        "exchange_token": contract.token,
        "display_symbol": trading_symbol(contract),
        "exchange": SEGMENT_OF[contract.exchange],
    }
    parts: dict[str, Row] = {
        "ltp": {"ltp": f"{seen.last_price:.4f}", "lstup_time": str(int(seen.traded_at_epoch))},
        "ohlc": {"ohlc": _ohlc(seen)},
        "oi": {"open_int": str(seen.open_interest)},
        "52w": {"year_high": f"{seen.high * 2:.2f}", "year_low": f"{seen.low / 2:.2f}"},
        "circuit_limits": {
            "low_price_range": f"{contract.lower_band:.4f}",
            "high_price_range": f"{contract.upper_band:.4f}",
        },
        "market_depth": {"depth": _depth(seen)},
        "scrip_details": {"last_volume": str(seen.volume), **_change(seen)},
    }
    for name, part in parts.items():
        if kind in ("all", name):
            row |= part
    return row


def _ohlc(seen: MarketQuote) -> Row:
    values = {"open": seen.open, "high": seen.high, "low": seen.low, "close": seen.previous_close}
    return {name: f"{value:.4f}" for name, value in values.items()}


def _change(seen: MarketQuote) -> Row:
    moved = seen.last_price - seen.previous_close
    part = moved / seen.previous_close * 100 if seen.previous_close else Decimal(0)
    return {
        "change": f"{moved:.4f}",
        "per_change": f"{part:.4f}",
        "avg_cost": f"{seen.last_price:.4f}",
        "last_traded_quantity": str(seen.contract.lot_size),
        "total_buy": str(seen.bid_quantity * 5),
        "total_sell": str(seen.ask_quantity * 5),
    }


def _depth(seen: MarketQuote) -> Row:
    sides = (("buy", seen.bids), ("sell", seen.asks))
    return {side: [_level(price, size) for price, size in rows] for side, rows in sides}


def _level(price: Decimal, size: int) -> Row:
    """One row of the depth; zeros where nobody stands."""
    return {"price": f"{price:.4f}", "quantity": str(size), "orders": "3" if size else "0"}


def chain(quotes: Sequence[MarketQuote], count: int) -> Row:
    """Calls and puts of ``count`` strikes around the money."""
    some = quotes[0]
    spot = some.spot or Decimal(0)
    strikes = sorted({_strike(each) for each in quotes})
    middle = min(range(len(strikes)), key=lambda index: abs(strikes[index] - spot))
    first = max(0, middle - count // 2)
    kept = set(strikes[first : first + count])
    sides = {
        right: [
            _option(each, spot, strikes[middle])
            for each in sorted(quotes, key=_strike)
            if each.contract.right is right and _strike(each) in kept
        ]
        for right in OptionRight
    }
    common = {
        "mktLot": str(some.contract.lot_size),
        "multiplier": "1",
        "unlSymbol": some.contract.underlying,
        "exSeg": SEGMENT_OF[some.contract.exchange],
        "expiryDt": str(some.contract.expiry),
    }
    return {"data": {"common_data": common, "call": sides[OptionRight.CALL], "put": sides[OptionRight.PUT]}}


def candle(made: PastCandle) -> list[Any]:
    """One candle. Its open interest is not filled yet, as the docs say."""
    prices = [float(value) for value in (made.open, made.high, made.low, made.close)]
    return [f"{made.opened_at:%Y-%m-%dT%H:%M:%S%z}", *prices, made.volume, None]


def _strike(seen: MarketQuote) -> Decimal:
    return seen.contract.strike or Decimal(0)


def _option(seen: MarketQuote, spot: Decimal, at_the_money: Decimal) -> Row:
    contract, strike = seen.contract, _strike(seen)
    inside = strike < spot if contract.right is OptionRight.CALL else strike > spot
    change = seen.open_interest // 10
    before = seen.open_interest - change
    return {
        "instrument": {
            "neoSymbol": f"{SEGMENT_OF[contract.exchange]}|{contract.token}",
            "symbol": contract.symbol,
            "optionType": contract.right.value if contract.right else "XX",
            "strikePrice": f"{strike.normalize():f}",
            "moneyness": "ATM" if strike == at_the_money else "ITM" if inside else "OTM",
        },
        "quote": {
            "ltp": f"{seen.last_price:.4f}",
            "open": f"{seen.open:.4f}",
            "high": f"{seen.high:.4f}",
            "low": f"{seen.low:.4f}",
            "prevClose": f"{seen.previous_close:.4f}",
            "close": None,
            "volume": seen.volume,
        },
        "openInterest": {
            "current": seen.open_interest,
            "previous": before,
            "change": change,
            "changePct": round(100 * change / before, 2) if before else 0,
        },
    }
