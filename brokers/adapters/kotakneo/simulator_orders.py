"""What Kotak Neo's order forms ask for, in the simulated exchange's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qs

from brokers.domain.enums import Exchange, InstrumentKind, OrderType, Product, Side, TimeInForce
from brokers.simulator.book import Change, Ticket
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange

SEGMENTS = {"nse_cm": Exchange.NSE, "bse_cm": Exchange.BSE, "nse_fo": Exchange.NFO, "bse_fo": Exchange.BFO}
SEGMENT_OF = {exchange: name for name, exchange in SEGMENTS.items()}
SIDES = {"B": Side.BUY, "S": Side.SELL}
PRODUCTS = {product.value: product for product in Product}
VALIDITIES = {"DAY": TimeInForce.DAY, "IOC": TimeInForce.IOC}
ORDER_TYPES = {"L": OrderType.LIMIT, "SL": OrderType.STOP_LIMIT, "MKT": OrderType.MARKET}

#: Kotak turns a market order into a limit at the last price plus or minus this part of it: (below this price, part).
SHARE_BANDS = ((Decimal(100), Decimal("0.02")), (Decimal(500), Decimal("0.01")), (None, Decimal("0.005")))
OPTION_BANDS = (
    (Decimal(5), Decimal("0.10")),
    (Decimal(10), Decimal("0.05")),
    (Decimal(100), Decimal("0.03")),
    (Decimal(500), Decimal("0.02")),
    (None, Decimal("0.01")),
)
CHEAP_OPTION_REACH = Decimal("0.10")

Form = Mapping[str, Any]


class BadForm(Exception):
    """A form that the gateway refuses: its code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def form_of(body: bytes) -> Form:
    """The ``jData`` of a form.

    :raises BadForm: there is none, or it is no JSON object.
    """
    try:
        values = json.loads(parse_qs(body.decode("utf-8"), keep_blank_values=True)["jData"][0])
    except (KeyError, ValueError) as error:
        raise BadForm(1007, "body invalid") from error
    if not isinstance(values, dict):
        raise BadForm(1007, "body invalid")
    return values


def trading_symbol(contract: Contract) -> str:
    """``RELIANCE-EQ`` for a share at NSE; the exchange's symbol elsewhere."""
    if contract.exchange is Exchange.NSE and contract.kind is InstrumentKind.EQUITY:
        return f"{contract.symbol}-{contract.series}"
    return contract.symbol


def contract_of(exchange: SimulatedExchange, segment: str, symbol: str) -> Contract:
    """The contract of a trading symbol.

    :raises BadForm: there is none.
    """
    where = SEGMENTS.get(segment)
    if where is None:
        raise BadForm(5202, "please provide valid exchange segment")
    bare = symbol.rpartition("-")[0] if where is Exchange.NSE else symbol
    found = exchange.universe.by_symbol(where, bare)
    if found is None or found.kind is InstrumentKind.INDEX or trading_symbol(found) != symbol:
        raise BadForm(1007, "please provide valid trading symbol")
    return found


def ticket_of(exchange: SimulatedExchange, form: Form) -> Ticket:
    """The order that a placement asks for.

    :raises BadForm: a field is missing or says something unknown.
    """
    contract = contract_of(exchange, _text(form, "es"), _text(form, "ts"))
    side = _one_of(form, "tt", SIDES, 5202, "please provide valid transaction type")
    kind, price, trigger = _pricing(exchange, contract, side, form)
    if _text(form, "am") != "NO":
        raise BadForm(5202, "please provide valid amo flag")
    return Ticket(
        contract=contract,
        side=side,
        quantity=_whole(form, "qt"),
        order_type=kind,
        price=price,
        trigger_price=trigger,
        product=_one_of(form, "pc", PRODUCTS, 5202, "please provide valid product code"),
        time_in_force=_one_of(form, "rt", VALIDITIES, 5202, "please provide valid validity"),
        disclosed_quantity=_whole(form, "dq"),
        tag=str(form.get("ig") or ""),
    )


def change_of(exchange: SimulatedExchange, contract: Contract, side: Side, form: Form) -> Change:
    """What a modification asks for; it states every field anew.

    :raises BadForm: a field is missing or says something unknown.
    """
    kind, price, trigger = _pricing(exchange, contract, side, form)
    return Change(
        quantity=_whole(form, "qt"),
        order_type=kind,
        price=price,
        trigger_price=trigger,
        time_in_force=_one_of(form, "vd", VALIDITIES, 5202, "please provide valid validity"),
        disclosed_quantity=_whole(form, "dq"),
    )


def margin_ticket_of(exchange: SimulatedExchange, form: Form) -> Ticket:
    """The order whose margin is asked for.

    :raises BadForm: a field is missing or says something unknown.
    """
    where = SEGMENTS.get(_text(form, "exSeg"))
    contract = exchange.universe.by_token(where, _text(form, "tok")) if where else None
    if contract is None:
        raise BadForm(1007, "please provide valid symbol")
    return Ticket(
        contract=contract,
        side=_one_of(form, "trnsTp", SIDES, 5202, "please provide valid transaction type"),
        quantity=_whole(form, "qty"),
        order_type=OrderType.LIMIT,
        price=_number(form, "prc") or exchange.quote(contract).last_price,
        product=_one_of(form, "prod", PRODUCTS, 5202, "please provide valid product code"),
    )


def protected_price(contract: Contract, side: Side, last: Decimal) -> Decimal:
    """The limit in rupees with which a market order goes out."""
    bands = OPTION_BANDS if contract.kind is InstrumentKind.OPTION else SHARE_BANDS
    part = next(part for limit, part in bands if limit is None or last < limit)
    reach = CHEAP_OPTION_REACH if bands is OPTION_BANDS and last < 1 else last * part
    price = last + reach if side is Side.BUY else max(contract.tick_size, last - reach)
    steps = price // contract.tick_size
    return steps * contract.tick_size


def _pricing(
    exchange: SimulatedExchange, contract: Contract, side: Side, form: Form
) -> tuple[OrderType, Decimal, Decimal]:
    """Order type, price and trigger; a market order becomes a protected limit."""
    if _text(form, "pt") == "SL-M":
        raise BadForm(1017, "Market order with Algo Id not allowed")
    kind = _one_of(form, "pt", ORDER_TYPES, 5202, "please provide valid order type")
    price, trigger = _number(form, "pr"), _number(form, "tp")
    if kind is OrderType.MARKET:
        return OrderType.LIMIT, protected_price(contract, side, exchange.quote(contract).last_price), Decimal(0)
    return kind, price, trigger if kind is OrderType.STOP_LIMIT else Decimal(0)


def _text(form: Form, name: str) -> str:
    return str(form.get(name) or "")


def _one_of(form: Form, name: str, known: Mapping[str, Any], code: int, text: str) -> Any:
    value = known.get(_text(form, name))
    if value is None:
        raise BadForm(code, text)
    return value


def _whole(form: Form, name: str) -> int:
    try:
        return int(form[name])
    except (KeyError, TypeError, ValueError) as error:
        raise BadForm(1009, "please provide valid quantity") from error


def _number(form: Form, name: str) -> Decimal:
    """A price. Seen live: ``""`` is refused as a quantity is."""
    try:
        number = Decimal(str(form[name]))
    except (KeyError, InvalidOperation) as error:
        raise BadForm(1009, "please provide valid price") from error
    if not number.is_finite() or number < 0:
        raise BadForm(1009, "please provide valid price")
    return number
