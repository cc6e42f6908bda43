"""What an account holds, owes and did, on request. Answers are read with ``latest``; see :mod:`tasks.answers`.

Days are ISO text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcube.celery import app
from tasks.answers import AnsweredTask


@app.task(name="tasks.account.get_margin", base=AnsweredTask, bind=True)
def get_margin(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """Funds and margin."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_segment_margins", base=AnsweredTask, bind=True)
def get_segment_margins(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """Funds of each segment."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_margin_required", base=AnsweredTask, bind=True)
def get_margin_required(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    orders: list[Mapping[str, Any]],
    account: str = "default",
    **how: Any,
) -> None:
    """What one order, or a basket of them, would block; each is written as for ``place_order``."""
    self.answer(broker, account, how, orders=orders)


@app.task(name="tasks.account.get_positions", base=AnsweredTask, bind=True)
def get_positions(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """The net positions of the day."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_holdings", base=AnsweredTask, bind=True)
def get_holdings(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """Shares held in delivery."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_demat_holdings", base=AnsweredTask, bind=True)
def get_demat_holdings(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """What the depository holds."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_orders", base=AnsweredTask, bind=True)
def get_orders(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """The order book of today."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_order", base=AnsweredTask, bind=True)
def get_order(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    order_id: str,
    account: str = "default",
    **how: Any,
) -> None:
    """One order of today, by the broker's number."""
    self.answer(broker, account, how, order_id=order_id)


@app.task(name="tasks.account.get_order_history", base=AnsweredTask, bind=True)
def get_order_history(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    order_id: str,
    account: str = "default",
    **how: Any,
) -> None:
    """What an order of today has been through."""
    self.answer(broker, account, how, order_id=order_id)


@app.task(name="tasks.account.get_orders_between", base=AnsweredTask, bind=True, expires=120)
def get_orders_between(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    first: str,
    last: str,
    account: str = "default",
    **how: Any,
) -> None:
    """The order books of the days from ``first`` to ``last``, both included."""
    self.answer(broker, account, how, first=first, last=last)


@app.task(name="tasks.account.get_trades", base=AnsweredTask, bind=True)
def get_trades(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    account: str = "default",
    **how: Any,
) -> None:
    """The executions of today."""
    self.answer(broker, account, how)


@app.task(name="tasks.account.get_trades_between", base=AnsweredTask, bind=True, expires=120)
def get_trades_between(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    first: str,
    last: str,
    account: str = "default",
    **how: Any,
) -> None:
    """The executions of the days from ``first`` to ``last``, both included."""
    self.answer(broker, account, how, first=first, last=last)
