"""A trader who has a broker keep orders until a price is reached, and the price in the trader's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from brokers.adapter_interface import BrokerAdapter
from brokers.clock import trading_day
from brokers.domain.enums import Product, Side
from brokers.domain.gtt import (
    Gtt,
    GttAck,
    GttCancel,
    GttChange,
    GttEntry,
    GttKind,
    GttRequest,
    GttRole,
    GttTrigger,
)
from brokers.domain.instruments import Instrument
from tests.contract.world import MARKET_TIME, Trader

TODAY = trading_day(MARKET_TIME)
#: The event of the truth log that shows that a mutation took effect.
EVENT_OF = {"gtt_place": "gtt_accepted", "gtt_modify": "gtt_modified", "gtt_cancel": "gtt_cancelled"}


@dataclass
class Desk:
    """A trader at a broker that keeps GTTs, and one option whose price the test holds."""

    trader: Trader

    @cached_property
    def adapter(self) -> BrokerAdapter:
        return self.trader.adapter

    @property
    def option(self) -> Instrument:
        return self.trader.put

    @cached_property
    def price(self) -> Decimal:
        """The option's price in rupees before anybody moved it."""
        last = self.adapter.fetch_quote(self.option).last_price
        assert last is not None
        return last

    def at(self, rupees: int) -> Decimal:
        """A price so many rupees from where the market was."""
        return self.price + rupees

    def move(self, price: Decimal | None) -> None:
        """Hold the option's price; None lets it go."""
        body = {"exchange": "NFO", "symbol": self.option.symbol, "price": None if price is None else str(price)}
        self.trader.simulator.ask(self.trader.spec.name, "POST", "price", body)

    def trigger(self, role: GttRole, side: Side, trigger: int, limit: int) -> GttTrigger:
        return GttTrigger(role=role, side=side, trigger_price=self.at(trigger), limit_price=self.at(limit))

    def single(self, **changes: Any) -> GttRequest:
        """To buy one lot when it has become ten rupees cheaper."""
        made = GttRequest(
            instrument=self.option,
            product=Product.NRML,
            quantity=self.option.lot_size or 0,
            triggers=(self.trigger(GttRole.ORDER, Side.BUY, -10, -12),),
        )
        return replace(made, **changes)

    def three_leg(self, **changes: Any) -> GttRequest:
        """To buy one lot five rupees cheaper, and to sell it ten rupees from where the market is."""
        made = self.single(
            triggers=(
                self.trigger(GttRole.TARGET, Side.SELL, 10, 8),
                self.trigger(GttRole.STOP, Side.SELL, -10, -12),
            ),
            entry=GttEntry(side=Side.BUY, limit_price=self.at(-5)),
        )
        return replace(made, **changes)

    def request(self, kind: GttKind) -> GttRequest:
        return self.single() if kind is GttKind.SINGLE else self.three_leg()

    def change(self, gtt_id: str, request: GttRequest) -> GttChange:
        """Every price one rupee higher."""
        return GttChange(
            gtt_order_id=gtt_id,
            kind=request.kind,
            instrument=request.instrument,
            triggers=tuple(
                replace(each, trigger_price=each.trigger_price + 1, limit_price=each.limit_price + 1)
                for each in request.triggers
            ),
        )

    def cancel(self, gtt_id: str, request: GttRequest) -> GttCancel:
        return GttCancel(gtt_order_id=gtt_id, kind=request.kind, instrument=request.instrument)

    def alter(self, verb: str, gtt_id: str, request: GttRequest) -> Callable[[BrokerAdapter], GttAck]:
        """A change or a cancel, ready to be sent."""
        if verb == "gtt_modify":
            return lambda adapter: adapter.alter_gtt(self.change(gtt_id, request))
        return lambda adapter: adapter.withdraw_gtt(self.cancel(gtt_id, request))

    def mutation(self, verb: str, kind: GttKind = GttKind.SINGLE) -> Callable[[BrokerAdapter], GttAck]:
        """One of :data:`EVENT_OF`, ready to be sent; what it needs is at the broker already."""
        request = self.request(kind)
        if verb == "gtt_place":
            return lambda adapter: adapter.submit_gtt(request)
        return self.alter(verb, self.adapter.submit_gtt(request).gtt_order_id, request)

    def book(self, first: date = TODAY, last: date = TODAY) -> list[Gtt]:
        return self.adapter.fetch_gtts(first, last)

    def only(self) -> Gtt:
        [gtt] = self.book()
        return gtt
