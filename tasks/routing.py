"""Which queue a call goes to, and who goes first in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from brokers.discovery import spec_of


class Priority(IntEnum):
    """Order inside a queue; Redis serves the lowest number first."""

    URGENT = 0  # cancels, and orders that only reduce a position
    ORDER = 3
    SESSION = 6
    READ = 9  # the only ones that may be kept waiting while reads fill their share of a worker


def route(
    name: str, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any], task: Any = None, **_: Any
) -> dict[str, str] | None:
    """Send a call to the queue of the broker it names; without one it stays on mcube's own.

    A queue that the caller states wins over this one.

    :raises AccountNotFound: there is no such broker; nothing is published.
    """
    if kwargs is None or "broker" not in kwargs:
        return None
    return {"queue": spec_of(kwargs["broker"]).name}
