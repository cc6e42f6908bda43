"""Records the wish for a GTT, its change or its cancel. Nothing is sent here; they are delivered like every order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError

from brokers import instruments
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, OrderType, Side, TimeInForce
from brokers.domain.errors import OrderDenied
from brokers.domain.gtt import GttKind, GttRole, GttStatus, GttTrigger
from brokers.domain.inputs import Price, parse_or_deny, rupees, units
from brokers.domain.instruments import Instrument
from brokers.domain.order_states import UNSETTLED_STATES, IntentKind, IntentState
from brokers.factory import find_account
from brokers.ledger.operations import existing, record, same
from brokers.models import BrokerAccount, GttOrder, OrderIntent
from brokers.risk import rules


def record_single(
    *,
    broker: str,
    account: str,
    symbol: str,
    side: str,
    quantity: int,
    trigger_price: Price,
    limit_price: Price,
    exchange: str | None = None,
    product: str | None = None,
    client_order_id: str,
    strategy: str = "",
    reduce_only: bool = False,
    has_own_key: bool = True,
    not_after: datetime | None = None,
) -> OrderIntent:
    """Record one limit order that the broker is to send at its trigger, or return the one under the same id.

    ``quantity`` in units, prices in rupees a unit. ``not_after`` is when it is given up here if it could not be
    handed over; how long the broker keeps it is the broker's rule.

    :raises OrderDenied: it breaks a rule of the instrument or the broker; nothing is recorded.
    :raises UnsupportedFeature: the broker offers no such GTT.
    """
    row, instrument = _whose(broker, account, symbol, exchange, Operation.GTT_SINGLE)
    wanted = parse_or_deny(Side, side)
    trigger = _trigger(instrument, GttRole.ORDER, wanted, trigger_price, limit_price)
    content = _content(row, instrument, wanted, quantity, product, trigger.limit_price, [trigger])
    content |= {"trigger_price": trigger.trigger_price, "reduce_only": reduce_only}
    return record(
        row,
        IntentKind.GTT,
        client_order_id,
        content,
        strategy=strategy,
        not_after=not_after,
        has_own_key=has_own_key,
    )


def record_three_leg(
    *,
    broker: str,
    account: str,
    symbol: str,
    side: str,
    quantity: int,
    limit_price: Price,
    target_trigger_price: Price,
    target_price: Price,
    stop_trigger_price: Price,
    stop_price: Price,
    exchange: str | None = None,
    product: str | None = None,
    client_order_id: str,
    strategy: str = "",
    has_own_key: bool = True,
    not_after: datetime | None = None,
) -> OrderIntent:
    """Record an entry at ``limit_price``, sent at once, with a target and a stop that close it; as :func:`record_single`.

    ``side`` is that of the entry. Of target and stop the first to trigger ends the other.
    """
    row, instrument = _whose(broker, account, symbol, exchange, Operation.GTT_THREE_LEG)
    entry, price = parse_or_deny(Side, side), rupees(limit_price, "Price")
    closing = Side.SELL if entry is Side.BUY else Side.BUY
    target = _trigger(instrument, GttRole.TARGET, closing, target_trigger_price, target_price)
    stop = _trigger(instrument, GttRole.STOP, closing, stop_trigger_price, stop_price)
    _check_around(entry, target, stop)
    content = _content(row, instrument, entry, quantity, product, price, [target, stop])
    return record(
        row,
        IntentKind.GTT,
        client_order_id,
        content,
        strategy=strategy,
        not_after=not_after,
        has_own_key=has_own_key,
    )


def record_change(
    *,
    broker: str,
    account: str,
    gtt_order_id: str,
    client_order_id: str,
    prices: Mapping[str, tuple[Price, Price]],
    strategy: str = "",
) -> OrderIntent:
    """Record new trigger and limit prices, in rupees, by the role of the trigger; None leaves a price as it is.

    :raises OrderDenied: the GTT is not ours, not known, over, has no such trigger, or has a change under way.
    """
    row = find_account(spec_of(broker).name, account)
    given = {
        role: [rupees(each, "Price") for each in pair]
        for role, pair in sorted(prices.items())
        if any(each is not None for each in pair)
    }
    asked = {"gtt": gtt_order_id, **{role: [str(each) for each in pair] for role, pair in given.items()}}
    if known := existing(row, client_order_id):
        return same(known, asked, IntentKind.GTT_MODIFY)
    gtt = _target(row, gtt_order_id)
    if not given:
        raise OrderDenied(f"Nothing to modify on GTT {gtt_order_id}; give a trigger price or a price.")
    if missing := sorted(set(given) - {leg["role"] for leg in gtt.legs}):
        raise OrderDenied(f"GTT {gtt_order_id} has no {missing[0].lower()}; it is a {gtt.get_kind_display()} one.")
    instrument = instruments.lookup().resolve(gtt.symbol, Exchange(gtt.exchange))
    triggers = []
    for leg in _newest_triggers(gtt):
        old = GttTrigger.of(leg)
        trigger_price, limit_price = given.get(leg["role"], (None, None))
        triggers.append(
            _trigger(instrument, old.role, old.side, trigger_price or old.trigger_price, limit_price or old.limit_price)
        )
    content = _of_target(gtt) | {"triggers": [each.plain() for each in triggers]}
    return _mutation(row, IntentKind.GTT_MODIFY, client_order_id, gtt, content, asked, strategy)


def record_cancel(
    *, broker: str, account: str, gtt_order_id: str, client_order_id: str, strategy: str = ""
) -> OrderIntent:
    """Record the wish to cancel; a second one while the first is open returns the first.

    :raises OrderDenied: the GTT is not ours, not known, or over.
    """
    row = find_account(spec_of(broker).name, account)
    asked = {"gtt": gtt_order_id}
    if known := existing(row, client_order_id):
        return same(known, asked, IntentKind.GTT_CANCEL)
    gtt = _target(row, gtt_order_id)
    return _mutation(row, IntentKind.GTT_CANCEL, client_order_id, gtt, _of_target(gtt), asked, strategy)


def _mutation(
    account: BrokerAccount,
    kind: IntentKind,
    client_order_id: str,
    gtt: GttOrder,
    content: dict[str, Any],
    asked: dict[str, Any],
    strategy: str,
) -> OrderIntent:
    try:
        return record(account, kind, client_order_id, content, strategy=strategy, not_after=None, fingerprint=asked)
    except IntegrityError:
        open_one = OrderIntent.objects.filter(gtt=gtt, kind=kind, state__in=UNSETTLED_STATES).first()
        if open_one is None:
            raise
        if kind == IntentKind.GTT_CANCEL:
            return open_one
        raise OrderDenied(
            f"GTT {gtt} has a change under way ({open_one.state}); modify it when that is settled."
        ) from None


def _whose(
    broker: str, account: str, symbol: str, exchange: str | None, operation: Operation
) -> tuple[BrokerAccount, Instrument]:
    spec = spec_of(broker)
    row = find_account(spec.name, account)
    spec.capabilities.require(operation, str(row))
    return row, instruments.lookup().resolve(symbol, parse_or_deny(Exchange, exchange) if exchange else None)


def _content(
    account: BrokerAccount,
    instrument: Instrument,
    side: Side,
    quantity: int,
    product: str | None,
    limit_price: Decimal | None,
    triggers: Sequence[GttTrigger],
) -> dict[str, Any]:
    if not instrument.exchange.is_derivative:
        raise OrderDenied(f"{instrument.symbol} is a share; GTTs are taken for futures and options only.")
    content = {
        "exchange": instrument.exchange.value,
        "symbol": instrument.symbol,
        "side": side.value,
        "quantity": units(quantity),
        "order_type": OrderType.LIMIT.value,
        "limit_price": limit_price,
        "trigger_price": None,
        "product": rules.product_of(account, instrument, product).value,
        "time_in_force": TimeInForce.DAY.value,
        "reduce_only": False,
        "triggers": [each.plain() for each in triggers],
    }
    enters = len(triggers) > 1
    rules.check_order(
        spec_of(account.broker),
        instrument if enters else instrument.on_any_day,
        content,
        trading_day(configured_clock().now()),
    )
    return content


def _trigger(instrument: Instrument, role: GttRole, side: Side, trigger_price: Price, limit_price: Price) -> GttTrigger:
    words = "" if role is GttRole.ORDER else f"{role.value.capitalize()} "
    trigger, limit = rupees(trigger_price, f"{words}trigger price"), rupees(limit_price, f"{words}price")
    if trigger is None or limit is None:
        raise OrderDenied(f"The {role.value.lower()} of a GTT needs a trigger price and a price in rupees a unit.")
    for price in (trigger, limit):
        instrument.on_any_day.check_price(price)
    return GttTrigger(role=role, side=side, trigger_price=trigger, limit_price=limit)


def _check_around(entry: Side, target: GttTrigger, stop: GttTrigger) -> None:
    """:raises OrderDenied: target and stop are on the wrong sides of each other."""
    low, high = (stop, target) if entry is Side.BUY else (target, stop)
    if low.trigger_price >= high.trigger_price:
        raise OrderDenied(
            f"Target {target.trigger_price} and stop {stop.trigger_price} do not go together: after buying, the target is "
            "above the stop; after selling, below it."
        )


def _target(account: BrokerAccount, gtt_order_id: str) -> GttOrder:
    """:raises OrderDenied: it is not known, not ours, or over."""
    gtt = GttOrder.objects.filter(account=account, gtt_order_id=str(gtt_order_id)).select_related("attempt").first()
    if gtt is None:
        raise OrderDenied(f"GTT {gtt_order_id!r} is not in the GTT book as mcube knows it; read the GTT book first.")
    if gtt.origin != GttOrder.Origin.OURS:
        raise OrderDenied(f"GTT {gtt_order_id} is not mcube's; cancel or change it in the broker's own app.")
    if GttStatus(gtt.status).is_over:
        raise OrderDenied(
            f"GTT {gtt_order_id} is over: it is {gtt.status.lower()}. Nothing is to be cancelled or changed."
        )
    return gtt


def _newest_triggers(gtt: GttOrder) -> list[dict[str, str]]:
    """Its triggers after the newest change that the broker took, which the book may not show yet."""
    taken = OrderIntent.objects.filter(gtt=gtt, kind=IntentKind.GTT_MODIFY, state=IntentState.WORKING)
    newest = taken.order_by("-pk").first()
    triggers: list[dict[str, str]] = (newest.triggers if newest else None) or gtt.legs
    return triggers


def _of_target(gtt: GttOrder) -> dict[str, Any]:
    first = GttTrigger.of(gtt.legs[0])
    intent = gtt.attempt.intent if gtt.attempt else None
    return {
        "gtt": gtt,
        "exchange": gtt.exchange,
        "symbol": gtt.symbol,
        "side": first.side.value,
        "quantity": gtt.quantity,
        "order_type": OrderType.LIMIT.value,
        "limit_price": first.limit_price,
        "trigger_price": first.trigger_price if gtt.kind == GttKind.SINGLE else None,
        "product": gtt.product,
        "time_in_force": TimeInForce.DAY.value,
        "reduce_only": bool(intent and intent.reduce_only),
    }
