"""Messages signed with a key that the queue server does not have, so that who writes into a queue cannot have them run.

A signed body is JSON behind the HMAC of it. The body of a task also says what its headers say, since these are not part
of it: a body that was signed for one call is no other call.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from celery.signals import before_task_publish
from django.conf import settings
from kombu import serialization
from kombu.utils import json

#: By this name Celery's settings ask for it.
SERIALIZER = "signed-json"
CONTENT_TYPE = "application/x-mcube-signed-json"
SEPARATOR = "\n"
#: Under it a body keeps the headers it was signed with.
KEPT = "signed_for"
HEADERS = ("task", "id", "eta", "expires")


class Forged(ValueError):
    """No key of ours signed this."""


def register() -> None:
    """Make the serializer known to this process, and have bodies say what they are signed for."""
    serialization.register(SERIALIZER, dumps, loads, content_type=CONTENT_TYPE, content_encoding="utf-8")
    before_task_publish.connect(_keep_headers)


def serializer_settings() -> dict[str, Any]:
    """Celery's settings for what is sent and what is taken: signed messages only, or plain JSON only."""
    name = SERIALIZER if settings.SIGNING_KEYS else "json"
    return {"task_serializer": name, "event_serializer": name, "accept_content": [name]}


def dumps(content: Any) -> str:
    """JSON, signed with the newest key."""
    body = json.dumps(content)
    return _signature(settings.SIGNING_KEYS[0], body.encode()) + SEPARATOR + body


def loads(text: str | bytes) -> Any:
    """What was signed with one of the keys.

    :raises Forged: it was not.
    """
    signature, _, body = (text if isinstance(text, str) else text.decode()).partition(SEPARATOR)
    signed = body.encode()
    if not any(
        hmac.compare_digest(_signature(key, signed).encode(), signature.encode()) for key in settings.SIGNING_KEYS
    ):
        raise Forged("No key of MCUBE_SIGNING_KEYS signed this message.")
    return json.loads(body)


def is_for(headers: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a task's body, whose third part is ``options``, was signed for a call with these headers."""
    return not settings.SIGNING_KEYS or options.get(KEPT) == _kept(headers)


def _keep_headers(body: Any = None, headers: Mapping[str, Any] | None = None, **_: object) -> None:
    if settings.SIGNING_KEYS and headers is not None:
        body[2][KEPT] = _kept(headers)


def _kept(headers: Mapping[str, Any]) -> list[Any]:
    return [headers.get(name) for name in HEADERS]


def _signature(key: str, body: bytes) -> str:
    return hmac.digest(key.encode(), body, "sha256").hex()
