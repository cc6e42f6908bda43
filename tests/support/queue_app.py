"""A worker's app for tests of the queue alone: tasks that wait for a file, on mcube's transport or on kombu's own.

The environment says where: QUEUE_URL, QUEUE_FOLDER and QUEUE_TRANSPORT (``mcube`` or ``kombu``).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, signals

from mcube import celery as mcube_celery
from mcube import transport

FOLDER = Path(os.environ["QUEUE_FOLDER"])
POLL_SECONDS = 0.05

if os.environ["QUEUE_TRANSPORT"] == "mcube":
    transport.install()
else:
    import kombu.transport

    kombu.transport.TRANSPORT_ALIASES["redis"] = "kombu.transport.redis:Transport"

app = Celery("queue_app", broker=os.environ["QUEUE_URL"], set_as_current=False)
app.add_defaults(
    lambda: {
        name: value
        for name, value in mcube_celery.app.conf.items()
        if name.startswith(("broker_transport", "broker_connection", "worker_", "task_ignore", "task_publish"))
    }
)


@signals.celeryd_after_setup.connect
def _gate(instance: Any, **_: object) -> None:
    if os.environ["QUEUE_TRANSPORT"] == "mcube":
        transport.Channel.reads_may_start = staticmethod(mcube_celery.read_gate(instance.concurrency))


@app.task(name="read", acks_late=True)
def read(*, name: str) -> None:
    """Say that it runs, and run until it is let go."""
    _run(name)


@app.task(name="order")
def order(*, name: str) -> None:
    _run(name)


def _run(name: str) -> None:
    with (FOLDER / f"{name}.started").open("a") as file:
        file.write("x")
    while not (FOLDER / f"{name}.go").exists():
        time.sleep(POLL_SECONDS)
    with (FOLDER / f"{name}.ended").open("a") as file:
        file.write("x")
