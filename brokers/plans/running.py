"""Moves plans on. Whatever is known of a plan is in its rows, so that any process may take the next step.

Every step locks the plan's row, decides anew from its children, and makes no network call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from brokers.alerts import close_alert, raise_alert
from brokers.alerts.unshown import LATE
from brokers.clock import configured_clock, trading_day
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import TERMINAL_STATES, UNSENT_STATES, UNSETTLED_STATES, Actor, IntentKind, IntentState
from brokers.ledger import operations
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerOrder, OrderIntent, OrderPlan, Severity
from brokers.plans import telling
from brokers.plans.legs import children_of
from brokers.plans.lines import Turn, imbalance, turns
from brokers.plans.status import awaits_approval

#: How long one leg may be further than another before the plan is stopped.
IMBALANCE_PATIENCE = timedelta(seconds=60)
#: Cancels that a cancelled plan tries for one working order.
CANCEL_TRIES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a plan asks of whoever took its step."""

    #: To be rung for, or delivered.
    intents: list[OrderIntent] = field(default_factory=list)
    #: What it waits for shows in the order book.
    needs_book: bool = False
    #: Its round is over: the positions are to be read, and then :func:`~brokers.plans.closing.look` goes on.
    needs_positions: bool = False


def unfinished(*, account_id: int | None = None) -> list[int]:
    """The plans of this installation's mode in which something is to be done, oldest first."""
    plans = OrderPlan.objects.filter(finished_at__isnull=True, mode=settings.MODE.value)
    if account_id is not None:
        plans = plans.filter(account=account_id)
    return list(plans.order_by("created_at").values_list("pk", flat=True))


def advance(plan_id: int) -> Step:
    """Do what is due of a plan now. May be called at any time, by anybody."""
    now = configured_clock().now()
    with transaction.atomic():
        plan = locked(plan_id)
        if plan.finished_at is not None:
            return Step()
        children = list(children_of(plan))
        if plan.cancelled_at is not None:
            return Step(intents=_wind_up(plan, children, now))
        if now > plan.not_after:
            _run_out(plan, children, now)
            return Step()
        if plan.stopped_at is not None:
            return Step()
        if plan.kind == OrderPlan.Kind.CLOSE:
            return _close_on(plan, children, now)
        return _go_on(plan, children, now)


def approve(plan_id: int, *, by: str) -> None:
    """A person's yes to a plan, which counts for all of its slices.

    :raises OrderDenied: it has ended, or was cancelled.
    """
    now = configured_clock().now()
    with transaction.atomic():
        plan = _open_plan(plan_id)
        if plan.approved_at is None:
            _set(plan, approved_at=now, approved_by=by[:150])
    close_alert("plan_approval", str(plan_id), because=f"{by} approved it", at=now)


def resume(plan_id: int, *, by: str) -> None:
    """Let a stopped plan go on. What failed before stays as it is and does not stop it again.

    :raises OrderDenied: it is not stopped, has ended, was cancelled, or its time is over.
    """
    now = configured_clock().now()
    with transaction.atomic():
        plan = _open_plan(plan_id)
        if plan.stopped_at is None:
            raise OrderDenied(f"{plan} is not stopped; there is nothing to let go on.")
        if now > plan.not_after:
            raise OrderDenied(f"The time of {plan} is over; make a new plan for what is missing.")
        _set(plan, stopped_at=None, stopped_reason="", imbalanced_at=None, resumed_at=now, resumed_by=by[:150])
    close_alert("plan_stopped", str(plan_id), because=f"{by} let it go on", at=now)


def cancel(plan_id: int, *, by: str, cancel_working: bool = False) -> Step:
    """Send no further slice. Orders that were sent stay, unless ``cancel_working``; the step holds their cancels.

    :raises OrderDenied: it has ended.
    """
    now = configured_clock().now()
    with transaction.atomic():
        plan = locked(plan_id)
        if plan.finished_at is not None:
            raise OrderDenied(f"{plan} has ended; there is nothing left to cancel.")
        if plan.cancelled_at is None:
            _set(plan, cancelled_at=now, cancelled_by=by[:150])
        if cancel_working and not plan.cancels_working:
            _set(plan, cancels_working=True)
    for kind in ("plan_stopped", "plan_approval", "closing_rests"):
        close_alert(kind, str(plan_id), because=f"{by} cancelled it", at=now)
    return advance(plan_id)


def stop(
    plan: OrderPlan, reason: str, children: Sequence[OrderIntent], now: datetime, *, kind: str = "plan_stopped"
) -> None:
    """Hold the plan until a person decides, and tell them. Call inside a transaction, with the plan locked."""
    _set(plan, stopped_at=now, stopped_reason=reason[:500])
    telling.take_back_resting(plan, now)
    raise_alert(
        kind,
        str(plan.pk),
        severity=Severity.CRITICAL,
        happened=f"{plan} was stopped: {reason}.",
        meaning=telling.standing(plan, children),
        to_do=telling.proposal(plan, children),
        at=now,
        account=plan.account,
    )


def finish(plan: OrderPlan, now: datetime) -> None:
    """Nothing of it is to be done any more. Call inside a transaction, with the plan locked."""
    _set(plan, finished_at=now)
    telling.take_back_resting(plan, now)


def locked(plan_id: int) -> OrderPlan:
    """The plan's row, which nobody else moves on until the transaction ends.

    SQLite has no row locks and needs none: its transactions begin by taking the only one there is.
    """
    return OrderPlan.objects.select_for_update(of=("self",)).select_related("account").get(pk=plan_id)


def take_back(children: Iterable[OrderIntent], cause: str, now: datetime) -> None:
    """Withdraw what was not sent; what a sender takes at this moment stays its own."""
    for child in children:
        while child.state in UNSENT_STATES:
            try:
                with transaction.atomic():
                    move(child, IntentState.WITHDRAWN, actor=Actor.PLAN, cause=cause, at=now, closed_reason=cause)
            except StaleIntent:
                child.refresh_from_db()


def _go_on(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> Step:
    """The next slice of a basket, or what stops it."""
    if awaits_approval(plan):
        telling.ask_approval(plan, now)
        return Step()
    [turn] = turns(plan, children, now)
    if problem := turn.stops or _guard(plan, children, now):
        stop(plan, problem, children, now)
        return Step()
    _finish_if_ended(plan, children, now)
    return Step(intents=_released(turn, now), needs_book=turn.needs_book)


def _close_on(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> Step:
    """The next slices of a closing. What fails ends the round of its line, and the positions are read again."""
    intents: list[OrderIntent] = []
    for turn in turns(plan, children, now):
        if turn.stops:
            take_back((child for child in turn.line if child.state == IntentState.NEW), turn.stops[:300], now)
        intents += _released(turn, now)
    telling.tell_resting(plan, children, now)
    return Step(
        intents=intents,
        needs_book=any(child.state == IntentState.WORKING for child in children),
        needs_positions=all(child.state in TERMINAL_STATES for child in children),
    )


def _released(turn: Turn, now: datetime) -> list[OrderIntent]:
    return [turn.child] if turn.child is not None and _release(turn.child, now) else []


def _release(child: OrderIntent, now: datetime) -> bool:
    try:
        with transaction.atomic():
            move(child, IntentState.READY, actor=Actor.PLAN, cause="its turn has come", at=now, not_before=now)
    except StaleIntent:
        return False
    return True


def _guard(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> str:
    """Why no more may be sent when one leg has been further than another for too long; empty when it may."""
    uneven = imbalance(plan, children)
    if bool(uneven) != (plan.imbalanced_at is not None):
        _set(plan, imbalanced_at=now if uneven else None)
    if not uneven or plan.imbalanced_at is None or now - plan.imbalanced_at <= IMBALANCE_PATIENCE:
        return ""
    words = f"{uneven}, for {(now - plan.imbalanced_at).total_seconds():.0f} s"
    if any(child.state in UNSENT_STATES for child in children):
        return words
    telling.tell_uneven(plan, words, children, now)
    return ""


def _wind_up(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> list[OrderIntent]:
    """What a cancelled plan still has to do."""
    take_back(children, f"the plan was cancelled by {plan.cancelled_by}", now)
    cancels = []
    if plan.cancels_working:
        cancels = [cancel for child in children if (cancel := _cancel_working(plan, child)) is not None]
    _finish_if_ended(plan, children, now)
    return cancels


def _cancel_working(plan: OrderPlan, child: OrderIntent) -> OrderIntent | None:
    """The wish to cancel a working slice, newly recorded; None when there is nothing to cancel or it is on its way."""
    order = BrokerOrder.objects.filter(attempt__intent=child).first()
    if child.state != IntentState.WORKING or order is None:
        return None
    tries = order.mutations.filter(kind=IntentKind.CANCEL)
    count = tries.count()
    # One that was lost, and is not sent again, need not be waited for; nor one that was taken, once the book has shown
    # the order open for so long that people are told of it.
    may_still_work = Q(state=IntentState.WORKING, attempts__quiet_at__gte=order.last_seen_at - LATE)
    if count >= CANCEL_TRIES or tries.filter(may_still_work | Q(state__in=UNSETTLED_STATES)).exists():
        return None
    try:
        return operations.record_cancel(
            broker=plan.account.broker,
            account=plan.account.name,
            broker_order_id=order.broker_order_id,
            client_order_id=f"{child.client_order_id[:60]}.x{count + 1}",
            strategy=plan.strategy,
        )
    except OrderDenied:
        # It ended meanwhile; the book moves it on.
        return None


def _run_out(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> None:
    """The plan's time is over: nothing unsent is sent any more, and a person is told what is missing."""
    for child in children:
        if child.state in UNSENT_STATES:
            operations.lapse(child, now, Actor.SWEEPER)
    missing = telling.missing(plan, children)
    if missing and plan.stopped_reason != missing:
        stop(plan, missing, children, now, kind="plan_partial")
    _finish_if_ended(plan, children, now)


def _finish_if_ended(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> None:
    """A plan has ended when every order of it has, or its day is over; what is open then is the ledger's to follow."""
    ended = all(child.state in TERMINAL_STATES for child in children)
    if plan.finished_at is None and (ended or plan.trading_day < trading_day(now)):
        finish(plan, now)


def _open_plan(plan_id: int) -> OrderPlan:
    plan = locked(plan_id)
    if plan.finished_at is not None or plan.cancelled_at is not None:
        raise OrderDenied(f"{plan} {'was cancelled' if plan.cancelled_at else 'has ended'}; make a new plan.")
    return plan


def _set(plan: OrderPlan, **values: object) -> None:
    OrderPlan.objects.filter(pk=plan.pk).update(**values)
    for name, value in values.items():
        setattr(plan, name, value)
