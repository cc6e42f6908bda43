"""A live feed: what an adapter brings, and what it tells whoever keeps it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, Quote


class FeedState(StrEnum):
    """Where a feed stands. The last two are the end of it: stop it and make another."""

    #: The broker has acknowledged everything it acknowledges.
    UP = "UP"
    #: The connection was cut, or none came about.
    DOWN = "DOWN"
    #: The broker does not take the session.
    REFUSED = "REFUSED"


class FeedListener(Protocol):
    """Who is told. Called from the feed's own threads, so nothing here may take long."""

    def on_tick(self, tick: Quote) -> None:
        """A price came; ``as_of`` is when."""

    def on_depth(self, depth: Depth) -> None:
        """The best prices of an instrument came; ``as_of`` is when."""

    def on_replaced(self, count: int) -> None:
        """So many ticks came faster than they could be read, and newer ones of their instruments took their place."""

    def on_order(self) -> None:
        """Something happened to an order, or may have been missed: read the book, which alone says what."""

    def on_state(self, state: FeedState, words: str) -> None:
        """The feed came up or ended; ``words`` say why in a sentence."""


class BrokerFeed(ABC):
    """One account's connections for prices and order events, of one session. It never connects a second time."""

    @abstractmethod
    def start(self, listener: FeedListener) -> None:
        """Connect in the background; the listener is told how it went."""

    @abstractmethod
    def subscribe(self, instruments: Sequence[Instrument], *, depth: bool = False) -> None:
        """Want ticks of these, at once or as soon as the feed is up, and their depth or, from now on, none of it."""

    @abstractmethod
    def unsubscribe(self, instruments: Sequence[Instrument]) -> None: ...

    @abstractmethod
    def stop(self) -> None:
        """Close the connections and end the threads; nothing is told afterwards."""
