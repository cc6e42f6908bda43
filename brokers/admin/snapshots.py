"""Margins, positions, holdings, orders and trades as they were read, and how often they are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from brokers.admin.base import LongTableAdmin, ModelAdmin, PeriodFilter, ReadOnlyInline, display, told
from brokers.admin.display import SNAPSHOT_COLOURS, facts, price, rupees
from brokers.models import (
    HoldingLine,
    HoldingSnapshot,
    MarginSnapshot,
    OrderBookSnapshot,
    PositionLine,
    PositionSnapshot,
    SnapshotCadence,
    TradeBookSnapshot,
)
from brokers.models.snapshots import Snapshot

SLOT_FIELDS = (("account", "status", "is_late"), ("slot_at", "taken_at", "cadence_seconds"), "told_error")


class SnapshotAdmin(LongTableAdmin):
    list_filter = ("status", "is_late", "account", ("slot_at", PeriodFilter))
    list_filter_submit = True
    search_fields = ("account__name", "error")
    list_select_related = ("account",)
    told_error = told("error")

    @display(description="status", label=SNAPSHOT_COLOURS)
    def outcome(self, obj: Snapshot) -> tuple[str, str]:
        if obj.is_late:
            return "LATE", "taken late"
        return obj.status, Snapshot.Status(obj.status).label


@admin.register(MarginSnapshot)
class MarginSnapshotAdmin(SnapshotAdmin):
    list_display = ("slot_at", "account", "outcome", "available_now", "used_now", "total_now", "taken_at", "told_error")
    fields = (
        *SLOT_FIELDS,
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
    fields = (*SLOT_FIELDS, "profit")
    inlines = (PositionLineInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("lines")

    @display(description="open positions")
    def open_lines(self, obj: PositionSnapshot) -> int:
        return sum(1 for line in obj.lines.all() if line.quantity)

    @display(description="P&L")
    def profit(self, obj: PositionSnapshot) -> str:
        return rupees(obj.pnl)


class HoldingLineInline(ReadOnlyInline):
    model = HoldingLine
    fields = ("symbol", "exchange", "quantity", "sellable_quantity", "blocked_quantity", "average", "last", "profit")
    verbose_name_plural = "holdings"

    @display(description="average price")
    def average(self, obj: HoldingLine) -> str:
        return price(obj.average_price)

    @display(description="last price")
    def last(self, obj: HoldingLine) -> str:
        return price(obj.last_price)

    @display(description="P&L")
    def profit(self, obj: HoldingLine) -> str:
        return rupees(obj.pnl)


@admin.register(HoldingSnapshot)
class HoldingSnapshotAdmin(SnapshotAdmin):
    list_display = ("slot_at", "account", "outcome", "worth", "profit", "taken_at", "told_error")
    fields = (*SLOT_FIELDS, ("worth", "profit"))
    inlines = (HoldingLineInline,)

    @display(description="value")
    def worth(self, obj: HoldingSnapshot) -> str:
        return rupees(obj.value)

    @display(description="P&L")
    def profit(self, obj: HoldingSnapshot) -> str:
        return rupees(obj.pnl)


@admin.register(OrderBookSnapshot)
class OrderBookSnapshotAdmin(SnapshotAdmin):
    """That the book was read; its orders are on the page of the broker's book."""

    list_display = ("slot_at", "account", "outcome", "orders", "taken_at", "told_error")
    fields = (*SLOT_FIELDS, "orders")


@admin.register(TradeBookSnapshot)
class TradeBookSnapshotAdmin(SnapshotAdmin):
    """That the trades were read; they are on the page of the fills."""

    list_display = ("slot_at", "account", "outcome", "fills", "taken_at", "told_error")
    fields = (*SLOT_FIELDS, "fills")


@admin.register(SnapshotCadence)
class SnapshotCadenceAdmin(ModelAdmin):
    list_display = ("account", "kind", "seconds")
    list_filter = ("account", "kind")
    list_select_related = ("account",)
    ordering = ("account", "kind")
