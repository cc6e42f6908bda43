"""Messages that are no call of a task are put aside before they can end a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.strategy import default

from mcube import signing


def careful(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's strategy, for messages that are shaped like a call; it ends the worker over any other one.

    What is refused is logged and acknowledged, as Celery does with what it cannot decode, so that it does not come again.
    """
    handle = default(task, app, consumer, **options)

    def on_message(message: Any, body: Any, *rest: Any, **more: Any) -> Any:
        if not is_call(message.payload):
            return consumer.on_decode_error(
                message, ValueError("The body is not arguments, named arguments and options.")
            )
        if not signing.is_for(message.headers, message.payload[2]):
            return consumer.on_decode_error(message, signing.Forged("The body was signed for another call."))
        return handle(message, body, *rest, **more)

    return on_message


def is_call(payload: object) -> bool:
    """Whether a decoded body is what version 2 of Celery's protocol says: a list, and two objects."""
    return (
        isinstance(payload, list | tuple)
        and len(payload) == 3
        and isinstance(payload[0], list | tuple)
        and isinstance(payload[1], dict)
        and isinstance(payload[2], dict)
    )
