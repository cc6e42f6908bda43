"""``manage.py demo``: a stack of its own, one scripted trading session, and a table of what happened."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from brokers.discovery import specs
from brokers.domain.enums import Mode
from mcube import stack
from mcube.environment import Environment, variable_name

#: Ports below those that the kernel hands out for outgoing connections.
FIRST_PORT, LAST_PORT = 20_000, 32_000


class Command(BaseCommand):
    help = "Run one scripted trading session on a stack of its own; status 0 only if everything in it held."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        home = settings.HOME / "demo"
        hold(settings.HOME / "demo.lock")
        shutil.rmtree(home, ignore_errors=True)
        # The settings of this process are those of the installation; the demo starts with its own.
        os.execve(sys.executable, [sys.executable, "-m", "mcube.demo"], environment(home))  # noqa: S606


def hold(path: Path) -> None:
    """Keep the lock until this process, whatever it executes, has ended.

    :raises CommandError: another demo runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CommandError(f"A demo runs already from {path.parent}; wait until it has ended.") from error


def environment(home: Path) -> dict[str, str]:
    """This process's environment with every setting of mcube replaced by the demo's own."""
    own = {variable_name(field) for field in Environment.model_fields}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in own and "MCUBE_" not in name
    }
    web, flower, queue, *simulators = free_ports(3 + len(specs()))
    return kept | {
        "MCUBE_HOME": str(home),
        "MCUBE_MODE": Mode.SIMULATED.value,
        "MCUBE_WEB_PORT": str(web),
        "MCUBE_FLOWER_PORT": str(flower),
        "MCUBE_REDIS_PORT": str(queue),
        "MCUBE_SIMULATOR_PORT": str(simulators[0]),
    }


def free_ports(count: int) -> list[int]:
    """Consecutive ports of loopback that nobody listens on now.

    :raises CommandError: there are none.
    """
    start = FIRST_PORT + os.getpid() % 1000 * 10
    for first in (*range(start, LAST_PORT, count), *range(FIRST_PORT, start, count)):
        found = list(range(first, first + count))
        if all(map(stack.is_free, found)):
            return found
    raise CommandError(f"No {count} free ports in a row from {FIRST_PORT} to {LAST_PORT}; end something that listens.")
