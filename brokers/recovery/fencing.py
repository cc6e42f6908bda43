"""Makes sure that the sender of an attempt is dead before anybody judges the attempt.

A broker cannot check a lease, so a process that only seems to be gone may still write. Who armed an attempt is
written with it; it is killed if it lives on past every timeout, and judged when it is seen to be gone.
"""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import transaction

from brokers.alerts import close_alert, raise_alert
from brokers.clock import IST
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentState
from brokers.ledger import queries, sender
from brokers.ledger.transitions import StaleIntent, move
from brokers.models import HumanDecision, OrderAttempt, Severity

#: How long an attempt of another machine is left to that machine before a person is asked.
ELSEWHERE_PATIENCE = timedelta(minutes=1)
#: What asks a person about a sender; taken back when the sender reports after all, or its attempt is judged.
_KIND = "sender_not_judged"


class Fate(StrEnum):
    DEAD = "dead"
    ALIVE = "alive"
    #: Nobody here can tell.
    ELSEWHERE = "elsewhere"


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
    here = sender.this_process()
    if attempt.host != here.host:
        # The same name in another space of process ids is a container that was replaced.
        same_name = attempt.host.partition("/")[0] == here.host.partition("/")[0]
        return Fate.DEAD if same_name else Fate.ELSEWHERE
    if attempt.boot_id != here.boot_id:
        return Fate.DEAD
    if (attempt.pid, attempt.pid_start) == (here.pid, here.pid_start):
        return Fate.ALIVE if sender.is_sending(attempt.pk) else Fate.DEAD
    return Fate.ALIVE if sender.started(attempt.pid) == attempt.pid_start else Fate.DEAD


def declare_dead(attempt: OrderAttempt, *, by: str, reason: str, at: datetime) -> None:
    """Take a person's word that the sender of an attempt is gone, e.g. its machine.

    :raises OrderDenied: its sender has reported or was judged, or may still be within its timeouts.
    """
    if attempt.outcome != AttemptOutcome.ARMED:
        raise OrderDenied(f"{attempt} is {attempt.outcome}; its sender is of no more account.")
    if at <= attempt.quiet_at:
        quiet_at = f"{attempt.quiet_at.astimezone(IST):%H:%M:%S} IST"
        raise OrderDenied(f"{attempt} may still be answered; say this not before {quiet_at}.")
    with transaction.atomic():
        HumanDecision.objects.create(
            intent=attempt.intent, attempt=attempt, kind=HumanDecision.Kind.DEAD, decided_by=by, reason=reason, at=at
        )
        if not _declare_unknown(attempt, f"{by} says that its sender is gone: {reason}", at):
            raise OrderDenied(f"{attempt} was judged meanwhile; look at it again.")


def _kill(attempt: OrderAttempt, now: datetime) -> None:
    """End a sender that overran, after another look at who it is."""
    if attempt.pid == os.getpid() or sender.started(attempt.pid) != attempt.pid_start:
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
            close_alert(_KIND, str(attempt.pk), because=cause, at=now)
            move(attempt.intent, IntentState.UNKNOWN, actor=Actor.SWEEPER, cause=cause, at=now, evidence=evidence)
    except StaleIntent:
        return False
    attempt.outcome = AttemptOutcome.UNKNOWN
    return True


def _ask_person(attempt: OrderAttempt, where: str, now: datetime) -> None:
    with transaction.atomic():
        # It may have reported since, and an alert of it would then be closed by nobody.
        if not OrderAttempt.objects.select_for_update().filter(pk=attempt.pk, outcome=AttemptOutcome.ARMED):
            return
        raise_alert(
            _KIND,
            str(attempt.pk),
            severity=Severity.CRITICAL,
            happened=f"{attempt} was armed {where}.",
            meaning="It may be at the broker, and its sender may still send it; nobody looks for it before that is "
            "certain.",
            to_do="Make sure that the machine or process is gone, then declare its sender dead on the intent's page.",
            at=now,
            account=attempt.intent.account,
            intent=attempt.intent,
        )
