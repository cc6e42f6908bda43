"""The kill switches: how each stands, who set it, and the buttons that halt and resume."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from brokers import halting
from brokers.admin.base import LongTableAdmin, ModelAdmin, ReadOnly, display, told, vocabulary
from brokers.admin.deeds import Deed, ReasonForm, page, person, typed_word
from brokers.admin.display import SWITCH_COLOURS
from brokers.clock import configured_clock
from brokers.domain.redaction import scrub
from brokers.models import BrokerAccount, ChangeOf, KillSwitch, RiskChange, Scope
from brokers.risk import switches

State = KillSwitch.State
CHANGES_SHOWN = 25
#: The reason that a halt in a hurry leaves in the history.
BY_HAND = "by hand, in the admin"
HALT, RESUME = "brokers.halt_trading", "brokers.resume_trading"


def scopes() -> list[tuple[str, str]]:
    """What a switch can be about, each account by name."""
    accounts = [
        (f"{Scope.ACCOUNT}:{account}", f"account {account}")
        for account in BrokerAccount.objects.order_by("broker", "name")
    ]
    named = [(f"{scope}:", f"the {scope.lower()} named below") for scope in (Scope.STRATEGY, Scope.SYMBOL)]
    return [(f"{Scope.EVERYTHING}:", "everything"), *accounts, *named]


class ScopeForm(ReasonForm):
    """What is to be stopped or resumed; a strategy or symbol is named."""

    what = forms.ChoiceField(choices=scopes, label="What", widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=100,
        required=False,
        label="Name of the strategy or symbol",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    field_order = ("what", "name", "reason")

    def clean(self) -> dict[str, Any]:
        """Adds ``scope`` and ``scope_key``."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "what" in cleaned:
            scope, _, key = cleaned["what"].partition(":")
            key = key if scope in (Scope.EVERYTHING, Scope.ACCOUNT) else cleaned.get("name", "")
            cleaned |= {"scope": Scope(scope), "scope_key": switches.checked_key(Scope(scope), key)}
        return cleaned


class HaltForm(ScopeForm):
    """In a hurry the reason may stay as it is."""

    cancel_open = forms.BooleanField(
        required=False, label="Cancel the orders that are open there", widget=UnfoldBooleanWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].initial = BY_HAND


class ResumeForm(ScopeForm):
    word = typed_word("RESUME")


def deeds() -> list[Deed]:
    """What a person may do about trading as a whole."""
    return [
        Deed(
            name="halt",
            title="Halt",
            description="At once: nothing but cancels is sent. Orders that are at the broker stay there and may fill.",
            permission=HALT,
            form=HaltForm,
            variant="danger",
            perform=lambda request, given: _set(request, given, State.HALTED),
        ),
        Deed(
            name="reduce",
            title="Only reduce",
            description="Only cancels and orders that make a position smaller are sent. New positions are refused.",
            permission=HALT,
            form=HaltForm,
            variant="default",
            perform=lambda request, given: _set(request, given, State.REDUCING),
        ),
        Deed(
            name="resume",
            title="Resume",
            description="Orders may go again, as far as no wider switch forbids them.",
            permission=RESUME,
            form=ResumeForm,
            variant="default",
            perform=lambda request, given: _set(request, given, State.ACTIVE),
        ),
    ]


@admin.register(KillSwitch)
class KillSwitchAdmin(ReadOnly, ModelAdmin):
    """One page with everything: a switch has no page of its own to get lost on."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return page(
            self,
            request,
            deeds(),
            template="admin/brokers/switches.html",
            title="Kill switch",
            context={"switches": standing(), "changes": _changes()},
            back=reverse("admin:brokers_killswitch_changelist"),
        )


def standing() -> list[dict[str, Any]]:
    """Every switch, that of everything first, then every account's whether it was ever set or not."""
    rows = {(row.scope, row.scope_key): row for row in KillSwitch.objects.all()}
    unset = KillSwitch(scope=Scope.EVERYTHING, state=switches.initial_state())
    everything = rows.pop((Scope.EVERYTHING, ""), unset)
    accounts = [
        rows.pop((Scope.ACCOUNT, str(account)), KillSwitch(scope=Scope.ACCOUNT, scope_key=str(account)))
        for account in BrokerAccount.objects.order_by("broker", "name")
    ]
    others = sorted(rows.values(), key=lambda row: (row.scope, row.scope_key))
    return [_described(row) for row in (everything, *accounts, *others)]


def standing_of(account: BrokerAccount) -> list[dict[str, Any]]:
    """The switches that every order of an account is under: that of everything and its own."""
    return [row for row in standing() if row["value"] in (f"{Scope.EVERYTHING}:", f"{Scope.ACCOUNT}:{account}")]


def _changes() -> list[dict[str, Any]]:
    newest = RiskChange.objects.filter(what=ChangeOf.KILL_SWITCH).order_by("-at")[:CHANGES_SHOWN]
    return [
        {
            "row": change,
            "name": switches.name_of(change.scope, change.scope_key),
            "state": change.after.get("state", ""),
            "reason": scrub(change.reason),
        }
        for change in newest
    ]


def _described(row: KillSwitch) -> dict[str, Any]:
    state = State(row.state)
    return {
        "value": f"{row.scope}:{row.scope_key}",
        "name": switches.name_of(row.scope, row.scope_key),
        "state": state.value,
        "meaning": str(state.label),
        "colour": SWITCH_COLOURS[state],
        "reason": scrub(row.reason),
        "changed_by": row.changed_by,
        "changed_at": row.changed_at,
    }


def _set(request: HttpRequest, given: Mapping[str, Any], state: KillSwitch.State) -> str:
    row = switches.set_switch(
        given["scope"], given["scope_key"], state, by=person(request), reason=given["reason"], at=_now()
    )
    said = f"{switches.name_of(row.scope, row.scope_key).capitalize()} is {row.state}: {State(row.state).label}."
    return f"{said} {_cancel_open(row, person(request))}" if given.get("cancel_open") else said


def _cancel_open(row: KillSwitch, by: str) -> str:
    scope, key = Scope(row.scope), row.scope_key
    cancels = halting.record_cancels(scope, key, by=by, spare_exits=row.state == State.REDUCING)
    doubtful = halting.in_doubt(scope, key)
    told = f" {doubtful} orders may be at the broker and cannot be cancelled yet." if doubtful else ""
    if entries := halting.entries_in_doubt(scope, key):
        told += f" {entries} GTTs entered with an order that no book has shown yet; cancel once more in a minute."
    many = "1 cancel is" if len(cancels) == 1 else f"{len(cancels)} cancels are"
    return f"{many} recorded and sent within seconds.{told}"


def _now() -> datetime:
    return configured_clock().now()


@admin.register(RiskChange)
class RiskChangeAdmin(LongTableAdmin):
    list_display = ("at", "what", "whose", "became", "changed_by", "told_reason")
    list_filter = (vocabulary("what", ChangeOf), vocabulary("scope", Scope))
    search_fields = ("scope_key", "changed_by", "reason")
    ordering = ("-at",)
    told_reason = told("reason")
    fields = ("at", "what", "whose", "was", "became", "changed_by", "told_reason")

    @display(description="of")
    def whose(self, obj: RiskChange) -> str:
        return switches.name_of(obj.scope, obj.scope_key)

    @display(description="before")
    def was(self, obj: RiskChange) -> str:
        return _values(obj.before)

    @display(description="after")
    def became(self, obj: RiskChange) -> str:
        return _values(obj.after)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {'–' if value is None else value}" for name, value in values.items())
