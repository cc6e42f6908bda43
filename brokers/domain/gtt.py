"""Orders that a broker keeps until a price is reached (good till trigger), and what its book says about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from brokers.domain.enums import Product, Side
from brokers.domain.evidence import WireEvidence
from brokers.domain.instruments import Instrument
from brokers.domain.records import Record


class GttKind(StrEnum):
    SINGLE = "SINGLE"  # one order at its trigger
    THREE_LEG = "THREE_LEG"  # an entry at once, then a target and a stop, of which the first to trigger ends the other


class GttRole(StrEnum):
    ORDER = "ORDER"  # the one order of a single
    TARGET = "TARGET"
    STOP = "STOP"


class GttStatus(StrEnum):
    ACTIVE = "ACTIVE"
    TRIGGERED = "TRIGGERED"  # its order went out; the order book tells the rest
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"  # the broker's word is not known; it may be active

    @property
    def is_over(self) -> bool:
        return self not in (GttStatus.ACTIVE, GttStatus.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class GttTrigger:
    """One limit order that goes out when the market reaches its trigger."""

    role: GttRole
    side: Side
    #: Rupees a unit, on the tick.
    trigger_price: Decimal
    #: Rupees a unit, on the tick.
    limit_price: Decimal

    @classmethod
    def of(cls, plain: Mapping[str, str]) -> "GttTrigger":
        """Back from :meth:`plain`."""
        return cls(
            role=GttRole(plain["role"]),
            side=Side(plain["side"]),
            trigger_price=Decimal(plain["trigger_price"]),
            limit_price=Decimal(plain["limit_price"]),
        )

    def plain(self) -> dict[str, str]:
        """As JSON, in which equal triggers are equal text."""
        return {
            "role": self.role.value,
            "side": self.side.value,
            "trigger_price": f"{self.trigger_price.normalize():f}",
            "limit_price": f"{self.limit_price.normalize():f}",
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class GttEntry:
    """The limit order of a three-leg GTT that goes out at once."""

    side: Side
    #: Rupees a unit, on the tick.
    limit_price: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class GttRequest:
    """A GTT, complete and checked, as an adapter is to send it. Brokers keep no reference of ours with it."""

    instrument: Instrument
    product: Product
    #: Units, a whole number of lots, of each of its orders.
    quantity: int
    #: One of role ORDER, or a TARGET and a STOP beside an ``entry``.
    triggers: tuple[GttTrigger, ...]
    entry: GttEntry | None = None

    @property
    def kind(self) -> GttKind:
        return GttKind.THREE_LEG if self.entry else GttKind.SINGLE


@dataclass(frozen=True, kw_only=True, slots=True)
class GttChange:
    """New absolute prices for every trigger of an active GTT; its quantity stays."""

    gtt_order_id: str
    kind: GttKind
    instrument: Instrument
    triggers: tuple[GttTrigger, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GttCancel:
    gtt_order_id: str
    kind: GttKind
    instrument: Instrument


@dataclass(frozen=True, kw_only=True, slots=True)
class GttAck:
    """The broker took the request. Accepted is not done: the GTT book tells what became of it."""

    gtt_order_id: str
    #: The broker's words, redacted.
    message: str = ""
    evidence: WireEvidence | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GttLeg(Record):
    """One trigger as the broker's GTT book shows it."""

    role: GttRole
    side: Side
    #: Rupees a unit.
    trigger_price: Decimal
    #: Rupees a unit.
    limit_price: Decimal
    status: GttStatus
    #: The broker's own word for the status.
    broker_status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gtt(Record):
    """One row of the broker's GTT book."""

    gtt_order_id: str
    kind: GttKind
    #: The exchange's trading symbol, or the broker's own words in brackets when no instrument answers.
    symbol: str
    exchange: str
    product: Product | None
    #: Units.
    quantity: int
    legs: tuple[GttLeg, ...]
    #: The order in the ordinary book that a three-leg GTT entered with; empty otherwise, or while there is none.
    entry_order_id: str = ""
    placed_at: datetime | None
    #: The row as the broker sent it, for evidence; never read by logic outside the adapter.
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def status(self) -> GttStatus:
        """Of the whole: active while a leg is, triggered when one has been, otherwise how they ended."""
        found = {leg.status for leg in self.legs}
        for status in (GttStatus.UNKNOWN, GttStatus.ACTIVE, GttStatus.TRIGGERED, GttStatus.REJECTED, GttStatus.EXPIRED):
            if status in found:
                return status
        return GttStatus.CANCELLED
