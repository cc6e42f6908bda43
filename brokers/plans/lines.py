"""Whose turn it is: what a plan may send now, what it waits for, and what stops it. Decides and changes nothing.

A line is the orders that depend on one another: all of a basket, and of a closing those of one underlying.
Along a line buys go before sells, slice by slice over the legs, and one order at a time is unsettled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from brokers.domain.enums import Side
from brokers.domain.order_states import OPEN_QUESTIONS, IntentState
from brokers.models import OrderIntent, OrderPlan
from brokers.plans.legs import LegProgress, leg_progress

#: Taken by the broker, or more.
GOOD = frozenset({IntentState.WORKING, IntentState.FILLED})
#: On its way; how it ends is known in seconds.
UNDER_WAY = frozenset({IntentState.READY, IntentState.ARMED, IntentState.AWAITING_APPROVAL})


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What is to be done with one line now; at most one of ``child``, ``waits_for`` and ``stops`` is set."""

    line: Sequence[OrderIntent]
    #: The next slice, which may go now.
    child: OrderIntent | None = None
    #: When the next slice may go, where it waits for its time only.
    at: datetime | None = None
    #: What it waits for other than time, in one sentence.
    waits_for: str = ""
    #: It waits for what the book is to show.
    needs_book: bool = False
    #: Why no further slice may go, in one sentence.
    stops: str = ""


def turns(plan: OrderPlan, children: Sequence[OrderIntent], now: datetime) -> list[Turn]:
    """The turn of every line of a plan."""
    lines: dict[str, list[OrderIntent]] = {}
    newest = max((leg["round"] for leg in plan.legs), default=0)
    for child in children:
        leg = plan.legs[child.leg or 0]
        if leg["round"] == newest:
            lines.setdefault(leg["line"], []).append(child)
    return [turn(plan, line, now) for line in lines.values()]


def turn(plan: OrderPlan, line: Sequence[OrderIntent], now: datetime) -> Turn:
    """Whose turn it is in one line."""
    for child in line:
        if child.state == IntentState.NEW or child.state in GOOD:
            continue
        if child.state in UNDER_WAY:
            return Turn(line=line)
        if child.state in OPEN_QUESTIONS:
            return Turn(line=line, waits_for=f"{told(child)} is {child.state}; nothing more goes until that is settled")
        if plan.resumed_at is None or child.updated_at > plan.resumed_at:
            return Turn(
                line=line, stops=f"{told(child)} is {child.state}: {child.closed_reason or 'no reason is known'}"
            )
    unsent = sorted((child for child in line if child.state == IntentState.NEW), key=_position)
    if not unsent:
        return Turn(line=line)
    following = unsent[0]
    if (uneven := _uneven(plan, line)) and uneven.number == following.leg:
        if uneven.behind.working:
            return Turn(line=line, waits_for=f"{told(following)} waits, since {uneven}", needs_book=True)
        # What is behind has nothing at the broker: its own slices go first, and without any nothing is waited for.
        others = (each for each in unsent if each.side == following.side and each.leg != following.leg)
        following = next(others, following)
    if following.side == Side.SELL and (hedge := _hedge(plan, line, following)):
        return hedge
    at = _not_before(plan, line, following)
    return Turn(line=line, at=at) if at is not None and at > now else Turn(line=line, child=following)


def told(child: OrderIntent) -> str:
    """A slice in words, e.g. ``slice 2 of BUY NIFTY26DEC26000CE (65 units)``."""
    return f"slice {(child.slice or 0) + 1} of {child.side} {child.symbol} ({child.quantity} units)"


def _position(child: OrderIntent) -> tuple[bool, int, int]:
    """Buys before sells, since what is bought hedges what is sold; then slice by slice over the legs."""
    return child.side == Side.SELL, child.slice or 0, child.leg or 0


def _hedge(plan: OrderPlan, line: Sequence[OrderIntent], following: OrderIntent) -> Turn | None:
    """Why a sale may not go yet: it is never further than what was bought to hedge it. None when it may."""
    buys = [child for child in line if child.side == Side.BUY]
    if not buys:
        return None
    if any(child.state == IntentState.WORKING for child in buys):
        return Turn(line=line, waits_for=f"{told(following)} waits until all that is bought is filled", needs_book=True)
    legs = {child.leg or 0 for child in buys}
    covered = min(_leg(plan, line, number).share for number in legs)
    own = _leg(plan, line, following.leg or 0)
    if Fraction(own.sent + following.quantity, own.asked) <= covered:
        return None
    return Turn(
        line=line,
        stops=f"{told(following)} would sell more than is hedged: {float(covered):.0%} of what was to be bought "
        "is filled",
    )


def _leg(plan: OrderPlan, line: Sequence[OrderIntent], number: int) -> LegProgress:
    return leg_progress(plan.legs[number], [child for child in line if child.leg == number])


def _not_before(plan: OrderPlan, line: Sequence[OrderIntent], following: OrderIntent) -> datetime | None:
    """When the slice before of the same leg is far enough behind; None when it is the first."""
    sent = [child.sent_at or child.not_before for child in line if child.leg == following.leg and child.state in GOOD]  # type: ignore[attr-defined]
    return max(sent) + timedelta(seconds=plan.pace_seconds) if sent else None


def imbalance(plan: OrderPlan, children: Sequence[OrderIntent]) -> str:
    """One sentence when a leg of a basket is filled further than another of its side by more than it may be.

    While slices are left that is one slice; when all are sent, nothing. Empty when the legs are even.
    """
    uneven = _uneven(plan, children)
    return str(uneven) if uneven else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Uneven:
    #: Of the leg that is ahead.
    number: int
    ahead: LegProgress
    behind: LegProgress

    def __str__(self) -> str:
        ahead, behind = self.ahead, self.behind
        return (
            f"{ahead.side} {ahead.symbol} is filled to {ahead.filled} of {ahead.asked} units and "
            f"{behind.side} {behind.symbol} to {behind.filled} of {behind.asked}"
        )


def _uneven(plan: OrderPlan, children: Sequence[OrderIntent]) -> _Uneven | None:
    if plan.kind != OrderPlan.Kind.BASKET:
        return None
    remaining = any(child.state == IntentState.NEW for child in children)
    for side in Side:
        numbers = [number for number, leg in enumerate(plan.legs) if leg["side"] == side]
        if len(numbers) < 2:
            continue
        legs = {number: _leg(plan, children, number) for number in numbers}
        first = max(numbers, key=lambda number: legs[number].share)
        ahead, behind = legs[first], min(legs.values(), key=lambda leg: leg.share)
        largest = max(Fraction(max(plan.legs[number]["slices"]), plan.legs[number]["quantity"]) for number in numbers)
        if ahead.share - behind.share > (largest if remaining else 0):
            return _Uneven(number=first, ahead=ahead, behind=behind)
    return None
