"""Breeze's answers about prices: quotes, option chains and the candles of the second version of its history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from brokers.adapters.breeze import simulator_rows as rows
from brokers.adapters.breeze.simulator_master import Names
from brokers.adapters.breeze.simulator_orders import RIGHTS, BadField, day_of, exchange_of, find_contract
from brokers.adapters.breeze.simulator_rows import Row
from brokers.clock import IST
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind
from brokers.simulator.candles import PastCandle, candles
from brokers.simulator.contracts import Contract, MarketQuote
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.hours import Hours

INTERVALS = {
    "1second": CandleInterval.SECOND,
    "1minute": CandleInterval.MINUTE,
    "5minute": CandleInterval.FIVE_MINUTES,
    "30minute": CandleInterval.THIRTY_MINUTES,
    "1day": CandleInterval.DAY,
}
#: README of the SDK. Which ones of a longer answer are left out is not documented: here the latest.
MOST_CANDLES = 1000
CHAINED = {"options": InstrumentKind.OPTION, "futures": InstrumentKind.FUTURE}


def quotes(values: Mapping[str, Any], exchange: SimulatedExchange, names: Names) -> list[Row]:
    """The rows of a quote: one of NSE and one of BSE for what is traded for cash."""
    asked = exchange_of(values)
    places = [asked] if asked.is_derivative else [Exchange.NSE, Exchange.BSE]
    found = [find_contract({**values, "exchange_code": each.value}, exchange, names) for each in places]
    return [_quote(exchange.quote(each), names) for each in found if each]


def chain(values: Mapping[str, Any], exchange: SimulatedExchange, names: Names) -> list[Row]:
    """The rows of an option chain, or of a chain of futures, that fit what is asked.

    :raises BadField: an exchange or product that has no chain.
    """
    asked, product = exchange_of(values), str(values.get("product_type", "")).lower()
    if not asked.is_derivative or product not in CHAINED:
        raise BadField("Invalid product type")
    expiry, right = day_of(values, "expiry_date"), RIGHTS.get(str(values.get("right", "")).lower())
    strike = str(values.get("strike_price") or "")
    listed = exchange.universe.of_underlying(asked, names.underlying(str(values.get("stock_code", "")).strip()))
    fitting = [
        each
        for each in listed
        if each.kind is CHAINED[product]
        and expiry in (None, each.expiry)
        and right in (None, each.right)
        and (not strike or each.strike == Decimal(strike))
    ]
    fitting.sort(key=lambda each: (each.expiry, each.strike or 0))
    return [_chain_row(exchange.quote(each), names) for each in fitting]


def history(query: Mapping[str, str], exchange: SimulatedExchange, names: Names) -> list[Row]:
    """The candles that open between two IST times, both included; none of a stock code that is not known.

    :raises BadField: an interval or a time that is none.
    """
    interval = INTERVALS.get(query.get("interval", ""))
    if interval is None:
        raise BadField(f"Invalid interval {query.get('interval', '')}")
    values = {**query, "exchange_code": query.get("exch_code", "")}
    exchange_of(values)
    contract = find_contract(values, exchange, names)
    if contract is None:
        return []
    found = candles(
        contract,
        interval,
        _ist(query, "from_date"),
        _ist(query, "to_date"),
        prices=exchange.prices,
        hours=Hours(exchange.settings),
        now=exchange.now(),
    )
    return [_candle(each, contract, names) for each in islice(found, MOST_CANDLES)]


def _ist(query: Mapping[str, str], name: str) -> datetime:
    """A time as the history reads it: IST, although it is written with the letter of UTC."""
    try:
        return datetime.strptime(query.get(name, ""), "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=IST)
    except ValueError:
        raise BadField(f"Invalid {name} {query.get(name, '')}") from None


def _quote(seen: MarketQuote, names: Names) -> Row:
    """One row of a quote: prices are numbers, quantities text."""
    contract = seen.contract
    moved = (seen.last_price / seen.previous_close - 1) * 100 if seen.previous_close else Decimal(0)
    derivative = contract.exchange.is_derivative
    return {
        "exchange_code": contract.exchange.value,
        "product_type": "Future" if contract.kind is InstrumentKind.FUTURE else "",
        "stock_code": names.short(contract.underlying),
        "expiry_date": rows.day_text(contract.expiry) if contract.expiry else None,
        "right": rows.right_word(contract, ("C", "P", "*")) if derivative else None,
        "strike_price": float(contract.strike or 0),
        "ltp": float(seen.last_price),
        "ltt": datetime.fromtimestamp(seen.traded_at_epoch, IST).strftime("%d-%b-%Y %H:%M:%S"),
        "best_bid_price": float(seen.bid),
        "best_bid_quantity": str(seen.bid_quantity),
        "best_offer_price": float(seen.ask),
        "best_offer_quantity": str(seen.ask_quantity),
        "open": float(seen.open),
        "high": float(seen.high),
        "low": float(seen.low),
        "previous_close": float(seen.previous_close),
        "ltp_percent_change": round(float(moved), 2),
        "upper_circuit": float(contract.upper_band),
        "lower_circuit": float(contract.lower_band),
        "total_quantity_traded": str(seen.volume),
        "spot_price": rows.plain(seen.spot) if seen.spot is not None else None,
    }


def _chain_row(seen: MarketQuote, names: Names) -> Row:
    """A quote's row with what a chain adds; its words are those of the books."""
    change = seen.open_interest // 20 // seen.contract.lot_size * seen.contract.lot_size
    return _quote(seen, names) | {
        "product_type": "Options" if seen.contract.kind is InstrumentKind.OPTION else "Futures",
        "right": rows.right_word(seen.contract),
        "ltq": str(seen.contract.lot_size),
        "open_interest": float(seen.open_interest),
        "chnge_oi": float(change if seen.contract.right else -change),
        "total_buy_qty": str(seen.bid_quantity * 30),
        "total_sell_qty": str(seen.ask_quantity * 30),
    }


def _candle(candle: PastCandle, contract: Contract, names: Names) -> Row:
    """One candle: numbers all through, and nothing of derivatives in the row of a share."""
    row: Row = {
        "close": float(candle.close),
        "datetime": candle.opened_at.strftime("%Y-%m-%d %H:%M:%S"),
        "exchange_code": contract.exchange.value,
        "high": float(candle.high),
        "low": float(candle.low),
        "open": float(candle.open),
        "stock_code": names.short(contract.underlying),
        "volume": candle.volume,
    }
    if contract.expiry is not None:
        row |= {
            "expiry_date": rows.day_text(contract.expiry).upper(),
            "open_interest": candle.open_interest,
            "product_type": "Options" if contract.kind is InstrumentKind.OPTION else "Futures",
            "right": rows.right_word(contract),
            "strike_price": float(contract.strike or 0),
        }
    return row
