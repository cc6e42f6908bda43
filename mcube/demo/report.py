"""The tables that end the demo."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Console
from rich.table import Table

from brokers.models import BrokerOrder, MarginSnapshot, PositionSnapshot
from mcube.demo.market import Truth
from mcube.demo.session import DELIVERIES, Session


def show(console: Console, session: Session) -> None:
    console.print()
    console.print(_accounts(session.margins, session.positions))
    console.print(_ledger(session))
    console.print(_truth(session.truth))
    console.print(_checks(session.checks))


def _accounts(margins: list[MarginSnapshot], positions: list[PositionSnapshot]) -> Table:
    table = _table(
        "Margins and positions", "Account", "Taken (UTC)", "Available, Rs", "Used, Rs", "Positions", "P&L, Rs"
    )
    lines = {(row.account_id, row.slot_at): row for row in positions}
    for margin in sorted(margins, key=lambda row: (str(row.account), row.slot_at)):
        position = lines.get((margin.account_id, margin.slot_at))
        table.add_row(
            str(margin.account),
            f"{margin.slot_at:%H:%M:%S}",
            _rupees(margin.available),
            _rupees(margin.used),
            str(position.lines.count()) if position else "-",
            _rupees(position.pnl) if position else "-",
        )
    return table


def _ledger(session: Session) -> Table:
    table = _table("The ledger", "Intent", "Broker", "What", "Enqueued", "Sent", "State", "Broker's order", "Filled")
    for intent in session.intents():
        order = BrokerOrder.objects.filter(attempt__intent=intent).first() or intent.target
        table.add_row(
            intent.client_order_id,
            intent.account.broker,
            f"{intent.kind.lower()} {intent.side.lower()} {intent.quantity} {intent.symbol} @ {intent.limit_price}",
            f"{DELIVERIES} times",
            str(intent.attempts.count()),
            intent.state,
            order.broker_order_id if order else "not known",
            str(order.filled_quantity) if order else "not known",
        )
    return table


def _truth(truth: list[Truth]) -> Table:
    table = _table("The exchange's own log", "Broker", "Order", "Tag", "What", "Filled", "State")
    for order in truth:
        table.add_row(
            order.broker,
            order.order_id,
            order.tag or "-",
            f"{order.side} {order.quantity} {order.symbol}",
            str(order.filled_quantity),
            order.state,
        )
    return table


def _checks(checks: dict[str, bool]) -> Table:
    table = _table("What had to hold", "", "")
    table.show_header = False
    for sentence, held in checks.items():
        table.add_row("[green]yes[/green]" if held else "[red]NO[/red]", sentence)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _rupees(amount: Decimal | None) -> str:
    return "-" if amount is None else f"{amount:,.2f}"
