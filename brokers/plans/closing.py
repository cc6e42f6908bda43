"""Closes positions, round by round, until the broker says flat.

A round reads the positions, writes the orders that close what is there, and is over when all of them have ended.
Only a reading that was made after that ends the closing, or begins the next round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from brokers import instruments
from brokers.alerts import close_alert, raise_alert
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.account import Position
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.domain.errors import InvalidSymbol, OrderDenied
from brokers.domain.inputs import parse_or_deny
from brokers.domain.order_states import LIVE_STATES, PLACING_KINDS, TERMINAL_STATES, IntentState
from brokers.factory import BrokerFactory, find_account
from brokers.ledger.identity import check_words, fingerprint_of
from brokers.limits import Urgency
from brokers.models import OrderIntent, OrderPlan, Severity
from brokers.plans import running
from brokers.plans.legs import children_of, leg_progress
from brokers.plans.recording import (
    MARGIN,
    build_leg,
    checked_pace,
    duration,
    existing_plan,
    insert,
    same_plan,
    session_end,
    write_children,
)
from brokers.risk.exposure import SETTLING

#: How long a closing may take at least.
LIFETIME = timedelta(minutes=15)
#: Rounds for one position, and after a person let it go on as many again.
ROUNDS = 3
#: Before the session's end by which the last slice of a round is to be sent.
BEFORE_CLOSE = timedelta(minutes=1)
#: How long the positions may be unreadable before it is urgent.
BLIND_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """One open position, and what the closing's last round did to it."""

    exchange: str
    symbol: str
    product: Product
    units: int
    #: Numbers of its legs in the plan.
    legs: Sequence[int]


class _LookAgain(Exception):
    """The reading is too old, or too early, to act upon."""


def record_close(
    *,
    broker: str,
    account: str = "default",
    symbol: str | None = None,
    exchange: str | None = None,
    product: str | None = None,
    client_order_id: str,
    strategy: str = "",
    pace_seconds: int | None = None,
) -> OrderPlan:
    """Record the wish to be flat: in one symbol, or without one in all; in one product, or without one in all.

    Nothing is read here: the first round does. While a closing of the same is unfinished, this returns it.

    :raises OrderDenied: the symbol or a word is not known, or its exchange is closed; nothing is recorded.
    :raises IdempotencyConflict: the client order id stands for another plan, or for one of another day.
    """
    row, now, key = find_account(spec_of(broker).name, account), configured_clock().now(), str(client_order_id)
    check_words(key, strategy)
    subject = _subject(symbol, exchange, product)
    fingerprint = fingerprint_of(OrderPlan.Kind.CLOSE, {"subject": subject})
    if existing := existing_plan(row, key):
        return same_plan(existing, fingerprint, trading_day(now))
    if symbol is not None:
        session_end([subject.partition("|")[0]], now)
    unfinished = OrderPlan.objects.select_related("account").filter(
        account=row, subject=subject, finished_at__isnull=True
    )
    plan = OrderPlan(
        account=row,
        kind=OrderPlan.Kind.CLOSE,
        strategy=strategy,
        client_order_id=key,
        fingerprint=fingerprint,
        subject=subject,
        pace_seconds=checked_pace(pace_seconds, row, OrderPlan.Kind.CLOSE),
        not_after=now + LIFETIME,
        created_at=now,
    )
    try:
        return insert(plan)
    except IntegrityError:
        # Another one of the same subject is unfinished, unless it ended at this moment.
        return unfinished.first() or insert(plan)


def look(plan_id: int) -> None:
    """When a round is over: read the positions, then end the closing or write its next round.

    :raises BrokerError: the positions could not be read; nothing is changed.
    """
    plan = OrderPlan.objects.select_related("account").get(pk=plan_id)
    if not _is_due(plan, list(children_of(plan))):
        return
    gateway = BrokerFactory.get_broker(plan.account.broker, plan.account.name)
    asked_at = configured_clock().now()
    positions = gateway.read(lambda adapter: adapter.fetch_positions(), urgency=Urgency.ORDER)
    try:
        with transaction.atomic():
            plan = running.locked(plan_id)
            children = list(children_of(plan))
            if _is_due(plan, children):
                _decide(plan, children, positions, asked_at)
    except (_LookAgain, IntegrityError):
        # Another closing of the same position was quicker; what it does shows in the next reading.
        return
    close_alert("closing_blind", str(plan_id), because="the positions were read", at=configured_clock().now())


def note_unread(plan_id: int, error: Exception) -> None:
    """Tell people that a closing cannot go on, since the positions could not be read."""
    plan, now = OrderPlan.objects.select_related("account").get(pk=plan_id), configured_clock().now()
    raise_alert(
        "closing_blind",
        str(plan_id),
        severity=Severity.CRITICAL if now - plan.created_at > BLIND_PATIENCE else Severity.WARNING,
        happened=f"The positions of {plan.account} could not be read for {plan}: {error}",
        meaning="Nothing is known of them, so nothing more is closed before they can be read; it is tried again.",
        to_do="Look at the session and the broker; close by hand in the broker's app what cannot wait.",
        at=now,
        account=plan.account,
    )


def _is_due(plan: OrderPlan, children: Sequence[OrderIntent]) -> bool:
    return (
        plan.kind == OrderPlan.Kind.CLOSE
        and plan.finished_at is plan.cancelled_at is plan.stopped_at is None
        and configured_clock().now() <= plan.not_after
        and all(child.state in TERMINAL_STATES for child in children)
    )


def _decide(
    plan: OrderPlan, children: Sequence[OrderIntent], positions: Iterable[Position], asked_at: datetime
) -> None:
    now = configured_clock().now()
    open_ones, problems = _open(plan, positions)
    if not open_ones and not problems:
        if (entry := _unsettled_entry(plan)) is None:
            return running.finish(plan, now)
        if entry.state == IntentState.ARMED:
            raise _LookAgain
        problems.append(
            f"The broker says flat, but {entry} of {entry.symbol} is {entry.state} and may open a position."
        )
    numbers = []
    for held in open_ones:
        try:
            _check(plan, children, held, asked_at, now)
            numbers.append(_add_leg(plan, held))
        except OrderDenied as error:
            problems.append(error.message)
    if numbers:
        _write_round(plan, numbers, now)
    elif problems:
        running.stop(plan, " ".join(problems), children, now)


def _unsettled_entry(plan: OrderPlan) -> OrderIntent | None:
    """An order of what is to be flat that may be at the broker without showing in the positions yet."""
    exchange, symbol, product = plan.subject.split("|")
    asked = {"exchange": exchange, "symbol": symbol, "product": product}
    entries = OrderIntent.objects.filter(
        account=plan.account,
        trading_day=plan.trading_day,
        kind__in=PLACING_KINDS,
        reduce_only=False,
        state__in=[IntentState.ARMED, IntentState.UNKNOWN, IntentState.NEEDS_HUMAN],
        **{name: value for name, value in asked.items() if value},
    )
    # What is on its way is known in seconds, and asks for nobody.
    return entries.exclude(state=IntentState.ARMED).first() or entries.first()


def _open(plan: OrderPlan, positions: Iterable[Position]) -> tuple[list[_Held], list[str]]:
    """The open positions that the closing is about, one each contract and product; and what cannot be closed."""
    exchange, symbol, product = plan.subject.split("|")
    units: dict[tuple[str, str, Product | None], int] = defaultdict(int)
    for position in positions:
        if symbol and (position.exchange, position.symbol) != (exchange, symbol):
            continue
        if not product or position.product in (None, product):
            units[position.exchange, position.symbol, position.product] += position.quantity
    held, problems = [], []
    for (of_exchange, of_symbol, of_product), quantity in units.items():
        if quantity and of_product is None:
            problems.append(f"The broker does not say in which product {quantity} of {of_symbol} are held.")
        elif quantity and of_product is not None:
            place = (of_exchange, of_symbol, of_product)
            legs = [number for number, leg in enumerate(plan.legs) if _place(leg) == place]
            held.append(
                _Held(exchange=of_exchange, symbol=of_symbol, product=of_product, units=quantity, legs=tuple(legs))
            )
    return held, problems


def _place(leg: dict[str, str]) -> tuple[str, str, str]:
    return leg["exchange"], leg["symbol"], leg["product"]


def _check(plan: OrderPlan, children: Sequence[OrderIntent], held: _Held, asked_at: datetime, now: datetime) -> None:
    """Make sure that the reading tells what there is to close now.

    :raises OrderDenied: it does not fit what was done, or enough was tried.
    :raises _LookAgain: it may lag behind what was filled, or another closing is at the same position.
    """
    others = OrderIntent.objects.filter(
        account=plan.account,
        exchange=held.exchange,
        symbol=held.symbol,
        product=held.product,
        trading_day=plan.trading_day,
    ).filter(plan__kind=OrderPlan.Kind.CLOSE)
    if others.filter(state__in=LIVE_STATES).exists() or others.filter(updated_at__gte=asked_at).exists():
        raise _LookAgain
    own = [child for child in children if child.leg in held.legs]
    recent = [child for child in own if plan.resumed_at is None or child.created_at >= plan.resumed_at]
    if not recent:
        return
    if len({child.leg for child in recent}) >= ROUNDS:
        why = next((child.closed_reason for child in reversed(recent) if child.closed_reason), "nothing says why")
        raise OrderDenied(f"{held.units} of {held.symbol} are still open after {ROUNDS} rounds: {why}.")
    expected = _expected(plan, own, held)
    if not 0 < held.units * (1 if expected > 0 else -1) <= abs(expected):
        if now - max(child.updated_at for child in recent) <= SETTLING:
            raise _LookAgain
        raise OrderDenied(
            f"The broker says that {held.units} of {held.symbol} are held, and after what this closing has filled it "
            f"should be {expected}; somebody else trades it."
        )


def _expected(plan: OrderPlan, own: Sequence[OrderIntent], held: _Held) -> int:
    """Units that are left of the position when the last round took what the book says."""
    number = held.legs[-1]
    leg = plan.legs[number]
    filled = leg_progress(leg, [child for child in own if child.leg == number]).filled
    position: int = leg["position"]
    return position + (filled if leg["side"] == Side.BUY else -filled)


def _add_leg(plan: OrderPlan, held: _Held) -> int:
    """Put the closing of a position at the end of the plan's legs; returns its number.

    :raises OrderDenied: it cannot be closed by orders now.
    """
    try:
        instrument = instruments.lookup().resolve(held.symbol, parse_or_deny(Exchange, held.exchange))
    except InvalidSymbol as error:
        raise OrderDenied(f"{held.units} of {held.symbol} cannot be closed: {error.message}") from error
    if reason := MarketCalendar(configured_clock()).why_closed(held.exchange):
        raise OrderDenied(f"{held.units} of {held.symbol} cannot be closed now: {reason}")
    lot, size = instrument.lot_size or 1, abs(held.units)
    if size < lot:
        raise OrderDenied(
            f"{held.units} of {held.symbol} are less than a lot of {lot}, and the exchange takes whole lots only; "
            "ask the broker's desk."
        )
    leg = build_leg(
        plan.account,
        instrument,
        kind=OrderPlan.Kind.CLOSE,
        quantity=size // lot * lot,
        side=Side.SELL if held.units > 0 else Side.BUY,
        order_type=OrderType.MARKET,
        limit_price=None,
        trigger_price=None,
        product=held.product,
        time_in_force=TimeInForce.DAY,
        reduce_only=True,
    )
    plan.legs.append(leg | {"line": instrument.underlying, "position": held.units, "key": _leg_key(plan, held)})
    return len(plan.legs) - 1


def _leg_key(plan: OrderPlan, held: _Held) -> str:
    """The same for two closings that are about to write orders for the same position, so that only one of them can."""
    same = {"exchange": held.exchange, "symbol": held.symbol, "product": held.product}
    before = OrderIntent.objects.filter(account=plan.account, trading_day=plan.trading_day, **same)
    count = before.filter(plan__kind=OrderPlan.Kind.CLOSE).values("plan", "leg").distinct().count()
    return f"close.{held.symbol}.{held.exchange}.{held.product}.{plan.trading_day:%y%m%d}.{count + 1}"


def _write_round(plan: OrderPlan, numbers: Sequence[int], now: datetime) -> None:
    round_number = 1 + max((leg["round"] for leg in plan.legs if "round" in leg), default=0)
    for number in numbers:
        plan.legs[number]["round"] = round_number
    legs = [plan.legs[number] for number in numbers]
    # To be flat before the close matters more than the pace.
    left = session_end((leg["exchange"] for leg in legs), now) - now - BEFORE_CLOSE
    pauses = duration(legs, 1)
    plan.pace_seconds = min(plan.pace_seconds, max(int(left.total_seconds()), 0) // max(pauses, 1))
    needed = timedelta(seconds=pauses * plan.pace_seconds)
    plan.not_after = max(plan.not_after, now + needed + MARGIN)
    plan.save(update_fields=["legs", "not_after", "pace_seconds"])
    write_children(plan, numbers, now)


def named(symbol: str | None) -> str:
    """The symbol of who closes one position: a closing that lost it would be one of everything.

    :raises OrderDenied: none is given.
    """
    if not symbol:
        raise OrderDenied(
            "Closing one position needs its symbol. Nothing was recorded; name it, or close all positions by the call "
            "that says so."
        )
    return symbol


def _subject(symbol: str | None, exchange: str | None, product: str | None) -> str:
    """:raises OrderDenied: the symbol, the exchange or the product is not known."""
    of_product = parse_or_deny(Product, product).value if product else ""
    of_exchange = parse_or_deny(Exchange, exchange) if exchange else None
    if symbol is None:
        if of_exchange or of_product:
            raise OrderDenied("Without a symbol every position is closed; name no exchange and no product then.")
        return "||"
    instrument = instruments.lookup().resolve(symbol, of_exchange)
    return f"{instrument.exchange.value}|{instrument.symbol}|{of_product}"
