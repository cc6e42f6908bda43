"""What every page of the admin carries: the badge of the mode and the menu."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from brokers.domain.enums import Mode

MODE_COLOURS = {Mode.SIMULATED: "info", Mode.PAPER: "warning", Mode.LIVE: "danger"}


def badge(_request: HttpRequest) -> tuple[str, str]:
    """On every page: whether this is real money."""
    return settings.MODE.upper(), MODE_COLOURS[settings.MODE]


#: (group, [(title, symbol, model)])
_MENU = (
    (
        "Orders",
        (
            ("Intents", "receipt_long", "brokers.orderintent"),
            ("Broker's book", "menu_book", "brokers.brokerorder"),
            ("Fills", "done_all", "brokers.tradefill"),
        ),
    ),
    (
        "Accounts",
        (
            ("Accounts", "account_balance", "brokers.brokeraccount"),
            ("Sessions", "vpn_key", "brokers.sessionstate"),
            ("Credentials", "key", "credentials.credentialstore"),
            ("Uses of credentials", "policy", "credentials.credentialaccess"),
            ("Margins", "account_balance_wallet", "brokers.marginsnapshot"),
            ("Positions", "stacked_line_chart", "brokers.positionsnapshot"),
        ),
    ),
    (
        "Market",
        (
            ("Instruments", "category", "brokers.instrumentrecord"),
            ("Instrument masters", "download", "brokers.instrumentmaster"),
            ("Trading hours", "schedule", "brokers.sessionrule"),
            ("Special days", "event", "brokers.specialday"),
        ),
    ),
    (
        "Schedule",
        (
            ("Periodic tasks", "update", "django_celery_beat.periodictask"),
            ("Crontabs", "calendar_clock", "django_celery_beat.crontabschedule"),
            ("Intervals", "timer", "django_celery_beat.intervalschedule"),
        ),
    ),
    ("People", (("Users", "person", "auth.user"), ("Groups", "group", "auth.group"))),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, with what this person may see."""
    groups = [
        {
            "title": "",
            "items": [{"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index"), "active": _is_index}],
        }
    ]
    for title, entries in _MENU:
        items = [
            {"title": name, "icon": symbol, "link": reverse(f"admin:{model.replace('.', '_')}_changelist")}
            for name, symbol, model in entries
            if _may_see(request, model)
        ]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _may_see(request: HttpRequest, model: str) -> bool:
    label, _, name = model.partition(".")
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")


def _is_index(request: HttpRequest) -> bool:
    return request.path == reverse("admin:index")
