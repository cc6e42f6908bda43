"""Reads the order book and the trades into the ledger, and notes of each slot that they were read: no copies of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from brokers import snapshots
from brokers.clock import configured_clock
from brokers.ledger import book
from brokers.models import BrokerAccount, OrderBookSnapshot, TradeBookSnapshot
from brokers.models.snapshots import Snapshot


def take_orders(account: BrokerAccount, slot_at: datetime, every: timedelta | None = None) -> OrderBookSnapshot:
    """Bring the ledger up to the broker's order book; a book that could not be read is a row that says so.

    The book is read whether the slot is taken already or not: orders are followed by it. What is returned says what
    became of this reading; a failure in a slot that an earlier reading has taken is not kept.
    """
    try:
        orders = book.sync_orders(account.pk)
    except snapshots.FAILURES as error:
        failure = snapshots.failed(error)
        row, _ = snapshots.write(OrderBookSnapshot, account, slot_at, every, failure)
        return (
            row if row.status == failure["status"] else OrderBookSnapshot(account=account, slot_at=slot_at, **failure)
        )
    return snapshots.write(OrderBookSnapshot, account, slot_at, every, {**_taken(), "orders": orders})[0]


def take_trades(account: BrokerAccount, slot_at: datetime, every: timedelta | None = None) -> TradeBookSnapshot:
    """Write the day's fills into the ledger; a slot that is taken already costs no call."""
    slots = TradeBookSnapshot.objects.filter(account=account, slot_at=slot_at)
    if slots.filter(status=Snapshot.Status.OK).exists():
        return slots.get()
    try:
        fills = book.sync_trades(account.pk)
    except snapshots.FAILURES as error:
        return snapshots.write(TradeBookSnapshot, account, slot_at, every, snapshots.failed(error))[0]
    return snapshots.write(TradeBookSnapshot, account, slot_at, every, {**_taken(), "fills": fills})[0]


def _taken() -> dict[str, object]:
    return {"status": Snapshot.Status.OK, "taken_at": configured_clock().now()}
