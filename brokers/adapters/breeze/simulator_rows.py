"""The rows of Breeze's replies, made from the simulated exchange's books.

Quantities and prices are text and a strike is a float, as observed in 2024 to 2026. A client's remark is not echoed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from brokers.adapters.breeze.simulator_master import Names
from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, MarketPhase, OptionRight, OrderType, Product, Side
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Funds, HeldPosition, State, Trade
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange

Row = dict[str, Any]

WORDS = {
    State.RECEIVED: "Requested",
    State.QUEUED: "Queued",
    State.OPEN: "Ordered",
    State.TRIGGER_PENDING: "Ordered",
    State.PARTIALLY_FILLED: "Partially Executed",
    State.FILLED: "Executed",
    State.CANCELLED: "Cancelled",
    State.EXPIRED: "Expired",
    State.REJECTED: "Rejected",
    State.FROZEN: "Freezed",
}
#: Row field -> request field of the trade list.
TRADE_FILTERS = {"product_type": "product_type", "action": "action", "stock_code": "stock_code"}
EQUITY_PART, DERIVATIVES_PART = Decimal("0.3"), Decimal("0.6")


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def day_text(day: date) -> str:
    return f"{day:%d-%b-%Y}"


def time_text(moment: datetime, form: str = "%d-%b-%Y %H:%M:%S") -> str:
    return moment.astimezone(IST).strftime(form)


def right_word(contract: Contract, words: tuple[str, str, str] = ("Call", "Put", "Others")) -> str:
    return words[2] if contract.right is None else words[0] if contract.right is OptionRight.CALL else words[1]


def product_word(contract: Contract, product: Product = Product.NRML) -> str:
    if contract.kind is InstrumentKind.EQUITY:
        return "MTF" if product is Product.MTF else "Cash"
    return "Futures" if contract.kind is InstrumentKind.FUTURE else "Options"


def _action(side: Side) -> str:
    return "Buy" if side is Side.BUY else "Sell"


def customer(account: SimulatedAccount, session: str, exchange: SimulatedExchange) -> Row:
    """Customer details, with the token that signs calls."""
    today, now = day_text(exchange.today()), exchange.now()
    is_open = exchange.phase(Exchange.NSE) is MarketPhase.CONTINUOUS
    return {
        "exg_trade_date": {"NSE": today, "BSE": today, "FNO": today, "NDX": today},
        "exg_status": {
            "NSE": "O" if is_open else "C",
            "BSE": "O" if is_open else "C",
            "FNO": "Y" if is_open else "X",
            "NDX": "X",
        },
        "segments_allowed": {"Trading": "Y", "Equity": "Y", "Derivatives": "Y", "Currency": "Z"},
        "idirect_userid": account.user_id,
        "session_token": session,
        "idirect_user_name": account.user_name,
        "idirect_ORD_TYP": "N",
        "idirect_lastlogin_time": time_text(now),
        "mf_holding_mode_popup_flg": "N",
        "commodity_exchange_status": "N",
        "commodity_trade_date": today,
        "commodity_allowed": "O",
    }


def _allocation(total: Decimal) -> tuple[Decimal, Decimal]:
    cent = Decimal("0.01")
    return (total * EQUITY_PART).quantize(cent), (total * DERIVATIVES_PART).quantize(cent)


def funds(money: Funds) -> Row:
    """Funds. ``unallocated_balance`` is text among numbers, as observed."""
    total = money.cash + money.realized
    equity, derivatives = _allocation(total)
    return {
        "bank_account": "000000000001",
        "total_bank_balance": float(total),
        "allocated_equity": float(equity),
        "allocated_fno": float(derivatives),
        "allocated_commodity": 0.0,
        "allocated_currency": 0.0,
        "block_by_trade_equity": float(money.used - money.blocked_in_derivatives),
        "block_by_trade_fno": float(money.blocked_in_derivatives),
        "block_by_trade_commodity": 0.0,
        "block_by_trade_currency": 0.0,
        "block_by_trade_balance": float(money.used),
        "unallocated_balance": plain(total - equity - derivatives),
    }


def margin(money: Funds, exchange: Exchange) -> Row:
    """The margin of one segment."""
    total = money.cash + money.realized
    equity, derivatives = _allocation(total)
    blocked = money.blocked_in_derivatives
    if not exchange.is_derivative:
        blocked = money.used - blocked
    return {
        "limit_list": [{"amount": -float(blocked)}] if blocked else [],
        "cash_limit": float(total),
        "amount_allocated": float(derivatives if exchange.is_derivative else equity),
        "block_by_trade": float(blocked),
        "isec_margin": 0.0,
    }


def status(order: BookedOrder) -> str:
    """The word for an order's state."""
    word = WORDS[order.state]
    if order.filled_quantity and order.state in (State.CANCELLED, State.EXPIRED):
        return f"Partially Executed And {word}"
    return word


def order(booked: BookedOrder, names: Names) -> Row:
    """One row of the order list, which is also the order's detail.

    A cancelled order keeps its open quantity in ``pending_quantity``, as observed. Derivatives carry seconds in
    ``order_datetime``, shares minutes only.
    """
    contract = booked.contract
    derivative = contract.exchange.is_derivative
    stop = booked.order_type is OrderType.STOP_LIMIT
    form = "%d-%b-%Y %H:%M:%S" if derivative else "%d-%b-%Y %H:%M"
    return {
        "order_id": booked.order_id,
        "exchange_order_id": (booked.exchange_order_id or None) if derivative else None,
        "exchange_code": contract.exchange.value,
        "stock_code": names.short(contract.underlying),
        "product_type": product_word(contract, booked.product),
        "action": _action(booked.side),
        "order_type": "StopLoss" if stop else "Limit",
        "stoploss": plain(booked.trigger_price) if derivative else f"{booked.trigger_price:.2f}",
        "quantity": str(booked.quantity),
        "price": plain(booked.price) if derivative else f"{booked.price:.2f}",
        "validity": "Day" if booked.time_in_force.value == "DAY" else "IOC",
        "disclosed_quantity": str(booked.disclosed_quantity),
        "expiry_date": day_text(contract.expiry) if contract.expiry else None,
        "right": right_word(contract) if derivative else None,
        "strike_price": float(contract.strike or 0),
        "average_price": plain(booked.average_price.quantize(Decimal("0.0001"))),
        "cancelled_quantity": str(booked.cancelled_quantity),
        "pending_quantity": str(booked.remaining_quantity),
        "status": status(booked),
        "user_remark": None if derivative else "",
        "order_datetime": time_text(booked.placed_at, form),
        "parent_order_id": "" if derivative else None,
        "modification_number": None,
        "exchange_acknowledgement_date": None,
        "SLTP_price": None,
        "exchange_acknowledge_number": None,
        "initial_limit": None,
        "intial_sltp": None,
        "LTP": None,
        "limit_offset": None,
        "mbc_flag": None,
        "cutoff_price": None,
        "validity_date": None if derivative else "",
    }


def trades(fills: list[Trade], names: Names, last_price: Callable[[Contract], Decimal]) -> list[Row]:
    """The trade list: one row an order, its fills summed up."""
    by_order: defaultdict[str, list[Trade]] = defaultdict(list)
    for fill in fills:
        by_order[fill.order.order_id].append(fill)
    return [_trade_sum(parts, names, last_price) for parts in by_order.values()]


def _trade_sum(parts: list[Trade], names: Names, last_price: Callable[[Contract], Decimal]) -> Row:
    booked, contract = parts[0].order, parts[0].order.contract
    derivative = contract.exchange.is_derivative
    quantity = sum(part.quantity for part in parts)
    cost = sum((part.price * part.quantity for part in parts), Decimal(0)) / quantity
    nothing = "0" if derivative else "0.00"
    return {
        "book_type": "Trade-Book",
        "trade_date": day_text(parts[-1].at.astimezone(IST).date()),
        "stock_code": names.short(contract.underlying),
        "action": _action(booked.side),
        "quantity": str(quantity),
        "average_cost": f"{cost:.2f}",
        "brokerage_amount": nothing,
        "product_type": product_word(contract, booked.product),
        "exchange_code": contract.exchange.value,
        "order_id": booked.order_id,
        "segment": None if derivative else "N",
        "settlement_code": None if derivative else f"{booked.placed_at:%Y%j}",
        "dp_id": None if derivative else "IN300000",
        "client_id": None if derivative else "10000000",
        "ltp": f"{last_price(contract):.2f}",
        "eatm_withheld_amount": nothing,
        "cash_withheld_amount": nothing,
        "total_taxes": nothing,
        "order_type": None if derivative else "Limit",
        "expiry_date": day_text(contract.expiry) if contract.expiry else None,
        "right": right_word(contract) if derivative else None,
        "strike_price": plain(contract.strike or Decimal(0)) if derivative else None,
    }


def trade(fill: Trade, names: Names) -> Row:
    """One fill in the detail of an order's trades."""
    contract = fill.order.contract
    return {
        "settlement_id": f"{fill.at:%Y%j}",
        "exchange_trade_id": fill.fill_id,
        "executed_quantity": str(fill.quantity),
        "action": fill.order.side.value[0],
        "total_transaction_cost": "0",
        "brokerage_amount": "0",
        "taxes": "0",
        "eatm_withheld_amount": "0",
        "cash_withheld_amount": "0",
        "execution_price": plain(fill.price),
        "stock_code": names.short(contract.underlying),
        "exchange_code": contract.exchange.value,
        "trade_id": f"{fill.at:%Y/%m%d}/{fill.fill_id}",
        "exchange_trade_time": time_text(fill.at),
    }


def position(held: HeldPosition, names: Names) -> Row:
    """One derivative position: the quantity without a sign, the direction in ``action``, ``NA`` when flat."""
    contract, net = held.contract, held.net_quantity
    blank = (
        "settlement_id", "margin_amount", "stoploss", "take_profit", "available_margin", "squareoff_mode",
        "mtf_sell_quantity", "mtf_net_amount_payable", "mtf_expiry_date", "cover_order_flow",
        "cover_order_executed_quantity", "pledge_status", "pnl", "order_segment_code",
    )  # fmt: skip
    return {
        "segment": "fno",
        "product_type": product_word(contract, held.product),
        "exchange_code": contract.exchange.value,
        "stock_code": names.short(contract.underlying),
        "expiry_date": day_text(contract.expiry) if contract.expiry else None,
        "strike_price": plain(contract.strike or Decimal(0)),
        "right": right_word(contract),
        "action": "NA" if not net else "Buy" if net > 0 else "Sell",
        "quantity": str(abs(net)),
        "average_price": plain(held.average_price.quantize(Decimal("0.01"))),
        "ltp": plain(held.last_price),
        "price": plain(held.last_price),
        "stock_index_indicator": "Index" if contract.on_index else "Stock",
        "cover_quantity": "0",
        "stoploss_trigger": "0",
        "order_id": "",
        "underlying": names.short(contract.underlying),
        **dict.fromkeys(blank),
    }


def holding(held: HeldPosition, names: Names) -> Row:
    """One share in the portfolio."""
    blank = (
        "product_type", "expiry_date", "strike_price", "right", "category_index_per_stock", "action",
        "realized_profit", "unrealized_profit", "open_position_value", "portfolio_charges",
    )  # fmt: skip
    return {
        "stock_code": names.short(held.contract.underlying),
        "exchange_code": held.contract.exchange.value,
        "quantity": str(held.net_quantity),
        "average_price": plain(held.average_price.quantize(Decimal("0.01"))),
        "booked_profit_loss": "0",
        "current_market_price": plain(held.last_price),
        "change_percentage": "0",
        "answer_flag": "N",
        **dict.fromkeys(blank),
    }


def demat_holdings(held: Iterable[HeldPosition], names: Names) -> list[Row]:
    """What the depository holds: shares that were there when the day began, of every exchange together."""
    units: defaultdict[tuple[str, str], int] = defaultdict(int)
    for each in held:
        contract = each.contract
        if contract.kind is InstrumentKind.EQUITY and each.product is Product.CNC and each.carried_buy_quantity:
            units[names.short(contract.underlying), contract.isin] += each.carried_buy_quantity
    return [
        {
            "stock_code": code,
            "stock_ISIN": isin,
            "quantity": str(quantity),
            "demat_total_bulk_quantity": str(quantity),
            "demat_avail_quantity": "0",
            "blocked_quantity": "0",
            "demat_allocated_quantity": str(quantity),
        }
        for (code, isin), quantity in units.items()
    ]
