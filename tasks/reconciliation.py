"""Finding out what became of orders whose answer was lost."""

from __future__ import annotations

from typing import Any

from brokers.clock import configured_clock
from brokers.discovery import spec_of
from brokers.gateway import no_waiting
from brokers.recovery import reconciliation
from mcube.celery import app
from tasks.base import BaseTask, PollTask
from tasks.routing import Priority

#: A ring that nobody took by then is not needed any more: the next one has come.
EXPIRES_SECONDS = 3


@app.task(name="tasks.reconciliation.recover", base=PollTask, rank=Priority.SESSION, expires=EXPIRES_SECONDS)
def recover(*, broker: str, account: str | None = None, **_: Any) -> None:
    """Deal with dead senders, and answer what can be answered of an account's open questions, or of all at a broker."""
    with no_waiting():
        reconciliation.recover(spec_of(broker).name, account)


@app.task(name="tasks.reconciliation.schedule", base=BaseTask, expires=EXPIRES_SECONDS)
def schedule(**_: Any) -> None:
    """Ring for the accounts at which something is to be found out: each by itself, so that a slow one delays no other."""
    for broker, account in reconciliation.accounts_to_recover(configured_clock().now()):
        kwargs = {"broker": broker, "account": account}
        recover.apply_async(kwargs=kwargs, priority=Priority.SESSION, expires=EXPIRES_SECONDS)
