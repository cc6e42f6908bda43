"""When the exchanges trade, kept by a person."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from brokers import holiday_lists
from brokers.admin.base import ModelAdmin, vocabulary
from brokers.calendar import Window, clash, ordinary_day
from brokers.domain.enums import Exchange, MarketPhase
from brokers.models import HolidayList, SessionRule, SpecialDay

#: What a rule or a special session can say; an exchange is closed when nothing else is said.
PHASES = [phase.value for phase in MarketPhase if phase is not MarketPhase.CLOSED]


def _choice(values: list[str], *, required: bool = True) -> forms.ChoiceField:
    choices = [(value, value) for value in values]
    if not required:
        choices = [("", "---------"), *choices]
    return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget, required=required)


def _exchange() -> forms.ChoiceField:
    return _choice([exchange.value for exchange in Exchange])


def _refuse_clash(windows: list[Window], day: date) -> None:
    """:raises ValidationError: two phases would be at the same time for the same shares."""
    if found := clash(windows):
        first, second = (f"{each.phase} {each.start:%H:%M} to {each.end:%H:%M}" for each in found)
        raise forms.ValidationError(
            f"On {day:%d %b %Y} {first} and {second} would be at the same time; change one of them first."
        )


class SessionRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    exchange = _exchange()
    phase = _choice(PHASES)

    class Meta:
        model = SessionRule
        fields = "__all__"  # noqa: DJ007 -- every column is a person's to write

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if self.errors:
            return values
        others = SessionRule.objects.filter(exchange=values["exchange"]).exclude(pk=self.instance.pk)
        rules = [*others, SessionRule(**values)]
        # The phases change on no other days than these.
        days = {rule.valid_from for rule in rules}
        days |= {rule.valid_until + timedelta(days=1) for rule in rules if rule.valid_until}
        for day in sorted(day for day in days if day >= values["valid_from"]):
            _refuse_clash(ordinary_day(rules, day), day)
        return values


class SpecialDayForm(forms.ModelForm):  # type: ignore[type-arg]
    exchange = _exchange()
    phase = _choice(PHASES, required=False)

    class Meta:
        model = SpecialDay
        fields = "__all__"  # noqa: DJ007 -- every column is a person's to write

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        start, end, phase = values.get("start_time"), values.get("end_time"), values.get("phase")
        if values.get("kind") == SpecialDay.Kind.HOLIDAY and (start or end or phase or values.get("share_class")):
            raise forms.ValidationError("A holiday has no hours; leave phase, share class and both times empty.")
        if values.get("kind") == SpecialDay.Kind.SESSION:
            if not (start and end and start < end):
                raise forms.ValidationError("Special hours need a start and a later end, in IST.")
            if not phase:
                raise forms.ValidationError("Special hours need a phase, e.g. CONTINUOUS.")
            self._refuse_clash(values)
        return values

    def _refuse_clash(self, values: dict[str, Any]) -> None:
        if self.errors:
            return
        same_day = SpecialDay.objects.filter(exchange=values["exchange"], date=values["date"], kind="SESSION")
        sessions = [*same_day.exclude(pk=self.instance.pk), SpecialDay(**values)]
        windows = [
            Window(MarketPhase(each.phase), each.share_class, each.start_time, each.end_time)
            for each in sessions
            if each.start_time and each.end_time
        ]
        _refuse_clash(windows, values["date"])


class HolidayListForm(forms.ModelForm):  # type: ignore[type-arg]
    exchange = _exchange()
    days = forms.CharField(
        widget=UnfoldAdminTextareaWidget,
        required=False,
        help_text="One holiday a line: the day, then its name, e.g. 2027-01-26 Republic Day. Days that are there already "
        "stay as they are; sessions on a holiday are added under Special days.",
    )

    class Meta:
        model = HolidayList
        fields = ("exchange", "year", "source", "days")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if self.errors:
            return values
        try:
            values["days"] = holiday_lists.days_in(values["days"], values["year"])
            holiday_lists.check(values["exchange"], values["year"], values["days"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return values


@admin.register(HolidayList)
class HolidayListAdmin(ModelAdmin):
    """A year counts as known while its list is here."""

    form = HolidayListForm
    list_display = ("exchange", "year", "source")
    list_filter = (vocabulary("exchange", Exchange),)
    ordering = ("-year", "exchange")

    def save_model(self, request: HttpRequest, obj: HolidayList, form: Any, change: bool) -> None:
        """The list and its days together; the admin's request is one transaction."""
        super().save_model(request, obj, form, change)
        holiday_lists.enter(obj.exchange, obj.year, form.cleaned_data["days"], obj.source)


@admin.register(SessionRule)
class SessionRuleAdmin(ModelAdmin):
    form = SessionRuleForm
    list_display = (
        "exchange",
        "phase",
        "share_class",
        "start_time",
        "end_time",
        "valid_from",
        "valid_until",
        "is_verified",
        "source",
    )
    list_filter = (vocabulary("exchange", Exchange), vocabulary("phase", MarketPhase), "is_verified")
    ordering = ("exchange", "-valid_from", "start_time")


@admin.register(SpecialDay)
class SpecialDayAdmin(ModelAdmin):
    form = SpecialDayForm
    list_display = ("date", "exchange", "kind", "phase", "start_time", "end_time", "note", "is_verified", "source")
    list_filter = (vocabulary("exchange", Exchange), "kind", "is_verified")
    search_fields = ("note", "source")
    date_hierarchy = "date"
    ordering = ("-date", "exchange", "start_time")
