"""Breeze's margin calculator. The amounts are made up, of the usual size; a bought option halves what it covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from brokers.adapters.breeze.simulator_master import Names
from brokers.adapters.breeze.simulator_orders import BadField, ticket_of
from brokers.adapters.breeze.simulator_rows import Row
from brokers.domain.enums import Side
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import Ticket
from brokers.simulator.exchange import SimulatedExchange

#: The part of a short option's margin that a bought option of the same side and expiry saves.
SAVED = Decimal("0.5")
ECHOED = ("strike_price", "quantity", "right", "product", "action", "price", "expiry_date", "stock_code")
#: Codes come padded to this length.
CODE_LENGTH = 6


def calculate(account: SimulatedAccount, values: Mapping[str, Any], exchange: SimulatedExchange, names: Names) -> Row:
    """What the positions of a request would block together.

    :raises BadField: there are none, or one names no contract.
    """
    legs = values.get("list_of_positions")
    if not isinstance(legs, list) or not legs:
        raise BadField("Invalid list of positions")
    tickets = [
        ticket_of({**leg, "exchange_code": values.get("exchange_code"), "order_type": "limit"}, exchange, names)
        for leg in legs
    ]
    needed = f"{_netted(account, tickets, exchange):.2f}"
    return {
        "margin_calulation": [_echo(leg) for leg in legs],
        "non_span_margin_required": "0",
        "order_value": needed,
        "order_margin": "0",
        "trade_margin": None,
        "block_trade_margin": "0",
        "span_margin_required": needed,
    }


def _netted(account: SimulatedAccount, tickets: list[Ticket], exchange: SimulatedExchange) -> Decimal:
    bought = Counter[tuple[object, ...]]()
    for ticket in tickets:
        if ticket.side is Side.BUY and ticket.contract.right is not None:
            bought[_family(ticket)] += ticket.quantity
    total = Decimal(0)
    for ticket in tickets:
        needed = exchange.required_margin(account, ticket)
        if ticket.side is Side.SELL and ticket.contract.right is not None:
            covered = min(ticket.quantity, bought[_family(ticket)])
            bought[_family(ticket)] -= covered
            needed -= needed * covered / ticket.quantity * SAVED
        total += needed
    return total


def _family(ticket: Ticket) -> tuple[object, ...]:
    return ticket.contract.underlying, ticket.contract.expiry, ticket.contract.right


def _echo(leg: Mapping[str, Any]) -> Row:
    """A position as it comes back: words with a capital, the code padded."""
    row = {name: str(leg.get(name, "")) for name in ECHOED}
    row |= {name: row[name].title() for name in ("right", "product", "action")}
    return row | {"stock_code": row["stock_code"].ljust(CODE_LENGTH)}
