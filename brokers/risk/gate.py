"""What an order must pass before it is sent.

Looked at three times: before arming, with no transaction open, since a quote or the positions may have to be
read; inside the arming transaction, which one order of an account passes at a time; and the kill switches
once more just before the first byte. Cancels pass everything but the mode and the order rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import Error

from brokers import instruments
from brokers.alerts import raise_alert
from brokers.calendar import ShareClass
from brokers.domain.enums import Exchange, Mode
from brokers.domain.errors import MarketClosed, NotSent, OrderDenied
from brokers.domain.gtt import GttCancel
from brokers.domain.order_states import CANCEL_KINDS, PLACING_KINDS
from brokers.domain.orders import CancelRequest
from brokers.gateway import BrokerGateway
from brokers.models import HumanDecision, OrderIntent, Severity
from brokers.risk import checks, exposure, limits, loss, rate, switches
from brokers.risk.operation import Operation


@dataclass(frozen=True, kw_only=True, slots=True)
class Clearance:
    """What was found out about an order before arming, to be held against what is open while arming."""

    limits: limits.Limits
    #: The most that it may cost.
    rupees: Decimal
    #: The position that a reduce-only order is to reduce.
    held: checks.Held | None = None


def check_now(intent: OrderIntent, gateway: BrokerGateway) -> None:
    """Refuse what must not be sent now, whatever its price; asks no broker.

    :raises OrderDenied: with the sentence that goes into the row.
    """
    _check_mode(intent)
    switches.check(intent)
    if intent.kind in CANCEL_KINDS:
        return
    if not intent.account.is_active:
        raise OrderDenied(f"Account {intent.account} is paused; resume it in the admin. Cancels still go.")
    if intent.kind in PLACING_KINDS:
        _check_market(intent, gateway)


def check_order(intent: OrderIntent, operation: Operation, gateway: BrokerGateway) -> Clearance:
    """Hold an order against its limits and the market; may read a quote or the positions.

    :raises OrderDenied: it does not keep them.
    :raises BrokerError: what it is to be held against cannot be had now; the order waits.
    """
    applying = limits.of(intent.account, intent.strategy, intent.symbol)
    if isinstance(operation, (CancelRequest, GttCancel)):
        return Clearance(limits=applying, rupees=Decimal(0))
    checks.check_price(intent, operation, applying, gateway)
    if switches.reduces(intent):
        places = intent.kind in PLACING_KINDS
        return Clearance(
            limits=applying, rupees=Decimal(0), held=checks.position_of(intent, gateway) if places else None
        )
    if intent.reduce_only:
        raise OrderDenied(f"{intent} would make an order larger that is to reduce only; place another one instead.")
    now = gateway.clock.now()
    checks.check_size(intent, operation, applying)
    loss.check_order(intent.account, at=now)
    checks.check_margin(intent, operation, applying, now)
    return Clearance(limits=applying, rupees=checks.worth(operation, intent.quantity))


def check_while_arming(intent: OrderIntent, clearance: Clearance, now: datetime) -> tuple[datetime, int]:
    """Hold an order against everything else of its account.

    Returns the time at which it counts as armed, and the kill switches' epoch.

    Call first in the arming transaction: the order rate's row lets one order of an account pass at a time.

    :raises OrderDenied: it does not keep a limit, repeats another, or a switch was set meanwhile.
    :raises RateLimited: a rate is used up; says how long to wait.
    """
    armed_at = _take_token(intent, clearance.limits, now)
    epoch = switches.check(intent)
    if clearance.held is not None:
        exposure.check_reduction(intent, clearance.held)
    if not switches.reduces(intent):
        _check_approval(intent)
        exposure.check_rates(intent, clearance.limits, now)
        exposure.check_open(intent, clearance.limits, clearance.rupees)
    exposure.check_repetition(intent, clearance.limits, now)
    return armed_at, epoch


def check_turn(intent: OrderIntent, now: datetime) -> None:
    """Look whether the order rate lets an intent pass that had to wait, before a quote is spent on it.

    :raises RateLimited: not yet.
    """
    rates = _rates(intent, limits.of(intent.account, intent.strategy, intent.symbol))
    rate.check(intent.account, now, urgent=switches.reduces(intent), counts_for_day=False, rates=rates)


def check_before_first_byte(intent: OrderIntent) -> None:
    """The last look at the kill switches; costs one small statement unless one was changed since arming.

    :raises NotSent: one forbids it now, or they cannot be read.
    """
    try:
        if switches.epoch() != intent.kill_epoch:
            switches.check(intent)
    except OrderDenied as error:
        raise NotSent(error.message) from error
    except Error as error:
        raise NotSent(
            f"{intent} was not sent: the kill switches could not be read ({type(error).__name__})."
        ) from error


def note_refusal(intent: OrderIntent, error: OrderDenied, now: datetime) -> None:
    """Tell people that a limit was reached, once for each limit and account until they have seen it."""
    if not isinstance(error, limits.LimitReached):
        return
    for breach in error.breaches:
        raise_alert(
            "limit_reached",
            f"{intent.account}:{breach.limit.name}:{breach.limit.scope}:{breach.limit.scope_key}",
            severity=Severity.WARNING,
            happened=f"Order {intent.client_order_id} of {intent.symbol} was refused. {breach}.",
            meaning="It was not sent. Every further order above this limit is refused too; this alert counts them.",
            to_do="Look whether the strategy does what it should; if it does, change the limit in the admin.",
            at=now,
            account=intent.account,
            intent=intent,
        )


def _check_market(intent: OrderIntent, gateway: BrokerGateway) -> None:
    exchange, calendar = Exchange(intent.exchange), gateway.calendar
    is_open = {each: calendar.is_open(exchange, share_class=each) for each in ShareClass}
    # Only while shares with derivatives are in the closing auction it matters which kind this one is.
    share_class = (
        instruments.lookup().share_class(intent.symbol) if len(set(is_open.values())) > 1 else ShareClass.OTHER
    )
    if not is_open[share_class]:
        raise MarketClosed(calendar.why_closed(exchange, share_class=share_class))


def _take_token(intent: OrderIntent, applying: limits.Limits, now: datetime) -> datetime:
    try:
        return rate.take(
            intent.account,
            now,
            urgent=switches.reduces(intent),
            counts_for_day=_is_new(intent),
            rates=_rates(intent, applying),
        )
    except OrderDenied as error:
        limit = applying.of_account("max_orders_per_day")
        if limit is None:
            raise
        raise limits.LimitReached([limits.Breach(limit, "at least that many were sent today")]) from error


def _is_new(intent: OrderIntent) -> bool:
    """Not a cancel or a change, and not a second attempt."""
    return intent.kind in PLACING_KINDS and intent.reserved_rupees is None


def _rates(intent: OrderIntent, applying: limits.Limits) -> rate.OrderRates:
    """What the account's limits say. Cancels and exits keep to what the exchange allows in a second, to no minute of ours."""

    def of(name: str) -> int | None:
        limit = applying.of_account(name)
        return int(limit.value) if limit else None

    return rate.OrderRates(
        per_second=of("max_orders_per_second"),
        per_minute=None if switches.reduces(intent) else of("max_orders_per_minute"),
        per_day=of("max_orders_per_day"),
    )


def _check_mode(intent: OrderIntent) -> None:
    if intent.mode != settings.MODE.value:
        raise OrderDenied(
            f"The order was recorded in {intent.mode} mode, and this installation runs {settings.MODE}. Nothing was "
            "sent; if it is still wanted, place it anew with a new client order id."
        )
    if settings.MODE is Mode.PAPER:
        raise OrderDenied(
            "Orders in paper mode are refused by this version, since its simulated fills are not built yet. "
            "Nothing was sent."
        )
    if settings.MODE is not Mode.LIVE or intent.kind in CANCEL_KINDS:
        return
    if not settings.LIVE_TRADING:
        raise OrderDenied("This installation may not send live orders; set MCUBE_LIVE_TRADING and start it again.")
    if not intent.account.is_live_enabled:
        raise OrderDenied(f"Account {intent.account} may not send live orders; allow it in the admin.")


def _check_approval(intent: OrderIntent) -> None:
    """An order of an account where each is approved needs a person's yes, however it became ready.

    A plan is approved as a whole.
    """
    if not intent.account.requires_approval:
        return
    approved = HumanDecision.objects.filter(intent=intent, kind=HumanDecision.Kind.APPROVE).exists()
    if not approved and (intent.plan is None or intent.plan.approved_at is None):
        raise OrderDenied(f"Orders of {intent.account} need a person's approval, and {intent} has none.")
