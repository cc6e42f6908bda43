"""Breeze's words beside ours: two-way maps, limits and the texts it answers with.

Unless a line says otherwise: breeze-connect 1.0.69, its README and api.icicidirect.com/breezeapi/documents,
read 2026-11-22. Breeze answers in capitals ("Buy") and is asked in lower case ("buy"), so look-ups ignore case.
"""

from __future__ import annotations

import re

from brokers.domain.enums import (
    CandleInterval,
    Exchange,
    InstrumentKind,
    OptionRight,
    OrderStatus,
    OrderType,
    Product,
    Side,
    TimeInForce,
)
from brokers.domain.gtt import GttKind, GttRole, GttStatus

NAME = "breeze"

LOGIN_PAGE = "https://api.icicidirect.com/apiuser/login"
#: Where the archive is, best first. The SDK's own address since 1.0.65 (January 2026) is the first; a third
#: party found no NSE file there (2026), so the older one is the second.
MASTER_URLS = (
    "https://directlink.icicidirect.com/MotherAppMaster/SecurityMaster.zip",
    "https://directlink.icicidirect.com/NewSecurityMaster/SecurityMaster.zip",
)

SIDE_TO_WIRE = {Side.BUY: "buy", Side.SELL: "sell"}
#: The order feed and trade details say B and S.
SIDE_FROM_WIRE = {"buy": Side.BUY, "sell": Side.SELL, "b": Side.BUY, "s": Side.SELL}

ORDER_TYPE_TO_WIRE = {OrderType.LIMIT: "limit", OrderType.STOP_LIMIT: "stoploss"}
#: "Market" stands on old rows and on orders typed by a person.
ORDER_TYPE_FROM_WIRE = {
    "limit": OrderType.LIMIT,
    "stoploss": OrderType.STOP_LIMIT,
    "stop loss": OrderType.STOP_LIMIT,
    "market": OrderType.MARKET,
}

TIME_IN_FORCE_TO_WIRE = {TimeInForce.DAY: "day", TimeInForce.IOC: "ioc"}
TIME_IN_FORCE_FROM_WIRE = {"day": TimeInForce.DAY, "ioc": TimeInForce.IOC}

RIGHT_TO_WIRE = {OptionRight.CALL: "call", OptionRight.PUT: "put", None: "others"}
RIGHT_FROM_WIRE: dict[str, OptionRight | None] = {
    "call": OptionRight.CALL,
    "put": OptionRight.PUT,
    "c": OptionRight.CALL,
    "p": OptionRight.PUT,
    "ce": OptionRight.CALL,
    "pe": OptionRight.PUT,
    "others": None,
    "other": None,
    "xx": None,
    "*": None,
    "": None,
}

#: Breeze's product carries the segment: ours follows from it and from the instrument.
PRODUCT_TO_WIRE = {
    (Product.CNC, InstrumentKind.EQUITY): "cash",
    (Product.NRML, InstrumentKind.FUTURE): "futures",
    (Product.NRML, InstrumentKind.OPTION): "options",
}
#: Margin and OptionPlus orders are typed by a person: the API refuses them since 2026-03-27.
PRODUCT_FROM_WIRE = {
    "cash": Product.CNC,
    "btst": Product.CNC,
    "futures": Product.NRML,
    "future": Product.NRML,
    "options": Product.NRML,
    "option": Product.NRML,
    "mtf": Product.MTF,
    "margin": Product.MIS,
    "optionplus": Product.MIS,
}

#: "Freezed" is held by the exchange's quantity check: neither working nor safely ended, so a person looks.
STATUS_FROM_WIRE = {
    "requested": OrderStatus.PENDING,
    "queued": OrderStatus.PENDING,
    "ordered": OrderStatus.OPEN,
    "partially executed": OrderStatus.PARTIALLY_FILLED,
    "executed": OrderStatus.FILLED,
    "rejected": OrderStatus.REJECTED,
    "cancelled": OrderStatus.CANCELLED,
    "expired": OrderStatus.EXPIRED,
    "partially executed and cancelled": OrderStatus.CANCELLED,
    "partially executed and expired": OrderStatus.EXPIRED,
    "freezed": OrderStatus.UNKNOWN,
}

#: How the SDK's methods for GTTs of a kind begin.
GTT_METHODS = {GttKind.SINGLE: "gtt_single_leg", GttKind.THREE_LEG: "gtt_three_leg"}
#: A three-leg GTT is ``cover_oco`` when it is placed and ``oco`` when it is changed (README of the SDK 1.0.69).
GTT_KIND_TO_WIRE = {GttKind.SINGLE: "single", GttKind.THREE_LEG: "cover_oco"}
GTT_CHANGE_TO_WIRE = {GttKind.SINGLE: "single", GttKind.THREE_LEG: "oco"}
#: The book says "Single" and "Cover OCO"; the others are the words of requests.
GTT_KIND_FROM_WIRE = {
    "single": GttKind.SINGLE,
    "cover oco": GttKind.THREE_LEG,
    "cover_oco": GttKind.THREE_LEG,
    "oco": GttKind.THREE_LEG,
}
GTT_ROLE_TO_WIRE = {GttRole.TARGET: "target", GttRole.STOP: "stoploss"}
#: The one order of a single has no word.
GTT_ROLE_FROM_WIRE = {"": GttRole.ORDER, "target": GttRole.TARGET, "stoploss": GttRole.STOP}
#: "Cancelled" is the one word that the README's book shows (read 2026-11-28). The others are the order book's, and that
#: they mean the same here is assumed: until its order goes out a leg is active, with its order it has triggered.
GTT_STATUS_FROM_WIRE = {
    "cancelled": GttStatus.CANCELLED,
    "requested": GttStatus.ACTIVE,
    "queued": GttStatus.ACTIVE,
    "ordered": GttStatus.ACTIVE,
    "partially executed": GttStatus.TRIGGERED,
    "executed": GttStatus.TRIGGERED,
    "rejected": GttStatus.REJECTED,
    "expired": GttStatus.EXPIRED,
}

#: The intervals of ``get_historical_data_v2``.
INTERVAL_TO_WIRE = {
    CandleInterval.SECOND: "1second",
    CandleInterval.MINUTE: "1minute",
    CandleInterval.FIVE_MINUTES: "5minute",
    CandleInterval.THIRTY_MINUTES: "30minute",
    CandleInterval.DAY: "1day",
}
#: An answer holds no more (README of the SDK); which part of a longer one is left out is not documented.
MOST_CANDLES = 1000
#: Where the options of what is listed at an exchange are traded.
OPTIONS_EXCHANGE = {Exchange.NSE: Exchange.NFO, Exchange.BSE: Exchange.BFO}
#: Where shares are held; lists are kept by exchange.
CASH_EXCHANGES = (Exchange.NSE, Exchange.BSE)

#: Every exchange an account trades; lists are kept by exchange.
EXCHANGES = (Exchange.NSE, Exchange.BSE, Exchange.NFO, Exchange.BFO)
#: Where GTTs are kept: the API takes them for derivatives only (README of the SDK 1.0.69, read 2026-11-28).
GTT_EXCHANGES = (Exchange.NFO, Exchange.BFO)
#: Segment whose margin is the account's: strategies trade derivatives, and NOTES.md says why.
MARGIN_EXCHANGE = Exchange.NFO

#: The first digit of a token of the rate feed (SDK 1.0.69, read 2026-11-28).
FEED_EXCHANGES = {Exchange.NSE: "4", Exchange.NFO: "4", Exchange.BSE: "1", Exchange.BFO: "8"}

#: stock_code of an index -> the exchange's name of the underlying. SecurityMaster of 2026-07-30 against NSE's and
#: BSE's contract symbols.
INDEX_UNDERLYINGS = {
    "NIFTY": "NIFTY",
    "CNXBAN": "BANKNIFTY",
    "NIFFIN": "FINNIFTY",
    "NIFSEL": "MIDCPNIFTY",
    "NIFNEX": "NIFTYNXT50",
    "BSESEN": "SENSEX",
    "BANKEX": "BANKEX",
    "BSEFOC": "SENSEX50",
}

#: An id may stand inside a sentence: captures of 2022.
ORDER_ID = re.compile(r"\d{8}[A-Z]?\d{8,}")

_ANY = re.IGNORECASE
#: The only texts that mean an empty list. "No Positions available." and "No Data Found" were observed.
NOTHING_THERE = re.compile(
    r"^no (positions?|data|records?|orders?|trades?)( (is|are|were))?( available| found)?\W*$", _ANY
)
#: A session that is over, or was never one.
SESSION_OVER = re.compile(r"invalid session|session.*expired|invalid user session|authentication fail", _ANY)
#: Calls are refused in the same words when X-Timestamp is more than 60 s off (Breeze's API page, read 2026-11-22). Less,
#: because a Date header is of whole seconds and older than its arrival.
CLOCK_TOLERANCE_SECONDS = 50
#: On ``customerdetails`` only: the session's day is over. Elsewhere the same words have other causes (issues 99, 210).
LOGIN_OVER = re.compile(r"resource not available", _ANY)
#: A key and secret that do not belong together (issues 30 and 78): a permanent error of configuration.
BAD_KEY = re.compile(r"invalid checksum|public key does not exist", _ANY)
#: The address is not the registered one. ICICI publishes no text; these words have no other use.
WRONG_ADDRESS = re.compile(r"\bip\b", _ANY)
#: "Limit exceed: API call per minute:Try after some time", "Limit exceed: API call per day: " (issue 144).
TOO_MANY_CALLS = re.compile(r"limit exceed", _ANY)
TOO_MANY_CALLS_TODAY = re.compile(r"per day", _ANY)
#: Status 500 stands for refusals and for crashes alike; only these words prove a refusal. The first line was
#: observed (issue 100); for the rest ICICI publishes no text, they name a reason that an accepted
#: order cannot have.
REFUSED = re.compile(
    r"^invalid market/limit indicator"
    r"|\binsufficient\b|\bnot sufficient\b|\bexceeds? (the )?(available|freeze|limit|maximum)|\bfreeze (quantity|limit)"
    r"|\btick size\b|\blot size\b|\bmultiple of\b|\bprice (band|range)\b|\bcircuit\b"
    r"|\b(market|exchange) (is )?closed\b|\bnot (permitted|allowed)\b|\bprohibited\b|\bip (address )?(is )?not\b"
    r"|^invalid (stock|exchange|product|quantity|price|action|order|validity|expiry|strike|right)",
    _ANY,
)
#: Of a change or a cancel only: there is no such order (observed of a cancel, issue 94, and of the SDK's square_off, issue
#: 99), or it has ended. A new order may have been taken and not be found yet, or have ended before its answer.
NO_SUCH_ORDER = re.compile(r"^resource not available|^no data found", _ANY)
ORDER_ENDED = re.compile(r"\balready (been )?(executed|cancelled|rejected)\b", _ANY)
#: ``Status`` numbers that refuse whatever the text says: of what is asked, or of who asks. Whoever answers with another,
#: a time-out, a conflict, too many requests, may have passed the order on, or has it already.
REFUSAL_STATUS = frozenset({400, 401, 403, 422})
#: HTTP statuses under which a well-formed refusal is believed.
REFUSAL_HTTP = frozenset({200, 400, 401, 403})
