"""How an account's live feed stands, as the process that keeps it tells everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedLife:
    """Signs of life of one account's feed. Holds no secret."""

    state: State
    #: Why it is down, as a sentence; empty while it is up.
    words: str
    #: Since when it has been up or down (aware UTC, the market's time).
    since: datetime
    #: Instruments that are carried, how many of them have ticked since the feed began, and how many with depth.
    instruments: int
    heard: int
    depths: int
    #: Instruments that are wished for and that today's instruments, or the broker's feed, do not have.
    unknown: int
    #: Ticks and depths: since the process began, in the last second or so, and those too fast for their streams.
    ticks: int
    per_second: float
    dropped: int
    #: When the newest came; None before the first.
    last_at: datetime | None = None
    #: Seconds without any while an exchange of a carried instrument is open; 0 while none is.
    silent_seconds: float
    at: datetime

    @property
    def is_up(self) -> bool:
        return self.state is State.UP
