"""One account's book: its orders, fills, positions and what they block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from brokers.domain.enums import Exchange, InstrumentKind, Product, Side
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Funds, HeldPosition, Refused, Ticket, Trade, Why
from brokers.simulator.checks import margin_per_unit
from brokers.simulator.contracts import Contract
from brokers.simulator.gtt_book import BookedGtt

PositionKey = tuple[Exchange, str, Product]
PriceOf = Callable[[Contract], Decimal]


@dataclass(kw_only=True, slots=True)
class _Totals:
    contract: Contract
    product: Product
    buy_quantity: int = 0
    sell_quantity: int = 0
    buy_amount: Decimal = Decimal(0)
    sell_amount: Decimal = Decimal(0)
    carried_buy_quantity: int = 0
    carried_sell_quantity: int = 0
    carried_buy_amount: Decimal = Decimal(0)
    carried_sell_amount: Decimal = Decimal(0)

    @property
    def net(self) -> int:
        return self.buy_quantity + self.carried_buy_quantity - self.sell_quantity - self.carried_sell_quantity

    def held(self, last_price: Decimal) -> HeldPosition:
        return HeldPosition(
            contract=self.contract,
            product=self.product,
            buy_quantity=self.buy_quantity,
            sell_quantity=self.sell_quantity,
            buy_amount=self.buy_amount,
            sell_amount=self.sell_amount,
            carried_buy_quantity=self.carried_buy_quantity,
            carried_sell_quantity=self.carried_sell_quantity,
            carried_buy_amount=self.carried_buy_amount,
            carried_sell_amount=self.carried_sell_amount,
            last_price=last_price,
        )


@dataclass(kw_only=True, slots=True)
class _Block:
    per_unit: Decimal
    #: Units of the order that open a position; the rest closes one and needs nothing.
    opening: int

    @property
    def amount(self) -> Decimal:
        return self.per_unit * self.opening


class AccountBook:
    """Everything of one account. ``price_of`` and ``spot_of`` give the market's present prices."""

    def __init__(self, account: SimulatedAccount, *, price_of: PriceOf, spot_of: PriceOf) -> None:
        self.account = account
        self.orders: dict[str, BookedOrder] = {}
        self.gtts: dict[str, BookedGtt] = {}
        self.trades: list[Trade] = []
        self.tags: set[str] = set()
        self.cash = account.funds
        self._price_of = price_of
        self._spot_of = spot_of
        self._totals: dict[PositionKey, _Totals] = {}
        self._blocks: dict[str, _Block] = {}
        #: By whether it is a derivative.
        self._blocked = {False: Decimal(0), True: Decimal(0)}

    # Margins

    def required(self, ticket: Ticket) -> Decimal:
        """What an order would block now, in rupees."""
        return self._block_of(ticket.contract, ticket.side, ticket.product, ticket.price, ticket.quantity).amount

    def objection(self, ticket: Ticket, *, released: Decimal = Decimal(0)) -> Refused | None:
        """Whether holdings or funds do not allow an order; ``released`` is what it blocks already."""
        if ticket.product is Product.CNC and ticket.side is Side.SELL:
            held = self._net(ticket.contract, Product.CNC) - self._claimed(ticket.contract, Product.CNC, Side.SELL)
            if held < ticket.quantity:
                return Refused(Why.HOLDING, f"{ticket.contract.symbol}: {held} held, {ticket.quantity} to be sold.")
        needed, available = self.required(ticket), self.funds().available + released
        if needed > available:
            return Refused(Why.MARGIN, f"Margin of {needed:.2f} needed, {available:.2f} available.")
        return None

    def block(self, order: BookedOrder) -> None:
        """Block what a live order needs, instead of what it blocked before."""
        self.release(order)
        remaining = order.remaining_quantity
        found = self._block_of(order.contract, order.side, order.product, order.price, remaining)
        self._blocks[order.order_id] = found
        self._blocked[order.contract.exchange.is_derivative] += found.amount

    def blocked_by(self, order: BookedOrder) -> Decimal:
        found = self._blocks.get(order.order_id)
        return found.amount if found else Decimal(0)

    def release(self, order: BookedOrder) -> None:
        found = self._blocks.pop(order.order_id, None)
        if found:
            self._blocked[order.contract.exchange.is_derivative] -= found.amount

    def _block_of(self, contract: Contract, side: Side, product: Product, price: Decimal, quantity: int) -> _Block:
        net = self._net(contract, product)
        closable = max(0, -net if side is Side.BUY else net)
        if closable:
            closable = max(0, closable - self._claimed(contract, product, side))
        if product is Product.CNC and side is Side.SELL:
            closable = quantity
        per_unit = margin_per_unit(contract, side, product, price, self._spot_of(contract))
        return _Block(per_unit=per_unit, opening=max(0, quantity - closable))

    def _net(self, contract: Contract, product: Product) -> int:
        totals = self._totals.get((contract.exchange, contract.symbol, product))
        return totals.net if totals else 0

    def _claimed(self, contract: Contract, product: Product, side: Side) -> int:
        """Units that live orders of the same side are to close already."""
        return sum(
            order.remaining_quantity - block.opening
            for order_id, block in self._blocks.items()
            if (order := self.orders[order_id]).side is side
            and order.product is product
            and order.contract.symbol == contract.symbol
            and order.contract.exchange is contract.exchange
        )

    # Fills and positions

    def apply(self, trade: Trade) -> None:
        """Count a fill; its order's quantities have been brought up to date before."""
        order, amount = trade.order, trade.price * trade.quantity
        self.trades.append(trade)
        totals = self._totals_of(order.contract, order.product)
        if order.side is Side.BUY:
            totals.buy_quantity += trade.quantity
            totals.buy_amount += amount
        else:
            totals.sell_quantity += trade.quantity
            totals.sell_amount += amount
        block = self._blocks.get(order.order_id)
        if block:
            before = block.amount
            block.opening = min(block.opening, order.remaining_quantity)
            self._blocked[order.contract.exchange.is_derivative] += block.amount - before

    def carry(self, contract: Contract, product: Product, quantity: int, price: Decimal) -> None:
        """Bring in a position from the day before; negative when short."""
        totals = self._totals_of(contract, product)
        if quantity > 0:
            totals.carried_buy_quantity += quantity
            totals.carried_buy_amount += price * quantity
        else:
            totals.carried_sell_quantity -= quantity
            totals.carried_sell_amount -= price * quantity

    def end_day(self) -> list[HeldPosition]:
        """Settle the day into cash and hand over the open positions, intraday ones dropped."""
        positions = self.positions()
        self.cash += self._realized()
        self._totals.clear()
        self._blocks.clear()
        self._blocked = {False: Decimal(0), True: Decimal(0)}
        return [each for each in positions if each.net_quantity and each.product is not Product.MIS]

    def _totals_of(self, contract: Contract, product: Product) -> _Totals:
        key = (contract.exchange, contract.symbol, product)
        return self._totals.setdefault(key, _Totals(contract=contract, product=product))

    def positions(self) -> list[HeldPosition]:
        return [totals.held(self._price_of(totals.contract)) for totals in self._totals.values()]

    def funds(self) -> Funds:
        held = {False: Decimal(0), True: Decimal(0)}
        for totals in self._totals.values():
            held[totals.contract.exchange.is_derivative] += self._held_margin(totals)
        return Funds(
            cash=self.cash,
            blocked_by_orders=self._blocked[False] + self._blocked[True],
            blocked_by_positions=held[False] + held[True],
            blocked_in_derivatives=self._blocked[True] + held[True],
            realized=self._realized(),
        )

    def _held_margin(self, totals: _Totals) -> Decimal:
        net = totals.net
        if not net or _settles_in_cash(totals.contract, totals.product, net):
            return Decimal(0)
        side = Side.BUY if net > 0 else Side.SELL
        average = totals.held(Decimal(0)).average_price
        spot = self._spot_of(totals.contract)
        return abs(net) * margin_per_unit(totals.contract, side, totals.product, average, spot)

    def _realized(self) -> Decimal:
        result = Decimal(0)
        for totals in self._totals.values():
            result += totals.sell_amount - totals.buy_amount
            if totals.contract.kind is not InstrumentKind.OPTION and totals.product is not Product.CNC:
                held = totals.held(Decimal(0))
                result += totals.carried_sell_amount - totals.carried_buy_amount
                result += held.net_quantity * held.average_price
        return result


def _settles_in_cash(contract: Contract, product: Product, net: int) -> bool:
    """Paid for in full: delivered shares and bought options."""
    return product is Product.CNC or (contract.kind is InstrumentKind.OPTION and net > 0)
