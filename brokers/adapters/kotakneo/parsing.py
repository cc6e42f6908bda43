"""From Kotak's answers to the domain's values. Pure: an answer goes in, a value or ``UnreadableReply`` comes out.

Rows mix ints and numeric text, write "nothing" in five ways and name one thing differently in each book
(answers in the SDK's docs and clients' tests, read 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, TypeVar

from brokers.adapter_interface import InstrumentLookup
from brokers.adapters.kotakneo import SPEC
from brokers.adapters.kotakneo.tables import (
    BLANKS,
    ORDER_STATUSES,
    ORDER_TYPES,
    PRODUCTS,
    SEGMENTS,
    SIDES,
    TIMES_IN_FORCE,
)
from brokers.clock import IST
from brokers.domain.account import MarginData, Position
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import Fill, Order

Row = Mapping[str, Any]
T = TypeVar("T")

_PAISA = Decimal("0.01")
#: The tag as it was sent, alone or, after a cancel, with an epoch (Kotak-neo-api-v2 issue 33).
_TAG_AFTER_CANCEL = re.compile(r"([A-Za-z0-9]{1,20})-\d{9,}")
_SERVER_TAG = re.compile(r".*-ADMINAPI(-\d+)?")
#: Persons' identities in a row; ``usrId`` has been seen to hold a PAN.
_PRIVATE = frozenset({"actId", "usrId", "brkClnt", "locId", "EntityId", "mfdBy"})


def margin(body: Row, *, as_of: datetime) -> MarginData:
    """The answer of ``limits``. ``Net`` is what may be used, ``MarginUsed`` what is blocked."""
    available, used = (_required_number(body, name).quantize(_PAISA, ROUND_HALF_EVEN) for name in ("Net", "MarginUsed"))
    return MarginData(
        available=available,
        used=used,
        total=available + used,
        collateral=_number(body, "Collateral"),
        as_of=as_of,
        details={
            name: str(value)
            for name, value in body.items()
            if isinstance(value, (str, int, float)) and name not in _PRIVATE
        },
    )


def positions(rows: list[Row], instruments: InstrumentLookup, *, as_of: datetime) -> list[Position]:
    """The rows of ``positions``; quantities are units, not lots."""
    return [_position(row, instruments, as_of) for row in rows]


def orders(rows: list[Row], instruments: InstrumentLookup) -> list[Order]:
    """The rows of ``order_report``."""
    return [_order(row, instruments) for row in rows]


def tags(rows: list[Row]) -> frozenset[str]:
    """Our tags out of the rows of ``order_history``, which keeps those that a change replaced."""
    return frozenset(filter(None, (_tag(_text(row, "GuiOrdId")) for row in rows)))


def fills(rows: list[Row], instruments: InstrumentLookup) -> list[Fill]:
    """The rows of ``trade_report``; ``qty`` and ``prc`` are unusable there, ``fldQty`` and ``avgPrc`` count."""
    return [_fill(row, instruments) for row in rows]


def quote(body: object, token: Mapping[str, str], instrument: Instrument, *, as_of: datetime) -> Quote:
    """The answer of ``quotes`` for one instrument: a bare list, all text."""
    segment, asked = token["exchange_segment"], token["instrument_token"]
    # An index is asked for by name; which of its two names comes back is not documented.
    names = {asked, instrument.identifiers.get(SPEC.name, {}).get("token")}
    listed = [row for row in body if isinstance(row, Mapping)] if isinstance(body, list) else []
    of_segment = [row for row in listed if _text(row, "exchange") == segment]
    row = next((row for row in of_segment if _text(row, "exchange_token") in names), None)
    if row is None:
        raise UnreadableReply(
            f"Kotak's answer has no quote of {instrument.symbol} ({segment}, {asked}) in {len(listed)} rows; try again."
        )
    prices, (bid_price, bid_quantity), (ask_price, ask_quantity) = (
        _mapping(row, "ohlc"),
        _best(row, "buy"),
        _best(row, "sell"),
    )
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=_price(row, "ltp"),
        bid_price=bid_price,
        bid_quantity=bid_quantity,
        ask_price=ask_price,
        ask_quantity=ask_quantity,
        open=_price(prices, "open"),
        high=_price(prices, "high"),
        low=_price(prices, "low"),
        previous_close=_price(prices, "close"),
        lower_circuit=_price(row, "low_price_range"),
        upper_circuit=_price(row, "high_price_range"),
        volume=_units(row, "last_volume"),
        traded_at=_epoch(row, "lstup_time"),
        as_of=as_of,
    )


def _order(row: Row, instruments: InstrumentLookup) -> Order:
    symbol, exchange, _ = _named(row, instruments)
    quantity, filled = _required_units(row, "qty"), _required_units(row, "fldQty")
    word = _text(row, "ordSt").lower()
    status = _status(word, quantity, filled)
    unfilled = _units(row, "unFldSz")
    pending = unfilled if unfilled is not None else quantity - filled - (_units(row, "cnlQty") or 0)
    return Order(
        broker_order_id=_required(row, "nOrdNo"),
        exchange_order_id=_text(row, "exOrdId"),
        client_tag=_tag(_text(row, "GuiOrdId")),
        symbol=symbol,
        exchange=exchange,
        side=_word(row, "trnsTp", SIDES),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=0 if status.is_terminal else max(pending, 0),
        order_type=_word(row, "prcTp", ORDER_TYPES),
        product=PRODUCTS.get(_text(row, "prod")),
        time_in_force=_word(row, "vldt", TIMES_IN_FORCE),
        limit_price=_price(row, "prc"),
        trigger_price=_price(row, "trgPrc"),
        average_price=_price(row, "avgPrc"),
        status=status,
        broker_status=word,
        reason=_text(row, "rejRsn"),
        placed_at=_moment(_text(row, "ordDtTm")),
        raw={name: value for name, value in row.items() if name not in _PRIVATE},
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


def _fill(row: Row, instruments: InstrumentLookup) -> Fill:
    symbol, exchange, _ = _named(row, instruments)
    return Fill(
        broker_order_id=_required(row, "nOrdNo"),
        # Unique only together: Kotak's docs, read 2026-11-22.
        fill_id="-".join(_required(row, name) for name in ("exOrdId", "flId", "flLeg")),
        symbol=symbol,
        exchange=exchange,
        side=_word(row, "trnsTp", SIDES),
        quantity=_required_units(row, "fldQty"),
        price=_required_number(row, "avgPrc"),
        filled_at=_moment(f"{_text(row, 'flDt')} {_text(row, 'flTm')}"),
    )


def _position(row: Row, instruments: InstrumentLookup, as_of: datetime) -> Position:
    symbol, exchange, instrument = _named(row, instruments)
    carried_buys, carried_sells = _required_units(row, "cfBuyQty"), _required_units(row, "cfSellQty")
    bought, sold = carried_buys + _required_units(row, "flBuyQty"), carried_sells + _required_units(row, "flSellQty")
    carried_cost, carried_proceeds = _required_number(row, "cfBuyAmt"), _required_number(row, "cfSellAmt")
    paid = carried_cost + _required_number(row, "buyAmt")
    received = carried_proceeds + _required_number(row, "sellAmt")
    net, factor, last_price = bought - sold, _factor(row), _price(row, "ltp")
    # Carried shares may come without what they cost; a profit from half the inputs would be a false one.
    uncosted = (carried_buys and not carried_cost) or (carried_sells and not carried_proceeds)
    return Position(
        symbol=symbol,
        exchange=exchange,
        product=PRODUCTS.get(_text(row, "prod")),
        underlying=instrument.underlying if instrument else _text(row, "sym"),
        expiry=instrument.expiry if instrument else None,
        strike=instrument.strike if instrument else None,
        right=instrument.right if instrument else None,
        quantity=net,
        buy_quantity=bought,
        sell_quantity=sold,
        buy_amount=paid,
        sell_amount=received,
        average_price=_average(row, net, (paid, bought) if net > 0 else (received, sold), factor),
        last_price=last_price,
        pnl=_profit(received - paid, net, last_price, factor) if not uncosted else None,
        as_of=as_of,
    )


def _factor(row: Row) -> Decimal:
    """Rupees a unit moves for one rupee of price; blank and zero parts count as one (the SDK's formula)."""
    parts = {name: _number(row, name) or Decimal(1) for name in ("multiplier", "genNum", "genDen", "prcNum", "prcDen")}
    return parts["multiplier"] * parts["genNum"] / parts["genDen"] * parts["prcNum"] / parts["prcDen"]


def _average(row: Row, net: int, side: tuple[Decimal, int], factor: Decimal) -> Decimal:
    amount, quantity = side
    if not net:
        return Decimal(0)
    precision = _units(row, "precision")
    return (amount / (quantity * factor)).quantize(Decimal(1).scaleb(-(2 if precision is None else min(precision, 8))))


def _profit(cash: Decimal, net: int, last_price: Decimal | None, factor: Decimal) -> Decimal | None:
    if not net:
        return cash
    return cash + net * last_price * factor if last_price is not None else None


def _named(row: Row, instruments: InstrumentLookup) -> tuple[str, str, Instrument | None]:
    """Symbol and exchange of a row, by the instrument master; Kotak's own words in brackets without one."""
    segment, traded = _required(row, "exSeg"), _required(row, "trdSym")
    instrument = instruments.find(SPEC.name, f"{segment}|{traded}")
    if instrument is not None:
        return instrument.symbol, instrument.exchange.value, instrument
    return f"[{traded}]", SEGMENTS[segment].value if segment in SEGMENTS else segment.upper(), None


def _best(row: Row, side: str) -> tuple[Decimal | None, int | None]:
    levels = _mapping(row, "depth").get(side)
    for level in levels if isinstance(levels, list) else ():
        if isinstance(level, Mapping) and (price := _price(level, "price")) is not None:
            return price, _units(level, "quantity")
    return None, None


def _mapping(row: Row, name: str) -> Row:
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    text = "" if value is None or isinstance(value, (Mapping, list)) else str(value).strip()
    return "" if text in BLANKS else text


def _required(row: Row, name: str) -> str:
    text = _text(row, name)
    if not text:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return text


def _word(row: Row, name: str, words: Mapping[str, T]) -> T:
    text = _text(row, name)
    if text not in words:
        raise UnreadableReply(
            f"A row of Kotak's answer ({_text(row, 'nOrdNo') or 'no order id'}) has {name} {text!r}, which is none of "
            f"{', '.join(words)}; nothing of the answer is used."
        )
    return words[text]


def _number(row: Row, name: str) -> Decimal | None:
    text = _text(row, name)
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise UnreadableReply(
            f"A row of Kotak's answer has {name} {text!r}, which is no number; nothing of it is used."
        )
    return number


def _required_number(row: Row, name: str) -> Decimal:
    number = _number(row, name)
    if number is None:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return number


def _price(row: Row, name: str) -> Decimal | None:
    """Rupees; zero and less mean that Kotak states none."""
    number = _number(row, name)
    return number if number is not None and number > 0 else None


def _units(row: Row, name: str) -> int | None:
    number = _number(row, name)
    if number is None:
        return None
    if number != number.to_integral_value() or number < 0:
        raise UnreadableReply(
            f"A row of Kotak's answer has {name} {number}, which is no quantity; nothing of it is used."
        )
    return int(number)


def _required_units(row: Row, name: str) -> int:
    units = _units(row, name)
    if units is None:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return units


def _moment(text: str) -> datetime | None:
    """``22-Nov-2026 10:28:01`` in IST; blanks around the colons occur."""
    try:
        local = datetime.strptime(re.sub(r"\s*:\s*", ":", text), "%d-%b-%Y %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None
    return local.replace(tzinfo=IST).astimezone(UTC)


def _epoch(row: Row, name: str) -> datetime | None:
    number = _number(row, name)
    return datetime.fromtimestamp(int(number), UTC) if number else None
