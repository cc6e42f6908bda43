"""What a person is told about a plan: where it stands, and what they could do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from django.db.models import Q

from brokers.alerts import close_alert, raise_alert
from brokers.clock import IST
from brokers.domain.order_states import UNSENT_STATES, IntentState
from brokers.models import Alert, OrderIntent, OrderPlan, Severity
from brokers.plans.legs import LegProgress, leg_progress

#: How long an order of a closing may work before a person is told. Its price was one that should trade at once; a worse
#: one is theirs to choose, since at a price limit only the place in the queue counts.
RESTING_PATIENCE = timedelta(seconds=60)


def standing(plan: OrderPlan, children: Sequence[OrderIntent]) -> str:
    """Where every leg stands, e.g. ``BUY NIFTY26DEC26000CE 130 of 650 filled, 65 working``."""
    return "; ".join(_told(leg) for leg in _legs(plan, children)) or "Nothing was sent."


def missing(plan: OrderPlan, children: Sequence[OrderIntent]) -> str:
    """What cannot be filled any more once its time is over, in one sentence; empty when nothing is missing."""
    if plan.kind == OrderPlan.Kind.CLOSE:
        return "its time ran out before the broker said flat"
    short = [leg for leg in _legs(plan, children) if leg.failed or leg.unsent]
    return "its time ran out before all of it was sent" if short else ""


def proposal(plan: OrderPlan, children: Sequence[OrderIntent]) -> str:
    """What a person could do; nothing of it is done by itself."""
    if plan.kind == OrderPlan.Kind.CLOSE:
        return "Look at the positions in the broker's app, then let it go on for another round, or cancel it."
    legs = _legs(plan, children)
    least = min((leg.share for leg in legs), default=Fraction(0))
    unwind = [
        f"{leg.side.opposite} {over} {leg.symbol}" for leg in legs if (over := _beyond(plan, legs, leg, least)) > 0
    ]
    on = "Let it go on" if any(child.state in UNSENT_STATES for child in children) else "Place what is missing"
    back = f", or cancel it and make the legs even: {', '.join(unwind)}" if unwind else ", or cancel it"
    return f"{on}{back}."


def tell_uneven(plan: OrderPlan, uneven: str, children: Sequence[OrderIntent], now: datetime) -> None:
    """Tell a person, once, that all is sent and one leg is filled further than another."""
    if _was_told("plan_uneven", plan):
        return
    raise_alert(
        "plan_uneven",
        str(plan.pk),
        severity=Severity.CRITICAL,
        happened=f"All of {plan} is sent, and {uneven}.",
        meaning=standing(plan, children),
        to_do=f"Wait for the rest, or change its price. {proposal(plan, children)}",
        at=now,
        account=plan.account,
    )


def tell_resting(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> None:
    """Tell a person, once an order, that an order of a closing is not filled; take it back when none is any more."""
    since = [_sent_at(child) for child in children if child.state == IntentState.WORKING]
    if not since or now - min(since) <= RESTING_PATIENCE:
        take_back_resting(plan, now)
        return
    told = Alert.objects.filter(kind="closing_rests", key=f"closing_rests:{plan.pk}")
    if told.filter(Q(acknowledged_at__isnull=True) | Q(first_at__gte=min(since) + RESTING_PATIENCE)).exists():
        return
    raise_alert(
        "closing_rests",
        str(plan.pk),
        # Not to act on now: what nobody attends to may halt the account, and the closing with it.
        severity=Severity.WARNING,
        happened=f"An order of {plan} is not filled after {(now - min(since)).total_seconds():.0f} s.",
        meaning=f"The position is still open: {standing(plan, children)}.",
        to_do="Change the order's price, or cancel it: the closing then goes on at a fresh one by itself.",
        at=now,
        account=plan.account,
    )


def take_back_resting(plan: OrderPlan, now: datetime) -> None:
    close_alert("closing_rests", str(plan.pk), because="nothing of it rests for long any more", at=now)


def ask_approval(plan: OrderPlan, now: datetime) -> None:
    """Have a person approve a plan; they are told once."""
    if _was_told("plan_approval", plan):
        return
    legs = ", ".join(f"{leg['side']} {leg['quantity']} {leg['symbol']}" for leg in plan.legs)
    raise_alert(
        "plan_approval",
        str(plan.pk),
        severity=Severity.WARNING,
        happened=f"{plan} waits for approval: {legs}.",
        meaning="Nothing of it is sent before a person says yes.",
        to_do=f"Approve or cancel it in the admin by {plan.not_after.astimezone(IST):%H:%M:%S} IST.",
        at=now,
        account=plan.account,
    )


def _was_told(kind: str, plan: OrderPlan) -> bool:
    return Alert.objects.filter(kind=kind, key=f"{kind}:{plan.pk}").exists()


def _sent_at(child: OrderIntent) -> datetime:
    sent_at: datetime | None = getattr(child, "sent_at", None)
    return sent_at or child.updated_at


def _beyond(plan: OrderPlan, legs: Sequence[LegProgress], leg: LegProgress, least: Fraction) -> int:
    """Units that a leg is filled beyond the one that is furthest behind, in whole lots."""
    lot: int = plan.legs[list(legs).index(leg)]["lot_size"]
    over = leg.filled - int(least * leg.asked)
    return over // lot * lot


def _legs(plan: OrderPlan, children: Sequence[OrderIntent]) -> list[LegProgress]:
    return [
        leg_progress(leg, [child for child in children if child.leg == number]) for number, leg in enumerate(plan.legs)
    ]


def _told(leg: LegProgress) -> str:
    parts = [f"{leg.side} {leg.symbol} {leg.filled} of {leg.asked} filled"]
    for name in ("working", "uncertain", "failed", "unsent"):
        if units := getattr(leg, name):
            parts.append(f"{units} {name}")
    return ", ".join(parts)
