"""Cancels what is open, on a person's word. Each cancel is an intent of the ledger like any other."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container
from datetime import date

from django.db.models import Exists, OuterRef, Q, QuerySet

from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import TERMINAL_ORDER_STATUSES
from brokers.domain.errors import OrderDenied
from brokers.domain.gtt import GttKind, GttStatus
from brokers.domain.order_states import OPEN_QUESTIONS, PLACING_KINDS, AttemptOutcome, IntentKind, IntentState
from brokers.gtt import recording
from brokers.ledger import operations
from brokers.ledger.delivery import deliver
from brokers.models import BrokerOrder, ChangeOf, GttOrder, OrderIntent, RiskChange, Scope

#: How long a command tries its cancels by itself; the workers go on with what is left.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2

#: What a cancel is for: a broker order's primary key, or a GTT's.
Resting = tuple[int | None, int | None]


def record_cancels(
    scope: Scope,
    scope_key: str,
    *,
    by: str,
    spare_exits: bool = False,
    except_of: Container[Resting] = (),
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> list[OrderIntent]:
    """Record a cancel for each working order and GTT in a switch's scope, with one row of history.

    One that is being cancelled already keeps the cancel it has.
    """
    recorded = []
    resting: list[BrokerOrder | GttOrder] = [
        *_open_orders(scope, scope_key, spare_exits),
        *_open_gtts(scope, scope_key, spare_exits),
    ]
    for each in resting:
        if _names(each) in except_of:
            continue
        try:
            recorded.append(_record_cancel(each, new_id()))
        except OrderDenied:
            # It ended meanwhile.
            continue
    if recorded:
        RiskChange.objects.create(
            what=ChangeOf.CANCELS,
            scope=scope,
            scope_key=scope_key,
            after={"intents": [intent.pk for intent in recorded]},
            changed_by=by[:150],
            at=configured_clock().now(),
        )
    return recorded


def cancel_from_here(
    scope: Scope,
    scope_key: str,
    *,
    by: str,
    spare_exits: bool,
    wait: Callable[[float], None],
    monotonic: Callable[[], float],
) -> list[OrderIntent]:
    """Record the cancels and send them in this process, without a queue; returns them as they then are.

    An order that was leaving while the switch was set is waited for and cancelled, too.
    """
    give_up_at = monotonic() + PATIENCE_SECONDS
    cancels: dict[int, OrderIntent] = {}
    while True:
        # Looked at before the orders are listed: what was on its way then and has arrived is among them.
        more_may_come = _leaving(scope, scope_key).exists()
        handled = {(cancel.target_id, cancel.gtt_id) for cancel in cancels.values()}
        new = record_cancels(scope, scope_key, by=by, spare_exits=spare_exits, except_of=handled)
        cancels |= {cancel.pk: cancel for cancel in new}
        waiting = [pk for pk, cancel in cancels.items() if cancel.state in (IntentState.READY, IntentState.ARMED)]
        cancels |= {pk: deliver(pk) for pk in waiting}
        if not (waiting or more_may_come) or monotonic() > give_up_at:
            return list(cancels.values())
        wait(LOOK_SECONDS)


def was_seen_today(scope: Scope, scope_key: str) -> bool:
    """Whether any order of today is in a switch's scope."""
    return OrderIntent.objects.filter(_where(scope, scope_key, "strategy"), trading_day=_today()).exists()


def in_doubt(scope: Scope, scope_key: str) -> int:
    """How many of today's orders, and GTTs of any day, in a switch's scope may be at the broker with none to cancel."""
    placed = OrderIntent.objects.filter(_where(scope, scope_key, "strategy"), kind__in=PLACING_KINDS)
    may_last = Q(kind=IntentKind.GTT) | Q(trading_day=_today())
    return placed.filter(may_last, state__in=OPEN_QUESTIONS | {IntentState.ARMED}).count()


def entries_in_doubt(scope: Scope, scope_key: str) -> int:
    """How many of today's three-leg GTTs in a switch's scope entered with an order that cannot be cancelled yet.

    It can be once the GTT book has named it and the order book has shown it. A GTT that was cancelled leaves it.
    """
    entry = BrokerOrder.objects.filter(
        account=OuterRef("account"), broker_order_id=OuterRef("entry_order_id"), origin=BrokerOrder.Origin.OURS
    )
    # An entry is good for its day.
    gtts = GttOrder.objects.filter(
        _where(scope, scope_key, "attempt__intent__strategy"),
        kind=GttKind.THREE_LEG,
        attempt__intent__trading_day=_today(),
    )
    return gtts.exclude(status__in=[GttStatus.TRIGGERED, GttStatus.REJECTED]).exclude(Exists(entry)).count()


def _leaving(scope: Scope, scope_key: str) -> QuerySet[OrderIntent]:
    """Orders that a living process may be sending at this moment."""
    now = configured_clock().now()
    placed = OrderIntent.objects.filter(_where(scope, scope_key, "strategy"), kind__in=PLACING_KINDS)
    return placed.filter(state=IntentState.ARMED).filter(
        attempts__outcome=AttemptOutcome.ARMED, attempts__quiet_at__gte=now
    )


def _open_orders(scope: Scope, scope_key: str, spare_exits: bool) -> QuerySet[BrokerOrder]:
    """Today's working orders of ours; a person's own are never touched."""
    where = _where(scope, scope_key, "attempt__intent__strategy")
    if scope is Scope.STRATEGY:
        # What a GTT entered with has no attempt of its own.
        entered = GttOrder.objects.filter(account=OuterRef("account"), entry_order_id=OuterRef("broker_order_id"))
        where |= Q(Exists(entered.filter(attempt__intent__strategy=scope_key)))
    orders = BrokerOrder.objects.filter(where, trading_day=_today(), origin=BrokerOrder.Origin.OURS)
    orders = orders.exclude(status__in=TERMINAL_ORDER_STATUSES)
    if spare_exits:
        orders = orders.exclude(attempt__intent__reduce_only=True)
    return orders.select_related("account", "attempt__intent").order_by("account", "first_seen_at")


def _open_gtts(scope: Scope, scope_key: str, spare_exits: bool) -> QuerySet[GttOrder]:
    """GTTs of ours that may still trigger."""
    gtts = GttOrder.objects.filter(
        _where(scope, scope_key, "attempt__intent__strategy"),
        origin=GttOrder.Origin.OURS,
        status__in=[GttStatus.ACTIVE, GttStatus.UNKNOWN],
    )
    if spare_exits:
        # Target and stop close what the entry opened. Unless it is known that nothing is, they may be all that does.
        nothing = BrokerOrder.objects.filter(
            account=OuterRef("account"), broker_order_id=OuterRef("entry_order_id"), filled_quantity=0
        )
        gtts = gtts.exclude(attempt__intent__reduce_only=True).exclude(~Exists(nothing), kind=GttKind.THREE_LEG)
    return gtts.select_related("account", "attempt__intent").order_by("account", "first_seen_at")


def _names(resting: BrokerOrder | GttOrder) -> Resting:
    return (resting.pk, None) if isinstance(resting, BrokerOrder) else (None, resting.pk)


def _record_cancel(resting: BrokerOrder | GttOrder, client_order_id: str) -> OrderIntent:
    whose, strategy = resting.account, resting.attempt.intent.strategy if resting.attempt else ""
    if isinstance(resting, GttOrder):
        return recording.record_cancel(
            broker=whose.broker,
            account=whose.name,
            gtt_order_id=resting.gtt_order_id,
            client_order_id=client_order_id,
            strategy=strategy,
        )
    return operations.record_cancel(
        broker=whose.broker,
        account=whose.name,
        broker_order_id=resting.broker_order_id,
        client_order_id=client_order_id,
        strategy=strategy,
    )


def _where(scope: Scope, scope_key: str, strategy: str) -> Q:
    broker, _, name = scope_key.partition("/")
    return {
        Scope.EVERYTHING: Q(),
        Scope.ACCOUNT: Q(account__broker=broker, account__name=name),
        Scope.STRATEGY: Q(**{strategy: scope_key}),
        Scope.SYMBOL: Q(symbol=scope_key),
    }[scope]


def _today() -> date:
    return trading_day(configured_clock().now())
