"""One reading of an account's book for all of its open questions, and what it is worth as evidence."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from brokers import sessions
from brokers.alerts import close_alert, raise_alert
from brokers.domain.errors import BrokerError, RateLimited
from brokers.domain.orders import Order
from brokers.gateway import BrokerGateway
from brokers.ledger import book
from brokers.limits import Urgency
from brokers.models import BookRead, BrokerAccount, BrokerOrder, Severity

UNDER_WAY = "It has not ended."


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A book that could be read. ``mirror`` is every order of today that any reading has shown."""

    record: BookRead
    shown: frozenset[str]
    mirror: list[BrokerOrder] = field(repr=False)
    #: Something was filled since the reading before, and its trades were not read.
    owes_trades: bool = False


def read_book(account: BrokerAccount, gateway: BrokerGateway, *, proving: bool) -> Reading | None:
    """Read the book, bring the ledger up to it, and write down what the reading proves; None when it failed.

    ``proving`` reads trades and positions as well, without which no absence is proved.

    :raises RateLimited, LoginInProgress: not now; nothing is written.
    """
    if proving:
        gateway.require_room(gateway.spec.capabilities.calls_to_read_all, urgency=Urgency.QUESTION)
    started_at = gateway.clock.now()
    session = sessions.current(account, clock=gateway.clock)
    record = BookRead.objects.create(
        account=account, session_version=session.version if session else 0, started_at=started_at, problem=UNDER_WAY
    )
    try:
        rows = gateway.read(lambda adapter: adapter.fetch_orders(), urgency=Urgency.QUESTION)
    except (RateLimited, sessions.LoginInProgress):
        record.delete()
        raise
    except BrokerError as error:
        _note_failure(record, error, gateway.clock.now())
        return None
    applied = book.apply_book(account, rows, gateway.clock.now())
    shown = frozenset(row.broker_order_id for row in rows)
    known = frozenset(order.broker_order_id for order in applied.mirror if order.first_seen_at < started_at)
    problem = _weakness(known, shown)
    if proving and not problem:
        problem = _read_the_rest(record, gateway, shown)
    record.rows, record.sha256 = len(rows), _digest(rows)
    _write(record, gateway.clock.now(), ok=True, problem=problem)
    close_alert("cannot_see", str(account.pk), because="the book was read", at=started_at)
    return Reading(
        record=record,
        shown=shown,
        mirror=applied.mirror,
        owes_trades=applied.newly_filled and record.positions is None,
    )


def _read_the_rest(record: BookRead, gateway: BrokerGateway, shown: frozenset[str]) -> str:
    """Read trades and positions into the record; returns why they prove nothing, or nothing."""
    try:
        fills = gateway.read(lambda adapter: adapter.fetch_trades(), urgency=Urgency.QUESTION)
        positions = gateway.read(lambda adapter: adapter.fetch_positions(), urgency=Urgency.QUESTION)
    except BrokerError as error:
        return f"Trades and positions could not be read: {error.message}"
    book.apply_trades(record.account, fills, gateway.clock.now())
    net: Counter[str] = Counter()
    for position in positions:
        net[place_of(position.exchange, position.symbol)] += position.quantity
    record.positions = dict(net)
    hidden = sorted({fill.broker_order_id for fill in fills} - shown)
    return f"There is a trade of order {hidden[0]}, which the book does not show." if hidden else ""


def place_of(exchange: str, symbol: str) -> str:
    """How ``BookRead.positions`` names a symbol."""
    return f"{exchange}:{symbol}"


def _write(record: BookRead, finished_at: datetime, *, ok: bool, problem: str) -> None:
    record.finished_at, record.ok, record.complete, record.problem = finished_at, ok, ok and not problem, problem[:500]
    record.save()


def _weakness(known: frozenset[str], shown: frozenset[str]) -> str:
    """Why a book proves no absence; empty when it may: an order known to be there is in it, and none is missing."""
    missing = sorted(known - shown)
    if missing:
        return f"{len(missing)} orders that are known to be there are not in the book, {missing[0]} among them."
    if not known:
        return "No order was known before, so that nothing shows that the book is the right one."
    return ""


def _digest(rows: list[Order]) -> str:
    return hashlib.sha256("\n".join(map(repr, sorted(rows, key=attrgetter("broker_order_id")))).encode()).hexdigest()


def _note_failure(record: BookRead, error: BrokerError, at: datetime) -> None:
    """Write down a reading that failed; when the one before did too, a person is told."""
    _write(record, at, ok=False, problem=error.message)
    before = BookRead.objects.filter(
        account=record.account, started_at__lt=record.started_at, finished_at__isnull=False
    )
    newest = before.order_by("-started_at").first()
    if newest is not None and not newest.ok:
        alert_blind(record.account, error.message, at)


def alert_blind(account: BrokerAccount, problem: str, at: datetime) -> None:
    raise_alert(
        "cannot_see",
        str(account.pk),
        severity=Severity.WARNING,
        happened=f"The order book of {account} could not be read: {problem}",
        meaning="Orders whose outcome is not known stay so, and what they may cost stays reserved.",
        to_do="Check the account's session; until then look the orders up in the broker's own app.",
        at=at,
        account=account,
    )
