"""The executions that the ledger has, for an adapter that would have to ask about every order by itself."""

from __future__ import annotations

from datetime import date

from brokers.domain.enums import Side
from brokers.domain.orders import Fill
from brokers.models import BrokerAccount, TradeFill


def of_day(account: BrokerAccount, day: date) -> list[Fill]:
    """The executions of an account's orders of an IST day, as they were read."""
    rows = (
        TradeFill.objects.filter(order__account=account, order__trading_day=day).select_related("order").order_by("pk")
    )
    return [
        Fill(
            broker_order_id=row.order.broker_order_id,
            fill_id=row.fill_id,
            symbol=row.order.symbol,
            exchange=row.order.exchange,
            side=Side(row.order.side),
            quantity=row.quantity,
            price=row.price,
            filled_at=row.filled_at,
        )
        for row in rows
    ]
