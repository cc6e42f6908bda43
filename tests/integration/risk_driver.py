"""Six processes send orders at once against limits that few of them fit. Run by ``test_risk``; prints JSON."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import cast

PROCESSES, ORDERS = 6, 10
_books = count(1)


def main(broker: str) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from brokers.clock import configured_clock
    from brokers.discovery import spec_of, specs
    from brokers.domain.account import Position
    from brokers.domain.enums import Product
    from brokers.ledger import operations
    from brokers.ledger.delivery import deliver
    from brokers.models import BrokerAccount, OrderIntent, Scope
    from brokers.risk import limits
    from tests.support import scripted_broker
    from tests.support.scripted_broker import SHARE, takes_and_drops

    _, adapter = scripted_broker.install(broker)
    # Only the limits are to hold orders back here, and no rate, be it the account's or the broker's.
    spec = spec_of(broker)
    specs()[broker] = replace(spec, capabilities=replace(spec.capabilities, order_requests_per_second=1000))
    BrokerAccount.objects.update(orders_per_second=1000)
    now = configured_clock().now()
    limits.change(Scope.EVERYTHING, "", {"max_open_rupees": Decimal(10_000)}, by="test", reason="", at=now)
    holding = Position(
        symbol=SHARE, exchange="NSE", product=Product.CNC, quantity=7, average_price=Decimal(100),
        last_price=Decimal(100), pnl=Decimal(0), as_of=now,
    )  # fmt: skip
    adapter.positions = [holding]

    def record(key: str, price: str, **changes: object) -> int:
        order: dict[str, object] = {"symbol": SHARE, "side": "B", "quantity": 10, "order_type": "LIMIT"}
        order |= {"limit_price": price, "client_order_id": key, "not_after": None}
        return operations.record_place(broker=broker, account="default", **(order | changes)).pk  # type: ignore[arg-type]

    def states(prefix: str) -> dict[str, int]:
        rows = OrderIntent.objects.filter(client_order_id__startswith=prefix)
        return dict(Counter(rows.values_list("state", flat=True)))

    # Each has a trigger of its own, so that no broker takes one for another.
    orders = [
        record(f"open-{n}", "100.00", order_type="SL", trigger_price=Decimal(90) + n * Decimal("0.05"))
        for n in range(PROCESSES * ORDERS)
    ]
    clicks = [record(f"click-{n}", "98.00", has_own_key=False) for n in range(PROCESSES)]
    exits = [record(f"exit-{n}", "99.00", side="S", reduce_only=True, quantity=7) for n in range(PROCESSES)]
    adapter.script = [takes_and_drops]
    deliver(orders[0])
    together(lambda number: orders[number::PROCESSES], broker)
    total = sum(
        (row.reserved_rupees or Decimal(0) for row in OrderIntent.objects.filter(state__in=["WORKING", "UNKNOWN"])),
        Decimal(0),
    )
    opened = states("open-")
    limits.change(Scope.EVERYTHING, "", {"max_open_rupees": Decimal(1_000_000)}, by="test", reason="", at=now)
    together(lambda number: [clicks[number]], broker)
    together(lambda number: [exits[number]], broker)
    print(json.dumps({"reserved": str(total), "open": opened, "clicks": states("click-"), "exits": states("exit-")}))


def together(share: Callable[[int], list[int]], broker: str) -> None:
    """Deliver each process's share, all at once."""
    from django.db import connections

    connections.close_all()
    children = []
    for number in range(PROCESSES):
        book = next(_books)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(book, share(number), broker)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    if any(statuses):
        raise SystemExit(f"A process failed: {statuses}")


def work(book: int, intents: list[int], broker: str) -> None:
    from brokers.domain.orders import Order
    from brokers.factory import BrokerFactory
    from brokers.ledger.delivery import deliver
    from tests.support.scripted_broker import ScriptedAdapter

    (gateway,) = BrokerFactory._gateways.values()
    BrokerFactory._gateways[(os.getpid(), broker, "default")] = gateway
    adapter = gateway._adapter
    assert isinstance(adapter, ScriptedAdapter)
    # No two processes give an order the same number.
    adapter.book = dict.fromkeys(map(str, range(1000 * book)), cast(Order, None))
    for pk in intents:
        deliver(pk)


if __name__ == "__main__":
    main(sys.argv[1])
