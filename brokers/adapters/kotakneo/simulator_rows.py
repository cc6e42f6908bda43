"""The rows of Kotak Neo's replies about an account, made from the simulated exchange's books.

Quantities of orders are numbers and those of positions text, prices are text; missing is ``NA``, ``--``, ``- `` or
nothing, as in the published samples and in answers seen in 2025 and 2026.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from brokers.adapters.kotakneo.simulator_orders import SEGMENT_OF, trading_symbol
from brokers.clock import IST
from brokers.domain.enums import InstrumentKind, OrderType
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Funds, HeldPosition, Moment, State, Trade
from brokers.simulator.contracts import Contract

Row = dict[str, Any]

WORDS = {
    State.RECEIVED: "put order req received",
    State.QUEUED: "open pending",
    State.OPEN: "open",
    State.TRIGGER_PENDING: "trigger pending",
    State.PARTIALLY_FILLED: "open",
    State.FILLED: "complete",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "cancelled",
    State.REJECTED: "rejected",
    State.FROZEN: "validation pending",
}
ONE = {"multiplier": "1", "precision": "2", "genNum": "1", "genDen": "1", "prcNum": "1", "prcDen": "1"}


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _time(moment: datetime, form: str = "%d-%b-%Y %H:%M:%S") -> str:
    return moment.astimezone(IST).strftime(form)


def _day(day: date | None) -> str:
    return f"{day:%d %b, %Y}" if day else "NA"


def _option_type(contract: Contract) -> str:
    if contract.right is not None:
        return contract.right.value
    return "XX" if contract.kind is InstrumentKind.FUTURE else "- "


def shown_tag(order: BookedOrder) -> str:
    """What the book shows for a tag: another value after a modification, ``<tag>-<epoch>`` after a cancellation."""
    placed, updated = int(order.placed_at.timestamp()), int(order.updated_at.timestamp())
    tag = order.tag or f"{placed}-{order.sequence:06d}-XXXX-ADMINAPI"
    if order.modifications:
        tag = f"{placed}-{order.sequence * 7919 % 1_000_000:06d}-{order.modifications:04d}-ADMINAPI"
    return f"{tag}-{updated}" if order.state is State.CANCELLED else tag


def _contract(contract: Contract) -> Row:
    return {
        "exSeg": SEGMENT_OF[contract.exchange],
        "tok": contract.token,
        "sym": contract.underlying,
        "trdSym": trading_symbol(contract),
        "series": contract.series or "XX",
        "optTp": _option_type(contract),
        "stkPrc": _money(contract.strike or Decimal(0)),
        "expDt": _day(contract.expiry),
        "lotSz": str(contract.lot_size),
        "it": contract.instrument_name,
        **ONE,
    }


def order(booked: BookedOrder, account: SimulatedAccount) -> Row:
    """One row of the order book."""
    word = WORDS[booked.state]
    live = booked.state.is_live
    seconds = int(booked.updated_at.timestamp())
    return {
        "actId": account.ucc,
        "nOrdNo": booked.order_id,
        "exOrdId": booked.exchange_order_id or "NA",
        "GuiOrdId": shown_tag(booked),
        "ordSt": word,
        "stat": word,
        "rejRsn": booked.reason or "--",
        "trnsTp": booked.side.value[0],
        "prcTp": "SL" if booked.order_type is OrderType.STOP_LIMIT else "L",
        "prod": booked.product.value,
        "vldt": booked.time_in_force.value,
        "qty": booked.quantity,
        "fldQty": booked.filled_quantity,
        "unFldSz": booked.remaining_quantity if live else 0,
        "cnlQty": booked.cancelled_quantity,
        "dscQty": booked.disclosed_quantity,
        "minQty": 0,
        "prc": _money(booked.price),
        "avgPrc": _money(booked.average_price),
        "trgPrc": _money(booked.trigger_price),
        "mktPro": "0",
        "ordDtTm": _time(booked.placed_at),
        "ordEntTm": _time(booked.placed_at),
        "exCfmTm": _time(booked.confirmed_at) if booked.confirmed_at else "--",
        "ordGenTp": "NA",
        "ordSrc": "NEOTRADEAPI" if booked.source == "API" else "MOB",
        "brdLtQty": str(booked.contract.lot_size),
        "tckSz": f"{booked.contract.tick_size:.4f}",
        "reqId": str(booked.modifications + 1),
        "usrId": account.ucc,
        "hsUpTm": _time(booked.updated_at, "%Y/%m/%d %H:%M:%S"),
        "boeSec": seconds,
        "uSec": str(seconds),
        "updRecvTm": seconds * 1_000_000_000,
        "algId": "NA",
        **_contract(booked.contract),
    }


def history(booked: BookedOrder) -> list[Row]:
    """One row for each state, newest first; its names differ from the book's. Each shows the tag of its time."""
    values = [(moment.quantity, moment.price, moment.trigger_price) for moment in booked.history]
    changes = [sum(one != other for one, other in pairwise(values[: end + 1])) for end in range(len(values))]
    return [_past(booked, moment, count) for moment, count in zip(booked.history, changes, strict=True)][::-1]


def _past(booked: BookedOrder, then: Moment, changes: int) -> Row:
    live = then.state.is_live
    return {
        "nOrdNo": booked.order_id,
        "exchOrdId": booked.exchange_order_id or "NA",
        "GuiOrdId": shown_tag(replace(booked, modifications=changes, state=then.state, updated_at=then.at)),
        "ordSt": WORDS[then.state],
        "rejRsn": then.reason or "--",
        "trnsTp": booked.side.value[0],
        "prcTp": "SL" if booked.order_type is OrderType.STOP_LIMIT else "L",
        "prod": booked.product.value,
        "ordDur": booked.time_in_force.value,
        "qty": then.quantity,
        "fldQty": then.filled_quantity,
        "unFldSz": then.quantity - then.filled_quantity if live else 0,
        "prc": _money(then.price),
        "avgPrc": _money(then.average_price),
        "trgPrc": _money(then.trigger_price),
        "mktPro": "0.00",
        "dclQty": str(booked.disclosed_quantity),
        "exch": "NSE" if booked.contract.exchange.value.startswith("N") else "BSE",
        "exchTmstp": _time(booked.confirmed_at) if booked.confirmed_at else "--",
        "flDtTm": _time(then.at),
        "ordSrc": "NEOTRADEAPI",
        "ordUsrMsg": "NA",
        "nReqId": "1",
        "rptTp": "NA",
        "scripName": booked.contract.underlying,
        **_contract(booked.contract),
    }


def trade(fill: Trade, account: SimulatedAccount) -> Row:
    """One execution. Its ``tok``, ``qty`` and ``prc`` are empty, as seen."""
    booked = fill.order
    return {
        **_contract(booked.contract),
        "actId": account.ucc,
        "nOrdNo": booked.order_id,
        "exOrdId": booked.exchange_order_id,
        "GuiOrdId": shown_tag(booked),
        "flId": fill.fill_id,
        "flLeg": fill.leg,
        "fldQty": fill.quantity,
        "avgPrc": _money(fill.price),
        "flDt": _time(fill.at, "%d-%b-%Y"),
        "flTm": _time(fill.at, "%H:%M:%S"),
        "exTm": _time(booked.confirmed_at or fill.at),
        "trnsTp": booked.side.value[0],
        "prcTp": "L",
        "prod": booked.product.value,
        "ordDur": "NA",
        "rptTp": "fill",
        "tok": "",
        "qty": 0,
        "prc": "",
        "hsUpTm": _time(fill.at, "%Y/%m/%d %H:%M:%S"),
        "boeSec": int(fill.at.timestamp()),
        "usrId": account.ucc,
    }


def position(held: HeldPosition, account: SimulatedAccount) -> Row:
    """One position: quantities are text and units."""
    contract = held.contract
    expiry = contract.expiry
    epoch = int(datetime(expiry.year, expiry.month, expiry.day, 14, 30, tzinfo=IST).timestamp()) if expiry else 0
    return {
        **_contract(contract),
        "actId": account.ucc,
        "type": contract.instrument_name,
        "prod": held.product.value,
        "flBuyQty": str(held.buy_quantity),
        "flSellQty": str(held.sell_quantity),
        "cfBuyQty": str(held.carried_buy_quantity),
        "cfSellQty": str(held.carried_sell_quantity),
        "buyAmt": _money(held.buy_amount),
        "sellAmt": _money(held.sell_amount),
        "cfBuyAmt": _money(held.carried_buy_amount),
        "cfSellAmt": _money(held.carried_sell_amount),
        "brdLtQty": contract.lot_size,
        "exp": str(epoch) if epoch else "",
        "posFlg": "true",
        "sqrFlg": "Y",
        "upldPrc": "0.00",
        "dscQty": "",
        "ltp": _money(held.last_price),
    }


def holding(held: HeldPosition) -> Row:
    """One share in the portfolio; its numbers are numbers, and those of the market are of the last close."""
    contract, quantity = held.contract, held.net_quantity
    cost, value = held.average_price * quantity, contract.base_price * quantity
    return {
        "instrumentType": "Equity",
        "symbol": contract.symbol,
        "displaySymbol": contract.symbol,
        "exchangeSegment": SEGMENT_OF[contract.exchange],
        "exchangeIdentifier": contract.token,
        "instrumentToken": int(contract.token),
        "quantity": quantity,
        "sellableQuantity": quantity,
        "averagePrice": float(held.average_price),
        "holdingCost": float(cost),
        "closingPrice": float(contract.base_price),
        "mktValue": float(value),
        "isAlternateScrip": False,
        "unrealisedGainLoss": float(value - cost),
        "sqGainLoss": 0,
        "delGainLoss": 0,
        "marketLot": 1,
        "series": contract.series,
        "securityType": contract.series,
    }


def limits(money: Funds, account: SimulatedAccount, at: datetime) -> Row:
    """Limits: ``Net`` is ``CollateralValue`` less ``MarginUsed``; all are text."""
    used = _money(money.used)
    zeros = (
        "Collateral", "RmsCollateral", "AdhocMargin", "NotionalCash", "RmsPayInAmt", "RmsPayOutAmt",
        "SpanMarginPrsnt", "ExposureMarginPrsnt", "PremiumPrsnt", "MarginVarPrsnt", "UnrealizedMtomPrsnt",
        "FoUnRlsMtomPrsnt", "CashRlsMtomPrsnt", "BrokeragePrsnt", "SpecialMarginPrsnt", "DaneLimit",
    )  # fmt: skip
    return {
        "Category": "CLIENT_MTF",
        "EntityId": f"account-{account.ucc}",
        "BoardLotLimit": "5000",
        "CollateralValue": _money(money.cash + money.realized),
        "Net": _money(money.available),
        "MarginUsed": used,
        "MarginUsedPrsnt": used,
        "RealizedMtomPrsnt": _money(money.realized),
        **dict.fromkeys(zeros, "0"),
        "TimeStamp": str(int(at.timestamp() * 1000)),
        "stCode": 200,
        "stat": "Ok",
    }


def margin(needed: Decimal, money: Funds) -> Row:
    """What one order would need. ``avlCash`` is before what is used already, as in the published sample."""
    missing = max(Decimal(0), needed - money.available)
    return {
        "avlCash": f"{money.cash + money.realized:.6f}",
        "totMrgnUsd": f"{money.used + needed:.6f}",
        "mrgnUsd": f"{money.used:.6f}",
        "ordMrgn": f"{needed:.6f}",
        "rmsVldtd": "OK" if not missing else "NOT OK",
        "reqdMrgn": "0.000000",
        "avlMrgn": "0.000000",
        "insufFund": f"{missing:.6f}",
        "stat": "Ok",
        "stCode": 200,
    }
