"""Holds one order against the size it may have, the market's price, the margin and the position it reduces."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q, Sum

from brokers.clock import IST
from brokers.domain.enums import InstrumentKind, OrderType, Product, Side
from brokers.domain.errors import BrokerUnavailable, InsufficientMargin, NotSent, OrderDenied
from brokers.domain.gtt import GttCancel, GttChange, GttRequest
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.order_states import AttemptOutcome
from brokers.domain.orders import CancelRequest, OrderChange, OrderRequest
from brokers.gateway import READ_SECONDS, BrokerGateway
from brokers.limits import Urgency
from brokers.models import MarginSnapshot, OrderAttempt, OrderIntent
from brokers.models.snapshots import Snapshot
from brokers.risk import quotes
from brokers.risk.limits import Breach, LimitReached, Limits
from brokers.shared_reads import SKEW

#: What may come to cost something.
Costly = OrderRequest | OrderChange | GttRequest | GttChange
#: Attempts of these cost no margin.
_COSTLESS = (AttemptOutcome.NOT_SENT, AttemptOutcome.REFUSED, AttemptOutcome.VOID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A position as the broker stated it."""

    #: Negative when short.
    units: int
    #: Before the broker was asked.
    asked_at: datetime


def check_size(intent: OrderIntent, operation: Costly, limits: Limits) -> None:
    """Hold units, lots and rupees of one order against their limits.

    :raises LimitReached: it is larger than one of them; names all that it is larger than.
    """
    lot = operation.instrument.lot_size if operation.instrument.exchange.is_derivative else None
    rupees = worth(operation, intent.quantity)
    figures: list[tuple[str, Decimal | int, str]] = [
        ("max_quantity", intent.quantity, f"the order has {_counted(intent.quantity, 'unit')}"),
        ("max_notional_rupees", rupees, f"the order is worth {rupees:.2f}"),
    ]
    if lot:
        lots = -(-intent.quantity // lot)
        figures.append(("max_lots", lots, f"the order has {_counted(lots, 'lot')}"))
    breaches = [
        Breach(limit, words)
        for name, figure, words in figures
        if (limit := limits.strictest(name)) is not None and figure > limit.value
    ]
    if breaches:
        raise LimitReached(breaches)


def check_price(intent: OrderIntent, operation: Costly, limits: Limits, gateway: BrokerGateway) -> None:
    """Hold the price against a quote of the last five seconds and the day's band.

    A market order was priced from such a quote. A stop's limit is held against its trigger, from which it
    starts to work, and so are those of a GTT. A change that leaves the price alone passes.

    :raises LimitReached: it is further away than it may be.
    :raises OrderDenied: it is outside the day's band.
    :raises BrokerError: there is no quote now; the order waits.
    """
    limit = limits.strictest("price_collar_percent")
    if limit is None or intent.order_type == OrderType.MARKET or _is_unchanged(intent):
        return
    instrument = operation.instrument
    for price, trigger_price in _prices(operation):
        if trigger_price is not None:
            reference, name = trigger_price, "its trigger"
        else:
            quote = quotes.board().fresh(gateway, instrument)
            _check_band(instrument, price, quote)
            reference, name = reference_price(quote), "the market's"
        away = abs(price - reference)
        # A cheap option moves by more than any percentage with its smallest step.
        if away > max(reference * Decimal(limit.value) / 100, instrument.tick_size or Decimal(0)):
            words = f"the order's price of {price} is {away / reference * 100:.1f} percent from {name} of {reference}"
            raise LimitReached([Breach(limit, words)])


def reference_price(quote: Quote) -> Decimal:
    """The last price, brought to where somebody would trade now.

    :raises NotSent: the quote has no price.
    """
    price = quote.last_price or quote.bid_price or quote.ask_price
    if price is None:
        raise NotSent(f"{quote.symbol} has no price now to hold the order's against; it waits for one.")
    if quote.bid_price:
        price = max(price, quote.bid_price)
    return min(price, quote.ask_price) if quote.ask_price else price


def check_margin(intent: OrderIntent, operation: Costly, limits: Limits, now: datetime) -> None:
    """Hold what an opening order costs against the newest reading of the margin, less what was sent since.

    What is bought outright, options and delivered shares, must be covered whole. What a future or a sold
    option blocks, only the broker can say: there something must be available, and the broker has the last word.

    :raises NotSent: there is no reading that is young enough; the order waits for one.
    :raises InsufficientMargin: it does not cover the order.
    """
    limit = limits.strictest("max_margin_age_seconds")
    if limit is None or _waits_for_its_trigger(operation):
        return
    reading = (
        MarginSnapshot.objects.filter(account=intent.account, status=Snapshot.Status.OK, available__isnull=False)
        .order_by("-slot_at")
        .first()
    )
    if reading is None or reading.taken_at is None or reading.available is None:
        raise NotSent(f"The margin of {intent.account} has not been read yet; the order waits for a reading.")
    if now - reading.taken_at > timedelta(seconds=float(limit.value)):
        raise NotSent(
            f"The margin of {intent.account} was read {(now - reading.taken_at).total_seconds():.0f} s ago, but the "
            f"limit {limit.name} of {limit.of} is {limit.value}; the order waits for a reading."
        )
    certain, doubtful = _spent_since(intent, reading.taken_at, _asked_at(reading.slot_at, reading.taken_at))
    left = reading.available - certain
    needed = worth(operation, intent.quantity) if _is_bought_outright(intent, operation.instrument) else Decimal("0.01")
    if left < needed:
        raise InsufficientMargin(
            f"The order needs Rs {needed:,.2f}, and Rs {left:,.2f} of the margin of {intent.account} was left at "
            f"{reading.taken_at.astimezone(IST):%H:%M:%S} IST. Add funds or order less."
        )
    if left - doubtful < needed:
        raise NotSent(
            f"{intent} waits for the next reading: it needs Rs {needed:,.2f}, and Rs {left:,.2f} of the margin of "
            f"{intent.account} is left, and orders of Rs {doubtful:,.2f} that went out while it was read may not be in "
            "it."
        )


def position_of(intent: OrderIntent, gateway: BrokerGateway) -> Held:
    """What the account holds of the intent's contract and product, asked of the broker now.

    :raises BrokerError: it could not be asked; the order waits.
    """
    # Asked with the last call that is free, the order would find none, wait, and ask with the next one that comes free.
    with suppress(BrokerUnavailable):
        gateway.require_room(gateway.spec.capabilities.calls_to_read_positions + 1, urgency=Urgency.ORDER)
    asked_at = gateway.clock.now()
    positions = gateway.read(lambda adapter: adapter.fetch_positions(), urgency=Urgency.ORDER)
    units = sum(
        position.quantity
        for position in positions
        if (position.exchange, position.symbol) == (intent.exchange, intent.symbol)
        and position.product in (None, Product(intent.product))
    )
    return Held(units=units, asked_at=asked_at)


def worth(operation: Costly | CancelRequest | GttCancel, units: int) -> Decimal:
    """Rupees that it may cost at most, its dearest price times units; 0 for a cancel."""
    if isinstance(operation, (CancelRequest, GttCancel)):
        return Decimal(0)
    return max(price for price, _ in _prices(operation)) * units


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _prices(operation: Costly) -> list[tuple[Decimal, Decimal | None]]:
    """Each limit price that it has, with the trigger that it waits for."""
    if isinstance(operation, (OrderRequest, OrderChange)):
        return [(operation.limit_price, operation.trigger_price)]
    waiting = [(each.limit_price, each.trigger_price) for each in operation.triggers]
    entry = operation.entry if isinstance(operation, GttRequest) else None
    return [(entry.limit_price, None), *waiting] if entry else [*waiting]


def _waits_for_its_trigger(operation: Costly) -> bool:
    """Nothing of it goes to the exchange, or blocks anything, before a trigger is reached."""
    return isinstance(operation, GttChange) or (isinstance(operation, GttRequest) and operation.entry is None)


def _is_unchanged(intent: OrderIntent) -> bool:
    target = intent.target
    return target is not None and (intent.limit_price, intent.trigger_price) == (
        target.limit_price,
        target.trigger_price,
    )


def _check_band(instrument: Instrument, price: Decimal, quote: Quote) -> None:
    low, high = quote.lower_circuit, quote.upper_circuit
    if (low and price < low) or (high and price > high):
        raise OrderDenied(f"Price {price} of {instrument.symbol} is outside the day's band, {low} to {high}.")


def _is_bought_outright(intent: OrderIntent, instrument: Instrument) -> bool:
    if intent.side != Side.BUY:
        return False
    return instrument.kind is InstrumentKind.OPTION or intent.product == Product.CNC


def _asked_at(slot_at: datetime, taken_at: datetime) -> datetime:
    """The earliest moment at which the broker may have been asked for a reading that arrived at ``taken_at``."""
    earliest = taken_at - timedelta(seconds=READ_SECONDS)
    # A slot is not read before it begins, but for the one that ends a day.
    return max(earliest, slot_at - SKEW) if slot_at <= taken_at else earliest


def _spent_since(intent: OrderIntent, taken_at: datetime, asked_at: datetime) -> tuple[Decimal, Decimal]:
    """Rupees reserved by the account's orders that a reading of the margin cannot know, and by those that it may not.

    An order may not be in it that went out while the broker was asked; it is, once the broker had acknowledged it before.
    """
    today = OrderAttempt.objects.filter(intent__account=intent.account, intent__trading_day=intent.trading_day)
    attempts = today.filter(send_deadline_at__gt=asked_at).exclude(outcome__in=_COSTLESS)
    unknown_to_it = Q(armed_at__gt=taken_at)
    may_be_missing = Q(broker_order__isnull=True) | Q(broker_order__first_seen_at__gte=asked_at)
    sums = attempts.aggregate(
        certain=Sum("intent__reserved_rupees", filter=unknown_to_it),
        doubtful=Sum("intent__reserved_rupees", filter=~unknown_to_it & may_be_missing),
    )
    return Decimal(sums["certain"] or 0), Decimal(sums["doubtful"] or 0)
