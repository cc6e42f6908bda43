"""The tables of a broker account. Secrets are in the credentials app, but for the addresses that alerts go to."""

from brokers.models.accounts import BrokerAccount, SessionState
from brokers.models.alerts import Alert, AlertChannel, AlertDelivery, Severity
from brokers.models.calendar import SessionRule, SpecialDay
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
from brokers.models.risk import KillSwitch, RiskChange, RiskLimit, Scope, StartupBarrier
from brokers.models.snapshots import MarginSnapshot, PositionLine, PositionSnapshot

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "BookRead",
    "BrokerAccount",
    "BrokerOrder",
    "HumanDecision",
    "InstrumentEdition",
    "InstrumentListing",
    "InstrumentMaster",
    "InstrumentMasterRows",
    "InstrumentRecord",
    "KillSwitch",
    "MarginSnapshot",
    "OrderAttempt",
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
    "SpecialDay",
    "StartupBarrier",
    "TradeFill",
]
