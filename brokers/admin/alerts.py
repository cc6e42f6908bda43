"""Alerts: what happened, what it means, what to do, and who takes care. Channels: addresses go in and never come out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminPasswordWidget

from brokers.admin.base import LongTableAdmin, ModelAdmin, ReadOnlyInline, display, told, vocabulary
from brokers.admin.deeds import person
from brokers.admin.display import NOTHING, SEVERITY_COLOURS, age
from brokers.alerts import acknowledge, courier
from brokers.alerts.kinds import AlertKind
from brokers.alerts.trial import try_channel
from brokers.clock import configured_clock
from brokers.domain.order_states import OPEN_QUESTIONS
from brokers.domain.redaction import scrub
from brokers.models import Alert, AlertChannel, AlertDelivery
from credentials.fields import EncryptedField


class OpenFilter(admin.SimpleListFilter):
    """Open ones unless somebody asks for all."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("acknowledged", "acknowledged"), ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": "open"}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(acknowledged_at__isnull=self.value() != "acknowledged")


class DeliveryInline(ReadOnlyInline):
    model = AlertDelivery
    fields = ("channel", "sent_at", "due_at", "failures", "problem")
    verbose_name_plural = "sent to"


@admin.register(Alert)
class AlertAdmin(LongTableAdmin):
    list_display = ("severity_label", "told_happened", "told_to_do", "account", "seen", "reached", "state")
    list_display_links = ("severity_label", "told_happened")
    list_filter = (OpenFilter, "severity", "account", vocabulary("kind", AlertKind))
    search_fields = ("happened", "key", "intent__client_order_id")
    list_select_related = ("account",)
    inlines = (DeliveryInline,)
    actions = ("acknowledge_selected",)
    change_form_outer_before_template = "admin/brokers/alert.html"
    told_happened, told_meaning, told_to_do = told("happened"), told("meaning"), told("to_do")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("severity", "kind"),
                    ("account", "intent"),
                    ("first_at", "last_at"),
                    ("count", "state"),
                    ("acknowledged_at", "acknowledged_by"),
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("deliveries")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Of the open ones the gravest first; they are few."""
        return ("-last_at",) if "state" in request.GET else ("-severity", "-last_at")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.acknowledge_one))
        return [path("<int:pk>/acknowledge/", view, name="brokers_alert_acknowledge"), *super().get_urls()]

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("brokers.acknowledge_alert")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        alert = self.get_object(request, object_id)
        words = {name: scrub(getattr(alert, name)) for name in ("happened", "meaning", "to_do")} if alert else {}
        context = {
            "words": words,
            "may_acknowledge": self.has_acknowledge_permission(request),
            "is_question": alert and alert.intent and alert.intent.state in OPEN_QUESTIONS,
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    @admin.action(description="Acknowledge: I take care of it", permissions=["acknowledge"])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        done = acknowledge(queryset, by=person(request), at=configured_clock().now())
        self.message_user(request, f"{done} acknowledged.", messages.SUCCESS)

    def acknowledge_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_acknowledge_permission(request):
            return HttpResponse(status=403)
        done = acknowledge([get_object_or_404(Alert, pk=pk)], by=person(request), at=configured_clock().now())
        said = "It is acknowledged, and nobody is called for it any more." if done else "Somebody was faster."
        self.message_user(request, said, messages.SUCCESS)
        return redirect(reverse("admin:brokers_alert_changelist"))

    @display(description="severity", label=SEVERITY_COLOURS, ordering="severity")
    def severity_label(self, obj: Alert) -> tuple[str, str]:
        return str(obj.severity), obj.get_severity_display()

    @display(description="seen", ordering="last_at")
    def seen(self, obj: Alert) -> str:
        times = f", {obj.count} times" if obj.count > 1 else ""
        return f"{age(obj.last_at, configured_clock().now())}{times}"

    @display(description="sent")
    def reached(self, obj: Alert) -> str:
        deliveries = obj.deliveries.all()
        failing = sum(bool(delivery.problem) for delivery in deliveries)
        sent = sum(delivery.sent_at is not None for delivery in deliveries)
        return f"to {sent}{f', {failing} failing' if failing else ''}" if deliveries else NOTHING

    @display(description="state")
    def state(self, obj: Alert) -> str:
        return f"acknowledged by {obj.acknowledged_by}" if obj.acknowledged_at else "open"


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "name" in self.fields:
            # Beside a field of dots a browser would take it for a login.
            self.fields["name"].widget.attrs["autocomplete"] = "off"

    def clean(self) -> dict[str, Any]:
        """A new channel needs an address, and a new address has to be one that can be sent to."""
        cleaned: dict[str, Any] = super().clean() or {}
        address = cleaned.get("address")
        if not address and not self.instance.pk:
            self.add_error("address", "Where should alerts go? Give an address, e.g. ntfy://topic.")
        elif address and (problem := courier.problem_of(address)):
            self.add_error("address", problem)
        return cleaned


@admin.register(AlertChannel)
class AlertChannelAdmin(ModelAdmin):
    form = ChannelForm
    list_display = ("name", "minimum_severity", "is_active", "repeat_minutes", "last_sent_at", "last_problem")
    fields = (
        "name",
        "address",
        "minimum_severity",
        "repeat_minutes",
        "is_active",
        "last_sent_at",
        "last_problem",
    )
    formfield_overrides = {
        EncryptedField: {"widget": UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})}
    }
    change_form_outer_before_template = "admin/brokers/channel.html"

    def get_readonly_fields(self, request: HttpRequest, obj: AlertChannel | None = None) -> tuple[str, ...]:
        # The name is part of the address's encryption.
        return ("name", "last_sent_at", "last_problem") if obj else ("last_sent_at", "last_problem")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.send_test))
        return [path("<int:pk>/test/", view, name="brokers_alertchannel_test"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        # What was left blank is not written.
        obj.save(update_fields=form.changed_data if change else None)

    def send_test(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_change_permission(request):
            return HttpResponse(status=403)
        channel = get_object_or_404(AlertChannel, pk=pk)
        problem = try_channel(channel)
        if problem:
            self.message_user(request, f"{channel.name}: {problem}", messages.ERROR)
        else:
            self.message_user(request, f"{channel.name} took the message; see whether it arrived.", messages.SUCCESS)
        return redirect(reverse("admin:brokers_alertchannel_change", args=(pk,)))
