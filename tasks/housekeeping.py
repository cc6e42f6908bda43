"""Lets go of what has been kept long enough."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from brokers import calendar_alerts, snapshot_retention
from brokers.clock import SystemClock, configured_clock
from brokers.domain.enums import Mode
from credentials import retention
from mcube.access import retention as logins
from mcube.celery import app
from tasks.base import BaseTask, log


@app.task(name="tasks.housekeeping.forget_accesses", base=BaseTask, expires=3000)
def forget_accesses(**_: Any) -> None:
    """Thin the records of who read and changed credentials, and of who logged in; their times are the wall's clock's."""
    now = SystemClock().now()
    reads, others = timedelta(days=settings.KEEP_READS_DAYS), timedelta(days=settings.KEEP_AUDIT_DAYS)
    forgotten = retention.forget(now, keep_reads=reads, keep_others=others)
    forgotten += logins.forget(now, keep_failures=reads, keep_logins=others)
    if forgotten:
        log.info("old accesses were forgotten", extra={"rows": forgotten})


@app.task(name="tasks.housekeeping.thin_snapshots", base=BaseTask, expires=3000)
def thin_snapshots(**_: Any) -> None:
    """Thin old snapshots by the market's time: all, then one a minute, then what the records of days are made of."""
    gone = snapshot_retention.thin(
        configured_clock().now(),
        keep_all=timedelta(days=settings.KEEP_SNAPSHOTS_DAYS),
        keep_minutes=timedelta(days=settings.KEEP_MINUTES_DAYS),
        keep_days=timedelta(days=settings.KEEP_DAY_RECORDS_DAYS) if settings.KEEP_DAY_RECORDS_DAYS else None,
    )
    if gone:
        log.info("old snapshots were thinned", extra={"rows": gone})


@app.task(name="tasks.housekeeping.watch_calendar", base=BaseTask, expires=3000)
def watch_calendar(**_: Any) -> None:
    """In live mode: tell people that the calendar ends soon. The simulated exchange keeps no holidays."""
    if settings.MODE is Mode.LIVE:
        calendar_alerts.tell(configured_clock())
