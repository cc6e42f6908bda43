"""Sends what people must know, apart from everything that trades."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from brokers.alerts import courier, delivery
from brokers.clock import configured_clock
from brokers.models import Alert, KillSwitch, Scope
from brokers.risk import switches
from mcube.celery import app
from tasks.base import PollTask, log

#: Who halts what nobody attends to, in the history.
UNATTENDED = "mcube"


@app.task(name="tasks.alerts.send_due", base=PollTask, expires=5)
def send_due(**_: Any) -> None:
    """Send every alert that is due to every channel that takes it, and halt what nobody attends to."""
    clock = configured_clock()
    _halt_unattended(clock.now())
    delivery.plan(clock.now())
    claims = delivery.claim(clock.now())
    for claim, results in courier.carry_all([(claim, claim.errand) for claim in claims]):
        delivery.settle(claim, results, clock.now())


def _halt_unattended(now: datetime) -> None:
    """Halt the account of each alert that was not acknowledged in time, or everything when it has none."""
    patience = timedelta(minutes=settings.HALT_AFTER_UNACKNOWLEDGED_MINUTES)
    if not patience:
        return
    for alert in delivery.unattended(now, patience):
        scope, key = (Scope.ACCOUNT, str(alert.account)) if alert.account else (Scope.EVERYTHING, "")
        if not _was_set_since(scope, key, alert.first_at + patience):
            log.warning("Nobody acknowledged alert %s; %s is halted.", alert.pk, switches.name_of(scope, key))
            switches.set_switch(scope, key, KillSwitch.State.HALTED, by=UNATTENDED, reason=_reason(alert), at=now)


def _was_set_since(scope: Scope, key: str, moment: datetime) -> bool:
    """Whether somebody has looked at the switch since then; what they decided stands."""
    return KillSwitch.objects.filter(scope=scope, scope_key=key, changed_at__gte=moment).exists()


def _reason(alert: Alert) -> str:
    minutes = settings.HALT_AFTER_UNACKNOWLEDGED_MINUTES
    return f"nobody acknowledged for {minutes} minutes: {alert.happened}"[:500]
