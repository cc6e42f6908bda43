"""The pages on which people halt, limit, approve and steer: by POST, with a permission, and on the record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from brokers import sessions
from brokers.admin import approvals
from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.models import (
    Alert,
    AlertChannel,
    BrokerAccount,
    HumanDecision,
    KillSwitch,
    OrderIntent,
    OrderPlan,
    RiskChange,
    RiskLimit,
    Scope,
    Severity,
    StartupBarrier,
)
from brokers.plans.status import awaits_approval, waiting_for_approval
from brokers.risk import limits, pausing, switches
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON
from tests.integration.test_ledger import Desk
from tests.support import scripted_broker
from tests.support.inbox import Inbox

pytestmark = pytest.mark.django_db

State = KillSwitch.State


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.STATIC_ROOT = settings.HOME = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]
    yield
    BrokerFactory._gateways.clear()


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Desk:
    _, adapter = scripted_broker.install(request.param)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    return Desk(BrokerAccount.objects.get(), adapter)


def user(client: Client, *permissions: str) -> Client:
    """Somebody of the staff who may see everything of the brokers and do what is named."""
    made = User.objects.create_user("ravi", password="a-long-password", is_staff=True)
    seeing = Permission.objects.filter(codename__startswith="view_", content_type__app_label="brokers")
    made.user_permissions.set([*seeing, *Permission.objects.filter(codename__in=permissions)])
    client.force_login(made)
    return client


def text(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content.decode()


def told(answer: Any) -> str:
    """The page that a POST ends on."""
    return re.sub(r"\s+", " ", answer.content.decode())


SWITCHES = "admin:brokers_killswitch_changelist"


def halt(client: Client, what: str = "EVERYTHING:", **more: str) -> Any:
    content = {"deed": "halt", "halt-what": what, "halt-reason": "fat finger", **more}
    return client.post(reverse(SWITCHES), content, follow=True)


# The kill switch


def test_one_button_on_the_first_page_halts_everything(client: Client) -> None:
    owner = admin_rows.account()
    user(client, "halt_trading")
    page = text(client, reverse("admin:index"))
    form = re.search(r'<form method="post" action="([^"]+)">.*?</form>', page, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[0]))
    fields.pop("csrfmiddlewaretoken", None)
    client.post(form[1], fields)
    switch = KillSwitch.objects.get(scope=Scope.EVERYTHING)
    assert (switch.state, switch.changed_by) == (State.HALTED, "ravi")
    assert switches.state_for(owner, "", "").state is State.HALTED
    assert "Halt everything" not in text(client, reverse("admin:index"))


def test_a_halt_is_one_row_of_history_and_one_alert_with_name_and_reason(admin_client: Client) -> None:
    owner = admin_rows.account()
    assert "is HALTED" in told(halt(admin_client, f"ACCOUNT:{owner}"))
    change = RiskChange.objects.get()
    assert (change.changed_by, change.reason, change.after["state"]) == ("admin", "fat finger", State.HALTED)
    assert Alert.objects.get().kind == "kill_switch"
    page = text(admin_client, reverse(SWITCHES))
    assert "fat finger" in page
    assert f"account {owner}" in page
    assert "Halt this account" not in text(admin_client, reverse("admin:brokers_brokeraccount_change", args=[owner.pk]))


def test_a_strategy_or_symbol_is_halted_by_its_name(admin_client: Client) -> None:
    halt(admin_client, "STRATEGY:", **{"halt-name": "strangle"})
    halt(admin_client, "SYMBOL:", **{"halt-name": "reliance"})
    assert set(KillSwitch.objects.exclude(scope="EVERYTHING").values_list("scope", "scope_key", "state")) == {
        ("STRATEGY", "strangle", "HALTED"),
        ("SYMBOL", "RELIANCE", "HALTED"),
    }
    page = told(halt(admin_client, "STRATEGY:"))
    assert "name one account, strategy or symbol" in page
    assert 'value="fat finger"' in page  # what was entered is kept


def test_resuming_has_to_be_typed_and_is_another_permission(client: Client) -> None:
    user(client, "halt_trading")
    halt(client)
    resume = {"deed": "resume", "resume-what": "EVERYTHING:", "resume-reason": "over", "resume-word": "RESUME"}
    assert client.post(reverse(SWITCHES), resume).status_code == 403
    client.logout()
    User.objects.all().delete()
    user(client, "resume_trading")
    assert "exactly as it is written" in told(client.post(reverse(SWITCHES), resume | {"resume-word": "resume"}))
    assert KillSwitch.objects.get().state == State.HALTED
    client.post(reverse(SWITCHES), resume)
    assert KillSwitch.objects.get().state == State.ACTIVE
    # Nobody is called any more for what is over.
    assert not Alert.objects.filter(acknowledged_at=None, severity=Severity.CRITICAL).exists()


def test_who_may_halt_can_although_they_see_nothing_else(client: Client) -> None:
    made = User.objects.create_user("night", password="a-long-password", is_staff=True)
    made.user_permissions.set(Permission.objects.filter(codename="halt_trading"))
    client.force_login(made)
    assert "is HALTED" in told(halt(client))


def test_opening_the_page_changes_nothing_and_a_viewer_may_do_nothing(client: Client) -> None:
    user(client)
    page = text(client, reverse(SWITCHES))
    assert 'name="deed"' not in page
    assert "You may not do 3 of the things" in page
    assert halt(client).status_code == 403
    assert "Halt everything" not in text(client, reverse("admin:index"))
    assert not RiskChange.objects.exists()


def test_a_post_without_its_token_halts_nothing() -> None:
    client = Client(enforce_csrf_checks=True)
    User.objects.create_superuser("root", password="a-long-password")
    client.force_login(User.objects.get())
    assert halt(client).status_code == 403
    assert not KillSwitch.objects.filter(state=State.HALTED).exists()


def test_open_orders_are_cancelled_with_the_halt_when_that_is_asked(admin_client: Client, desk: Desk) -> None:
    desk.send("one")
    answer = halt(admin_client, f"ACCOUNT:{desk.account}", **{"halt-cancel_open": "on"})
    assert "1 cancel is recorded" in told(answer)
    assert OrderIntent.objects.get(kind="CANCEL").state == IntentState.READY


# Pausing an account


def pause(client: Client, owner: BrokerAccount, deed: str = "pause", **more: str) -> Any:
    content = {"deed": deed, f"{deed}-reason": "moved to the other desk", f"{deed}-word": deed.upper()}
    url = reverse("admin:brokers_brokeraccount_pause", args=[owner.pk])
    return client.post(url, content | {f"{deed}-{name}": value for name, value in more.items()}, follow=True)


def test_an_account_is_paused_and_resumed_with_a_reason_and_a_name_in_rows_that_stay(client: Client) -> None:
    owner = admin_rows.account()
    user(client, "change_brokeraccount")
    assert "is paused" in told(pause(client, owner))
    owner.refresh_from_db()
    assert not owner.is_active
    account_page = reverse("admin:brokers_brokeraccount_change", args=[owner.pk])
    assert "moved to the other desk (ravi)" in text(client, account_page)
    assert "is active again" in told(pause(client, owner, "resume"))
    owner.refresh_from_db()
    assert owner.is_active
    rows = RiskChange.objects.filter(what="pause", scope=Scope.ACCOUNT, scope_key=str(owner), changed_by="ravi")
    assert [(row.before, row.after, row.reason) for row in rows.order_by("pk")] == [
        ({"account": "active"}, {"account": "paused"}, "moved to the other desk"),
        ({"account": "paused"}, {"account": "active"}, "moved to the other desk"),
    ]


def test_pausing_says_first_what_it_does_to_exits_and_to_the_book(admin_client: Client) -> None:
    owner = admin_rows.account()
    account_page = text(admin_client, reverse("admin:brokers_brokeraccount_change", args=[owner.pk]))
    url = reverse("admin:brokers_brokeraccount_pause", args=[owner.pk])
    assert url in account_page
    assert 'name="is_active"' not in account_page
    page = text(admin_client, url)
    for words in ("exits included", "only cancels go out", "not read by schedule", "use Halt", "Type PAUSE"):
        assert words in page
    assert BrokerAccount.objects.get().is_active


@pytest.mark.parametrize("bad", [{"word": "pause"}, {"word": ""}, {"reason": ""}])
def test_an_account_is_paused_with_the_word_and_a_reason_alone(admin_client: Client, bad: dict[str, str]) -> None:
    owner = admin_rows.account()
    pause(admin_client, owner, **bad)
    assert BrokerAccount.objects.get().is_active
    assert not RiskChange.objects.exists()


def test_nobody_pauses_from_a_list(admin_client: Client) -> None:
    owner = admin_rows.account()
    listed = reverse("admin:brokers_brokeraccount_changelist")
    admin_client.post(listed, {"action": "pause", "_selected_action": [owner.pk]})
    assert BrokerAccount.objects.get().is_active


def test_of_two_who_pause_at_once_one_is_in_the_history() -> None:
    owner = admin_rows.account()
    other = BrokerAccount.objects.get()
    how: dict[str, Any] = {"by": "asha", "reason": "x", "at": NOON}
    assert pausing.pause(owner, **how)
    assert not pausing.pause(other, **how)
    assert RiskChange.objects.count() == 1


# Limits


def limit_form(**values: object) -> dict[str, object]:
    return {**dict.fromkeys(limits.NAMES, ""), "scope": "EVERYTHING", "scope_key": "", "reason": "expiry day", **values}


def test_a_limit_is_changed_with_a_reason_and_a_row_of_history(client: Client) -> None:
    owner = admin_rows.account()
    user(client, "add_risklimit", "change_risklimit")
    url = reverse("admin:brokers_risklimit_add")
    assert client.post(url, limit_form(max_lots=4)).status_code == 302
    row = RiskLimit.objects.get()
    assert (row.max_lots, row.changed_by) == (4, "ravi")
    url = reverse("admin:brokers_risklimit_change", args=[row.pk])
    assert client.post(url, limit_form(max_lots=2)).status_code == 302
    changes = list(RiskChange.objects.order_by("pk").values_list("before", "after", "changed_by", "reason"))
    assert changes == [
        ({"max_lots": None}, {"max_lots": 4}, "ravi", "expiry day"),
        ({"max_lots": 4}, {"max_lots": 2}, "ravi", "expiry day"),
    ]
    found = limits.of(owner, "", "").strictest("max_lots")
    assert found is not None
    assert found.value == 2
    assert "max lots 2" in text(client, reverse("admin:brokers_riskchange_changelist"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reason": ""}, "This field is required"),
        ({"scope": "ACCOUNT", "scope_key": "nobody/here"}, "There is no account"),
        ({"scope": "ACCOUNT"}, "name one account"),
        ({"scope": "SYMBOL", "scope_key": "X", "max_loss_per_day_rupees": "5"}, "kept for an account"),
        ({"price_collar_percent": "-1"}, "is below zero"),
    ],
)
def test_a_limit_that_cannot_hold_is_refused_in_a_sentence(
    admin_client: Client, values: dict[str, object], words: str
) -> None:
    answer = admin_client.post(reverse("admin:brokers_risklimit_add"), limit_form(**values))
    assert answer.status_code == 200
    assert words in told(answer)
    assert not RiskLimit.objects.exists()


def test_a_second_row_for_one_scope_is_refused(admin_client: Client) -> None:
    admin_client.post(reverse("admin:brokers_risklimit_add"), limit_form(max_lots=4))
    assert "has limits; change those" in told(admin_client.post(reverse("admin:brokers_risklimit_add"), limit_form()))


def test_the_limits_that_hold_are_shown_with_where_they_come_from(admin_client: Client) -> None:
    owner = admin_rows.account()
    limits.change(Scope.ACCOUNT, str(owner), {"max_orders_per_day": 7}, by="asha", reason="", at=NOON)
    page = text(admin_client, reverse("admin:brokers_risklimit_changelist"))
    assert "the installation&#x27;s defaults" in page
    assert f"account {owner}" in page
    assert "₹10,00,00,000.00" in page


def test_nobody_edits_the_history(admin_client: Client) -> None:
    halt(admin_client)
    row = RiskChange.objects.get()
    url = reverse("admin:brokers_riskchange_change", args=[row.pk])
    assert "fat finger" in text(admin_client, url)
    assert admin_client.post(url, {"reason": "another"}).status_code == 403


# Approvals

APPROVALS = "admin:brokers_orderintent_approvals"


def answer(client: Client, intent: OrderIntent, deed: str) -> Any:
    content = {"deed": deed, "row-intent": intent.pk, "row-reason": "as discussed"}
    return client.post(reverse(APPROVALS), content, follow=True)


@pytest.fixture
def waiting(desk: Desk) -> OrderIntent:
    BrokerAccount.objects.update(requires_approval=True)
    intent = desk.record("waits")
    assert intent.state == IntentState.AWAITING_APPROVAL
    return intent


def test_an_order_is_approved_by_itself_and_by_name(client: Client, desk: Desk, waiting: OrderIntent) -> None:
    other = desk.record("other", quantity=130)
    user(client, "approve_order")
    page = text(client, reverse(APPROVALS))
    assert waiting.client_order_id in page
    assert "(+" in page or "(-" in page or "%)" in page  # how far the market is from it now
    assert "is approved" in told(answer(client, waiting, "approve"))
    waiting.refresh_from_db()
    assert waiting.state == IntentState.READY
    decision = HumanDecision.objects.get()
    assert (decision.kind, decision.decided_by, decision.reason) == ("APPROVE", "ravi", "as discussed")
    other.refresh_from_db()
    assert other.state == IntentState.AWAITING_APPROVAL


def test_a_declined_order_is_never_sent(admin_client: Client, desk: Desk, waiting: OrderIntent) -> None:
    assert "is declined" in told(answer(admin_client, waiting, "decline"))
    waiting.refresh_from_db()
    assert waiting.state == IntentState.DENIED
    assert "declined by admin: as discussed" in waiting.closed_reason
    assert "waits for no approval" in told(answer(admin_client, waiting, "approve"))


def test_an_order_that_no_longer_passes_is_not_approved(admin_client: Client, desk: Desk, waiting: OrderIntent) -> None:
    halt(admin_client)
    assert "HALTED" in told(answer(admin_client, waiting, "approve"))
    waiting.refresh_from_db()
    assert waiting.state == IntentState.AWAITING_APPROVAL


def test_a_plan_that_waits_is_shown_among_many_that_do_not(admin_client: Client) -> None:
    others, asked = admin_rows.account("others"), admin_rows.account("asked")
    BrokerAccount.objects.filter(pk=asked.pk).update(requires_approval=True)
    for number in range(approvals.MOST_ROWS):
        admin_rows.plan(others, number)
    waiting = admin_rows.plan(asked, approvals.MOST_ROWS)
    OrderPlan.objects.filter(pk=waiting.pk).update(not_after=NOON + timedelta(hours=2))
    waiting.refresh_from_db()
    assert awaits_approval(waiting)
    page = text(admin_client, reverse(APPROVALS))
    assert reverse("admin:brokers_orderplan_change", args=[waiting.pk]) in page
    assert "buy 150 NIFTY26NOV24500CE" in page
    assert set(waiting_for_approval()) == {plan for plan in OrderPlan.objects.all() if awaits_approval(plan)}
    OrderPlan.objects.update(approved_at=NOON)
    assert not waiting_for_approval()


def test_who_may_not_approve_sees_what_waits(client: Client, waiting: OrderIntent) -> None:
    user(client)
    assert "You may not approve orders." in text(client, reverse(APPROVALS))
    assert answer(client, waiting, "approve").status_code == 403


# Plans


@pytest.fixture
def plan() -> OrderPlan:
    return admin_rows.plan(admin_rows.account(), 7)


def test_a_plan_shows_how_far_it_is_and_goes_on_when_somebody_says_so(client: Client, plan: OrderPlan) -> None:
    user(client, "steer_plan")
    url = reverse("admin:brokers_orderplan_change", args=[plan.pk])
    page = text(client, url)
    for words in ("Slice 2 was rejected", "50%", "buy 150 NIFTY26NOV24500CE"):
        assert words in page
    assert "stopped" in text(client, reverse("admin:brokers_orderplan_changelist") + "?is=stopped")
    assert "exactly" in told(client.post(url, {"deed": "go_on", "go_on-word": "yes"}))
    assert "goes on" in told(client.post(url, {"deed": "go_on", "go_on-word": "GO ON"}, follow=True))
    plan.refresh_from_db()
    assert (plan.stopped_at, plan.resumed_by) == (None, "ravi")


def test_a_cancelled_plan_sends_no_further_slice(admin_client: Client, plan: OrderPlan) -> None:
    url = reverse("admin:brokers_orderplan_change", args=[plan.pk])
    admin_client.post(url, {"deed": "cancel", "cancel-word": "CANCEL"})
    plan.refresh_from_db()
    assert plan.cancelled_by == "admin"
    assert plan.children.get(slice=1).state == IntentState.WITHDRAWN
    assert "cancelled by admin" in text(admin_client, url).lower()


def test_who_may_not_steer_only_looks(client: Client, plan: OrderPlan) -> None:
    user(client)
    url = reverse("admin:brokers_orderplan_change", args=[plan.pk])
    assert 'name="deed"' not in text(client, url)
    assert client.post(url, {"deed": "cancel", "cancel-word": "CANCEL"}).status_code == 403


# Start-up checks

BARRIER = "admin:brokers_startupbarrier_changelist"


def test_the_checks_of_each_account_are_shown(admin_client: Client) -> None:
    owner = admin_rows.account()
    admin_rows.account("second")
    StartupBarrier.objects.create(
        account=owner,
        trading_day=NOON.date(),
        checked_at=NOON,
        checks=[{"name": "clock", "is_green": False, "sentence": "4 s ahead; password=planted"}],
    )
    page = text(admin_client, reverse(BARRIER))
    assert "4 s ahead" in page
    assert "planted" not in page
    assert "It was not checked yet." in page


def test_the_checks_are_made_when_somebody_asks(admin_client: Client, desk: Desk) -> None:
    answer = admin_client.post(reverse(BARRIER), {"deed": "check", "row-account": desk.account.pk}, follow=True)
    assert str(desk.account) in told(answer)
    row = StartupBarrier.objects.get()
    assert row.checked_at is not None
    assert row.checks


# Alerts and channels


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


def test_alerts_are_listed_open_ones_first_and_acknowledged_by_name(client: Client) -> None:
    owner = admin_rows.account()
    switches.set_switch(Scope.ACCOUNT, str(owner), State.HALTED, by="asha", reason="fat finger", at=NOON)
    alert = Alert.objects.get()
    user(client, "acknowledge_alert")
    listed = reverse("admin:brokers_alert_changelist")
    assert "fat finger" in text(client, listed)
    page = text(client, reverse("admin:brokers_alert_change", args=[alert.pk]))
    assert alert.to_do[:20] in page
    url = reverse("admin:brokers_alert_acknowledge", args=[alert.pk])
    assert client.get(url).status_code == 405
    assert "It is acknowledged" in told(client.post(url, follow=True))
    alert.refresh_from_db()
    assert alert.acknowledged_by == "ravi"
    assert "fat finger" not in text(client, listed)
    assert "fat finger" in text(client, f"{listed}?state=acknowledged")


def test_who_may_not_acknowledge_cannot(client: Client) -> None:
    halt_alert = switches.set_switch(Scope.EVERYTHING, "", State.HALTED, by="asha", reason="x", at=NOON)
    assert halt_alert
    alert = Alert.objects.get()
    user(client)
    assert client.post(reverse("admin:brokers_alert_acknowledge", args=[alert.pk])).status_code == 403
    listed = reverse("admin:brokers_alert_changelist")
    client.post(listed, {"action": "acknowledge_selected", "_selected_action": [alert.pk]})
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def channel_form(**values: object) -> dict[str, object]:
    return {"name": "desk", "address": "", "minimum_severity": 20, "repeat_minutes": 15, "is_active": "on", **values}


def test_a_channels_address_goes_in_and_never_comes_out(admin_client: Client, inbox: Inbox) -> None:
    add = reverse("admin:brokers_alertchannel_add")
    assert "Where should alerts go" in told(admin_client.post(add, channel_form()))
    assert "none that Apprise knows" in told(admin_client.post(add, channel_form(address="nosuch://planted-secret")))
    address = f"json://user:planted-secret@127.0.0.1:{inbox.port}/planted-path"
    assert admin_client.post(add, channel_form(address=address)).status_code == 302
    channel = AlertChannel.objects.get()
    assert channel.address == address
    url = reverse("admin:brokers_alertchannel_change", args=[channel.pk])
    assert admin_client.post(url, channel_form(repeat_minutes=5)).status_code == 302
    channel.refresh_from_db()
    assert (channel.address, channel.repeat_minutes) == (address, 5)
    tried = admin_client.post(reverse("admin:brokers_alertchannel_test", args=[channel.pk]), follow=True)
    assert "took the message" in told(tried)
    assert inbox.titles == ["[simulated] mcube: a trial"]
    inbox.status = 403
    refused = admin_client.post(reverse("admin:brokers_alertchannel_test", args=[channel.pk]), follow=True)
    assert "HTTP 403" in told(refused)
    history = reverse("admin:brokers_alertchannel_history", args=[channel.pk])
    for page in (told(tried), told(refused), text(admin_client, url), text(admin_client, history)):
        assert "planted" not in page
        assert "gAAAA" not in page


def test_the_first_page_says_that_alerts_reach_nobody(admin_client: Client) -> None:
    AlertChannel.objects.create(name="desk", last_problem="It refused the message with HTTP 401.")
    assert "Alerts do not reach desk: It refused" in text(admin_client, reverse("admin:index"))
