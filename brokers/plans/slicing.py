"""Cuts a leg into orders that the exchange takes."""

from __future__ import annotations

from brokers.domain.errors import OrderDenied


def sliced(
    quantity: int, *, lot_size: int, freeze_quantity: int | None = None, lots_per_order: int | None = None
) -> list[int]:
    """The quantities, in units, of the orders that ``quantity`` units become: the largest first, together exactly it.

    None is above ``lots_per_order`` lots or above the freeze quantity (units, inclusive), each is whole lots.

    :raises OrderDenied: it is not whole lots above zero, or not even one lot fits into an order.
    """
    if quantity <= 0 or quantity % lot_size:
        raise OrderDenied(f"Quantity {quantity} is not a whole number of lots of {lot_size} above zero.")
    if lots_per_order is not None and lots_per_order < 1:
        raise OrderDenied(f"{lots_per_order} lots in an order are too few; give one or more.")
    most = quantity if lots_per_order is None else lots_per_order * lot_size
    if freeze_quantity is not None:
        most = min(most, freeze_quantity // lot_size * lot_size)
    if not most:
        raise OrderDenied(f"A lot of {lot_size} is above the freeze quantity of {freeze_quantity}; it cannot be sent.")
    whole, rest = divmod(quantity, most)
    return [most] * whole + ([rest] if rest else [])
