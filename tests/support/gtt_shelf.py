"""The GTTs that a scripted broker keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

from brokers.clock import trading_day
from brokers.domain.errors import BrokerError
from brokers.domain.gtt import Gtt, GttAck, GttCancel, GttChange, GttLeg, GttRequest, GttRole, GttStatus, GttTrigger


class GttShelf:
    """A GTT book, and what is to become of it."""

    def __init__(self) -> None:
        self.rows: dict[str, Gtt] = {}
        #: What the next readings find instead of it.
        self.script: list[BrokerError] = []
        #: Ids that the book does not show.
        self.hidden: set[str] = set()

    def accept(self, operation: GttRequest | GttChange | GttCancel, now: datetime) -> GttAck:
        if isinstance(operation, GttRequest):
            number = f"{len(self.rows) + 1:016d}"
            self.rows[number] = row_of(number, operation, placed_at=now)
            return GttAck(gtt_order_id=number)
        number = operation.gtt_order_id
        if isinstance(operation, GttChange):
            self.rows[number] = replace(self.rows[number], legs=tuple(_leg(each) for each in operation.triggers))
        else:
            self.end(number, GttStatus.CANCELLED)
        return GttAck(gtt_order_id=number)

    def end(self, number: str, status: GttStatus) -> None:
        legs = tuple(replace(leg, status=status, broker_status=status.lower()) for leg in self.rows[number].legs)
        self.rows[number] = replace(self.rows[number], legs=legs)

    def end_leg(self, number: str, role: GttRole, status: GttStatus) -> None:
        legs = self.rows[number].legs
        ended = tuple(replace(leg, status=status) if leg.role is role else leg for leg in legs)
        self.rows[number] = replace(self.rows[number], legs=ended)

    def named(self, number: str, entry_order_id: str) -> Gtt:
        """The row with the order that it entered with."""
        return replace(self.rows[number], entry_order_id=entry_order_id)

    def shown(self, first: date, last: date) -> list[Gtt]:
        if self.script:
            raise self.script.pop(0)
        return [
            row
            for number, row in self.rows.items()
            if number not in self.hidden and row.placed_at and first <= trading_day(row.placed_at) <= last
        ]


def row_of(number: str, request: GttRequest, *, placed_at: datetime) -> Gtt:
    return Gtt(
        gtt_order_id=number,
        kind=request.kind,
        symbol=request.instrument.symbol,
        exchange=request.instrument.exchange.value,
        product=request.product,
        quantity=request.quantity,
        legs=tuple(_leg(each) for each in request.triggers),
        placed_at=placed_at,
    )


def _leg(trigger: GttTrigger) -> GttLeg:
    return GttLeg(
        role=trigger.role,
        side=trigger.side,
        trigger_price=trigger.trigger_price,
        limit_price=trigger.limit_price,
        status=GttStatus.ACTIVE,
        broker_status="active",
    )
