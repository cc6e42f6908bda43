"""The proof that an order is not at the broker. Everything that is not part of the proof proves nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from brokers import slots
from brokers.discovery import spec_of
from brokers.domain.enums import Side
from brokers.domain.order_states import IntentState
from brokers.models import (
    BookRead,
    BrokerAccount,
    BrokerOrder,
    HumanDecision,
    OrderAttempt,
    PositionSnapshot,
    TradeFill,
)
from brokers.recovery.agenda import Question
from brokers.recovery.reading import place_of
from brokers.recovery.visibility import SPACING, scaled

#: Complete readings that an absence needs.
READINGS = 3
#: A reading of the positions from before the order counts when it is no older than this.
BASELINE_AGE = timedelta(minutes=5)
#: Brokers state the whole second of a fill, and their clock is not ours: positions read this near to a fill may hold
#: it or not, and prove nothing.
RESTLESS = timedelta(seconds=2)


def readings_since(account_id: int, moment: datetime) -> list[BookRead]:
    """The account's readings that can be part of a proof, oldest first."""
    return list(
        BookRead.objects.filter(
            account_id=account_id, started_at__gt=moment, complete=True, positions__isnull=False
        ).order_by("started_at")
    )


def controlled_from(account: BrokerAccount, exchange: str, mirror: list[BrokerOrder]) -> datetime | None:
    """From when on a complete reading has its positive control: another order known to be there, and shown.

    Where the broker keeps a book for each exchange, it is one of the same exchange. None while there is none.
    """
    by_exchange = spec_of(account.broker).capabilities.book_by_exchange
    known = [order.first_seen_at for order in mirror if not by_exchange or order.exchange == exchange]
    return min(known, default=None)


def proof(attempt: OrderAttempt, proof_at: datetime, readings: list[BookRead]) -> dict[str, Any] | None:
    """What proves that the order of an attempt is not there; None while something is missing.

    The sender has reported or is dead, which UNKNOWN says. After the time in which the order had to appear there
    are three complete readings of the book, apart from one another, one of them by a session opened after the
    attempt; none of them showed the order, or it would not be UNKNOWN any more. Meanwhile the position in its
    symbol changed by nothing but fills that are known.
    """
    spaced = enough(attempt, proof_at, readings)
    if not spaced or not _position_is_explained(attempt, spaced):
        return None
    return {
        "readings": [reading.pk for reading in spaced],
        "fresh_reading": _fresh(attempt, spaced)[0].pk,
        "waited_until": proof_at.isoformat(),
        "position": [_net(attempt, reading) for reading in spaced],
    }


def enough(attempt: OrderAttempt | Question, proof_at: datetime, readings: list[BookRead]) -> list[BookRead]:
    """The readings that a proof may rest on; empty while they are too few, or none is by a session opened since."""
    spaced: list[BookRead] = []
    for reading in readings:
        if reading.started_at > proof_at and (
            not spaced or reading.started_at - spaced[-1].started_at >= scaled(SPACING)
        ):
            spaced.append(reading)
    return spaced if len(spaced) >= READINGS and _fresh(attempt, spaced) else []


def _fresh(attempt: OrderAttempt | Question, readings: list[BookRead]) -> list[BookRead]:
    """Those by a session that was opened after the attempt."""
    return [reading for reading in readings if reading.session_version > attempt.session_version]


def _position_is_explained(attempt: OrderAttempt, readings: list[BookRead]) -> bool:
    restless = _moments_of_fills(attempt)
    calm = [each for each in readings if _is_calm(_read_at(each), restless)]
    # One alone compares with nothing.
    compared = calm if len(calm) > 1 else readings
    first, last = compared[0], compared[-1]
    if not _fits(attempt, _net(attempt, last) - _net(attempt, first), _read_at(first), _read_at(last)):
        return False
    before = slots.taken_until(
        PositionSnapshot, attempt.intent.account, attempt.armed_at, since=attempt.armed_at - BASELINE_AGE
    )
    baseline = next((each for each in before if each.taken_at and _is_calm(each.taken_at, restless)), None)
    if baseline is None or baseline.taken_at is None:
        return True
    lines = baseline.lines.filter(exchange=attempt.intent.exchange, symbol=attempt.intent.symbol)
    change = _net(attempt, last) - sum(lines.values_list("quantity", flat=True))
    return _fits(attempt, change, baseline.taken_at, _read_at(last))


def judged_from(attempt: OrderAttempt) -> datetime:
    """From when on an order that was first seen was not known to whoever called the attempt absent.

    Not when the intent was last moved: it goes on when it is sent again, and readings are made all the time. Who
    answered for a later attempt had the candidates of this one before them as well.
    """
    answers = attempt.intent.decisions.filter(kind__in=[HumanDecision.Kind.NOT_PLACED, HumanDecision.Kind.RESEND])
    decision = answers.order_by("-at").first()
    if decision is not None:
        return decision.at
    proved = attempt.intent.events.filter(from_state=IntentState.UNKNOWN, to_state=IntentState.ABSENT)
    event = proved.filter(at__gte=attempt.armed_at).earliest("sequence")
    return BookRead.objects.filter(pk__in=event.evidence["readings"]).latest("started_at").started_at


def _read_at(reading: BookRead) -> datetime:
    return reading.finished_at or reading.started_at


def _moments_of_fills(attempt: OrderAttempt) -> list[datetime]:
    return [moment for moment in _fills(attempt).values_list("filled_at", flat=True) if moment]


def _is_calm(moment: datetime, restless: list[datetime]) -> bool:
    """Whether nothing was filled so near to it that nobody can say which came first."""
    return all(abs(moment - filled_at) > RESTLESS for filled_at in restless)


def _fits(attempt: OrderAttempt, change: int, begins: datetime, ends: datetime) -> bool:
    """Whether a change of the position is none, or that of the known fills between two moments."""
    if not change:
        return True
    fills = _fills(attempt)
    between = (begins, ends)
    happened = fills.filter(Q(filled_at__range=between) | Q(filled_at__isnull=True, first_seen_at__range=between))
    return change in (_signed(happened), _signed(fills.filter(first_seen_at__range=between)))


def _fills(attempt: OrderAttempt) -> QuerySet[TradeFill]:
    """The known fills of its symbol in its account."""
    intent = attempt.intent
    return TradeFill.objects.filter(
        order__account=intent.account, order__exchange=intent.exchange, order__symbol=intent.symbol
    )


def _signed(fills: Any) -> int:
    return sum(
        quantity if side == Side.BUY else -quantity for quantity, side in fills.values_list("quantity", "order__side")
    )


def _net(attempt: OrderAttempt, reading: BookRead) -> int:
    held: dict[str, int] = reading.positions or {}
    return held.get(place_of(attempt.intent.exchange, attempt.intent.symbol), 0)
