"""One leg of a plan, as far as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from django.db.models import Max, QuerySet, Sum

from brokers.domain.enums import Side
from brokers.domain.order_states import OPEN_QUESTIONS, UNSENT_STATES, IntentState
from brokers.models import OrderIntent, OrderPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class LegProgress:
    """One leg, in units. ``filled + working + uncertain + failed + unsent`` is ``asked``."""

    exchange: str
    symbol: str
    side: Side
    asked: int
    #: At the broker and not filled.
    working: int = 0
    filled: int = 0
    #: Perhaps at the broker, or on its way there.
    uncertain: int = 0
    #: Ended without a fill.
    failed: int = 0
    unsent: int = 0

    @property
    def sent(self) -> int:
        """Units that are, were or may be at the broker and have not failed."""
        return self.filled + self.working + self.uncertain

    @property
    def share(self) -> Fraction:
        """How much of it is filled, from 0 to 1."""
        return Fraction(self.filled, self.asked)


def children_of(plan: OrderPlan) -> QuerySet[OrderIntent]:
    """Its orders with what is filled of them (``filled_units``, may be None) and when they were sent (``sent_at``)."""
    return OrderIntent.objects.filter(plan=plan).annotate(
        filled_units=Sum("attempts__broker_order__filled_quantity"), sent_at=Max("attempts__armed_at")
    )


def leg_progress(leg: dict[str, Any], children: Sequence[OrderIntent]) -> LegProgress:
    """One leg from its children."""
    units = dict.fromkeys(("working", "filled", "uncertain", "failed", "unsent"), 0)
    for child in children:
        filled = filled_of(child)
        units["filled"] += filled
        units[_place_of(IntentState(child.state))] += child.quantity - filled
    return LegProgress(
        exchange=leg["exchange"], symbol=leg["symbol"], side=Side(leg["side"]), asked=leg["quantity"], **units
    )


def filled_of(child: OrderIntent) -> int:
    """Units filled, as the book says; never more than the child asked for."""
    filled: int = getattr(child, "filled_units", None) or 0
    if child.state == IntentState.FILLED and not filled:
        return child.quantity
    return min(filled, child.quantity)


def _place_of(state: IntentState) -> str:
    if state in UNSENT_STATES:
        return "unsent"
    if state is IntentState.WORKING:
        return "working"
    if state is IntentState.ARMED or state in OPEN_QUESTIONS:
        return "uncertain"
    return "failed"
