"""Takes margins, positions and holdings, once a schedule slot, and writes failures as failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from brokers import shared_reads
from brokers.clock import configured_clock
from brokers.domain.account import Holding, MarginData, Position
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.factory import BrokerFactory
from brokers.models import (
    BrokerAccount,
    HoldingLine,
    HoldingSnapshot,
    MarginSnapshot,
    PositionLine,
    PositionSnapshot,
)
from brokers.models.snapshots import Snapshot

S = TypeVar("S", bound=Snapshot)

#: Why a reading may fail; what else is raised is a defect.
FAILURES = (BrokerError, CredentialsNotFound, SDKMissing)


def take_margin(account: BrokerAccount, slot_at: datetime, every: timedelta | None = None) -> MarginSnapshot:
    """Read an account's margin into the row of its slot; the next slot begins after ``every``.

    A slot that is taken already costs no call. A failure is a row that says so, never a zero. What was read is kept
    for those who ask for a cached margin.
    """
    return _take(MarginSnapshot, "get_margin", account, slot_at, every, _margin)


def take_positions(account: BrokerAccount, slot_at: datetime, every: timedelta | None = None) -> PositionSnapshot:
    """Read an account's positions into the row and lines of their slot; as :func:`take_margin`."""

    def lines(snapshot: PositionSnapshot, positions: Sequence[Position]) -> None:
        PositionLine.objects.bulk_create(_position_line(snapshot, position) for position in positions)

    return _take(PositionSnapshot, "get_positions", account, slot_at, every, _positions, lines)


def take_holdings(account: BrokerAccount, slot_at: datetime, every: timedelta | None = None) -> HoldingSnapshot:
    """Read an account's holdings into the row and lines of their slot; as :func:`take_margin`."""

    def lines(snapshot: HoldingSnapshot, holdings: Sequence[Holding]) -> None:
        HoldingLine.objects.bulk_create(_holding_line(snapshot, holding) for holding in holdings)

    return _take(HoldingSnapshot, "get_holdings", account, slot_at, every, _holdings, lines)


def write(
    model: type[S], account: BrokerAccount, slot_at: datetime, every: timedelta | None, values: Mapping[str, Any]
) -> tuple[S, bool]:
    """Write the slot's row, and say whether it is this reading's. A success replaces a failure; nothing replaces
    a success.
    """
    taken_at = values.get("taken_at")
    row = {
        "error": "",
        "cadence_seconds": int(every.total_seconds()) if every else None,
        "is_late": bool(every and taken_at and taken_at >= slot_at + every),
        **values,
    }
    try:
        with transaction.atomic():
            made = model._default_manager.create(
                account=account, slot_at=slot_at, created_at=configured_clock().now(), **row
            )
            return made, True
    except IntegrityError:
        rows = model._default_manager.filter(account=account, slot_at=slot_at)
        replaced = row["status"] == Snapshot.Status.OK and rows.filter(status=Snapshot.Status.FAILED).update(**row)
        return rows.get(), bool(replaced)


def failed(error: Exception) -> dict[str, Any]:
    """The values of a slot that could not be taken."""
    return {"status": Snapshot.Status.FAILED, "taken_at": None, "error": str(error)[:500]}


def _take(
    model: type[S],
    method: str,
    account: BrokerAccount,
    slot_at: datetime,
    every: timedelta | None,
    values: Callable[[Any], dict[str, Any]],
    lines: Callable[[S, Any], None] = lambda snapshot, value: None,
) -> S:
    slots = model._default_manager.filter(account=account, slot_at=slot_at)
    if slots.filter(status=Snapshot.Status.OK).exists():
        return slots.get()
    try:
        reading = shared_reads.ask(BrokerFactory.get_broker(account.broker, account.name), method)
    except FAILURES as error:
        return write(model, account, slot_at, every, failed(error))[0]
    taken = {"status": Snapshot.Status.OK, "taken_at": reading.as_of, **values(reading.value)}
    with transaction.atomic():
        snapshot, written = write(model, account, slot_at, every, taken)
        if written:
            lines(snapshot, reading.value)
    return snapshot


def _margin(margin: MarginData) -> dict[str, Any]:
    return {
        "available": margin.available,
        "used": margin.used,
        "total": margin.total,
        "cash": margin.cash,
        "collateral": margin.collateral,
        "details": dict(margin.details),
    }


def _positions(positions: Sequence[Position]) -> dict[str, Any]:
    return {"pnl": total(position.pnl for position in positions)}


def _holdings(holdings: Sequence[Holding]) -> dict[str, Any]:
    values = [None if each.last_price is None else each.last_price * each.quantity for each in holdings]
    return {"value": total(values), "pnl": total(holding.pnl for holding in holdings)}


def total(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Their sum; None when one of them is not known."""
    known = list(amounts)
    return None if None in known else sum((amount for amount in known if amount is not None), Decimal(0))


def _position_line(snapshot: PositionSnapshot, position: Position) -> PositionLine:
    return PositionLine(
        snapshot=snapshot,
        symbol=position.symbol,
        exchange=position.exchange,
        product=position.product or "",
        underlying=position.underlying,
        expiry=position.expiry,
        strike=position.strike,
        right=position.right or "",
        quantity=position.quantity,
        buy_quantity=position.buy_quantity,
        sell_quantity=position.sell_quantity,
        buy_amount=position.buy_amount,
        sell_amount=position.sell_amount,
        average_price=position.average_price,
        last_price=position.last_price,
        pnl=position.pnl,
    )


def _holding_line(snapshot: HoldingSnapshot, holding: Holding) -> HoldingLine:
    return HoldingLine(
        snapshot=snapshot,
        symbol=holding.symbol[:64],
        exchange=holding.exchange,
        isin=holding.isin,
        quantity=holding.quantity,
        sellable_quantity=holding.sellable_quantity,
        blocked_quantity=holding.blocked_quantity,
        average_price=holding.average_price,
        last_price=holding.last_price,
        pnl=holding.pnl,
    )
