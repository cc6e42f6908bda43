"""Whether a process works, asked from outside: by `up` while it starts, by a container's health check.

``python -m mcube.probe url http://127.0.0.1:8000/ready``, ``... worker breeze``, ``... beat`` or ``... feeds`` ends
with status 0 when it does, and with 1 when it does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import django
import httpx
import redis
from celery.utils.nodenames import host_format
from django.conf import settings
from kombu.exceptions import OperationalError

from mcube import redis_trouble
from mcube.celery import app

SECONDS = 1.0


def url_answers(url: str) -> bool:
    """The address answers 200."""
    try:
        return httpx.get(url, timeout=SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def redis_answers() -> bool:
    """The queue server takes our password and answers."""
    return redis_trouble.find() is None


def worker_answers(queue: str) -> bool:
    """This machine's worker of the queue consumes."""
    try:
        return bool(app.control.ping(destination=[host_format(f"{queue}@%h")], timeout=SECONDS, limit=1))
    except (OperationalError, redis.RedisError):
        return False


def beat_ticks() -> bool:
    """Some beat holds the lock."""
    from mcube import beat

    try:
        return beat.holder(settings.REDIS_URL) is not None
    except redis.RedisError:
        return False


def feeds_are_kept() -> bool:
    """Somebody starts and watches the processes of the live feeds."""
    from mcube import feeds

    try:
        return feeds.is_watched(settings.REDIS_URL)
    except redis.RedisError:
        return False


def main(arguments: Sequence[str]) -> int:
    django.setup()
    match list(arguments):
        case ["url", url]:
            works = url_answers(url)
        case ["worker", queue]:
            works = worker_answers(queue)
        case ["beat"]:
            works = beat_ticks()
        case ["feeds"]:
            works = feeds_are_kept()
        case _:
            sys.stderr.write("Ask for one of: url ADDRESS, worker QUEUE, beat, feeds.\n")
            return 2
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
