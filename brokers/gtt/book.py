"""Follows GTTs by the broker's GTT book: the acknowledgement is not the end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Min, Q, QuerySet

from brokers.alerts import close_alert
from brokers.clock import trading_day
from brokers.domain.errors import BrokerError
from brokers.domain.gtt import Gtt, GttStatus, GttTrigger
from brokers.domain.order_states import GTT_KINDS, Actor, IntentKind, IntentState
from brokers.gateway import BrokerGateway
from brokers.gtt import watch
from brokers.ledger.transitions import StaleIntent, move
from brokers.limits import Urgency
from brokers.models import BrokerAccount, BrokerOrder, GttBook, GttOrder, OrderIntent

#: Active GTTs are asked for as far back as the oldest of them, and no further than this.
LONGEST = timedelta(days=365)
#: How often the book is read while a GTT is active and nothing is asked about it.
QUIET_EVERY = timedelta(minutes=5)
#: The kind of alert that tells of a GTT that stays although its cancel was taken.
NOT_CANCELLED = "gtt_not_cancelled"
_MAY_BE_ACTIVE = (GttStatus.ACTIVE, GttStatus.UNKNOWN)


def read(account: BrokerAccount, gateway: BrokerGateway, *, urgency: Urgency = Urgency.POLL) -> datetime:
    """Read an account's GTT book into the ledger; returns when it was asked for.

    :raises BrokerError: it could not be read; the ledger is left as it is.
    """
    now = gateway.clock.now()
    GttBook.objects.update_or_create(account=account, defaults={"asked_at": now})
    newest, first, today = GttBook.objects.filter(account=account), first_day(account, now), trading_day(now)
    try:
        rows = gateway.read(lambda adapter: adapter.fetch_gtts(first, today), urgency=urgency)
    except BrokerError as error:
        newest.update(problem=error.message[:500])
        raise
    seen_at = gateway.clock.now()
    apply(account, rows, seen_at)
    watch.tell_of_missing(account, asked_at=now, at=seen_at)
    newest.update(read_at=now, problem="")
    return now


def accounts_to_follow(now: datetime) -> QuerySet[BrokerAccount]:
    """Accounts with a GTT that may be active or that a person is asked about, whose book was not asked for lately."""
    active = GttOrder.objects.filter(status__in=_MAY_BE_ACTIVE).values("account")
    asked = OrderIntent.objects.filter(
        kind=IntentKind.GTT, state=IntentState.NEEDS_HUMAN, mode=settings.MODE.value
    ).values("account")
    fresh = GttBook.objects.filter(asked_at__range=(now - QUIET_EVERY, now)).values("account")
    followed = BrokerAccount.objects.filter(Q(pk__in=active) | Q(pk__in=asked), is_active=True)
    return followed.exclude(pk__in=fresh).order_by("pk")


def apply(account: BrokerAccount, rows: Iterable[Gtt], now: datetime) -> None:
    """Write the book's rows into the mirror and move intents on.

    A GTT that is over stays over, except that late truth wins: the exchange may have taken what was called cancelled.
    """
    for row in rows:
        with transaction.atomic():
            _apply(account, row, now)
    follow(account, now)


def follow(account: BrokerAccount, now: datetime) -> None:
    """End what the book shows done, or too late."""
    lost = Q(state=IntentState.ABSENT, kind=IntentKind.GTT_CANCEL)
    working = OrderIntent.objects.filter(
        Q(state=IntentState.WORKING, kind__in=GTT_KINDS) | lost, account=account, mode=settings.MODE.value
    )
    for intent in working.select_related("account", "gtt").order_by("pk"):
        _follow(intent, now)


def shows(gtt: GttOrder, intent: OrderIntent) -> bool:
    """Whether the book shows the GTT with the triggers of an intent."""
    return shows_prices(gtt, intent.triggers or [])


def shows_prices(gtt: GttOrder, triggers: list[dict[str, str]]) -> bool:
    """Whether the book shows the GTT with these triggers and no others."""
    return _plain(gtt.legs) == _plain(triggers)


def _apply(account: BrokerAccount, row: Gtt, now: datetime) -> None:
    values = _mirrored(row)
    gtt, is_new = GttOrder.objects.get_or_create(
        account=account,
        gtt_order_id=row.gtt_order_id,
        defaults={
            **values,
            "origin": GttOrder.Origin.EXTERNAL,
            "first_seen_at": now,
            "book_seen_at": now,
            "last_seen_at": now,
        },
    )
    if is_new:
        watch.tell_of_stranger(gtt, at=now)
        return
    before = gtt.legs
    if GttStatus(gtt.status).is_over and not row.status.is_over:
        values |= {"status": gtt.status, "legs": gtt.legs}
    values |= {"book_seen_at": gtt.book_seen_at or now, "last_seen_at": now}
    GttOrder.objects.filter(pk=gtt.pk).update(**values)
    gtt.refresh_from_db()
    if gtt.attempt_id is not None:
        _claim_entry(gtt, now)
        watch.tell_of_change(gtt, before, at=now)


def _follow(intent: OrderIntent, now: datetime) -> None:
    gtt = intent.gtt or GttOrder.objects.filter(attempt__intent=intent).first()
    if gtt is None or gtt.book_seen_at is None:
        return
    status = GttStatus(gtt.status)
    if intent.kind == IntentKind.GTT:
        _claim_entry(gtt, now)
        watch.explain(gtt, at=now)
        watch.tell_of_end(gtt, at=now)
        rejected = status is GttStatus.REJECTED
        _end(intent, IntentState.REJECTED if rejected else IntentState.DONE, f"the GTT book shows {gtt}", now)
    elif intent.kind == IntentKind.GTT_CANCEL and status is GttStatus.CANCELLED:
        _end(intent, IntentState.DONE, "the GTT book says cancelled", now)
    elif intent.kind == IntentKind.GTT_MODIFY and shows(gtt, intent):
        _end(intent, IntentState.DONE, "the GTT book shows the new prices", now)
        _end_overtaken(intent, now)
    elif status.is_over:
        _end(intent, IntentState.REJECTED, f"too late: the GTT was {status.lower()} first", now)


def _end_overtaken(intent: OrderIntent, now: datetime) -> None:
    """A change was made upon those before it, which the book shows in it or never will."""
    before = OrderIntent.objects.filter(
        gtt=intent.gtt, kind=IntentKind.GTT_MODIFY, state=IntentState.WORKING, pk__lt=intent.pk
    )
    for change in before:
        _end(change, IntentState.DONE, f"the GTT book shows {intent}, a later change", now)


def _end(intent: OrderIntent, state: IntentState, cause: str, now: datetime) -> None:
    try:
        with transaction.atomic():
            move(intent, state, actor=Actor.BOOK, cause=cause, at=now, closed_reason=cause[:500])
            if intent.kind == IntentKind.GTT_CANCEL:
                close_alert(NOT_CANCELLED, str(intent.pk), because=f"it is {state} now", at=now)
    except StaleIntent:
        # Another reading of the same book was quicker.
        intent.refresh_from_db()


def first_day(account: BrokerAccount, now: datetime) -> date:
    """The day of the oldest GTT that may be active or is a question; today without one."""
    active = GttOrder.objects.filter(account=account, status__in=_MAY_BE_ACTIVE)
    asked = OrderIntent.objects.filter(
        account=account,
        kind=IntentKind.GTT,
        state__in=[IntentState.UNKNOWN, IntentState.NEEDS_HUMAN, IntentState.WORKING],
    )
    moments = [
        *active.aggregate(placed=Min("placed_at"), seen=Min("first_seen_at")).values(),
        asked.aggregate(created=Min("created_at"))["created"],
    ]
    oldest = min((each for each in moments if each), default=now)
    return trading_day(max(oldest, now - LONGEST))


def _claim_entry(gtt: GttOrder, now: datetime) -> None:
    """The order that a GTT of ours entered with is ours as well, so that it may be cancelled from here.

    One that comes into the order book later is claimed there.
    """
    if not gtt.entry_order_id:
        return
    entry = BrokerOrder.objects.filter(
        account=gtt.account, broker_order_id=gtt.entry_order_id, attempt__isnull=True, symbol=gtt.symbol
    )
    for order in entry.filter(origin=BrokerOrder.Origin.EXTERNAL):
        entry.filter(pk=order.pk).update(origin=BrokerOrder.Origin.OURS)
        told = f"{order.account_id}:{order.trading_day}:{order}"
        close_alert("unexplained_order", told, because=f"GTT {gtt} entered with it", at=now)


def _mirrored(row: Gtt) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "exchange": row.exchange,
        "symbol": row.symbol,
        "product": row.product or "",
        "quantity": row.quantity,
        "legs": [
            GttTrigger(
                role=leg.role, side=leg.side, trigger_price=leg.trigger_price, limit_price=leg.limit_price
            ).plain()
            | {"status": leg.status.value, "broker_status": leg.broker_status[:64]}
            for leg in row.legs
        ],
        "status": row.status,
        "entry_order_id": row.entry_order_id,
        "placed_at": row.placed_at,
    }


def _plain(triggers: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted((GttTrigger.of(each).plain() for each in triggers), key=lambda each: each["role"])
