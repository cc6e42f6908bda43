"""From Kotak's quotes, option chains and candles to the domain's values, or ``UnreadableReply``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal

from brokers.adapter_interface import InstrumentLookup
from brokers.adapters.kotakneo import SPEC, fields
from brokers.adapters.kotakneo.fields import Row
from brokers.adapters.kotakneo.tables import AT_THE_MONEY, INTERVALS, RIGHTS
from brokers.clock import IST
from brokers.domain.enums import CandleInterval, Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Candle, Depth, DepthLevel, OptionChain, OptionQuote, Quote, YearRange

#: One entry of ``instrument_tokens``, as it was asked for.
Token = Mapping[str, str]

#: What a row of candles holds, in this order (SDK docs, read 2026-11-28). The last may be missing.
_CANDLE = ("opened_at", "open", "high", "low", "close", "volume", "open_interest")


def quotes(body: object, asked: Sequence[tuple[Token, Instrument]], *, as_of: datetime) -> list[Quote]:
    """The answer of ``quotes``: a bare list, all text, in an order of Kotak's own.

    :raises BrokerUnavailable: some of the instruments are not in it; the message names them.
    """
    rows = [(instrument, _row_of(body, token, instrument)) for token, instrument in asked]
    missing = [instrument.symbol for instrument, row in rows if row is None]
    if missing and len(missing) == len(rows):
        raise UnreadableReply(f"Kotak's answer has no quote of {', '.join(missing)}; try again.")
    if missing:
        raise BrokerUnavailable(
            f"Kotak's answer has no quote of {', '.join(missing)}; ask without them, or refresh the instruments."
        )
    return [_quote(row, instrument, as_of) for instrument, row in rows if row is not None]


def last_prices(body: object, asked: Sequence[tuple[Token, Instrument]]) -> dict[tuple[Exchange, str], Decimal]:
    """Last prices in rupees by exchange and symbol out of an answer of ``quotes``; of those that have one."""
    found = {}
    for token, instrument in asked:
        row = _row_of(body, token, instrument)
        price = fields.price(row, "ltp") if row is not None else None
        if price is not None:
            found[instrument.exchange, instrument.symbol] = price
    return found


def depth(body: object, token: Token, instrument: Instrument, *, as_of: datetime) -> Depth:
    """The answer of ``quotes`` with depth: five rows a side, of which those with zeros are no levels."""
    row = _only_row(body, token, instrument)
    bids, asks = _levels(row, "buy"), _levels(row, "sell")
    return Depth(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        bids=tuple(sorted(bids, key=lambda level: -level.price)),
        asks=tuple(sorted(asks, key=lambda level: level.price)),
        total_bid_quantity=_total(row, "total_buy", bids),
        total_ask_quantity=_total(row, "total_sell", asks),
        as_of=as_of,
    )


def year_range(body: object, token: Token, instrument: Instrument, *, as_of: datetime) -> YearRange:
    """The answer of ``quotes`` with the prices of 52 weeks."""
    row = _only_row(body, token, instrument)
    low, high = fields.required_price(row, "year_low"), fields.required_price(row, "year_high")
    if low > high:
        raise UnreadableReply(f"Kotak states {low} to {high} as the year of {instrument.symbol}; ask again.")
    return YearRange(symbol=instrument.symbol, exchange=instrument.exchange.value, low=low, high=high, as_of=as_of)


def option_chain(
    data: Row,
    underlying: Instrument,
    expiry: date,
    strikes: int,
    instruments: InstrumentLookup,
    *,
    exchange: Exchange,
    as_of: datetime,
) -> tuple[OptionChain, int]:
    """The ``data`` of ``option_chain``, cut to ``strikes`` on each side of the one that is at the money.

    Where Kotak marks none, all that it gave are kept: they lie around the money already. It states no spot price.
    Options that today's instruments do not have are left out, and their number is the second value.
    """
    stated = fields.text(fields.mapping(data, "common_data"), "expiryDt")
    if stated != expiry.isoformat():
        raise UnreadableReply(
            f"Kotak's option chain is of {stated or 'no expiry'} instead of {expiry}; nothing of it is used. Try again."
        )
    sides = {"call": OptionRight.CALL, "put": OptionRight.PUT}
    read = {side: _options(data, side, right, expiry, instruments) for side, right in sides.items()}
    around = _around_the_money(data, sorted({each.strike for side in sides for each in read[side]}), strikes)
    kept = {side: [each for each in read[side] if each.strike in around] for side in sides}
    calls, puts = (tuple(each for each in kept[side] if each.symbol) for side in sides)
    if not calls or not puts:
        raise UnreadableReply(
            f"No option of Kotak's chain of {underlying.underlying} is among today's instruments; refresh them."
        )
    chain = OptionChain(
        underlying=underlying.underlying,
        exchange=exchange.value,
        expiry=expiry,
        spot_price=None,
        calls=calls,
        puts=puts,
        as_of=as_of,
    )
    return chain, len(kept["call"]) + len(kept["put"]) - len(calls) - len(puts)


def candles(body: Row, instrument: Instrument, interval: CandleInterval) -> list[Candle]:
    """The answer of ``historical_data``, in its own order. A candle without all four prices is left out."""
    stated, rows = fields.text(body, "interval"), fields.mapping(body, "data").get("candles")
    if not isinstance(rows, list) or stated != INTERVALS[interval]:
        raise UnreadableReply(
            f"Kotak's answer has no candles of {INTERVALS[interval]} but of {stated or 'no interval'}; try again."
        )
    read = (_candle(row, instrument, interval) for row in rows)
    return [candle for candle in read if candle is not None]


def _row_of(body: object, token: Token, instrument: Instrument) -> Row | None:
    segment, asked = token["exchange_segment"], token["instrument_token"]
    # An index is asked for by name; which of its two names comes back is not documented.
    names = {asked, instrument.identifiers.get(SPEC.name, {}).get("token")}
    listed = [row for row in body if isinstance(row, Mapping)] if isinstance(body, list) else []
    of_segment = [row for row in listed if fields.text(row, "exchange") == segment]
    return next((row for row in of_segment if fields.text(row, "exchange_token") in names), None)


def _only_row(body: object, token: Token, instrument: Instrument) -> Row:
    row = _row_of(body, token, instrument)
    if row is None:
        raise UnreadableReply(f"Kotak's answer has nothing of {instrument.symbol}; try again.")
    return row


def _quote(row: Row, instrument: Instrument, as_of: datetime) -> Quote:
    prices, (bid_price, bid_quantity), (ask_price, ask_quantity) = (
        fields.mapping(row, "ohlc"),
        _best(row, "buy"),
        _best(row, "sell"),
    )
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=fields.price(row, "ltp"),
        bid_price=bid_price,
        bid_quantity=bid_quantity,
        ask_price=ask_price,
        ask_quantity=ask_quantity,
        open=fields.price(prices, "open"),
        high=fields.price(prices, "high"),
        low=fields.price(prices, "low"),
        previous_close=fields.price(prices, "close"),
        lower_circuit=fields.price(row, "low_price_range"),
        upper_circuit=fields.price(row, "high_price_range"),
        volume=fields.units(row, "last_volume"),
        # Shares have "0" there.
        open_interest=fields.units(row, "open_int") if instrument.exchange.is_derivative else None,
        traded_at=fields.epoch(row, "lstup_time"),
        as_of=as_of,
    )


def _best(row: Row, side: str) -> tuple[Decimal | None, int | None]:
    rows = fields.mapping(row, "depth").get(side)
    for level in rows if isinstance(rows, list) else ():
        if isinstance(level, Mapping) and (price := fields.price(level, "price")) is not None:
            return price, fields.units(level, "quantity")
    return None, None


def _levels(row: Row, side: str) -> list[DepthLevel]:
    rows = fields.mapping(row, "depth").get(side)
    if not isinstance(rows, list) or not all(isinstance(level, Mapping) for level in rows):
        raise UnreadableReply(f"Kotak's answer has no {side} side of the depth; ask again.")
    found = []
    for level in rows:
        price, quantity = fields.price(level, "price"), fields.units(level, "quantity")
        if price is not None and quantity:
            found.append(DepthLevel(price=price, quantity=quantity, orders=fields.units(level, "orders") or None))
    return found


def _total(row: Row, name: str, levels: list[DepthLevel]) -> int | None:
    """Units over the whole book; derivatives have "0" there beside full levels (clients' code, read 2026-11-28)."""
    total = fields.units(row, name)
    return None if not total and levels else total


def _options(
    data: Row, side: str, right: OptionRight, expiry: date, instruments: InstrumentLookup
) -> list[OptionQuote]:
    """One side, lowest strike first; the symbol of an option that no instrument is, is empty."""
    rows = data.get(side)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise UnreadableReply(f"Kotak's option chain has no side {side!r}; nothing of it is used. Try again.")
    found = sorted((_option(row, right, expiry, instruments) for row in rows), key=lambda option: option.strike)
    if len({option.strike for option in found}) != len(found):
        raise UnreadableReply(f"Kotak's option chain has a strike twice in {side!r}; nothing of it is used. Try again.")
    return found


def _option(row: Row, right: OptionRight, expiry: date, instruments: InstrumentLookup) -> OptionQuote:
    words, prices, interest = (fields.mapping(row, name) for name in ("instrument", "quote", "openInterest"))
    traded, strike = fields.required(words, "symbol"), fields.required_price(words, "strikePrice")
    segment, bar, _ = fields.required(words, "neoSymbol").partition("|")
    instrument = instruments.find(SPEC.name, f"{segment}|{traded}") if bar else None
    known = (instrument.strike, instrument.right, instrument.expiry) if instrument else (strike, right, expiry)
    if fields.word(words, "optionType", RIGHTS) is not right or known != (strike, right, expiry):
        raise UnreadableReply(f"Kotak's option chain has {traded} as {right} of {strike}; nothing of it is used.")
    return OptionQuote(
        symbol=instrument.symbol if instrument else "",
        strike=strike,
        right=right,
        last_price=fields.price(prices, "ltp"),
        previous_close=fields.price(prices, "prevClose"),
        volume=fields.units(prices, "volume"),
        open_interest=fields.units(interest, "current"),
        open_interest_change=fields.whole(interest, "change"),
    )


def _around_the_money(data: Row, listed: list[Decimal], strikes: int) -> set[Decimal]:
    words = [fields.mapping(row, "instrument") for side in ("call", "put") for row in data[side]]
    at_the_money = {
        fields.required_price(each, "strikePrice") for each in words if fields.text(each, "moneyness") == AT_THE_MONEY
    }
    if len(at_the_money) != 1:
        return set(listed)
    middle = listed.index(at_the_money.pop())
    return set(listed[max(0, middle - strikes) : middle + strikes + 1])


def _candle(row: object, instrument: Instrument, interval: CandleInterval) -> Candle | None:
    if not isinstance(row, list) or not len(_CANDLE) - 1 <= len(row) <= len(_CANDLE):
        raise UnreadableReply("A row of Kotak's candles is not time, four prices and volume; nothing of it is used.")
    named = dict(zip(_CANDLE, row, strict=False))
    opened_at = _opening(fields.required(named, "opened_at"), interval)
    prices = [fields.price(named, name) for name in ("open", "high", "low", "close")]
    if None in prices:
        return None
    opening, high, low, close = (price for price in prices if price is not None)
    is_index = instrument.kind is InstrumentKind.INDEX
    return Candle(
        opened_at=opened_at,
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=0 if is_index else fields.required_units(named, "volume"),
        # Not filled yet ("phase 1", SDK docs, read 2026-11-28): 0 and null there say nothing.
        open_interest=(fields.units(named, "open_interest") or None) if instrument.exchange.is_derivative else None,
    )


def _opening(words: str, interval: CandleInterval) -> datetime:
    """``2026-11-20T09:15:00+0530``; a day's candle opens at its midnight in India, whatever its time says."""
    try:
        stated = datetime.fromisoformat(words)
        if stated.tzinfo is None:
            raise ValueError("no offset")
        local = stated.astimezone(IST)
        if interval is CandleInterval.DAY:
            local = datetime.combine(local.date(), time(), IST)
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnreadableReply(
            f"A row of Kotak's candles opens at {words[:40]!r}, which is no time with an offset; nothing of it is used."
        ) from error
