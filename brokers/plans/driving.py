"""Carries out a closing from the caller's process, beside whichever workers do the same."""

from __future__ import annotations

from collections.abc import Callable

from brokers.domain.errors import BrokerError, NotFlat, OrderOutcomeUnknown
from brokers.domain.order_states import OPEN_QUESTIONS, IntentState
from brokers.ledger import book
from brokers.ledger.delivery import deliver
from brokers.models import OrderIntent, OrderPlan
from brokers.plans import closing, running

POLL_SECONDS = 0.25
#: Between two readings of the order book: soon after an order, less and less often while nothing changes.
SYNC_SECONDS = (1.0, 2.0, 4.0, 8.0)


def close_until_flat(plan_id: int, *, wait: Callable[[float], None], monotonic: Callable[[], float]) -> OrderPlan:
    """Take every step of a closing here until it ends; returns it finished.

    :raises BrokerError: the first reading of the positions failed; the closing is cancelled, nothing was sent.
    :raises OrderOutcomeUnknown: an order of it may be at the broker, or is proved absent and a person is to decide;
        the closing goes on when that is settled.
    :raises NotFlat: it was stopped or cancelled, or its time ran out.
    """
    synced_at, reads = monotonic(), 0
    while True:
        step = running.advance(plan_id)
        for intent in _to_deliver(plan_id):
            deliver(intent.pk)
            synced_at, reads = monotonic(), 0
        if step.needs_positions:
            _look(plan_id)
        elif step.needs_book and monotonic() - synced_at >= SYNC_SECONDS[min(reads, len(SYNC_SECONDS) - 1)]:
            _sync(OrderPlan.objects.get(pk=plan_id).account_id)
            synced_at, reads = monotonic(), reads + 1
        if (plan := _told(plan_id)) is not None:
            return plan
        wait(POLL_SECONDS)


def _to_deliver(plan_id: int) -> list[OrderIntent]:
    """Also those that another process let go and nobody took yet."""
    return list(OrderIntent.objects.filter(plan=plan_id, state=IntentState.READY))


def _look(plan_id: int) -> None:
    try:
        closing.look(plan_id)
    except BrokerError:
        if OrderIntent.objects.filter(plan=plan_id).exists():
            return
        running.cancel(plan_id, by="its caller, since the positions could not be read")
        raise


def _sync(account_id: int) -> None:
    try:
        book.sync_orders(account_id)
    except BrokerError:
        # Nothing is known; it is asked again.
        return


def _told(plan_id: int) -> OrderPlan | None:
    """The closing when it has ended well, None while it goes on.

    :raises OrderOutcomeUnknown, NotFlat: see :func:`close_until_flat`.
    """
    plan = OrderPlan.objects.select_related("account").get(pk=plan_id)
    if plan.stopped_at is not None:
        raise NotFlat(f"{plan} was stopped: {plan.stopped_reason}")
    if plan.cancelled_at is not None:
        raise NotFlat(f"{plan} was cancelled by {plan.cancelled_by} before the broker said flat.")
    if plan.finished_at is not None:
        return plan
    held = OrderIntent.objects.filter(plan=plan, state__in=OPEN_QUESTIONS).first()
    if held is not None:
        is_absent = held.state == IntentState.ABSENT
        what = "is proved not to be at the broker" if is_absent else "may be at the broker"
        then = "" if is_absent else "it is found, or "
        raise OrderOutcomeUnknown(
            f"Order {held.client_order_id} of {held.symbol} {what}; do not send it again. {plan} goes on by itself when "
            f"{then}a person sends it once more or says that it is not placed.",
            client_order_id=held.client_order_id,
        )
    return None
