"""What a load balancer, a container engine or `up` asks: is the web process alive, can it be used.

``/live``: the process answers and reaches its database. ``/ready``: tables are migrated and Redis
answers too. Both answer JSON, 200 or 503. Workers are no part of it: a person mends them through
these very pages, which must then not be taken out of service (``manage.py doctor`` tells of them).
"""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from health_check.base import HealthCheck, HealthCheckResult
from health_check.checks import Database
from health_check.contrib.redis import Redis
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView
from redis.asyncio import Redis as RedisClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

#: Seconds that Redis has to answer.
REDIS_PATIENCE = 0.25


class JsonHealthView(HealthCheckView):  # type: ignore[misc]
    """The library's checks, answered as JSON whatever the caller accepts, and 503 when one failed."""

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        results = await asyncio.gather(*(check.get_result() for check in self.get_checks()))
        failed = any(result.error for result in results)
        return JsonResponse(
            {
                "status": "failing" if failed else "ok",
                "checks": {type(result.check).__name__.lower(): _sentence(result) for result in results},
            },
            status=503 if failed else 200,
        )


@dataclasses.dataclass
class Store(Database):  # type: ignore[misc]
    """The database answers a SELECT."""

    timeout = timedelta(seconds=1)


@dataclasses.dataclass
class Migrations(HealthCheck):  # type: ignore[misc]
    """Every migration of the code is applied; asked until it is so, then remembered by the process."""

    timeout = timedelta(seconds=2)

    _seen_complete = False

    def run(self) -> None:
        if Migrations._seen_complete:
            return
        connection = connections[DEFAULT_DB_ALIAS]
        was_open = connection.connection is not None
        try:
            missing = missing_migrations()
        finally:
            if not was_open:
                connection.close()
        if missing:
            raise ServiceUnavailable(f"{missing} migrations are not applied; run `python manage.py migrate`.")
        Migrations._seen_complete = True


@dataclasses.dataclass
class Queue(Redis):  # type: ignore[misc]
    """Redis answers a PING."""

    timeout = timedelta(seconds=1)


def missing_migrations() -> int:
    """How many migrations of the code the database has not seen."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _redis() -> RedisClient:
    return RedisClient.from_url(
        settings.REDIS_URL,
        socket_timeout=REDIS_PATIENCE,
        socket_connect_timeout=REDIS_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


def _sentence(result: HealthCheckResult) -> str:
    return "ok" if result.error is None else str(result.error)


live = JsonHealthView.as_view(checks=[Store])
ready = JsonHealthView.as_view(checks=[Store, Migrations, (Queue, {"client_factory": _redis})])
