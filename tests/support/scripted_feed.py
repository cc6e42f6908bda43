"""A live feed that does what a test says, and remembers what it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from brokers.adapter_interface import SessionGrant
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, DepthLevel, Quote
from brokers.feed_interface import BrokerFeed, FeedListener, FeedState


class ScriptedFeed(BrokerFeed):
    """Tells nothing by itself."""

    def __init__(self, grant: SessionGrant) -> None:
        self.grant = grant
        self.carried: set[str] = set()
        #: Those whose depth is wanted.
        self.deep: set[str] = set()
        #: Each call, in order: whether it subscribed, and to what.
        self.asked: list[tuple[bool, Instrument]] = []
        self.stopped = False
        self.listener: FeedListener

    def start(self, listener: FeedListener) -> None:
        self.listener = listener

    def subscribe(self, instruments: Sequence[Instrument], *, depth: bool = False) -> None:
        self.asked += [(True, each) for each in instruments]
        symbols = {each.symbol for each in instruments}
        self.carried |= symbols
        self.deep = self.deep | symbols if depth else self.deep - symbols

    def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        self.asked += [(False, each) for each in instruments]
        self.carried -= {each.symbol for each in instruments}
        self.deep -= {each.symbol for each in instruments}

    def stop(self) -> None:
        self.stopped = True

    def up(self) -> None:
        self.listener.on_state(FeedState.UP, "The feed is up.")

    def tick(self, symbol: str, price: str, *, at: datetime, exchange: str = "NSE") -> None:
        self.listener.on_tick(Quote(symbol=symbol, exchange=exchange, last_price=Decimal(price), as_of=at))

    def show_depth(self, symbol: str, bid: str, ask: str, *, at: datetime, exchange: str = "NSE") -> None:
        sides = [(DepthLevel(price=Decimal(price), quantity=10),) for price in (bid, ask)]
        self.listener.on_depth(Depth(symbol=symbol, exchange=exchange, bids=sides[0], asks=sides[1], as_of=at))


class FeedMaker:
    """What stands for an adapter where only feeds are made."""

    def __init__(self) -> None:
        self.feeds: list[ScriptedFeed] = []
        #: Symbols that the broker's feed does not have.
        self.lacks: set[str] = set()

    def make_feed(self, grant: SessionGrant) -> ScriptedFeed:
        self.feeds.append(ScriptedFeed(grant))
        return self.feeds[-1]

    def check_feed(self, instrument: Instrument) -> None:
        if instrument.symbol in self.lacks:
            raise OrderDenied(f"The feed does not have {instrument.symbol}.")

    def close(self) -> None:
        pass

    def __call__(self, account: Any) -> Any:
        return self
