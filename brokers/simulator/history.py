"""The life of an order, moment by moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from brokers.simulator.book import BookedOrder, Moment


def record(order: BookedOrder, at: datetime) -> None:
    """Add the order's present state to its history."""
    order.updated_at = at
    order.history.append(
        Moment(
            at=at,
            state=order.state,
            quantity=order.quantity,
            price=order.price,
            trigger_price=order.trigger_price,
            filled_quantity=order.filled_quantity,
            cancelled_quantity=order.cancelled_quantity,
            average_price=order.average_price,
            reason=order.reason,
        )
    )


def as_of(order: BookedOrder, epoch: float) -> BookedOrder | None:
    """The order as it was at an epoch; None when it was not there yet."""
    past = [moment for moment in order.history if moment.at.timestamp() <= epoch]
    if not past:
        return None
    then = past[-1]
    return replace(
        order,
        state=then.state,
        quantity=then.quantity,
        price=then.price,
        trigger_price=then.trigger_price,
        filled_quantity=then.filled_quantity,
        cancelled_quantity=then.cancelled_quantity,
        average_price=then.average_price,
        reason=then.reason,
        updated_at=then.at,
        history=past,
    )
