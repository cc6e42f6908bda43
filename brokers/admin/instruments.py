"""The current book of instruments, and the loads it was merged from."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from brokers.admin.base import LongTableAdmin, ModelAdmin, ReadOnly, display, vocabulary
from brokers.admin.display import NOTHING, facts, price
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.models import InstrumentMaster, InstrumentRecord


@admin.register(InstrumentRecord)
class InstrumentRecordAdmin(LongTableAdmin):
    list_display = (
        "symbol",
        "exchange",
        "kind",
        "underlying",
        "expiry",
        "strike_price",
        "right",
        "lot_size",
        "tick",
        "freeze_quantity",
        "master_day",
    )
    list_filter = (
        vocabulary("exchange", Exchange),
        vocabulary("kind", InstrumentKind),
        vocabulary("right", OptionRight),
        ("expiry", admin.DateFieldListFilter),
    )
    search_fields = ("symbol__startswith", "name__istartswith")
    search_help_text = "The beginning of a symbol or of a name"
    # The order of the index, within one edition.
    ordering = ("symbol",)
    fields = (
        ("symbol", "exchange"),
        ("kind", "underlying"),
        "name",
        ("expiry", "right"),
        ("strike_price", "lot_size"),
        ("tick", "freeze_quantity"),
        ("lowest", "highest"),
        "master_day",
        "listed_as",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(edition__is_current=True)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Symbols are upper case; a case-blind search could not use their index.
        return super().get_search_results(request, queryset, search_term.upper())

    @display(description="strike", ordering="strike")
    def strike_price(self, obj: InstrumentRecord) -> str:
        return price(obj.strike)

    @display(description="tick size")
    def tick(self, obj: InstrumentRecord) -> str:
        return price(obj.tick_size)

    @display(description="lowest price")
    def lowest(self, obj: InstrumentRecord) -> str:
        return price(obj.lower_band)

    @display(description="highest price")
    def highest(self, obj: InstrumentRecord) -> str:
        return price(obj.upper_band)

    @display(description="at the brokers")
    def listed_as(self, obj: InstrumentRecord) -> str:
        return facts(obj.identifiers) or NOTHING


@admin.register(InstrumentMaster)
class InstrumentMasterAdmin(ReadOnly, ModelAdmin):
    list_display = ("master_day", "broker", "loaded_at", "row_count", "problem_count")
    list_filter = ("broker",)
    date_hierarchy = "master_day"
    ordering = ("-master_day", "broker")
    show_full_result_count = False
    fields = (
        ("broker", "master_day", "loaded_at"),
        ("row_count", "problem_count"),
        "rows_by_exchange",
        "first_problems",
    )

    @display(description="rows by exchange")
    def rows_by_exchange(self, obj: InstrumentMaster) -> str:
        return facts(obj.counts) or NOTHING

    @display(description="first problems")
    def first_problems(self, obj: InstrumentMaster) -> str:
        return "\n".join(f"{p.get('source')}:{p.get('line')} {p.get('reason')}" for p in obj.problems) or NOTHING
