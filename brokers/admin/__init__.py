"""The admin pages of a broker account. Registered when Django's admin looks for them."""

from brokers.admin import (
    accounts,
    alerts,
    barrier,
    calendar,
    days,
    gtts,
    instruments,
    limits,
    orders,
    plans,
    snapshots,
    switches,
)

__all__ = [
    "accounts",
    "alerts",
    "barrier",
    "calendar",
    "days",
    "gtts",
    "instruments",
    "limits",
    "orders",
    "plans",
    "snapshots",
    "switches",
]
