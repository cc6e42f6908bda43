"""Orders whose fate is not known: which there are, what is known of each, and what a person may decide.

Opening a page reads rows and sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from brokers.admin.base import ModelAdmin
from brokers.admin.deeds import Deed, ReasonForm, page, person, typed_word
from brokers.admin.display import (
    ATTEMPT_COLOURS,
    GTT_COLOURS,
    INTENT_COLOURS,
    NOTHING,
    STATUS_COLOURS,
    age,
    price,
    state_word,
)
from brokers.admin.timeline import order_page
from brokers.alerts import acknowledge
from brokers.clock import IST, configured_clock
from brokers.discovery import spec_of
from brokers.domain.gtt import GttTrigger
from brokers.domain.order_states import OPEN_QUESTIONS, PLACING_KINDS, AttemptOutcome, IntentKind, IntentState
from brokers.domain.redaction import scrub
from brokers.ledger import queries
from brokers.models import OrderAttempt, OrderIntent
from brokers.recovery import decisions, fencing

PERMISSION = "brokers.decide_order"
#: Questions on one page, the gravest; the count says how many there are.
MOST_QUESTIONS = 100
#: The kind of alert that asks whether a sender is dead.
NOT_JUDGED = "sender_not_judged"
ASKED = {
    IntentState.NEEDS_HUMAN: "Decide: is it at the broker? The broker's own app is the last word.",
    IntentState.ARMED: "Its sender has not reported. It is dealt with by itself, unless it ran on another machine.",
    IntentState.UNKNOWN: "Nothing yet: it is being looked for in the broker's book.",
    IntentState.ABSENT: "Nothing: it is proved not to be there. You may send it again while its time lasts.",
}
ELSEWHERE = "Make sure that the other machine is gone, then declare its sender dead."


def open_questions(now: datetime, most: int) -> list[dict[str, Any]]:
    """Orders whose fate is not known, the gravest and oldest first."""
    asked = list(_in(IntentState.NEEDS_HUMAN)[:most])
    overdue = {attempt.intent_id: attempt for attempt in queries.overdue(now)[:most]}
    silent = [attempt.intent for attempt in overdue.values() if attempt.intent.state == IntentState.ARMED]
    others = list(_in(IntentState.UNKNOWN)[:most]) + list(_in(IntentState.ABSENT)[:most])
    return [_question(intent, overdue.get(intent.pk), now) for intent in [*asked, *silent, *others][:most]]


def how_many() -> int:
    """How many orders there are whose fate is not known, but for those whose sender has yet to report."""
    return OrderIntent.objects.filter(state__in=OPEN_QUESTIONS).count()


def _in(state: IntentState) -> QuerySet[OrderIntent]:
    """Exits first: somebody means to get out of a position."""
    return OrderIntent.objects.filter(state=state).select_related("account").order_by("-reduce_only", "created_at")


def _question(intent: OrderIntent, overdue: OrderAttempt | None, now: datetime) -> dict[str, Any]:
    elsewhere = overdue is not None and fencing.fate_of(overdue) is fencing.Fate.ELSEWHERE
    return {
        "intent": intent,
        "order": in_words(intent),
        "state": "no report" if overdue else state_word(intent.state),
        "colour": INTENT_COLOURS[IntentState(intent.state)],
        "asked": ELSEWHERE if elsewhere else ASKED[IntentState(intent.state)],
        "decides": elsewhere or intent.state == IntentState.NEEDS_HUMAN,
        "age": age(intent.created_at, now),
        "link": reverse("admin:brokers_orderintent_decide", args=(intent.pk,)),
    }


def in_words(intent: OrderIntent) -> str:
    """``buy 75 NIFTY26NOV24500CE at 112.5``, as the caller asked."""
    what = "" if intent.kind == IntentKind.PLACE else f"{intent.get_kind_display()} "
    at = f"at {price(intent.limit_price)}" if intent.limit_price is not None else "at market"
    triggers = [GttTrigger.of(each) for each in intent.triggers or ()]
    waits = [f"{each.side.lower()} at {price(each.limit_price)} from {price(each.trigger_price)}" for each in triggers]
    then = f", {' or '.join(waits)}" if waits else ""
    return f"{what}{intent.side.lower()} {intent.quantity} {intent.symbol} {at}{then}".strip()


def list_page(admin_page: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The list; nothing is decided on it."""
    return page(
        admin_page,
        request,
        [],
        template="admin/brokers/questions.html",
        title="Orders whose fate is not known",
        context={"questions": open_questions(configured_clock().now(), MOST_QUESTIONS), "count": how_many()},
        back="",
    )


def question_page(admin_page: ModelAdmin, request: HttpRequest, intent: OrderIntent) -> HttpResponse:
    """What is known of one order, and the decisions that are open."""
    now = configured_clock().now()
    known = decisions.evidence(intent)
    return page(
        admin_page,
        request,
        _deeds(intent, known, now),
        template="admin/brokers/question.html",
        title=f"What became of {intent.client_order_id}?",
        context={"known": _shown(intent, known, now), "story": order_page(intent), "intent": intent},
        back=reverse("admin:brokers_orderintent_unresolved"),
    )


def _deeds(intent: OrderIntent, known: Mapping[str, Any], now: datetime) -> list[Deed]:
    decidable = intent.state in (IntentState.NEEDS_HUMAN, IntentState.ABSENT)
    deeds = []
    if intent.state == IntentState.NEEDS_HUMAN and intent.kind in PLACING_KINDS:
        deeds.append(_adopt(intent, known["candidates"]))
    if decidable:
        deeds.append(_not_placed(intent))
    if decidable and now <= intent.not_after:
        deeds.append(_resend(intent))
    overdue = queries.overdue(now).filter(intent=intent).first()
    return [*deeds, _declare_dead(overdue)] if overdue else deeds


def _adopt(intent: OrderIntent, candidates: Sequence[Mapping[str, Any]]) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        order_id = given["order_id"] or given["candidate"]
        by, reason = person(request), given["reason"]
        decisions.adopt(intent, order_id, by=by, reason=reason, although_different=given["although_different"])
        return f"{intent} is the broker's order {order_id}, and is followed from now on."

    listed = [(order["broker_order_id"], _candidate(order)) for order in candidates]

    class AdoptForm(ReasonForm):
        candidate = forms.ChoiceField(
            choices=listed, required=False, label="Which order", widget=UnfoldAdminRadioSelectWidget
        )
        order_id = forms.CharField(
            required=False,
            max_length=64,
            label="Or its number at the broker",
            widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        )
        although_different = forms.BooleanField(
            required=False,
            label="It is this order although something differs",
            widget=UnfoldBooleanWidget,
        )
        word = typed_word("ADOPT")
        field_order = ("candidate", "order_id", "although_different", "reason", "word")

        def clean(self) -> dict[str, Any]:
            cleaned: dict[str, Any] = super().clean() or {}
            if not cleaned.get("candidate") and not cleaned.get("order_id"):
                raise forms.ValidationError("Choose the order in the list, or give its number at the broker.")
            return cleaned

    return Deed(
        name="adopt",
        title="It is at the broker",
        description="Say which order it is. mcube follows that order from now on; nothing is sent.",
        permission=PERMISSION,
        form=AdoptForm,
        perform=perform,
    )


def _not_placed(intent: OrderIntent) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        decisions.not_placed(intent, by=person(request), reason=given["reason"])
        return f"{intent} is closed as not placed; nothing is sent."

    class NotPlacedForm(ReasonForm):
        word = typed_word("NOT PLACED")

    return Deed(
        name="not_placed",
        title="It is not at the broker",
        description=(
            "You have looked in the broker's own app and it is not there. The order ends here and nothing is sent; "
            "should it show up today after all, you are asked again."
        ),
        permission=PERMISSION,
        form=NotPlacedForm,
        perform=perform,
        variant="default",
    )


def _resend(intent: OrderIntent) -> Deed:
    spec = spec_of(intent.account.broker)
    twice = not spec.capabilities.refuses_duplicate_tag

    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        decisions.resend(intent, by=person(request), reason=given["reason"], confirmed_twice=twice)
        return f"{intent} is sent once more, within the next seconds."

    class ResendForm(ReasonForm):
        word = typed_word("RESEND")

    class ResendTwiceForm(ResendForm):
        again = typed_word(intent.client_order_id)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fields["again"].help_text = (
                f"{spec.verbose_name} would take the order a second time if it has it. With the order's own id you say "
                "that you have looked in the broker's app and that it is not there."
            )

    return Deed(
        name="resend",
        title="Send it again",
        description=(
            "It is not at the broker, and you still want it. The same order is sent once more, if the limits allow it "
            f"and not after {intent.not_after.astimezone(IST):%H:%M:%S}."
        ),
        permission=PERMISSION,
        form=ResendTwiceForm if twice else ResendForm,
        perform=perform,
        variant="danger",
    )


def _declare_dead(attempt: OrderAttempt) -> Deed:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        at = configured_clock().now()
        fencing.declare_dead(attempt, by=person(request), reason=given["reason"], at=at)
        acknowledge(attempt.intent.alerts.filter(kind=NOT_JUDGED), by=person(request), at=at)
        return "Its sender counts as dead; the order is looked for in the broker's book from now on."

    class DeadForm(ReasonForm):
        word = typed_word("DEAD")

    return Deed(
        name="dead",
        title="Its sender is dead",
        description=(
            f"Process {attempt.pid} on {attempt.host} was to send it and has not reported. Only when you are sure that "
            "this machine or process is gone: if it lives, it may still send the order."
        ),
        permission=PERMISSION,
        form=DeadForm,
        perform=perform,
        variant="danger",
    )


def _candidate(order: Mapping[str, Any]) -> str:
    return f"{order['broker_order_id']} {'differs' if order['differences'] else 'equal'}"


def _shown(intent: OrderIntent, known: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The evidence with times as times and words for people."""
    question = _question(intent, queries.overdue(now).filter(intent=intent).first(), now) if _is_open(intent) else None
    readings = [_timed(row) for row in known["readings"]]
    held = next((row["position"] for row in readings if row["position"] is not None), None)
    last = intent.events.order_by("-sequence").first()
    return {
        "question": question,
        "last_words": scrub(last.cause) if last else "",
        "attempts": [_attempt(row) for row in known["attempts"]],
        "must_show_by": _moment(known["must_show_by"]),
        "overdue": bool(known["must_show_by"]) and now > (_moment(known["must_show_by"]) or now),
        "readings": readings,
        "good_readings": sum(bool(row["complete"]) for row in readings),
        "candidates": [
            {
                **_timed(order),
                "status": order["status"].replace("_", " ").lower(),
                "colour": (STATUS_COLOURS | GTT_COLOURS).get(order["status"], ""),
                "price": price(Decimal(order["limit_price"])) if order["limit_price"] else NOTHING,
            }
            for order in known["candidates"]
        ],
        "before": known["position_before"],
        "held": held,
        "change": _change(known["position_before"], held),
        "lapsed": bool(question) and intent.not_after < now,
        "state": state_word(intent.state),
        "alerts": [
            {"row": alert, "happened": scrub(alert.happened)} for alert in intent.alerts.order_by("-last_at")[:10]
        ],
        "decisions": list(intent.decisions.order_by("at")),
        "order": in_words(intent),
    }


def _is_open(intent: OrderIntent) -> bool:
    return intent.state in ASKED


def _change(before: int | None, held: int | None) -> str:
    if before is None or held is None:
        return NOTHING
    return "unchanged" if held == before else f"{held - before:+d}"


def _attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    """What its sender saw of the wire, in words."""
    timed = _timed(row)
    if row["first_byte_at"] is None:
        left = "nothing is known to have left" if row["outcome"] != AttemptOutcome.NOT_SENT else "nothing left"
    else:
        left = "the request left this machine"
    reply = [f"HTTP {row['http_status']}" if row["http_status"] else "", row["reply_code"], scrub(row["reply_text"])]
    answer = " ".join(part for part in reply if part) or (
        row["exceptions"] and f"no answer: {scrub(row['exceptions'])}"
    )
    return {
        **timed,
        "left": left,
        "answer": answer or ("its sender has not reported" if row["finished_at"] is None else "no answer"),
        "colour": ATTEMPT_COLOURS.get(AttemptOutcome(row["outcome"]), ""),
    }


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _moment(value) if name.endswith("_at") else value for name, value in row.items()}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
