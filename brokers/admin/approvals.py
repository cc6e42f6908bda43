"""Orders and plans that wait for a person's yes, each judged by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from brokers import approval
from brokers.admin.base import ModelAdmin
from brokers.admin.deeds import REFUSALS, Deed, page, person
from brokers.admin.display import NOTHING, age, price, rupees, span
from brokers.admin.plans import legs_in_words
from brokers.admin.questions import in_words
from brokers.clock import configured_clock
from brokers.domain.enums import Side
from brokers.domain.market import Quote
from brokers.domain.order_states import IntentState
from brokers.domain.redaction import scrub
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.models import OrderIntent
from brokers.plans.status import waiting_for_approval
from brokers.risk import quotes

PERMISSION = "brokers.approve_order"
#: Rows on one page, and contracts that are priced for it; others show no price of now.
MOST_ROWS, MOST_QUOTES = 50, 8


class RowForm(forms.Form):
    intent = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(max_length=500, required=False)

    def clean_intent(self) -> OrderIntent:
        found = OrderIntent.objects.select_related("account", "target").filter(pk=self.cleaned_data["intent"]).first()
        if found is None:
            raise ValidationError("There is no such order.")
        return found


def waiting_page(admin_page: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The list, with a price of now where the broker gives one at once."""
    now = configured_clock().now()
    waiting = list(_waiting()[:MOST_ROWS])
    prices = dict(_prices(waiting)) if request.method == "GET" else {}
    return page(
        admin_page,
        request,
        [
            Deed(
                name="approve",
                title="Approve",
                description="",
                permission=PERMISSION,
                form=RowForm,
                perform=_approve,
                prefix="row",
            ),
            Deed(
                name="decline",
                title="Decline",
                description="",
                permission=PERMISSION,
                form=RowForm,
                perform=_decline,
                prefix="row",
                variant="default",
            ),
        ],
        template="admin/brokers/approvals.html",
        title="Orders that wait for approval",
        context={
            "waiting": [_row(intent, prices.get(_contract(intent)), now) for intent in waiting],
            "plans": _plans(now),
        },
        back=reverse("admin:brokers_orderintent_approvals"),
    )


def _waiting() -> Any:
    """Those that run out of time first come first."""
    rows = OrderIntent.objects.filter(state=IntentState.AWAITING_APPROVAL)
    return rows.select_related("account").order_by("not_after", "pk")


def _plans(now: datetime) -> list[dict[str, Any]]:
    waiting = waiting_for_approval().select_related("account").order_by("not_after")
    return [
        {
            "plan": plan,
            "link": reverse("admin:brokers_orderplan_change", args=(plan.pk,)),
            "legs": legs_in_words(plan.legs),
            "left": age(plan.not_after, now),
        }
        for plan in waiting[:MOST_ROWS]
    ]


def _approve(request: HttpRequest, given: Mapping[str, Any]) -> str:
    intent: OrderIntent = given["intent"]
    approval.approve(intent, by=person(request), reason=given["reason"])
    return f"{in_words(intent)} is approved and sent within the next seconds."


def _decline(request: HttpRequest, given: Mapping[str, Any]) -> str:
    intent: OrderIntent = given["intent"]
    approval.decline(intent, by=person(request), reason=given["reason"])
    return f"{in_words(intent)} is declined; it is never sent."


Contract = tuple[str, str, str]


def _contract(intent: OrderIntent) -> Contract:
    return str(intent.account), intent.exchange, intent.symbol


def _prices(waiting: list[OrderIntent]) -> Iterator[tuple[Contract, Quote | str]]:
    """A quote of the last seconds for the first contracts, or why there is none."""
    wanted = {_contract(intent): intent for intent in waiting}
    for contract, intent in list(wanted.items())[:MOST_QUOTES]:
        try:
            with no_waiting():
                gateway = BrokerFactory.get_broker(intent.account.broker, intent.account.name)
                yield contract, quotes.board().fresh(gateway, gateway.resolve(intent.symbol, intent.exchange))
        except REFUSALS as error:
            yield contract, scrub(str(error))


def _row(intent: OrderIntent, quote: Quote | str | None, now: datetime) -> dict[str, Any]:
    known = quote if isinstance(quote, Quote) else None
    market = _market(intent, known)
    unit = intent.limit_price or market
    return {
        "intent": intent,
        "order": in_words(intent),
        "link": reverse("admin:brokers_orderintent_change", args=(intent.pk,)),
        "then": price(intent.limit_price) if intent.limit_price is not None else "market",
        "now": price(market),
        "distance": _distance(intent.limit_price, market),
        "quoted": age(known.as_of, now) if known else quote or NOTHING,
        "value": rupees(unit * intent.quantity if unit else None),
        "age": age(intent.created_at, now),
        "left": _left(intent.not_after - now),
    }


def _left(time: timedelta) -> str:
    """In seconds as long as they matter; empty when it has run out."""
    if time <= timedelta(0):
        return ""
    return f"{time.total_seconds():.0f} s" if time < timedelta(minutes=3) else span(time)


def _market(intent: OrderIntent, quote: Quote | None) -> Decimal | None:
    """What it would trade at now: the other side of the book, or the last price."""
    if quote is None:
        return None
    other = quote.ask_price if intent.side == Side.BUY else quote.bid_price
    return other or quote.last_price


def _distance(asked: Decimal | None, market: Decimal | None) -> str:
    if not asked or not market:
        return ""
    return f"{(market - asked) / asked * 100:+.1f}%"
