"""How values look to a person: rupees with Indian grouping, ages, and the colour of a state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.domain.enums import OrderStatus
from brokers.domain.gtt import GttStatus
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.domain.redaction import redact
from brokers.models import BrokerOrder, DayRecord, KillSwitch, SessionState, Severity
from brokers.models.snapshots import Snapshot
from brokers.plans.status import PlanState

NOTHING = "–"


def colours(members: Iterable[str], special: Mapping[str, str]) -> dict[str, str]:
    """A label colour for every member; the theme shows a member without one by its raw value."""
    return {member: special.get(member, "") for member in members}


# The theme's labels: what is well, what needs a look, what needs a person now.
INTENT_COLOURS = colours(
    IntentState,
    {
        IntentState.READY: "info",
        IntentState.ARMED: "info",
        IntentState.WORKING: "primary",
        IntentState.UNKNOWN: "danger",
        IntentState.ABSENT: "warning",
        IntentState.NEEDS_HUMAN: "danger",
        IntentState.AWAITING_APPROVAL: "warning",
        IntentState.NOT_PLACED: "warning",
        IntentState.DENIED: "warning",
        IntentState.LAPSED: "warning",
        IntentState.REFUSED: "warning",
        IntentState.REJECTED: "warning",
        IntentState.FILLED: "success",
        IntentState.DONE: "success",
    },
)
#: What a state that calls for attention is called; the others go by their own names.
STATE_WORDS = {
    IntentState.NEEDS_HUMAN: "needs you",
    IntentState.UNKNOWN: "not known",
    IntentState.ABSENT: "proved absent",
    IntentState.AWAITING_APPROVAL: "awaits approval",
    IntentState.NOT_PLACED: "not placed",
}
ATTEMPT_COLOURS = colours(
    AttemptOutcome,
    {
        AttemptOutcome.ARMED: "info",
        AttemptOutcome.ACKED: "success",
        AttemptOutcome.ADOPTED: "success",
        AttemptOutcome.REFUSED: "warning",
        AttemptOutcome.UNKNOWN: "danger",
    },
)
SESSION_COLOURS = colours(
    SessionState.Status,
    {
        SessionState.Status.VALID: "success",
        SessionState.Status.LOGGING_IN: "info",
        SessionState.Status.EXPIRED: "warning",
        SessionState.Status.NEEDS_PERSON: "warning",
        SessionState.Status.FAILED: "danger",
    },
)
GTT_COLOURS = colours(
    GttStatus,
    {
        GttStatus.ACTIVE: "primary",
        GttStatus.TRIGGERED: "success",
        GttStatus.REJECTED: "warning",
        GttStatus.UNKNOWN: "danger",
    },
)
ORIGIN_COLOURS = colours(
    BrokerOrder.Origin, {BrokerOrder.Origin.SUSPECT: "danger", BrokerOrder.Origin.EXTERNAL: "warning"}
)
STATUS_COLOURS = colours(
    OrderStatus,
    {
        OrderStatus.OPEN: "primary",
        OrderStatus.PENDING: "info",
        OrderStatus.TRIGGER_PENDING: "info",
        OrderStatus.PARTIALLY_FILLED: "primary",
        OrderStatus.FILLED: "success",
        OrderStatus.REJECTED: "warning",
        OrderStatus.UNKNOWN: "danger",
    },
)
PLAN_COLOURS = colours(
    PlanState,
    {
        PlanState.RUNNING: "info",
        PlanState.WAITING: "warning",
        PlanState.STOPPED: "danger",
        PlanState.PARTIAL: "warning",
        PlanState.DONE: "success",
    },
)
SWITCH_COLOURS = {
    KillSwitch.State.ACTIVE: "success",
    KillSwitch.State.REDUCING: "warning",
    KillSwitch.State.HALTED: "danger",
}
SEVERITY_COLOURS = {
    str(Severity.INFO): "info",
    str(Severity.WARNING): "warning",
    str(Severity.CRITICAL): "danger",
}
SNAPSHOT_COLOURS = {str(Snapshot.Status.OK): "success", "LATE": "warning", str(Snapshot.Status.FAILED): "danger"}
DAY_COLOURS = {DayRecord.Status.OK: "success", DayRecord.Status.FAILED: "danger"}


def rupees(amount: Decimal | None) -> str:
    """``₹12,34,567.50``, or a dash when the figure is not known."""
    if amount is None:
        return NOTHING
    whole, _, fraction = f"{abs(amount):.2f}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    pairs = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return f"{'-' if amount < 0 else ''}₹{','.join([*pairs, tail])}.{fraction}"


def price(amount: Decimal | None) -> str:
    """A price of one unit, without needless zeros."""
    if amount is None:
        return NOTHING
    return f"{amount:.4f}".rstrip("0").rstrip(".") if amount % 1 else f"{amount:.0f}"


def span(duration: timedelta) -> str:
    """``4 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``: the two largest units."""
    seconds = int(abs(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    if seconds < 3600:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if not days else f"{days} d {hours} h"


def age(moment: datetime | None, now: datetime) -> str:
    """``12 min ago`` or ``in 3 h 5 min``."""
    if moment is None:
        return NOTHING
    return f"{span(now - moment)} ago" if moment <= now else f"in {span(moment - now)}"


def facts(values: Mapping[str, object]) -> str:
    """Evidence as text, one line a fact, with secrets masked."""
    shown = redact(values)
    if not isinstance(shown, dict):
        return ""
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in shown.items()
        if value not in (None, "", [], {})
    )


def state_word(state: str) -> str:
    """A state as a person reads it."""
    return STATE_WORDS.get(IntentState(state), state.replace("_", " ").lower())
