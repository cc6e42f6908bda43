"""The admin's pages: what they show, what they cost, and what nobody can do there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from brokers.admin import questions
from brokers.admin.display import age, price, rupees
from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.order_states import OPEN_QUESTIONS
from brokers.models import (
    BrokerAccount,
    BrokerOrder,
    KillSwitch,
    MarginSnapshot,
    OrderIntent,
    Scope,
    SessionState,
)
from brokers.risk import switches
from credentials import accounts
from credentials.management.commands import setup_credentials
from mcube import menu
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON

pytestmark = pytest.mark.django_db

READ_ONLY = [
    "alert",
    "orderplan",
    "riskchange",
    "sessionstate",
    "marginsnapshot",
    "positionsnapshot",
    "holdingsnapshot",
    "orderbooksnapshot",
    "tradebooksnapshot",
    "dayrecord",
    "orderintent",
    "brokerorder",
    "tradefill",
    "gttorder",
    "instrumentrecord",
    "instrumentmaster",
]
LISTS = ["brokeraccount", "snapshotcadence", *READ_ONLY, "sessionrule", "specialday", "holidaylist"]


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.HOME = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # these tests are not about it
    settings.REDIS_URL = "redis://:planted-redis-password@127.0.0.1:1/0"  # nobody listens there
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]


def list_url(model: str) -> str:
    return reverse(f"admin:brokers_{model}_changelist")


def page_url(row: Any) -> str:
    return reverse(f"admin:brokers_{row._meta.model_name}_change", args=[row.pk])


def text(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content.decode()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def fill(count: int, *, start: int = 0) -> None:
    """``count`` rows of everything that grows."""
    for number in range(start, start + count):
        owner = admin_rows.account(f"account-{number}")
        placed = admin_rows.intent(owner, number)
        admin_rows.book_order(owner, number, of=placed)
        admin_rows.gtt(owner, number)
        admin_rows.snapshots(owner)
        admin_rows.plan(owner, number)
        admin_rows.alert(owner, of=placed)
        switches.set_switch(Scope.ACCOUNT, str(owner), KillSwitch.State.HALTED, by="asha", reason="test", at=NOON)


@pytest.mark.parametrize("model", LISTS)
def test_a_list_costs_the_same_queries_for_one_row_and_for_twenty(admin_client: Client, model: str) -> None:
    admin_rows.market()
    fill(1)
    queries(admin_client, list_url(model))  # what a process asks once
    one = queries(admin_client, list_url(model))
    fill(19, start=1)
    assert queries(admin_client, list_url(model)) == one


def test_the_first_page_costs_the_same_queries_for_one_account_and_for_twenty(admin_client: Client) -> None:
    def fewest() -> int:
        """The calendar is read anew every few seconds, in between or not."""
        return min(queries(admin_client, reverse("admin:index")) for _ in range(3))

    fill(1)
    one = fewest()
    fill(19, start=1)
    assert fewest() == one


def test_an_order_page_costs_the_same_queries_however_much_happened(admin_client: Client) -> None:
    owner = admin_rows.account()
    short, long = admin_rows.intent(owner, 1), admin_rows.intent(owner, 2)
    admin_rows.book_order(owner, 1, of=short, fills=1)
    admin_rows.book_order(owner, 2, of=long, fills=12)
    queries(admin_client, page_url(short))
    assert queries(admin_client, page_url(long)) == queries(admin_client, page_url(short))


@pytest.mark.parametrize("model", ["orderintent", "brokerorder", "tradefill", "marginsnapshot", "instrumentrecord"])
def test_a_long_table_is_never_counted(admin_client: Client, model: str) -> None:
    admin_rows.market()
    fill(3)
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(list_url(model))
    assert not [query["sql"] for query in captured if re.search(r"COUNT\(", query["sql"]) and model in query["sql"]]


#: Of the instrument masters there is one row a day and broker.
GROWING = [f"brokers_{model}" for model in READ_ONLY if model != "instrumentmaster"] + ["credentials_credentialaccess"]


@pytest.mark.parametrize("name", GROWING)
def test_a_list_does_not_read_its_table_to_offer_filters(admin_client: Client, name: str) -> None:
    admin_rows.market()
    fill(3)
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert not [query["sql"] for query in captured if re.search(r"DISTINCT|MIN\(|MAX\(", query["sql"])]


def reads(client: Client, url: str, table: str) -> list[str]:
    """How each query of a page gets at a table, as the embedded database plans it."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    asked = [query["sql"] for query in captured if re.search(rf'(FROM|JOIN) "{table}"', query["sql"])]
    with connection.cursor() as cursor:
        plans = [cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked]
    return [step for plan in plans for *_, step in plan if table in step]


on_sqlite = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="The other database plans by what its tables hold."
)


@on_sqlite
@pytest.mark.parametrize(
    ("name", "period", "index"),
    [
        ("brokers_orderintent", "trading_day_from={day}&trading_day_to={day}", "intent_by_day"),
        ("brokers_brokerorder", "trading_day_from={day}&trading_day_to={day}", "broker_order_by_day"),
        ("brokers_tradefill", "filled_at_from_0={day}&filled_at_to_0={day}", "fill_by_time"),
        ("brokers_gttorder", "first_seen_at_from_0={day}&first_seen_at_to_0={day}", "gtt_by_time"),
        ("credentials_credentialaccess", "at_from_0={day}&at_to_0={day}", "(at>? AND at<?)"),
    ],
)
def test_a_period_is_found_by_an_index(admin_client: Client, name: str, period: str, index: str) -> None:
    fill(3)
    steps = reads(admin_client, f"{reverse(f'admin:{name}_changelist')}?{period.format(day='2026-11-20')}", name)
    assert any(index in step for step in steps), steps
    assert not [step for step in steps if step.startswith("SCAN")], steps


@on_sqlite
@pytest.mark.parametrize("found_by", ["client_order_id", "client_tag", "broker_order_id"])
def test_an_id_is_found_by_an_index(admin_client: Client, found_by: str) -> None:
    fill(3)
    of = BrokerOrder.objects.filter(attempt__isnull=False) if found_by == "broker_order_id" else OrderIntent.objects
    url = f"{list_url('orderintent')}?q={getattr(of.latest('pk'), found_by)}"
    for table in ("brokers_orderintent", "brokers_brokerorder"):
        steps = reads(admin_client, url, table)
        assert not [step for step in steps if step.startswith("SCAN")], steps


@on_sqlite
def test_the_first_page_counts_the_day_s_orders_in_an_index_alone(admin_client: Client) -> None:
    fill(3)
    steps = reads(admin_client, reverse("admin:index"), "brokers_orderintent")
    assert any("COVERING INDEX intent_by_day" in step for step in steps), steps
    assert not [step for step in steps if step.startswith("SCAN")], steps


def test_a_day_of_orders_is_shown_by_itself(admin_client: Client) -> None:
    owner = admin_rows.account()
    admin_rows.intent(owner, 1)
    admin_rows.intent(owner, 2, now=NOON - timedelta(days=1))
    page = text(admin_client, list_url("orderintent") + "?trading_day_from=2026-11-20&trading_day_to=2026-11-20")
    assert f"order-{owner.pk}-1" in page
    assert f"order-{owner.pk}-2" not in page
    assert f"order-{owner.pk}-" not in text(admin_client, list_url("orderintent") + "?trading_day_from=soon")


@pytest.mark.parametrize("found_by", ["client_order_id", "client_tag", "symbol", "strategy"])
def test_an_order_is_found_by_its_own_words(admin_client: Client, found_by: str) -> None:
    owner = admin_rows.account()
    wanted = admin_rows.intent(owner, 1)
    other = admin_rows.intent(owner, 2)
    OrderIntent.objects.filter(pk=other.pk).update(symbol="RELIANCE", strategy="other")
    word = str(getattr(wanted, found_by))
    page = text(admin_client, f"{list_url('orderintent')}?q={word.lower() if found_by == 'symbol' else word}")
    assert page_url(wanted) in page
    assert page_url(other) not in page


@pytest.mark.parametrize("model", READ_ONLY)
def test_nobody_edits_what_the_system_writes(admin_client: Client, model: str) -> None:
    admin_rows.market()
    fill(1)
    row = admin.site._registry[
        next(m for m in admin.site._registry if m._meta.model_name == model)
    ].model.objects.first()
    assert admin_client.get(reverse(f"admin:brokers_{model}_add")).status_code == 403
    assert admin_client.post(page_url(row), {"state": "FILLED"}).status_code == 403
    assert (
        admin_client.post(reverse(f"admin:brokers_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )
    assert 'name="_save"' not in text(admin_client, page_url(row))


def test_an_account_is_neither_deleted_nor_renamed(admin_client: Client) -> None:
    owner = admin_rows.account()
    assert admin_client.get(reverse("admin:brokers_brokeraccount_delete", args=[owner.pk])).status_code == 403
    assert 'name="name"' not in text(admin_client, page_url(owner))


def test_the_page_of_an_order_tells_its_whole_story_in_order(admin_client: Client) -> None:
    owner = admin_rows.account()
    placed = admin_rows.intent(owner, 1)
    book = admin_rows.book_order(owner, 1, of=placed)
    page = text(admin_client, page_url(placed))
    story = [
        "Attempt 1 armed",
        "First byte left",
        "Attempt 1: acked",
        "ARMED → WORKING",
        "First seen in the broker",
        "Filled 25 at 112.35",
    ]
    positions = [page.index(words) for words in story]
    assert positions == sorted(positions)
    assert book.broker_order_id in page
    assert "127.0.0.1/orders" in page  # evidence
    assert "28.0 ms" in page
    assert "20 Nov 2026, 12:00:00 IST" in page


def test_a_fill_that_the_broker_times_to_the_second_stands_where_it_happened(admin_client: Client) -> None:
    owner = admin_rows.account()
    placed = admin_rows.intent(owner, 1)
    book = admin_rows.book_order(owner, 1, of=placed, fills=1)
    BrokerOrder.objects.update(first_seen_at=NOON + timedelta(milliseconds=41))
    # 12:00:00, while it was armed 4 ms and acknowledged 40 ms after that second began.
    book.fills.update(filled_at=NOON, first_seen_at=NOON + timedelta(milliseconds=50))
    page = text(admin_client, page_url(placed))
    story = ["Attempt 1 armed", "ARMED → WORKING", "Filled 25 at 112.35", "WORKING → FILLED"]
    positions = [page.index(words) for words in story]
    assert positions == sorted(positions)


def test_a_period_is_meant_in_the_zone_that_the_page_shows(admin_client: Client) -> None:
    owner = admin_rows.account()
    for minute in (0, 30):
        admin_rows.snapshots(owner, slot_at=NOON + timedelta(minutes=minute))
    url = list_url("marginsnapshot") + "?slot_at_from_0=2026-11-20&slot_at_from_1=12:10&slot_at_to_0=2026-11-20"
    page = text(admin_client, url)
    assert "20 Nov 2026, 12:30:00 IST" in page
    assert "20 Nov 2026, 12:00:00 IST" not in page
    assert "IST" not in text(admin_client, list_url("marginsnapshot") + "?slot_at_from_0=soon")


def test_an_order_that_may_be_at_the_broker_says_so(admin_client: Client) -> None:
    lost = admin_rows.intent(admin_rows.account(), 1, state="UNKNOWN")
    assert "This order may be at the broker" in text(admin_client, page_url(lost))


def test_an_order_that_waits_says_why_on_its_page_and_in_the_list(admin_client: Client) -> None:
    waiting = admin_rows.intent(admin_rows.account(), 1, state="READY")
    why = "The broker does not answer; password=planted"
    OrderIntent.objects.update(waiting_reason=why, not_before=NOON + timedelta(minutes=11))
    for url in (list_url("orderintent"), page_url(waiting)):
        page = text(admin_client, url)
        assert "The broker does not answer" in page
        assert "planted" not in page
    assert "Due again" in text(admin_client, page_url(waiting))
    OrderIntent.objects.update(closed_reason="the market is closed", state="DENIED")
    assert "the market is closed" in text(admin_client, list_url("orderintent"))
    assert "Due again" not in text(admin_client, page_url(waiting))


def test_an_order_is_found_by_the_brokers_order_id(admin_client: Client) -> None:
    owner = admin_rows.account()
    for number in (1, 2):
        admin_rows.book_order(owner, number, of=admin_rows.intent(owner, number))
    page = text(admin_client, list_url("orderintent") + f"?q={BrokerOrder.objects.latest('pk').broker_order_id}")
    assert f"order-{owner.pk}-2" in page
    assert f"order-{owner.pk}-1" not in page


def test_the_first_page_shows_money_with_its_age_and_what_failed_since(admin_client: Client) -> None:
    owner = admin_rows.account()
    admin_rows.snapshots(owner)
    admin_rows.snapshots(owner, slot_at=NOON + timedelta(minutes=5), error="The broker did not answer.")
    page = text(admin_client, reverse("admin:index"))
    assert "₹12,34,567.50" in page
    assert re.search(r"as of (9|10) min ago", page)
    assert "since then: The broker did not answer." in page
    assert "SIMULATED" in page
    assert "20 Nov 2026, 12:1" in page  # the market's clock, in IST


def test_the_first_page_warns_of_orders_in_doubt_and_of_a_dead_queue(admin_client: Client) -> None:
    owner = admin_rows.account()
    admin_rows.intent(owner, 1, state="UNKNOWN")
    admin_rows.intent(owner, 2, state="ARMED")
    page = text(admin_client, reverse("admin:index"))
    assert "1 order may be at the broker" in page
    assert "1 attempt armed past its deadline" in page
    assert "The queue server does not answer" in page


def test_the_first_page_says_how_the_first_account_is_made(admin_client: Client) -> None:
    page = text(admin_client, reverse("admin:index"))
    commands = re.findall(r"python manage.py setup_credentials ([^<]+)</code>", page)
    parser = setup_credentials.Command().create_parser("manage.py", "setup_credentials")
    named = [parser.parse_args([option]).setup for option in commands]
    assert named == list(specs())
    accounts.keep(named[0], "default", {"api_key": "k"})  # what the command does with what is typed
    assert BrokerAccount.objects.get().broker == named[0]
    assert "No account yet" not in text(admin_client, reverse("admin:index"))


def test_a_quiet_day_shows_no_warning(admin_client: Client) -> None:
    admin_rows.intent(admin_rows.account(), 1)
    assert "A person must look" not in text(admin_client, reverse("admin:index"))


def test_no_page_shows_a_planted_secret(admin_client: Client, settings: Any) -> None:
    owner = admin_rows.account()
    SessionState.objects.update(message="refused: password=planted-1", details={"secret": "planted-2"})
    placed = admin_rows.intent(owner, 1, state="READY")
    placed.events.create(
        sequence=9,
        to_state="READY",
        actor="CALLER",
        cause="x token=planted-3",
        evidence={"sid": "planted-4", "body": "apisession=planted-5"},
        at=NOON,
        hash="h",
    )
    placed.attempts.update(reply_text="Bearer planted-6-which-is-long")
    OrderIntent.objects.update(closed_reason="otp=planted-9", waiting_reason="token=planted-11")
    book = admin_rows.book_order(owner, 1, of=placed)
    BrokerOrder.objects.update(reason="mpin: planted-10")
    admin_rows.snapshots(owner)
    MarginSnapshot.objects.update(details={"api_key": "planted-7"}, error="redis://:planted-8@h/0")
    urls = [reverse("admin:index"), *(list_url(model) for model in LISTS)]
    urls += [page_url(row) for row in (owner, owner.session, placed, book, MarginSnapshot.objects.get())]
    for url in urls:
        page = text(admin_client, url)
        assert "planted" not in page, (url, page[page.index("planted") - 80 :][:160])
        assert settings.SECRET_KEY not in page


def test_a_viewer_sees_rows_and_may_do_nothing(client: Client) -> None:
    owner = admin_rows.account()
    viewer = User.objects.create_user("viewer", password="a-long-password", is_staff=True)
    viewer.user_permissions.set(
        Permission.objects.filter(codename__startswith="view_", content_type__app_label="brokers")
    )
    client.force_login(viewer)
    assert owner.name in text(client, list_url("brokeraccount"))
    pause = {"deed": "pause", "pause-reason": "x", "pause-word": "PAUSE"}
    assert client.post(reverse("admin:brokers_brokeraccount_pause", args=[owner.pk]), pause).status_code == 403
    assert BrokerAccount.objects.get().is_active
    for name in ("login_this", "end_this_session", "give_token"):
        url = reverse(f"admin:brokers_brokeraccount_{name}", args=[owner.pk])
        assert client.post(url, {"_form_submitted": "on", "token": "x"}).status_code == 403


def test_a_stranger_gets_the_login_page(client: Client) -> None:
    answer = client.get(list_url("orderintent"))
    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]
    assert client.get(answer["Location"]).status_code == 200


def test_a_session_is_ended_by_post_only(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    replace_sessions(monkeypatch, end=lambda account, clock: ended.append(str(account)))
    owner = admin_rows.account()
    url = reverse("admin:brokers_brokeraccount_end_this_session", args=[owner.pk])
    assert admin_client.get(url).status_code == 200
    assert ended == []
    assert admin_client.post(url, {"_form_submitted": "on"}).status_code == 302
    assert ended == [str(owner)]


def test_a_login_that_fails_is_told_in_the_sentence_of_the_error_without_its_secret(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brokers.domain.errors import LoginFailed

    def refuse(account: BrokerAccount, clock: object) -> None:
        raise LoginFailed("The broker refused the login; check the password=planted")

    replace_sessions(monkeypatch, ensure=refuse)
    owner = admin_rows.account()
    url = reverse("admin:brokers_brokeraccount_login_this", args=[owner.pk])
    answer = admin_client.post(url, {"_form_submitted": "on"}, follow=True)
    page = answer.content.decode()
    assert "The broker refused the login" in page
    assert "planted" not in page


def replace_sessions(monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., object]) -> None:
    """The broker is the edge of these tests: what would call it is replaced."""
    from brokers import sessions

    for name, function in functions.items():
        monkeypatch.setattr(sessions, name, function)


def test_the_schedule_can_be_changed_and_shows_in_words(admin_client: Client) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    crontab = CrontabSchedule.objects.create(minute="*/5", hour="9-15", timezone="Asia/Kolkata")
    task = PeriodicTask.objects.create(name="margins", task="tasks.snapshots.snapshot_margin", crontab=crontab)
    assert "margins" in text(admin_client, reverse("admin:django_celery_beat_periodictask_changelist"))
    page = text(admin_client, reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]))
    assert "tasks.snapshots.snapshot_margin" in page
    url = reverse("admin:django_celery_beat_periodictask_changelist")
    admin_client.post(url, {"action": "disable_tasks", "_selected_action": [task.pk]})
    assert not PeriodicTask.objects.get(pk=task.pk).enabled


def menu_of(user: User) -> dict[str, dict[str, Any]]:
    """The menu's entries by their address."""
    request = RequestFactory().get(reverse("admin:index"))
    request.user = user
    return {item["link"]: item for group in menu.navigation(request) for item in group["items"]}


def test_the_menu_counts_what_the_page_of_open_questions_lists(admin_user: User) -> None:
    owner = admin_rows.account()
    for number, state in enumerate(OPEN_QUESTIONS):
        OrderIntent.objects.filter(pk=admin_rows.intent(owner, number).pk).update(state=state)
    entry = menu_of(admin_user)[reverse("admin:brokers_orderintent_unresolved")]
    assert entry["badge"] == questions.how_many() == len(OPEN_QUESTIONS)


def test_every_page_of_brokers_and_credentials_is_in_the_menu(admin_user: User) -> None:
    linked = set(menu_of(admin_user))
    pages = [model._meta for model in admin.site._registry if model._meta.app_label in ("brokers", "credentials")]
    lists = {reverse(f"admin:{page.app_label}_{page.model_name}_changelist") for page in pages}
    assert lists - linked == set()


def test_every_own_page_wears_the_theme() -> None:
    from unfold.admin import ModelAdmin

    plain = [model.__name__ for model, page in admin.site._registry.items() if not isinstance(page, ModelAdmin)]
    assert plain == []


def test_figures_are_written_as_people_here_read_them() -> None:
    from decimal import Decimal

    assert rupees(Decimal("123456789.5")) == "₹12,34,56,789.50"
    assert rupees(Decimal("-999")) == "-₹999.00"
    assert rupees(Decimal("100000")) == "₹1,00,000.00"
    assert rupees(None) == "–"
    assert (price(Decimal("112.5000")), price(Decimal("24500.0000"))) == ("112.5", "24500")
    assert age(NOON - timedelta(hours=3, minutes=5), NOON) == "3 h 5 min ago"
    assert age(NOON + timedelta(seconds=4), NOON) == "in 4 s"
    assert OrderIntent._meta.verbose_name == "order intent"
