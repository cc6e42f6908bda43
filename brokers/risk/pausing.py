"""Pausing an account, on a person's word: nothing but cancels goes out, and nothing of it is read by schedule."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from brokers.models import BrokerAccount, ChangeOf, RiskChange, Scope

_WORDS = {True: "active", False: "paused"}


def pause(account: BrokerAccount, *, by: str, reason: str, at: datetime) -> bool:
    """Pause an account, in one transaction with its history; False when it was paused already."""
    return _set(account, False, by, reason, at)


def resume(account: BrokerAccount, *, by: str, reason: str, at: datetime) -> bool:
    """Let a paused account go on, in one transaction with its history; False when it was not paused."""
    return _set(account, True, by, reason, at)


def last_change(account: BrokerAccount) -> RiskChange | None:
    """Who paused or resumed it last, and why."""
    changes = RiskChange.objects.filter(what=ChangeOf.PAUSE, scope=Scope.ACCOUNT, scope_key=str(account))
    return changes.order_by("-at", "-pk").first()


def _set(account: BrokerAccount, is_active: bool, by: str, reason: str, at: datetime) -> bool:
    with transaction.atomic():
        # Of two who do the same at once, one is in the history.
        others = BrokerAccount.objects.filter(pk=account.pk, is_active=not is_active)
        if not others.update(is_active=is_active):
            return False
        RiskChange.objects.create(
            what=ChangeOf.PAUSE,
            scope=Scope.ACCOUNT,
            scope_key=str(account),
            before={"account": _WORDS[not is_active]},
            after={"account": _WORDS[is_active]},
            changed_by=by[:150],
            reason=reason[:500],
            at=at,
        )
    account.is_active = is_active
    return True
