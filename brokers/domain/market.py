"""Prices. Rupees as Decimal, sizes in units, times aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

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
    volume: int | None = None
    #: When the last trade was, by the broker; None when it does not say.
    traded_at: datetime | None = None
    #: When this process received the answer.
    as_of: datetime

    def __bool__(self) -> bool:
        return self.last_price is not None
