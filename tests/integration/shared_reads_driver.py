"""Processes and threads that run one read task all at once. Run by ``test_shared_reads``; prints JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from tests.contract.world import Simulator
from tests.integration.calls_driver import counted
from tests.support.processes import wait_for

PROCESSES, THREADS = 5, 20
SYMBOL = "RELIANCE"


def main(broker: str, folder: Path) -> None:
    simulator = Simulator(folder / "home")
    simulator.start()
    try:
        for name, url in simulator.urls.items():
            os.environ[f"MCUBE_{name.upper()}_URL"] = url
        print(json.dumps(measure(broker, folder, simulator)))
    finally:
        simulator.stop()


def measure(broker: str, folder: Path, simulator: Simulator) -> dict[str, int]:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from brokers import instruments, sessions
    from brokers.clock import configured_clock
    from brokers.factory import BrokerFactory
    from brokers.models import BrokerAccount
    from brokers.simulator.accounts import default
    from credentials.models import CredentialStore
    from mcube.celery import app

    app.loader.import_default_modules()
    call_command("migrate", verbosity=0)
    CredentialStore.objects.create(service=broker, **default(broker).credentials())
    account = BrokerAccount.objects.create(broker=broker)
    sessions.ensure(account, clock=configured_clock())
    instruments.refresh(account)
    BrokerFactory.close_all()
    (user,) = simulator.ask(broker, "GET", "counters").json()
    before = counted(simulator, broker, user)["total"]
    connections.close_all()
    children = [start(broker, folder, number) for number in range(PROCESSES)]
    wait_for(lambda: all((folder / f"ready-{number}").exists() for number in range(PROCESSES)), "the processes")
    (folder / "go").touch()
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    if any(statuses):
        raise SystemExit("A child failed.")
    answers = [json.loads((folder / f"answers-{number}").read_text()) for number in range(PROCESSES)]
    return {
        "answered": sum(map(len, answers)),
        "prices": len({price for each in answers for price in each}),
        "calls": counted(simulator, broker, user)["total"] - before,
    }


def start(broker: str, folder: Path, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (folder / f"answers-{number}").write_text(json.dumps(ask(broker, folder, number)))
            status = 0
        finally:
            os._exit(status)
    return pid


def ask(broker: str, folder: Path, number: int) -> list[str]:
    """Have every thread run the task at the same moment; the answers as they wait for who asked."""
    from django.db import connections

    from brokers.clock import configured_clock
    from tasks.market import get_quote

    question = {"broker": broker, "symbol": SYMBOL}
    together, answers = threading.Barrier(THREADS + 1), []

    def run() -> None:
        try:
            together.wait(60)
            get_quote.run(**question, asked_at=asked_at[0])
            if answer := get_quote.latest(**question):
                answers.append(str(answer.value.last_price))
        finally:
            connections.close_all()

    asked_at: list[str] = []
    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    (folder / f"ready-{number}").touch()
    wait_for((folder / "go").exists, "the others")
    asked_at.append(configured_clock().now().isoformat())
    together.wait(60)
    for thread in threads:
        thread.join()
    return answers


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
