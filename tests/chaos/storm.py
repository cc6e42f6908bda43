"""What goes wrong around the processes: the brokers' faults, the queue, the database, beat, people, and frozen processes."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import redis

from tests.chaos.installation import Installation
from tests.chaos.plan import BROKERS, Account

#: Faults of every call that changes an order: (kind, when, chance, seconds).
CALLS: tuple[tuple[str, str, float, float], ...] = (
    ("drop", "after", 0.07, 0),
    ("drop", "before", 0.05, 0),
    ("reset", "after", 0.04, 0),
    ("reset", "before", 0.03, 0),
    ("bad_gateway", "after", 0.05, 0),
    ("bad_gateway", "before", 0.04, 0),
    ("html", "after", 0.04, 0),
    ("html", "before", 0.02, 0),
    ("null", "after", 0.03, 0),
    ("empty", "after", 0.02, 0),
    ("garbage", "after", 0.02, 0),
    ("partial", "after", 0.05, 0),
    ("redirect", "after", 0.03, 0),
    ("redirect", "before", 0.03, 0),
    ("delay", "after", 0.04, 1.5),
    ("drip", "after", 0.03, 0.01),
    ("drip", "after", 0.008, 0.4),
    ("hang", "after", 0.01, 12),
    ("hang", "before", 0.006, 12),
)
#: Refusals in the broker's own words. They never take effect.
REFUSALS = (("rate_limit", 0.02), ("refuse", 0.02))
#: Faults of reading a book.
READS = (("bad_gateway", 0.06), ("html", 0.04), ("no_data", 0.10), ("drop", 0.03), ("delay", 0.05), ("partial", 0.03))
BOOKS = ("orders", "trades", "positions")


class Storm:
    """Everything that a run does to its installation from outside. Threads of one process, ended with it."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.plan = installation.plan
        self.folder = folder
        self.done: Counter[str] = Counter()
        self.notes: list[str] = []
        #: How often each fault hit, by broker.
        self.faults: dict[str, Counter[str]] = {broker: Counter() for broker in BROKERS}
        self._rng = random.Random(f"{self.plan.seed}/storm")
        self._calm = threading.Event()
        self._threads: list[threading.Thread] = []

    # Faults of the brokers

    def set_faults(self) -> None:
        """Half of all changes of orders go wrong; so does every third reading of a book."""
        for face in range(len(BROKERS)):
            for kind, when, chance, seconds in CALLS:
                for endpoint in ("place", "modify", "cancel"):
                    fault = {"kind": kind, "when": when, "probability": chance, "seconds": seconds}
                    self._fault(face, endpoint=endpoint, **fault)
            for kind, chance in REFUSALS:
                self._fault(face, endpoint="place", kind=kind, probability=chance)
            for kind, chance in READS:
                for endpoint in BOOKS:
                    if (kind, endpoint) != ("no_data", "positions"):
                        self._fault(face, endpoint=endpoint, kind=kind, probability=chance, seconds=1.0)
            hidden = self.plan.visible_within * 0.7
            self._fault(face, endpoint="place", kind="invisible", probability=0.5, seconds=hidden)
            self._control(face, "POST", "settings", {"visible_seconds": min(0.3, hidden / 4), "ack_seconds": 0.05})

    def _fault(self, face: int, **values: Any) -> None:
        seed = self.plan.seed * 1000 + self.done["faults set"]
        self._control(face, "POST", "faults", {"count": 0, "seed": seed, **values})
        self.done["faults set"] += 1

    def clear_faults(self) -> None:
        """The brokers behave again; how often each fault hit is added up."""
        for face, broker in enumerate(BROKERS):
            for fault in self._control(face, "GET", "faults"):
                if fault["used"]:
                    self.faults[broker][f"{fault['endpoint']}: {fault['kind']} {fault['when']}"] += fault["used"]
            self._control(face, "DELETE", "faults")

    def _control(self, face: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.installation.control(face, method, path, body)

    # Life

    def begin(self) -> None:
        self._start(self._keep_alive)
        self._start(self._thaw)
        self._start(self._rage)
        for face, broker in enumerate(BROKERS):
            for account in self.plan.of(broker):
                if account.manual:
                    self._start(lambda face=face, account=account: self._person(face, account))  # type: ignore[misc]

    def calm(self) -> None:
        """No further blow; what has died is still started again."""
        self._calm.set()

    def end(self) -> None:
        self._calm.set()
        self._over = True
        for thread in self._threads:
            thread.join(30)

    _over = False

    def _start(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _keep_alive(self) -> None:
        while not self._over:
            self.installation.look_after()
            time.sleep(0.2)

    def _thaw(self) -> None:
        """Wake what the saboteur froze, unless it was killed meanwhile."""
        log = Tail(self.folder / "sabotage.jsonl")
        frozen: list[tuple[float, dict[str, Any]]] = []
        while not self._over or frozen:
            for line in log.read():
                if line["what"] == "stop":
                    frozen.append((line["wall_at"] + line["thaw_seconds"], line))
            for due, line in [each for each in frozen if each[0] <= time.time() or self._over]:
                frozen.remove((due, line))
                self.done["woken" if wake(line["pid"], line["pid_start"]) else "killed while frozen"] += 1
            time.sleep(0.1)

    # Blows

    def _rage(self) -> None:
        """One blow after another, spread over the storm in an order that the seed decides."""
        blows = self._blows()
        self._rng.shuffle(blows)
        pause = self.plan.storm_seconds * 0.92 / len(blows)
        began = time.time()
        for name, blow in blows:
            if self._calm.wait(pause * self._rng.uniform(0.6, 1.4)):
                return
            with suppress(redis.RedisError, psutil.Error, HTTPError, OSError):
                blow()
                self.done[name] += 1
                self.notes.append(f"{time.time() - began:.0f} s: {name}")

    def _blows(self) -> list[tuple[str, Callable[[], None]]]:
        times = max(1, round(self.plan.storm_seconds / 80))
        blows: list[tuple[str, Callable[[], None]]] = []
        for name, count, blow in (
            ("queue flushed", 2 * times, self._flush),
            ("queue server killed", times, self._kill_queue),
            ("database disturbed", times, self._disturb_database),
            ("beat killed", times, lambda: self.installation.kill_parent("beat")),
            ("worker's parent killed", 2 * times, self._kill_a_parent),
            ("worker's process killed", 4 * times, self._kill_a_child),
            ("session ended", 2 * times, self._end_session),
            ("session's book grown stale", 2 * times, self._stale_session),
            ("book stale for a while", 2 * times, self._stale_book),
        ):
            blows += [(name, blow)] * count
        return blows

    def _flush(self) -> None:
        with redis.Redis.from_url(self.installation.redis_url, socket_timeout=2) as client:
            client.flushall()

    def _kill_queue(self) -> None:
        queue = self.installation.queue
        assert queue is not None
        queue.kill()
        time.sleep(1.0)
        queue.start()

    def _disturb_database(self) -> None:
        self.notes.append(self.installation.database.disturb(2.0))

    def _kill_a_parent(self) -> None:
        self.installation.kill_parent(self._rng.choice([f"worker-{queue}" for queue in (*BROKERS, "mcube")]))

    def _kill_a_child(self) -> None:
        self.installation.kill_a_child(f"worker-{self._rng.choice([*BROKERS, 'mcube'])}", self._rng.random())

    def _some_account(self) -> tuple[int, Account]:
        face = self._rng.randrange(len(BROKERS))
        return face, self._rng.choice(self.plan.of(BROKERS[face]))

    def _end_session(self) -> None:
        face, account = self._some_account()
        if self._rng.random() < 0.5:
            self._control(face, "POST", "sessions/kill", {"account": account.user_id})
        else:
            dead = {"endpoint": "place", "kind": "session_dead", "account": account.user_id, "count": 1}
            self._control(face, "POST", "faults", dead)

    def _stale_session(self) -> None:
        face, account = self._some_account()
        stale = {"endpoint": "orders", "kind": "stale_book", "account": account.user_id, "until_login": True}
        self._control(face, "POST", "faults", stale | {"count": 0})

    def _stale_book(self) -> None:
        """Not for longer than the visibility bound: an older book in a fresh session is beyond what any rule can tell."""
        face, account = self._some_account()
        stale = {"endpoint": "orders", "kind": "stale_book", "account": account.user_id, "count": 0}
        self._control(face, "POST", "faults", stale | {"lasts": self.plan.visible_within * 0.7})

    # People

    def _person(self, face: int, account: Account) -> None:
        """Types orders that look like the strategy's, and now and then cancels one of the account's."""
        rng = random.Random(f"{self.plan.seed}/person/{account.broker}")
        journal = Tail(self.folder / f"journal-{account.broker}.jsonl")
        while not self._calm.wait(0.5):
            for line in journal.read():
                mine = line["what"] == "asked" and line["account"] == account.name and "symbol" in line
                if mine and rng.random() < 0.35:
                    self._type(face, account, line)

    def _type(self, face: int, account: Account, line: dict[str, Any]) -> None:
        order = {
            "account": account.user_id,
            "exchange": line["exchange"],
            "symbol": line["symbol"],
            "side": "BUY",
            "quantity": line["quantity"],
            "price": line["price"],
            "product": "CNC",
        }
        with suppress(HTTPError):
            self._control(face, "POST", "orders", order)
            self.done["orders typed by a person"] += 1


class Tail:
    """A growing log of JSON lines, read on from where it was left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The whole lines that are new."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def wake(pid: int, started: float) -> bool:
    """SIGCONT to a process that is still the one that was frozen; False when it is gone."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - started) > 0.01 or process.status() == psutil.STATUS_ZOMBIE:
            return False
        process.resume()
    except psutil.NoSuchProcess:
        return False
    return True
