"""What ``manage.py doctor`` looks at: each check says what it saw, and what to do when that is not right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import DatabaseError
from redis import RedisError

from brokers.domain.errors import BrokerError
from brokers.domain.redaction import scrub


class Level(StrEnum):
    OK = "OK"
    #: Works, with something a person should know or do soon.
    WARN = "WARN"
    #: Does not work.
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's report. Holds no secret."""

    level: Level
    name: str
    detail: str
    #: What to do, as a sentence; empty when all is well.
    remedy: str = ""


#: What a check of an ailing installation may run into.
AILMENTS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    BrokerError,
    DatabaseError,
    RedisError,
)

Check = Callable[[], Iterable[Finding]]


def ok(name: str, detail: str) -> Finding:
    return Finding(level=Level.OK, name=name, detail=detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    return Finding(level=Level.WARN, name=name, detail=detail, remedy=remedy)


def fail(name: str, detail: str, remedy: str) -> Finding:
    return Finding(level=Level.FAIL, name=name, detail=detail, remedy=remedy)


def examine(checks: Sequence[tuple[str, Check]], *, on_tables: Sequence[tuple[str, Check]] = ()) -> Iterator[Finding]:
    """Make every check; those ``on_tables`` only while nothing before has failed that they stand on.

    A check that breaks is itself a finding, and keeps none of the others from being made.
    """
    failed = set()
    for name, check in checks:
        for finding in _make(name, check):
            if finding.level is Level.FAIL:
                failed.add(name)
            yield finding
    missing = sorted(failed & {"database", "migrations"})
    for name, check in on_tables:
        if missing:
            yield warn(name, "not looked at", f"Mend the {missing[0]} first; then run the doctor again.")
        else:
            yield from _make(name, check)


def _make(name: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except AILMENTS as error:
        words = (scrub(str(error)).strip().splitlines() or [""])[0]
        yield fail(
            name,
            f"could not be checked: {type(error).__name__}: {words}",
            "Mend what the lines above name; then run the doctor again.",
        )


def all_checks() -> tuple[list[tuple[str, Check]], list[tuple[str, Check]]]:
    """The checks of the ground, and those that read the tables."""
    from mcube.diagnosis import feeds, machine, safety, stores, trading, workers

    return [
        ("Python", machine.python),
        ("settings", machine.settings_agree),
        ("mode", machine.mode),
        ("MCUBE_HOME", machine.home),
        ("clock", machine.clock),
        ("SDKs", machine.sdks),
        ("simulators", machine.simulators),
        ("database", stores.database),
        ("migrations", stores.migrations),
        ("Redis", stores.queue_server),
        ("queues", workers.queues),
        ("workers", workers.answering),
    ], [
        ("beat", workers.beat_alive),
        ("schedule", workers.scheduled),
        ("encryption keys", trading.encryption),
        ("accounts", trading.accounts),
        ("credentials", trading.credentials),
        ("sessions", trading.sessions),
        ("calls of the day", trading.calls),
        ("live feeds", feeds.live_feeds),
        ("instruments", trading.instruments),
        ("calendar", trading.calendar),
        ("calendar", trading.unverified_hours),
        ("clock drift", safety.clock_drift),
        ("start-up barrier", safety.start_up_barrier),
        ("kill switch", safety.kill_switches),
        ("alerts", safety.alerts),
        ("orders", safety.orders),
    ]
