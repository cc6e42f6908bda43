"""Fixtures for every test. The surroundings are settled by ``tests.support.environment`` before this is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.apps import apps
from django.db import connection
from django.db.models.signals import post_migrate

from brokers import calendar, calendar_seed, sessions, shared_reads
from brokers import limits as calls
from brokers.risk import limits, quotes


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The tests' own queue server."""
    return os.environ["MCUBE_REDIS_URL"]


@pytest.fixture(autouse=True)
def logins_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests log in more often in a second than a broker lets one account; the count is tested in processes of its own."""
    monkeypatch.setattr(sessions, "LOGIN_CALLS", 0)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Let no test be judged by the quotes, reads, limits and days of the one before, which live a second and more."""
    yield
    calendar.forget()
    limits.forget()
    calls.forget()
    board = quotes.board()
    if board._known:
        with redis.Redis.from_url(os.environ["MCUBE_REDIS_URL"]) as client:
            client.delete(*board._known)
        board.forget()
    if shared_reads._flights.cache_info().currsize:
        shared_reads._flights.cache_clear()
        with redis.Redis.from_url(os.environ["MCUBE_REDIS_URL"]) as client:
            client.delete(*client.scan_iter("mcube:reads:*"), "mcube:reads")


def _seed_calendar(**_: Any) -> None:
    from brokers.models import HolidayList, SessionRule, SpecialDay

    calendar_seed.seed(SessionRule, SpecialDay, HolidayList)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Lets a test that commits be cleaned up after, although the database refuses to delete order events.

    Django empties tables with DELETE on SQLite; the triggers that refuse it are set aside for that moment.
    On PostgreSQL it truncates, which they do not see. The calendar, which migrations seed, is seeded again.
    """
    post_migrate.connect(_seed_calendar, sender=apps.get_app_config("brokers"))
    if connection.vendor != "sqlite":
        return
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        triggers = cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    flush = connection.ops.sql_flush

    def flush_past_triggers(*args: Any, **options: Any) -> list[str]:
        statements: list[str] = flush(*args, **options)
        if not statements:
            return statements
        return [
            *(f'DROP TRIGGER IF EXISTS "{name}"' for name, _ in triggers),
            *statements,
            *(definition for _, definition in triggers),
        ]

    connection.ops.sql_flush = flush_past_triggers  # type: ignore[method-assign]
