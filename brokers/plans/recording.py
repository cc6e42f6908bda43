"""Writes a basket with all of its children in one transaction. Nothing here talks to a broker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from brokers import instruments
from brokers.calendar import MarketCalendar
from brokers.clock import IST, configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import Exchange, OrderType, TimeInForce
from brokers.domain.errors import IdempotencyConflict, MarketClosed, OrderDenied
from brokers.domain.inputs import parse_or_deny, units
from brokers.domain.instruments import Instrument
from brokers.domain.order_states import Actor, IntentKind, IntentState
from brokers.factory import find_account
from brokers.interfaces import Slicing
from brokers.ledger.identity import check_words, fingerprint_of, unsaved_intent
from brokers.ledger.operations import place_content
from brokers.ledger.transitions import create
from brokers.models import BrokerAccount, OrderIntent, OrderPlan
from brokers.plans.slicing import sliced
from brokers.risk import rules

#: What a plan may take beyond the pace of its slices, and beyond that where a person is to approve it first.
MARGIN = timedelta(minutes=5)
APPROVAL_MARGIN = timedelta(minutes=15)
MOST_SLICES = 500
MOST_PACE = 3600
#: What a leg may say.
LEG_WORDS = frozenset(
    {
        "symbol", "action", "lots", "quantity", "order_type", "price", "trigger_price", "product", "exchange",
        "time_in_force", "reduce_only",
    }
)  # fmt: skip
#: Of those, what an order of the leg has as its own columns.
_CONTENT = ("order_type", "limit_price", "trigger_price", "product", "time_in_force", "reduce_only")


def record_basket(
    *,
    broker: str,
    legs: Sequence[Mapping[str, Any]],
    client_order_id: str,
    account: str = "default",
    strategy: str = "",
    lots_per_order: int | None = None,
    pace_seconds: int | None = None,
    not_after: datetime | None = None,
) -> OrderPlan:
    """Record a basket, or return the one recorded under the same client order id.

    A leg names ``symbol``, ``action``, ``lots`` or ``quantity`` in units, and may name the other words of a
    single order. Each leg is cut by ``lots_per_order`` and by its freeze quantity. ``not_after`` is aware, market
    time, of today; without it there is time for all slices and some more, at most until the market closes.

    :raises OrderDenied: a leg breaks a rule, or there is not enough time; nothing is recorded.
    :raises IdempotencyConflict: the client order id stands for another basket, or for one of another day.
    """
    row, now, key = find_account(spec_of(broker).name, account), configured_clock().now(), str(client_order_id)
    check_words(key, strategy)
    if not_after is not None:
        rules.check_lifetime(not_after, now)
    pace = checked_pace(pace_seconds, row, OrderPlan.Kind.BASKET)
    cut = [_leg(row, number, leg, lots_per_order) for number, leg in enumerate(_listed(legs))]
    fingerprint = fingerprint_of(
        OrderPlan.Kind.BASKET, {"legs": [plain(each, "slices") for each in cut], "lots": lots_per_order, "pace": pace}
    )
    if existing := existing_plan(row, key):
        return same_plan(existing, fingerprint, trading_day(now))
    for number, each in enumerate(cut, 1):
        each["key"] = f"{key}.{number}"
    return insert(
        OrderPlan(
            account=row,
            kind=OrderPlan.Kind.BASKET,
            strategy=strategy,
            client_order_id=key,
            fingerprint=fingerprint,
            legs=cut,
            pace_seconds=pace,
            not_after=_ends_at(row, cut, pace, not_after, now),
            created_at=now,
        )
    )


def insert(plan: OrderPlan) -> OrderPlan:
    """Write a plan with the orders of its legs, or find the one that was written under its key meanwhile.

    :raises IdempotencyConflict: the key stands for another one.
    :raises IntegrityError: another rule of the tables forbids it.
    """
    plan.mode, plan.trading_day = settings.MODE.value, trading_day(plan.created_at)
    try:
        with transaction.atomic():
            plan.save(force_insert=True)
            write_children(plan, range(len(plan.legs)), plan.created_at)
    except IntegrityError:
        if existing := existing_plan(plan.account, plan.client_order_id):
            return same_plan(existing, plan.fingerprint, plan.trading_day)
        raise
    return plan


def write_children(plan: OrderPlan, numbers: Iterable[int], now: datetime) -> list[OrderIntent]:
    """Insert the orders of the plan's legs with these numbers, all waiting for their turn. Call inside a transaction."""
    written = []
    for number in numbers:
        leg = plan.legs[number]
        for index, quantity in enumerate(leg["slices"]):
            content = place_content(
                plan.account,
                symbol=leg["symbol"],
                exchange=leg["exchange"],
                side=leg["side"],
                quantity=quantity,
                **{name: leg[name] for name in _CONTENT},
            )
            child = unsaved_intent(
                plan.account,
                IntentKind.PLACE,
                child_key(leg["key"], index),
                content,
                fingerprint=content,
                now=now,
                strategy=plan.strategy,
                state=IntentState.NEW,
                not_after=plan.not_after,
                plan=plan,
                leg=number,
                slice=index,
            )
            create(child, cause=f"slice {index + 1} of {len(leg['slices'])} recorded", at=now, actor=Actor.PLAN)
            written.append(child)
    return written


def child_key(leg_key: str, index: int) -> str:
    """The client order id of a slice: readable, unique, at most 64 characters, and always the same."""
    digest = hashlib.sha256(f"{leg_key}|{index}".encode()).hexdigest()
    return f"{leg_key[:46]}.{index + 1}.{digest[:12]}"


def build_leg(
    account: BrokerAccount,
    instrument: Instrument,
    *,
    kind: OrderPlan.Kind,
    quantity: int,
    lots_per_order: int | None = None,
    **words: Any,
) -> dict[str, Any]:
    """A leg as the plan keeps it: the order's words, today's lot and freeze sizes, and its slices in units.

    :raises OrderDenied: it breaks a rule, the lot size is not known, or the quantity is not whole lots.
    """
    if instrument.lot_size is None:
        raise OrderDenied(
            f"The lot size of {instrument.symbol} is not known today; refresh the instruments and try again."
        )
    # Shares have no lots worth the name and are cut by the freeze quantity alone.
    default = slicing_of(account, kind).lots_per_order if instrument.exchange.is_derivative else None
    slices = sliced(
        quantity,
        lot_size=instrument.lot_size,
        freeze_quantity=instrument.freeze_quantity,
        lots_per_order=default if lots_per_order is None else lots_per_order,
    )
    place: dict[str, Any] = {"symbol": instrument.symbol, "exchange": instrument.exchange.value}
    content = place_content(account, **place, quantity=slices[0], **words)
    own = {name: _json(content[name]) for name in ("side", *_CONTENT)}
    return {
        **place,
        **own,
        "quantity": quantity,
        "lot_size": instrument.lot_size,
        "freeze_quantity": instrument.freeze_quantity,
        "slices": slices,
    }


def existing_plan(account: BrokerAccount, client_order_id: str) -> OrderPlan | None:
    return OrderPlan.objects.select_related("account").filter(account=account, client_order_id=client_order_id).first()


def same_plan(existing: OrderPlan, fingerprint: str, today: object) -> OrderPlan:
    """The recorded plan, if it says the same.

    :raises IdempotencyConflict: it says something else, or was said on another day.
    """
    if existing.trading_day != today:
        raise IdempotencyConflict(
            f"Client order id {existing.client_order_id!r} was used for a plan on {existing.trading_day:%d %b %Y}; "
            "nothing is sent for it today, give a new id to a new plan."
        )
    if existing.fingerprint != fingerprint:
        raise IdempotencyConflict(
            f"Client order id {existing.client_order_id!r} already stands for another {existing.get_kind_display()}; "
            "give a new id to a new plan."
        )
    return existing


def session_end(exchanges: Iterable[str], now: datetime) -> datetime:
    """When the first of these exchanges closes today.

    :raises MarketClosed: one of them is closed now.
    """
    calendar = MarketCalendar(configured_clock())
    ends = []
    for exchange in sorted(set(exchanges)):
        if reason := calendar.why_closed(exchange, now):
            raise MarketClosed(reason)
        if session := calendar.session(exchange, trading_day(now)):
            ends.append(session[1])
    return min(ends)


def plain(leg: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {name: value for name, value in leg.items() if name not in without}


def _listed(legs: Any) -> list[Mapping[str, Any]]:
    if isinstance(legs, (str, bytes, Mapping)) or not isinstance(legs, Sequence) or not legs:
        raise OrderDenied("A basket needs a list of legs, each with symbol, action, and lots or quantity.")
    return list(legs)


def _leg(account: BrokerAccount, number: int, leg: Any, lots_per_order: int | None) -> dict[str, Any]:
    """One leg in the ledger's words, checked and cut.

    :raises OrderDenied: it breaks a rule.
    """
    if not isinstance(leg, Mapping) or (unknown := set(leg) - LEG_WORDS):
        words = ", ".join(sorted(map(str, unknown))) if isinstance(leg, Mapping) else repr(leg)[:80]
        raise OrderDenied(f"Leg {number + 1} says {words}; a leg may say {', '.join(sorted(LEG_WORDS))}.")
    if missing := {"symbol", "action"} - set(leg):
        raise OrderDenied(f"Leg {number + 1} has no {' and no '.join(sorted(missing))}.")
    if ("lots" in leg) == ("quantity" in leg):
        raise OrderDenied(f"Leg {number + 1} of {leg['symbol']} needs either lots, or a quantity in units.")
    exchange = parse_or_deny(Exchange, leg["exchange"]) if leg.get("exchange") else None
    instrument = instruments.lookup().resolve(leg["symbol"], exchange)
    built = build_leg(
        account,
        instrument,
        kind=OrderPlan.Kind.BASKET,
        quantity=units(leg["lots"]) * (instrument.lot_size or 0) if "lots" in leg else units(leg["quantity"]),
        lots_per_order=None if lots_per_order is None else units(lots_per_order),
        side=leg["action"],
        order_type=leg.get("order_type", OrderType.MARKET),
        limit_price=leg.get("price"),
        trigger_price=leg.get("trigger_price"),
        product=leg.get("product"),
        time_in_force=leg.get("time_in_force", TimeInForce.DAY),
        reduce_only=bool(leg.get("reduce_only", False)),
    )
    return built | {"round": 0, "line": ""}


def _json(value: Any) -> Any:
    return str(value.normalize()) if isinstance(value, Decimal) else value


def slicing_of(account: BrokerAccount, kind: OrderPlan.Kind) -> Slicing:
    """How a plan is cut and paced where its caller names nothing."""
    spec = spec_of(account.broker)
    return spec.close_slicing if kind == OrderPlan.Kind.CLOSE else spec.basket_slicing


def checked_pace(seconds: Any, account: BrokerAccount, kind: OrderPlan.Kind) -> int:
    """:raises OrderDenied: it is not a whole number of seconds within reason."""
    if seconds is None:
        return slicing_of(account, kind).pace_seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MOST_PACE:
        raise OrderDenied(f"pace_seconds {seconds!r} is not a whole number of seconds from 0 to {MOST_PACE}.")
    return seconds


def _ends_at(
    account: BrokerAccount, legs: Sequence[Mapping[str, Any]], pace: int, not_after: datetime | None, now: datetime
) -> datetime:
    """When the last slice may go.

    :raises OrderDenied: the market is closed, or the slices do not fit into the time there is.
    """
    count = sum(len(leg["slices"]) for leg in legs)
    if count > MOST_SLICES:
        raise OrderDenied(f"The basket would be {count} orders, more than {MOST_SLICES}; allow more lots in an order.")
    needed = timedelta(seconds=duration(legs, pace))
    closes = session_end((leg["exchange"] for leg in legs), now)
    ample = now + needed + MARGIN + (APPROVAL_MARGIN if account.requires_approval else timedelta(0))
    ends = min(not_after or ample, closes)
    if now + needed > ends:
        raise OrderDenied(
            f"The slices need {needed.total_seconds():.0f} s at a pace of {pace} s, which is past "
            f"{ends.astimezone(IST):%H:%M:%S} IST; allow more lots in an order, a shorter pace or more time."
        )
    return ends


def duration(legs: Sequence[Mapping[str, Any]], pace: int) -> int:
    """Seconds that the pace alone takes: the longest leg that is bought, then the longest that is sold."""
    longest: dict[str, int] = {}
    for leg in legs:
        longest[leg["side"]] = max(longest.get(leg["side"], 0), len(leg["slices"]) - 1)
    return sum(longest.values()) * pace
