"""Follows working orders by the broker's book: the acknowledgement is not the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import or_

from django.db import transaction
from django.db.models import Q

from brokers.alerts import ineffective, unshown
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import OrderStatus
from brokers.domain.order_states import TRANSITIONS, Actor, AttemptOutcome, IntentKind, IntentState
from brokers.domain.orders import Fill, Order
from brokers.factory import BrokerFactory
from brokers.ledger.identity import looks_like_ours
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import BrokerAccount, BrokerOrder, GttOrder, OrderAttempt, OrderIntent, TradeFill
from brokers.risk import strangers

_ENDS = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELLED: IntentState.CANCELLED,
    OrderStatus.REJECTED: IntentState.REJECTED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
}
#: Attempts whose order has ended in the mirror, and whose intent is to follow it there.
_MAY_END = reduce(
    or_,
    (
        Q(broker_order__status=status, intent__state__in=[old for old, new in TRANSITIONS if new is end])
        for status, end in _ENDS.items()
    ),
)
_MUTATIONS = (IntentKind.CANCEL, IntentKind.MODIFY)
#: Cancels and changes that end with their order: taken, or a cancel that was lost and may have been.
_FOLLOWS = Q(state=IntentState.WORKING) | Q(state=IntentState.ABSENT, kind=IntentKind.CANCEL)
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
    if apply_book(account, rows, now).newly_filled:
        apply_trades(account, gateway.get_trades(), now)
    return len(rows)


def sync_trades(account_id: int) -> int:
    """Read the day's trades and write those that are not there yet; return the number of rows.

    :raises BrokerError: they could not be read; the ledger is left as it is.
    """
    account = BrokerAccount.objects.get(pk=account_id)
    fills = BrokerFactory.get_broker(account.broker, account.name).get_trades()
    apply_trades(account, fills, configured_clock().now())
    return len(fills)


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """The ledger after a book was written into it."""

    #: Every order of today that any reading or acknowledgement has shown.
    mirror: list[BrokerOrder]
    newly_filled: bool


def apply_book(account: BrokerAccount, rows: Iterable[Order], now: datetime) -> Applied:
    """Write the book's rows into the mirror and move intents on.

    A fill once seen is never taken back, and an ended order stays ended, except that late truth wins.
    """
    day = trading_day(now)
    known = {order.broker_order_id: order for order in BrokerOrder.objects.filter(account=account, trading_day=day)}
    shown: list[BrokerOrder] = []
    newly_filled = False
    for row in rows:
        order = known.get(row.broker_order_id)
        if order is None:
            if _is_of_an_earlier_day(account, row, day):
                continue
            order = known[row.broker_order_id] = _first_seen(account, row, day, now)
            newly_filled |= row.filled_quantity > 0
        elif changes := _changes(order, row):
            newly_filled |= row.filled_quantity > order.filled_quantity
            _update(order, changes, now)
        shown.append(order)
    _follow_all(account, shown, day, now)
    seen = BrokerOrder.objects.filter(pk__in=[order.pk for order in shown])
    seen.update(last_seen_at=now)
    if any(order.book_seen_at is None for order in shown):
        seen.filter(book_seen_at__isnull=True).update(book_seen_at=now)
    strangers.tell_of_waiting(account, known.values(), at=now)
    unshown.tell(account, known.values(), shown, at=now)
    ineffective.tell(account, shown, at=now)
    return Applied(mirror=list(known.values()), newly_filled=newly_filled)


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


def _is_of_an_earlier_day(account: BrokerAccount, row: Order, day: date) -> bool:
    """Whether it is an order of ours that the broker still shows, e.g. before the day's login. Ours never wait over night."""
    if row.placed_at is not None and trading_day(row.placed_at) >= day:
        return False
    earlier = BrokerOrder.objects.filter(account=account, broker_order_id=row.broker_order_id, trading_day__lt=day)
    return earlier.exclude(origin=BrokerOrder.Origin.EXTERNAL).exists()


def _first_seen(account: BrokerAccount, row: Order, day: date, now: datetime) -> BrokerOrder:
    """An order that the ledger has no acknowledgement of: a GTT's, somebody else's, or ours with a lost answer."""
    tag = row.client_tag.partition("-")[0]
    known = bool(tag) and OrderIntent.objects.filter(account=account, trading_day=day, client_tag=tag).exists()
    origin = BrokerOrder.Origin.SUSPECT if known or looks_like_ours(tag) else BrokerOrder.Origin.EXTERNAL
    if GttOrder.has_entered_with(account, row.broker_order_id, row.symbol):
        origin = BrokerOrder.Origin.OURS
    nobody_trades = account.manual_trading == BrokerAccount.ManualTrading.NONE
    with transaction.atomic():
        order, is_new = _mirror(account, row, day, now, origin)
        if is_new and origin == BrokerOrder.Origin.SUSPECT:
            strangers.check_tag(order, tag, is_known=known, at=now)
        elif is_new and origin == BrokerOrder.Origin.EXTERNAL and nobody_trades:
            strangers.tell(order, at=now)
    return order


def _mirror(account: BrokerAccount, row: Order, day: date, now: datetime, origin: str) -> tuple[BrokerOrder, bool]:
    return BrokerOrder.objects.get_or_create(
        account=account,
        trading_day=day,
        broker_order_id=row.broker_order_id,
        defaults={
            "origin": origin,
            "exchange": row.exchange,
            "symbol": row.symbol,
            "side": row.side,
            "product": row.product or "",
            "placed_at": row.placed_at,
            "first_seen_at": now,
            "last_seen_at": now,
            "fill_seen_at": now if row.filled_quantity else None,
            **_mirrored(row),
        },
    )


def _mirrored(row: Order) -> dict[str, object]:
    values = {name: getattr(row, name) for name in _MIRRORED}
    for name, length in (("broker_status", 64), ("reason", 500), ("client_tag", 80)):
        values[name] = str(values[name])[:length]
    return values


def _changes(order: BrokerOrder, row: Order) -> dict[str, object]:
    """What a row of the book says anew of an order, by column."""
    values = _mirrored(row)
    values["filled_quantity"] = max(order.filled_quantity, row.filled_quantity)
    # Not every broker says the tag again.
    values["client_tag"] = order.client_tag or values["client_tag"]
    values["placed_at"] = order.placed_at or row.placed_at
    if OrderStatus(order.status).is_terminal and not row.status.is_terminal:
        # A book that lags behind does not bring an ended order back to life.
        values["status"], values["broker_status"] = order.status, order.broker_status
    return {name: value for name, value in values.items() if getattr(order, name) != value}


def _update(order: BrokerOrder, changes: dict[str, object], now: datetime) -> None:
    values = changes | {"last_seen_at": now} | ({"fill_seen_at": now} if "filled_quantity" in changes else {})
    # Another reading may have written meanwhile, and a fill or an end that it saw is not taken back.
    unchanged = BrokerOrder.objects.filter(
        pk=order.pk, status=order.status, filled_quantity=order.filled_quantity, quantity=order.quantity
    )
    if not unchanged.update(**values):
        order.refresh_from_db()
        return
    for name, value in changes.items():
        setattr(order, name, value)


def follow(intent: OrderIntent, order: BrokerOrder, now: datetime) -> None:
    """Move a placed intent to where its order ended, and the cancels and changes of that order with it."""
    _follow_placed(intent, order, now)
    for mutation in order.mutations.filter(_FOLLOWS):
        _follow_mutation(mutation, order, now)


def _follow_all(account: BrokerAccount, orders: list[BrokerOrder], day: date, now: datetime) -> None:
    """As :func:`follow`, for all orders of a book; reads only the intents that have somewhere to go."""
    attempts: dict[int, OrderAttempt] = {}
    if any(order.attempt_id and order.status in _ENDS for order in orders):
        of_today = OrderAttempt.objects.filter(broker_order__account=account, broker_order__trading_day=day)
        attempts = of_today.filter(_MAY_END).select_related("intent").in_bulk()
    working = OrderIntent.objects.filter(_FOLLOWS, account=account, kind__in=_MUTATIONS)
    mutations: defaultdict[int | None, list[OrderIntent]] = defaultdict(list)
    for mutation in working.filter(target__trading_day=day):
        mutations[mutation.target_id].append(mutation)
    for order in orders:
        if order.attempt_id in attempts:
            _follow_placed(attempts[order.attempt_id].intent, order, now)
        for mutation in mutations[order.pk]:
            _follow_mutation(mutation, order, now)


def _follow_placed(intent: OrderIntent, order: BrokerOrder, now: datetime) -> None:
    end = _ENDS.get(OrderStatus(order.status))
    if end is not None and (IntentState(intent.state), end) in TRANSITIONS:
        _end(intent, end, order.reason or f"the book says {order.broker_status or order.status}", now)


def _follow_mutation(mutation: OrderIntent, order: BrokerOrder, now: datetime) -> None:
    """End the cancel or modify whose effect the book shows, or that came too late."""
    status = OrderStatus(order.status)
    if mutation.kind == IntentKind.CANCEL and status is OrderStatus.CANCELLED:
        _end(mutation, IntentState.DONE, "the book says cancelled", now)
    elif mutation.kind == IntentKind.MODIFY and shows(order, mutation):
        _end(mutation, IntentState.DONE, "the book shows the new values", now)
    elif status.is_terminal:
        _end(mutation, IntentState.REJECTED, f"too late: the order was {status.lower()} first", now)


def shows(order: BrokerOrder, mutation: OrderIntent) -> bool:
    """Whether the order has the values that a change is to give it."""
    price = mutation.limit_price
    if price is None:
        # Changed to a market order: what was sent is the price that protects it.
        price = mutation.attempts.exclude(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID]).get().sent_price
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
