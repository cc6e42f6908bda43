"""Who may do what in the admin: each deed has a permission, asked for on GET and on POST alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from brokers import sessions
from brokers.clock import configured_clock
from brokers.models import BrokerAccount, KillSwitch, OrderIntent
from credentials.models import CredentialStore
from mcube.access.groups import GROUPS, permissions_of
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON

pytestmark = pytest.mark.django_db

Staff = Callable[..., Client]


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = settings.HOME = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    configured_clock().set(NOON)  # type: ignore[union-attr]


@pytest.fixture
def staff(client: Client) -> Staff:
    """Log somebody of the staff in who sees everything and may do what is named."""

    def become(*permissions: str) -> Client:
        made = User.objects.create_user("ravi", password="a-long-password", is_staff=True)
        held = [Permission.objects.get(content_type__app_label=a, codename=c) for a, _, c in map(_parts, permissions)]
        made.user_permissions.set([*Permission.objects.filter(codename__startswith="view_"), *held])
        client.force_login(made)
        return client

    return become


def _parts(permission: str) -> tuple[str, str, str]:
    return permission.partition(".")


def stored() -> CredentialStore:
    values: Any = {"api_key": "planted", "session_token": "planted-token"}
    return CredentialStore.objects.create(service="kotakneo", **values)


def clear_session(client: Client, row: CredentialStore) -> int:
    url = reverse("admin:credentials_credentialstore_clear_session", args=[row.pk])
    return client.post(url, {"_form_submitted": "on"}).status_code


def test_viewing_credentials_changes_nothing(staff: Staff) -> None:
    row = stored()
    client = staff()
    page = reverse("admin:credentials_credentialstore_change", args=[row.pk])
    assert client.get(page).status_code == 200
    assert client.post(page, {"api_key": "other"}).status_code == 403
    assert client.get(reverse("admin:credentials_credentialstore_add")).status_code == 403
    assert client.post(reverse("admin:credentials_credentialstore_delete", args=[row.pk])).status_code == 403
    assert clear_session(client, row) == 403
    assert CredentialStore.objects.get().session_token == "planted-token"
    assert CredentialStore.objects.get().api_key == "planted"


def test_using_credentials_is_not_changing_them(staff: Staff) -> None:
    row = stored()
    client = staff("credentials.use_credentialstore")
    assert clear_session(client, row) == 302
    assert CredentialStore.objects.get().session_token == ""
    page = reverse("admin:credentials_credentialstore_change", args=[row.pk])
    assert client.post(page, {"api_key": "other"}).status_code == 403


def test_changing_credentials_is_not_using_them(staff: Staff) -> None:
    row = stored()
    client = staff("credentials.change_credentialstore")
    assert clear_session(client, row) == 403
    assert CredentialStore.objects.get().session_token == "planted-token"


SESSION_PAGES = ("login_this", "end_this_session", "give_token")


@pytest.mark.parametrize("name", SESSION_PAGES)
def test_a_session_is_touched_only_by_who_may_use_credentials(
    staff: Staff, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    touched: list[str] = []
    for function in ("ensure", "end", "give_token", "try_again"):
        monkeypatch.setattr(sessions, function, lambda *args, **more: touched.append("touched"))
    owner = admin_rows.account()
    url = reverse(f"admin:brokers_brokeraccount_{name}", args=[owner.pk])
    form = {"_form_submitted": "on", "token": "x"}
    client = staff("brokers.change_brokeraccount")
    assert client.get(url).status_code == client.post(url, form).status_code == 403
    assert touched == []
    User.objects.all().delete()
    client = staff("credentials.use_credentialstore")
    assert client.get(url).status_code == 200
    assert client.post(url, form).status_code == 302
    assert touched


def test_using_credentials_is_not_changing_the_account(staff: Staff) -> None:
    owner = admin_rows.account()
    client = staff("credentials.use_credentialstore")
    pause = reverse("admin:brokers_brokeraccount_pause", args=[owner.pk])
    assert client.post(pause, {"deed": "pause", "pause-reason": "x", "pause-word": "PAUSE"}).status_code == 403
    assert BrokerAccount.objects.get().is_active
    page = reverse("admin:brokers_brokeraccount_change", args=[owner.pk])
    assert client.post(page, {"is_live_enabled": "on"}).status_code == 403


#: (page, deed, permission) of what a person does about orders and trading.
DEEDS = [
    ("brokers_killswitch_changelist", "halt", "brokers.halt_trading"),
    ("brokers_killswitch_changelist", "reduce", "brokers.halt_trading"),
    ("brokers_killswitch_changelist", "resume", "brokers.resume_trading"),
    ("brokers_brokeraccount_pause", "pause", "brokers.change_brokeraccount"),
    ("brokers_brokeraccount_pause", "resume", "brokers.change_brokeraccount"),
    ("brokers_startupbarrier_changelist", "check", "brokers.change_brokeraccount"),
    ("brokers_orderintent_approvals", "approve", "brokers.approve_order"),
    ("brokers_orderintent_approvals", "decline", "brokers.approve_order"),
    ("brokers_orderintent_decide", "adopt", "brokers.decide_order"),
    ("brokers_orderintent_decide", "not_placed", "brokers.decide_order"),
    ("brokers_orderintent_decide", "resend", "brokers.decide_order"),
    ("brokers_orderplan_change", "cancel", "brokers.steer_plan"),
    ("brokers_orderplan_change", "go_on", "brokers.steer_plan"),
]


@pytest.mark.parametrize(("page", "deed", "permission"), DEEDS)
def test_a_deed_is_offered_and_done_with_its_permission_alone(
    staff: Staff, page: str, deed: str, permission: str
) -> None:
    owner = admin_rows.account()
    lost, waiting = admin_rows.intent(owner, 1, state="UNKNOWN"), admin_rows.intent(owner, 2, state="READY")
    later = NOON + timedelta(hours=1)
    OrderIntent.objects.filter(pk=lost.pk).update(state="NEEDS_HUMAN", not_after=later)
    OrderIntent.objects.filter(pk=waiting.pk).update(state="AWAITING_APPROVAL", not_after=later)
    plan = admin_rows.plan(owner, 3)
    about = {
        "brokers_orderintent_decide": [lost.pk],
        "brokers_orderplan_change": [plan.pk],
        "brokers_brokeraccount_pause": [owner.pk],
    }
    BrokerAccount.objects.update(is_active=deed != "resume")
    url = reverse(f"admin:{page}", args=about.get(page, []))
    offered = re.compile(f'name="deed" value="{deed}"|value="{deed}"[^>]*name="deed"|id="{deed}"')

    client = staff(*{other for _, _, other in DEEDS} - {permission})
    assert not offered.search(client.get(url).content.decode())
    watched = (OrderIntent, KillSwitch, BrokerAccount)
    before = [list(model.objects.values()) for model in watched]
    assert client.post(url, {"deed": deed}).status_code == 403
    assert [list(model.objects.values()) for model in watched] == before
    User.objects.all().delete()
    client = staff(permission)
    assert offered.search(client.get(url).content.decode())


def test_an_alert_is_acknowledged_with_its_permission_alone(staff: Staff) -> None:
    alert = admin_rows.alert(admin_rows.account())
    url = reverse("admin:brokers_alert_acknowledge", args=[alert.pk])
    client = staff()
    assert client.post(url).status_code == 403
    User.objects.all().delete()
    client = staff("brokers.acknowledge_alert")
    assert client.get(url).status_code == 405
    assert client.post(url).status_code == 302


def test_who_sees_the_schedule_may_not_run_it(staff: Staff) -> None:
    crontab = CrontabSchedule.objects.create(minute="*/5", hour="9-15", timezone="Asia/Kolkata")
    task = PeriodicTask.objects.create(name="margins", task="tasks.snapshots.snapshot_margin", crontab=crontab)
    url = reverse("admin:django_celery_beat_periodictask_changelist")
    client = staff()
    for action in ("disable_tasks", "toggle_tasks", "run_tasks"):
        client.post(url, {"action": action, "_selected_action": [task.pk]})
    assert PeriodicTask.objects.get(pk=task.pk).enabled


def test_who_manages_users_makes_no_superuser(staff: Staff) -> None:
    root = User.objects.create_superuser("root", password="a-long-password")
    client = staff("auth.change_user", "auth.delete_user")
    ravi = User.objects.get(username="ravi")
    form = {"username": "ravi", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    dates = {"date_joined_0": "2026-11-20", "date_joined_1": "12:00:00"}
    own = client.post(reverse("admin:auth_user_change", args=[ravi.pk]), form | dates)
    assert own.status_code == 302
    ravi.refresh_from_db()
    assert not ravi.is_superuser
    password = {"password1": "another-long-one", "password2": "another-long-one"}
    assert client.post(reverse("admin:auth_user_password_change", args=[root.pk]), password).status_code == 403
    assert client.post(reverse("admin:auth_user_change", args=[root.pk]), form).status_code == 403
    assert client.post(reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403


def test_what_a_list_does_at_once_is_named_here(rf: RequestFactory) -> None:
    """An action of a list asks nothing first, so that none changes a session, an account or a credential."""
    request: HttpRequest = rf.get("/")
    request.user = User.objects.create_superuser("root", password="a-long-password")
    pages: dict[Any, Any] = admin.site._registry
    offered = {
        f"{model._meta.label}.{name}"
        for model, page in pages.items()
        if model._meta.app_label in ("brokers", "credentials")
        for name in page.get_actions(request)
        if name != "delete_selected"  # asks first
    }
    assert offered == {"brokers.Alert.acknowledge_selected"}


def test_every_action_of_every_list_asks_for_a_permission(rf: RequestFactory) -> None:
    request: HttpRequest = rf.get("/")
    request.user = User.objects.create_user("nobody", is_staff=True)
    pages: dict[Any, Any] = admin.site._registry
    open_to_all = {
        f"{model._meta.label}.{name}"
        for model, page in pages.items()
        for name, (function, _, _) in page.get_actions(request).items()
        if not getattr(function, "allowed_permissions", None)
    }
    assert open_to_all == set()


def test_the_groups_to_begin_with_hold_what_they_name_and_stay_as_somebody_changed_them() -> None:
    call_command("seed_groups", verbosity=0)
    for name, wanted in GROUPS.items():
        held = Group.objects.get(name=name).permissions.select_related("content_type")
        codes = {f"{each.content_type.app_label}.{each.codename}" for each in held}
        assert {each for each in wanted if not each.endswith("*")} <= codes
        assert "brokers.view_orderintent" in codes
    trader = Group.objects.get(name="trader")
    trader.permissions.clear()
    call_command("seed_groups", verbosity=0)
    assert not trader.permissions.exists()


def test_who_trades_does_not_approve_and_who_approves_does_not_trade() -> None:
    trades, approves = (set(permissions_of(name)) for name in ("trader", "risk officer"))
    names = {each.codename for each in trades}
    assert not names & {"approve_order", "resume_trading", "change_risklimit", "change_credentialstore"}
    assert not {each.codename for each in approves} & {"steer_plan", "decide_order", "use_credentialstore"}
