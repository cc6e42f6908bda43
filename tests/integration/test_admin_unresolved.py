"""The page of an order whose fate is not known: what a person sees there, and what they decide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from brokers import sessions
from brokers.admin import questions
from brokers.clock import configured_clock
from brokers.discovery import spec_of, specs
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.ledger.sender import this_process
from brokers.models import Alert, BrokerAccount, BrokerOrder, HumanDecision, OrderAttempt, OrderIntent
from brokers.recovery.answers import ask_person
from brokers.recovery.fencing import fence
from tests.integration.test_ledger import Desk
from tests.integration.test_reconciliation import MUST_SHOW_SECONDS, look, lose
from tests.support import scripted_broker

pytestmark = pytest.mark.django_db

LIST = "admin:brokers_orderintent_unresolved"


@pytest.fixture(params=list(specs()))
def desk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Desk]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STATIC_ROOT = settings.HOME
    _, adapter = scripted_broker.install(request.param)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: adapter)
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.NONE)
    yield Desk(BrokerAccount.objects.get(), adapter)
    BrokerFactory._gateways.clear()


@pytest.fixture
def asked(desk: Desk) -> OrderIntent:
    """An order that the broker took and did not confirm, and that the book cannot settle."""
    intent = lose(desk, not_after=configured_clock().now() + timedelta(hours=1))
    put_before_a_person(desk, intent)
    return intent


def put_before_a_person(desk: Desk, intent: OrderIntent) -> None:
    """As the reconciler does when the book cannot settle it."""
    desk.sync()
    BrokerOrder.objects.update(attempt=None, client_tag="", origin=BrokerOrder.Origin.EXTERNAL)
    OrderAttempt.objects.filter(outcome=AttemptOutcome.ADOPTED).update(outcome=AttemptOutcome.UNKNOWN)
    intent.refresh_from_db()
    if intent.state == IntentState.UNKNOWN:
        ask_person(intent.attempts.get(), "2 orders in the book look like it", configured_clock().now())
    intent.refresh_from_db()
    assert intent.state == IntentState.NEEDS_HUMAN


def decider(client: Client, *permissions: str) -> Client:
    made = User.objects.create_user("ravi", password="a-long-password", is_staff=True)
    names = ["view_orderintent", "view_alert", *permissions]
    made.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(made)
    return client


def page_of(intent: OrderIntent) -> str:
    return reverse("admin:brokers_orderintent_decide", args=[intent.pk])


def text(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content.decode()


def decide(client: Client, intent: OrderIntent, deed: str, **fields: object) -> str:
    """Post a decision; the page that it ends on."""
    content = {"deed": deed, **{f"{deed}-{name}": value for name, value in fields.items()}}
    answer = client.post(page_of(intent), content, follow=True)
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", answer.content.decode())


def test_the_list_puts_what_needs_a_decision_first(admin_client: Client, desk: Desk, asked: OrderIntent) -> None:
    unknown = lose(desk, key="unknown", quantity=130)
    page = text(admin_client, reverse(LIST))
    assert page.index(asked.client_order_id) < page.index(unknown.client_order_id)
    assert "Decide: is it at the broker?" in page
    assert "it is being looked for in the broker" in page
    first = text(admin_client, reverse("admin:index"))
    assert "1 order waits for your decision" in first
    assert page_of(asked) in first


def test_a_thousand_open_questions_hide_none_that_needs_a_decision(
    admin_client: Client, asked: OrderIntent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MOST_QUESTIONS", 3)
    rows = [
        OrderIntent(
            **{
                field.attname: getattr(asked, field.attname)
                for field in OrderIntent._meta.concrete_fields
                if field.attname not in ("id", "client_order_id", "client_tag", "state", "created_at")
            },
            client_order_id=f"older-{number}",
            client_tag=f"T{number}",
            state=IntentState.UNKNOWN,
            created_at=asked.created_at - timedelta(minutes=number + 1),
        )
        for number in range(5)
    ]
    OrderIntent.objects.bulk_create(rows)
    page = text(admin_client, reverse(LIST))
    assert asked.client_order_id in page
    assert page.index(asked.client_order_id) < page.index("older-4")
    assert "older-1" not in page
    assert "There are 6; these are the first." in page


def test_the_page_shows_all_that_is_known_and_opening_it_asks_no_broker(
    admin_client: Client, desk: Desk, asked: OrderIntent
) -> None:
    calls = (len(desk.adapter.sent), len(desk.adapter.reads))
    page = text(admin_client, page_of(asked))
    order = BrokerOrder.objects.get()
    for words in (
        "buy 65 NIFTY26DEC26000CE at 100.5",
        "the request left this machine",
        "2 orders in the book look like it",
        order.broker_order_id,
        "Your position in it",
        "Readings of the broker",
        "What happened",
        f"process {asked.attempts.get().pid}",
        Alert.objects.get(kind="needs_human").happened.replace("'", "&#x27;"),
    ):
        assert words in page, words
    assert (len(desk.adapter.sent), len(desk.adapter.reads)) == calls
    assert not HumanDecision.objects.exists()
    asked.refresh_from_db()
    assert asked.state == IntentState.NEEDS_HUMAN


def test_the_order_in_the_book_is_adopted_by_choice(client: Client, desk: Desk, asked: OrderIntent) -> None:
    decider(client, "decide_order")
    order = BrokerOrder.objects.get()
    page = decide(
        client, asked, "adopt", candidate=order.broker_order_id, reason="seen in the broker's app", word="ADOPT"
    )
    assert f"is the broker&#x27;s order {order.broker_order_id}" in page
    asked.refresh_from_db()
    order.refresh_from_db()
    assert asked.state == IntentState.WORKING
    assert order.attempt is not None
    assert order.attempt.intent == asked
    decision = HumanDecision.objects.get()
    assert (decision.kind, decision.decided_by, decision.reason) == ("ADOPT", "ravi", "seen in the broker's app")
    assert decision.evidence["candidates"][0]["broker_order_id"] == order.broker_order_id
    assert Alert.objects.get(kind="needs_human").acknowledged_at is not None  # nobody is called for it any more
    assert len(desk.adapter.sent) == 1


def test_an_order_is_adopted_by_its_number_and_one_that_differs_only_on_purpose(
    admin_client: Client, desk: Desk, asked: OrderIntent
) -> None:
    BrokerOrder.objects.update(quantity=130)
    number = BrokerOrder.objects.get().broker_order_id
    given = {"order_id": number, "reason": "I split it", "word": "ADOPT"}
    assert "confirm that it is the order all the same" in decide(admin_client, asked, "adopt", **given)
    assert "no book of" in decide(admin_client, asked, "adopt", **given | {"order_id": "999"})
    assert "Choose the order in the list" in decide(admin_client, asked, "adopt", reason="x", word="ADOPT")
    asked.refresh_from_db()
    assert asked.state == IntentState.NEEDS_HUMAN
    decide(admin_client, asked, "adopt", **given, although_different="on")
    asked.refresh_from_db()
    assert asked.state == IntentState.WORKING


def test_what_is_not_at_the_broker_is_closed(admin_client: Client, desk: Desk, asked: OrderIntent) -> None:
    assert "nothing is sent" in decide(admin_client, asked, "not_placed", reason="not in the app", word="NOT PLACED")
    asked.refresh_from_db()
    assert (asked.state, asked.closed_reason) == (IntentState.NOT_PLACED, "admin: not in the app")
    assert len(desk.adapter.sent) == 1
    page = text(admin_client, page_of(asked))
    assert "This question is answered" in page
    assert 'name="deed"' not in page


def test_sending_again_is_asked_twice_where_the_broker_would_take_it_twice(
    admin_client: Client, desk: Desk, asked: OrderIntent
) -> None:
    given = {"reason": "not in the app, and still wanted", "word": "RESEND"}
    once = decide(admin_client, asked, "resend", **given)
    asked.refresh_from_db()
    if spec_of(desk.account.broker).capabilities.refuses_duplicate_tag:
        assert asked.state == IntentState.READY
        return
    assert asked.state == IntentState.NEEDS_HUMAN
    assert "This field is required" in once
    assert "would take the order a second time" in once
    decide(admin_client, asked, "resend", **given, again="another")
    asked.refresh_from_db()
    assert asked.state == IntentState.NEEDS_HUMAN
    decide(admin_client, asked, "resend", **given, again=asked.client_order_id)
    asked.refresh_from_db()
    assert asked.state == IntentState.READY
    assert asked.attempts.get().outcome == AttemptOutcome.VOID


@pytest.mark.parametrize(
    ("deed", "fields"),
    [
        ("adopt", {"order_id": "000001", "reason": "x", "word": "adopt"}),
        ("not_placed", {"reason": "x", "word": "NOTPLACED"}),
        ("not_placed", {"reason": "", "word": "NOT PLACED"}),
        ("resend", {"reason": "x", "word": ""}),
    ],
)
def test_nothing_is_decided_without_its_word_and_a_reason(
    admin_client: Client, asked: OrderIntent, deed: str, fields: dict[str, str]
) -> None:
    decide(admin_client, asked, deed, **fields)
    asked.refresh_from_db()
    assert asked.state == IntentState.NEEDS_HUMAN
    assert not HumanDecision.objects.exists()


def test_only_those_who_may_decide_it(client: Client, asked: OrderIntent) -> None:
    decider(client)
    assert 'name="deed"' not in text(client, page_of(asked))
    answer = client.post(page_of(asked), {"deed": "not_placed", "not_placed-word": "NOT PLACED"})
    assert answer.status_code == 403
    client.logout()
    assert client.get(page_of(asked)).status_code == 302
    assert not HumanDecision.objects.exists()


def test_a_post_without_its_token_decides_nothing(asked: OrderIntent) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root", password="a-long-password"))
    content = {"deed": "not_placed", "not_placed-word": "NOT PLACED", "not_placed-reason": "x"}
    assert client.post(page_of(asked), content).status_code == 403
    asked.refresh_from_db()
    assert asked.state == IntentState.NEEDS_HUMAN


def test_while_it_is_looked_for_nobody_decides(admin_client: Client, desk: Desk) -> None:
    intent = lose(desk)
    page = text(admin_client, page_of(intent))
    assert "it is being looked for in the broker" in page
    assert 'name="deed"' not in page
    answer = admin_client.post(page_of(intent), {"deed": "resend", "resend-word": "RESEND"})
    assert answer.status_code == 403


def test_what_runs_out_of_time_is_not_offered_again(admin_client: Client, desk: Desk, asked: OrderIntent) -> None:
    OrderIntent.objects.update(not_after=configured_clock().now() - timedelta(seconds=1))
    page = text(admin_client, page_of(asked))
    assert 'value="resend"' not in page
    assert "It cannot be sent again" in page


def test_a_question_that_the_book_answers_needs_nobody(admin_client: Client, desk: Desk) -> None:
    desk.send("other", quantity=130)
    desk.sync()
    intent = lose(desk)
    look(desk, 1, MUST_SHOW_SECONDS + 1)
    intent.refresh_from_db()
    assert intent.state == IntentState.WORKING
    assert "There are none" in text(admin_client, reverse(LIST))


def test_the_sender_of_another_machine_is_declared_dead_by_a_person(client: Client, desk: Desk) -> None:
    intent = lose(desk)
    OrderAttempt.objects.update(outcome=AttemptOutcome.ARMED, host="another-machine/1", boot_id="b", pid=77)
    OrderIntent.objects.update(state=IntentState.ARMED)
    desk.pass_time(300)
    fence(configured_clock().now())
    assert Alert.objects.get(kind="sender_not_judged").acknowledged_at is None
    decider(client, "decide_order")
    assert "declare its sender dead" in text(client, reverse(LIST))
    page = text(client, page_of(intent))
    assert "Process 77 on another-machine/1" in page
    assert this_process().host not in page
    decide(client, intent, "dead", reason="it burnt down", word="DEAD")
    intent.refresh_from_db()
    assert intent.state == IntentState.UNKNOWN
    assert HumanDecision.objects.get().decided_by == "ravi"
    assert not Alert.objects.filter(kind="sender_not_judged", acknowledged_at=None).exists()


def test_no_secret_is_shown(admin_client: Client, asked: OrderIntent) -> None:
    OrderAttempt.objects.update(reply_text="refused: password=planted-1", exceptions="token=planted-2")
    Alert.objects.update(happened="otp=planted-3")
    assert "planted" not in text(admin_client, page_of(asked))
