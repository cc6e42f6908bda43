"""GTTs: read, never edited."""

from __future__ import annotations

from django.contrib import admin

from brokers.admin.base import LongTableAdmin, PeriodFilter, display, vocabulary
from brokers.admin.display import GTT_COLOURS, ORIGIN_COLOURS, price
from brokers.domain.enums import Exchange
from brokers.domain.gtt import GttKind, GttStatus, GttTrigger
from brokers.models import GttOrder


@admin.register(GttOrder)
class GttOrderAdmin(LongTableAdmin):
    list_display = (
        "first_seen_at",
        "account",
        "gtt_order_id",
        "source",
        "kind",
        "symbol",
        "quantity",
        "waits_for",
        "book_status",
        "last_seen_at",
    )
    list_filter = (
        vocabulary("status", GttStatus),
        vocabulary("kind", GttKind),
        "origin",
        "account",
        vocabulary("exchange", Exchange),
        ("first_seen_at", PeriodFilter),
    )
    list_filter_submit = True
    search_fields = ("gtt_order_id", "entry_order_id", "symbol")
    list_select_related = ("account",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("account", "gtt_order_id"),
                    ("kind", "origin"),
                    ("exchange", "symbol"),
                    ("quantity", "product"),
                    "waits_for",
                    ("status", "broker_words"),
                    ("entry_order_id", "attempt"),
                    ("placed_at", "first_seen_at"),
                    ("book_seen_at", "last_seen_at"),
                )
            },
        ),
    )

    @display(description="origin", label=ORIGIN_COLOURS)
    def source(self, obj: GttOrder) -> tuple[str, str]:
        return obj.origin, obj.get_origin_display()

    @display(description="status", label=GTT_COLOURS, ordering="status")
    def book_status(self, obj: GttOrder) -> tuple[str, str]:
        return obj.status, obj.status.lower()

    @display(description="waits for")
    def waits_for(self, obj: GttOrder) -> str:
        triggers = map(GttTrigger.of, obj.legs)
        return " or ".join(
            f"{each.side.lower()} at {price(each.limit_price)} from {price(each.trigger_price)}" for each in triggers
        )

    @display(description="the broker's words")
    def broker_words(self, obj: GttOrder) -> str:
        return ", ".join(leg["broker_status"] for leg in obj.legs if leg["broker_status"])
