"""The closed vocabularies of an order, an instrument and a session.

Members' values are stored in the database and written in logs; they do not change. Callers may
write what Indian traders write (``B``, ``MKT``, ``CE``); :func:`parse` turns it into a member once,
at the boundary.
"""

from datetime import timedelta
from enum import StrEnum
from typing import TypeVar


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    #: What the caller asked for. It reaches a broker as a protected LIMIT, never as a market order.
    MARKET = "MARKET"
    #: Rests until the trigger price trades, then works as a LIMIT.
    STOP_LIMIT = "STOP_LIMIT"


class TimeInForce(StrEnum):
    DAY = "DAY"
    IOC = "IOC"


class Product(StrEnum):
    CNC = "CNC"  # delivery, cash segment
    MIS = "MIS"  # intraday
    NRML = "NRML"  # carried forward, derivatives
    MTF = "MTF"  # margin trading facility


class Exchange(StrEnum):
    """An exchange and its segment, as Indian traders name them."""

    NSE = "NSE"  # cash
    BSE = "BSE"  # cash
    NFO = "NFO"  # NSE derivatives
    BFO = "BFO"  # BSE derivatives

    @property
    def is_derivative(self) -> bool:
        return self in (Exchange.NFO, Exchange.BFO)


class InstrumentKind(StrEnum):
    EQUITY = "EQUITY"
    INDEX = "INDEX"  # quoted, never traded
    FUTURE = "FUTURE"
    OPTION = "OPTION"


class OptionRight(StrEnum):
    CALL = "CE"
    PUT = "PE"


class OrderStatus(StrEnum):
    """What the broker's book says about one order."""

    PENDING = "PENDING"  # taken by the broker, not yet at the exchange
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    #: A word this version does not know, or a state a person must look at. Never treated as ended.
    UNKNOWN = "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL_ORDER_STATUSES


TERMINAL_ORDER_STATUSES = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)


class Mode(StrEnum):
    SIMULATED = "simulated"
    PAPER = "paper"
    LIVE = "live"


class MarketPhase(StrEnum):
    PRE_OPEN = "PRE_OPEN"
    CONTINUOUS = "CONTINUOUS"
    CLOSING_AUCTION = "CLOSING_AUCTION"
    POST_CLOSE = "POST_CLOSE"
    CLOSED = "CLOSED"


class CandleInterval(StrEnum):
    """How long a candle lasts. Which of them a broker has, its adapter says when it is asked for another."""

    SECOND = "1s"
    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    THIRTY_MINUTES = "30m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def length(self) -> timedelta:
        number, unit = int(self.value[:-1]), self.value[-1]
        return number * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}.get(
            unit, timedelta(days=1)
        )


_ALIASES: dict[type[StrEnum], dict[str, StrEnum]] = {
    Side: {"B": Side.BUY, "S": Side.SELL},
    OrderType: {
        "MKT": OrderType.MARKET,
        "L": OrderType.LIMIT,
        "LMT": OrderType.LIMIT,
        "SL": OrderType.STOP_LIMIT,
        "STOPLOSS": OrderType.STOP_LIMIT,
    },
    Product: {"DELIVERY": Product.CNC, "INTRADAY": Product.MIS, "CARRY_FORWARD": Product.NRML},
    OptionRight: {"CALL": OptionRight.CALL, "PUT": OptionRight.PUT, "C": OptionRight.CALL, "P": OptionRight.PUT},
    CandleInterval: {
        "1SECOND": CandleInterval.SECOND,
        "1MINUTE": CandleInterval.MINUTE,
        "1MIN": CandleInterval.MINUTE,
        "5MINUTE": CandleInterval.FIVE_MINUTES,
        "5MIN": CandleInterval.FIVE_MINUTES,
        "15MIN": CandleInterval.FIFTEEN_MINUTES,
        "30MINUTE": CandleInterval.THIRTY_MINUTES,
        "30MIN": CandleInterval.THIRTY_MINUTES,
        "60MIN": CandleInterval.HOUR,
        "1DAY": CandleInterval.DAY,
        "D": CandleInterval.DAY,
    },
    Exchange: {"NSE_CM": Exchange.NSE, "BSE_CM": Exchange.BSE, "NSE_FO": Exchange.NFO, "BSE_FO": Exchange.BFO},
}

E = TypeVar("E", bound=StrEnum)


def parse(kind: type[E], value: object) -> E:
    """Turn what a caller wrote into a member of ``kind``, ignoring case and surrounding space.

    :raises ValueError: a sentence that names the value and what is accepted.
    """
    if isinstance(value, kind):
        return value
    text = str(value).strip().upper()
    for member in kind:
        if text in (member.value.upper(), member.name):
            return member
    alias = _ALIASES.get(kind, {}).get(text)
    if isinstance(alias, kind):
        return alias
    accepted = ", ".join([m.value for m in kind] + list(_ALIASES.get(kind, {})))
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise ValueError(f"{value!r} is not {article} {kind.__name__}; write one of {accepted}.")
