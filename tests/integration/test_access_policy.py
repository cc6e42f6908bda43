"""The content security policy on every kind of page, and the settings of a production installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as configured
from django.contrib import admin
from django.test import Client
from django.urls import NoReverseMatch, reverse

from brokers.clock import configured_clock
from brokers.models import OrderIntent
from credentials.models import CredentialStore
from mcube.environment import CHECKOUT
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = settings.HOME = tmp_path
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]


class Scripts(HTMLParser):
    """What of a page a browser would refuse to run, or would run from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        source = held.get("src") or ""
        if tag == "script" and not source and held.get("type") != "application/json":
            self.faults.append(f"inline script {attrs}")
        if tag in ("script", "img", "iframe", "object", "embed") and re.match(r"(https?:)?//", source):
            self.faults.append(f"{tag} from {source}")
        # The theme's `@click` and `x-on:` are attributes that its script reads, not the browser.
        self.faults += [f"{tag} {name}={value}" for name, value in attrs if re.fullmatch(r"on[a-z]+", name)]
        self.faults += [f"{tag} {name}" for name, value in attrs if (value or "").lower().startswith("javascript:")]


def directives(answer: Any) -> dict[str, set[str]]:
    parts = (part.split() for part in answer.headers["Content-Security-Policy"].split("; "))
    return {name: set(sources) for name, *sources in parts}


def addresses() -> list[str]:
    """Every list, every form for a new row, and a page of each row that is there."""
    found = [reverse(f"admin:{name}") for name in ("index", "password_change", "mcube_authenticator_enrol")]
    found += [reverse(f"admin:brokers_orderintent_{name}") for name in ("unresolved", "approvals")]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
        row = model._default_manager.first()
        if row is None:
            continue
        for page in ("change", "history", "delete", "decide"):
            try:
                found.append(reverse(f"{name}_{page}", args=[row.pk]))
            except NoReverseMatch:
                continue
    return found


def test_no_page_of_the_admin_needs_an_inline_script(admin_client: Client) -> None:
    admin_rows.market()
    owner = admin_rows.account()
    lost = admin_rows.intent(owner, 1, state="UNKNOWN")
    OrderIntent.objects.filter(pk=lost.pk).update(state="NEEDS_HUMAN", not_after=NOON + timedelta(hours=1))
    admin_rows.book_order(owner, 1)
    admin_rows.snapshots(owner)
    admin_rows.plan(owner, 3)
    admin_rows.alert(owner, of=lost)
    CredentialStore.objects.create(service="breeze")
    seen = 0
    for address in addresses():
        answer = admin_client.get(address)
        policy = directives(answer)
        assert policy["script-src"] == {"'self'", "'unsafe-eval'"}, address
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["default-src"] == {"'none'"}
        assert policy["form-action"] == {"'self'"}
        if answer.status_code == 200:
            seen += 1
            assert Scripts(answer.content.decode()).faults == [], address
        else:
            assert answer.status_code in (302, 403, 405), address
    assert seen > 60


def test_the_login_page_needs_no_inline_script_either(client: Client) -> None:
    answer = client.get(reverse("admin:login"))
    assert Scripts(answer.content.decode()).faults == []
    assert "'unsafe-inline'" not in directives(answer)["script-src"]


@pytest.mark.parametrize("address", ["/live", "/nowhere", "/credentials/breeze/callback", "/"])
def test_outside_the_admin_nothing_is_evaluated(client: Client, address: str) -> None:
    assert directives(client.get(address))["script-src"] == {"'self'"}


def test_our_own_templates_hold_no_script() -> None:
    folders = [CHECKOUT / name for name in ("mcube", "brokers", "credentials")]
    templates = [path for folder in folders for path in folder.rglob("*.html")]
    assert len(templates) > 10
    assert {str(path): Scripts(path.read_text()).faults for path in templates if Scripts(path.read_text()).faults} == {}


def production(**more: str) -> dict[str, str]:
    """The environment of a live installation behind a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")}
    kept.pop("DATABASE_URL", None)
    given = {
        "MCUBE_MODE": "live",
        "MCUBE_LIVE_TRADING": "1",
        "MCUBE_HTTPS": "1",
        "MCUBE_REQUIRE_SECOND_FACTOR": "1",
        "MCUBE_ALLOWED_HOSTS": "mcube.example.com",
        "MCUBE_PUBLIC_URL": "https://mcube.example.com",
        "MCUBE_EGRESS_URL": "https://address.example.com/",
        "MCUBE_SECRET_KEY": "a-long-key-of-many-different-characters-0123456789-abcdefghij",
        "MCUBE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    }
    return {**kept, **given, **more}


def deploy_check(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = production(MCUBE_HOME=str(home), **more)
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=100)


def test_a_production_installation_passes_the_check_for_deployment(tmp_path: Path) -> None:
    done = deploy_check(tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert "(2 silenced)" in done.stdout


def test_the_check_for_deployment_says_what_plain_http_lacks(tmp_path: Path) -> None:
    done = deploy_check(tmp_path / "home", MCUBE_HTTPS="0")
    assert done.returncode == 1
    for name in ("security.W004", "security.W008", "security.W012", "security.W016"):
        assert name in done.stderr


def test_live_the_admin_answers_to_names_only(tmp_path: Path) -> None:
    done = deploy_check(tmp_path / "home", MCUBE_ALLOWED_HOSTS="*")
    assert done.returncode == 1
    assert "mcube.E006" in done.stderr


def test_cookies_are_kept_from_scripts_and_foreign_sites() -> None:
    assert configured.SESSION_COOKIE_HTTPONLY
    assert configured.CSRF_COOKIE_HTTPONLY
    assert configured.SESSION_COOKIE_SAMESITE == configured.CSRF_COOKIE_SAMESITE == "Lax"
