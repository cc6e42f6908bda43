"""Breeze's GTT calls on the simulated exchange: README of the SDK 1.0.69, read 2026-11-28.

Which status words an active, triggered or refused leg has is not published; the order book's stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from brokers.adapters.breeze import simulator_replies as replies
from brokers.adapters.breeze import simulator_rows as rows
from brokers.adapters.breeze.simulator_master import Names
from brokers.adapters.breeze.simulator_orders import (
    PRODUCTS,
    SIDES,
    BadField,
    day_of,
    exchange_of,
    find_contract,
    number_of,
    text_of,
    whole_of,
)
from brokers.domain.enums import OrderType, Product, Side
from brokers.domain.gtt import GttKind, GttRole
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import Ticket
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.gtt_book import BookedGtt, BookedLeg, LegState
from brokers.simulator.gtts import GttTicket, LegTicket
from brokers.simulator.http import Reply

Values = Mapping[str, Any]

ROLES = {"": GttRole.ORDER, "target": GttRole.TARGET, "stoploss": GttRole.STOP}
LEG_WORDS = {GttRole.ORDER: None, GttRole.TARGET: "Target", GttRole.STOP: "Stoploss"}
KIND_WORDS = {GttKind.SINGLE: "Single", GttKind.THREE_LEG: "Cover OCO"}
#: What a request may call each kind; a three-leg GTT is changed as ``oco``.
PLACE_WORDS = {"single": GttKind.SINGLE, "cover_oco": GttKind.THREE_LEG}
CHANGE_WORDS = {"single": GttKind.SINGLE, "oco": GttKind.THREE_LEG, "cover_oco": GttKind.THREE_LEG}
STATUS_WORDS = {
    LegState.WAITING: "Requested",
    LegState.ACTIVE: "Ordered",
    LegState.TRIGGERED: "Executed",
    LegState.REJECTED: "Rejected",
    LegState.CANCELLED: "Cancelled",
    LegState.EXPIRED: "Expired",
}


class GttCalls:
    """The four calls of ``gttorder``."""

    def __init__(self, exchange: SimulatedExchange, names: Names) -> None:
        self._exchange = exchange
        self._names = names

    @property
    def handlers(self) -> dict[str, Callable[[SimulatedAccount, Values], Reply]]:
        return {
            "gtt_place": self._place,
            "gtt_modify": self._modify,
            "gtt_cancel": self._cancel,
            "gtts": self._book,
        }

    def _place(self, account: SimulatedAccount, values: Values) -> Reply:
        gtt = self._exchange.gtts.place(account, self._ticket(values))
        return _taken(gtt, "Your GTT Order Request Placed Successfully")

    def _modify(self, account: SimulatedAccount, values: Values) -> Reply:
        gtt = self._own(account, values)
        if CHANGE_WORDS.get(text_of(values, "gtt_type").lower()) is not gtt.kind:
            raise BadField("Invalid order type of the GTT")
        legs = {leg.role: leg for leg in _legs(values)}
        return _taken(self._exchange.gtts.modify(account, gtt.gtt_id, legs), "Order Modified Successfully")

    def _cancel(self, account: SimulatedAccount, values: Values) -> Reply:
        gtt = self._exchange.gtts.cancel(account, self._own(account, values).gtt_id)
        return _taken(gtt, "Your request for order cancellation successfully submitted !")

    def _book(self, account: SimulatedAccount, values: Values) -> Reply:
        wanted = exchange_of(values)
        found = self._exchange.gtts.all(account, day_of(values, "from_date"), day_of(values, "to_date"))
        listed = [self._row(gtt) for gtt in found if gtt.contract.exchange is wanted]
        return replies.success(listed) if listed else replies.nothing()

    def _own(self, account: SimulatedAccount, values: Values) -> BookedGtt:
        gtt = self._exchange.gtts.find(account, text_of(values, "gtt_order_id"))
        if gtt is None or gtt.contract.exchange is not exchange_of(values):
            raise replies.Refusal(replies.refused("No Data Found"))
        return gtt

    def _ticket(self, values: Values) -> GttTicket:
        """The GTT that a body asks for.

        :raises BadField: a field is missing or says something unknown.
        """
        kind, product = PLACE_WORDS.get(text_of(values, "gtt_type").lower()), text_of(values, "product").lower()
        if not exchange_of(values).is_derivative:
            raise BadField("Invalid exchange code for GTT")
        contract = find_contract(values, self._exchange, self._names)
        if contract is None:
            raise BadField("Invalid stock code or contract")
        if product not in ("futures", "options") or product != rows.product_word(contract).lower():
            raise BadField("Invalid product type")
        if text_of(values, "index_or_stock").lower() != _index_or_stock(contract).lower():
            raise BadField("Invalid stock type: it is neither index nor stock")
        if day_of(values, "trade_date") is None:
            raise BadField("Invalid trade date")
        legs, quantity = tuple(_legs(values)), whole_of(values, "quantity") or 0
        if kind is None or {leg.role for leg in legs} != _roles(kind) or len(legs) != len(_roles(kind)):
            raise BadField("Invalid order details of the GTT")
        return GttTicket(
            contract=contract,
            product=PRODUCTS[product],
            quantity=quantity,
            legs=legs,
            entry=_entry(values, contract, PRODUCTS[product], quantity) if kind is GttKind.THREE_LEG else None,
        )

    def _row(self, gtt: BookedGtt) -> rows.Row:
        """One row of the book; a leg's id is the GTT's."""
        contract = gtt.contract
        return {
            "order_details": [_leg_row(gtt, leg) for leg in gtt.legs],
            "exchange_code": contract.exchange.value,
            "product_type": rows.product_word(contract),
            "stock_code": self._names.short(contract.underlying),
            "expiry_date": rows.day_text(contract.expiry) if contract.expiry else None,
            "strike_price": float(contract.strike or 0),
            "right": rows.right_word(contract),
            "quantity": gtt.quantity,
            "index_or_stock": _index_or_stock(contract),
            "gtt_type": KIND_WORDS[gtt.kind],
            "fresh_order_id": gtt.entry_order_id or None,
            "order_datetime": rows.time_text(gtt.placed_at).upper(),
        }


def _leg_row(gtt: BookedGtt, leg: BookedLeg) -> rows.Row:
    return {
        "gtt_leg_type": LEG_WORDS[leg.role],
        "action": leg.side.value.title(),
        "trigger_price": float(leg.trigger_price),
        "limit_price": float(leg.limit_price),
        "status": STATUS_WORDS[leg.state],
        "gtt_order_id": gtt.gtt_id,
    }


def _taken(gtt: BookedGtt, message: str) -> Reply:
    return replies.success({"gtt_order_id": gtt.gtt_id, "message": message})


def _roles(kind: GttKind) -> set[GttRole]:
    return {GttRole.ORDER} if kind is GttKind.SINGLE else {GttRole.TARGET, GttRole.STOP}


def _index_or_stock(contract: Contract) -> str:
    return "Index" if contract.on_index else "Stock"


def _entry(values: Values, contract: Contract, product: Product, quantity: int) -> Ticket:
    if text_of(values, "fresh_order_type").lower() != "limit":
        raise BadField("Invalid Market/Limit indicator:")
    return Ticket(
        contract=contract,
        side=_side(values, "fresh_order_action"),
        quantity=quantity,
        order_type=OrderType.LIMIT,
        price=_price(values, "fresh_order_price"),
        product=product,
    )


def _legs(values: Values) -> list[LegTicket]:
    """:raises BadField: it is no list of legs, or one says something unknown."""
    listed = values.get("order_details")
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise BadField("Invalid order details of the GTT")
    return [_leg(each) for each in listed]


def _leg(values: Values) -> LegTicket:
    word = text_of(values, "gtt_leg_type").lower()
    if word not in ROLES:
        raise BadField("Invalid order leg of the GTT")
    return LegTicket(
        role=ROLES[word],
        side=_side(values, "action"),
        trigger_price=_price(values, "trigger_price"),
        limit_price=_price(values, "limit_price"),
    )


def _side(values: Values, name: str) -> Side:
    side = SIDES.get(text_of(values, name).lower())
    if side is None:
        raise BadField("Invalid action")
    return side


def _price(values: Values, name: str) -> Decimal:
    """A limit price; a GTT without one would be a market order, which is not taken."""
    number = number_of(values, name)
    if number is None:
        raise BadField("Invalid Market/Limit indicator:")
    return number
