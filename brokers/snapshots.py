"""Takes margins and positions, once a schedule slot, and writes failures as failures."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from brokers.clock import configured_clock
from brokers.domain.account import Position
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.factory import BrokerFactory
from brokers.models import BrokerAccount, MarginSnapshot, PositionLine, PositionSnapshot
from brokers.models.snapshots import Snapshot

S = TypeVar("S", bound=Snapshot)

_FAILURES = (BrokerError, CredentialsNotFound, SDKMissing)


def take_margin(account_id: int, slot_at: datetime) -> MarginSnapshot:
    """Read an account's margin into the row of its slot.

    A slot that is taken already costs no call. A failure is a row that says so, never a zero.
    """
    account = BrokerAccount.objects.get(pk=account_id)
    if done := MarginSnapshot.objects.filter(account=account, slot_at=slot_at, status=Snapshot.Status.OK).first():
        return done
    try:
        margin = BrokerFactory.get_broker(account.broker, account.name).get_margin()
    except _FAILURES as error:
        return _write(MarginSnapshot, account, slot_at, _failed(error))[0]
    values = {
        "status": Snapshot.Status.OK,
        "taken_at": margin.as_of,
        "available": margin.available,
        "used": margin.used,
        "total": margin.total,
        "cash": margin.cash,
        "collateral": margin.collateral,
        "details": dict(margin.details),
    }
    return _write(MarginSnapshot, account, slot_at, values)[0]


def take_positions(account_id: int, slot_at: datetime) -> PositionSnapshot:
    """Read an account's positions into the row and lines of their slot; as :func:`take_margin`."""
    account = BrokerAccount.objects.get(pk=account_id)
    if done := PositionSnapshot.objects.filter(account=account, slot_at=slot_at, status=Snapshot.Status.OK).first():
        return done
    try:
        positions = BrokerFactory.get_broker(account.broker, account.name).get_positions()
    except _FAILURES as error:
        return _write(PositionSnapshot, account, slot_at, _failed(error))[0]
    as_of = positions[0].as_of if positions else configured_clock().now()
    unpriced = any(position.pnl is None for position in positions)
    pnl = None if unpriced else sum((position.pnl or Decimal(0) for position in positions), Decimal(0))
    with transaction.atomic():
        snapshot, written = _write(
            PositionSnapshot, account, slot_at, {"status": Snapshot.Status.OK, "taken_at": as_of, "pnl": pnl}
        )
        if written:
            PositionLine.objects.bulk_create(_line(snapshot, position) for position in positions)
    return snapshot


def _failed(error: Exception) -> dict[str, Any]:
    return {"status": Snapshot.Status.FAILED, "taken_at": None, "error": str(error)[:500]}


def _write(model: type[S], account: BrokerAccount, slot_at: datetime, values: dict[str, Any]) -> tuple[S, bool]:
    """Write the slot's row, and say whether it is this reading's. A success replaces a failure; nothing replaces
    a success.
    """
    values = values | {"error": values.get("error", "")}
    try:
        with transaction.atomic():
            row = model._default_manager.create(
                account=account, slot_at=slot_at, created_at=configured_clock().now(), **values
            )
            return row, True
    except IntegrityError:
        rows = model._default_manager.filter(account=account, slot_at=slot_at)
        replaced = values["status"] == Snapshot.Status.OK and rows.filter(status=Snapshot.Status.FAILED).update(
            **values
        )
        return rows.get(), bool(replaced)


def _line(snapshot: PositionSnapshot, position: Position) -> PositionLine:
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
