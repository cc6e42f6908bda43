"""The tables of a broker account. Secrets are in the credentials app, but for the addresses that alerts go to."""

from brokers.models.accounts import BrokerAccount, DayCalls, SessionState
from brokers.models.alerts import Alert, AlertChannel, AlertDelivery, Severity
from brokers.models.calendar import HolidayList, SessionRule, SpecialDay
from brokers.models.days import DayRecord
from brokers.models.feeds import FeedSubscription
from brokers.models.gtt import GttBook, GttOrder
from brokers.models.instruments import (
    InstrumentEdition,
    InstrumentListing,
    InstrumentMaster,
    InstrumentMasterRows,
    InstrumentRecord,
)
from brokers.models.orders import (
    BookRead,
    BrokerOrder,
    HumanDecision,
    OrderAttempt,
    OrderEvent,
    OrderIntent,
    OrderRateGate,
    TradeFill,
)
from brokers.models.plans import OrderPlan
from brokers.models.risk import ChangeOf, KillSwitch, RiskChange, RiskLimit, Scope, StartupBarrier
from brokers.models.snapshots import (
    HoldingLine,
    HoldingSnapshot,
    MarginSnapshot,
    OrderBookSnapshot,
    PositionLine,
    PositionSnapshot,
    SnapshotCadence,
    SnapshotKind,
    ThinningMark,
    TradeBookSnapshot,
)

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "BookRead",
    "BrokerAccount",
    "BrokerOrder",
    "ChangeOf",
    "DayCalls",
    "DayRecord",
    "FeedSubscription",
    "GttBook",
    "GttOrder",
    "HoldingLine",
    "HoldingSnapshot",
    "HolidayList",
    "HumanDecision",
    "InstrumentEdition",
    "InstrumentListing",
    "InstrumentMaster",
    "InstrumentMasterRows",
    "InstrumentRecord",
    "KillSwitch",
    "MarginSnapshot",
    "OrderAttempt",
    "OrderBookSnapshot",
    "OrderEvent",
    "OrderIntent",
    "OrderPlan",
    "OrderRateGate",
    "PositionLine",
    "PositionSnapshot",
    "RiskChange",
    "RiskLimit",
    "Scope",
    "SessionRule",
    "SessionState",
    "Severity",
    "SnapshotCadence",
    "SnapshotKind",
    "SpecialDay",
    "StartupBarrier",
    "ThinningMark",
    "TradeBookSnapshot",
    "TradeFill",
]
