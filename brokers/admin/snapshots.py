"""Margins and positions as they were taken."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from brokers.admin.base import LongTableAdmin, PeriodFilter, ReadOnlyInline, display, told
from brokers.admin.display import SNAPSHOT_COLOURS, facts, price, rupees
from brokers.models import MarginSnapshot, PositionLine, PositionSnapshot
from brokers.models.snapshots import Snapshot


class SnapshotAdmin(LongTableAdmin):
    # A date hierarchy would read the whole table for its first and last day.
    list_filter = ("status", "account", ("slot_at", PeriodFilter))
    list_filter_submit = True
    search_fields = ("account__name", "error")
    list_select_related = ("account",)
    told_error = told("error")

    @display(description="status", label=SNAPSHOT_COLOURS)
    def outcome(self, obj: Snapshot) -> tuple[str, str]:
        return obj.status, Snapshot.Status(obj.status).label


@admin.register(MarginSnapshot)
class MarginSnapshotAdmin(SnapshotAdmin):
    list_display = ("slot_at", "account", "outcome", "available_now", "used_now", "total_now", "taken_at", "told_error")
    fields = (
        ("account", "status"),
        ("slot_at", "taken_at"),
        "told_error",
        ("available_now", "used_now"),
        "total_now",
        ("cash_now", "collateral_now"),
        "as_stated",
    )

    @display(description="available")
    def available_now(self, obj: MarginSnapshot) -> str:
        return rupees(obj.available)

    @display(description="used")
    def used_now(self, obj: MarginSnapshot) -> str:
        return rupees(obj.used)

    @display(description="total")
    def total_now(self, obj: MarginSnapshot) -> str:
        return rupees(obj.total)

    @display(description="cash")
    def cash_now(self, obj: MarginSnapshot) -> str:
        return rupees(obj.cash)

    @display(description="collateral")
    def collateral_now(self, obj: MarginSnapshot) -> str:
        return rupees(obj.collateral)

    @display(description="as the broker stated it")
    def as_stated(self, obj: MarginSnapshot) -> str:
        return facts(obj.details)


class PositionLineInline(ReadOnlyInline):
    model = PositionLine
    fields = ("symbol", "exchange", "product", "quantity", "average", "last", "profit")
    verbose_name_plural = "positions"

    @display(description="average price")
    def average(self, obj: PositionLine) -> str:
        return price(obj.average_price)

    @display(description="last price")
    def last(self, obj: PositionLine) -> str:
        return price(obj.last_price)

    @display(description="P&L")
    def profit(self, obj: PositionLine) -> str:
        return rupees(obj.pnl)


@admin.register(PositionSnapshot)
class PositionSnapshotAdmin(SnapshotAdmin):
    list_display = ("slot_at", "account", "outcome", "open_lines", "profit", "taken_at", "told_error")
    fields = (("account", "status"), ("slot_at", "taken_at"), "told_error", "profit")
    inlines = (PositionLineInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("lines")

    @display(description="open positions")
    def open_lines(self, obj: PositionSnapshot) -> int:
        return sum(1 for line in obj.lines.all() if line.quantity)

    @display(description="P&L")
    def profit(self, obj: PositionSnapshot) -> str:
        return rupees(obj.pnl)
