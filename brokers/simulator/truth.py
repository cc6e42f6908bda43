"""The truth log: one JSON line for everything that really happened to an order, append-only.

Tests and people hold the ledger against it. A restarted exchange reads the day's book back from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from brokers.clock import trading_day
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.simulator.book import BookedOrder, HeldPosition, State, Trade
from brokers.simulator.gtt_book import BookedGtt, gtt_fields
from brokers.simulator.instruments import Universe


class TruthLog:
    """``MCUBE_HOME/simulator/truth.jsonl``, flushed line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Called with each order to which something happened.
        self.listeners: list[Callable[[BookedOrder], None]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        self._file: TextIO = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, event: str, order: BookedOrder, market_at: datetime, **more: Any) -> None:
        """Add an event (``accepted``, ``modified``, ``cancelled``, ``filled``, ``rejected``, ...) with the order's state."""
        self._add(event, order.account, market_at, {**_order_fields(order), **more})
        for listener in self.listeners:
            listener(order)

    def write_gtt(self, event: str, gtt: BookedGtt, market_at: datetime) -> None:
        """Add an event of a GTT (``gtt_accepted``, ``gtt_triggered``, ...) with its state; its orders have their own."""
        self._add(event, gtt.account, market_at, gtt_fields(gtt))

    def write_carried(self, account: str, market_at: datetime, position: HeldPosition) -> None:
        """Add a position that was carried into the day."""
        fields = {
            "exchange": position.contract.exchange.value,
            "symbol": position.contract.symbol,
            "product": position.product.value,
            "quantity": position.net_quantity,
            "price": str(position.average_price),
        }
        self._add("carried", account, market_at, fields)

    def _add(self, event: str, account: str, market_at: datetime, fields: Mapping[str, Any]) -> None:
        broker, _, user_id = account.partition(":")
        line = {
            "event": event,
            "wall_at": datetime.now(UTC).isoformat(),
            "market_at": market_at.isoformat(),
            "broker": broker,
            "account": user_id,
            **fields,
        }
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every complete line; the torn end of a killed process is passed over."""
        with self.path.open(encoding="utf-8") as file:
            for text in file:
                if text.endswith("\n"):
                    try:
                        yield json.loads(text)
                    except json.JSONDecodeError:
                        continue

    def text(self) -> bytes:
        return self.path.read_bytes()


def _order_fields(order: BookedOrder) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "exchange_order_id": order.exchange_order_id,
        "tag": order.tag,
        "source": order.source,
        "reference": order.reference,
        "exchange": order.contract.exchange.value,
        "symbol": order.contract.symbol,
        "side": order.side.value,
        "order_type": order.order_type.value,
        "product": order.product.value,
        "time_in_force": order.time_in_force.value,
        "quantity": order.quantity,
        "price": str(order.price),
        "trigger_price": str(order.trigger_price),
        "disclosed_quantity": order.disclosed_quantity,
        "state": order.state.value,
        "filled_quantity": order.filled_quantity,
        "cancelled_quantity": order.cancelled_quantity,
        "average_price": str(order.average_price),
        "reason": order.reason,
        "triggered": order.triggered,
        "modifications": order.modifications,
        "sequence": order.sequence,
        "placed_at": order.placed_at.isoformat(),
        "confirmed_at": order.confirmed_at.isoformat() if order.confirmed_at else None,
        "visible_at": order.visible_at.isoformat(),
    }


def read_order(line: dict[str, Any], universe: Universe) -> BookedOrder | None:
    """The order of a line as it was then; None when its contract is not traded any more."""
    contract = universe.by_symbol(Exchange(line["exchange"]), line["symbol"])
    if contract is None:
        return None
    confirmed = line["confirmed_at"]
    return BookedOrder(
        order_id=line["order_id"],
        exchange_order_id=line["exchange_order_id"],
        account=f"{line['broker']}:{line['account']}",
        contract=contract,
        side=Side(line["side"]),
        order_type=OrderType(line["order_type"]),
        product=Product(line["product"]),
        time_in_force=TimeInForce(line["time_in_force"]),
        quantity=line["quantity"],
        price=Decimal(line["price"]),
        trigger_price=Decimal(line["trigger_price"]),
        disclosed_quantity=line["disclosed_quantity"],
        tag=line["tag"],
        source=line["source"],
        reference=line.get("reference", ""),
        state=State(line["state"]),
        filled_quantity=line["filled_quantity"],
        cancelled_quantity=line["cancelled_quantity"],
        average_price=Decimal(line["average_price"]),
        reason=line["reason"],
        placed_at=datetime.fromisoformat(line["placed_at"]),
        confirmed_at=datetime.fromisoformat(confirmed) if confirmed else None,
        updated_at=datetime.fromisoformat(line["market_at"]),
        visible_at=datetime.fromisoformat(line["visible_at"]),
        triggered=line["triggered"],
        modifications=line["modifications"],
        sequence=line["sequence"],
    )


def day_of(line: dict[str, Any]) -> date:
    """The market's IST date of a line."""
    return trading_day(datetime.fromisoformat(line["market_at"]))


def read_trade(line: dict[str, Any], order: BookedOrder) -> Trade:
    """The fill of a ``filled`` line, tied to the order of the restored book."""
    fill = line["fill"]
    return Trade(
        fill_id=fill["fill_id"],
        leg=fill["leg"],
        order=order,
        quantity=fill["quantity"],
        price=Decimal(fill["price"]),
        at=datetime.fromisoformat(line["market_at"]),
    )


def take_over(order: BookedOrder, newer: BookedOrder) -> None:
    """Bring a restored order to a later line's state, keeping its identity and history."""
    fresh = replace(newer, history=order.history)
    for name in BookedOrder.__slots__:
        setattr(order, name, getattr(fresh, name))
