"""Processes that take order tokens of one account as fast as they may. Run by ``test_rate``; prints a JSON list.

Each entry is the token's time in epoch milliseconds, and whether it was urgent.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

PROCESSES, SECONDS = 4, 4.0


def main(folder: Path, per_second: int, per_minute: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from brokers.models import BrokerAccount

    call_command("migrate", verbosity=0)
    BrokerAccount.objects.get_or_create(broker="breeze", name="driven", defaults={"orders_per_second": per_second})
    connections.close_all()
    children = []
    for number in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                take(folder / f"taken-{number}", per_minute, urgent=number == 0)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    if any(statuses):
        raise SystemExit("A child failed.")
    taken = [json.loads(line) for path in folder.glob("taken-*") for line in path.read_text().splitlines()]
    print(json.dumps(sorted(taken)))


def take(path: Path, per_minute: int, *, urgent: bool) -> None:
    from django.db import connections, transaction

    from brokers.clock import SystemClock
    from brokers.domain.errors import RateLimited
    from brokers.models import BrokerAccount
    from brokers.risk import rate

    account, clock = BrokerAccount.objects.get(name="driven"), SystemClock()
    rates = rate.OrderRates(per_minute=per_minute)
    end = time.monotonic() + SECONDS
    with path.open("w") as file:
        while time.monotonic() < end:
            try:
                with transaction.atomic():
                    at = rate.take(account, clock.now(), urgent=urgent, rates=rates)
                file.write(json.dumps([int(at.timestamp() * 1000), urgent]) + "\n")
            except RateLimited as error:
                time.sleep(min(error.retry_after.total_seconds(), 0.05))
    connections.close_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
