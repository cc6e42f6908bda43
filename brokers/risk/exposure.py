"""What an account has open and has sent, counted in the arming transaction, which one order of it passes at a time.

What may be at the broker counts as if it were: an order whose outcome is not known keeps its reservation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from brokers.clock import IST
from brokers.domain.enums import TERMINAL_ORDER_STATUSES, Side
from brokers.domain.errors import NotSent, OrderDenied, RateLimited
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import (
    PLACING_KINDS,
    RESERVING_STATES,
    UNSENT_STATES,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.models import BrokerOrder, GttOrder, OrderAttempt, OrderIntent, Scope
from brokers.risk.checks import Held
from brokers.risk.limits import Breach, Limit, LimitReached, Limits

#: How far a broker's positions may lag behind its order book.
SETTLING = timedelta(seconds=15)
#: These may be at the broker while no order of its book is linked to them.
_UNSEEN = (IntentState.ARMED, IntentState.UNKNOWN, IntentState.ABSENT, IntentState.NEEDS_HUMAN)
#: After these a repetition is a new wish: the first one is known not to be an order.
_CAME_TO_NOTHING = (
    IntentState.DENIED,
    IntentState.WITHDRAWN,
    IntentState.LAPSED,
    IntentState.REFUSED,
    IntentState.REJECTED,
)
#: After these what a three-leg GTT entered with is no open order: it was filled, or never sent.
_ENTERED = (GttStatus.TRIGGERED, GttStatus.REJECTED)
_MAY_TRIGGER = (GttStatus.ACTIVE, GttStatus.UNKNOWN)
_NARROWED = {Scope.STRATEGY: " AND intent.strategy = %s", Scope.SYMBOL: " AND intent.symbol = %s"}


def _words(values: Iterable[str]) -> str:
    return ", ".join(repr(str(value)) for value in sorted(values))


_TODAY = "intent.account_id = %s AND intent.trading_day = %s"
# Plain SQL with the states written out, so that SQLite sees that the partial index serves it. A GTT without a trigger of
# its own enters at once; it is DONE before its entry has ended, which is known by the order that its book names.
_OPEN = (
    f"SELECT intent.reserved_rupees FROM {OrderIntent._meta.db_table} AS intent "  # noqa: S608
    f"WHERE {_TODAY} AND intent.kind = 'PLACE' AND intent.state IN ({_words(RESERVING_STATES)})",
    f"SELECT intent.reserved_rupees FROM {OrderIntent._meta.db_table} AS intent "  # noqa: S608
    f"WHERE {_TODAY} AND intent.kind = 'GTT' AND intent.trigger_price IS NULL "
    f"AND intent.state IN ({_words(RESERVING_STATES)})",
    f"SELECT intent.reserved_rupees FROM {GttOrder._meta.db_table} AS gtt "  # noqa: S608
    f"JOIN {OrderAttempt._meta.db_table} AS attempt ON attempt.id = gtt.attempt_id "
    f"JOIN {OrderIntent._meta.db_table} AS intent ON intent.id = attempt.intent_id "
    f"LEFT JOIN {BrokerOrder._meta.db_table} AS entry ON entry.account_id = gtt.account_id "
    f"AND entry.trading_day = intent.trading_day AND entry.broker_order_id = gtt.entry_order_id "
    f"WHERE gtt.account_id = intent.account_id AND {_TODAY} AND gtt.kind = 'THREE_LEG' AND intent.state = 'DONE' "
    f"AND (entry.status NOT IN ({_words(TERMINAL_ORDER_STATUSES)}) "
    f"OR (entry.id IS NULL AND gtt.status NOT IN ({_words(_ENTERED)})))",
)


class Unsettled(NotSent):
    """The positions may not show yet what was filled a moment ago. They do by ``until``."""

    def __init__(self, message: str, *, until: datetime) -> None:
        super().__init__(message)
        self.until = until


def check_open(intent: OrderIntent, limits: Limits, rupees: Decimal) -> None:
    """Hold what is open, with this order, against the limits of open orders and open rupees.

    A change raises what its order reserves, and never lowers it: nobody knows yet whether it will hold.

    :raises LimitReached: it would be too much.
    """
    changed = _behind(intent.target) if intent.target else None
    if changed is not None:
        whole, reserved = rupees, changed.values_list("reserved_rupees", flat=True).first() or Decimal(0)
        rupees = max(Decimal(0), whole - reserved)
    breaches: list[Breach] = []
    for scope, orders_limit, rupees_limit in _by_scope(limits, "max_open_orders", "max_open_rupees"):
        count, total = _open(intent, scope)
        if _enters(intent) and orders_limit and count + 1 > orders_limit.value:
            breaches.append(Breach(orders_limit, f"this would be open order number {count + 1}"))
        if rupees_limit and total + rupees > rupees_limit.value:
            words = f"{total:.2f} are open and the order is worth {rupees:.2f}"
            breaches.append(Breach(rupees_limit, words))
    if breaches:
        raise LimitReached(breaches)
    if changed is not None and rupees:
        changed.update(reserved_rupees=whole)


def check_rates(intent: OrderIntent, limits: Limits, now: datetime) -> None:
    """Hold what a strategy or a symbol has sent against its own rates; the account's are the order rate's.

    :raises LimitReached: the day's orders are used up.
    :raises RateLimited: those of the second or the minute are; says how long to wait.
    """
    for name, window in (
        ("max_orders_per_day", None),
        ("max_orders_per_minute", timedelta(minutes=1)),
        ("max_orders_per_second", timedelta(seconds=1)),
    ):
        for limit in limits.counted(name):
            if limit.scope in _NARROWED:
                _check_rate(intent, limit, window, now)


def check_repetition(intent: OrderIntent, limits: Limits, now: datetime) -> None:
    """Refuse an order without a key of its own that repeats one of a moment ago, or whose outcome is not known yet.

    :raises OrderDenied: names the other one.
    """
    limit = limits.strictest("repeat_cooldown_seconds")
    if limit is None or not limit.value or intent.has_own_key or intent.kind not in PLACING_KINDS:
        return
    # Both may have waited since; how far apart they were recorded is what tells a second click.
    apart = timedelta(seconds=float(limit.value))
    other = (
        OrderIntent.objects.filter(
            # Who waited longer than the cool-down for an answer clicks again as well.
            Q(created_at__gt=intent.created_at - apart, created_at__lt=intent.created_at + apart)
            | Q(trading_day=intent.trading_day, state__in=_UNSEEN),
            account_id=intent.account_id,
            fingerprint=intent.fingerprint,
            strategy=intent.strategy,
        )
        .exclude(state__in=[*UNSENT_STATES, *_CAME_TO_NOTHING])
        .exclude(client_order_id=intent.client_order_id)
        .order_by("-created_at")
        .values("client_order_id", "state", "created_at")
        .first()
    )
    if other is not None:
        raise OrderDenied(
            f"The same order was placed {(now - other['created_at']).total_seconds():.1f} s ago as "
            f"{other['client_order_id']} and is {other['state']}; a repetition without a client order id of its own "
            f"within {limit.value} s, or before the outcome is known, is taken for a second click. Give each order its "
            "own client_order_id."
        )


def check_reduction(intent: OrderIntent, held: Held) -> None:
    """Keep a reduce-only order within the position, less what other orders may already take from it.

    :raises OrderDenied: it would open or turn the position.
    :raises Unsettled: it may, since the positions may lag behind what was filled; they are read again then.
    """
    room = held.units if intent.side == Side.SELL else -held.units
    orders = BrokerOrder.objects.filter(**_same(intent), trading_day=intent.trading_day)
    orders = orders.filter(product__in=["", intent.product])
    # In this order: what is filled between the two counts in both.
    certain = _may_still_take(intent, orders)
    doubtful = _filled_since(orders, held.asked_at - SETTLING)
    left = room - certain - intent.quantity
    if left < 0:
        raise OrderDenied(
            f"{intent} is to reduce only: {intent.account} holds {held.units} of {intent.symbol}, other orders that "
            f"may be filled on the same side have {certain}, and this one is {intent.side} {intent.quantity}."
        )
    too_much = sum(units for _, units in doubtful) - left
    if too_much > 0:
        until = _settled_at(doubtful, too_much)
        raise Unsettled(
            f"{intent} waits until {until.astimezone(IST):%H:%M:%S} IST: {left + too_much} of {intent.symbol} were "
            "filled so shortly before that the position which the broker states may not show it yet.",
            until=until,
        )


def _enters(intent: OrderIntent) -> bool:
    """Whether an order goes to the exchange with it, and not at a trigger."""
    return intent.kind == IntentKind.PLACE or (intent.kind == IntentKind.GTT and intent.trigger_price is None)


def _behind(order: BrokerOrder) -> QuerySet[OrderIntent]:
    """The intent that reserves for an order: the one that sent it, or that of the GTT which entered with it."""
    if order.attempt_id is not None:
        return OrderIntent.objects.filter(attempts=order.attempt_id)
    return OrderIntent.objects.filter(
        account=order.account_id, attempts__gtt_order__entry_order_id=order.broker_order_id
    )


def _by_scope(limits: Limits, first: str, second: str) -> list[tuple[str, Limit | None, Limit | None]]:
    """Two limits that one count answers, for each of account, strategy and symbol that has one of them."""
    of_first = {_scope(limit): limit for limit in limits.counted(first)}
    of_second = {_scope(limit): limit for limit in limits.counted(second)}
    scopes = sorted(of_first.keys() | of_second.keys())
    return [(scope, of_first.get(scope), of_second.get(scope)) for scope in scopes]


def _scope(limit: Limit) -> str:
    """What its count is narrowed to; empty for the whole account."""
    return limit.scope if limit.scope in _NARROWED else ""


def _open(intent: OrderIntent, scope: str) -> tuple[int, Decimal]:
    parts: Iterable[str] = _OPEN
    values: list[int | date | str] = [intent.account_id, intent.trading_day]
    if scope:
        parts = [part + _NARROWED[Scope(scope)] for part in parts]
        values.append(intent.strategy if scope == Scope.STRATEGY else intent.symbol)
    statement = f"SELECT COUNT(*), COALESCE(SUM(reserved_rupees), 0) FROM ({' UNION ALL '.join(parts)}) AS open"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, values * len(_OPEN))
        count, total = cursor.fetchone()
    return int(count), Decimal(str(total))


def _check_rate(intent: OrderIntent, limit: Limit, window: timedelta | None, now: datetime) -> None:
    attempts = OrderAttempt.objects.filter(intent__account=intent.account, intent__trading_day=intent.trading_day)
    attempts = attempts.exclude(outcome=AttemptOutcome.NOT_SENT)
    if limit.scope == Scope.STRATEGY:
        attempts = attempts.filter(intent__strategy=intent.strategy)
    else:
        attempts = attempts.filter(intent__symbol=intent.symbol)
    if window is not None:
        attempts = attempts.filter(armed_at__gt=now - window)
    count = attempts.count()
    if count < limit.value:
        return
    breach = Breach(limit, f"this would be order number {count + 1}")
    if window is None:
        raise LimitReached([breach])
    raise RateLimited(f"{breach}; it waits.", retry_after=window / 4)


def _same(intent: OrderIntent) -> dict[str, object]:
    """Contract and side, by the names of the columns."""
    return {name: getattr(intent, name) for name in ("account", "exchange", "symbol", "side")}


def _may_still_take(intent: OrderIntent, orders: QuerySet[BrokerOrder]) -> int:
    """Units that other orders of an intent's side may still take; ``orders`` are those that the mirror has."""
    working = orders.exclude(status__in=TERMINAL_ORDER_STATUSES)
    same = _same(intent)
    unseen = OrderIntent.objects.filter(
        **same, trading_day=intent.trading_day, kind=IntentKind.PLACE, state__in=_UNSEEN, product=intent.product
    ).exclude(Q(pk=intent.pk) | Q(attempts__broker_order__isnull=False))
    # One statement: an order that was acknowledged between two would be in neither, since PostgreSQL shows each
    # statement what was committed before it.
    rest = working.annotate(units=F("quantity") - F("filled_quantity")).values_list("units")
    others = [unseen, *_unseen_of_gtts(intent, same)]
    return sum(units for (units,) in rest.union(*(each.values_list("quantity") for each in others), all=True))


def _filled_since(orders: QuerySet[BrokerOrder], since: datetime) -> list[tuple[datetime, int]]:
    """Units of each order that may have been filled after ``since``, and when that was last seen; oldest first."""
    earlier = Coalesce(Sum("fills__quantity", filter=Q(fills__first_seen_at__lte=since)), 0)
    moved = orders.filter(fill_seen_at__gt=since).annotate(units=F("filled_quantity") - earlier)
    found = moved.order_by("fill_seen_at").values_list("fill_seen_at", "units")
    # Trades may have been read since the book was.
    return [(seen_at, max(units, 0)) for seen_at, units in found if seen_at is not None]


def _settled_at(filled: list[tuple[datetime, int]], units: int) -> datetime:
    """When the positions show at least so many units of what was filled."""
    shown = accumulate(units for _, units in filled)
    return next(at for (at, _), so_far in zip(filled, shown, strict=True) if so_far >= units) + SETTLING


def _unseen_of_gtts(intent: OrderIntent, same: dict[str, object]) -> list[QuerySet[OrderIntent] | QuerySet[GttOrder]]:
    """What GTTs may fill on a side that no order of the book shows: entries, and for a GTT those that wait to reduce."""
    asked = OrderIntent.objects.filter(**same, product=intent.product, kind=IntentKind.GTT).exclude(pk=intent.pk)
    of_intent = GttOrder.objects.filter(attempt__intent=OuterRef("pk"))
    shown = BrokerOrder.objects.filter(account=OuterRef("account"), broker_order_id=OuterRef("entry_order_id"))
    entries = asked.filter(
        trading_day=intent.trading_day,
        trigger_price__isnull=True,
        state__in=[*_UNSEEN, IntentState.WORKING, IntentState.DONE],
    ).exclude(Exists(of_intent.filter(Q(status__in=_ENTERED) | Exists(shown))))
    if intent.kind != IntentKind.GTT:
        # An exit that goes out at once does not wait for a stop to be cancelled first.
        return [entries]
    waiting = GttOrder.objects.filter(
        account=intent.account,
        exchange=intent.exchange,
        symbol=intent.symbol,
        product__in=["", intent.product],
        status__in=_MAY_TRIGGER,
        attempt__intent__reduce_only=True,
        attempt__intent__side=intent.side,
    )
    lost = asked.filter(reduce_only=True, state__in=_UNSEEN).exclude(Exists(of_intent))
    return [entries, waiting, lost]
