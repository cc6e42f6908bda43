"""The tables of a broker account. Secrets are in the credentials app, never here."""

from brokers.models.accounts import BrokerAccount, SessionState
from brokers.models.calendar import SessionRule, SpecialDay
from brokers.models.instruments import (
    InstrumentEdition,
    InstrumentListing,
    InstrumentMaster,
    InstrumentMasterRows,
    InstrumentRecord,
)
from brokers.models.orders import BrokerOrder, OrderAttempt, OrderEvent, OrderIntent, OrderRateGate, TradeFill
from brokers.models.snapshots import MarginSnapshot, PositionLine, PositionSnapshot

__all__ = [
    "BrokerAccount",
    "BrokerOrder",
    "InstrumentEdition",
    "InstrumentListing",
    "InstrumentMaster",
    "InstrumentMasterRows",
    "InstrumentRecord",
    "MarginSnapshot",
    "OrderAttempt",
    "OrderEvent",
    "OrderIntent",
    "OrderRateGate",
    "PositionLine",
    "PositionSnapshot",
    "SessionRule",
    "SessionState",
    "SpecialDay",
    "TradeFill",
]
