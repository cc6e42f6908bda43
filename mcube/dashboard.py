"""The admin's first page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from brokers.admin.display import INTENT_COLOURS, NOTHING, SESSION_COLOURS, age, rupees
from brokers.domain.enums import MarketPhase
from brokers.domain.order_states import IntentState
from brokers.domain.redaction import scrub
from mcube import overview
from mcube.menu import MODE_COLOURS
from mcube.overview import AccountView, Overview

PHASE_COLOURS = {MarketPhase.CONTINUOUS: "success", MarketPhase.PRE_OPEN: "info", MarketPhase.CLOSING_AUCTION: "info"}


def show(_request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the first page shows."""
    return {**context, **describe(overview.take())}


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
        "accounts": [_account(view, seen) for view in seen.accounts],
        "orders": [
            {
                "text": state.lower(),
                "count": count,
                "colour": INTENT_COLOURS[IntentState(state)],
                "link": f"{reverse('admin:brokers_orderintent_changelist')}?state__exact={state}",
            }
            for state, count in seen.orders.items()
        ],
        "unknown": [
            {
                "intent": intent,
                "link": reverse("admin:brokers_orderintent_change", args=(intent.pk,)),
                "age": age(intent.updated_at, seen.now),
            }
            for intent in seen.unknown
        ],
        "unknown_count": seen.unknown_count,
        "overdue": [
            {
                "attempt": attempt,
                "link": reverse("admin:brokers_orderintent_change", args=(attempt.intent_id,)),
                "age": age(attempt.armed_at, seen.now),
            }
            for attempt in seen.overdue
        ],
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
