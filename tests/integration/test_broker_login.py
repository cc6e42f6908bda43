"""A login at the broker's own page comes back to the person who left for it, once, and to nobody else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from brokers import sessions
from brokers.adapter_interface import BrokerAdapter, SessionGrant
from brokers.admin import broker_login
from brokers.clock import configured_clock
from brokers.domain.errors import LoginFailed, PersonNeeded
from brokers.models import BrokerAccount, OrderIntent, SessionState
from brokers.wire import Wire
from credentials import store
from credentials.models import CredentialAccess, CredentialStore

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:No directory at:UserWarning")]

PAGE = "https://broker.example/login?api_key=planted-key"
KEYS = {"api_key": "planted-key", "api_secret": "s"}
TOKEN = "planted-apisession-8844"
ACCOUNTS = "/admin/brokers/brokeraccount/"


class AtTheBroker:
    """The broker's side: it takes one token, and says whose it is."""

    def __init__(self) -> None:
        self.user_id, self.logins = "U1", 0

    def make_adapter(self, account: BrokerAccount, **_: object) -> BrokerAdapter:
        token = store.secrets_of(account.broker, account.name, purpose="adapter")["session_token"]

        def open_session() -> SessionGrant:
            if token != TOKEN:
                raise PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
            self.logins += 1
            ends_at = configured_clock().now() + timedelta(hours=10)
            details = {"user_id": self.user_id}
            return SessionGrant(session_token=token, sid="planted-sid", details=details, expires_at=ends_at)

        context = SimpleNamespace(wire=Wire(clock=configured_clock(), allowed_hosts=frozenset()))
        adapter = SimpleNamespace(
            context=context, open_session=open_session, close=lambda: None, login_page=lambda: PAGE
        )
        return cast(BrokerAdapter, adapter)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> AtTheBroker:
    sessions._opened.clear()
    there = AtTheBroker()
    monkeypatch.setattr(broker_login, "make_adapter", there.make_adapter)
    monkeypatch.setattr(sessions, "_adapter_from_factory", lambda account, clock: there.make_adapter(account))
    return there


@pytest.fixture
def account(there: AtTheBroker) -> BrokerAccount:
    CredentialStore.objects.create(service="breeze", **KEYS)
    return BrokerAccount.objects.create(broker="breeze")


@pytest.fixture
def person() -> User:
    made = User.objects.create_user("anita", password="a-long-password", is_staff=True)
    codenames = ["use_credentialstore", "view_brokeraccount"]
    made.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return made


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def leave(browser: Client, account: BrokerAccount) -> Any:
    address = reverse("admin:brokers_brokeraccount_login_at_broker", args=[account.pk])
    return browser.post(address, {"_form_submitted": "on"})


def come_back(browser: Client, token: str = TOKEN, broker: str = "breeze") -> Any:
    return browser.get(f"/credentials/{broker}/callback", {"apisession": token})


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def status() -> str:
    row = SessionState.objects.first()
    return row.status if row else ""


def test_a_login_at_the_brokers_page_opens_the_session(
    browser: Client, account: BrokerAccount, there: AtTheBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert leave(browser, account).url == PAGE
    back = come_back(browser)
    assert back.url == f"{ACCOUNTS}{account.pk}/change/"
    assert "has a session" in said(back)
    assert (status(), there.logins) == (SessionState.Status.VALID, 1)
    assert back.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in back.headers["Cache-Control"]
    assert TOKEN not in caplog.text + said(back) + str(SessionState.objects.values())
    assert CredentialAccess.objects.filter(actor="user anita").exists()


def test_a_form_posted_from_the_brokers_site_is_sent_on_as_a_get(browser: Client, account: BrokerAccount) -> None:
    leave(browser, account)
    without_cookies = Client(enforce_csrf_checks=True)
    posted = without_cookies.post("/credentials/breeze/callback", {"apisession": TOKEN})
    assert (posted.status_code, status()) == (303, "")
    assert "has a session" in said(browser.get(posted.headers["Location"]))


def test_the_same_callback_again_does_nothing(browser: Client, account: BrokerAccount, there: AtTheBroker) -> None:
    leave(browser, account)
    come_back(browser)
    sessions.end(account, clock=configured_clock())
    again = come_back(browser)
    assert "No login was begun" in said(again)
    assert (there.logins, status()) == (1, SessionState.Status.NONE)


def test_a_callback_that_nobody_waits_for_is_refused(
    browser: Client, account: BrokerAccount, there: AtTheBroker
) -> None:
    assert "No login was begun" in said(come_back(browser))
    assert there.logins == 0
    assert not CredentialStore.objects.get().sealed("session_token")


def test_a_login_begun_long_ago_is_not_waited_for(
    browser: Client, account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(browser, account)
    late = configured_clock().real_now() + timedelta(seconds=broker_login.PENDING_SECONDS + 1)
    monkeypatch.setattr(type(configured_clock()), "real_now", lambda self: late)
    assert "too long ago" in said(come_back(browser))


def test_another_browser_cannot_bring_the_token(browser: Client, account: BrokerAccount, there: AtTheBroker) -> None:
    leave(browser, account)
    stranger = Client()
    answer = come_back(stranger)
    assert answer.url.startswith(reverse("admin:login"))
    assert TOKEN not in answer.url
    other = User.objects.create_superuser("other", password="a-long-password")
    stranger.force_login(other)
    assert "No login was begun" in said(come_back(stranger))
    assert there.logins == 0


def test_who_may_not_change_credentials_can_neither_leave_nor_come_back(
    browser: Client, account: BrokerAccount, person: User, there: AtTheBroker
) -> None:
    leave(browser, account)
    person.user_permissions.remove(Permission.objects.get(codename="use_credentialstore"))
    assert come_back(browser).status_code == 403
    assert leave(browser, account).status_code == 403
    assert there.logins == 0


@pytest.mark.parametrize("token", ["", "x" * 5000])
def test_a_token_that_is_none_is_refused(browser: Client, account: BrokerAccount, token: str) -> None:
    leave(browser, account)
    assert "brought no token" in said(come_back(browser, token))


def test_a_header_cannot_be_injected_with_a_token(browser: Client, account: BrokerAccount, there: AtTheBroker) -> None:
    leave(browser, account)
    assert "control character" in said(come_back(browser, "a\r\nX-Evil: 1"))
    assert there.logins == 0


def test_the_callback_of_another_broker_is_refused(browser: Client, account: BrokerAccount) -> None:
    leave(browser, account)
    assert "another broker" in said(come_back(browser, broker="kotakneo"))


def test_a_foreign_host_is_refused(browser: Client, account: BrokerAccount) -> None:
    leave(browser, account)
    answer = browser.get("/credentials/breeze/callback", {"apisession": TOKEN}, HTTP_HOST="evil.example")
    assert answer.status_code == 400


def test_another_persons_token_opens_nothing(browser: Client, account: BrokerAccount, there: AtTheBroker) -> None:
    leave(browser, account)
    come_back(browser)
    SessionState.objects.update(status=SessionState.Status.EXPIRED)
    there.user_id = "SOMEBODY-ELSE"
    leave(browser, account)
    assert "another person's" in said(come_back(browser))
    assert status() == SessionState.Status.NEEDS_PERSON
    with pytest.raises(LoginFailed):
        sessions.ensure(account, clock=configured_clock())


def test_what_waited_for_the_session_is_due_at_once(browser: Client, account: BrokerAccount) -> None:
    later = configured_clock().now() + timedelta(minutes=5)
    for key, reason in (("waited", "Account breeze/default has no session."), ("paced", "")):
        OrderIntent.objects.create(
            account=account,
            client_order_id=key,
            client_tag=f"M{key}",
            kind="PLACE",
            mode="simulated",
            trading_day=datetime.now(UTC).date(),
            exchange="NSE",
            symbol="RELIANCE",
            side="BUY",
            quantity=1,
            order_type="LIMIT",
            limit_price="1400",
            product="CNC",
            time_in_force="DAY",
            state="READY",
            fingerprint=key,
            not_before=later,
            not_after=later + timedelta(minutes=5),
            created_at=configured_clock().now(),
            updated_at=configured_clock().now(),
            waiting_reason=reason,
        )
    leave(browser, account)
    come_back(browser)
    assert OrderIntent.objects.get(client_order_id="waited").not_before <= configured_clock().now()
    assert OrderIntent.objects.get(client_order_id="paced").not_before == later
