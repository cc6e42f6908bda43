"""What keeps things: the database with the ledger, and Redis with the queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import redis
from django.conf import settings
from django.db import DatabaseError, connection

from brokers.domain.redaction import scrub
from mcube import health, overview, redis_trouble
from mcube.diagnosis import Finding, fail, ok, warn

#: SQLite's number for synchronous=FULL.
SYNCHRONOUS_FULL = 2


def database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        yield _sqlite() if connection.vendor == "sqlite" else _postgresql()
    except DatabaseError as error:
        reason = scrub(str(error)).strip().splitlines()
        yield fail(
            "database",
            f"does not answer: {reason[0] if reason else type(error).__name__}",
            "Start the server that DATABASE_URL names, or mend the address; without one SQLite in MCUBE_HOME is used.",
        )


def _sqlite() -> Finding:
    with connection.cursor() as cursor:
        values = {}
        for pragma in ("journal_mode", "synchronous", "foreign_keys"):
            cursor.execute(f"PRAGMA {pragma}")
            values[pragma] = cursor.fetchone()[0]
    name = settings.DATABASES["default"]["NAME"]
    if values != {"journal_mode": "wal", "synchronous": SYNCHRONOUS_FULL, "foreign_keys": 1}:
        wrong = ", ".join(f"{pragma}={value}" for pragma, value in values.items())
        return fail(
            "database",
            f"SQLite {name} is not safe against a power cut: {wrong}",
            "Keep the database on a local disk, and leave the PRAGMAs of mcube/settings.py as they are.",
        )
    return ok("database", f"SQLite {name}, WAL, synchronous=FULL")


def _postgresql() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        durable = cursor.fetchone()[0]
    if durable == "off":
        return fail(
            "database",
            "PostgreSQL answers a commit before it is on disk (synchronous_commit=off)",
            "Set synchronous_commit=on for this database; a send must never outlive its record.",
        )
    return ok("database", f"PostgreSQL, synchronous_commit={durable}")


def migrations() -> Iterator[Finding]:
    missing = health.missing_migrations()
    if missing:
        yield fail("migrations", f"{missing} are not applied", "Run `python manage.py migrate`.")
    else:
        yield ok("migrations", "all are applied")


def queue_server() -> Iterator[Finding]:
    try:
        with overview.connect() as client:
            info = cast("dict[str, Any]", client.info())
    except redis.RedisError as error:
        trouble = redis_trouble.explain(error)
        yield fail("Redis", trouble.what, trouble.remedy)
        return
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
    if limit and policy != "noeviction":
        yield fail(
            "Redis",
            f"throws away messages when its memory is full (maxmemory-policy {policy})",
            "Set maxmemory-policy noeviction on the server.",
        )
    elif not int(info.get("aof_enabled", 0)):
        yield warn(
            "Redis",
            "keeps no append-only file: what waits is forgotten when it restarts",
            "Set appendonly yes on the server. No order is lost without it, since the ledger rings again.",
        )
    else:
        yield ok(
            "Redis", f"{info.get('server_name', 'redis')} {info.get('redis_version')}, append-only file, no eviction"
        )
