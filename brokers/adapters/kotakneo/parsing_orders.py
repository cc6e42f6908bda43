"""From Kotak's books of orders and trades to the domain's values: rows in, values or ``UnreadableReply`` out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from brokers.adapter_interface import InstrumentLookup
from brokers.adapters.kotakneo import SPEC, fields
from brokers.adapters.kotakneo.fields import Row
from brokers.adapters.kotakneo.tables import (
    ORDER_STATUSES,
    ORDER_TYPES,
    PRODUCTS,
    SEGMENTS,
    SIDES,
    TIMES_IN_FORCE,
)
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.orders import Fill, Order, OrderEvent

#: The tag as it was sent, alone or, after a cancel, with an epoch (Kotak-neo-api-v2 issue 33).
_TAG_AFTER_CANCEL = re.compile(r"([A-Za-z0-9]{1,20})-\d{9,}")
_SERVER_TAG = re.compile(r".*-ADMINAPI(-\d+)?")


def orders(rows: Sequence[Row], instruments: InstrumentLookup) -> list[Order]:
    """The rows of ``order_report``."""
    return [_order(row, instruments) for row in rows]


def tags(rows: Sequence[Row]) -> frozenset[str]:
    """Our tags out of the rows of ``order_history``, which keeps those that a change replaced."""
    return frozenset(filter(None, (_tag(fields.text(row, "GuiOrdId")) for row in rows)))


def events(rows: Sequence[Row], broker_order_id: str) -> list[OrderEvent]:
    """The rows of ``order_history``, one for each state, the newest first; turned round."""
    return [_event(row, broker_order_id) for row in reversed(rows)]


def fills(rows: Sequence[Row], instruments: InstrumentLookup) -> list[Fill]:
    """The rows of ``trade_report``; ``qty`` and ``prc`` are unusable there, ``fldQty`` and ``avgPrc`` count."""
    return [_fill(row, instruments) for row in rows]


def named(row: Row, instruments: InstrumentLookup) -> tuple[str, str, Instrument | None]:
    """Symbol and exchange of a row, by the instrument master; Kotak's own words in brackets without one."""
    segment, traded = fields.required(row, "exSeg"), fields.required(row, "trdSym")
    instrument = instruments.find(SPEC.name, f"{segment}|{traded}")
    if instrument is not None:
        return instrument.symbol, instrument.exchange.value, instrument
    return f"[{traded}]", SEGMENTS[segment].value if segment in SEGMENTS else segment.upper(), None


def _order(row: Row, instruments: InstrumentLookup) -> Order:
    symbol, exchange, _ = named(row, instruments)
    quantity, filled = fields.required_units(row, "qty"), fields.required_units(row, "fldQty")
    word = fields.text(row, "ordSt").lower()
    status = _status(word, quantity, filled)
    unfilled = fields.units(row, "unFldSz")
    pending = unfilled if unfilled is not None else quantity - filled - (fields.units(row, "cnlQty") or 0)
    return Order(
        broker_order_id=fields.required(row, "nOrdNo"),
        exchange_order_id=fields.text(row, "exOrdId"),
        client_tag=_tag(fields.text(row, "GuiOrdId")),
        symbol=symbol,
        exchange=exchange,
        side=fields.word(row, "trnsTp", SIDES),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=0 if status.is_terminal else max(pending, 0),
        order_type=fields.word(row, "prcTp", ORDER_TYPES),
        product=PRODUCTS.get(fields.text(row, "prod")),
        time_in_force=fields.word(row, "vldt", TIMES_IN_FORCE),
        limit_price=fields.price(row, "prc"),
        trigger_price=fields.price(row, "trgPrc"),
        average_price=fields.price(row, "avgPrc"),
        status=status,
        broker_status=word,
        reason=fields.text(row, "rejRsn"),
        placed_at=fields.moment(fields.text(row, "ordDtTm")),
        raw={name: value for name, value in row.items() if name not in fields.PRIVATE},
    )


def _status(word: str, quantity: int, filled: int) -> OrderStatus:
    status = ORDER_STATUSES.get(word, OrderStatus.UNKNOWN)
    if status is OrderStatus.FILLED and filled != quantity:
        return OrderStatus.UNKNOWN
    if status is OrderStatus.OPEN and filled:
        return OrderStatus.PARTIALLY_FILLED
    return status


def _tag(echoed: str) -> str:
    """Our tag out of ``GuiOrdId``, which Kotak lengthens after a cancel and replaces after a change."""
    if _SERVER_TAG.fullmatch(echoed):
        return ""
    lengthened = _TAG_AFTER_CANCEL.fullmatch(echoed)
    return lengthened[1] if lengthened else echoed


def _event(row: Row, broker_order_id: str) -> OrderEvent:
    listed = fields.required(row, "nOrdNo")
    if listed != broker_order_id:
        raise UnreadableReply(
            f"Kotak's history of order {broker_order_id} has a row of order {listed}; nothing of it is used. Try again."
        )
    word, filled = fields.text(row, "ordSt").lower(), fields.required_units(row, "fldQty")
    return OrderEvent(
        broker_order_id=listed,
        status=_status(word, fields.required_units(row, "qty"), filled),
        broker_status=word,
        filled_quantity=filled,
        limit_price=fields.price(row, "prc"),
        reason=fields.text(row, "rejRsn"),
        # The row's own time; exchTmstp stays that of the exchange's confirmation (SDK docs, read 2026-11-28).
        happened_at=fields.moment(fields.text(row, "flDtTm")),
    )


def _fill(row: Row, instruments: InstrumentLookup) -> Fill:
    symbol, exchange, _ = named(row, instruments)
    return Fill(
        broker_order_id=fields.required(row, "nOrdNo"),
        # Unique only together: Kotak's docs, read 2026-11-22.
        fill_id="-".join(fields.required(row, name) for name in ("exOrdId", "flId", "flLeg")),
        symbol=symbol,
        exchange=exchange,
        side=fields.word(row, "trnsTp", SIDES),
        quantity=fields.required_units(row, "fldQty"),
        price=fields.required_price(row, "avgPrc"),
        filled_at=fields.moment(f"{fields.text(row, 'flDt')} {fields.text(row, 'flTm')}"),
    )
