"""Reads the day's books back from the truth log after a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from brokers.domain.enums import Exchange, Product
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.clearing import AccountBook
from brokers.simulator.gtt_book import GTT_EVENTS, read_gtt
from brokers.simulator.history import record
from brokers.simulator.instruments import Universe
from brokers.simulator.truth import TruthLog, day_of, read_order, read_trade, take_over


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """Where the restored orders go."""

    account: Callable[[SimulatedAccount], AccountBook]
    universe: Universe
    day: date


def restore(truth: TruthLog, books: Books) -> Counter[str]:
    """Bring back the orders, fills and carried positions of the day, every GTT, and every tag ever used.

    Returns the last sequence of each broker. What was open on earlier days is not carried over a restart, but for GTTs.
    """
    sequences: Counter[str] = Counter()
    for line in truth.lines():
        account = accounts.find(line["broker"], "user_id", line["account"])
        if account is None:
            continue
        book = books.account(account)
        if line["event"].startswith(GTT_EVENTS):
            _apply_gtt(line, book, books.universe)
            continue
        if line.get("tag"):
            book.tags.add(line["tag"])
        if day_of(line) == books.day:
            _apply(line, book, books.universe)
            sequences[line["broker"]] = max(sequences[line["broker"]], line.get("sequence", 0))
    return sequences


def _apply_gtt(line: dict[str, Any], book: AccountBook, universe: Universe) -> None:
    """A GTT lives over days; one whose contract is not traded any more is gone."""
    entry = book.orders.get(line["entry_order_id"])
    gtt = read_gtt(line, universe, entry)
    if gtt is not None:
        book.gtts[gtt.gtt_id] = gtt


def _apply(line: dict[str, Any], book: AccountBook, universe: Universe) -> None:
    if line["event"] == "carried":
        contract = universe.by_symbol(Exchange(line["exchange"]), line["symbol"])
        if contract:
            book.carry(contract, Product(line["product"]), line["quantity"], Decimal(line["price"]))
        return
    newer = read_order(line, universe)
    if newer is None:
        return
    order = book.orders.setdefault(newer.order_id, newer)
    if order is not newer:
        newer.fills = order.fills
        take_over(order, newer)
    record(order, newer.updated_at)
    if line["event"] == "filled":
        trade = read_trade(line, order)
        order.fills = trade.leg
        book.apply(trade)
