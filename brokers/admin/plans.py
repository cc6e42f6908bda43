"""Plans of many orders: how far each leg is, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldBooleanWidget

from brokers.admin.base import LongTableAdmin, display
from brokers.admin.deeds import Deed, page, person, typed_word
from brokers.admin.display import INTENT_COLOURS, PLAN_COLOURS, age, colours, price, state_word
from brokers.clock import configured_clock
from brokers.domain.order_states import IntentState
from brokers.domain.redaction import scrub
from brokers.models import OrderIntent, OrderPlan
from brokers.plans import running
from brokers.plans.legs import LegProgress, children_of, filled_of
from brokers.plans.status import PlanState, awaits_approval, progress_of

STANDING_COLOURS = colours(
    ("cancelled", "ended", "stopped", "awaits approval", "under way"),
    {"stopped": "danger", "awaits approval": "warning", "under way": "info"},
)
STEER, APPROVE = "brokers.steer_plan", "brokers.approve_order"


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unfinished", "unfinished"), ("stopped", "stopped"), ("finished", "finished")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "stopped":
            return queryset.filter(stopped_at__isnull=False, finished_at__isnull=True)
        if self.value():
            return queryset.filter(finished_at__isnull=self.value() == "unfinished")
        return queryset


@admin.register(OrderPlan)
class OrderPlanAdmin(LongTableAdmin):
    list_display = (
        "created_at",
        "account",
        "kind",
        "asked_for",
        "standing",
        "strategy",
        "client_order_id",
        "not_after",
    )
    list_filter = (OpenFilter, "kind", "account")
    search_fields = ("client_order_id", "strategy")
    list_select_related = ("account",)
    list_per_page = 25

    @display(description="asked for")
    def asked_for(self, obj: OrderPlan) -> str:
        return legs_in_words(obj.legs) or scrub(obj.subject)

    @display(description="state", label=STANDING_COLOURS)
    def standing(self, obj: OrderPlan) -> tuple[str, str]:
        """What its own row says; how far its orders are is on its page."""
        if obj.cancelled_at or obj.finished_at:
            word = "cancelled" if obj.cancelled_at else "ended"
        elif obj.stopped_at:
            word = "stopped"
        else:
            word = "awaits approval" if awaits_approval(obj) else "under way"
        return word, word

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        plan = OrderPlan.objects.select_related("account").filter(pk=object_id).first()
        if plan is None:
            raise Http404(f"There is no plan {object_id}.")
        now = configured_clock().now()
        children = list(children_of(plan).order_by("leg", "slice", "pk"))
        return page(
            self,
            request,
            _deeds(plan, now),
            template="admin/brokers/plan.html",
            title=str(plan),
            context=_shown(plan, children, now),
            back=reverse("admin:brokers_orderplan_change", args=(plan.pk,)),
        )


class CancelForm(forms.Form):
    cancel_working = forms.BooleanField(
        required=False, label="Cancel its orders that are working, too", widget=UnfoldBooleanWidget
    )
    word = typed_word("CANCEL")


class GoOnForm(forms.Form):
    word = typed_word("GO ON")


def _deeds(plan: OrderPlan, now: datetime) -> list[Deed]:
    if plan.finished_at is not None:
        return []
    deeds = [_approve(plan)] if awaits_approval(plan) and plan.cancelled_at is None else []
    if plan.stopped_at is not None and plan.cancelled_at is None and now <= plan.not_after:
        deeds.append(_go_on(plan))
    return [*deeds, _cancel(plan)]


def _approve(plan: OrderPlan) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        running.approve(plan.pk, by=person(request))
        return f"{plan} is approved; its first orders go out within seconds."

    return Deed(
        name="approve",
        title="Approve",
        description="Your yes counts for every slice of it; each is still held against the limits.",
        permission=APPROVE,
        form=forms.Form,
        perform=perform,
    )


def _go_on(plan: OrderPlan) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        running.resume(plan.pk, by=person(request))
        return f"{plan} goes on with its next slice."

    return Deed(
        name="go_on",
        title="Let it go on",
        description="What has failed stays as it is and does not stop it again. The slices that are left are sent.",
        permission=STEER,
        form=GoOnForm,
        perform=perform,
    )


def _cancel(plan: OrderPlan) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        running.cancel(plan.pk, by=person(request), cancel_working=given["cancel_working"])
        return f"{plan} is cancelled: no further slice is sent."

    return Deed(
        name="cancel",
        title="Cancel it",
        description="No further slice is sent. What is filled stays: see above what that leaves you with.",
        permission=STEER,
        form=CancelForm,
        perform=perform,
        variant="danger",
    )


def legs_in_words(legs: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{leg['side'].lower()} {leg['quantity']} {leg['symbol']}" for leg in legs)


def _shown(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> dict[str, Any]:
    seen = progress_of(plan, children, now)
    return {
        "plan": plan,
        "state": seen.state.value.lower(),
        "colour": PLAN_COLOURS[seen.state],
        "calls": seen.state in (PlanState.STOPPED, PlanState.PARTIAL),
        "reason": scrub(seen.reason),
        "next_slice": age(seen.next_slice_at, now) if seen.next_slice_at else "",
        "ends": age(plan.not_after, now),
        "legs": [_leg(leg) for leg in seen.legs],
        "children": [_child(child) for child in children],
    }


def _leg(leg: LegProgress) -> dict[str, Any]:
    def share(units: int) -> int:
        return round(100 * units / leg.asked) if leg.asked else 0

    return {
        "leg": leg,
        "order": f"{leg.side.value.lower()} {leg.asked} {leg.symbol}",
        "percent": share(leg.filled),
        "rest": share(leg.working + leg.uncertain),
    }


def _child(child: OrderIntent) -> dict[str, Any]:
    return {
        "row": child,
        "link": reverse("admin:brokers_orderintent_change", args=(child.pk,)),
        "state": state_word(child.state),
        "colour": INTENT_COLOURS[IntentState(child.state)],
        "price": price(child.limit_price) if child.limit_price is not None else child.order_type.lower(),
        "filled": filled_of(child),
        "told": scrub(child.closed_reason or child.waiting_reason),
    }
