"""Prices on request. What a call is answered is read with ``latest``; see :mod:`tasks.answers`.

Times and days are ISO text; a time without an offset is IST.
"""

from __future__ import annotations

from typing import Any

from mcube.celery import app
from tasks.answers import AnsweredTask


@app.task(name="tasks.market.get_quote", base=AnsweredTask, bind=True)
def get_quote(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    symbol: str,
    account: str = "default",
    exchange: str | None = None,
    **how: Any,
) -> None:
    """The newest quote of a symbol."""
    self.answer(broker, account, how, symbol=symbol, exchange=exchange)


@app.task(name="tasks.market.get_quotes", base=AnsweredTask, bind=True)
def get_quotes(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    symbols: list[str],
    account: str = "default",
    exchange: str | None = None,
    **how: Any,
) -> None:
    """The newest quote of each symbol, in their order."""
    self.answer(broker, account, how, symbols=symbols, exchange=exchange)


@app.task(name="tasks.market.get_depth", base=AnsweredTask, bind=True)
def get_depth(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    symbol: str,
    account: str = "default",
    exchange: str | None = None,
    **how: Any,
) -> None:
    """The best prices on both sides of a symbol's order book."""
    self.answer(broker, account, how, symbol=symbol, exchange=exchange)


@app.task(name="tasks.market.get_year_range", base=AnsweredTask, bind=True)
def get_year_range(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    symbol: str,
    account: str = "default",
    exchange: str | None = None,
    **how: Any,
) -> None:
    """The lowest and the highest price of 52 weeks."""
    self.answer(broker, account, how, symbol=symbol, exchange=exchange)


@app.task(name="tasks.market.get_option_chain", base=AnsweredTask, bind=True)
def get_option_chain(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    underlying: str,
    account: str = "default",
    expiry: str | None = None,
    strikes: int = 10,
    **how: Any,
) -> None:
    """Options of one expiry around the money; of the nearest expiry unless one is given."""
    self.answer(broker, account, how, underlying=underlying, expiry=expiry, strikes=strikes)


@app.task(name="tasks.market.get_candles", base=AnsweredTask, bind=True, expires=120)
def get_candles(
    self: AnsweredTask,
    /,
    *,
    broker: str,
    symbol: str,
    interval: str,
    starts_at: str,
    ends_at: str,
    account: str = "default",
    exchange: str | None = None,
    **how: Any,
) -> None:
    """Candles from ``starts_at`` (inclusive) to ``ends_at`` (exclusive); may take many calls."""
    self.answer(
        broker, account, how, symbol=symbol, interval=interval, starts_at=starts_at, ends_at=ends_at, exchange=exchange
    )
