"""Prices out of Breeze's answers: quotes, depth, option chains, candles. Pure, as all of the parsing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal

from brokers.adapters.breeze import parsing, tables
from brokers.adapters.breeze.parsing import Find, Row
from brokers.clock import IST, trading_day
from brokers.domain.enums import CandleInterval, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, Depth, DepthLevel, OptionQuote, Quote, YearRange

#: v2 writes ``2026-11-24 09:20:00``, older answers a time without seconds or a date in words.
_OPENINGS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")


def quote(quote_rows: Iterable[Row], instrument: Instrument, as_of: datetime) -> Quote:
    """The quote of one instrument; a share is answered with a row for each exchange."""
    wanted = [row for row in quote_rows if parsing.text(row, "exchange_code").upper() == instrument.exchange.value]
    if not wanted:
        return Quote(symbol=instrument.symbol, exchange=instrument.exchange.value, last_price=None, as_of=as_of)
    row = wanted[0]
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=parsing.positive(row, "ltp"),
        bid_price=parsing.positive(row, "best_bid_price"),
        bid_quantity=parsing.count(row, "best_bid_quantity"),
        ask_price=parsing.positive(row, "best_offer_price"),
        ask_quantity=parsing.count(row, "best_offer_quantity"),
        open=parsing.positive(row, "open"),
        high=parsing.positive(row, "high"),
        low=parsing.positive(row, "low"),
        previous_close=parsing.positive(row, "previous_close"),
        lower_circuit=parsing.positive(row, "lower_circuit"),
        upper_circuit=parsing.positive(row, "upper_circuit"),
        volume=parsing.count(row, "total_quantity_traded"),
        open_interest=_open_interest(row, instrument),
        traded_at=parsing.moment(parsing.text(row, "ltt")),
        as_of=as_of,
    )


def depth(quote_rows: Iterable[Row], instrument: Instrument, as_of: datetime) -> Depth:
    """The best price of each side, which is all that Breeze's REST calls state.

    :raises UnreadableReply: there is no row of the instrument, or a price without its quantity.
    """
    wanted = [row for row in quote_rows if parsing.text(row, "exchange_code").upper() == instrument.exchange.value]
    if not wanted:
        raise UnreadableReply(f"Breeze sent no quote of {instrument.symbol} at {instrument.exchange}; ask again.")
    row = wanted[0]
    return Depth(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        bids=_level(row, "best_bid"),
        asks=_level(row, "best_offer"),
        total_bid_quantity=parsing.count(row, "total_buy_qty"),
        total_ask_quantity=parsing.count(row, "total_sell_qty"),
        as_of=as_of,
    )


def _level(row: Row, name: str) -> tuple[DepthLevel, ...]:
    price = parsing.positive(row, f"{name}_price")
    if price is None:
        return ()
    quantity = parsing.units(row, f"{name}_quantity")
    return (DepthLevel(price=price, quantity=quantity),) if quantity else ()


def spot_price(chain_rows: Iterable[Row]) -> Decimal | None:
    """The underlying's price as the rows of an option chain state it; None when none does."""
    stated = (parsing.positive(row, "spot_price") for row in chain_rows)
    return next((price for price in stated if price is not None), None)


def options(chain_rows: Iterable[Row], expiry: date, find: Find) -> tuple[list[OptionQuote], int]:
    """The options of one expiry, lowest strike first, and how many rows name nothing that is traded today.

    :raises UnreadableReply: a row has a figure that is none.
    """
    found: dict[tuple[OptionRight, Decimal], OptionQuote] = {}
    unknown = 0
    for row in chain_rows:
        contract = parsing.contract(row, find)
        instrument = contract.instrument
        if instrument is None or contract.right is None or contract.strike is None or contract.expiry != expiry:
            unknown += 1
            continue
        found[contract.right, contract.strike] = OptionQuote(
            symbol=instrument.symbol,
            strike=contract.strike,
            right=contract.right,
            last_price=parsing.positive(row, "ltp"),
            bid_price=parsing.positive(row, "best_bid_price"),
            ask_price=parsing.positive(row, "best_offer_price"),
            previous_close=parsing.positive(row, "previous_close"),
            volume=parsing.count(row, "total_quantity_traded"),
            open_interest=parsing.count(row, "open_interest"),
            open_interest_change=_change(row, "chnge_oi"),
        )
    return sorted(found.values(), key=lambda each: each.strike), unknown


def around(listed: Sequence[OptionQuote], right: OptionRight, spot: Decimal, strikes: int) -> tuple[OptionQuote, ...]:
    """The ``strikes`` nearest strikes below and above the spot, and the one that equals it."""
    fitting = [each for each in listed if each.right is right]
    below = [each for each in fitting if each.strike < spot]
    at = [each for each in fitting if each.strike == spot]
    above = [each for each in fitting if each.strike > spot]
    return (*below[-strikes:], *at, *above[:strikes])


def candles(history_rows: Iterable[Row], instrument: Instrument, interval: CandleInterval) -> list[Candle]:
    """The candles of one answer. A row whose prices are all zero says that nothing traded, and is none.

    :raises UnreadableReply: a row is of another stock, or lacks its time, a price or its volume.
    """
    names = instrument.identifiers.get(tables.NAME, {})
    expected = (names.get("stock_code", "").upper(), instrument.exchange.value)
    found = []
    for row in history_rows:
        named = (parsing.text(row, "stock_code").upper(), parsing.text(row, "exchange_code").upper())
        if named != expected:
            raise UnreadableReply(f"Breeze sent candles of {named} where {expected} were asked for; ask again.")
        prices = [parsing.needed(row, name) for name in ("open", "high", "low", "close")]
        if not any(prices):
            continue
        if min(prices) <= 0:
            raise UnreadableReply(f"Breeze sent a candle of {instrument.symbol} with prices {prices}; ask again.")
        found.append(
            Candle(
                opened_at=_opening(row, interval),
                open=prices[0],
                high=prices[1],
                low=prices[2],
                close=prices[3],
                volume=_volume(row, instrument),
                open_interest=_open_interest(row, instrument),
            )
        )
    return found


def year_range(days: Sequence[Candle], instrument: Instrument, as_of: datetime) -> YearRange:
    """The range of the days' candles, which are not adjusted for corporate actions.

    :raises BrokerUnavailable: there is no candle.
    """
    if not days:
        raise BrokerUnavailable(f"Breeze states no day of the last year for {instrument.symbol}; ask again later.")
    return YearRange(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        low=min(day.low for day in days),
        high=max(day.high for day in days),
        as_of=as_of,
    )


def _opening(row: Row, interval: CandleInterval) -> datetime:
    """When a candle opened: Breeze writes IST without saying so; a day's opens at midnight."""
    written = parsing.text(row, "datetime")
    found = _time(written) or parsing.moment(written)
    if found is None:
        raise UnreadableReply(f"Breeze sent {written!r} as datetime of a candle; ask again.")
    if interval is CandleInterval.DAY:
        return datetime.combine(trading_day(found), time(), IST).astimezone(UTC)
    return found


def _time(written: str) -> datetime | None:
    for form in _OPENINGS:
        try:
            return datetime.strptime(written, form).replace(tzinfo=IST).astimezone(UTC)
        except ValueError:
            continue
    return None


def _volume(row: Row, instrument: Instrument) -> int:
    """Units traded. Nothing of an index is, and its rows may leave it out."""
    volume = parsing.count(row, "volume")
    if volume is None and instrument.kind is not InstrumentKind.INDEX:
        raise UnreadableReply(f"Breeze sent a candle of {instrument.symbol} without volume; ask again.")
    return volume or 0


def _open_interest(row: Row, instrument: Instrument) -> int | None:
    return parsing.count(row, "open_interest") if instrument.exchange.is_derivative else None


def _change(row: Row, name: str) -> int | None:
    """A whole number that may be below zero; None when it is absent."""
    number = parsing.decimal(row, name)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise UnreadableReply(f"Breeze sent {number} as {name}, which is no quantity; ask again.")
    return int(number)
