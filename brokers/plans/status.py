"""How far a plan is, computed from its children whenever somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import QuerySet

from brokers.clock import configured_clock
from brokers.domain.order_states import TERMINAL_STATES
from brokers.models import OrderIntent, OrderPlan
from brokers.plans.legs import LegProgress, children_of, leg_progress
from brokers.plans.lines import turns


class PlanState(StrEnum):
    RUNNING = "RUNNING"  # slices go out as their time comes
    WAITING = "WAITING"  # for a person's approval, a fill, or the answer to an open question
    STOPPED = "STOPPED"  # a guard stopped it; a person lets it go on or cancels it
    CANCELLED = "CANCELLED"
    DONE = "DONE"  # all of it is filled; of a closing: the broker says flat
    PARTIAL = "PARTIAL"  # no more is sent, and less than asked for can be filled


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanProgress:
    state: PlanState
    #: Why it is not running, or what it waits for, in one sentence; empty when all goes well.
    reason: str
    legs: tuple[LegProgress, ...]
    #: When the next slice may go; None when none is left or it does not depend on time.
    next_slice_at: datetime | None = None


def progress(plan: OrderPlan) -> PlanProgress:
    """How far ``plan`` is now."""
    return progress_of(plan, list(children_of(plan)), configured_clock().now())


def progress_of(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> PlanProgress:
    """As :func:`progress`, from rows that were read already."""
    # A round may have been written after the plan was read.
    children = [child for child in children if (child.leg or 0) < len(plan.legs)]
    legs = tuple(
        leg_progress(leg, [child for child in children if child.leg == number]) for number, leg in enumerate(plan.legs)
    )
    state, reason, at = _state(plan, legs, children, now)
    return PlanProgress(state=state, reason=reason, legs=legs, next_slice_at=at)


def _state(
    plan: OrderPlan, legs: Sequence[LegProgress], children: Sequence[OrderIntent], now: datetime
) -> tuple[PlanState, str, datetime | None]:
    if plan.kind == OrderPlan.Kind.BASKET and all(leg.filled == leg.asked for leg in legs):
        return PlanState.DONE, "", None
    if plan.cancelled_at:
        return PlanState.CANCELLED, f"cancelled by {plan.cancelled_by}", None
    if plan.stopped_at:
        return PlanState.PARTIAL if plan.finished_at else PlanState.STOPPED, plan.stopped_reason, None
    if plan.finished_at and plan.kind == OrderPlan.Kind.CLOSE:
        return PlanState.DONE, "", None
    if all(child.state in TERMINAL_STATES for child in children):
        if plan.kind == OrderPlan.Kind.CLOSE:
            return PlanState.RUNNING, "the positions are to be read", None
        return PlanState.PARTIAL, "not all of it was filled", None
    if awaits_approval(plan):
        return PlanState.WAITING, "a person is to approve it", None
    due = turns(plan, children, now)
    waiting = [turn.waits_for for turn in due if turn.waits_for]
    times = [turn.at for turn in due if turn.at is not None]
    state = PlanState.WAITING if waiting else PlanState.RUNNING
    return state, "; ".join(waiting), min(times, default=None)


def awaits_approval(plan: OrderPlan) -> bool:
    """Whether a person has yet to say yes; closings never wait for one."""
    return plan.kind == OrderPlan.Kind.BASKET and plan.account.requires_approval and plan.approved_at is None


def waiting_for_approval() -> QuerySet[OrderPlan]:
    """The plans that :func:`awaits_approval` is true of and that may still be sent."""
    unfinished = OrderPlan.objects.filter(finished_at__isnull=True, cancelled_at__isnull=True)
    return unfinished.filter(kind=OrderPlan.Kind.BASKET, account__requires_approval=True, approved_at__isnull=True)
