"""Prices. Rupees as Decimal, sizes in units, times aware UTC."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from brokers.domain.enums import CandleInterval, OptionRight
from brokers.domain.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote(Record):
    """The newest prices of one instrument. Falsy when there is no last price."""

    symbol: str
    exchange: str
    #: None when the broker states none or states zero.
    last_price: Decimal | None
    bid_price: Decimal | None = None
    bid_quantity: int | None = None
    ask_price: Decimal | None = None
    ask_quantity: int | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    previous_close: Decimal | None = None
    lower_circuit: Decimal | None = None
    upper_circuit: Decimal | None = None
    #: Units traded today.
    volume: int | None = None
    #: Units; None for shares, and when the broker does not state it.
    open_interest: int | None = None
    #: When the last trade was, by the broker; None when it does not say.
    traded_at: datetime | None = None
    #: When this process received the answer.
    as_of: datetime

    def __bool__(self) -> bool:
        return self.last_price is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthLevel(Record):
    """One price of the order book."""

    #: Rupees a unit.
    price: Decimal
    #: Units.
    quantity: int
    #: How many orders; None when the broker does not say.
    orders: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth(Record):
    """The best prices on both sides, the best first. A side on which nobody stands is empty."""

    symbol: str
    exchange: str
    bids: tuple[DepthLevel, ...]
    asks: tuple[DepthLevel, ...]
    #: Units over the whole book; None when the broker does not say.
    total_bid_quantity: int | None = None
    total_ask_quantity: int | None = None
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class YearRange(Record):
    """The lowest and the highest price of 52 weeks, in rupees a unit."""

    symbol: str
    exchange: str
    low: Decimal
    high: Decimal
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionQuote(Record):
    """One option of a chain."""

    symbol: str
    strike: Decimal
    right: OptionRight
    #: Rupees a unit; None when it has not traded.
    last_price: Decimal | None
    bid_price: Decimal | None = None
    ask_price: Decimal | None = None
    previous_close: Decimal | None = None
    #: Units.
    volume: int | None = None
    open_interest: int | None = None
    open_interest_change: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionChain(Record):
    """Options of one expiry around the money, lowest strike first."""

    underlying: str
    exchange: str
    expiry: date
    #: The underlying's price in rupees; None when the broker does not state it.
    spot_price: Decimal | None
    calls: tuple[OptionQuote, ...]
    puts: tuple[OptionQuote, ...]
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Candle(Record):
    """What traded in one interval. Rupees a unit, not adjusted for corporate actions."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    #: Units.
    volume: int
    open_interest: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CandleSeries(Record):
    """Candles in order, and the stretches of trading time for which the broker stated none."""

    symbol: str
    exchange: str
    interval: CandleInterval
    candles: tuple[Candle, ...]
    #: (first missing opening, end of the stretch), aware UTC.
    gaps: tuple[tuple[datetime, datetime], ...] = ()
    as_of: datetime
