"""Kill switches: for everything, an account, a strategy or a symbol. The strictest that applies holds.

They live in the ledger's database alone, so they work without the queue and its server. Every change
raises one epoch, which is read again just before an order's first byte.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from brokers.alerts import close_alert, raise_alert
from brokers.domain.enums import Mode
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import CANCEL_KINDS, IntentKind
from brokers.models import BrokerAccount, ChangeOf, KillSwitch, OrderIntent, RiskChange, Scope, Severity

State = KillSwitch.State

_STRICTNESS = {State.ACTIVE: 0, State.REDUCING: 1, State.HALTED: 2}
_TABLE = KillSwitch._meta.db_table
# Plain SQL, because these two run for every order.
_EPOCH = f"SELECT epoch FROM {_TABLE} WHERE scope = 'EVERYTHING'"  # noqa: S608
_APPLYING = (
    f"SELECT scope, scope_key, state, epoch, changed_by, reason FROM {_TABLE} WHERE scope = 'EVERYTHING' "  # noqa: S608
    "OR (scope = 'ACCOUNT' AND scope_key = %s) OR (scope = 'STRATEGY' AND scope_key = %s) "
    "OR (scope = 'SYMBOL' AND scope_key = %s)"
)
_SEVERITY = {State.ACTIVE: Severity.INFO, State.REDUCING: Severity.WARNING, State.HALTED: Severity.CRITICAL}
_MEANING = {
    State.ACTIVE: "Orders may go again.",
    State.REDUCING: "Only cancels, and orders that reduce a position, are sent; everything else is refused.",
    State.HALTED: "Only cancels are sent; every other order is refused, exits too.",
}


class Ruling(NamedTuple):
    """What the switches say of an order."""

    state: KillSwitch.State
    epoch: int
    #: Which switch says so, who set it, why and how it is undone; empty while ACTIVE.
    sentence: str


def set_switch(
    scope: Scope, scope_key: str, state: KillSwitch.State, *, by: str, reason: str, at: datetime
) -> KillSwitch:
    """Set a switch, in one transaction with its history, its alert and the next epoch.

    ``scope_key`` is ``broker/name`` of an account, a strategy's name or a symbol, and empty for everything.

    :raises ValidationError: there is no such account, or a key is missing or too many.
    """
    scope, state, scope_key = Scope(scope), KillSwitch.State(state), checked_key(scope, scope_key)
    with transaction.atomic():
        epoch = _next_epoch()
        switch, _ = KillSwitch.objects.get_or_create(scope=scope, scope_key=scope_key)
        before, switch.state = switch.state, state
        switch.reason, switch.changed_by, switch.changed_at = reason[:500], by[:150], at
        switch.save(update_fields=["state", "reason", "changed_by", "changed_at"])
        RiskChange.objects.create(
            what=ChangeOf.KILL_SWITCH,
            scope=scope,
            scope_key=scope_key,
            before={"state": before},
            after={"state": state, "epoch": epoch},
            changed_by=by[:150],
            reason=reason[:500],
            at=at,
        )
        # What it was set to before is over, and nobody need be called for it any more.
        close_alert("kill_switch", f"{scope}:{scope_key}", because=f"{by} set it to {state}", at=at)
        raise_alert(
            "kill_switch",
            f"{scope}:{scope_key}",
            severity=_SEVERITY[state],
            happened=f"{by} set {name_of(scope, scope_key)} to {state}: {reason}",
            meaning=_MEANING[state],
            to_do="Nothing." if state is State.ACTIVE else f"When it is over: {how_to_resume(scope, scope_key)}",
            at=at,
            account=_account_of(scope, scope_key),
        )
    switch.refresh_from_db()
    return switch


def state_for(account: BrokerAccount, strategy: str, symbol: str) -> Ruling:
    """The strictest switch that applies, and the epoch it was read at; one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_APPLYING, [str(account), strategy, symbol])
        rows = cursor.fetchall()
    ruling = Ruling(initial_state(), 0, "Nobody has switched live orders on yet; `manage.py halt --resume` does.")
    epoch = next((row[3] for row in rows if row[0] == Scope.EVERYTHING), None)
    if epoch is not None:
        ruling = Ruling(State.ACTIVE, epoch, "")
    for scope, key, state, _, by, reason in rows:
        if _STRICTNESS[State(state)] > _STRICTNESS[ruling.state]:
            sentence = (
                f"{_first_upper(name_of(scope, key))} is {state}, set by {by or 'nobody'}: {reason or 'no reason given'}; "
                f"{how_to_resume(scope, key)}"
            )
            ruling = Ruling(State(state), ruling.epoch, sentence)
    return ruling if ruling.state is not State.ACTIVE else ruling._replace(sentence="")


def epoch() -> int:
    """The epoch of the last change of any switch; one small statement."""
    with connection.cursor() as cursor:
        cursor.execute(_EPOCH)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def check(intent: OrderIntent) -> int:
    """The epoch under which the switches let the intent pass.

    :raises OrderDenied: one of them forbids it. Cancels always pass.
    """
    ruling = state_for(intent.account, intent.strategy, intent.symbol)
    if ruling.state is State.ACTIVE or intent.kind in CANCEL_KINDS:
        return ruling.epoch
    if ruling.state is State.REDUCING and reduces(intent):
        return ruling.epoch
    raise OrderDenied(f"{ruling.sentence} {_MEANING[ruling.state]}")


def reduces(intent: OrderIntent) -> bool:
    """Whether it can only make a position or an open order smaller.

    A change of an entry that also changes its price does not: less of it may then be filled that rested before.
    """
    target = intent.target
    if intent.kind != IntentKind.MODIFY or target is None:
        return intent.kind in CANCEL_KINDS or intent.reduce_only
    if intent.reduce_only:
        return intent.quantity <= target.quantity
    rests = all(
        getattr(intent, name) == getattr(target, name) for name in ("order_type", "limit_price", "trigger_price")
    )
    return rests and intent.quantity < target.quantity


def initial_state() -> KillSwitch.State:
    """Where an installation begins: live ones are halted until a person switches them on."""
    return State.HALTED if settings.MODE is Mode.LIVE else State.ACTIVE


def checked_key(scope: Scope, scope_key: str) -> str:
    """The key as the rows have it. A mistyped account would stop nothing, so it is refused.

    :raises ValidationError: there is no such account, or a key is missing or too many.
    """
    key = scope_key.strip()
    if (scope == Scope.EVERYTHING) != (key == ""):
        raise ValidationError(
            f"{_first_upper(name_of(scope, key))} is not what a switch is for; name one account, strategy or symbol."
        )
    if scope == Scope.SYMBOL:
        return key.upper()
    if scope == Scope.ACCOUNT and _account_of(scope, key) is None:
        known = ", ".join(str(account) for account in BrokerAccount.objects.order_by("broker", "name"))
        raise ValidationError(f"There is no account {key!r}; write broker/name, one of {known or 'none yet'}.")
    return key


def name_of(scope: str, scope_key: str) -> str:
    """In a sentence: ``everything``, ``account breeze/default``."""
    return "everything" if scope == Scope.EVERYTHING else f"{scope.lower()} {scope_key}".strip()


def how_to_resume(scope: str, scope_key: str) -> str:
    option = "" if scope == Scope.EVERYTHING else f" --{scope.lower()} {scope_key}"
    return f"`manage.py halt --resume{option}` resumes it."


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _next_epoch() -> int:
    """Count one change on the row of everything, which serialises them."""
    rows = KillSwitch.objects.filter(scope=Scope.EVERYTHING)
    KillSwitch.objects.get_or_create(scope=Scope.EVERYTHING, scope_key="", defaults={"state": initial_state()})
    if connection.features.has_select_for_update:
        rows = rows.select_for_update()
    number = rows.get().epoch + 1
    rows.update(epoch=number)
    return number


def _account_of(scope: Scope, scope_key: str) -> BrokerAccount | None:
    if scope != Scope.ACCOUNT:
        return None
    broker, _, name = scope_key.partition("/")
    return BrokerAccount.objects.filter(broker=broker, name=name).first()
