"""Calls a person when an account has no session, once for each time that it is without one."""

from __future__ import annotations

from datetime import datetime

from brokers.alerts import ITSELF, close_alert, raise_alert
from brokers.clock import trading_day
from brokers.models import Alert, BrokerAccount, SessionState, Severity
from credentials.commands import login_command

KIND = "no_session"
SECOND_LOGIN = "second_login"


def tell(account: BrokerAccount, problem: str, *, at: datetime) -> None:
    """Call a person who alone can log in; tell of anything else, which is tried again.

    Who acknowledged it knows, and hears of it again only when it got graver, after a session, or on another day.
    """
    waits_for_person = is_waiting_for_person(account)
    severity = Severity.CRITICAL if waits_for_person else Severity.WARNING
    if _is_attended(account, severity, at):
        return
    raise_alert(
        KIND,
        str(account.pk),
        severity=severity,
        happened=f"Account {account} has no session: {problem}",
        meaning="No order of it goes out and nothing of it can be read, until it has one.",
        to_do=(
            f"Log in: `{login_command(account.broker, account.name)}` names the page and takes the token."
            if waits_for_person
            else "Nothing yet, it is tried again; if it stays, look at the account's session in the admin."
        ),
        at=at,
        account=account,
    )


def take_back(account: BrokerAccount, *, at: datetime) -> None:
    """The account has a session: nobody is called for it any more."""
    close_alert(KIND, str(account.pk), because="it has a session", at=at)


def note_second_login(account: BrokerAccount, before: SessionState, *, at: datetime) -> None:
    """Tell that a session had ended before its day was over and was replaced; once a day.

    Not when people were told that there was none: one event is one alert.
    """
    ended_early = (
        before.status == SessionState.Status.EXPIRED
        and before.opened_at is not None
        and trading_day(before.opened_at) == trading_day(at)
    )
    if not ended_early or is_told(account):
        return
    raise_alert(
        SECOND_LOGIN,
        f"{account.pk}:{trading_day(at)}",
        severity=Severity.INFO,
        happened=f"The broker ended the session of account {account} before its day was over; it was logged in anew.",
        meaning="Its orders waited a moment. Somebody else may have logged in to the account.",
        to_do="Nothing, if it stays at once. If it comes again, find out who else uses the account's login.",
        at=at,
        account=account,
    )


def is_told(account: BrokerAccount) -> bool:
    """Whether people were told that the account has no session, which it still has not."""
    last = Alert.objects.filter(kind=KIND, account=account).order_by("-first_at", "-pk").first()
    return last is not None and (last.acknowledged_at is None or not last.acknowledged_by.startswith(f"{ITSELF}:"))


def is_waiting_for_person(account: BrokerAccount) -> bool:
    return SessionState.objects.filter(account=account, status=SessionState.Status.NEEDS_PERSON).exists()


def _is_attended(account: BrokerAccount, severity: Severity, at: datetime) -> bool:
    last = Alert.objects.filter(kind=KIND, account=account).order_by("-first_at", "-pk").first()
    if last is None or last.acknowledged_at is None or last.acknowledged_by.startswith(f"{ITSELF}:"):
        return False
    opened_since = SessionState.objects.filter(account=account, opened_at__gt=last.first_at).exists()
    return not opened_since and severity <= last.severity and trading_day(last.first_at) == trading_day(at)
