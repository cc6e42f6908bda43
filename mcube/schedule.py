"""What beat does, and how often: one table, which seeds django-celery-beat.

The rows belong to people from then on: they change, pause and add schedules in the admin, and seeding
again only adds what is missing. Whether the market is active is the task's to ask, of the calendar: a
crontab knows no holidays, and special sessions fall on week-ends. So crontabs say every day.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from mcube.processes import OWN_QUEUE
from tasks.routing import Priority

INDIA = ZoneInfo("Asia/Kolkata")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row of beat's table. Either ``every`` or ``at``."""

    name: str
    task: str
    #: Seconds between ticks.
    every: int | None = None
    #: Minute and hour of each day in India, as a crontab writes them.
    at: tuple[str, str] | None = None
    #: Seconds after which a tick that nobody took is dropped; below the cadence.
    expires: int
    priority: Priority = Priority.READ
    description: str
    #: Without it orders are not sent, not followed or not found again, or nobody is told.
    trading_needs_it: bool = False


TABLE = (
    Entry(
        name="sweep",
        task="tasks.orders.sweep",
        every=3,
        expires=3,
        priority=Priority.URGENT,
        description="Rings again for recorded orders that nobody took, and lets lapse what is too old.",
        trading_needs_it=True,
    ),
    Entry(
        name="open questions",
        task="tasks.reconciliation.schedule",
        every=3,
        expires=3,
        priority=Priority.ORDER,
        description="Has orders whose outcome is not known looked up at their broker.",
        trading_needs_it=True,
    ),
    Entry(
        name="start-up checks",
        task="tasks.barrier.schedule",
        every=15,
        expires=14,
        priority=Priority.SESSION,
        description="In live mode: makes the checks of accounts that have not passed them since their worker's start.",
    ),
    Entry(
        name="plans",
        task="tasks.plans.advance",
        every=2,
        expires=2,
        priority=Priority.URGENT,
        description="Moves baskets and closings on: sends the slices whose time has come.",
        trading_needs_it=True,
    ),
    Entry(
        name="order books",
        task="tasks.orders.schedule_sync",
        every=10,
        expires=9,
        priority=Priority.ORDER,
        description="Reads the book of accounts with something open at each tick, at every fourth where a day's calls are "
        "counted; of others by their cadence.",
        trading_needs_it=True,
    ),
    Entry(
        name="GTT books",
        task="tasks.gtts.schedule_sync",
        every=60,
        expires=50,
        description="Reads the GTT book of accounts with an active GTT every five minutes while the market is active.",
    ),
    Entry(
        name="alerts",
        task="tasks.alerts.send_due",
        every=5,
        expires=4,
        description="Sends open alerts to the channels that take them; after everything else in the queue.",
        trading_needs_it=True,
    ),
    Entry(
        name="snapshots",
        task="tasks.snapshots.schedule",
        every=10,
        expires=9,
        description="Margins, positions, holdings and trades while the market is active, each account by its cadences, "
        "which are multiples of this.",
    ),
    Entry(
        name="missing readings",
        task="tasks.snapshots.watch",
        every=300,
        expires=240,
        description="Tells people of readings of the last hour that failed or are missing.",
    ),
    Entry(
        name="end of the day",
        task="tasks.snapshots.schedule_days",
        every=300,
        expires=240,
        description="After the last close: what the day of every active account ended with, until it is written.",
    ),
    Entry(
        name="sessions",
        task="tasks.sessions.schedule",
        every=300,
        expires=240,
        priority=Priority.SESSION,
        description="Keeps every session valid before and during market hours.",
    ),
    Entry(
        name="sessions before the market",
        task="tasks.sessions.schedule",
        at=("30", "8"),
        expires=240,
        priority=Priority.SESSION,
        description="Opens every session at 08:30; where a person is needed, this is when they are told.",
    ),
    Entry(
        name="instruments before the market",
        task="tasks.instruments.schedule",
        at=("5,15", "8"),
        expires=240,
        priority=Priority.SESSION,
        description="Loads today's instrument masters at 08:05, and at 08:15 those that failed.",
    ),
    Entry(
        name="instruments that are missing",
        task="tasks.instruments.schedule",
        every=300,
        expires=240,
        priority=Priority.SESSION,
        description="Loads a master of today that is still missing, e.g. after a late start.",
    ),
    Entry(
        name="end of the calendar",
        task="tasks.housekeeping.watch_calendar",
        every=3600,
        expires=3000,
        description="In live mode: tells people while the known trading days end within a month.",
    ),
    Entry(
        name="old accesses",
        task="tasks.housekeeping.forget_accesses",
        every=3600,
        expires=3000,
        description="Removes the records of accesses and logins that have been kept long enough.",
    ),
    Entry(
        name="old snapshots",
        task="tasks.housekeeping.thin_snapshots",
        every=3600,
        expires=3000,
        description="Thins snapshots that have been kept long enough: one a minute, then those that days' records are made of.",
    ),
)


def seed() -> int:
    """Add the rows of the table that are not there; leave the others as people made them. Returns how many."""
    from django_celery_beat.models import PeriodicTask

    added = 0
    for entry in TABLE:
        if PeriodicTask.objects.filter(name=entry.name).exists():
            continue
        _, created = PeriodicTask.objects.get_or_create(
            name=entry.name,
            defaults={
                "task": entry.task,
                "queue": OWN_QUEUE,
                "priority": int(entry.priority),
                "expire_seconds": entry.expires,
                "description": entry.description,
                **_timing(entry),
            },
        )
        added += created
    return added


def _timing(entry: Entry) -> dict[str, object]:
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule

    if entry.at is None:
        interval, _ = IntervalSchedule.objects.get_or_create(every=entry.every, period=IntervalSchedule.SECONDS)
        return {"interval": interval}
    minute, hour = entry.at
    crontab, _ = CrontabSchedule.objects.get_or_create(
        minute=minute, hour=hour, day_of_week="*", day_of_month="*", month_of_year="*", timezone=INDIA
    )
    return {"crontab": crontab}
