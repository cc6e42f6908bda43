"""What a feed tells, until it is taken: bounded, whatever comes and however slowly it is taken."""

from __future__ import annotations

import threading
from collections import deque

from brokers.domain.market import Depth, Quote
from brokers.feed_interface import FeedState
from brokers.feeds.ticks import News

#: Ticks that wait to be written. Beyond it the oldest go, but never the newest of an instrument.
MOST_WAITING = 20_000


class Intake:
    """The listener of one feed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._most = MOST_WAITING
        self._waiting: deque[News] = deque(maxlen=self._most)
        self._newest: dict[tuple[type[News], str, str], News] = {}
        self._order_waits = False
        #: How many ticks and depths came, and how many were not read or not written since they came too fast.
        self.came = 0
        self.dropped = 0
        self.is_up = False
        #: Why the feed ended; empty while it has not.
        self.ending = ""
        self.was_refused = False

    def on_tick(self, tick: Quote) -> None:
        self._note(tick)

    def on_depth(self, depth: Depth) -> None:
        self._note(depth)

    def on_replaced(self, count: int) -> None:
        with self._lock:
            self.came += count
            self.dropped += count

    def _note(self, news: News) -> None:
        with self._lock:
            self.came += 1
            self.dropped += len(self._waiting) == self._most
            self._waiting.append(news)
            self._newest[type(news), news.exchange, news.symbol] = news

    def on_order(self) -> None:
        self._order_waits = True

    def on_state(self, state: FeedState, words: str) -> None:
        if state is FeedState.UP:
            self.is_up = True
        else:
            self.was_refused = state is FeedState.REFUSED
            self.ending = words

    def take(self) -> tuple[list[News], list[News]]:
        """Everything that waits, in order, and the newest of each instrument and kind among it."""
        with self._lock:
            news, newest = list(self._waiting), list(self._newest.values())
            self._waiting.clear()
            self._newest.clear()
        return news, newest

    def take_order(self) -> bool:
        """Whether an order event came since the last time."""
        waits, self._order_waits = self._order_waits, False
        return waits
