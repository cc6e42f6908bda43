"""What a broker lets one account ask for: held against what its simulator counted, and kept to without a gateway."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from brokers.wire import Wire, WireReply
from tests.support.processes import wait_for

#: By broker and the simulator's name of a count: the most calls of any kind. Breeze: api.icicidirect.com/breezeapi/documents;
#: Kotak Neo: "10 requests/second across APIs", its FAQ. Both read 2026-11-22.
CALLS: dict[str, dict[str, int]] = {
    "breeze": {"max_in_minute": 100, "max_in_day": 5000},
    "kotakneo": {"max_in_second": 10},
}
#: Requests that place, modify or cancel: NSE/INVG/67858 of 2025-05-05, for who has registered no algorithm.
ORDERS = {"max_in_second": 10}


def check(broker: str, counters: Mapping[str, Any], *, time_leaps: bool = False) -> None:
    """Hold what ``GET /_sim/counters`` of a broker's face says against what the broker takes.

    Where the wall's time leaps from moment to moment, no second passes in which calls could be spread.

    :raises AssertionError: an account passed a limit; the message names each.
    """
    passed = [
        f"{broker}/{user_id} made {counted[sort][name]} {sort} by {name}; {most} are allowed."
        for user_id, counted in counters.items()
        for sort, limits in (("calls", CALLS[broker]), ("orders", ORDERS))
        for name, most in limits.items()
        if counted[sort][name] > most and not (time_leaps and name == "max_in_second")
    ]
    assert not passed, passed


class Pace:
    """The calls of one account in a window that slides; one that does not fit waits for its turn."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        # As a call arrives a moment after its turn.
        self._seconds = seconds + 0.2
        self._made: deque[float] = deque()

    def take_turn(self) -> None:
        wait_for(self._has_room, "room for a call", seconds=2 * self._seconds)
        self._made.append(time.monotonic())

    def _has_room(self) -> bool:
        while self._made and self._made[0] <= time.monotonic() - self._seconds:
            self._made.popleft()
        return len(self._made) < self._limit


class PacedWire(Wire):
    """For an adapter without a gateway, which would keep it to its account's limits."""

    def __init__(self, pace: Pace, **options: Any) -> None:
        super().__init__(**options)
        self._pace = pace

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> WireReply:
        # Without an open call the wire opens one and comes back here.
        if self.trace is not None:
            self._pace.take_turn()
        return super().request(method, url, headers, body)
