"""Payloads of Breeze turned into domain values. Pure: no SDK, no clock, no network.

Numbers come as text, as JSON numbers or as null, in one row together; rows of different segments differ.
A row that cannot be read makes the whole read fail: half a book is no book.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from brokers.adapters.breeze import tables
from brokers.clock import IST
from brokers.domain.account import MarginData, Position
from brokers.domain.enums import Exchange, OptionRight, OrderStatus, Product, Side, TimeInForce
from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.domain.orders import Fill, Order

T = TypeVar("T")

Row = Mapping[str, object]
#: Finds today's instrument by its master key, or None.
Find = Callable[[str], Instrument | None]

_TIMES = ("%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M")
_DATES = ("%d-%b-%Y", "%d-%b-%y")


def rows(value: object, what: str) -> list[Row]:
    """The rows of a list answer; None, the answer "there is nothing", has none.

    :raises UnreadableReply: it is no list of objects.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UnreadableReply(f"Breeze sent the {what} in a shape this version does not know; ask again.")
    return value


def record(value: object, what: str) -> Row:
    """The object of a single answer.

    :raises UnreadableReply: it is no object.
    """
    if not isinstance(value, dict):
        raise UnreadableReply(f"Breeze sent the {what} in a shape this version does not know; ask again.")
    return value


def cash_key(exchange: str, stock_code: str) -> str:
    """The master key of a share or an index."""
    return f"{exchange}|{stock_code}"


def contract_key(exchange: str, stock_code: str, expiry: date, right: OptionRight | None, strike: Decimal) -> str:
    """The master key of a derivative; a future has right ``XX`` and strike ``0``."""
    number = format(strike.normalize(), "f") if strike else "0"
    return f"{exchange}|{stock_code}|{expiry.isoformat()}|{right.value if right else 'XX'}|{number}"


def decimal(row: Row, name: str) -> Decimal | None:
    """A number of the row; None when it is null, blank or absent.

    :raises UnreadableReply: it is something else.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value).strip().replace(",", ""))
    except InvalidOperation as error:
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which is no number; ask again.") from error
    if not number.is_finite():
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which is no number; ask again.")
    return number


def needed(row: Row, name: str) -> Decimal:
    """A number that the row must have.

    :raises UnreadableReply: it has none.
    """
    number = decimal(row, name)
    if number is None:
        raise UnreadableReply(f"Breeze sent a row without {name}; ask again.")
    return number


def positive(row: Row, name: str) -> Decimal | None:
    """A price of the row; None when it is absent, zero or below."""
    number = decimal(row, name)
    return number if number is not None and number > 0 else None


def units(row: Row, name: str) -> int:
    """A quantity that the row must have.

    :raises UnreadableReply: it is absent, negative or no whole number.
    """
    number = needed(row, name)
    if number != number.to_integral_value() or number < 0:
        raise UnreadableReply(f"Breeze sent {number} as {name}, which is no quantity; ask again.")
    return int(number)


def text(row: Row, name: str) -> str:
    """A text of the row; empty when it is null or absent. Codes come padded with spaces at times."""
    value = row.get(name)
    return "" if value is None else str(value).strip()


def moment(value: str) -> datetime | None:
    """A time of Breeze, which is IST with or without seconds, as UTC; None when it is none."""
    for form in _TIMES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=IST).astimezone(UTC)
        except ValueError:
            continue
    return None


def day(value: str) -> date | None:
    """A date of Breeze; None when it is none."""
    for form in _DATES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=IST).date()
        except ValueError:
            continue
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a row says it is about, and today's instrument for it."""

    exchange: str
    stock_code: str
    expiry: date | None
    strike: Decimal | None
    right: OptionRight | None
    instrument: Instrument | None

    @property
    def symbol(self) -> str:
        """The trading symbol; Breeze's own words in brackets when no instrument answers."""
        if self.instrument is not None:
            return self.instrument.symbol
        parts = [self.exchange, self.stock_code, self.expiry.isoformat() if self.expiry else ""]
        if self.right is not None and self.strike is not None:
            parts += [format(self.strike.normalize(), "f"), self.right.value]
        return f"[{' '.join(part for part in parts if part)}]"

    @property
    def underlying(self) -> str:
        if self.instrument is not None:
            return self.instrument.underlying
        return tables.INDEX_UNDERLYINGS.get(self.stock_code, "")


def contract(row: Row, find: Find) -> Contract:
    """Read which contract a row of a book, a position or a trade is about."""
    exchange, code = text(row, "exchange_code").upper(), text(row, "stock_code")
    expiry = day(text(row, "expiry_date"))
    if expiry is None:
        found = find(cash_key(exchange, code))
        return Contract(exchange=exchange, stock_code=code, expiry=None, strike=None, right=None, instrument=found)
    right = _known(tables.RIGHT_FROM_WIRE, row, "right")
    strike = decimal(row, "strike_price") or Decimal(0)
    return Contract(
        exchange=exchange,
        stock_code=code,
        expiry=expiry,
        strike=strike if right else None,
        right=right,
        instrument=find(contract_key(exchange, code, expiry, right, strike if right else Decimal(0))),
    )


def margin(funds: Row, limits: Row, as_of: datetime) -> MarginData:
    """Funds (of all segments) and the margin of the derivatives segment; NOTES.md says which figure is which."""
    cash_limit, blocked = needed(limits, "cash_limit"), needed(limits, "block_by_trade")
    details = {f"funds.{name}": str(value) for name, value in funds.items() if name != "bank_account"}
    details |= {f"margin.{name}": str(value) for name, value in limits.items()}
    return MarginData(
        available=cash_limit - blocked,
        used=blocked,
        total=cash_limit,
        cash=decimal(funds, "total_bank_balance"),
        as_of=as_of,
        details=details,
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
        totals[key] = traded.plus(_side(row), units(row, "quantity"), needed(row, "average_cost"))
    return totals


def is_position(row: Row) -> bool:
    """Whether a row of ``portfoliopositions`` is one: shares held for delivery are holdings."""
    exchange, product = text(row, "exchange_code").upper(), text(row, "product_type").lower()
    if exchange in (Exchange.NFO, Exchange.BFO):
        return True
    return tables.PRODUCT_FROM_WIRE.get(product) in (Product.MIS, Product.MTF)


def position(row: Row, find: Find, traded: Mapping[tuple[object, ...], Traded], as_of: datetime) -> Position:
    """One row of ``portfoliopositions``: quantity is unsigned, the direction is in ``action``."""
    found = contract(row, find)
    size, action = units(row, "quantity"), text(row, "action").lower()
    if size and action not in tables.SIDE_FROM_WIRE:
        raise UnreadableReply(f"Breeze sent a position of {found.symbol} with action {action!r}; ask again.")
    net = 0 if not size else size if tables.SIDE_FROM_WIRE[action] is Side.BUY else -size
    average = (decimal(row, "average_price") or Decimal(0)) if net else Decimal(0)
    last = positive(row, "ltp")
    today = traded.get(_contract_identity(row), Traded())
    return Position(
        symbol=found.symbol,
        exchange=found.exchange,
        product=tables.PRODUCT_FROM_WIRE.get(text(row, "product_type").lower()),
        underlying=found.underlying or text(row, "underlying"),
        expiry=found.expiry,
        strike=found.strike,
        right=found.right,
        quantity=net,
        buy_quantity=today.buy_quantity,
        sell_quantity=today.sell_quantity,
        buy_amount=today.buy_amount,
        sell_amount=today.sell_amount,
        average_price=average,
        last_price=last,
        pnl=profit(net, average, last, today),
        as_of=as_of,
    )


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


def order(row: Row, find: Find, executed: Mapping[str, int]) -> Order:
    """One row of the book; ``executed`` has the units by order id for rows that do not say them themselves."""
    found = contract(row, find)
    word, quantity = text(row, "status"), units(row, "quantity")
    status = tables.STATUS_FROM_WIRE.get(word.lower(), OrderStatus.UNKNOWN)
    order_id = text(row, "order_id")
    if not order_id:
        raise UnreadableReply("Breeze sent an order without order_id; ask again.")
    filled = executed.get(order_id, quantity if status is OrderStatus.FILLED else 0)
    return Order(
        broker_order_id=order_id,
        exchange_order_id=text(row, "exchange_order_id"),
        client_tag=text(row, "user_remark"),
        symbol=found.symbol,
        exchange=found.exchange,
        side=_side(row),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=0 if status.is_terminal else quantity - filled,
        order_type=_known(tables.ORDER_TYPE_FROM_WIRE, row, "order_type"),
        product=tables.PRODUCT_FROM_WIRE.get(text(row, "product_type").lower()),
        time_in_force=tables.TIME_IN_FORCE_FROM_WIRE.get(text(row, "validity").lower(), TimeInForce.DAY),
        limit_price=positive(row, "price"),
        trigger_price=positive(row, "stoploss"),
        average_price=positive(row, "average_price") if filled else None,
        status=status,
        broker_status=word,
        placed_at=moment(text(row, "order_datetime")),
        raw=dict(row),
    )


def may_be_partly_filled(row: Row) -> bool:
    """Whether only the trades can tell how much of this order was executed.

    ``pending_quantity`` and ``cancelled_quantity`` both hold the full quantity on cancelled rows.
    """
    word = text(row, "status").lower()
    unfilled = word in ("requested", "queued", "rejected") or (
        word in ("cancelled", "expired", "ordered") and not positive(row, "average_price")
    )
    return word != "executed" and not unfilled


def executed_units(trade_rows: Iterable[Row]) -> dict[str, int]:
    """Executed units by order id, from the trade list, which has one row an order and day."""
    totals: dict[str, int] = {}
    for row in trade_rows:
        order_id = text(row, "order_id")
        totals[order_id] = totals.get(order_id, 0) + units(row, "quantity")
    return totals


def fills(listed: Row, details: Iterable[Row], find: Find) -> list[Fill]:
    """The executions of one order: which contract is in the list's row, one detail row an execution."""
    found = contract(listed, find)
    return [
        Fill(
            broker_order_id=text(listed, "order_id"),
            fill_id=text(row, "exchange_trade_id") or text(row, "trade_id") or f"{text(listed, 'order_id')}-{number}",
            symbol=found.symbol,
            exchange=found.exchange,
            side=_side(row),
            quantity=units(row, "executed_quantity"),
            price=needed(row, "execution_price"),
            filled_at=moment(text(row, "exchange_trade_time")),
        )
        for number, row in enumerate(details, start=1)
    ]


def quote(quote_rows: Iterable[Row], instrument: Instrument, as_of: datetime) -> Quote:
    """The quote of one instrument; a share is answered with a row for each exchange."""
    wanted = [row for row in quote_rows if text(row, "exchange_code").upper() == instrument.exchange.value]
    if not wanted:
        return Quote(symbol=instrument.symbol, exchange=instrument.exchange.value, last_price=None, as_of=as_of)
    row = wanted[0]
    return Quote(
        symbol=instrument.symbol,
        exchange=instrument.exchange.value,
        last_price=positive(row, "ltp"),
        bid_price=positive(row, "best_bid_price"),
        bid_quantity=_count(row, "best_bid_quantity"),
        ask_price=positive(row, "best_offer_price"),
        ask_quantity=_count(row, "best_offer_quantity"),
        open=positive(row, "open"),
        high=positive(row, "high"),
        low=positive(row, "low"),
        previous_close=positive(row, "previous_close"),
        lower_circuit=positive(row, "lower_circuit"),
        upper_circuit=positive(row, "upper_circuit"),
        volume=_count(row, "total_quantity_traded"),
        traded_at=moment(text(row, "ltt")),
        as_of=as_of,
    )


def _count(row: Row, name: str) -> int | None:
    number = decimal(row, name)
    return None if number is None else int(number)


def _side(row: Row) -> Side:
    return _known(tables.SIDE_FROM_WIRE, row, "action")


def _known(words: Mapping[str, T], row: Row, name: str) -> T:
    value = text(row, name).lower()
    if value not in words:
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which this version does not know; ask again.")
    return words[value]


def _contract_identity(row: Row) -> tuple[object, ...]:
    found = contract(row, lambda key: None)
    return found.exchange, found.stock_code, found.expiry, found.right, found.strike
