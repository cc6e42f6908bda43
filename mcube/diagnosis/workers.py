"""The processes: queues that drain, workers that answer, one beat that ticks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import redis
from django.conf import settings
from django.db.models import Max
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from brokers.clock import IST
from mcube import beat, overview, processes, schedule
from mcube.celery import app
from mcube.diagnosis import Finding, fail, ok, warn

#: Messages in one queue beyond which a worker does not keep up.
LONG_QUEUE = 200
#: Seconds that workers have to answer.
PATIENCE = 1.0
#: django-celery-beat writes what it ran every few minutes.
BEAT_SILENCE = timedelta(minutes=10)


def queues() -> Iterator[Finding]:
    depths = overview.queue_depths()
    if depths is None:
        yield fail("queues", "Redis does not answer", "See the line about Redis.")
        return
    long = {name: depth for name, depth in depths.items() if depth > LONG_QUEUE}
    shown = ", ".join(f"{name} {depth}" for name, depth in depths.items())
    if long:
        yield warn("queues", f"{shown} messages wait", "See whether the workers of the long ones answer, below.")
    else:
        yield ok("queues", f"{shown} messages wait")


def answering() -> Iterator[Finding]:
    """Whether each queue has a worker that answers within a second."""
    taken = consumers()
    if taken is None:
        yield fail("workers", "cannot be asked, since Redis does not answer", "See the line about Redis.")
        return
    for queue in processes.queues():
        names = [worker for worker, consumed in taken.items() if queue in consumed]
        if names:
            yield ok("workers", f"{queue}: {', '.join(sorted(names))}")
        else:
            yield fail(
                "workers",
                f"none takes the queue {queue}",
                f"Run `make up`, or `.venv/bin/python -m celery -A mcube worker -Q {queue}`.",
            )


def consumers(patience: float = PATIENCE) -> dict[str, list[str]] | None:
    """The queues of each worker that answers in ``patience`` seconds; None when Redis does not."""
    try:
        answers = app.control.inspect(timeout=patience).active_queues() or {}
    except (OperationalError, redis.RedisError, OSError):
        return None
    return {worker: [queue["name"] for queue in consumed] for worker, consumed in answers.items()}


def beat_alive() -> Iterator[Finding]:
    try:
        holder = beat.holder(settings.REDIS_URL)
    except redis.RedisError:
        yield fail("beat", "cannot be asked, since Redis does not answer", "See the line about Redis.")
        return
    if holder is None:
        yield fail(
            "beat", "none ticks: nothing is polled", "Run `make up`, or `.venv/bin/python -m celery -A mcube beat`."
        )
        return
    last = PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"]
    if last is not None and timezone.now() - last > BEAT_SILENCE:
        ran_at = f"{last.astimezone(IST):%d %b at %H:%M:%S} IST"
        yield warn("beat", f"ticks, and last ran something on {ran_at}", "Look at the schedule in the admin.")
        return
    yield ok("beat", "one ticks")


def scheduled() -> Iterator[Finding]:
    """Whether beat has everything to do that the table of schedules names; what people added is theirs."""
    enabled = dict(PeriodicTask.objects.values_list("name", "enabled"))
    missing = [entry for entry in schedule.TABLE if entry.name not in enabled]
    off = [entry for entry in schedule.TABLE if enabled.get(entry.name) is False]
    if not missing and not off:
        yield ok("schedule", f"all {len(schedule.TABLE)} are on")
    for tell, needed, words in ((fail, True, "; trading depends on it"), (warn, False, "")):
        # Seeding leaves a row as people made it, and so leaves it off.
        for state, found, remedy in (
            ("off", off, "Enable them in the admin, under Schedule, Periodic tasks."),
            ("missing", missing, "Run `python manage.py seed_schedule`, which adds them."),
        ):
            if names := ", ".join(entry.name for entry in found if entry.trading_needs_it is needed):
                yield tell("schedule", f"{state}: {names}{words}", remedy)
