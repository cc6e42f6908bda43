"""What a broker keeps until a trigger, as the simulated exchange remembers it, and its lines in the truth log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from brokers.domain.enums import Exchange, Product, Side
from brokers.domain.gtt import GttKind, GttRole
from brokers.simulator.book import BookedOrder
from brokers.simulator.contracts import Contract
from brokers.simulator.instruments import Universe

#: How the events of GTTs begin in the truth log.
GTT_EVENTS = "gtt_"


class LegState(StrEnum):
    """Where one trigger is. A face translates these into its broker's words."""

    WAITING = "WAITING"  # for the fill of the entry
    ACTIVE = "ACTIVE"
    TRIGGERED = "TRIGGERED"  # its order was sent
    REJECTED = "REJECTED"  # its trigger was reached, and the exchange refused its order
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_live(self) -> bool:
        return self in (LegState.WAITING, LegState.ACTIVE)


@dataclass(kw_only=True, slots=True)
class BookedLeg:
    """One trigger and the limit order behind it. Prices are rupees."""

    role: GttRole
    side: Side
    trigger_price: Decimal
    limit_price: Decimal
    #: It fires at its trigger or above; otherwise at its trigger or below.
    fires_above: bool
    state: LegState
    #: The order that it sent; empty before.
    order_id: str = ""
    #: Why its order was refused; empty otherwise.
    reason: str = ""


@dataclass(kw_only=True, slots=True)
class BookedGtt:
    """One GTT of one account. Faces read it and never write it."""

    gtt_id: str
    #: Key of the account in the exchange.
    account: str
    contract: Contract
    product: Product
    #: Units.
    quantity: int
    legs: list[BookedLeg]
    #: The ordinary order that a three-leg GTT entered with, and its id for good.
    entry: BookedOrder | None = None
    entry_order_id: str = ""
    #: Units that its legs trade: those of its entry's fills, once that has ended.
    armed_quantity: int = 0
    #: What the hidden header of its request said.
    reference: str = ""
    placed_at: datetime
    visible_at: datetime
    sequence: int

    @property
    def kind(self) -> GttKind:
        return GttKind.THREE_LEG if self.entry_order_id else GttKind.SINGLE

    @property
    def is_live(self) -> bool:
        return any(leg.state.is_live for leg in self.legs)


def gtt_fields(gtt: BookedGtt) -> dict[str, Any]:
    """A GTT as the truth log has it."""
    return {
        "gtt_order_id": gtt.gtt_id,
        "kind": gtt.kind.value,
        "exchange": gtt.contract.exchange.value,
        "symbol": gtt.contract.symbol,
        "product": gtt.product.value,
        "quantity": gtt.quantity,
        "legs": [
            {
                "role": leg.role.value,
                "side": leg.side.value,
                "trigger_price": str(leg.trigger_price),
                "limit_price": str(leg.limit_price),
                "fires_above": leg.fires_above,
                "state": leg.state.value,
                "order_id": leg.order_id,
                "reason": leg.reason,
            }
            for leg in gtt.legs
        ],
        "entry_order_id": gtt.entry_order_id,
        "armed_quantity": gtt.armed_quantity,
        "reference": gtt.reference,
        "placed_at": gtt.placed_at.isoformat(),
        "visible_at": gtt.visible_at.isoformat(),
        "gtt_sequence": gtt.sequence,
    }


def read_gtt(line: dict[str, Any], universe: Universe, entry: BookedOrder | None) -> BookedGtt | None:
    """The GTT of a line as it was then; None when its contract is not traded any more."""
    contract = universe.by_symbol(Exchange(line["exchange"]), line["symbol"])
    if contract is None:
        return None
    return BookedGtt(
        gtt_id=line["gtt_order_id"],
        account=f"{line['broker']}:{line['account']}",
        contract=contract,
        product=Product(line["product"]),
        quantity=line["quantity"],
        legs=[
            BookedLeg(
                role=GttRole(leg["role"]),
                side=Side(leg["side"]),
                trigger_price=Decimal(leg["trigger_price"]),
                limit_price=Decimal(leg["limit_price"]),
                fires_above=leg["fires_above"],
                state=LegState(leg["state"]),
                order_id=leg["order_id"],
                reason=leg["reason"],
            )
            for leg in line["legs"]
        ],
        entry=entry,
        entry_order_id=line["entry_order_id"],
        armed_quantity=line["armed_quantity"],
        reference=line["reference"],
        placed_at=datetime.fromisoformat(line["placed_at"]),
        visible_at=datetime.fromisoformat(line["visible_at"]),
        sequence=line["gtt_sequence"],
    )
