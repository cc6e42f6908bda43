"""What every page of the admin carries: the badge of the mode and the menu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from brokers.domain.enums import Mode
from brokers.domain.order_states import OPEN_QUESTIONS, IntentState
from brokers.models import Alert, OrderIntent

#: A long table is not counted further than this.
MOST = 99
MODE_COLOURS = {Mode.SIMULATED: "info", Mode.PAPER: "warning", Mode.LIVE: "danger"}


def badge(_request: HttpRequest) -> tuple[str, str]:
    """On every page: whether this is real money."""
    return settings.MODE.upper(), MODE_COLOURS[settings.MODE]


#: (group, [(title, symbol, model, page)]); the page is the list of the model unless another is named.
_MENU: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "Look here first",
        (
            ("Alerts", "notifications", "brokers.alert"),
            ("Unresolved orders", "help", "brokers.orderintent", "unresolved"),
            ("Approvals", "approval", "brokers.orderintent", "approvals"),
            ("Kill switch", "front_hand", "brokers.killswitch"),
        ),
    ),
    (
        "Orders",
        (
            ("Plans", "stacks", "brokers.orderplan"),
            ("Intents", "receipt_long", "brokers.orderintent"),
            ("Broker's book", "menu_book", "brokers.brokerorder"),
            ("Fills", "done_all", "brokers.tradefill"),
            ("GTTs", "alarm", "brokers.gttorder"),
        ),
    ),
    (
        "Limits",
        (
            ("Limits", "speed", "brokers.risklimit"),
            ("Changes", "history", "brokers.riskchange"),
            ("Start-up checks", "rule", "brokers.startupbarrier"),
            ("Alert channels", "send", "brokers.alertchannel"),
        ),
    ),
    (
        "Accounts",
        (
            ("Accounts", "account_balance", "brokers.brokeraccount"),
            ("Sessions", "vpn_key", "brokers.sessionstate"),
            ("Credentials", "key", "credentials.credentialstore"),
            ("Uses of credentials", "policy", "credentials.credentialaccess"),
            ("Imported references", "bookmark", "credentials.importedreference"),
        ),
    ),
    (
        "Readings",
        (
            ("Days", "show_chart", "brokers.dayrecord"),
            ("Margins", "account_balance_wallet", "brokers.marginsnapshot"),
            ("Positions", "stacked_line_chart", "brokers.positionsnapshot"),
            ("Holdings", "inventory_2", "brokers.holdingsnapshot"),
            ("Order books", "menu_book", "brokers.orderbooksnapshot"),
            ("Trades", "receipt", "brokers.tradebooksnapshot"),
            ("Cadences", "avg_pace", "brokers.snapshotcadence"),
        ),
    ),
    (
        "Market",
        (
            ("Instruments", "category", "brokers.instrumentrecord"),
            ("Instrument masters", "download", "brokers.instrumentmaster"),
            ("Trading hours", "schedule", "brokers.sessionrule"),
            ("Special days", "event", "brokers.specialday"),
            ("Holiday lists", "event_busy", "brokers.holidaylist"),
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
    (
        "People",
        (
            ("Users", "person", "auth.user"),
            ("Groups", "group", "auth.group"),
            ("Second factors", "phonelink_lock", "mcube.authenticator"),
            ("Logins", "login", "axes.accesslog"),
            ("Failed logins", "lock", "axes.accessattempt"),
        ),
    ),
)

#: The addresses that belong to a page of the order intents, by their names.
_OWN_PAGES = {
    "unresolved": ("brokers_orderintent_unresolved", "brokers_orderintent_decide"),
    "approvals": ("brokers_orderintent_approvals",),
}
#: What waits for a person, behind the page's name.
_WAITING: dict[tuple[str, str], Callable[[], QuerySet[Any]]] = {
    ("brokers.alert", "changelist"): lambda: Alert.objects.filter(acknowledged_at__isnull=True),
    ("brokers.orderintent", "unresolved"): lambda: OrderIntent.objects.filter(state__in=OPEN_QUESTIONS),
    ("brokers.orderintent", "approvals"): lambda: OrderIntent.objects.filter(state=IntentState.AWAITING_APPROVAL),
}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, with what this person may see."""
    groups = [
        {
            "title": "",
            "items": [{"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index"), "active": _is_index}],
        }
    ]
    for title, entries in _MENU:
        items = [_item(request, *entry) for entry in entries if _may_see(request, entry[2])]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _item(request: HttpRequest, title: str, symbol: str, model: str, page: str = "changelist") -> dict[str, Any]:
    link = reverse(f"admin:{model.replace('.', '_')}_{page}")
    item: dict[str, Any] = {"title": title, "icon": symbol, "link": link}
    own = _OWN_PAGES.get(page, ())
    others = {name for names in _OWN_PAGES.values() for name in names}
    if page != "changelist" or model == "brokers.orderintent":
        name = request.resolver_match.url_name if request.resolver_match else ""
        item["active"] = name in own if own else name not in others and request.path.startswith(link)
    waiting = _WAITING.get((model, page))
    if waiting is not None and (count := len(waiting().order_by().values("pk")[: MOST + 1])):
        item |= {"badge": count if count <= MOST else f"{MOST}+", "badge_variant": "danger"}
    return item


def _may_see(request: HttpRequest, model: str) -> bool:
    label, _, name = model.partition(".")
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")


def _is_index(request: HttpRequest) -> bool:
    return request.path == reverse("admin:index")
