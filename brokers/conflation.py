"""A queue for what is worth most when it is new: in order while it is short, the newest of each thing once it is long."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ConflatingQueue(Generic[T]):
    """Holds everything up to ``limit`` items; beyond it, until it is empty again, the newest of each key takes the place
    of the one that waits. It is never longer than ``limit`` and the number of keys. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, T] = OrderedDict()
        self._put = 0
        self._is_long = False
        self._replaced = 0

    def put(self, key: Hashable, item: T) -> None:
        with self._lock:
            self._put += 1
            self._is_long = self._is_long or len(self._waiting) >= self._limit
            place: Hashable = key if self._is_long else (key, self._put)
            self._replaced += place in self._waiting
            # The place in the line stays, so that what ticks often does not wait for ever.
            self._waiting[place] = item

    def take(self) -> T | None:
        """What has waited longest; None when nothing does."""
        with self._lock:
            if not self._waiting:
                self._is_long = False
                return None
            return self._waiting.popitem(last=False)[1]

    def take_replaced(self) -> int:
        """How many were replaced by newer ones since the last time."""
        with self._lock:
            replaced, self._replaced = self._replaced, 0
        return replaced

    def __len__(self) -> int:
        return len(self._waiting)
