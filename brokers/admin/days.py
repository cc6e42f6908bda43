"""What days ended with, and the page of one account's day: its curve, its slots and what is missing among them."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from brokers import slots
from brokers.admin.base import LongTableAdmin, display, told
from brokers.admin.curve import curve
from brokers.admin.display import DAY_COLOURS, NOTHING, rupees, span
from brokers.clock import IST, configured_clock, trading_day
from brokers.models import BrokerAccount, DayRecord
from brokers.slots import SlotsOfDay

#: Gaps that a person reads of one kind; the count says how many slots are missing.
MOST_GAPS = 8


@admin.register(DayRecord)
class DayRecordAdmin(LongTableAdmin):
    list_display = (
        "day",
        "account",
        "outcome",
        "closed",
        "still_open",
        "value",
        "available",
        "orders",
        "fills",
        "look",
    )
    list_filter = ("status", "account")
    list_select_related = ("account", "margin")
    list_before_template = "admin/brokers/days.html"
    ordering = ("-day",)
    told_error = told("error")
    fields = (
        ("account", "day"),
        ("status", "written_at"),
        "told_error",
        ("closed", "still_open", "value"),
        ("available", "used", "total"),
        ("orders", "fills"),
        ("margin", "positions", "holdings"),
        "look",
    )

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "of/<int:account_id>/<str:day>/", self.admin_site.admin_view(self.day_page), name="brokers_dayrecord_page"
        )
        return [own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        today = trading_day(configured_clock().now())
        accounts = BrokerAccount.objects.filter(is_active=True).order_by("broker", "name")
        links = [{"name": str(account), "link": page_of(account.pk, today)} for account in accounts]
        return super().changelist_view(request, {**(extra_context or {}), "today": today, "links": links})

    def day_page(self, request: HttpRequest, account_id: int, day: str) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = get_object_or_404(BrokerAccount, pk=account_id)
        try:
            wanted = date.fromisoformat(day)
        except ValueError as error:
            raise Http404(f"{day} is no day; write it as 2026-11-27.") from error
        context = {
            **self.admin_site.each_context(request),
            "title": f"{account} on {wanted:%a %d %b %Y}",
            "curve": curve(slots.day_curve(account, wanted)),
            "kinds": [_kind(each) for each in slots.slots_of_day(account, wanted, configured_clock())],
            "record": DayRecord.objects.filter(account=account, day=wanted).first(),
            "account": account,
        }
        return TemplateResponse(request, "admin/brokers/day.html", context)

    @display(description="status", label=DAY_COLOURS)
    def outcome(self, obj: DayRecord) -> tuple[str, str]:
        return obj.status, DayRecord.Status(obj.status).label

    @display(description="P&L of closed positions")
    def closed(self, obj: DayRecord) -> str:
        return rupees(obj.closed_pnl)

    @display(description="P&L of open positions")
    def still_open(self, obj: DayRecord) -> str:
        return rupees(obj.open_pnl)

    @display(description="open positions")
    def value(self, obj: DayRecord) -> str:
        return rupees(obj.positions_value)

    @display(description="margin available")
    def available(self, obj: DayRecord) -> str:
        return rupees(obj.margin.available if obj.margin else None)

    @display(description="margin used")
    def used(self, obj: DayRecord) -> str:
        return rupees(obj.margin.used if obj.margin else None)

    @display(description="margin total")
    def total(self, obj: DayRecord) -> str:
        return rupees(obj.margin.total if obj.margin else None)

    @display(description="curve and slots")
    def look(self, obj: DayRecord) -> str:
        return format_html('<a href="{}">Look</a>', page_of(obj.account_id, obj.day))


def page_of(account_id: int, day: date) -> str:
    """The address of one account's day."""
    return reverse("admin:brokers_dayrecord_page", args=(account_id, day.isoformat()))


def _kind(found: SlotsOfDay) -> dict[str, Any]:
    gaps = [
        f"{gap.count} between {gap.after.astimezone(IST):%H:%M:%S} and {gap.before.astimezone(IST):%H:%M:%S}"
        for gap in (found.gaps or ())[:MOST_GAPS]
    ]
    return {
        "name": found.kind.label,
        "every": span(found.every) if found.every else "never",
        "taken": found.taken,
        "late": found.late,
        "failed": found.failed,
        "missing": NOTHING if found.missing is None else found.missing,
        "words": "thinned since" if found.gaps is None else ", ".join(gaps),
    }
