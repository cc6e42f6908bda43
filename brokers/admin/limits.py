"""Limits of what may be ordered: edited by those who may, each change with its reason and history."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from brokers.admin.base import ModelAdmin, display
from brokers.admin.deeds import person
from brokers.admin.display import price, rupees
from brokers.clock import configured_clock
from brokers.domain.enums import Mode
from brokers.models import BrokerAccount, RiskLimit, Scope
from brokers.risk import limits, switches


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    reason = forms.CharField(
        max_length=500,
        help_text="Kept for ever, with your name.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        scope = Scope(self.instance.scope or cleaned.get("scope") or Scope.EVERYTHING)
        if not self.instance.pk and "scope_key" in cleaned:
            self._check_key(scope, cleaned)
        try:
            limits.check(scope, {name: cleaned[name] for name in limits.NAMES if name in cleaned})
        except ValidationError as error:
            self.add_error(None, error)
        return cleaned

    def _check_key(self, scope: Scope, cleaned: dict[str, Any]) -> None:
        try:
            cleaned["scope_key"] = switches.checked_key(scope, cleaned["scope_key"] or "")
        except ValidationError as error:
            self.add_error("scope_key", error)
            return
        if RiskLimit.objects.filter(scope=scope, scope_key=cleaned["scope_key"]).exists():
            self.add_error("scope_key", f"{switches.name_of(scope, cleaned['scope_key'])} has limits; change those.")


@admin.register(RiskLimit)
class RiskLimitAdmin(ModelAdmin):
    form = LimitForm
    list_display = ("whose", "set_here", "changed_by", "changed_at")
    list_before_template = "admin/brokers/limits.html"
    fieldsets = (
        (None, {"fields": ("scope", "scope_key", "reason")}),
        (
            "One order",
            {"fields": ("max_quantity", "max_lots", "max_notional_rupees", "price_collar_percent")},
        ),
        (
            "All of them",
            {
                "fields": (
                    "max_open_orders",
                    "max_open_rupees",
                    "max_orders_per_second",
                    "max_orders_per_minute",
                    "max_orders_per_day",
                    "repeat_cooldown_seconds",
                )
            },
        ),
        ("The account's money", {"fields": ("max_loss_per_day_rupees", "max_margin_age_seconds")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: RiskLimit | None = None) -> tuple[str, ...]:
        return ("scope", "scope_key") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: RiskLimit | None = None) -> bool:
        """Emptied, not deleted: an empty limit leaves it to the wider scope."""
        return False

    def save_model(self, request: HttpRequest, obj: RiskLimit, form: Any, change: bool) -> None:
        changed = {name: form.cleaned_data[name] for name in limits.NAMES if name in form.changed_data}
        if change and not changed:
            return
        saved = limits.change(
            Scope(obj.scope),
            obj.scope_key,
            changed,
            by=person(request),
            reason=form.cleaned_data["reason"],
            at=configured_clock().now(),
        )
        obj.pk = saved.pk

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "effective": effective()})

    @display(description="of", ordering="scope")
    def whose(self, obj: RiskLimit) -> str:
        return switches.name_of(obj.scope, obj.scope_key)

    @display(description="set here")
    def set_here(self, obj: RiskLimit) -> str:
        values = {name: getattr(obj, name) for name in limits.NAMES}
        return ", ".join(f"{_label(name)} {_value(name, value)}" for name, value in values.items() if value is not None)


def effective() -> dict[str, Any]:
    """What holds for each account, and where it comes from; what nothing limits is shown too."""
    rows = list(RiskLimit.objects.all())
    accounts = [str(account) for account in BrokerAccount.objects.order_by("broker", "name")]
    mode = Mode(settings.MODE)
    held = [limits.effective(rows, mode, account, "", "") for account in accounts]
    return {
        "accounts": accounts,
        "rows": [
            {"label": _label(name), "cells": [_cell(name, found.strictest(name)) for found in held]}
            for name in limits.NAMES
        ],
    }


def _cell(name: str, limit: limits.Limit | None) -> dict[str, str]:
    return {"value": _value(name, limit.value), "of": limit.of} if limit else {"value": "no limit", "of": ""}


def _label(name: str) -> str:
    return name.replace("_rupees", "").replace("_percent", "").replace("_seconds", "").replace("_", " ")


def _value(name: str, value: Any) -> str:
    if name.endswith("_rupees"):
        return rupees(value)
    unit = "%" if name.endswith("_percent") else " s" if name.endswith("_seconds") else ""
    return f"{price(value) if isinstance(value, Decimal) else value}{unit}"
