"""GTTs turned into the SDK's arguments: text throughout, but for the list of legs (README of the SDK 1.0.69)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from brokers.adapters.breeze import building, tables
from brokers.domain.enums import Side
from brokers.domain.errors import OrderDenied, UnsupportedFeature
from brokers.domain.gtt import GttCancel, GttChange, GttEntry, GttKind, GttRequest, GttRole, GttTrigger
from brokers.domain.instruments import Instrument

#: The triggers that each kind has.
_ROLES = {GttKind.SINGLE: [GttRole.ORDER], GttKind.THREE_LEG: [GttRole.STOP, GttRole.TARGET]}


def day(moment: date) -> str:
    """A day as the samples of GTT calls write it, with two digits of a second's fraction."""
    return f"{moment.isoformat()}T06:00:00.00Z"


def days(first: date, last: date) -> dict[str, str]:
    """Arguments of the book: GTTs placed on the IST days from ``first`` to ``last``, both included."""
    return {"from_date": day(first), "to_date": day(last)}


def place(request: GttRequest, trade_date: date) -> dict[str, object]:
    """Arguments of ``gtt_single_leg_place_order``, or ``gtt_three_leg_place_order`` with an entry.

    :raises OrderDenied: legs that do not fit its kind, or a quantity or price that the exchange would refuse.
    :raises UnsupportedFeature: it is no derivative, or its product is not NRML.
    :raises InvalidSymbol: Breeze's master of the day does not have the instrument.
    """
    instrument = request.instrument
    expiry = _expiry(instrument)
    product = tables.PRODUCT_TO_WIRE.get((request.product, instrument.kind))
    if product is None:
        raise UnsupportedFeature(f"Breeze keeps no {request.product} GTT in {instrument.symbol}; use NRML.")
    instrument.check_quantity(request.quantity)
    legs = _legs(instrument, request.kind, request.triggers)
    arguments = building.contract(instrument) | {
        "expiry_date": day(expiry),
        "product": product,
        "quantity": str(request.quantity),
        "gtt_type": tables.GTT_KIND_TO_WIRE[request.kind],
        "index_or_stock": _index_or_stock(instrument),
        "trade_date": day(trade_date),
    }
    if request.entry is not None:
        arguments |= _entry(instrument, request.entry, request.triggers)
    return {**arguments, "order_details": legs}


def modify(change: GttChange) -> dict[str, object]:
    """Arguments of ``gtt_single_leg_modify_order`` or ``gtt_three_leg_modify_order``; absolute prices of every leg.

    :raises OrderDenied: legs that do not fit its kind, or a price that the exchange would refuse.
    :raises UnsupportedFeature: it is no derivative.
    """
    _expiry(change.instrument)
    return {
        "exchange_code": change.instrument.exchange.value,
        "gtt_order_id": change.gtt_order_id,
        "gtt_type": tables.GTT_CHANGE_TO_WIRE[change.kind],
        "order_details": _legs(change.instrument, change.kind, change.triggers),
    }


def cancel(request: GttCancel) -> dict[str, object]:
    """Arguments of ``gtt_single_leg_cancel_order`` or ``gtt_three_leg_cancel_order``."""
    return {"exchange_code": request.instrument.exchange.value, "gtt_order_id": request.gtt_order_id}


def _expiry(instrument: Instrument) -> date:
    """The expiry of a derivative.

    :raises UnsupportedFeature: it is a share or an index.
    """
    if not instrument.exchange.is_derivative or instrument.expiry is None:
        raise UnsupportedFeature(
            f"Breeze keeps GTTs in derivatives only, and {instrument.symbol} is traded at {instrument.exchange}; "
            "place an ordinary order."
        )
    return instrument.expiry


def _index_or_stock(instrument: Instrument) -> str:
    is_index = building.identifiers(instrument)["stock_code"] in tables.INDEX_UNDERLYINGS
    return "index" if is_index else "stock"


def _entry(instrument: Instrument, entry: GttEntry, triggers: Sequence[GttTrigger]) -> dict[str, str]:
    """The order that goes out at once, so that today's band holds for it."""
    instrument.check_price(entry.limit_price)
    if any(trigger.side is entry.side for trigger in triggers):
        raise OrderDenied(
            f"The target and the stop of a GTT in {instrument.symbol} must close what its entry opens; "
            f"give them the other side than {entry.side}."
        )
    return {
        "fresh_order_action": tables.SIDE_TO_WIRE[entry.side],
        "fresh_order_price": building.plain(entry.limit_price),
        "fresh_order_type": "limit",
    }


def _legs(instrument: Instrument, kind: GttKind, triggers: Sequence[GttTrigger]) -> list[dict[str, str]]:
    if sorted(trigger.role for trigger in triggers) != _ROLES[kind]:
        given = ", ".join(trigger.role for trigger in triggers) or "none"
        needed = " and ".join(_ROLES[kind])
        raise OrderDenied(f"A {kind} GTT in {instrument.symbol} needs the triggers {needed}; given: {given}.")
    if kind is GttKind.THREE_LEG:
        _check_pair(instrument, *sorted(triggers, key=lambda trigger: trigger.role))
    return [_leg(instrument, trigger) for trigger in triggers]


def _check_pair(instrument: Instrument, stop: GttTrigger, target: GttTrigger) -> None:
    if stop.side is not target.side:
        raise OrderDenied(f"The target and the stop of a GTT in {instrument.symbol} must be of one side.")
    gain = target.trigger_price - stop.trigger_price
    if gain.is_finite() and (gain <= 0 if target.side is Side.SELL else gain >= 0):
        raise OrderDenied(
            f"The target {target.trigger_price} of a GTT in {instrument.symbol} is no better for a {target.side} than "
            f"its stop {stop.trigger_price}; exchange them."
        )


def _leg(instrument: Instrument, trigger: GttTrigger) -> dict[str, str]:
    for price in (trigger.trigger_price, trigger.limit_price):
        instrument.on_any_day.check_price(price)
    leg = {
        "action": tables.SIDE_TO_WIRE[trigger.side],
        "limit_price": building.plain(trigger.limit_price),
        "trigger_price": building.plain(trigger.trigger_price),
    }
    if trigger.role in tables.GTT_ROLE_TO_WIRE:
        leg = {"gtt_leg_type": tables.GTT_ROLE_TO_WIRE[trigger.role], **leg}
    return leg
