"""What an account holds and may spend. Money is Decimal rupees; every value says when it was taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from brokers.domain.enums import OptionRight, Product
from brokers.domain.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginData(Record):
    """Funds and margin as the broker states them, all in rupees."""

    #: What new orders may use now.
    available: Decimal
    #: Blocked by orders and positions.
    used: Decimal
    #: available + used where the broker states no total of its own.
    total: Decimal
    #: Cash in the account's ledger; None when the broker does not state it.
    cash: Decimal | None = None
    #: Value of pledged securities; None when the broker does not state it.
    collateral: Decimal | None = None
    as_of: datetime
    #: Every figure of the broker's answer, by the broker's names, for the snapshot.
    details: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position(Record):
    """One net position of the day, flat ones included while the broker lists them."""

    symbol: str
    exchange: str
    product: Product | None
    underlying: str = ""
    expiry: date | None = None
    strike: Decimal | None = None
    right: OptionRight | None = None
    #: Units, negative when short.
    quantity: int
    buy_quantity: int = 0
    sell_quantity: int = 0
    #: Units of ``quantity`` that were held when the day began, negative when short; None when the broker does not say.
    carried_quantity: int | None = None
    #: Rupees.
    buy_amount: Decimal = Decimal(0)
    sell_amount: Decimal = Decimal(0)
    #: Rupees a unit; 0 when flat.
    average_price: Decimal
    #: Rupees a unit; None when the broker states none or states zero.
    last_price: Decimal | None
    #: Rupees by the documented formula; None when the last price is missing and the position is open.
    pnl: Decimal | None
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentMargin(Record):
    """Funds of one segment, in rupees."""

    #: The broker's word for the segment, e.g. ``equity`` or ``fno``; ``all`` where it keeps one pool.
    segment: str
    allocated: Decimal
    #: Blocked by orders and positions.
    blocked: Decimal
    available: Decimal
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginRequired(Record):
    """What one order, or several together, would block, in rupees. Nothing was sent."""

    required: Decimal
    #: What new orders may use now; None when the broker does not say it in the same answer.
    available: Decimal | None
    #: Parts of ``required``; None when the broker does not state them.
    span: Decimal | None = None
    exposure: Decimal | None = None
    #: Whether the broker weighed the orders against each other. False: a sum, and the margin may be lower.
    is_netted: bool
    as_of: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding(Record):
    """Shares held in delivery."""

    #: The exchange's trading symbol, or the broker's own words in brackets when no instrument answers.
    symbol: str
    exchange: str
    isin: str = ""
    #: Units.
    quantity: int
    #: Units that can be sold today; None when the broker does not say.
    sellable_quantity: int | None = None
    #: Units pledged or blocked otherwise; None when the broker does not say.
    blocked_quantity: int | None = None
    #: Rupees a unit; None where no cost is known.
    average_price: Decimal | None
    #: Rupees a unit; None when the broker states none or states zero.
    last_price: Decimal | None
    #: Rupees: (last price - average price) x quantity; None when one of them is missing.
    pnl: Decimal | None
    as_of: datetime
