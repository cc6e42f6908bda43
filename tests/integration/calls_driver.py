"""Processes that read from one account as fast as its call budget lets them. Run by ``test_limits``; prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.contract.world import Simulator

PROCESSES, SECONDS, PATIENCE_SECONDS = 6, 4.0, 50.0


def main(broker: str, folder: Path) -> None:
    simulator = Simulator(folder / "home")
    simulator.start()
    try:
        for name, url in simulator.urls.items():
            os.environ[f"MCUBE_{name.upper()}_URL"] = url
        print(json.dumps(measure(broker, folder, simulator)))
    finally:
        simulator.stop()


def measure(broker: str, folder: Path, simulator: Simulator) -> dict[str, object]:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from brokers import sessions
    from brokers.clock import configured_clock
    from brokers.models import BrokerAccount
    from brokers.simulator.accounts import default
    from credentials.models import CredentialStore

    call_command("migrate", verbosity=0)
    # A name of its own: on the same Redis, other tests count the calls of accounts named default.
    name = f"calls-{os.getpid()}"
    CredentialStore.objects.create(service=broker, name=name, **default(broker).credentials())
    account = BrokerAccount.objects.create(broker=broker, name=name)
    sessions.ensure(account, clock=configured_clock())
    (user,) = simulator.ask(broker, "GET", "counters").json()
    login = counted(simulator, broker, user)["total"]
    connections.close_all()
    children = []
    for number in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                (folder / f"made-{number}").write_text(json.dumps(read(broker, name, urgent=number == 0)))
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    if any(statuses):
        raise SystemExit("A child failed.")
    made = [json.loads((folder / f"made-{number}").read_text()) for number in range(PROCESSES)]
    return {
        "counted": counted(simulator, broker, user),
        "login": login,
        "made": sum(each["made"] for each in made),
        "refused": sum(each["refused"] for each in made),
        "urgent": made[0]["made"],
    }


def counted(simulator: Simulator, broker: str, user: str) -> dict[str, int]:
    calls: dict[str, int] = simulator.ask(broker, "GET", "counters").json()[user]["calls"]
    return calls


def read(broker: str, name: str, *, urgent: bool) -> dict[str, int]:
    """Ask for the margin for some seconds, and until the budget refused it; what is refused is asked again soon."""
    from brokers.domain.errors import RateLimited
    from brokers.factory import BrokerFactory
    from brokers.gateway import no_waiting
    from brokers.limits import Urgency

    made = refused = 0
    started = time.monotonic()
    with no_waiting(), closing(BrokerFactory.get_broker(broker, name)) as gateway:
        while (passed := time.monotonic() - started) < SECONDS or (not refused and passed < PATIENCE_SECONDS):
            try:
                gateway.read(lambda adapter: adapter.fetch_margin(), urgency=Urgency.ORDER if urgent else Urgency.POLL)
                made += 1
            except RateLimited:
                refused += 1
                time.sleep(0.02)
    return {"made": made, "refused": refused}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
