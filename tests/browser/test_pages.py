"""The pages in a real browser: everything they need is there, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer

from brokers.clock import configured_clock
from brokers.models import OrderIntent, RiskLimit
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(BROWSER is None, reason="No Chromium is installed; `apt-get install chromium` brings it."),
]


def as_admin(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: a headless browser without hands is logged in."""

    def handle(request: HttpRequest) -> HttpResponse:
        if "anonymous" not in request.GET:
            request.user = User.objects.get(username="admin")
        return get_response(request)

    return handle


@pytest.fixture
def site(settings: Any, tmp_path: Path) -> Iterator[str]:
    if connection.vendor != "sqlite":
        pytest.skip("The server's thread sees the test's rows only in the embedded database.")
    settings.STATIC_ROOT = settings.HOME = tmp_path
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.as_admin"]
    User.objects.create_superuser("admin", password="a-long-password")
    server = LiveServer("127.0.0.1")
    yield server.url
    server.stop()


class Browser:
    """One look at one page: its document after the scripts ran, and what the browser complained of."""

    def __init__(self, url: str, profile: Path) -> None:
        assert BROWSER is not None
        switches = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--virtual-time-budget=3000",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
        ]
        done = subprocess.run([BROWSER, *switches, "--dump-dom", url], capture_output=True, text=True, timeout=90)
        self.document = done.stdout
        self.complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        elsewhere = r'<(?:link|script|img)[^>]*(?:src|href)="(?:https?:)?//(?!127\.0\.0\.1)[^"]*'
        self.complaints += re.findall(elsewhere, self.document)


@pytest.fixture
def look(site: str, tmp_path: Path) -> Callable[[str], Browser]:
    """Open a page; a file it needs and the server does not have is a complaint too."""

    def open_page(path: str) -> Browser:
        page = Browser(site + path, tmp_path / "profile")
        needed = set(re.findall(r'<(?:link|script|img)[^>]*(?:src|href)="(/[^"]+)"', page.document))
        assert needed, "The page names no file; it is not the admin's."
        answers = {file: httpx.get(site + file, trust_env=False).status_code for file in needed}
        page.complaints += [f"{file} {status}" for file, status in answers.items() if status != httpx.codes.OK]
        return page

    return open_page


Look = Callable[[str], Browser]


def test_the_first_page_is_whole(look: Look) -> None:
    owner = admin_rows.account()
    admin_rows.snapshots(owner)
    admin_rows.intent(owner, 1, state="UNKNOWN")
    page = look(reverse("admin:index"))
    assert page.complaints == []
    for words in ("SIMULATED", "A person must look", "₹12,34,567.50", str(owner)):
        assert words in page.document


def test_the_page_of_an_order_is_whole(look: Look) -> None:
    owner = admin_rows.account()
    placed = admin_rows.intent(owner, 1)
    admin_rows.book_order(owner, 1, of=placed)
    page = look(reverse("admin:brokers_orderintent_change", args=[placed.pk]))
    assert page.complaints == []
    for words in ("Timeline", "Attempt 1: acked", "At the broker"):
        assert words in page.document


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("index", "", ("Halt everything", "1 order waits for your decision", "1 plan is stopped half-way")),
        ("brokers_orderintent_unresolved", "", ("needs you", "Decide: is it at the broker?")),
        ("brokers_orderintent_decide", "lost", ("Type ADOPT", "Type NOT PLACED", "Type RESEND")),
        ("brokers_orderintent_approvals", "", ("Approve", "Decline", "order-")),
        ("brokers_killswitch_changelist", "", ("Type RESUME", "orders may go")),
        ("brokers_orderplan_change", "plan", ("Let it go on", "50%")),
        ("brokers_risklimit_changelist", "", ("What holds for each account", "max lots")),
        ("brokers_startupbarrier_changelist", "", ("Check now", "It was not checked yet.")),
        ("brokers_alert_changelist", "", ("needs a decision", "act now")),
        ("brokers_alert_change", "alert", ("Acknowledge: I take care of it", "What to do")),
        ("brokers_alertchannel_add", "", ("Minimum severity",)),
    ],
)
def test_a_page_for_a_person_in_trouble_is_whole(look: Look, name: str, of: str, words: tuple[str, ...]) -> None:
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]
    owner = admin_rows.account()
    lost = admin_rows.intent(owner, 1, state="UNKNOWN")
    OrderIntent.objects.filter(pk=lost.pk).update(state="NEEDS_HUMAN", not_after=NOON + timedelta(hours=1))
    admin_rows.book_order(owner, 1)
    waiting = admin_rows.intent(owner, 2, state="READY")
    OrderIntent.objects.filter(pk=waiting.pk).update(state="AWAITING_APPROVAL")
    RiskLimit.objects.create(scope="ACCOUNT", scope_key=str(owner), max_lots=2)
    rows = {"lost": lost, "plan": admin_rows.plan(owner, 3), "alert": admin_rows.alert(owner, of=lost)}
    page = look(reverse(f"admin:{name}", args=[rows[of].pk] if of else []))
    assert page.complaints == []
    for expected in words:
        assert expected in page.document, expected


def test_the_page_of_a_day_is_whole_and_draws_its_curve(look: Look) -> None:
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]
    owner = admin_rows.account()
    for minute in range(3):
        admin_rows.snapshots(owner, slot_at=NOON + timedelta(minutes=minute))
    page = look(reverse("admin:brokers_dayrecord_page", args=[owner.pk, NOON.date().isoformat()]))
    assert page.complaints == []
    for words in ("Profit and loss", "<polyline", "last -₹1,875.25", "Missing"):
        assert words in page.document


def test_no_page_needs_a_script_of_its_own(look: Look) -> None:
    """What a person decides is sent by plain forms; the theme's scripts are files."""
    owner = admin_rows.account()
    lost = admin_rows.intent(owner, 1, state="UNKNOWN")
    OrderIntent.objects.filter(pk=lost.pk).update(state="NEEDS_HUMAN")
    page = look(reverse("admin:brokers_orderintent_decide", args=[lost.pk]))
    content = page.document[page.document.index('id="content"') :]
    assert not re.search(r"<script(?![^>]*\bsrc=)", content)
    assert not re.search(r"\son(?:click|submit|change)=", content)
    assert content.count('method="post"') >= 2


def test_a_stranger_can_log_in(look: Look) -> None:
    page = look(reverse("admin:login") + "?anonymous")
    assert page.complaints == []
    assert 'name="password"' in page.document
