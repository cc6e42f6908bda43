"""What every task of mcube has in common."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from celery.worker.request import Request

from brokers.domain.errors import BrokerUnavailable, RateLimited, UnreadableReply
from tasks.routing import Priority

log = logging.getLogger("mcube.tasks")

#: Arguments that may be shown in logs, events and Flower. Everything else stays in the message.
SHOWN = ("broker", "account", "intent_id", "plan_id", "client_order_id", "order_id", "slot_at", "cadence_seconds")


class RedactedRequest(Request):
    """A request that shows identifiers only, whatever its publisher wrote about its arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._argsrepr = "()"
        given = self.kwargs or {}
        self._kwargsrepr = repr({name: given[name] for name in SHOWN if name in given})

    def info(self, safe: bool = False) -> Any:
        """What ``inspect`` tells of this request: never the real arguments."""
        return super().info(safe=True)


class BaseTask(Task):  # type: ignore[type-arg]
    """Keyword-only, JSON, no result. Subclasses say how the call is acknowledged and who goes first."""

    abstract = True
    Request: str = "tasks.base:RedactedRequest"
    Strategy: str = "tasks.messages:careful"
    ignore_result = True
    store_errors_even_if_ignored = False
    acks_late: bool = False
    #: Who goes first in the queue, unless the call says otherwise.
    rank: Priority = Priority.READ

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish the call.

        :raises TypeError: an argument was given by position.
        """
        if args:
            raise TypeError(f"{self.name} takes its arguments by name, e.g. broker=..., account=...")
        return super().apply_async(args, kwargs, *rest, **options)


class PollTask(BaseTask):
    """A read that is due again soon: acknowledged late, never repeated. What is missed comes with the next slot."""

    abstract = True
    acks_late = True


class ReadTask(PollTask):
    """A read that somebody asked for. A transient fault is tried again until the call expires, never later."""

    abstract = True
    expires = 30
    autoretry_for = (BrokerUnavailable, RateLimited)
    dont_autoretry_for = (UnreadableReply,)
    max_retries = 3
    retry_backoff = 1
    retry_backoff_max = 8
    retry_jitter = True
