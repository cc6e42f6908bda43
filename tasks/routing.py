"""Which queue a call goes to, and who goes first in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from brokers.discovery import spec_of
from mcube.processes import OWN_QUEUE


class Priority(IntEnum):
    """Order inside a queue; Redis serves the lowest number first."""

    URGENT = 0  # cancels, and orders that only reduce a position
    ORDER = 3
    SESSION = 6
    READ = 9  # the only ones that may be kept waiting while reads fill their share of a worker


def route(
    name: str, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any], task: Any = None, **_: Any
) -> dict[str, Any]:
    """Send a call to the queue of the broker it names, without one to mcube's own, at its task's rank.

    A queue or a priority that the caller states wins over these.

    :raises AccountNotFound: there is no such broker; nothing is published.
    """
    queue = spec_of(kwargs["broker"]).name if kwargs and "broker" in kwargs else OWN_QUEUE
    return {"queue": queue, "priority": int(getattr(task, "rank", Priority.READ))}
