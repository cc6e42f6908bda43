"""Follows working orders by the broker's book: the acknowledgement is not the end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from django.db import transaction

from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import OrderStatus
from brokers.domain.order_states import TRANSITIONS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import Fill, Order
from brokers.factory import BrokerFactory
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerAccount, BrokerOrder, OrderIntent, TradeFill

_ENDS = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELLED: IntentState.CANCELLED,
    OrderStatus.REJECTED: IntentState.REJECTED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
}
_MIRRORED = (
    "exchange_order_id",
    "client_tag",
    "order_type",
    "quantity",
    "filled_quantity",
    "limit_price",
    "trigger_price",
    "average_price",
    "status",
    "broker_status",
    "reason",
)


def sync_orders(account_id: int) -> int:
    """Read the whole book of an account and bring the ledger up to it; return the number of rows.

    Trades are read as well when something was filled since the last reading.

    :raises BrokerError: the book could not be read; the ledger is left as it is.
    """
    account = BrokerAccount.objects.get(pk=account_id)
    gateway = BrokerFactory.get_broker(account.broker, account.name)
    rows = gateway.get_orders()
    now = configured_clock().now()
    newly_filled = apply_book(account, rows, now)
    if newly_filled:
        apply_trades(account, gateway.get_trades(), now)
    return len(rows)


def apply_book(account: BrokerAccount, rows: Iterable[Order], now: datetime) -> bool:
    """Write the book's rows into the mirror and move intents on; True when a fill was new.

    A fill once seen is never taken back, and an ended order stays ended, except that late truth wins.
    """
    day = trading_day(now)
    known = {
        order.broker_order_id: order
        for order in BrokerOrder.objects.filter(account=account, trading_day=day).select_related("attempt__intent")
    }
    newly_filled = False
    for row in rows:
        order = known.get(row.broker_order_id)
        if order is None:
            order = _first_seen(account, row, day, now)
            newly_filled |= row.filled_quantity > 0
        elif _differs(order, row):
            newly_filled |= row.filled_quantity > order.filled_quantity
            _update(order, row, now)
        if order.attempt is not None:
            _follow(order.attempt.intent, order, now)
            _follow_mutations(order, now)
    BrokerOrder.objects.filter(
        account=account, trading_day=day, broker_order_id__in=[row.broker_order_id for row in rows]
    ).update(last_seen_at=now)
    return newly_filled


def apply_trades(account: BrokerAccount, fills: Iterable[Fill], now: datetime) -> int:
    """Write executions that are not there yet; return how many were new."""
    orders = {
        order.broker_order_id: order
        for order in BrokerOrder.objects.filter(account=account, trading_day=trading_day(now))
    }
    rows = [
        TradeFill(
            order=orders[fill.broker_order_id],
            fill_id=fill.fill_id,
            quantity=fill.quantity,
            price=fill.price,
            filled_at=fill.filled_at,
            first_seen_at=now,
        )
        for fill in fills
        if fill.broker_order_id in orders
    ]
    before = TradeFill.objects.filter(order__in=orders.values()).count()
    TradeFill.objects.bulk_create(rows, ignore_conflicts=True)
    return TradeFill.objects.filter(order__in=orders.values()).count() - before


def _first_seen(account: BrokerAccount, row: Order, day: date, now: datetime) -> BrokerOrder:
    """An order that the ledger has no acknowledgement of: somebody else's, or ours with a lost answer."""
    tag = row.client_tag.partition("-")[0]
    ours = bool(tag) and OrderIntent.objects.filter(account=account, trading_day=day, client_tag=tag).exists()
    return BrokerOrder.objects.get_or_create(
        account=account,
        trading_day=day,
        broker_order_id=row.broker_order_id,
        defaults={
            "origin": BrokerOrder.Origin.SUSPECT if ours else BrokerOrder.Origin.EXTERNAL,
            "exchange": row.exchange,
            "symbol": row.symbol,
            "side": row.side,
            "product": row.product or "",
            "placed_at": row.placed_at,
            "first_seen_at": now,
            "last_seen_at": now,
            **_mirrored(row),
        },
    )[0]


def _mirrored(row: Order) -> dict[str, object]:
    values = {name: getattr(row, name) for name in _MIRRORED}
    for name, length in (("broker_status", 64), ("reason", 500), ("client_tag", 80)):
        values[name] = str(values[name])[:length]
    return values


def _differs(order: BrokerOrder, row: Order) -> bool:
    return any(getattr(order, name) != value for name, value in _mirrored(row).items())


def _update(order: BrokerOrder, row: Order, now: datetime) -> None:
    values = _mirrored(row)
    values["filled_quantity"] = max(order.filled_quantity, row.filled_quantity)
    values["client_tag"] = order.client_tag or values["client_tag"]
    if OrderStatus(order.status).is_terminal and not row.status.is_terminal:
        # A book that lags behind does not bring an ended order back to life.
        values["status"], values["broker_status"] = order.status, order.broker_status
    values |= {"placed_at": order.placed_at or row.placed_at, "last_seen_at": now}
    # Another reading may have written meanwhile, and a fill or an end that it saw is not taken back.
    unchanged = BrokerOrder.objects.filter(
        pk=order.pk, status=order.status, filled_quantity=order.filled_quantity, quantity=order.quantity
    )
    if not unchanged.update(**values):
        order.refresh_from_db()
        return
    for name, value in values.items():
        setattr(order, name, value)


def _follow(intent: OrderIntent, order: BrokerOrder, now: datetime) -> None:
    """Move a placed intent to where its order ended."""
    end = _ENDS.get(OrderStatus(order.status))
    if end is None or (IntentState(intent.state), end) not in TRANSITIONS:
        return
    _end(intent, end, order.reason or f"the book says {order.broker_status or order.status}", now)


def _follow_mutations(order: BrokerOrder, now: datetime) -> None:
    """End the cancel or modify whose effect the book shows, or that came too late."""
    for mutation in order.mutations.filter(state=IntentState.WORKING):
        status = OrderStatus(order.status)
        if mutation.kind == IntentKind.CANCEL and status is OrderStatus.CANCELLED:
            _end(mutation, IntentState.DONE, "the book says cancelled", now)
        elif mutation.kind == IntentKind.MODIFY and _shows(order, mutation):
            _end(mutation, IntentState.DONE, "the book shows the new values", now)
        elif status.is_terminal:
            _end(mutation, IntentState.REJECTED, f"too late: the order was {status.lower()} first", now)


def _shows(order: BrokerOrder, mutation: OrderIntent) -> bool:
    price = mutation.limit_price
    if price is None:
        # Changed to a market order: what was sent is the price that protects it.
        price = mutation.attempts.get(outcome=AttemptOutcome.ACKED).sent_price
    return (
        order.quantity == mutation.quantity
        and order.limit_price == price
        and (order.trigger_price or None) == (mutation.trigger_price or None)
    )


def _end(intent: OrderIntent, state: IntentState, cause: str, now: datetime) -> None:
    reason = "" if state is IntentState.FILLED else cause[:500]
    try:
        with transaction.atomic():
            move(intent, state, actor=Actor.BOOK, cause=cause, at=now, closed_reason=reason)
    except StaleIntent:
        # Another reading of the same book was quicker.
        intent.refresh_from_db()
