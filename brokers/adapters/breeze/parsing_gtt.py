"""The GTT book out of Breeze's answers. Pure, as all of the parsing."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from brokers.adapters.breeze import parsing, tables
from brokers.adapters.breeze.parsing import Find, Row
from brokers.domain.errors import UnreadableReply
from brokers.domain.gtt import Gtt, GttKind, GttLeg, GttRole, GttStatus


def gtt(row: Row, find: Find) -> Gtt:
    """One row of the book.

    :raises UnreadableReply: it lacks its contract, kind, quantity, legs or id, or says something unknown of them.
    """
    found = parsing.contract(row, find)
    kind = parsing.known(tables.GTT_KIND_FROM_WIRE, row, "gtt_type")
    details = parsing.rows(row.get("order_details"), "legs of a GTT")
    legs = tuple(_leg(each, kind) for each in details)
    if not _fits(kind, [leg.role for leg in legs]):
        shown = ", ".join(leg.role for leg in legs) or "none"
        raise UnreadableReply(f"Breeze sent a GTT of kind {kind} with these legs: {shown}; ask again.")
    return Gtt(
        gtt_order_id=_id(details),
        kind=kind,
        symbol=found.symbol,
        exchange=found.exchange,
        product=tables.PRODUCT_FROM_WIRE.get(parsing.text(row, "product_type").lower()),
        quantity=parsing.units(row, "quantity"),
        legs=legs,
        entry_order_id=parsing.text(row, "fresh_order_id"),
        placed_at=parsing.moment(parsing.text(row, "order_datetime")),
        raw=dict(row),
    )


def _id(legs: Sequence[Row]) -> str:
    """The GTT's id, which stands in each of its legs and nowhere else."""
    ids = {parsing.text(leg, "gtt_order_id") for leg in legs}
    if len(ids) != 1 or "" in ids:
        raise UnreadableReply("Breeze sent a GTT whose legs do not share one gtt_order_id; ask again.")
    return ids.pop()


def _leg(row: Row, kind: GttKind) -> GttLeg:
    word, role = parsing.text(row, "status"), parsing.known(tables.GTT_ROLE_FROM_WIRE, row, "gtt_leg_type")
    return GttLeg(
        # A single has one order, whatever that is meant for.
        role=GttRole.ORDER if kind is GttKind.SINGLE else role,
        side=parsing.side(row),
        trigger_price=_price(row, "trigger_price"),
        limit_price=_price(row, "limit_price"),
        status=tables.GTT_STATUS_FROM_WIRE.get(word.lower(), GttStatus.UNKNOWN),
        broker_status=word,
    )


def _price(row: Row, name: str) -> Decimal:
    number = parsing.needed(row, name)
    if number < 0:
        raise UnreadableReply(f"Breeze sent {number} as {name} of a GTT, which is no price; ask again.")
    return number


def _fits(kind: GttKind, roles: Sequence[GttRole]) -> bool:
    if kind is GttKind.SINGLE:
        return list(roles) == [GttRole.ORDER]
    return sorted(roles) == [GttRole.STOP, GttRole.TARGET]
