"""The ledger: read, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path

from brokers.admin import approvals, questions
from brokers.admin.base import DayFilter, LongTableAdmin, PeriodFilter, ReadOnlyInline, display, told, vocabulary
from brokers.admin.display import (
    INTENT_COLOURS,
    NOTHING,
    ORIGIN_COLOURS,
    STATUS_COLOURS,
    facts,
    price,
    rupees,
    state_word,
)
from brokers.admin.timeline import answer_time, order_page
from brokers.domain.enums import Exchange, Mode, OrderStatus, Side
from brokers.domain.order_states import IntentKind
from brokers.domain.redaction import scrub
from brokers.models import BrokerAccount, BrokerOrder, OrderAttempt, OrderEvent, OrderIntent, TradeFill


class AttemptInline(ReadOnlyInline):
    model = OrderAttempt
    fields = ("number", "outcome", "armed_at", "send_deadline_at", "quiet_at", "answered_after", "reply")
    verbose_name_plural = "attempts"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("intent").order_by("number")

    @display(description="answered after")
    def answered_after(self, obj: OrderAttempt) -> str:
        return answer_time(obj) or NOTHING

    @display(description="reply")
    def reply(self, obj: OrderAttempt) -> str:
        status = str(obj.http_status or "")
        return " ".join(word for word in (status, obj.reply_code, scrub(obj.reply_text), scrub(obj.exceptions)) if word)


class EventInline(ReadOnlyInline):
    model = OrderEvent
    fields = ("sequence", "at", "from_state", "to_state", "actor", "told_cause", "proof")
    told_cause = told("cause")
    verbose_name_plural = "events"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("intent").order_by("sequence")

    @display(description="evidence")
    def proof(self, obj: OrderEvent) -> str:
        return facts(obj.evidence).replace("\n", " · ")


@admin.register(OrderIntent)
class OrderIntentAdmin(LongTableAdmin):
    list_display = (
        "created_at",
        "account",
        "asked_for",
        "asked_price",
        "progress",
        "reason",
        "strategy",
        "client_order_id",
    )
    list_filter = ("state", "kind", "account", vocabulary("mode", Mode), ("trading_day", DayFilter))
    list_filter_submit = True
    search_fields = ("client_order_id", "client_tag", "attempts__broker_order__broker_order_id", "symbol", "strategy")
    search_help_text = "The whole client order id, tag, broker's order id or strategy, or how the symbol begins"
    list_select_related = ("account",)
    inlines = (AttemptInline, EventInline)
    told_closed_reason, told_waiting_reason = told("closed_reason"), told("waiting_reason")
    change_form_outer_before_template = "admin/brokers/timeline.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("account", "mode"),
                    ("kind", "state"),
                    ("told_waiting_reason", "told_closed_reason"),
                    ("client_order_id", "client_tag"),
                    ("strategy", "trading_day"),
                    ("exchange", "symbol"),
                    ("side", "quantity"),
                    ("order_type", "asked_price"),
                    ("product", "trigger"),
                    ("time_in_force", "reduce_only"),
                    ("not_before", "not_after"),
                    ("created_at", "updated_at"),
                )
            },
        ),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Ids first, and whole: a part of one, or all of these in one condition, would read the whole table.

        A symbol or a strategy has many orders, of which the newest fill a page.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        ids: tuple[dict[str, Any], ...] = (
            # The accounts lead the index.
            {"account__in": BrokerAccount.objects.values("pk"), "client_order_id": term},
            {"client_tag": term},
            {"attempts__broker_order__broker_order_id": term},
        )
        every = OrderIntent.objects.order_by()
        found = [pk for words in ids for pk in every.filter(**words).values_list("pk", flat=True)[: self.list_per_page]]
        if found:
            return queryset.filter(pk__in=found), False
        return queryset.filter(Q(symbol__startswith=term.upper()) | Q(strategy=term)), False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("unresolved/", view(self.unresolved), name="brokers_orderintent_unresolved"),
            path("approvals/", view(self.approvals), name="brokers_orderintent_approvals"),
            path("<int:pk>/decide/", view(self.decide), name="brokers_orderintent_decide"),
        ]
        return [*own, *super().get_urls()]

    def unresolved(self, request: HttpRequest) -> HttpResponse:
        return questions.list_page(self, request)

    def approvals(self, request: HttpRequest) -> HttpResponse:
        return approvals.waiting_page(self, request)

    def decide(self, request: HttpRequest, pk: int) -> HttpResponse:
        intent = get_object_or_404(OrderIntent.objects.select_related("account", "target"), pk=pk)
        return questions.question_page(self, request, intent)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        intent = self.get_object(request, object_id)
        page = order_page(intent) if intent is not None and self.has_view_permission(request, intent) else None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "page": page})

    @display(description="order", ordering="symbol")
    def asked_for(self, obj: OrderIntent) -> str:
        words = [] if obj.kind == IntentKind.PLACE else [obj.get_kind_display()]
        if obj.quantity:
            words += [obj.side.lower(), str(obj.quantity)]
        return " ".join([*words, obj.symbol]).strip()

    @display(description="state", label=INTENT_COLOURS, ordering="state")
    def progress(self, obj: OrderIntent) -> tuple[str, str]:
        return obj.state, state_word(obj.state)

    @display(description="reason")
    def reason(self, obj: OrderIntent) -> str:
        return scrub(obj.closed_reason or obj.waiting_reason)

    @display(description="limit price")
    def asked_price(self, obj: OrderIntent) -> str:
        return price(obj.limit_price) if obj.limit_price is not None else obj.order_type.lower()

    @display(description="trigger price")
    def trigger(self, obj: OrderIntent) -> str:
        return price(obj.trigger_price)


class FillInline(ReadOnlyInline):
    model = TradeFill
    fields = ("fill_id", "quantity", "traded_price", "filled_at", "first_seen_at")
    verbose_name_plural = "fills"

    @display(description="price")
    def traded_price(self, obj: TradeFill) -> str:
        return price(obj.price)


@admin.register(BrokerOrder)
class BrokerOrderAdmin(LongTableAdmin):
    list_display = (
        "first_seen_at",
        "account",
        "broker_order_id",
        "source",
        "symbol",
        "side",
        "quantity",
        "filled_quantity",
        "limit",
        "average",
        "book_status",
        "last_seen_at",
    )
    list_filter = (
        vocabulary("status", OrderStatus),
        "origin",
        "account",
        vocabulary("exchange", Exchange),
        vocabulary("side", Side),
        ("trading_day", DayFilter),
    )
    list_filter_submit = True
    search_fields = ("broker_order_id", "exchange_order_id", "symbol", "client_tag")
    list_select_related = ("account",)
    inlines = (FillInline,)
    told_reason = told("reason")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("account", "trading_day"),
                    ("broker_order_id", "exchange_order_id"),
                    ("origin", "client_tag"),
                    ("exchange", "symbol"),
                    ("side", "product"),
                    ("quantity", "filled_quantity"),
                    ("order_type", "limit"),
                    ("trigger", "average"),
                    ("status", "broker_status"),
                    "told_reason",
                    ("placed_at", "first_seen_at"),
                    "last_seen_at",
                )
            },
        ),
    )

    @display(description="origin", label=ORIGIN_COLOURS)
    def source(self, obj: BrokerOrder) -> tuple[str, str]:
        return obj.origin, obj.get_origin_display()

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def book_status(self, obj: BrokerOrder) -> tuple[str, str]:
        return obj.status, obj.status.replace("_", " ").lower()

    @display(description="limit price")
    def limit(self, obj: BrokerOrder) -> str:
        return price(obj.limit_price)

    @display(description="trigger price")
    def trigger(self, obj: BrokerOrder) -> str:
        return price(obj.trigger_price)

    @display(description="average price")
    def average(self, obj: BrokerOrder) -> str:
        return price(obj.average_price)


@admin.register(TradeFill)
class TradeFillAdmin(LongTableAdmin):
    list_display = ("filled_at", "account", "symbol", "side", "quantity", "traded_price", "value", "order", "fill_id")
    list_filter = ("order__account", vocabulary("order__side", Side, "side"), ("filled_at", PeriodFilter))
    list_filter_submit = True
    search_fields = ("fill_id", "order__broker_order_id", "order__symbol")
    list_select_related = ("order__account",)
    fields = (("order", "fill_id"), ("quantity", "traded_price"), "value", ("filled_at", "first_seen_at"))

    @display(description="account")
    def account(self, obj: TradeFill) -> str:
        return str(obj.order.account)

    @display(description="symbol")
    def symbol(self, obj: TradeFill) -> str:
        return obj.order.symbol

    @display(description="side")
    def side(self, obj: TradeFill) -> str:
        return obj.order.side

    @display(description="price")
    def traded_price(self, obj: TradeFill) -> str:
        return price(obj.price)

    @display(description="value")
    def value(self, obj: TradeFill) -> str:
        return rupees(obj.price * obj.quantity)
