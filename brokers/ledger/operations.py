"""Records what somebody wants done. Nothing here talks to a broker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from brokers import instruments
from brokers.clock import IST, configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import (
    Exchange,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from brokers.domain.errors import IdempotencyConflict, OrderDenied
from brokers.domain.inputs import Price, parse_or_deny, rupees, units
from brokers.domain.order_states import CANCEL_KINDS, LIVE_STATES, UNSETTLED_STATES, Actor, IntentKind, IntentState
from brokers.factory import find_account
from brokers.ledger import queries
from brokers.ledger.identity import check_words, fingerprint_of, unsaved_intent
from brokers.ledger.transitions import StaleIntent, create, move
from brokers.models import BrokerAccount, BrokerOrder, OrderIntent
from brokers.risk import exposure, limits, rules

#: An order found later than this is not what the strategy meant any more.
ENTRY_LIFETIME = timedelta(seconds=30)
EXIT_LIFETIME = timedelta(seconds=120)
#: A person takes longer than a price stays good, which is why both are looked at again when one approves.
APPROVAL_LIFETIME = timedelta(minutes=5)
#: A ring that was not answered after this long is given again.
RING_AGAIN_AFTER = timedelta(seconds=2)
#: Why an intent was not sent in its time, where nobody who tried has said so.
_WAITED_FOR = {
    IntentState.NEW: "its turn in the plan did not come",
    IntentState.AWAITING_APPROVAL: "nobody approved it",
    IntentState.READY: "no worker took it in time; see `manage.py status`",
}


def record_place(
    *,
    broker: str,
    account: str,
    symbol: str,
    side: str,
    quantity: int,
    order_type: str = "MARKET",
    limit_price: Price = None,
    trigger_price: Price = None,
    exchange: str | None = None,
    product: str | None = None,
    time_in_force: str = "DAY",
    client_order_id: str,
    strategy: str = "",
    not_after: datetime | None = None,
    reduce_only: bool = False,
    has_own_key: bool = True,
) -> OrderIntent:
    """Record an order, or return the one recorded under the same client order id.

    ``quantity`` in units, prices in rupees a unit; ``not_after`` is aware, market time, and of today. Where
    ``has_own_key`` is false the client order id was made up for this call, and a repetition is a second click.

    :raises OrderDenied: it breaks a rule of the instrument or the broker, or repeats another; nothing is recorded.
    :raises IdempotencyConflict: the client order id stands for another order, or for one of another day.
    """
    row = find_account(spec_of(broker).name, account)
    content = place_content(
        row,
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=order_type,
        limit_price=limit_price,
        trigger_price=trigger_price,
        exchange=exchange,
        product=product,
        time_in_force=time_in_force,
        reduce_only=reduce_only,
    )
    return record(
        row,
        IntentKind.PLACE,
        client_order_id,
        content,
        strategy=strategy,
        not_after=not_after,
        has_own_key=has_own_key,
    )


def place_content(
    account: BrokerAccount,
    *,
    symbol: str,
    side: str,
    quantity: int,
    order_type: str,
    limit_price: Price,
    trigger_price: Price,
    exchange: str | None,
    product: str | None,
    time_in_force: str,
    reduce_only: bool,
) -> dict[str, Any]:
    """An order in the ledger's words, by the names of its columns.

    :raises OrderDenied: it breaks a rule of the instrument or the broker.
    """
    instrument = instruments.lookup().resolve(symbol, parse_or_deny(Exchange, exchange) if exchange else None)
    content = {
        "exchange": instrument.exchange.value,
        "symbol": instrument.symbol,
        "side": parse_or_deny(Side, side).value,
        "quantity": units(quantity),
        "order_type": parse_or_deny(OrderType, order_type).value,
        "limit_price": rupees(limit_price, "Price"),
        "trigger_price": rupees(trigger_price, "Trigger price"),
        "product": rules.product_of(account, instrument, product).value,
        "time_in_force": parse_or_deny(TimeInForce, time_in_force).value,
        "reduce_only": reduce_only,
    }
    rules.check_order(spec_of(account.broker), instrument, content, trading_day(configured_clock().now()))
    return content


def record_cancel(
    *,
    broker: str,
    account: str,
    broker_order_id: str,
    client_order_id: str,
    strategy: str = "",
    not_after: datetime | None = None,
) -> OrderIntent:
    """Record the wish to cancel; a second one while the first is open returns the first.

    :raises OrderDenied: the order is not ours, not known, or has ended.
    """
    row = find_account(spec_of(broker).name, account)
    if known := existing(row, client_order_id):
        return same(known, {"target": broker_order_id}, IntentKind.CANCEL)
    target = _target(row, broker_order_id)
    try:
        return record(
            row,
            IntentKind.CANCEL,
            client_order_id,
            _of_target(target),
            strategy=strategy,
            target=target,
            not_after=not_after,
        )
    except _MutationOpen as open_one:
        return open_one.intent


def record_modify(
    *,
    broker: str,
    account: str,
    broker_order_id: str,
    client_order_id: str,
    quantity: int | None = None,
    limit_price: Price = None,
    trigger_price: Price = None,
    order_type: str | None = None,
    strategy: str = "",
    not_after: datetime | None = None,
) -> OrderIntent:
    """Record new absolute values for a working order; what is not given stays as it is.

    :raises OrderDenied: the order is not ours, not known, has ended, or the values break a rule.
    """
    spec = spec_of(broker)
    row = find_account(spec.name, account)
    wanted: dict[str, Any] = {
        "quantity": units(quantity) if quantity is not None else None,
        "limit_price": rupees(limit_price, "Price"),
        "trigger_price": rupees(trigger_price, "Trigger price"),
        "order_type": parse_or_deny(OrderType, order_type).value if order_type else None,
    }
    if known := existing(row, client_order_id):
        return same(known, {"target": broker_order_id, **_given(wanted)}, IntentKind.MODIFY)
    if not _given(wanted):
        raise OrderDenied(f"Nothing to modify on order {broker_order_id}; give a quantity, a price or a trigger price.")
    target = _target(row, broker_order_id)
    content = _changed(target, wanted)
    instrument = instruments.lookup().resolve(target.symbol, Exchange(target.exchange))
    rules.check_order(spec, instrument, content, trading_day(configured_clock().now()))
    _check_modify(target, content)
    try:
        return record(
            row,
            IntentKind.MODIFY,
            client_order_id,
            content,
            strategy=strategy,
            target=target,
            not_after=not_after,
            fingerprint={"target": broker_order_id, **_given(wanted)},
        )
    except _MutationOpen as open_one:
        raise OrderDenied(
            f"Order {broker_order_id} has a change under way ({open_one.intent.state}); modify it when that is settled."
        ) from open_one


def withdraw(intent: OrderIntent, *, cause: str) -> bool:
    """Take back an intent that was not sent yet; False when it is too late, or when it is sent again and may be there."""
    try:
        with transaction.atomic():
            move(intent, IntentState.WITHDRAWN, actor=Actor.CALLER, cause=cause, at=configured_clock().now())
    except StaleIntent:
        return False
    return intent.state == IntentState.WITHDRAWN


def sweep(limit: int = 500) -> list[OrderIntent]:
    """Let lapse what is too old to send; return recorded intents whose ring may have been lost."""
    now = configured_clock().now()
    unsent = OrderIntent.objects.filter(mode=settings.MODE.value).select_related("account")
    ready = unsent.filter(state=IntentState.READY)
    for waiting_for in (ready, unsent.filter(state=IntentState.AWAITING_APPROVAL)):
        for intent in waiting_for.filter(not_after__lt=now)[:limit]:
            lapse(intent, now, Actor.SWEEPER)
    waiting = ready.filter(not_before__lte=now, not_after__gte=now, updated_at__lte=now - RING_AGAIN_AFTER)
    return list(waiting.order_by("created_at")[:limit])


def lapse(intent: OrderIntent, now: datetime, actor: Actor) -> None:
    """Close an intent whose time ran out before it was sent, and say what it waited for."""
    why = intent.waiting_reason or _WAITED_FOR[IntentState(intent.state)]
    cause = f"its time ran out at {intent.not_after.astimezone(IST):%H:%M:%S} IST: {why}"
    try:
        with transaction.atomic():
            move(intent, IntentState.LAPSED, actor=actor, cause=cause, at=now, closed_reason=cause[:500])
    except StaleIntent:
        intent.refresh_from_db()


class _MutationOpen(Exception):
    """The order has another cancel, or another modify, whose outcome is open."""

    def __init__(self, intent: OrderIntent) -> None:
        super().__init__(str(intent))
        self.intent = intent


def record(
    account: BrokerAccount,
    kind: IntentKind,
    client_order_id: str,
    content: dict[str, Any],
    *,
    strategy: str,
    not_after: datetime | None,
    target: BrokerOrder | None = None,
    fingerprint: dict[str, Any] | None = None,
    has_own_key: bool = True,
) -> OrderIntent:
    key = str(client_order_id)
    now = configured_clock().now()
    check_words(key, strategy)
    if not_after is not None:
        rules.check_lifetime(not_after, now)
    if fingerprint is None:
        fingerprint = {"target": target.broker_order_id} if target else content
    lifetime = EXIT_LIFETIME if kind in CANCEL_KINDS or content["reduce_only"] else ENTRY_LIFETIME
    is_asked_about = account.requires_approval and kind not in CANCEL_KINDS and not content["reduce_only"]
    intent = unsaved_intent(
        account,
        kind,
        key,
        content,
        fingerprint=fingerprint,
        strategy=strategy,
        target=target,
        target_before=_shown(target) if target else content["gtt"].shown() if "gtt" in content else None,
        has_own_key=has_own_key,
        state=IntentState.AWAITING_APPROVAL if is_asked_about else IntentState.READY,
        not_after=not_after or now + (APPROVAL_LIFETIME if is_asked_about else lifetime),
        now=now,
    )
    exposure.check_repetition(intent, limits.of(account, strategy, intent.symbol), now)
    try:
        with transaction.atomic():
            create(intent, cause=f"{kind.lower()} recorded", at=now)
    except IntegrityError:
        if known := existing(account, key):
            return same(known, fingerprint, kind)
        if target is not None:
            open_one = OrderIntent.objects.filter(target=target, kind=kind, state__in=UNSETTLED_STATES).first()
            if open_one is not None:
                raise _MutationOpen(open_one) from None
        raise
    return intent


def existing(account: BrokerAccount, client_order_id: str) -> OrderIntent | None:
    return (
        OrderIntent.objects.select_related("account", "target")
        .filter(account=account, client_order_id=str(client_order_id))
        .first()
    )


def same(known: OrderIntent, fingerprint: dict[str, Any], kind: IntentKind) -> OrderIntent:
    """The recorded intent, if it says the same.

    :raises IdempotencyConflict: it says something else, or was said on another day.
    """
    if known.trading_day != trading_day(configured_clock().now()):
        raise IdempotencyConflict(
            f"Client order id {known.client_order_id!r} was used on {known.trading_day:%d %b %Y}, for "
            f"{known.kind.lower()} of {known.symbol} x {known.quantity}; nothing is sent for it today, give a "
            "new id to a new order."
        )
    if known.fingerprint != fingerprint_of(kind, fingerprint):
        raise IdempotencyConflict(
            f"Client order id {known.client_order_id!r} already stands for {known.kind.lower()} of "
            f"{known.symbol} x {known.quantity}; give a new id to a new order."
        )
    return known


def _target(account: BrokerAccount, broker_order_id: str) -> BrokerOrder:
    target = queries.broker_order(account.pk, broker_order_id, trading_day(configured_clock().now()))
    if target.origin != BrokerOrder.Origin.OURS:
        raise OrderDenied(f"Order {broker_order_id} is not mcube's; cancel or change it in the broker's own app.")
    if OrderStatus(target.status).is_terminal:
        raise OrderDenied(f"Order {broker_order_id} is {target.status.lower()}. Nothing is to be cancelled or changed.")
    return target


def _check_modify(target: BrokerOrder, content: dict[str, Any]) -> None:
    """:raises OrderDenied: it is being cancelled, or the new quantity is filled already."""
    if target.mutations.filter(kind=IntentKind.CANCEL, state__in=LIVE_STATES).exists():
        raise OrderDenied(f"Order {target} is being cancelled; it is not modified any more.")
    if content["quantity"] <= target.filled_quantity:
        raise OrderDenied(
            f"Quantity {content['quantity']} is not above the {target.filled_quantity} already filled on order "
            f"{target}; cancel the rest instead."
        )


def _of_target(target: BrokerOrder) -> dict[str, Any]:
    return {
        "exchange": target.exchange,
        "symbol": target.symbol,
        "side": target.side,
        "quantity": target.quantity,
        "order_type": target.order_type,
        "limit_price": target.limit_price,
        "trigger_price": target.trigger_price,
        "product": target.product,
        "time_in_force": TimeInForce.DAY.value,
        "reduce_only": target.attempt is not None and target.attempt.intent.reduce_only,
    }


def _shown(target: BrokerOrder) -> dict[str, str | None]:
    """The order as the book shows it now, as text."""
    names = ("status", "filled_quantity", "quantity", "limit_price", "trigger_price")
    values = {name: getattr(target, name) for name in names}
    return {name: str(value) if value is not None else None for name, value in values.items()}


def _changed(target: BrokerOrder, wanted: dict[str, Any]) -> dict[str, Any]:
    """The order as it will be; a price that its new type does not take is not carried over."""
    content = _of_target(target) | _given(wanted)
    if content["order_type"] != OrderType.STOP_LIMIT and wanted["trigger_price"] is None:
        content["trigger_price"] = None
    if content["order_type"] == OrderType.MARKET and wanted["limit_price"] is None:
        content["limit_price"] = None
    return content


def _given(wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if value is not None}
