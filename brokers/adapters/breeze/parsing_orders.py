"""Orders and executions out of Breeze's answers. Pure, as all of the parsing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from brokers.adapters.breeze import parsing, tables
from brokers.adapters.breeze.parsing import Find, Row
from brokers.domain.enums import OrderStatus, TimeInForce
from brokers.domain.errors import UnreadableReply
from brokers.domain.orders import Fill, Order, OrderEvent


def order(row: Row, find: Find, executed: Mapping[str, int]) -> Order:
    """One row of the book; ``executed`` has the units by order id for rows that do not say them themselves."""
    found = parsing.contract(row, find)
    word, quantity = parsing.text(row, "status"), parsing.units(row, "quantity")
    status = tables.STATUS_FROM_WIRE.get(word.lower(), OrderStatus.UNKNOWN)
    order_id = parsing.text(row, "order_id")
    if not order_id:
        raise UnreadableReply("Breeze sent an order without order_id; ask again.")
    filled = quantity if status is OrderStatus.FILLED else executed.get(order_id, 0)
    if not filled and status.is_terminal and may_be_partly_filled(row):
        # It has ended, and the trade list, which alone says how much was executed, has not got so far.
        status = OrderStatus.UNKNOWN
    return Order(
        broker_order_id=order_id,
        exchange_order_id=parsing.text(row, "exchange_order_id"),
        client_tag=parsing.text(row, "user_remark"),
        symbol=found.symbol,
        exchange=found.exchange,
        side=parsing.side(row),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=0 if status.is_terminal else quantity - filled,
        order_type=parsing.known(tables.ORDER_TYPE_FROM_WIRE, row, "order_type"),
        product=tables.PRODUCT_FROM_WIRE.get(parsing.text(row, "product_type").lower()),
        time_in_force=tables.TIME_IN_FORCE_FROM_WIRE.get(parsing.text(row, "validity").lower(), TimeInForce.DAY),
        limit_price=parsing.positive(row, "price"),
        trigger_price=parsing.positive(row, "stoploss"),
        average_price=parsing.positive(row, "average_price") if filled else None,
        status=status,
        broker_status=word,
        placed_at=parsing.moment(parsing.text(row, "order_datetime")),
        raw=dict(row),
    )


def may_be_partly_filled(row: Row) -> bool:
    """Whether only the trades can tell how much of this order was executed.

    ``pending_quantity`` and ``cancelled_quantity`` both hold the full quantity on cancelled rows.
    """
    word = parsing.text(row, "status").lower()
    unfilled = word in ("requested", "queued", "rejected") or (
        word in ("cancelled", "expired", "ordered") and not parsing.positive(row, "average_price")
    )
    return word != "executed" and not unfilled


def executed_units(trade_rows: Iterable[Row]) -> dict[str, int]:
    """Executed units by order id, from the trade list, which has one row an order and day."""
    totals: dict[str, int] = {}
    for row in trade_rows:
        order_id = parsing.text(row, "order_id")
        totals[order_id] = totals.get(order_id, 0) + parsing.units(row, "quantity")
    return totals


def fills(listed: Row, details: Iterable[Row], find: Find) -> list[Fill]:
    """The executions of one order: which contract is in the list's row, one detail row an execution."""
    found = parsing.contract(listed, find)
    return [
        Fill(
            broker_order_id=parsing.text(listed, "order_id"),
            fill_id=parsing.text(row, "exchange_trade_id")
            or parsing.text(row, "trade_id")
            or f"{parsing.text(listed, 'order_id')}-{number}",
            symbol=found.symbol,
            exchange=found.exchange,
            side=parsing.side(row),
            quantity=parsing.units(row, "executed_quantity"),
            price=parsing.needed(row, "execution_price"),
            filled_at=parsing.moment(parsing.text(row, "exchange_trade_time")),
        )
        for number, row in enumerate(details, start=1)
    ]


def fills_by_day(trade_rows: Iterable[Row], find: Find) -> list[Fill]:
    """The trade list of past days: one row an order and day, at the average price of its executions.

    :raises UnreadableReply: a row lacks its order, day, quantity or price.
    """
    found: list[Fill] = []
    rows_of: Counter[str] = Counter()
    for row in trade_rows:
        contract, order_id = parsing.contract(row, find), parsing.text(row, "order_id")
        day = parsing.day(parsing.text(row, "trade_date"))
        if not order_id or day is None:
            raise UnreadableReply("Breeze sent a trade without order_id or trade_date; ask again.")
        fill_id = f"{order_id}-{day.isoformat()}"
        rows_of[fill_id] += 1
        found.append(
            Fill(
                broker_order_id=order_id,
                fill_id=fill_id if rows_of[fill_id] == 1 else f"{fill_id}-{rows_of[fill_id]}",
                symbol=contract.symbol,
                exchange=contract.exchange,
                side=parsing.side(row),
                quantity=parsing.units(row, "quantity"),
                price=parsing.needed(row, "average_cost"),
                filled_at=None,
            )
        )
    return found


def present_state(order: Order) -> OrderEvent:
    """What Breeze tells of an order's past: its present row, which does not say since when it is so."""
    return OrderEvent(
        broker_order_id=order.broker_order_id,
        status=order.status,
        broker_status=order.broker_status,
        filled_quantity=order.filled_quantity,
        limit_price=order.limit_price,
        reason=order.reason,
        happened_at=None,
    )
