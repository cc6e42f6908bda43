"""Lets go of what has been kept long enough."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings

from brokers.clock import SystemClock
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
