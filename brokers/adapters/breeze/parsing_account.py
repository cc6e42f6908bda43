"""What an account holds and may spend, out of Breeze's answers. Pure, as all of the parsing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from brokers.adapters.breeze import parsing, tables
from brokers.adapters.breeze.parsing import Find, Row
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.enums import Exchange, Product, Side
from brokers.domain.errors import UnreadableReply

_ALLOCATED = "allocated_"
_EXCHANGES = {exchange.value.lower(): exchange for exchange in Exchange}


def margin(funds: Row, limits: Row, as_of: datetime) -> MarginData:
    """Funds (of all segments) and the margin of the derivatives segment; NOTES.md says which figure is which."""
    cash_limit, blocked = parsing.needed(limits, "cash_limit"), parsing.needed(limits, "block_by_trade")
    details = {f"funds.{name}": str(value) for name, value in funds.items() if name != "bank_account"}
    details |= {f"margin.{name}": str(value) for name, value in limits.items()}
    return MarginData(
        available=cash_limit - blocked,
        used=blocked,
        total=cash_limit,
        cash=parsing.decimal(funds, "total_bank_balance"),
        as_of=as_of,
        details=details,
    )


def segment_margins(funds: Row, as_of: datetime) -> list[SegmentMargin]:
    """The funds of every segment that the answer names, by Breeze's words for them.

    :raises UnreadableReply: it names none, or states only half of one.
    """
    segments = [name.removeprefix(_ALLOCATED) for name in funds if name.startswith(_ALLOCATED)]
    if not segments:
        raise UnreadableReply("Breeze sent funds without a segment; ask again.")
    found = []
    for segment in segments:
        allocated = parsing.needed(funds, f"{_ALLOCATED}{segment}")
        blocked = parsing.needed(funds, f"block_by_trade_{segment}")
        found.append(
            SegmentMargin(
                segment=segment, allocated=allocated, blocked=blocked, available=allocated - blocked, as_of=as_of
            )
        )
    return found


def margin_required(answers: Sequence[Row], as_of: datetime) -> MarginRequired:
    """The margin of a basket: one answer an exchange, each of which weighs its own orders against each other.

    :raises UnreadableReply: an answer lacks a part, or a part is below zero.
    """
    spans = [parsing.needed(answer, "span_margin_required") for answer in answers]
    others = [parsing.needed(answer, "non_span_margin_required") for answer in answers]
    if not answers or min(spans + others) < 0:
        raise UnreadableReply("Breeze sent a margin that is below zero or none at all; ask again.")
    span, exposure = sum(spans, Decimal(0)), sum(others, Decimal(0))
    return MarginRequired(
        required=span + exposure,
        available=None,
        span=span,
        exposure=exposure,
        is_netted=len(answers) == 1,
        as_of=as_of,
    )


def holding(row: Row, find: Find, as_of: datetime) -> Holding:
    """One row of ``portfolioholdings``: the whole quantity, pledged shares included.

    :raises UnreadableReply: the row does not say what is held, or how many.
    """
    found = parsing.contract(row, find)
    quantity = parsing.units(row, "quantity")
    average, last = parsing.positive(row, "average_price"), parsing.positive(row, "current_market_price")
    return Holding(
        symbol=found.symbol,
        exchange=found.exchange,
        quantity=quantity,
        average_price=average,
        last_price=last,
        pnl=None if average is None or last is None else (last - average) * quantity,
        as_of=as_of,
    )


def demat_holding(row: Row, find: Find, as_of: datetime) -> Holding:
    """One row of ``dematholdings``, which names no exchange and knows no price.

    NSE's symbol is given where NSE lists the share. Which of its quantities may be sold today Breeze does not say.

    :raises UnreadableReply: the row does not say what is held, or how many.
    """
    code, isin = parsing.text(row, "stock_code"), parsing.text(row, "stock_ISIN")
    if not code:
        raise UnreadableReply("Breeze sent a demat holding without stock_code; ask again.")
    listed = [find(parsing.cash_key(exchange, code)) for exchange in (Exchange.NSE, Exchange.BSE)]
    instrument = next((each for each in listed if each is not None), None)
    return Holding(
        symbol=instrument.symbol if instrument else f"[{code}]",
        exchange=instrument.exchange.value if instrument else "",
        isin=isin,
        quantity=parsing.units(row, "quantity"),
        blocked_quantity=parsing.count(row, "blocked_quantity"),
        average_price=None,
        last_price=None,
        pnl=None,
        as_of=as_of,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """What was bought and sold today in one contract: units and rupees."""

    buy_quantity: int = 0
    sell_quantity: int = 0
    buy_amount: Decimal = Decimal(0)
    sell_amount: Decimal = Decimal(0)

    def plus(self, side: Side, quantity: int, price: Decimal) -> Traded:
        buying = side is Side.BUY
        return Traded(
            buy_quantity=self.buy_quantity + (quantity if buying else 0),
            sell_quantity=self.sell_quantity + (0 if buying else quantity),
            buy_amount=self.buy_amount + (quantity * price if buying else 0),
            sell_amount=self.sell_amount + (0 if buying else quantity * price),
        )


def traded_today(trade_rows: Iterable[Row]) -> dict[tuple[object, ...], Traded]:
    """Today's trades by contract, from the trade list."""
    totals: dict[tuple[object, ...], Traded] = {}
    for row in trade_rows:
        key = _contract_identity(row)
        traded = totals.get(key, Traded())
        totals[key] = traded.plus(
            parsing.side(row), parsing.units(row, "quantity"), parsing.needed(row, "average_cost")
        )
    return totals


def exchanges_of(listed: Iterable[Row]) -> list[Exchange]:
    """Where the rows are traded, each once.

    :raises UnreadableReply: an exchange that this version does not know.
    """
    return sorted({parsing.known(_EXCHANGES, row, "exchange_code") for row in listed})


def is_position(row: Row) -> bool:
    """Whether a row of ``portfoliopositions`` is one: shares held for delivery are holdings."""
    exchange, product = parsing.text(row, "exchange_code").upper(), parsing.text(row, "product_type").lower()
    if exchange in (Exchange.NFO, Exchange.BFO):
        return True
    return tables.PRODUCT_FROM_WIRE.get(product) in (Product.MIS, Product.MTF)


def position(row: Row, find: Find, traded: Mapping[tuple[object, ...], Traded], as_of: datetime) -> Position:
    """One row of ``portfoliopositions``: quantity is unsigned, the direction is in ``action``."""
    found = parsing.contract(row, find)
    size, action = parsing.units(row, "quantity"), parsing.text(row, "action").lower()
    if size and action not in tables.SIDE_FROM_WIRE:
        raise UnreadableReply(f"Breeze sent a position of {found.symbol} with action {action!r}; ask again.")
    net = 0 if not size else size if tables.SIDE_FROM_WIRE[action] is Side.BUY else -size
    average = (parsing.decimal(row, "average_price") or Decimal(0)) if net else Decimal(0)
    last = parsing.positive(row, "ltp")
    today = traded.get(_contract_identity(row), Traded())
    return Position(
        symbol=found.symbol,
        exchange=found.exchange,
        product=tables.PRODUCT_FROM_WIRE.get(parsing.text(row, "product_type").lower()),
        underlying=found.underlying or parsing.text(row, "underlying"),
        expiry=found.expiry,
        strike=found.strike,
        right=found.right,
        quantity=net,
        buy_quantity=today.buy_quantity,
        sell_quantity=today.sell_quantity,
        buy_amount=today.buy_amount,
        sell_amount=today.sell_amount,
        carried_quantity=carried(net, today),
        average_price=average,
        last_price=last,
        pnl=profit(net, average, last, today),
        as_of=as_of,
    )


def carried(net: int, today: Traded) -> int:
    """Units of an open position that were held when the day began: what today's trades do not account for."""
    before = net - (today.buy_quantity - today.sell_quantity)
    if net > 0:
        return min(net, max(before, 0))
    return max(net, min(before, 0))


def profit(net: int, average: Decimal, last: Decimal | None, today: Traded) -> Decimal | None:
    """Rupees made on a position; None when it cannot be stated.

    Opened today: sold - bought + net x last price. Carried in: net x (last price - average price) of what is
    open, and unknown where a part of it was closed today, since Breeze states no realised profit.
    """
    if net and last is None:
        return None
    worth = net * (last or Decimal(0))
    if today.buy_quantity - today.sell_quantity == net:
        return today.sell_amount - today.buy_amount + worth
    carried = net - (today.buy_quantity - today.sell_quantity)
    closing = today.sell_quantity if carried > 0 else today.buy_quantity
    if closing or not net:
        return None
    return worth - net * average


def _contract_identity(row: Row) -> tuple[object, ...]:
    found = parsing.contract(row, lambda key: None)
    return found.exchange, found.stock_code, found.expiry, found.right, found.strike
