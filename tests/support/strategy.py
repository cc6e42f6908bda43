"""A strategy's process beside a running installation: it does what it is told, one JSON line at a time.

``{"do": "place", "with": {...}}`` is answered by ``{"value": ...}`` or ``{"error": "...", "kind": "..."}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import django

ACTIONS: dict[str, Callable[..., Any]] = {}


def action(function: Callable[..., Any]) -> Callable[..., Any]:
    ACTIONS[function.__name__] = function
    return function


#: Longer than any test keeps a worker away.
LIVES = timedelta(minutes=3)


@action
def place(**order: Any) -> dict[str, Any]:
    from brokers.clock import configured_clock
    from tasks.orders import place_order

    order.setdefault("not_after", (configured_clock().now() + LIVES).isoformat())
    placed = place_order.delay(**order)
    return {"intent_id": placed.intent_id, "client_order_id": placed.client_order_id, "task_id": placed.id}


@action
def place_at_once(times: int, **order: Any) -> list[dict[str, Any]]:
    """Place the same order several times at the same moment, each caller on a connection of its own."""
    from django.db import connections

    start = Barrier(times)

    def caller(_: int) -> dict[str, Any]:
        try:
            start.wait()
            placed: dict[str, Any] = place(**order)
            return placed
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as callers:
        return list(callers.map(caller, range(times)))


@action
def place_quietly(**order: Any) -> int:
    """Record an order without ringing for it, as when the process dies in between."""
    from brokers.ledger import operations

    intent = operations.record_place(**order)
    return int(intent.pk)


@action
def cancel(**request: Any) -> int:
    from tasks.orders import cancel_order

    intent_id: int = cancel_order.delay(**request).intent_id
    return intent_id


@action
def modify(**request: Any) -> int:
    from tasks.orders import modify_order

    intent_id: int = modify_order.delay(**request).intent_id
    return intent_id


@action
def subscribe(broker: str, account: str, symbol: str, depth: bool = False) -> None:
    """Have a live feed carry an instrument."""
    from brokers.factory import BrokerFactory

    BrokerFactory.get_broker(broker, account).subscribe_live_feed([symbol], subscriber="strategy", depth=depth)


@action
def send_whole(task: str = "tasks.orders.place_order", **order: Any) -> str:
    """Publish a whole order by name, as a producer without the database does."""
    from mcube.celery import app

    sent = app.send_task(task, kwargs=order, priority=3)
    return str(sent.id)


@action
def add_channel(name: str, address: str) -> None:
    from brokers.models import AlertChannel

    channel = AlertChannel(name=name)
    channel.address = address
    channel.save()


@action
def remove_channels() -> None:
    from brokers.models import AlertChannel

    AlertChannel.objects.all().delete()


@action
def deliver_again(intent_id: int, broker: str, times: int) -> list[str]:
    """Put more messages about an intent into the queue; returns the tasks' ids."""
    from tasks.orders import place_order

    again = {"intent_id": intent_id, "broker": broker}
    return [str(place_order.apply_async(kwargs=again).id) for _ in range(times)]


@action
def send(task: str, queue: str | None = None, **kwargs: Any) -> str:
    from mcube.celery import app

    app.loader.import_default_modules()
    options: dict[str, Any] = {"queue": queue} if queue else {}
    return str(app.tasks[task].apply_async(kwargs=kwargs, **options).id)


@action
def intents() -> list[dict[str, Any]]:
    from brokers.models import OrderIntent

    return [
        {
            "id": intent.pk,
            "kind": intent.kind,
            "state": intent.state,
            "client_order_id": intent.client_order_id,
            "client_tag": intent.client_tag,
            "reason": intent.closed_reason,
            "attempts": intent.attempts.count(),
        }
        for intent in OrderIntent.objects.order_by("pk")
    ]


@action
def basket(**basket: Any) -> int:
    from tasks.orders import place_basket

    plan_id: int = place_basket.delay(**basket).plan_id
    return plan_id


@action
def close_all(broker: str) -> int:
    from tasks.orders import close_all_positions

    plan_id: int = close_all_positions.delay(broker=broker).plan_id
    return plan_id


@action
def plan(plan_id: int) -> dict[str, Any]:
    """How far a plan is, and whether it has ended."""
    from brokers.models import OrderPlan
    from brokers.plans.status import progress

    row = OrderPlan.objects.select_related("account").get(pk=plan_id)
    now = progress(row)
    return {
        "state": now.state,
        "reason": now.reason,
        "ended": row.finished_at is not None,
        "filled": {leg.symbol: leg.filled for leg in now.legs},
        "states": list(row.children.order_by("leg", "slice").values_list("state", flat=True)),
    }


@action
def open_account(broker: str, name: str, number: int) -> None:
    """Store the credentials of one more simulated account."""
    from brokers.simulator import accounts
    from credentials.accounts import keep

    keep(broker, name, accounts.numbered(broker, number).credentials())


@action
def pause(broker: str, names: list[str]) -> None:
    """Have accounts polled no more."""
    from brokers.models import BrokerAccount

    BrokerAccount.objects.filter(broker=broker, name__in=names).update(is_active=False)


@action
def trades_alone(broker: str) -> None:
    """Nobody places orders by hand, so that an order with a lost answer is found by what it looks like."""
    from brokers.models import BrokerAccount

    BrokerAccount.objects.filter(broker=broker).update(manual_trading=BrokerAccount.ManualTrading.NONE)


@action
def held(broker: str) -> dict[str, int]:
    from brokers.factory import BrokerFactory

    gateway = BrokerFactory.get_broker(broker)
    gateway.login()
    return {position.symbol: position.quantity for position in gateway.get_positions()}


@action
def alerts() -> list[dict[str, Any]]:
    """What a person is to know now."""
    from brokers.models import Alert

    rows = Alert.objects.filter(acknowledged_at__isnull=True).select_related("intent")
    return [{"kind": row.kind, "client_order_id": row.intent.client_order_id if row.intent else None} for row in rows]


@action
def pass_time(seconds: float) -> None:
    """Move the market's time on, for every process of the installation."""
    from brokers.clock import SimulatedClock, configured_clock

    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + timedelta(seconds=seconds))


@action
def snapshots(kind: str) -> list[dict[str, Any]]:
    """Rows of ``margin`` or ``position`` snapshots."""
    from brokers import models

    model = {"margin": models.MarginSnapshot, "position": models.PositionSnapshot}[kind]
    return [
        {"account": str(row.account), "slot_at": row.slot_at.isoformat(), "status": row.status, "error": row.error}
        for row in model._default_manager.select_related("account").order_by("slot_at")
    ]


@action
def set_cadence(name: str, seconds: int) -> None:
    """Change a schedule, and the cadences of snapshots with it, as a person does in the admin."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from brokers.models import BrokerAccount, SnapshotCadence, SnapshotKind

    interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
    entry = PeriodicTask.objects.get(name=name)
    entry.interval = interval
    entry.save()
    if name == "snapshots":
        for account in BrokerAccount.objects.all():
            for kind in (SnapshotKind.MARGIN, SnapshotKind.POSITIONS):
                SnapshotCadence.objects.update_or_create(account=account, kind=kind, defaults={"seconds": seconds})


@action
def login(broker: str) -> bool:
    from brokers.factory import BrokerFactory

    return BrokerFactory.get_broker(broker).login()


@action
def instrument_count(broker: str) -> int:
    from brokers.models import InstrumentMaster

    return sum(InstrumentMaster.objects.filter(broker=broker).values_list("row_count", flat=True))


@action
def find(symbol: str) -> list[dict[str, Any]]:
    from brokers import instruments

    return [
        {"symbol": one.symbol, "lot_size": one.lot_size, "tick_size": str(one.tick_size)}
        for one in instruments.lookup().search(symbol)
    ]


@action
def resting_price(broker: str, symbol: str, account: str = "default", exchange: str | None = None) -> str:
    """A limit at which a buy order rests: a little below the market, on the tick."""
    from brokers.factory import BrokerFactory

    gateway = BrokerFactory.get_broker(broker, account)
    gateway.login()
    instrument = gateway.resolve(symbol, exchange)
    last = gateway.get_quote(symbol, exchange).last_price
    assert last is not None
    return str(instrument.round_to_tick(last * Decimal("0.98"), up=False))


@action
def answer(task: str, **words: Any) -> dict[str, Any] | None:
    """What waits for who asked a read task in these words: its ``value`` as JSON, or its ``failure`` and why."""
    from brokers import codec, shared_reads
    from mcube.celery import app

    app.loader.import_default_modules()
    asked: Any = app.tasks[task]
    found = asked.latest(**words)
    if found is None:
        return None
    if found.failure is not None:
        return {"failure": type(found.failure).__name__, "why": str(found.failure)}
    kind = shared_reads.kind_of(task.rpartition(".")[2])
    return {"value": json.loads(codec.dump(kind, found.value))}


def main() -> None:
    django.setup()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": ACTIONS[request["do"]](**request["with"])}
        except Exception as error:  # noqa: BLE001 - handed to the test, which raises it
            answer = {"error": str(error), "kind": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
