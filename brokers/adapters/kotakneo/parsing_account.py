"""From Kotak's limits, margins, positions and holdings to the domain's values, or ``UnreadableReply``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from brokers.adapter_interface import InstrumentLookup
from brokers.adapters.kotakneo import SPEC, fields
from brokers.adapters.kotakneo.fields import Row
from brokers.adapters.kotakneo.parsing_orders import named
from brokers.adapters.kotakneo.tables import PRODUCTS, SEGMENTS, SHARE_SERIES
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.enums import Exchange
from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument

_PAISA = Decimal("0.01")
#: Kotak keeps one pool for all segments: limits are asked for with ``seg`` ALL and come as one figure.
ONE_POOL = "all"


def margin(body: Row, *, as_of: datetime) -> MarginData:
    """The answer of ``limits``. ``Net`` is what may be used, ``MarginUsed`` what is blocked."""
    available, used = (_rupees(body, name) for name in ("Net", "MarginUsed"))
    return MarginData(
        available=available,
        used=used,
        total=available + used,
        collateral=fields.number(body, "Collateral"),
        as_of=as_of,
        details={
            name: str(value)
            for name, value in body.items()
            if isinstance(value, (str, int, float)) and name not in fields.PRIVATE
        },
    )


def segment_margins(body: Row, *, as_of: datetime) -> list[SegmentMargin]:
    """The one pool of ``limits``."""
    pool = margin(body, as_of=as_of)
    return [
        SegmentMargin(segment=ONE_POOL, allocated=pool.total, blocked=pool.used, available=pool.available, as_of=as_of)
    ]


def margin_required(bodies: Sequence[Row], *, as_of: datetime) -> MarginRequired:
    """The answers of ``margin_required``, one for each order: ``ordMrgn`` is what the order blocks.

    What may be used now is ``avlCash`` less ``mrgnUsd``: of one account the docs show 38.19 and 18.78 here, and 19.41
    as the ``Net`` of its limits (read 2026-11-28). ``reqdMrgn`` and ``avlMrgn`` are zero there and say nothing.
    """
    return MarginRequired(
        required=sum((_rupees(body, "ordMrgn") for body in bodies), Decimal(0)),
        available=_rupees(bodies[-1], "avlCash") - _rupees(bodies[-1], "mrgnUsd"),
        is_netted=False,
        as_of=as_of,
    )


def positions(rows: Sequence[Row], instruments: InstrumentLookup, *, as_of: datetime) -> list[Position]:
    """The rows of ``positions``; quantities are units, not lots."""
    try:
        return [_position(row, instruments, as_of) for row in rows]
    except ArithmeticError as error:
        raise UnreadableReply(
            "A row of Kotak's positions has figures that no price or profit can be made of; nothing of it is used."
        ) from error


def held_shares(rows: Sequence[Row], instruments: InstrumentLookup) -> list[Instrument | None]:
    """The share of each row of ``holdings``; None where the master has none with the row's name and token."""
    return [_held_share(row, instruments) for row in rows]


def holdings(
    rows: Sequence[Row],
    shares: Sequence[Instrument | None],
    prices: Mapping[tuple[Exchange, str], Decimal],
    *,
    as_of: datetime,
) -> list[Holding]:
    """The rows of ``holdings``, whose numbers are JSON numbers, with the ``shares`` they are and the last prices.

    ``closingPrice`` and ``mktValue`` are those of the last close and do not move in the day (SDK 3.0.9), so that the
    last price is not taken from them.
    """
    return [
        _holding(row, share, prices.get((share.exchange, share.symbol)) if share else None, as_of)
        for row, share in zip(rows, shares, strict=True)
    ]


def _rupees(row: Row, name: str) -> Decimal:
    """To the paisa: sums such as 19.409999999999997 occur."""
    return fields.required_number(row, name).quantize(_PAISA, ROUND_HALF_EVEN)


def _position(row: Row, instruments: InstrumentLookup, as_of: datetime) -> Position:
    symbol, exchange, instrument = named(row, instruments)
    carried_buys, carried_sells = fields.required_units(row, "cfBuyQty"), fields.required_units(row, "cfSellQty")
    bought = carried_buys + fields.required_units(row, "flBuyQty")
    sold = carried_sells + fields.required_units(row, "flSellQty")
    carried_cost, carried_proceeds = fields.required_number(row, "cfBuyAmt"), fields.required_number(row, "cfSellAmt")
    paid = carried_cost + fields.required_number(row, "buyAmt")
    received = carried_proceeds + fields.required_number(row, "sellAmt")
    net, factor, last_price = bought - sold, _factor(row), fields.price(row, "ltp")
    # Carried shares may come without what they cost; a profit from half the inputs would be a false one.
    uncosted = (carried_buys and not carried_cost) or (carried_sells and not carried_proceeds)
    return Position(
        symbol=symbol,
        exchange=exchange,
        product=PRODUCTS.get(fields.text(row, "prod")),
        underlying=instrument.underlying if instrument else fields.text(row, "sym"),
        expiry=instrument.expiry if instrument else None,
        strike=instrument.strike if instrument else None,
        right=instrument.right if instrument else None,
        quantity=net,
        buy_quantity=bought,
        sell_quantity=sold,
        carried_quantity=_carried(carried_buys - carried_sells, net),
        buy_amount=paid,
        sell_amount=received,
        average_price=_average(row, net, (paid, bought) if net > 0 else (received, sold), factor),
        last_price=last_price,
        pnl=_profit(received - paid, net, last_price, factor) if not uncosted else None,
        as_of=as_of,
    )


def _factor(row: Row) -> Decimal:
    """Rupees a unit moves for one rupee of price; blank and zero parts count as one (the SDK's formula)."""
    names = ("multiplier", "genNum", "genDen", "prcNum", "prcDen")
    parts = {name: fields.number(row, name) or Decimal(1) for name in names}
    if any(part < 0 for part in parts.values()):
        raise UnreadableReply(f"A row of Kotak's positions has a negative part in {parts}; nothing of it is used.")
    return parts["multiplier"] * parts["genNum"] / parts["genDen"] * parts["prcNum"] / parts["prcDen"]


def _average(row: Row, net: int, side: tuple[Decimal, int], factor: Decimal) -> Decimal:
    amount, quantity = side
    if not net:
        return Decimal(0)
    precision = fields.units(row, "precision")
    return (amount / (quantity * factor)).quantize(Decimal(1).scaleb(-(2 if precision is None else min(precision, 8))))


def _profit(cash: Decimal, net: int, last_price: Decimal | None, factor: Decimal) -> Decimal | None:
    if not net:
        return cash
    return cash + net * last_price * factor if last_price is not None else None


def _carried(carried: int, net: int) -> int:
    """What of the net quantity was held when the day began; what was closed today is not."""
    if (carried > 0) is not (net > 0):
        return 0
    return min(carried, net, key=abs)


def _holding(row: Row, share: Instrument | None, last_price: Decimal | None, as_of: datetime) -> Holding:
    segment, quantity = fields.required(row, "exchangeSegment"), fields.required_units(row, "quantity")
    cost, listed = fields.price(row, "averagePrice"), SEGMENTS.get(segment)
    return Holding(
        symbol=share.symbol if share else f"[{fields.required(row, 'symbol')}]",
        exchange=listed.value if listed else segment.upper(),
        quantity=quantity,
        sellable_quantity=fields.units(row, "sellableQuantity"),
        average_price=cost,
        last_price=last_price,
        pnl=(last_price - cost) * quantity if last_price is not None and cost is not None else None,
        as_of=as_of,
    )


def _held_share(row: Row, instruments: InstrumentLookup) -> Instrument | None:
    """The share of a row, never one with another token. The series is not in every answer; shares' ones are tried."""
    segment, traded = fields.required(row, "exchangeSegment"), fields.required(row, "symbol")
    stated, token = fields.text(row, "series"), fields.required(row, "exchangeIdentifier")
    for series in [stated] if stated else sorted(SHARE_SERIES, key="EQ".__ne__):
        for name in (f"{traded}-{series}", traded):
            found = instruments.find(SPEC.name, f"{segment}|{name}")
            if found is not None and found.identifiers.get(SPEC.name, {}).get("token") == token:
                return found
    return None
