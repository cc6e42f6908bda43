"""Makes sure that the sender of an attempt is dead before anybody judges the attempt.

A broker cannot check a lease, so a process that only seems to be gone may still write. Who armed an attempt is
written with it; it is killed if it lives on past every timeout, and judged when it is seen to be gone.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import psutil
from django.db import transaction

from brokers.alerts import raise_alert
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentState
from brokers.ledger import queries
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import HumanDecision, OrderAttempt, Severity

#: How long an attempt of another machine is left to that machine before a person is asked.
ELSEWHERE_PATIENCE = timedelta(minutes=1)

#: Attempts that this process is sending now.
_under_way: set[int] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    #: The host's name and its space of process ids, since those of a container mean nothing outside it.
    host: str
    #: Changes with every boot of the machine.
    boot_id: str
    pid: int
    #: When that process started: clock ticks since boot, or milliseconds since the epoch without /proc.
    pid_start: int


class Fate(StrEnum):
    DEAD = "dead"
    ALIVE = "alive"
    #: Nobody here can tell.
    ELSEWHERE = "elsewhere"


def this_process() -> Sender:
    """The running process; asked again after a fork, it answers for the child."""
    return _sender(os.getpid())


@contextmanager
def sending(attempt: OrderAttempt) -> Iterator[None]:
    """Around the sending of an attempt: inside, its own process takes it for alive."""
    _under_way.add(attempt.pk)
    try:
        yield
    finally:
        _under_way.discard(attempt.pk)


def fence(now: datetime) -> list[OrderAttempt]:
    """Judge every armed attempt past its timeouts; return those that are UNKNOWN now.

    A sender that still lives is killed and judged at the next call. One of another machine is left to it, and
    to a person after a minute.
    """
    judged: list[OrderAttempt] = []
    overdue = queries.overdue(now)
    if not overdue.exists():
        # As nearly always, and the rows with all that belongs to them are not asked for.
        return judged
    for attempt in overdue:
        fate = fate_of(attempt)
        if fate is Fate.DEAD and _declare_unknown(attempt, f"its sender, process {attempt.pid}, is gone", now):
            judged.append(attempt)
        elif fate is Fate.ALIVE:
            _kill(attempt, now)
        elif fate is Fate.ELSEWHERE and now > attempt.quiet_at + ELSEWHERE_PATIENCE:
            _ask_person(attempt, f"on {attempt.host}, and nobody there has judged it", now)
    return judged


def fate_of(attempt: OrderAttempt) -> Fate:
    """Whether the process that armed an attempt can still write."""
    here = this_process()
    if attempt.host != here.host:
        # The same name in another space of process ids is a container that was replaced.
        same_name = attempt.host.partition("/")[0] == here.host.partition("/")[0]
        return Fate.DEAD if same_name else Fate.ELSEWHERE
    if attempt.boot_id != here.boot_id:
        return Fate.DEAD
    if (attempt.pid, attempt.pid_start) == (here.pid, here.pid_start):
        return Fate.ALIVE if attempt.pk in _under_way else Fate.DEAD
    return Fate.ALIVE if started(attempt.pid) == attempt.pid_start else Fate.DEAD


def declare_dead(attempt: OrderAttempt, *, by: str, reason: str, at: datetime) -> None:
    """Take a person's word that the sender of an attempt is gone, e.g. its machine.

    :raises OrderDenied: its sender has reported or was judged, or may still be within its timeouts.
    """
    if attempt.outcome != AttemptOutcome.ARMED:
        raise OrderDenied(f"{attempt} is {attempt.outcome}; its sender is of no more account.")
    if at <= attempt.quiet_at:
        raise OrderDenied(f"{attempt} may still be answered; say this not before {attempt.quiet_at.isoformat()}.")
    with transaction.atomic():
        HumanDecision.objects.create(
            intent=attempt.intent, attempt=attempt, kind=HumanDecision.Kind.DEAD, decided_by=by, reason=reason, at=at
        )
        if not _declare_unknown(attempt, f"{by} says that its sender is gone: {reason}", at):
            raise OrderDenied(f"{attempt} was judged meanwhile; look at it again.")


def started(pid: int) -> int | None:
    """When a process started, as in :class:`Sender`; None when there is none, or only what its parent has not reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 1000)
    except psutil.NoSuchProcess:
        return None


def _kill(attempt: OrderAttempt, now: datetime) -> None:
    """End a sender that overran, after another look at who it is."""
    if attempt.pid == os.getpid() or started(attempt.pid) != attempt.pid_start:
        return
    try:
        os.kill(attempt.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        _ask_person(attempt, f"in process {attempt.pid}, which lives on and belongs to another user", now)


def _declare_unknown(attempt: OrderAttempt, cause: str, now: datetime) -> bool:
    """False when its sender reported first."""
    evidence = {name: getattr(attempt, name) for name in ("host", "boot_id", "pid", "pid_start", "number")}
    try:
        with transaction.atomic():
            armed = OrderAttempt.objects.filter(pk=attempt.pk, outcome=AttemptOutcome.ARMED)
            if not armed.update(outcome=AttemptOutcome.UNKNOWN):
                return False
            move(attempt.intent, IntentState.UNKNOWN, actor=Actor.SWEEPER, cause=cause, at=now, evidence=evidence)
    except StaleIntent:
        return False
    attempt.outcome = AttemptOutcome.UNKNOWN
    return True


def _ask_person(attempt: OrderAttempt, where: str, now: datetime) -> None:
    raise_alert(
        "sender_not_judged",
        str(attempt.pk),
        severity=Severity.CRITICAL,
        happened=f"{attempt} was armed {where}.",
        meaning="It may be at the broker, and its sender may still send it; nobody looks for it before that is certain.",
        to_do="Make sure that the machine or process is gone, then declare its sender dead on the intent's page.",
        at=now,
        account=attempt.intent.account,
        intent=attempt.intent,
    )


@lru_cache(maxsize=4)
def _sender(pid: int) -> Sender:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot_id, space = str(int(psutil.boot_time())), ""
    return Sender(host=f"{socket.gethostname()[:48]}/{space}", boot_id=boot_id, pid=pid, pid_start=started(pid) or 0)
