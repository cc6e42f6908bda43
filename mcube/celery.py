"""The Celery app. A queue for each broker, and one for what touches no broker.

The database is the truth about an order; a message is a doorbell that may be lost or ring twice.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

from celery import Celery, signals, states
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu import Exchange, Queue

from brokers.discovery import specs
from brokers.domain.errors import SDKMissing
from mcube import flower_guard, signing, transport
from mcube.observability import follow_tasks, setup_logging
from mcube.processes import OWN_QUEUE, queues

if TYPE_CHECKING:
    from brokers.interfaces import AdapterSpec

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
transport.install()
signing.register()
flower_guard.install(sys.argv)

logger = logging.getLogger(__name__)

#: Tasks that a worker runs at once, half of them reads at most; docs/decisions/0020 has the measurement.
WORKER_SLOTS = 4
TASK_MODULES = (
    "orders",
    "gtts",
    "sessions",
    "snapshots",
    "account",
    "market",
    "instruments",
    "alerts",
    "reconciliation",
    "barrier",
    "plans",
    "housekeeping",
)


def _configuration() -> dict[str, Any]:
    """Celery's settings, read when the app is first used."""
    from django.conf import settings

    from tasks.routing import Priority

    return {
        **transport.settings_for(settings.REDIS_URL),
        "broker_transport_options": {
            "priority_steps": sorted(Priority),
            "visibility_timeout": 600,  # seconds; above twice the longest task
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 15,
            # Without both of these a half-open connection hangs a worker for ever.
            "socket_timeout": 5,
            "health_check_interval": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 5,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        **signing.serializer_settings(),
        "result_serializer": "json",
        "task_ignore_result": True,  # outcomes are rows
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in queues()],
        "task_default_queue": OWN_QUEUE,
        "task_create_missing_queues": False,
        "task_routes": ["tasks.routing.route"],
        "task_soft_time_limit": 45,
        "task_time_limit": 60,
        "worker_concurrency": WORKER_SLOTS,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_eta_task_limit": 100,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": True,  # for Flower
        "beat_scheduler": "mcube.beat:LockedScheduler",
        "beat_max_loop_interval": 1,  # seconds; below the lock's time to live
        "timezone": "Asia/Kolkata",
        # Celery would open the database anew for every task; `_keep_usable_connections` drops what is stale.
        "CELERY_DB_REUSE_MAX": 1_000_000,
    }


app = Celery("mcube", include=[f"tasks.{module}" for module in TASK_MODULES])
app.add_defaults(_configuration)
follow_tasks()


@signals.celeryd_after_setup.connect
def _prepare_parent(instance: Any, **_: object) -> None:
    """Before the pool forks: keep slots free of reads, and import once what every child needs."""
    transport.Channel.reads_may_start = staticmethod(read_gate(instance.concurrency))
    consumed = instance.app.amqp.queues.consume_from
    for spec in specs().values():
        if spec.name in consumed:
            _preload(spec)
            _close_barrier(spec)
    # A child's garbage collector writes into every object it looks at, and so copies its page. Not into these.
    gc.collect()
    gc.freeze()
    # An order makes thousands of short-lived objects and few cycles: looking for these less often saves a tenth of its CPU.
    gc.set_threshold(20_000, 20, 50)


@signals.task_prerun.connect
def _keep_usable_connections(**_: object) -> None:
    """Before each task: drop a database connection that is too old or failed; the next query checks the kept one."""
    close_old_connections()


@signals.worker_process_init.connect
def _watch_endings(**_: object) -> None:
    signals.task_postrun.connect(_leave_no_transaction)


def _leave_no_transaction(state: str | None = None, **_: object) -> None:
    """After a task that did not succeed, or left a transaction open: begin anew with the database.

    A time limit may strike between the database's BEGIN and Django's note of it. Such a connection looks idle, keeps
    SQLite's only lock for as long as it lives, and no process could write anything.
    """
    for connection in connections.all(initialized_only=True):
        is_open = _is_in_transaction(connection)
        if is_open and connection.vendor == "sqlite":
            # A cursor that was not read to its end, e.g. in the traceback, keeps a closed connection and its lock alive.
            connection.connection.rollback()
        if is_open or state != states.SUCCESS:
            connection.close()
            del connections[connection.alias]


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database says so, whatever Django noted."""
    if connection.connection is None:
        return False
    if connection.vendor == "sqlite":
        return bool(connection.connection.in_transaction)
    return connection.connection.info.transaction_status.name != "IDLE"  # type: ignore[no-any-return]


def read_gate(slots: int) -> Callable[[], bool]:
    """Whether another read may be taken from the queue: never more than half of a worker's slots at once.

    What is acknowledged late is a read. One that waits for its next try is counted too, since it comes
    back into a slot without asking again.
    """
    from celery.worker import state

    limit = max(1, slots // 2)

    def reads_may_start() -> bool:
        held = chain(state.reserved_requests, state.scheduled_requests)  # type: ignore[attr-defined]
        return sum(1 for request in held if request.task.acks_late) < limit

    return reads_may_start


def _preload(spec: AdapterSpec) -> None:
    from brokers.factory import preload

    try:
        preload(spec)
    except SDKMissing as error:
        # Every task of this broker will say so again, in its own row.
        logger.error("%s", error)
    setup_logging()  # SDKs bring handlers of their own


def _close_barrier(spec: AdapterSpec) -> None:
    """A live broker's accounts are checked again after each start of its worker; a child that is replaced is no start."""
    from django.conf import settings

    from brokers import barrier
    from brokers.clock import configured_clock
    from brokers.domain.enums import Mode

    if settings.MODE is Mode.LIVE:
        barrier.invalidate(spec.name, configured_clock().now())
        # Children must not share the parent's connection.
        connections.close_all()


@signals.worker_process_shutdown.connect
def _close_brokers(**_: object) -> None:
    from brokers.factory import BrokerFactory

    BrokerFactory.close_all()
