"""A strategy's process in a chaos run: it asks for what its plan says, and begins again where it was when it is killed.

    python -m tests.chaos.strategy BROKER

What it asked for and was told goes into ``journal-BROKER.jsonl``, a line before and a line after each wish.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import django

from tests.chaos.plan import WISHES, Plan, Wish, wishes
from tests.chaos.sabotage import FOLDER, install_in_strategy, of_this_run

T = TypeVar("T")

#: How long a strategy goes on asking while the database is away.
PATIENCE_SECONDS = 60.0
#: Orders of one broker that may wait to be sent; a strategy waits as well until a slow machine has come so far.
MOST_WAITING = 80
#: After so many wishes it looks.
LOOKS_EACH = 10


class Journal:
    """The strategy's own record, one line an event, never torn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, **fields: object) -> None:
        os.write(self._file, (json.dumps({"what": what, "wall_at": time.time(), **fields}) + "\n").encode())

    def finished(self) -> int:
        """The number of the first wish that is still to be asked for."""
        return 1 + max((line["number"] for line in self._lines("finished")), default=-1)

    def targets(self) -> dict[str, dict[str, Any]]:
        """The orders that wishes chose, by the wish's id: after a kill the same id must not name another."""
        return {
            line["key"]: {"order_id": line["order_id"], "quantity": line["quantity"]} for line in self._lines("target")
        }

    def _lines(self, what: str) -> Iterator[dict[str, Any]]:
        """The others, which are many, are not parsed."""
        begins = json.dumps({"what": what})[:-1]
        return (json.loads(line) for line in self.path.read_text().splitlines() if line.startswith(begins))


class Strategy:
    """Asks at the plan's pace. Every request is repeatable, so that what was cut short is asked for again."""

    def __init__(self, plan: Plan, broker: str, folder: Path) -> None:
        self.plan = plan
        self.broker = broker
        self.folder = folder
        self.journal = Journal(folder / f"journal-{broker}.jsonl")
        self.targets: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        task = json.loads((self.folder / WISHES).read_text())
        began = (self.folder / WISHES).stat().st_mtime
        pace = self.plan.storm_seconds / self.plan.intents
        first = self.journal.finished()
        self.targets = self.journal.targets()
        for wish in islice(wishes(self.plan, self.broker), first, task["until"]):
            time.sleep(max(0.0, began + (wish.number - task["from"]) * pace - time.time()))
            if wish.number % LOOKS_EACH == 0:
                patiently(self._wait_for_the_workers)
            self.journal.write("asked", number=wish.number, key=wish.key, account=wish.account, **wish.content)
            self.ask(wish)
            self.journal.write("finished", number=wish.number, key=wish.key)

    def _wait_for_the_workers(self) -> None:
        """What lapses in the queue meets no fault."""
        from brokers.models import OrderIntent

        while OrderIntent.objects.filter(account__broker=self.broker, state="READY").count() > MOST_WAITING:
            time.sleep(0.5)

    def ask(self, wish: Wish) -> None:
        """Ask as often as the wish says; then once for something else under the same id."""
        content = self._content(wish)
        if content is None:
            return
        kind = content.pop("kind")
        for _ in range(wish.copies):
            if recorded := self._submit(wish.key, kind, content):
                self.journal.write("recorded", key=recorded)
        if wish.conflicts:
            self._contradict(wish.key, content)

    def _content(self, wish: Wish) -> dict[str, Any] | None:
        from brokers.clock import configured_clock

        basic = {"broker": self.broker, "account": wish.account, "client_order_id": wish.key}
        if wish.kind == "place":
            # From the wish's own number, so that a wish that is repeated after a kill says the same.
            not_after = configured_clock().now() + timedelta(seconds=wish.lifetime)
            return basic | wish.content | {"kind": "place", "not_after": not_after.isoformat(), "strategy": "chaos"}
        target = self.targets.get(wish.key) or patiently(lambda: self._some_order(wish))
        if target is None:
            return None
        self.journal.write("target", key=wish.key, **target)
        if wish.kind == "cancel":
            return basic | {"kind": "cancel", "order_id": target["order_id"]}
        return basic | {"kind": "modify", "order_id": target["order_id"], "quantity": target["quantity"] + 1}

    def _some_order(self, wish: Wish) -> dict[str, Any] | None:
        """One of this account's working orders, chosen by the wish's seed."""
        from brokers.models import BrokerOrder

        mine = BrokerOrder.objects.filter(
            account__broker=self.broker,
            account__name=wish.account,
            attempt__intent__state="WORKING",
            attempt__intent__client_order_id__startswith=f"{self.broker[0]}-",
        )
        found = list(mine.order_by("-pk").values("broker_order_id", "quantity")[:20])
        if not found:
            return None
        chosen = random.Random(wish.key).choice(found)
        return {"order_id": chosen["broker_order_id"], "quantity": chosen["quantity"]}

    def _submit(self, key: str, kind: str, content: dict[str, Any]) -> str:
        """The id under which the ledger has it now, nothing when it refused: of two cancels of an order it keeps one."""
        from brokers.domain.errors import BrokerError, IdempotencyConflict, OrderDenied
        from tasks import orders

        task = {"place": orders.place_order, "cancel": orders.cancel_order, "modify": orders.modify_order}[kind]
        try:
            return patiently(lambda: task.delay(**content)).client_order_id
        except IdempotencyConflict as error:
            self.journal.write("conflict", key=key, message=str(error))
        except OrderDenied as error:
            self.journal.write("denied", key=key, message=str(error))
        except BrokerError as error:
            self.journal.write("failed", key=key, message=str(error))
        return ""

    def _contradict(self, key: str, content: dict[str, Any]) -> None:
        from brokers.domain.errors import IdempotencyConflict
        from tasks import orders

        other = content | {"quantity": content["quantity"] + 1}
        try:
            patiently(lambda: orders.place_order.delay(**other))
        except IdempotencyConflict:
            self.journal.write("refused", key=key)
        else:
            self.journal.write("not refused", key=key)


def patiently(act: Callable[[], T]) -> T:
    """Do it; while the database is away do it again, as a strategy does that keeps its client order id."""
    from django.db import InterfaceError, OperationalError, connection

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def main() -> int:
    """Run the strategy in a child, and in another one when that was killed; a fork is started sooner than Python."""
    folder = Path(os.environ[FOLDER])
    django.setup()
    saboteur = of_this_run()
    assert saboteur is not None
    install_in_strategy(saboteur)
    # Loaded once, before the first fork.
    importlib.import_module("tasks.orders")
    strategy = Strategy(Plan.read(folder), sys.argv[1], folder)
    while True:
        child = os.fork()
        if child == 0:
            strategy.run()
            return 0
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status >= 0:
            return status
        strategy.journal.write("killed", signal=-status)


if __name__ == "__main__":
    sys.exit(main())
