"""What an alert says to somebody who reads it on a telephone, away from the desk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.urls import reverse

from brokers.alerts.courier import Message
from brokers.clock import IST
from brokers.domain.enums import Mode
from brokers.domain.redaction import scrub
from brokers.models import Alert, Severity

_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
#: Longest title that services show whole, and longest list in one message.
LONGEST_TITLE, LONGEST_LIST = 160, 20


def message(alert: Alert, *, again: bool, now: datetime) -> Message:
    """One alert in full; ``again`` when it was sent before and nobody acknowledged it."""
    happened = scrub(alert.happened)
    seen = f", seen {alert.count} times" if alert.count > 1 else ""
    lines = [
        happened if len(_title(alert)) > LONGEST_TITLE else "",
        f"What it means: {scrub(alert.meaning)}",
        f"What to do: {scrub(alert.to_do)}",
        f"Account: {alert.account}" if alert.account else "",
        f"Since {_clock(alert.first_at)}{seen}.",
        f"Sent again at {_clock(now)}, because nobody has acknowledged it." if again else "",
        _link(alert),
    ]
    return Message(
        title=_short(_title(alert)),
        body="\n".join(line for line in lines if line),
        level=_LEVELS[Severity(alert.severity)],
    )


def collected(alerts: Sequence[Alert]) -> Message:
    """Many alerts in one message, one line each, the gravest first."""
    listed = [f"{_word(alert)}: {_short(scrub(alert.happened))}" for alert in alerts[:LONGEST_LIST]]
    if len(alerts) > LONGEST_LIST:
        listed.append(f"… and {len(alerts) - LONGEST_LIST} more.")
    return Message(
        title=f"{_mode()}{len(alerts)} more alerts are open",
        body="\n".join([*listed, _address("admin:brokers_alert_changelist")]).strip(),
        level=_LEVELS[Severity(max(alert.severity for alert in alerts))],
    )


def trial() -> Message:
    """What shows that a channel works."""
    return Message(title=f"{_mode()}mcube: a trial", body="Alerts of mcube arrive here. Nothing is to be done.")


def _title(alert: Alert) -> str:
    return f"{_mode()}{_word(alert)}: {scrub(alert.happened)}"


def _word(alert: Alert) -> str:
    return str(Severity(alert.severity).label).upper() if alert.severity == Severity.CRITICAL else "mcube"


def _mode() -> str:
    return "" if settings.MODE is Mode.LIVE else f"[{settings.MODE}] "


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(IST):%d %b %H:%M:%S} IST"


def _link(alert: Alert) -> str:
    return _address("admin:brokers_alert_change", alert.pk)


def _address(view: str, *args: int) -> str:
    """Where people find it in the admin; empty unless the installation says how they reach it."""
    return f"{settings.PUBLIC_URL}{reverse(view, args=args)}" if settings.PUBLIC_URL else ""
