"""The admin pages of a broker account. Registered when Django's admin looks for them."""

from brokers.admin import accounts, calendar, instruments, orders, snapshots

__all__ = ["accounts", "calendar", "instruments", "orders", "snapshots"]
