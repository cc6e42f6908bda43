"""Alerts reach people: once per channel, again while nobody cares, and never in the way of anything else."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from brokers import sessions
from brokers.alerts import acknowledge, close_alert, courier, delivery, raise_alert
from brokers.alerts.courier import Errand, Message
from brokers.clock import SimulatedClock, configured_clock
from brokers.discovery import specs
from brokers.domain.errors import BrokerUnavailable
from brokers.factory import BrokerFactory
from brokers.models import (
    Alert,
    AlertChannel,
    AlertDelivery,
    BrokerAccount,
    KillSwitch,
    RiskChange,
    Scope,
    Severity,
)
from brokers.recovery import answers
from brokers.risk import limits, switches
from credentials import store
from tasks import alerts as tasks
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON
from tests.integration.test_ledger import Desk
from tests.integration.test_reconciliation import MUST_SHOW_SECONDS, look, lose
from tests.support import scripted_broker
from tests.support.inbox import Inbox

pytestmark = pytest.mark.django_db

SECRET = "planted-channel-secret"


@pytest.fixture(autouse=True)
def clock(settings: Any, tmp_path: Path) -> SimulatedClock:
    settings.HOME = tmp_path
    clock = configured_clock()
    assert isinstance(clock, SimulatedClock)
    clock.set(NOON)
    return clock


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


@pytest.fixture
def other_inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


def channel(inbox: Inbox | int, name: str = "desk", **values: Any) -> AlertChannel:
    port = inbox if isinstance(inbox, int) else inbox.port
    made = AlertChannel(name=name, minimum_severity=Severity.WARNING, **values)
    made.address = f"json://{SECRET}:{SECRET}@127.0.0.1:{port}/{SECRET}"
    made.save()
    return made


def alert(key: str = "1", *, severity: Severity = Severity.WARNING, **values: Any) -> Alert:
    return raise_alert(
        "unknown_order",
        key,
        severity=severity,
        happened=f"Order {key} may be at the broker.",
        meaning="Nobody knows yet whether it is there.",
        to_do="Look in the broker's own app.",
        at=values.pop("at", None) or configured_clock().now(),
        **values,
    )


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def send(times: int = 1) -> None:
    for _ in range(times):
        tasks.send_due()


def later(clock: SimulatedClock, **span: float) -> None:
    clock.set(clock.now() + timedelta(**span))


def test_an_alert_reaches_each_channel_that_takes_it_once(inbox: Inbox, other_inbox: Inbox) -> None:
    channel(inbox)
    AlertChannel.objects.filter(pk=channel(other_inbox, "night").pk).update(minimum_severity=Severity.CRITICAL)
    alert("1")
    alert("2", severity=Severity.CRITICAL)
    send(3)
    assert sorted(inbox.titles) == [
        "[simulated] ACT NOW: Order 2 may be at the broker.",
        "[simulated] mcube: Order 1 may be at the broker.",
    ]
    assert other_inbox.titles == ["[simulated] ACT NOW: Order 2 may be at the broker."]
    assert "What it means: Nobody knows yet whether it is there." in inbox.bodies[0]
    assert "What to do: Look in the broker's own app." in inbox.bodies[0]
    assert "20 Nov 12:00:0" in inbox.bodies[0]
    assert AlertChannel.objects.exclude(last_sent_at=None).count() == 2


def test_other_services_are_served_in_their_own_way(inbox: Inbox) -> None:
    made = AlertChannel(name="phone", minimum_severity=Severity.WARNING)
    made.address = f"ntfy://{SECRET}:{SECRET}@127.0.0.1:{inbox.port}/desk"
    made.save()
    alert(severity=Severity.CRITICAL)
    send()
    (_path, content), *others = inbox.received
    assert others == []
    assert content["topic"] == "desk"
    assert content["title"] == "[simulated] ACT NOW: Order 1 may be at the broker."
    assert "What to do: Look in the broker's own app." in content["message"]


def test_what_is_seen_again_is_counted_and_not_sent_again_unless_it_got_worse(inbox: Inbox) -> None:
    channel(inbox)
    for _ in range(3):
        alert()
        send()
    assert len(inbox.received) == 1
    assert Alert.objects.get().count == 3
    alert(severity=Severity.CRITICAL)
    send()
    assert inbox.titles[1:] == ["[simulated] ACT NOW: Order 1 may be at the broker."]
    assert "seen 4 times" in inbox.bodies[1]


def test_an_alert_to_act_on_now_is_repeated_until_somebody_acknowledges_it(inbox: Inbox, clock: SimulatedClock) -> None:
    channel(inbox, repeat_minutes=5)
    urgent, other = alert("1", severity=Severity.CRITICAL), alert("2")
    send()
    later(clock, minutes=4)
    send()
    assert len(inbox.received) == 2
    later(clock, minutes=2)
    send(2)
    assert len(inbox.received) == 3
    assert "nobody has acknowledged it" in inbox.bodies[2]
    assert acknowledge([urgent, other], by="asha", at=clock.now()) == 2
    later(clock, hours=1)
    send(2)
    assert len(inbox.received) == 3
    urgent.refresh_from_db()
    assert urgent.acknowledged_by == "asha"
    assert urgent.acknowledged_at is not None


def test_a_channel_that_was_added_late_gets_what_is_still_open(inbox: Inbox, clock: SimulatedClock) -> None:
    alert("1")
    acknowledge([alert("2")], by="asha", at=clock.now())
    send()
    later(clock, minutes=30)
    channel(inbox)
    send()
    assert inbox.titles == ["[simulated] mcube: Order 1 may be at the broker."]


def test_a_channel_that_refuses_is_tried_again_with_growing_pauses_and_then_left(
    inbox: Inbox, clock: SimulatedClock
) -> None:
    inbox.status = 500
    channel(inbox)
    alert()
    tries = []
    for _ in range(60):
        before = len(inbox.received)
        if AlertDelivery.objects.filter(due_at__lte=clock.now()) or not AlertDelivery.objects.exists():
            send()
        if len(inbox.received) > before:
            tries.append(clock.now())
        later(clock, minutes=3)
        if len(tries) == 3:
            break
    row = AlertDelivery.objects.get()
    assert (row.failures, row.problem) == (3, "It refused the message with HTTP 500.")
    assert AlertChannel.objects.get().last_problem == "It refused the message with HTTP 500."
    AlertDelivery.objects.update(failures=delivery.MOST_FAILURES - 1)
    later(clock, hours=1)
    send()
    assert AlertDelivery.objects.get().due_at is None


def test_pauses_grow() -> None:
    row = AlertDelivery(alert=alert(), channel=channel(1))
    pauses = []
    for failures in range(delivery.MOST_FAILURES):
        row.failures = failures
        pauses.append((delivery._failed(row, "no", NOON) - NOON).total_seconds())
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 900


def test_a_channel_that_comes_back_gets_the_alert_and_the_problem_is_gone(inbox: Inbox, clock: SimulatedClock) -> None:
    inbox.status = 503
    channel(inbox)
    alert()
    send()
    inbox.status = 200
    later(clock, minutes=3)
    send()
    assert len(inbox.received) == 2
    row, desk = AlertDelivery.objects.get(), AlertChannel.objects.get()
    assert (row.problem, row.failures, desk.last_problem) == ("", 0, "")
    assert row.sent_at is not None


def test_a_channel_that_failed_is_not_sent_twice_what_another_took(inbox: Inbox, clock: SimulatedClock) -> None:
    channel(inbox)
    channel(closed_port(), "gone")
    alert()
    for _ in range(3):
        send()
        later(clock, minutes=3)
    assert len(inbox.received) == 1
    gone = AlertDelivery.objects.get(channel__name="gone")
    assert gone.failures == 3
    assert gone.problem == "It could not be reached, or did not answer in time."


def letters(inbox: Inbox) -> Errand:
    letter = Message(title="t", body="b")
    return Errand(address=f"json://127.0.0.1:{inbox.port}/", messages=[letter, letter])


def test_a_channel_that_hangs_holds_no_other_up(inbox: Inbox, other_inbox: Inbox) -> None:
    other_inbox.hangs = True
    carried = courier.carry_all([("hangs", letters(other_inbox)), ("works", letters(inbox))], patience=60)
    assert next(carried) == ("works", ["", ""])
    other_inbox.let_go()
    assert next(carried)[0] == "hangs"


def test_a_channel_that_drips_for_ever_is_ended_when_its_time_is_up(inbox: Inbox) -> None:
    inbox.hangs = True
    began = monotonic()
    assert courier.carry(letters(inbox), patience=1) == [courier.NO_ANSWER, None]
    assert len(inbox.received) == 1
    assert monotonic() - began < courier.START_PATIENCE


def test_two_workers_do_not_send_the_same_alert(inbox: Inbox) -> None:
    channel(inbox)
    alert()
    now = configured_clock().now()
    delivery.plan(now)
    first, second = delivery.claim(now), delivery.claim(now)
    assert len(first) == 1
    assert second == []


def test_a_worker_that_comes_between_takes_a_channel_from_the_other(
    inbox: Inbox, other_inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel(inbox)
    channel(other_inbox, "night")
    alert()
    now = configured_clock().now()
    delivery.plan(now)
    collect = delivery._collect
    between: list[delivery.Claim] = []

    def come_between(taken: AlertChannel, at: Any) -> delivery.Claim | None:
        monkeypatch.setattr(delivery, "_collect", collect)
        between.extend(delivery.claim(now))
        return collect(taken, at)

    monkeypatch.setattr(delivery, "_collect", come_between)
    claims = delivery.claim(now) + between
    assert sorted(claim.channel.name for claim in claims) == ["desk", "night"]


def test_what_was_acknowledged_while_it_was_planned_is_not_sent(inbox: Inbox, clock: SimulatedClock) -> None:
    desk, raised = channel(inbox), alert()
    acknowledge([raised], by="asha", at=clock.now())
    AlertDelivery.objects.create(alert=raised, channel=desk, due_at=clock.now())
    send()
    assert inbox.received == []


def test_a_sender_that_died_is_followed_by_another_after_its_claim(inbox: Inbox, clock: SimulatedClock) -> None:
    channel(inbox)
    alert()
    delivery.plan(clock.now())
    delivery.claim(clock.now())  # and then its process is killed
    send()
    assert inbox.received == []
    later(clock, seconds=delivery.CLAIM.total_seconds() + 1)
    send()
    assert len(inbox.received) == 1


def test_a_flood_is_a_few_messages_with_everything_in_them(inbox: Inbox) -> None:
    channel(inbox)
    for number in range(1, 41):
        alert(str(number), severity=Severity.CRITICAL if number == 40 else Severity.WARNING)
    send(3)
    assert len(inbox.received) == delivery.ONE_BY_ONE + 1
    assert "Order 40 " in inbox.titles[0]
    assert inbox.titles[-1] == "[simulated] 36 more alerts are open"
    assert "Order 7 may be" in inbox.bodies[-1]
    assert "… and 16 more." in inbox.bodies[-1]
    assert not AlertDelivery.objects.filter(sent_at=None).exists()


def test_an_alert_whose_cause_is_gone_is_taken_back(inbox: Inbox, clock: SimulatedClock) -> None:
    channel(inbox)
    alert(severity=Severity.CRITICAL)
    assert close_alert("unknown_order", "1", because="found in the book", at=clock.now())
    send()
    assert inbox.received == []
    assert Alert.objects.get().acknowledged_by == "mcube: found in the book"
    assert not close_alert("unknown_order", "1", because="found in the book", at=clock.now())


def test_the_secret_of_a_channel_appears_nowhere(
    inbox: Inbox, clock: SimulatedClock, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    desk = channel(inbox)
    channel(closed_port(), "gone")
    strange = channel(1, "strange")
    strange.address = f"nosuch://{SECRET}"
    strange.save()
    alert()
    for status in (200, 401, 500):
        inbox.status = status
        later(clock, minutes=5)
        send()
    assert len(inbox.received) >= 1
    seen = [caplog.text, *capfd.readouterr(), repr(desk), str(desk.__dict__)]
    seen += [str(row.__dict__) for model in (Alert, AlertChannel, AlertDelivery) for row in model.objects.all()]
    assert not [text for text in seen if SECRET in text]
    assert AlertDelivery.objects.get(channel=strange).problem.startswith("The address is none that Apprise knows")


def test_an_address_that_no_key_opens_is_said_and_the_others_are_served(inbox: Inbox) -> None:
    channel(inbox)
    broken = channel(inbox, "broken")
    AlertChannel.objects.filter(pk=broken.pk).update(name="renamed")  # the name is part of the encryption
    alert()
    send()
    assert len(inbox.received) == 1
    assert "cannot be decrypted" in AlertChannel.objects.get(name="renamed").last_problem


def test_the_link_is_there_when_the_installation_says_where_people_reach_it(inbox: Inbox, settings: Any) -> None:
    settings.PUBLIC_URL = "https://mcube.example.com"
    channel(inbox)
    raised = alert(account=admin_rows.account())
    send()
    assert f"https://mcube.example.com/admin/brokers/alert/{raised.pk}/change/" in inbox.bodies[0]
    assert f"Account: {raised.account}" in inbox.bodies[0]


def test_a_secret_in_an_alerts_words_stays_here(inbox: Inbox) -> None:
    channel(inbox)
    alert("password=planted-word")
    send()
    assert "planted-word" not in str(inbox.received)


def test_without_channels_a_tick_is_cheap(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    alert()
    with django_assert_max_num_queries(4):
        send()


def test_a_new_key_takes_over_the_addresses_too(inbox: Inbox, settings: Any) -> None:
    old, new = settings.ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    channel(inbox)
    settings.ENCRYPTION_KEYS = [new, old]
    assert store.rotate() == 1
    assert store.rotate() == 0
    settings.ENCRYPTION_KEYS = [new]
    assert store.unreadable() == []
    alert()
    send()
    assert len(inbox.received) == 1
    settings.ENCRYPTION_KEYS = [old]
    assert "AlertChannel.address of desk" in store.unreadable()[0]


# What nobody attends to


def test_what_nobody_acknowledges_halts_its_account_when_that_is_asked(settings: Any, clock: SimulatedClock) -> None:
    owner = admin_rows.account()
    other = admin_rows.account("other")
    raised = alert(severity=Severity.CRITICAL, account=owner)
    later(clock, minutes=30)
    send()
    assert not KillSwitch.objects.exists()  # off unless somebody switches it on
    settings.HALT_AFTER_UNACKNOWLEDGED_MINUTES = 5
    send(2)
    assert switches.state_for(owner, "", "").state == KillSwitch.State.HALTED
    assert switches.state_for(other, "", "").state == KillSwitch.State.ACTIVE
    change = RiskChange.objects.get()
    assert (change.changed_by, change.reason) == (
        "mcube",
        f"nobody acknowledged for 5 minutes: {raised.happened}",
    )
    # A person who resumes has looked; their word stands although the alert is still open.
    later(clock, minutes=1)
    switches.set_switch(Scope.ACCOUNT, str(owner), KillSwitch.State.ACTIVE, by="asha", reason="seen", at=clock.now())
    later(clock, minutes=30)
    send()
    assert switches.state_for(owner, "", "").state == KillSwitch.State.ACTIVE


def test_an_alert_of_no_account_halts_everything_and_an_acknowledged_one_nothing(
    settings: Any, clock: SimulatedClock
) -> None:
    owner = admin_rows.account()
    settings.HALT_AFTER_UNACKNOWLEDGED_MINUTES = 5
    alert("warned")
    seen = alert("seen", severity=Severity.CRITICAL, account=owner)
    acknowledge([seen], by="asha", at=clock.now())
    later(clock, minutes=4)
    urgent = alert("urgent", severity=Severity.CRITICAL)
    later(clock, minutes=4)
    send()
    assert not KillSwitch.objects.exists()
    later(clock, minutes=2)
    send()
    assert switches.state_for(owner, "", "").state == KillSwitch.State.HALTED
    assert urgent.happened in RiskChange.objects.get().reason


# The command


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("alerts", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_lists_the_gravest_first_and_acknowledges(inbox: Inbox) -> None:
    assert "No alert is open." in run()
    assert "nobody is told" in run()
    channel(inbox)
    alert("1")
    urgent = alert("2", severity=Severity.CRITICAL, account=admin_rows.account())
    listed = run()
    assert listed.index("Order 2 may be") < listed.index("Order 1 may be")
    assert f"{urgent.pk} ACT NOW {urgent.account}" in listed
    assert "channel desk, from look soon: in order" in listed
    assert SECRET not in listed
    assert "is acknowledged by" in run("--acknowledge", str(urgent.pk))
    assert "Order 2 may be" not in run()
    with pytest.raises(CommandError, match="There is no open alert"):
        run("--acknowledge", str(urgent.pk))


def test_the_command_tries_a_channel(inbox: Inbox) -> None:
    channel(inbox)
    assert "took the message" in run("--test", "desk")
    assert inbox.titles == ["[simulated] mcube: a trial"]
    inbox.status = 401
    with pytest.raises(CommandError, match="desk: It refused the message with HTTP 401"):
        run("--test", "desk")
    with pytest.raises(CommandError, match="there is desk"):
        run("--test", "nosuch")


# Every kind of alert that this version raises


def reach_admin_and_channel(client: Client, inbox: Inbox, kind: str) -> Alert:
    """The open alert of a kind, which a person finds in the admin and was sent."""
    raised = Alert.objects.get(kind=kind, acknowledged_at=None)
    send()
    assert any(raised.happened[:60] in title for title in inbox.titles), inbox.titles
    page = client.get(reverse("admin:brokers_alert_change", args=[raised.pk])).content.decode()
    for words in (raised.happened, raised.meaning, raised.to_do):
        assert escape(words) in page
    return raised


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Desk]:
    settings.STATIC_ROOT = settings.HOME
    _, adapter = scripted_broker.install(request.param)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    yield Desk(BrokerAccount.objects.get(), adapter)
    BrokerFactory._gateways.clear()


def test_an_order_unknown_beyond_its_time_is_told(admin_client: Client, inbox: Inbox, desk: Desk) -> None:
    channel(inbox)
    intent = lose(desk)
    desk.adapter.book_script = [BrokerUnavailable("The broker did not answer.")] * 50
    look(desk, 1, MUST_SHOW_SECONDS + 5, 30)
    assert reach_admin_and_channel(admin_client, inbox, "unknown").intent == intent


def test_a_question_for_a_person_is_told(admin_client: Client, inbox: Inbox, desk: Desk) -> None:
    channel(inbox)
    intent = lose(desk)
    answers.ask_person(intent.attempts.get(), "2 orders in the book look like it", configured_clock().now())
    raised = reach_admin_and_channel(admin_client, inbox, "needs_human")
    assert (raised.intent, raised.severity) == (intent, Severity.CRITICAL)


def test_a_halted_account_is_told(admin_client: Client, inbox: Inbox, desk: Desk) -> None:
    channel(inbox)
    now = configured_clock().now()
    switches.set_switch(Scope.ACCOUNT, str(desk.account), KillSwitch.State.HALTED, by="asha", reason="x", at=now)
    assert reach_admin_and_channel(admin_client, inbox, "kill_switch").account == desk.account
    switches.set_switch(Scope.ACCOUNT, str(desk.account), KillSwitch.State.ACTIVE, by="asha", reason="over", at=now)
    assert not Alert.objects.filter(severity=Severity.CRITICAL, acknowledged_at=None).exists()


def test_a_limit_that_was_hit_is_told(admin_client: Client, inbox: Inbox, desk: Desk) -> None:
    channel(inbox)
    now = configured_clock().now()
    limits.change(Scope.EVERYTHING, "", {"max_quantity": 65}, by="asha", reason="", at=now)
    desk.send("too-much", quantity=130)
    kinds = set(Alert.objects.values_list("kind", flat=True))
    assert kinds
    for kind in kinds:
        reach_admin_and_channel(admin_client, inbox, kind)
