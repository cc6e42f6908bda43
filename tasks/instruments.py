"""The instrument master of the day, once for each broker."""

from __future__ import annotations

from typing import Any

from brokers import instruments
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of, specs
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.factory import find_account
from brokers.models import InstrumentMaster
from mcube.celery import app
from tasks.base import BaseTask, PollTask, log
from tasks.routing import Priority
from tasks.ticks import active_accounts, trading_day_is_near


@app.task(
    name="tasks.instruments.refresh_instruments",
    base=PollTask,
    rank=Priority.SESSION,
    expires=240,
    soft_time_limit=240,
    time_limit=270,
)
def refresh_instruments(*, broker: str, account: str = "default", **_: Any) -> None:
    """Download the broker's master of today and load it. A failure leaves the last one in place."""
    row = find_account(spec_of(broker).name, account)
    try:
        instruments.refresh(row)
    except (BrokerError, CredentialsNotFound, SDKMissing) as error:
        log.error("The instrument master of %s could not be loaded: %s", row.broker, error)


@app.task(name="tasks.instruments.schedule", base=BaseTask, expires=120)
def schedule(**_: Any) -> None:
    """Before and during market hours: every broker whose master of today is missing."""
    if trading_day_is_near():
        load_missing()


def load_missing() -> None:
    """Enqueue the load of each master of today that is missing."""
    today = trading_day(configured_clock().now())
    loaded = set(InstrumentMaster.objects.filter(master_day=today).values_list("broker", flat=True))
    for broker in specs():
        account = next((one for one in active_accounts() if one.broker == broker), None)
        if broker not in loaded and account is not None:
            refresh_instruments.apply_async(
                kwargs={"broker": broker, "account": account.name}, task_id=f"instruments-{broker}-{today:%Y%m%d}"
            )
