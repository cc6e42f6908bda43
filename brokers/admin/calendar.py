"""When the exchanges trade, kept by a person."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminSelectWidget

from brokers.admin.base import ModelAdmin, vocabulary
from brokers.domain.enums import Exchange, MarketPhase
from brokers.models import SessionRule, SpecialDay


def _choice(members: type[Exchange] | type[MarketPhase]) -> forms.ChoiceField:
    return forms.ChoiceField(choices=[(m.value, m.value) for m in members], widget=UnfoldAdminSelectWidget)


class SessionRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    exchange = _choice(Exchange)
    phase = _choice(MarketPhase)

    class Meta:
        model = SessionRule
        fields = "__all__"  # noqa: DJ007 -- every column is a person's to write


class SpecialDayForm(forms.ModelForm):  # type: ignore[type-arg]
    exchange = _choice(Exchange)

    class Meta:
        model = SpecialDay
        fields = "__all__"  # noqa: DJ007 -- every column is a person's to write

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        start, end = values.get("start_time"), values.get("end_time")
        if values.get("kind") == SpecialDay.Kind.HOLIDAY and (start or end):
            raise forms.ValidationError("A holiday has no hours; leave both times empty.")
        if values.get("kind") == SpecialDay.Kind.SESSION and not (start and end and start < end):
            raise forms.ValidationError("Special hours need a start and a later end, in IST.")
        return values


@admin.register(SessionRule)
class SessionRuleAdmin(ModelAdmin):
    form = SessionRuleForm
    list_display = ("exchange", "phase", "share_class", "start_time", "end_time", "valid_from", "valid_until", "source")
    list_filter = (vocabulary("exchange", Exchange), vocabulary("phase", MarketPhase))
    ordering = ("exchange", "-valid_from", "start_time")


@admin.register(SpecialDay)
class SpecialDayAdmin(ModelAdmin):
    form = SpecialDayForm
    list_display = ("date", "exchange", "kind", "start_time", "end_time", "note", "source")
    list_filter = (vocabulary("exchange", Exchange), "kind")
    search_fields = ("note", "source")
    date_hierarchy = "date"
    ordering = ("-date", "exchange")
