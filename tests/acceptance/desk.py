"""An account at one broker of an installation, and what who trades on it has workers do."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import count
from typing import Any

from brokers.discovery import specs
from brokers.domain.capabilities import Capabilities
from brokers.simulator import accounts
from tests.support.processes import wait_for
from tests.support.stack import Stack

INDEX, SHARE = "NIFTY", "RELIANCE"
#: Shares that an account has held from before, and what each cost in rupees.
HELD, COST = 10, Decimal(1350)
#: A minute is the longest window of a broker, and an answer takes some.
CALLS_ARE_BACK_SECONDS = 90.0
_numbers = count(101)


class Desk:
    """An account of one broker that nobody has used, and the tasks of who trades on it."""

    def __init__(self, stack: Stack, broker: str) -> None:
        self.stack = stack
        self.broker = broker
        self.account = accounts.numbered(broker, next(_numbers))
        self.who = {"broker": broker, "account": self.account.user_id}
        stack.do("open_account", broker=broker, name=self.account.user_id, number=self.account.number)
        self.symbol, self.lot = self.future(INDEX)

    def future(self, underlying: str) -> tuple[str, int]:
        """The nearest future's symbol and units in its lot."""
        found = self.stack.future(underlying)
        return found["symbol"], found["lot_size"]

    @property
    def capabilities(self) -> Capabilities:
        return specs()[self.broker].capabilities

    def control(self, method: str, path: str, **body: Any) -> Any:
        face = list(specs()).index(self.broker)
        return self.stack.control(face, method, path, body | {"account": self.account.user_id} if body else None)

    def ask(self, task: str, **words: Any) -> dict[str, Any]:
        """Have a worker run a read task; what waits then for who asked. One that must wait for calls is tried again."""
        self.stack.do("send", task=task, **self.who, **words)

        def answer() -> dict[str, Any]:
            found: dict[str, Any] = self.stack.do("answer", task=task, **self.who, **words) or {}
            return {} if found.get("failure") == "NotSent" else found

        return wait_for(answer, f"an answer of {task}", seconds=CALLS_ARE_BACK_SECONDS)

    def order(self, **changes: Any) -> dict[str, Any]:
        """An order that rests a little below the market, with an id of its own."""
        where = {name: changes[name] for name in ("symbol", "exchange") if name in changes}
        price = self.stack.do("resting_price", **self.who, **({"symbol": self.symbol} | where))
        basics = {"symbol": self.symbol, "action": "B", "quantity": self.lot, "order_type": "LIMIT", "price": price}
        return self.who | basics | {"client_order_id": self.new_key()} | changes

    def new_key(self) -> str:
        """A client order id."""
        return f"desk-{next(_numbers)}"

    def place(self, **changes: Any) -> dict[str, Any]:
        """Have a worker place an order; the exchange's line about it."""
        order = self.order(**changes)
        self.stack.do("place", **order)
        self.until(order["client_order_id"], "WORKING")
        return self.happened("accepted")[-1]

    def until(self, client_order_id: str, state: str, *, seconds: float = 30.0) -> None:
        wait_for(
            lambda: self.stack.intent(client_order_id)["state"] == state,
            f"{client_order_id} to be {state}",
            seconds=seconds,
        )

    def happened(self, event: str) -> list[dict[str, Any]]:
        """The exchange's lines about orders of this account."""
        return [line for line in self.stack.truth(event) if line["account"] == self.account.user_id]

    @cached_property
    def placed(self) -> dict[str, Any]:
        """An order of two lots, of which one was executed, on an account that holds shares."""
        share = {"exchange": "NSE", "symbol": SHARE, "quantity": HELD, "price": str(COST), "product": "CNC"}
        self.control("POST", "positions", **share)
        order = self.place(quantity=2 * self.lot)
        self.control("POST", "fill", order_id=order["order_id"], quantity=self.lot)
        return order

    @property
    def price(self) -> Decimal:
        """Of what was placed and executed."""
        return Decimal(self.placed["price"])

    @property
    def now(self) -> datetime:
        """The market's time."""
        return datetime.fromisoformat(self.control("GET", "clock")["market_time"])

    @property
    def week(self) -> dict[str, str]:
        today = self.now.date()
        return {"first": (today - timedelta(days=7)).isoformat(), "last": today.isoformat()}
