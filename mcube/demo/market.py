"""What the demo's script knows of one broker's side: contracts, prices, and the simulator's controls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
from django.conf import settings

from brokers import instruments
from brokers.clock import configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import InstrumentKind, OptionRight, Side
from brokers.domain.instruments import Instrument
from brokers.factory import BrokerFactory
from brokers.models import InstrumentRecord

UNDERLYING = "NIFTY"
#: Strikes of the strangle, rupees from the future's price.
DISTANCE = Decimal(300)
TIME_TO_EXPIRY = timedelta(days=7)
#: Away from the market, as a part of the price: an order there rests however the price moves meanwhile.
#: An option's price moves many times as much as its underlying's; the price collar is 25 percent wide.
FAR, FAR_OPTION = Decimal("0.04"), Decimal("0.2")
#: Through the market: an order there trades at once.
NEAR = Decimal("0.1")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One order that the exchange really accepted, as it now is."""

    broker: str
    order_id: str
    symbol: str
    side: str
    quantity: int
    filled_quantity: int
    state: str
    tag: str


class Market:
    """One broker, seen by the strategy and by the person at the simulator."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self._url = settings.BROKER_URLS[broker]

    @classmethod
    def where(cls, *, echoes_tag: bool) -> Market:
        """The first broker that does, or does not, echo the tag of an order in its book."""
        return cls(next(name for name, spec in specs().items() if spec.capabilities.echoes_client_tag is echoes_tag))

    def strangle_and_future(self) -> tuple[Instrument, Instrument, Instrument]:
        """A call above and a put below the future of the nearest month that has a week to go, and that future.

        :raises LookupError: the instruments of today do not list them.
        """
        listed = InstrumentRecord.objects.filter(edition__is_current=True, underlying=UNDERLYING)
        soonest = trading_day(configured_clock().now()) + TIME_TO_EXPIRY
        future = listed.filter(kind=InstrumentKind.FUTURE, expiry__gte=soonest).order_by("expiry").first()
        if future is None:
            raise LookupError(f"The instruments of today list no future of {UNDERLYING}.")
        middle = self._quote(self.find(future.symbol))
        options = listed.filter(kind=InstrumentKind.OPTION, expiry=future.expiry)
        call = options.filter(right=OptionRight.CALL, strike__gte=middle + DISTANCE).order_by("strike").first()
        put = options.filter(right=OptionRight.PUT, strike__lte=middle - DISTANCE).order_by("-strike").first()
        if call is None or put is None:
            raise LookupError(f"The instruments of today list no strangle around {middle} of {UNDERLYING}.")
        return self.find(call.symbol), self.find(put.symbol), self.find(future.symbol)

    def find(self, symbol: str) -> Instrument:
        return instruments.lookup().resolve(symbol)

    def far_price(self, instrument: Instrument, side: Side) -> Decimal:
        """A price at which the order rests."""
        distance = FAR_OPTION if instrument.kind is InstrumentKind.OPTION else FAR
        away = 1 + distance if side is Side.SELL else 1 - distance
        return self._on_tick(instrument, self._quote(instrument) * away)

    def near_price(self, instrument: Instrument, side: Side) -> Decimal:
        """A price at which the order trades at once."""
        through = 1 - NEAR if side is Side.SELL else 1 + NEAR
        return self._on_tick(instrument, self._quote(instrument) * through)

    def fill(self, order_id: str, quantity: int) -> None:
        """Let somebody trade with a resting order."""
        self._control("fill", {"order_id": order_id, "quantity": quantity})

    def drop_next_reply(self) -> None:
        """Let the next order take effect, and close the connection instead of answering."""
        self._control("faults", {"endpoint": "place", "kind": "drop", "when": "after", "count": 1})

    def truth(self) -> list[Truth]:
        """Every order that the exchange really accepted from this broker."""
        latest: dict[str, dict[str, Any]] = {}
        for line in httpx.get(f"{self._url}/_sim/truth", trust_env=False).raise_for_status().text.splitlines():
            event = json.loads(line)
            if event["broker"] == self.broker and "order_id" in event:
                latest[event["order_id"]] = event
        names = Truth.__dataclass_fields__
        return [Truth(**{name: event[name] for name in names}) for event in latest.values()]

    def _control(self, what: str, body: dict[str, Any]) -> None:
        httpx.post(f"{self._url}/_sim/{what}", json=body, trust_env=False).raise_for_status()

    def _quote(self, instrument: Instrument) -> Decimal:
        quote = BrokerFactory.get_broker(self.broker).get_quote(instrument.symbol, instrument.exchange.value)
        if quote.last_price is None:
            raise LookupError(f"{self.broker} states no price of {instrument.symbol}.")
        return quote.last_price

    @staticmethod
    def _on_tick(instrument: Instrument, price: Decimal) -> Decimal:
        tick = instrument.tick_size or Decimal("0.05")
        return (price / tick).quantize(Decimal(1)) * tick
