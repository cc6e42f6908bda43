"""Orders of a broker's book that this ledger did not send: people are told, and trading stops where it cannot be right."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.functions import Concat

from brokers.alerts import raise_alert
from brokers.discovery import spec_of
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import IntentKind, IntentState
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    GttOrder,
    KillSwitch,
    OrderIntent,
    Scope,
    Severity,
)
from brokers.risk.switches import set_switch

UNEXPLAINED = "unexplained_order"
#: While one of ours is in one of these, what the book shows may be it.
_IN_QUESTION = (IntentState.ARMED, IntentState.UNKNOWN)
#: A GTT in one of these may be at the broker, whether its book shows it or not.
_MAY_BE_THERE = (IntentState.ARMED, IntentState.WORKING, IntentState.UNKNOWN, IntentState.NEEDS_HUMAN)


def tell(order: BrokerOrder, *, at: datetime) -> None:
    """Where nobody trades by hand, an order that is nobody's may be one of ours that the broker made twice.

    While it may be one whose outcome is not known, nothing is said; :func:`tell_of_waiting` says it then.
    """
    same = OrderIntent.objects.filter(account=order.account, symbol=order.symbol)
    if not same.filter(state__in=_IN_QUESTION).exists():
        _tell(order, at)


def tell_of_waiting(account: BrokerAccount, orders: Iterable[BrokerOrder], *, at: datetime) -> None:
    """Tell of ``orders`` that were first seen while one of ours was in question, and are still nobody's once none is."""
    if account.manual_trading != BrokerAccount.ManualTrading.NONE:
        return
    nobodys = [order for order in orders if order.attempt_id is None and order.origin == BrokerOrder.Origin.EXTERNAL]
    if not nobodys:
        return
    same = OrderIntent.objects.filter(account=account, symbol=OuterRef("symbol"))
    while_under_way = same.filter(created_at__lte=OuterRef("first_seen_at"), updated_at__gte=OuterRef("first_seen_at"))
    # A person who is asked about one has those that look like it before them.
    is_asked_about = Q(state=IntentState.NEEDS_HUMAN, side=OuterRef("side"), quantity=OuterRef("quantity"))
    key = Concat(Value(f"{UNEXPLAINED}:{account.pk}:{nobodys[0].trading_day}:"), OuterRef("broker_order_id"))
    # Read again, and in one statement: an answer may have claimed one since.
    waiting = BrokerOrder.objects.filter(
        Exists(while_under_way.filter(trading_day=OuterRef("trading_day"))),
        ~Exists(same.filter(Q(state__in=_IN_QUESTION) | is_asked_about)),
        ~Exists(Alert.objects.filter(account=account, kind=UNEXPLAINED, key=key)),
        pk__in=[order.pk for order in nobodys],
        origin=BrokerOrder.Origin.EXTERNAL,
        attempt__isnull=True,
    )
    for order in waiting.select_related("account"):
        _tell(order, at)


def _tell(order: BrokerOrder, at: datetime) -> None:
    if may_be_of_a_gtt(order):
        meaning = "Nobody is said to trade there by hand; a GTT of the same contract may have sent it, or it is one order twice."
    else:
        meaning = "Nobody is said to trade there by hand, so the broker may have made one order twice."
    raise_alert(
        UNEXPLAINED,
        f"{order.account_id}:{order.trading_day}:{order}",
        severity=Severity.WARNING,
        happened=f"Order {order} of {order.account}, {order.side} {order.quantity} {order.symbol}, was sent by nobody here.",
        meaning=meaning,
        to_do="Look at it in the broker's own app and cancel it if it is too much; where people trade too, say so on "
        "the account's page.",
        at=at,
        account=order.account,
    )


def may_be_of_a_gtt(order: BrokerOrder) -> bool:
    """Whether a GTT of the account may have put this order into the order book, which does not say so.

    One whose own answer was lost is in no GTT book yet, and an entry stays when its GTT is cancelled.
    """
    place = {"account": order.account, "exchange": order.exchange, "symbol": order.symbol}
    may_send = Q(status__in=[GttStatus.ACTIVE, GttStatus.UNKNOWN, GttStatus.TRIGGERED])
    known = GttOrder.objects.filter(may_send | Q(entry_order_id=order.broker_order_id), **place)
    not_shown_yet = OrderIntent.objects.filter(kind=IntentKind.GTT, state__in=_MAY_BE_THERE, **place)
    return known.exists() or not_shown_yet.exists()


def reappeared(intent: OrderIntent) -> BrokerOrder | None:
    """Nobody's order that may be what an earlier attempt sent, which was called absent: by its tag, or its looks.

    Without a tag, one that was seen before the intent was decided to be sent again is no news.
    """
    lost = intent.called_absent() if intent.kind == IntentKind.PLACE else None
    if lost is None:
        return None
    free = BrokerOrder.objects.filter(
        account=intent.account_id, trading_day=intent.trading_day, symbol=intent.symbol, attempt__isnull=True
    )
    if spec_of(intent.account.broker).capabilities.echoes_client_tag:
        return free.filter(client_tag__startswith=intent.client_tag).first()
    decided = intent.events.filter(from_state__in=[IntentState.ABSENT, IntentState.NEEDS_HUMAN]).latest("sequence")
    looks = {name: getattr(intent, name) for name in ("exchange", "side", "quantity", "product", "trigger_price")}
    at_the_time = Q(placed_at__isnull=True) | Q(placed_at__lte=decided.at)
    return free.filter(at_the_time, first_seen_at__gt=decided.at, limit_price=lost.sent_price, **looks).first()


def check_tag(order: BrokerOrder, tag: str, *, is_known: bool, at: datetime) -> None:
    """Halt the account when an order cannot be what this ledger sent."""
    same = BrokerOrder.objects.filter(account=order.account, trading_day=order.trading_day, client_tag__startswith=tag)
    other = same.exclude(pk=order.pk).first()
    if not is_known:
        happened = f"Order {order} of {order.account} carries the tag {tag} of mcube, and the ledger does not know it."
        meaning = "The ledger is older than the orders, e.g. restored from a copy, or another installation trades here."
    elif other is not None:
        happened = f"Orders {other} and {order} of {order.account} carry the same tag {tag}."
        meaning = "The broker has one order twice, or somebody sent it past the ledger."
    else:
        return
    set_switch(Scope.ACCOUNT, str(order.account), KillSwitch.State.HALTED, by="mcube", reason=happened, at=at)
    raise_alert(
        "suspect_order",
        f"{order.account_id}:{order.trading_day}:{order}",
        severity=Severity.CRITICAL,
        happened=happened,
        meaning=f"{meaning} The account is halted: only cancels are sent.",
        to_do="Compare the broker's own app with the ledger, cancel there what is too much, then resume the account.",
        at=at,
        account=order.account,
    )
