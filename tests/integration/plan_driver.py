"""Several processes record, move on and close the same at once. Run by ``test_plan_races``; prints one JSON object."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

PROCESSES = 6
BROKER = "kotakneo"
SLICES = 4
#: Longer than any of it takes.
GIVE_UP_SECONDS = 60


def main(folder: Path) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from brokers.models import OrderIntent, OrderPlan
    from tests.support import plan_desk
    from tests.support.scripted_broker import ScriptedAdapter

    call_command("migrate", verbosity=0)
    ScriptedAdapter.read_master = plan_desk.strangle_master  # type: ignore[method-assign, assignment]
    desk = plan_desk.install(BROKER)
    desk.hold(plan_desk.FAR_PUT, 65)
    connections.close_all()
    barrier = multiprocessing.get_context("fork").Barrier(PROCESSES)
    children = []
    for number in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(folder, number, desk, barrier)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    answers = [json.loads(path.read_text()) for path in sorted(folder.glob("answer-*"))]
    print(
        json.dumps(
            {
                "statuses": statuses,
                "plans": OrderPlan.objects.count(),
                "orders": OrderIntent.objects.count(),
                "recorded": [answer["recorded"] for answer in answers],
                "released": sorted(number for answer in answers for number in answer["released"]),
                "sent": sorted(key for answer in answers for key in answer["sent"]),
            }
        )
    )


def work(folder: Path, number: int, desk: Any, barrier: Any) -> None:
    from django.db import connections

    from brokers.domain.orders import OrderAck
    from brokers.factory import BrokerFactory
    from brokers.gateway import BrokerGateway
    from brokers.plans import closing, running
    from tests.support.plan_desk import CALL, FAR_PUT, PUT, leg

    gateway = BrokerGateway(desk.account, desk.adapter, clock=desk.gateway.clock)
    BrokerFactory._gateways[os.getpid(), BROKER, "default"] = gateway
    desk.adapter.accept = lambda operation: OrderAck(broker_order_id=f"{number}{len(desk.adapter.sent):05d}")
    released: list[int] = []

    def together(step: Any) -> Any:
        barrier.wait(GIVE_UP_SECONDS)
        return step()

    legs = [leg(CALL, "S", SLICES), leg(PUT, "S", SLICES)]
    basket = together(lambda: desk.record(*legs, lots_per_order=1, pace_seconds=0))
    exits = together(lambda: desk.close(FAR_PUT, key=f"close-{number}"))
    together(lambda: closing.look(exits.pk))
    for plan in (basket, exits):
        barrier.wait(GIVE_UP_SECONDS)
        move_on(plan.pk, released)
    barrier.wait(GIVE_UP_SECONDS)
    assert not running.advance(basket.pk).intents
    answer = {
        "recorded": [basket.pk, exits.pk],
        "released": released,
        "sent": [one.client_order_id for one in desk.adapter.sent],
    }
    (folder / f"answer-{number}").write_text(json.dumps(answer))
    connections.close_all()


def move_on(plan_id: int, released: list[int]) -> None:
    """Release and deliver until every order of the plan is at the broker, whoever sent it."""
    from brokers.domain.order_states import IntentState
    from brokers.ledger.delivery import deliver
    from brokers.models import OrderIntent
    from brokers.plans import running

    give_up = time.monotonic() + GIVE_UP_SECONDS
    orders = OrderIntent.objects.filter(plan=plan_id)
    while orders.exclude(state=IntentState.WORKING).exists() and time.monotonic() < give_up:
        intents = running.advance(plan_id).intents
        released += [intent.pk for intent in intents]
        for ready in orders.filter(state=IntentState.READY):
            deliver(ready.pk)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
