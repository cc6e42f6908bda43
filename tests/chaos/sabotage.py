"""The saboteur: loaded into the workers and strategies of a chaos run, and into nothing else.

It wraps named seams of the product and kills (SIGKILL) or freezes (SIGSTOP) its own process at a labelled point, by a
seeded hash of intent, attempt and label, as often as the plan wants each point hit. Before that it adds a line to
``sabotage.jsonl``. It also writes who sends into each order request's ``X-Reference`` header, which the simulated
exchange keeps in its truth log and the product never sees.

``CHAOS_FOLDER`` names the folder of the run; without it nothing is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import psutil

from brokers.discovery import specs
from tests.chaos.labels import BY_NAME, LABELS, Label, Who

FOLDER = "CHAOS_FOLDER"
#: Makes settling treat "it may be there" as "it was not sent": a ledger that the checker must find out.
BREAK_THE_LEDGER = "CHAOS_BREAK_THE_LEDGER"
#: Files of the folder that say which phase it is: all points, or those of the keepers only.
STORM, AFTERMATH = "storm", "aftermath"
#: Whose worker this is; nothing in a strategy.
QUEUE = sys.argv[sys.argv.index("--queues") + 1] if "--queues" in sys.argv else ""
#: The point that every intent passes once.
EACH_INTENT = "submit.in_transaction"
#: Chance of a blow at a point that is behind its quota, by who passes it, and at one that is not. A keeper passes many
#: points in a row, and is to live long enough to answer something.
EAGER = {Who.STRATEGY: 0.3, Who.SENDER: 0.3, Who.KEEPER: 0.15}
EAGER_WHERE_RARE = 0.4
#: The same once everything was asked for: what was rolled back passes its point again, and is struck there again.
EAGER_WHERE_RARE_AND_LATE = 0.8
#: Some wishes find no order to change, and are none.
NEARLY_ALL = 0.95
LAZY = 0.003
#: Points inside the transaction of a move, by its actor and the state it leaves.
MOVES = {
    ("SENDER", "ARMED"): "settle.in_transaction",
    ("SWEEPER", "ARMED"): "fence.in_transaction",
    ("RECONCILER", "UNKNOWN"): "judge.in_transaction",
    ("POLICY", "ABSENT"): "resend.in_transaction",
    ("BOOK", "WORKING"): "book.in_transaction",
}
#: The longest that a frozen process stays so before the harness wakes it, by which time the product may have killed it.
THAW_SECONDS = (0.5, 2.0, 4.5, 8.0, 25.0)


@dataclass(kw_only=True)
class Sending:
    """What this process is sending now."""

    key: str
    attempt: int
    writes: int = 0
    has_reply: bool = False


_sending: ContextVar[Sending | None] = ContextVar("chaos_sending", default=None)


@dataclass(kw_only=True)
class Saboteur:
    """Decides, writes it down, and does it. Counts are the sizes of files that every process appends to."""

    folder: Path
    seed: int
    #: How often each point is to be hit in the storm, and frozen at.
    kills: int
    stops: int
    #: Intents that the strategies will record: the storm is as old as the part of them that is there.
    intents: int
    _passes: dict[str, int] = field(default_factory=dict)
    _hits: dict[tuple[str, str], int] = field(default_factory=dict)
    _log: int = -1

    def open(self) -> None:
        """Open the counters once; forked children share them, and an append is never torn."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        for kind in ("passes", "kill", "stop"):
            (self.folder / kind).mkdir(exist_ok=True)
        for label in LABELS:
            self._passes[label.name] = os.open(self.folder / "passes" / label.name, flags, 0o600)
            for kind in ("kill", "stop"):
                self._hits[kind, label.name] = os.open(self.folder / kind / label.name, flags, 0o600)
        self._log = os.open(self.folder / "sabotage.jsonl", flags, 0o600)

    def at(self, name: str, key: object = "", attempt: int | None = None) -> None:
        """Pass a point, perhaps not alive."""
        if kind := self.verdict(name, key, attempt):
            self.strike(kind, name, key, attempt)

    def verdict(self, name: str, key: object = "", attempt: int | None = None) -> str:
        """``kill``, ``stop`` or nothing."""
        label = BY_NAME[name]
        if not self._is_on(label):
            return ""
        os.write(self._passes[name], b".")
        # A point without an attempt is passed again and again by the same intent: each time is another try.
        nonce = os.fstat(self._passes[name]).st_size if attempt is None else attempt
        if self._chance("kill", name, key, nonce) < self._likelihood("kill", name, self.kills):
            return "kill"
        if label.freezes and self._chance("stop", name, key, nonce) < self._likelihood("stop", name, self.stops):
            return "stop"
        return ""

    def strike(self, kind: str, name: str, key: object = "", attempt: int | None = None) -> None:
        """Write it down, then do it."""
        thaw = THAW_SECONDS[int(self._chance("thaw", name, key, attempt or 0) * len(THAW_SECONDS))]
        line = {
            "what": kind,
            "label": name,
            "key": str(key),
            "attempt": attempt,
            "queue": QUEUE,
            "pid": os.getpid(),
            "pid_start": psutil.Process().create_time(),
            "wall_at": time.time(),
            "thaw_seconds": thaw if kind == "stop" else None,
        }
        os.write(self._hits[kind, name], b".")
        os.write(self._log, (json.dumps(line) + "\n").encode())
        os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSTOP)

    def _is_on(self, label: Label) -> bool:
        if (self.folder / STORM).exists():
            return True
        return label.who is Who.KEEPER and (self.folder / AFTERMATH).exists()

    def _likelihood(self, kind: str, name: str, quota: int) -> float:
        if not quota:
            return 0.0
        hits = os.fstat(self._hits[kind, name]).st_size
        if hits + 0.5 < quota * self._progress():
            label = BY_NAME[name]
            if label.is_rare:
                return EAGER_WHERE_RARE_AND_LATE if self._asked() > NEARLY_ALL else EAGER_WHERE_RARE
            return EAGER[label.who]
        return LAZY if hits < 2 * quota else 0.0

    def _progress(self) -> float:
        """The part of the storm that is over; a little ahead, so that quotas are met before its end."""
        if not (self.folder / STORM).exists():
            return 1.0
        return min(1.0, 1.2 * self._asked())

    def _asked(self) -> float:
        """The part of what the strategies will record that they have."""
        return os.fstat(self._passes[EACH_INTENT]).st_size / self.intents

    def _chance(self, *parts: object) -> float:
        digest = hashlib.sha256("|".join(map(str, (self.seed, *parts))).encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64


def _wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function or method; a seam that is no longer there is an error, not a gap."""
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(make(original)))


def install(saboteur: Saboteur) -> None:
    """Wrap every seam. Once in the parent of a worker, or in a strategy."""
    from brokers.factory import load_adapter

    if QUEUE in specs():
        # Loaded by the parent, since its children are replaced all the time.
        load_adapter(QUEUE)
    _references()
    _sender_seams(saboteur)
    _wire_seams(saboteur)
    _keeper_seams(saboteur)
    _row_seams(saboteur)
    if os.environ.get(BREAK_THE_LEDGER):
        _break_the_ledger()


def install_in_strategy(saboteur: Saboteur) -> None:
    """What a strategy's process passes besides."""
    from django.db.models.signals import post_save

    from brokers.models import OrderIntent
    from tasks import ledger

    def recorded(instance: OrderIntent, created: bool, **_: object) -> None:
        if created:
            saboteur.at("submit.in_transaction", instance.client_order_id)

    post_save.connect(recorded, sender=OrderIntent, weak=False, dispatch_uid="chaos")

    def ring(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(intent: OrderIntent, **options: Any) -> None:
            saboteur.at("submit.recorded", intent.client_order_id)
            original(intent, **options)
            saboteur.at("submit.rung", intent.client_order_id)

        return around

    _wrap(ledger, "ring", ring)


def _references() -> None:
    """Say who sends, in a header that no broker looks at."""
    from brokers.wire import Wire

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def request(self: Wire, method: str, url: str, headers: Any = None, body: bytes = b"") -> Any:
            sending = _sending.get()
            if sending is not None:
                reference = f"{sending.key}#{sending.attempt}#{os.getpid()}"
                headers = {**(headers or {}), "X-Reference": reference}
            return original(self, method, url, headers, body)

        return request

    _wrap(Wire, "request", make)


def _sender_seams(saboteur: Saboteur) -> None:
    from brokers.ledger import delivery
    from tasks import ledger as order_tasks

    def deliver(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(intent_id: int) -> Any:
            saboteur.at("deliver.entry", intent_id)
            return original(intent_id)

        return around

    def arm(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(intent: Any, *rest: Any, **more: Any) -> Any:
            saboteur.at("arm.before", intent.client_order_id)
            attempt = original(intent, *rest, **more)
            saboteur.at("arm.committed", intent.client_order_id, attempt.number)
            return attempt

        return around

    def send(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(intent: Any, attempt: Any, *rest: Any, **more: Any) -> Any:
            token = _sending.set(Sending(key=intent.client_order_id, attempt=attempt.number))
            try:
                return original(intent, attempt, *rest, **more)
            finally:
                _sending.reset(token)

        return around

    def settle(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(intent: Any, attempt: Any, *rest: Any, **more: Any) -> None:
            saboteur.at("settle.before", intent.client_order_id, attempt.number)
            original(intent, attempt, *rest, **more)
            saboteur.at("settle.committed", intent.client_order_id, attempt.number)

        return around

    _wrap(order_tasks, "try_to_deliver", deliver)
    _wrap(delivery, "_arm", arm)
    _wrap(delivery, "_send", send)
    _wrap(delivery, "settle", settle)


def _wire_seams(saboteur: Saboteur) -> None:
    from brokers import wire

    def connect(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(self: Any, *rest: Any, **more: Any) -> Any:
            stream = original(self, *rest, **more)
            if sending := _sending.get():
                saboteur.at("wire.connected", sending.key, sending.attempt)
            return stream

        return around

    def write(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(self: Any, buffer: bytes, timeout: float | None = None) -> None:
            if sending := _sending.get():
                _write(saboteur, sending, self, buffer, lambda part: original(self, part, timeout))
            else:
                original(self, buffer, timeout)

        return around

    def read(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(self: Any, *rest: Any, **more: Any) -> Any:
            found = original(self, *rest, **more)
            sending = _sending.get()
            if sending and found and not sending.has_reply:
                sending.has_reply = True
                saboteur.at("wire.reply", sending.key, sending.attempt)
            return found

        return around

    def gate(original: Callable[..., Any]) -> Callable[..., Any]:
        def around(self: Any) -> None:
            original(self)
            sending = _sending.get()
            if sending and sending.writes == 1:
                saboteur.at("wire.after_the_gate", sending.key, sending.attempt)

        return around

    _wrap(wire._Backend, "connect_tcp", connect)
    _wrap(wire._Stream, "write", write)
    _wrap(wire._Stream, "read", read)
    _wrap(wire.Wire, "note_first_byte", gate)


def _write(saboteur: Saboteur, sending: Sending, stream: Any, buffer: bytes, write: Callable[[bytes], None]) -> None:
    """One write of a request: the first is its headers, the second its body."""
    sending.writes += 1
    if sending.writes > 2:
        write(buffer)
        return
    first = sending.writes == 1
    saboteur.at("wire.before_first_byte" if first else "wire.headers", sending.key, sending.attempt)
    half = "wire.half_headers" if first else "wire.half_body"
    if kind := saboteur.verdict(half, sending.key, sending.attempt):
        middle = len(buffer) // 2
        write(buffer[:middle])
        saboteur.strike(kind, half, sending.key, sending.attempt)
        # Past the wire's own look at the deadline, as a process is that the kernel froze in the middle of a write.
        stream._inner.write(buffer[middle:], 5.0)
    else:
        write(buffer)
    if not first:
        saboteur.at("wire.body", sending.key, sending.attempt)


def _keeper_seams(saboteur: Saboteur) -> None:
    from brokers.ledger import book, operations
    from brokers.recovery import fencing, matching, reconciliation

    def around(before: str, after: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*rest: Any, **more: Any) -> Any:
                if before:
                    saboteur.at(before)
                found = original(*rest, **more)
                if after:
                    saboteur.at(after)
                return found

            return call

        return make

    _wrap(operations, "sweep", around("sweep.entry", "sweep.exit"))
    _wrap(book, "apply_book", around("book.read", "book.exit"))
    _wrap(reconciliation, "recover", around("recover.entry", ""))
    _wrap(fencing, "fence", around("", "fence.judged"))
    _wrap(reconciliation, "read_book", around("reading.before", "reading.after"))
    _wrap(reconciliation, "declare_absent", around("", "judge.committed"))
    _wrap(matching, "adopt", around("", "judge.committed"))


def _row_seams(saboteur: Saboteur) -> None:
    """Points at which a row is written; but for the announcement of a reading nothing is committed."""
    from django.db.models.signals import post_save

    from brokers.models import BookRead, OrderAttempt, OrderEvent

    def armed(instance: OrderAttempt, created: bool, **_: object) -> None:
        if created:
            saboteur.at("arm.in_transaction", instance.intent.client_order_id, instance.number)

    def moved(instance: OrderEvent, created: bool, **_: object) -> None:
        name = MOVES.get((instance.actor, instance.from_state))
        if created and name:
            attempt = instance.sequence if name == "settle.in_transaction" else None
            saboteur.at(name, instance.intent.client_order_id, attempt)

    def announced(instance: BookRead, created: bool, **_: object) -> None:
        if created:
            saboteur.at("reading.under_way", instance.pk)

    post_save.connect(announced, sender=BookRead, weak=False, dispatch_uid="chaos")
    post_save.connect(armed, sender=OrderAttempt, weak=False, dispatch_uid="chaos")
    post_save.connect(moved, sender=OrderEvent, weak=False, dispatch_uid="chaos")


def _break_the_ledger() -> None:
    """What an ordinary task with retries does: no answer means that it was not sent."""
    from dataclasses import replace

    from brokers.domain.order_states import AttemptOutcome, IntentState
    from brokers.ledger import delivery

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def classify(*rest: Any, **more: Any) -> Any:
            found = original(*rest, **more)
            if found.outcome is not AttemptOutcome.UNKNOWN:
                return found
            return replace(found, outcome=AttemptOutcome.NOT_SENT, state=IntentState.READY)

        return classify

    _wrap(delivery, "classify", make)


def of_this_run() -> Saboteur | None:
    """The saboteur that the environment describes."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    plan = json.loads((Path(folder) / "plan.json").read_text())
    saboteur = Saboteur(
        folder=Path(folder),
        seed=plan["seed"],
        kills=plan["kills"],
        stops=plan["stops"],
        intents=2 * plan["intents"],
    )
    saboteur.open()
    return saboteur


if "celery" in sys.modules and sys.argv[0].endswith("celery/__main__.py") and (found := of_this_run()):
    install(found)
