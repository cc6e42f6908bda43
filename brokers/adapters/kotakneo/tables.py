"""Kotak's words and the domain's, both ways, and Kotak's limits. Each entry says where it was seen and when."""

from brokers.domain.enums import (
    CandleInterval,
    Exchange,
    OptionRight,
    OrderStatus,
    OrderType,
    Product,
    Side,
    TimeInForce,
)

#: ``exchange_segment`` of the SDK, ``exSeg`` of the books. SDK 3.0.9 settings.py, read 2026-11-22.
SEGMENTS = {
    "nse_cm": Exchange.NSE,
    "bse_cm": Exchange.BSE,
    "nse_fo": Exchange.NFO,
    "bse_fo": Exchange.BFO,
}

#: ``transaction_type`` and ``trnsTp``. The SDK lets any other word through; the API takes these two.
SIDES = {"B": Side.BUY, "S": Side.SELL}
SIDE_WORDS = {side: word for word, side in SIDES.items()}

#: ``prcTp``. SL-M and MKT appear when a person types them in Kotak's own app; they are never sent from here:
#: MKT becomes a resting limit (Kotak-neo-api-v2 issue 78) and SL-M is refused for API orders (July 2026).
ORDER_TYPES = {
    "L": OrderType.LIMIT,
    "SL": OrderType.STOP_LIMIT,
    "SL-M": OrderType.STOP_LIMIT,
    "MKT": OrderType.MARKET,
}
ORDER_TYPE_WORDS = {OrderType.LIMIT: "L", OrderType.STOP_LIMIT: "SL"}

#: ``validity`` and ``vldt``. GTC, GTD and EOS rest in the book of the day like DAY; the API does not take them.
TIMES_IN_FORCE = {
    "DAY": TimeInForce.DAY,
    "IOC": TimeInForce.IOC,
    "GTC": TimeInForce.DAY,
    "GTD": TimeInForce.DAY,
    "EOS": TimeInForce.DAY,
}
TIME_IN_FORCE_WORDS = {TimeInForce.DAY: "DAY", TimeInForce.IOC: "IOC"}

#: ``product`` and ``prod``; BO and CO are gone (SDK's migration guide, read 2026-11-22).
PRODUCTS = {product.value: product for product in Product}

#: Products that exist in the cash segments alone.
CASH_PRODUCTS = frozenset({Product.CNC, Product.MTF})

#: ``ordSt``, lower case. Kotak's list of states, read 2026-11-22; "trigger pending", "rejected" and "complete"
#: also seen in answers of 2026-03-25 and 2026-09-22. While a change or a cancel is under way the order is still
#: at the exchange, so it counts as open. A word that is not here is UNKNOWN, which never ends an order.
ORDER_STATUSES = {
    "put order req received": OrderStatus.PENDING,
    "validation pending": OrderStatus.PENDING,
    "open pending": OrderStatus.PENDING,
    "after market order req received": OrderStatus.PENDING,
    "modify after market order req received": OrderStatus.PENDING,
    "open": OrderStatus.OPEN,
    "modify validation pending": OrderStatus.OPEN,
    "modify pending": OrderStatus.OPEN,
    "modified": OrderStatus.OPEN,
    "not modified": OrderStatus.OPEN,
    "cancel pending": OrderStatus.OPEN,
    "not cancelled": OrderStatus.OPEN,
    "trigger pending": OrderStatus.TRIGGER_PENDING,
    "complete": OrderStatus.FILLED,
    "cancelled": OrderStatus.CANCELLED,
    "cancelled after market order": OrderStatus.CANCELLED,
    "rejected": OrderStatus.REJECTED,
}

#: How Kotak writes "nothing".
BLANKS = frozenset({"", "-", "--", "NA"})

#: ``stCode`` of an empty book: an answer, not an error.
CODE_NO_DATA = "5203"
#: The tag was used before today, so the order may be there: 32 since Nov 2025 (Kotak-neo-api-v2 issue 30),
#: 5204 before (kotak-neo-api issues 150 and 175). Both codes are used for other things too.
CODES_DUPLICATE_TAG = frozenset({"32", "5204"})
#: A change or a cancel of an order that is completed.
CODE_ORDER_ENDED = "1021"
#: The session is dead (100022), or was opened from another address than this call's (1037).
CODES_SESSION = frozenset({"100022", "1037"})

#: ``stCode`` values that prove a refusal, and what to do about it. SDK docs and issues, read 2026-11-22.
#: Every code that is not here proves nothing: 32, 1005, 5202 and 5204 among them.
REFUSALS = {
    "1006": "Kotak does not take orders for this exchange segment; check the symbol's exchange.",
    "1007": "Kotak does not know the symbol; refresh the instruments and try again.",
    "1009": "Kotak does not accept the quantity or price; check lot and tick.",
    "1017": "Kotak does not allow this kind of order from an API; use a limit order.",
    CODE_ORDER_ENDED: "The order is completed, so that it can be neither changed nor cancelled; read the order book.",
    "1037": "The session was opened from another address; log in again from this one.",
    "100008": (
        "Kotak does not take orders from this address or with this consumer key; "
        "whitelist the static IP in the Neo app and log in again."
    ),
    "100021": "The session is not allowed to trade; log in again.",
    "100022": "The session is not valid any more; log in again.",
}
#: HTTP statuses under which a refusal is believed.
REFUSAL_STATUSES = frozenset({200, 400, 401, 403})

#: ``pTrdSymbol`` of an index -> the name it is quoted by, instead of its token. As clients use them, read 2026-11-22.
INDEX_NAMES = {
    "NIFTY": "Nifty 50",
    "BANKNIFTY": "Nifty Bank",
    "FINNIFTY": "Nifty Fin Service",
    "SENSEX": "SENSEX",
}

#: Seconds from the Unix epoch to a segment's own: NSE counts from 1980-01-01 00:00 IST, BSE is plain Unix.
#: Checked against a genuine NSE row of 2026-08-28 (14:30 IST of its expiry); BSE from clients' code, read 2026-11-22.
EXPIRY_EPOCHS = {"nse_fo": 315_513_000, "bse_fo": 0}

#: Cash series that are shares or traded like them. The rest of the file is debt, block windows and gold bonds.
SHARE_SERIES = frozenset({"EQ", "BE", "BZ", "SM", "ST", "SZ", "IV", "RR", "E1"})

#: Segment of an index or share -> that of its options.
CHAIN_SEGMENTS = {"nse_cm": "nse_fo", "bse_cm": "bse_fo"}
#: ``optionType`` of an option chain. SDK docs, read 2026-11-28.
RIGHTS = {right.value: right for right in OptionRight}
#: ``moneyness`` of the strike nearest to the underlying's price.
AT_THE_MONEY = "ATM"
#: An option chain is asked for in tens of strikes (SDK docs, read 2026-11-28).
CHAIN_STEP = 10

#: Instruments in one call of ``quotes``, by the broker's side (SDK docs, read 2026-11-28).
MOST_QUOTES = 50

#: ``interval`` of ``historical_data``; 3min, 10min and W exist, too. SDK docs, read 2026-11-28.
INTERVALS = {
    CandleInterval.MINUTE: "1min",
    CandleInterval.FIVE_MINUTES: "5min",
    CandleInterval.FIFTEEN_MINUTES: "15min",
    CandleInterval.THIRTY_MINUTES: "30min",
    CandleInterval.HOUR: "60min",
    CandleInterval.DAY: "D",
}
#: Days in one call of ``historical_data``, first and last included; a longer one is refused, not cut.
CANDLE_DAYS = {
    CandleInterval.MINUTE: 30,
    CandleInterval.FIVE_MINUTES: 30,
    CandleInterval.FIFTEEN_MINUTES: 60,
    CandleInterval.THIRTY_MINUTES: 90,
    CandleInterval.HOUR: 90,
    CandleInterval.DAY: 180,
}
#: A stretch without candles is an HTTP 400 with one of these, seen live by clients in September 2026.
NO_CANDLES = ("no data found", "market has not yet opened")
#: The HTTP 400 for a ``neosymbol`` that Kotak does not know.
UNKNOWN_SYMBOL = "invalid neosymbol"

#: One segment's file is up to 30 MB.
MASTER_FILE_SECONDS = 60.0
