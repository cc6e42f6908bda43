"""The admin's first page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from brokers.admin import questions, switches
from brokers.admin.display import INTENT_COLOURS, NOTHING, SESSION_COLOURS, SEVERITY_COLOURS, age, rupees, state_word
from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.enums import MarketPhase
from brokers.domain.order_states import IntentState
from brokers.domain.redaction import scrub
from brokers.models import Alert, AlertChannel, KillSwitch, OrderIntent, OrderPlan, Severity
from mcube import overview
from mcube.menu import MODE_COLOURS
from mcube.overview import AccountView, Overview

#: Alerts that fit on the first page; the count says how many there are.
MOST_ALERTS = 6
PHASE_COLOURS = {MarketPhase.CONTINUOUS: "success", MarketPhase.PRE_OPEN: "info", MarketPhase.CLOSING_AUCTION: "info"}


def show(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the first page shows."""
    return {**context, **describe(overview.take()), **calls_for_a_person(request)}


def calls_for_a_person(request: HttpRequest) -> dict[str, Any]:
    """What stands still or waits until somebody does something."""
    everything, *others = switches.standing()
    now = configured_clock().now()
    asked = questions.open_questions(now, overview.LONGEST_LIST)
    open_alerts = Alert.objects.filter(acknowledged_at__isnull=True, severity__gte=Severity.WARNING)
    return {
        "everything": everything,
        "switched": [row for row in others if row["state"] != KillSwitch.State.ACTIVE],
        "questions": asked,
        "question_count": questions.how_many(),
        "decide_count": OrderIntent.objects.filter(state=IntentState.NEEDS_HUMAN).count(),
        "approval_count": OrderIntent.objects.filter(state=IntentState.AWAITING_APPROVAL).count(),
        "stopped_count": OrderPlan.objects.filter(stopped_at__isnull=False, finished_at__isnull=True).count(),
        "may_halt": request.user.has_perm(switches.HALT),
        "alerts": [
            {
                "text": alert.get_severity_display(),
                "colour": SEVERITY_COLOURS[str(alert.severity)],
                "happened": scrub(alert.happened),
                "link": reverse("admin:brokers_alert_change", args=(alert.pk,)),
                "age": age(alert.last_at, now),
            }
            for alert in open_alerts.order_by("-severity", "-last_at")[:MOST_ALERTS]
        ],
        "alert_count": open_alerts.count(),
        "mute": [
            {"name": channel.name, "problem": channel.last_problem}
            for channel in AlertChannel.objects.filter(is_active=True).exclude(last_problem="")
        ],
    }


def describe(seen: Overview) -> dict[str, Any]:
    """The overview in the words and colours of the page."""
    return {
        "mode": {"text": seen.mode.upper(), "colour": MODE_COLOURS[seen.mode]},
        "live_trading": seen.live_trading,
        "now": seen.now,
        "phases": [
            {"exchange": exchange, "text": phase.replace("_", " ").lower(), "colour": PHASE_COLOURS.get(phase, "")}
            for exchange, phase in seen.phases.items()
        ],
        "unknown_days": seen.unknown_days,
        "accounts": [_account(view, seen) for view in seen.accounts],
        "brokers": list(specs()),
        "orders": [
            {
                "text": state_word(state),
                "count": count,
                "colour": INTENT_COLOURS[IntentState(state)],
                "link": f"{reverse('admin:brokers_orderintent_changelist')}?state__exact={state}",
            }
            for state, count in seen.orders.items()
        ],
        "unknown_count": seen.unknown_count,
        "overdue_count": len(seen.overdue),
        "queues": None if seen.queues is None else list(seen.queues.items()),
    }


def _account(view: AccountView, seen: Overview) -> dict[str, Any]:
    session, margin, positions = view.session, view.margin, view.positions
    return {
        "name": str(view.account),
        "link": reverse("admin:brokers_brokeraccount_change", args=(view.account.pk,)),
        "paused": not view.account.is_active,
        "session": session.get_status_display() if session else "no session",
        "session_colour": SESSION_COLOURS[session.status] if session else "",
        "session_ends": age(session.expires_at, seen.now) if session and session.expires_at else NOTHING,
        "message": scrub(session.message) if session else "",
        "available": rupees(margin.available) if margin else NOTHING,
        "used": rupees(margin.used) if margin else NOTHING,
        "margin_age": age(margin.taken_at, seen.now) if margin else "never taken",
        "margin_failure": scrub(view.margin_failure),
        "pnl": rupees(positions.pnl) if positions else NOTHING,
        "pnl_colour": _sign(positions.pnl if positions else None),
        "positions_age": age(positions.taken_at, seen.now) if positions else "never taken",
        "positions_failure": scrub(view.positions_failure),
    }


def _sign(amount: Any) -> str:
    return "" if not amount else "mcube-gain" if amount > 0 else "mcube-loss"
