"""Breeze's rate feed and its order feed as one, over the SDK's own sockets (1.0.69, read and tried 2026-11-28).

The SDK refuses to subscribe for good after one failed try to reconnect; here a cut is the end of the feed. Order events are hints: their fields are shifted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime

from brokers.adapter_interface import AdapterContext
from brokers.adapters.breeze import building, parsing_feed
from brokers.adapters.breeze.feed_socket import FeedCut, FeedRefused, FeedSocket, Prices
from brokers.adapters.breeze.sdk import Client
from brokers.domain.errors import NotSent, UnreadableReply
from brokers.domain.instruments import Instrument
from brokers.feed_interface import BrokerFeed, FeedListener, FeedState

log = logging.getLogger("brokers.breeze.feed")

STOP_SECONDS = 5.0
#: Tokens in one message of a subscription.
TOKENS_A_MESSAGE = 500


class BreezeFeed(BrokerFeed):
    """One thread that opens two sockets and subscribes; what comes is handled in the sockets' threads."""

    def __init__(self, context: AdapterContext, client: Client) -> None:
        self._context = context
        self._client = client
        self._lock = threading.Lock()
        self._wanted: dict[str, Instrument] = {}
        self._sent: dict[str, Instrument] = {}
        self._changed = threading.Event()
        self._ending = ""
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, listener: FeedListener) -> None:
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name=f"feed-{self._context.account}", daemon=True)
        self._thread.start()

    def subscribe(self, instruments: Sequence[Instrument], *, depth: bool = False) -> None:
        with self._lock:
            self._wanted |= {building.feed_token(each): each for each in instruments}
            for each in instruments:
                token = building.feed_token(each, depth=True)
                if depth:
                    self._wanted[token] = each
                else:
                    self._wanted.pop(token, None)
        self._changed.set()

    def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        with self._lock:
            for each in instruments:
                self._wanted.pop(building.feed_token(each), None)
                self._wanted.pop(building.feed_token(each, depth=True), None)
        self._changed.set()

    def stop(self) -> None:
        self._stopped = True
        self._end("stopped")
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    # Inside

    def _run(self) -> None:
        state, words = FeedState.DOWN, ""
        sockets: list[FeedSocket] = []
        try:
            prices = Prices(self._on_rates, self._listener.on_replaced, self._context.clock.now)
            rates = self._client.rate_socket(prices, lambda: self._end("Breeze's rate feed was cut."))
            sockets.append(rates)
            sockets.append(self._client.order_socket(self._on_order, lambda: self._end("Breeze's order feed was cut.")))
            self._tell(FeedState.UP, "Breeze's feeds are up.")
            # What happened while nobody listened is not told again.
            self._listener.on_order()
            self._keep(rates)
            words = self._ending
        except FeedRefused:
            state, words = FeedState.REFUSED, "Breeze's feed does not take the session; log in again."
        except (FeedCut, NotSent) as error:
            words = f"Breeze's feeds cannot be reached: {error}"
        finally:
            for socket in sockets:
                socket.close()
            self._tell(state, words or "Breeze's feeds ended.")

    def _keep(self, rates: FeedSocket) -> None:
        """Subscribe to what is wanted, until the feed ends."""
        while not self._ending:
            self._changed.clear()
            with self._lock:
                wanted = dict(self._wanted)
            gone = [token for token in self._sent if token not in wanted]
            new = [token for token in wanted if token not in self._sent]
            # Before they are sent, since ticks may come before the next line is run. Those sent already may be wanted for
            # another instrument by now.
            self._sent |= wanted
            for event, tokens in (("leave", gone), ("join", new)):
                for start in range(0, len(tokens), TOKENS_A_MESSAGE):
                    rates.emit(event, tokens[start : start + TOKENS_A_MESSAGE])
            for token in gone:
                self._sent.pop(token, None)
            if not self._ending:
                self._changed.wait()

    def _on_rates(self, row: object, came_at: datetime) -> None:
        token = parsing_feed.token(row)
        instrument = self._sent.get(token)
        if instrument is None or self._stopped or not isinstance(row, list):
            return
        try:
            if parsing_feed.is_depth(token):
                self._listener.on_depth(parsing_feed.depth(row, instrument, as_of=came_at))
            elif tick := parsing_feed.quote(row, instrument, as_of=came_at):
                self._listener.on_tick(tick)
        except UnreadableReply as error:
            log.warning("%s", error)

    def _on_order(self, _: object) -> None:
        if not self._stopped:
            self._listener.on_order()

    def _tell(self, state: FeedState, words: str) -> None:
        if not self._stopped:
            self._listener.on_state(state, words)

    def _end(self, words: str) -> None:
        self._ending = self._ending or words
        self._changed.set()
