"""What brokers and exchanges check before an order may rest in the book, and the margin it blocks."""

from __future__ import annotations

from decimal import Decimal

from brokers.domain.enums import InstrumentKind, OrderType, Product, Side
from brokers.simulator.book import Refused, Ticket, Why
from brokers.simulator.contracts import Contract

#: Parts of the value that are blocked. Made up, of the usual size.
INDEX_FUTURE, SHARE_FUTURE = Decimal("0.13"), Decimal("0.20")
INDEX_SHORT_OPTION, SHARE_SHORT_OPTION = Decimal("0.12"), Decimal("0.20")
INTRADAY_SHARE, FUNDED_SHARE = Decimal("0.20"), Decimal("0.50")

PRODUCTS = {
    InstrumentKind.EQUITY: frozenset({Product.CNC, Product.MIS, Product.MTF}),
    InstrumentKind.FUTURE: frozenset({Product.NRML, Product.MIS}),
    InstrumentKind.OPTION: frozenset({Product.NRML, Product.MIS}),
}


def objection(ticket: Ticket) -> Refused | None:
    """The first rule of its contract that an order breaks; None when it keeps them all."""
    contract = ticket.contract
    for why, broken, sentence in (
        (Why.PRODUCT, ticket.product not in PRODUCTS.get(contract.kind, ()), f"{ticket.product} does not fit"),
        (Why.ORDER_TYPE, ticket.order_type is OrderType.MARKET, "market orders are not taken"),
        (Why.QUANTITY, ticket.quantity <= 0, f"quantity {ticket.quantity} is not above zero"),
        (Why.LOT, ticket.quantity % contract.lot_size != 0, f"quantity {ticket.quantity} is no multiple of the lot"),
        (Why.PRICE, not ticket.price.is_finite() or ticket.price <= 0, f"price {ticket.price} is not above zero"),
    ):
        if broken:
            return Refused(why, f"{contract.symbol}: {sentence}.")
    return _price_objection(ticket)


def _price_objection(ticket: Ticket) -> Refused | None:
    contract, price, trigger = ticket.contract, ticket.price, ticket.trigger_price
    prices = [price]
    if ticket.order_type is OrderType.STOP_LIMIT:
        if not trigger.is_finite() or trigger <= 0:
            return Refused(Why.TRIGGER, f"{contract.symbol}: trigger price {trigger} is not above zero.")
        wrong_side = price < trigger if ticket.side is Side.BUY else price > trigger
        if wrong_side:
            return Refused(Why.TRIGGER, f"{contract.symbol}: price {price} is on the wrong side of trigger {trigger}.")
        prices.append(trigger)
    if any(each % contract.tick_size for each in prices):
        return Refused(Why.TICK, f"{contract.symbol}: price {price} is no multiple of the tick {contract.tick_size}.")
    if contract.upper_band and not all(contract.lower_band <= each <= contract.upper_band for each in prices):
        return Refused(
            Why.BAND,
            f"{contract.symbol}: price {price} is outside the day's band {contract.lower_band} to {contract.upper_band}.",
        )
    if ticket.quantity > contract.freeze_quantity:
        return Refused(
            Why.FREEZE,
            f"{contract.symbol}: quantity {ticket.quantity} is above the freeze quantity {contract.freeze_quantity}.",
        )
    return None


def margin_per_unit(contract: Contract, side: Side, product: Product, price: Decimal, spot: Decimal) -> Decimal:
    """Rupees blocked for a unit that opens a position."""
    if contract.kind is InstrumentKind.EQUITY:
        rates = {Product.MIS: INTRADAY_SHARE, Product.MTF: FUNDED_SHARE}
        return price * rates.get(product, Decimal(1))
    if contract.kind is InstrumentKind.FUTURE:
        return price * (INDEX_FUTURE if contract.on_index else SHARE_FUTURE)
    if side is Side.BUY:
        return price
    return spot * (INDEX_SHORT_OPTION if contract.on_index else SHARE_SHORT_OPTION)
