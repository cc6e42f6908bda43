"""Sessions: one login for everybody, and no login that should not be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from django.db import connection

from brokers import session_alerts, sessions, simulated_person
from brokers.adapter_interface import BrokerAdapter, SessionGrant
from brokers.alerts import acknowledge
from brokers.domain.enums import Mode
from brokers.domain.errors import (
    BrokerError,
    BrokerUnavailable,
    CredentialsNotFound,
    LoginFailed,
    PersonNeeded,
    RateLimited,
)
from brokers.models import Alert, BrokerAccount, SessionState, Severity
from brokers.wire import Wire
from credentials import access, store
from credentials.models import CredentialAccess, CredentialStore

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]
MORNING = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
UNATTENDED = {
    "api_key": "k",
    "mobile_number": "+919999999999",
    "ucc": "U1",
    "neo_password": "123456",
    "totp_secret": "JBSWY3DPEHPK3PXP",
}
ATTENDED = {"api_key": "planted-key", "api_secret": "s"}
Status = SessionState.Status


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = MORNING

    def now(self) -> datetime:
        return self.at

    def real_now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def pass_(self, **time: float) -> None:
        self.at += timedelta(**time)


class Broker:
    """A broker behind a fake adapter: it counts logins and answers as told."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.logins = 0
        self.error: BaseException | None = None
        self.lasts = timedelta(hours=10)
        self.during_login: Callable[[], None] = lambda: None
        self.seen: list[str] = []

    def make_adapter(self, account: BrokerAccount, _clock: object) -> BrokerAdapter:
        secrets = store.secrets_of(account.broker, account.name, purpose="adapter")
        context = SimpleNamespace(wire=Wire(clock=self.clock, allowed_hosts=frozenset()))

        def open_session() -> SessionGrant:
            self.logins += 1
            self.seen.append(secrets["session_token"])
            self.during_login()
            if self.error is not None:
                raise self.error
            return SessionGrant(
                session_token=f"planted-token-{self.logins}",
                sid="planted-sid",
                details={"base_url": "http://127.0.0.1:9"},
                expires_at=self.clock.now() + self.lasts,
            )

        return cast(BrokerAdapter, SimpleNamespace(context=context, open_session=open_session, close=lambda: None))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def broker(clock: SetClock) -> Broker:
    sessions._opened.clear()
    return Broker(clock)


@pytest.fixture
def account() -> BrokerAccount:
    CredentialStore.objects.create(service="kotakneo", **UNATTENDED)
    return BrokerAccount.objects.create(broker="kotakneo")


@pytest.fixture
def attended() -> BrokerAccount:
    """An account whose login needs a person."""
    CredentialStore.objects.create(service="breeze", **ATTENDED)
    return BrokerAccount.objects.create(broker="breeze")


def ensure(account: BrokerAccount, broker: Broker, **more: Any) -> sessions.Session:
    return sessions.ensure(account, clock=broker.clock, make_adapter=cast(Any, broker.make_adapter), **more)


def state() -> SessionState:
    return SessionState.objects.get()


def test_fifty_processes_that_find_the_session_expired_cause_one_login(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MCUBE_HOME": str(tmp_path / "home"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'sessions.sqlite3'}",
        "PYTHONPATH": str(CHECKOUT),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("session_driver.py")), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    # The first one, and the one that renews it.
    assert result["logins"] == 2
    assert result["answers"] == [{"version": 2, "sid": "opened"}] * 50, done.stderr


def test_a_login_that_ends_while_another_caller_looks_is_not_repeated(
    account: BrokerAccount, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = sessions._session_in

    def look_and_be_overtaken(*arguments: Any) -> sessions.Session | None:
        found = look(*arguments)
        monkeypatch.setattr(sessions, "_session_in", look)
        ensure(account, broker)
        return found

    monkeypatch.setattr(sessions, "_session_in", look_and_be_overtaken)
    assert ensure(account, broker, wait=lambda seconds: None).version == 1
    assert broker.logins == 1


def renew(account: BrokerAccount, broker: Broker, *, beyond: int = 1) -> sessions.Session:
    return sessions.renew(account, beyond=beyond, clock=broker.clock, make_adapter=cast(Any, broker.make_adapter))


@pytest.mark.parametrize("name", ["account", "attended"])
def test_a_fresh_login_replaces_a_session_that_is_still_good(
    name: str, broker: Broker, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue(name)
    assert ensure(account, broker).version == 1
    during: list[int] = []
    broker.during_login = lambda: during.append(ensure(account, broker).version)
    assert renew(account, broker).version == 2
    assert during == [1], "everybody else used the old one meanwhile"
    assert renew(account, broker).version == 2, "one login for all who want one"
    assert broker.logins == 2


@pytest.mark.parametrize("name", ["account", "attended"])
@pytest.mark.parametrize(
    "error",
    [
        LoginFailed("The token was refused."),
        BrokerUnavailable("Nobody answered."),
        PersonNeeded("Open the page.", login_url="https://broker.example/login?api_key=planted-key"),
        KeyError("a fault of our own"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fresh_login_that_fails_takes_no_session_away(
    name: str, error: BaseException, broker: Broker, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue(name)
    ensure(account, broker)
    broker.error = error
    with pytest.raises(type(error)):
        renew(account, broker)
    assert ensure(account, broker).version == 1
    assert (broker.logins, state().status) == (2, Status.VALID)
    if not isinstance(error, KeyboardInterrupt):
        with pytest.raises(BrokerUnavailable, match="The next login is tried at"):
            renew(account, broker)
        assert broker.logins == 2


def test_a_valid_session_is_used_again_without_a_login_or_a_decryption(account: BrokerAccount, broker: Broker) -> None:
    first = ensure(account, broker)
    reads = CredentialAccess.objects.count()
    assert ensure(account, broker) is first
    assert sessions.current(account, clock=broker.clock) is first
    assert (broker.logins, first.version, CredentialAccess.objects.count()) == (1, 1, reads)


def test_another_process_continues_the_session_from_the_database(account: BrokerAccount, broker: Broker) -> None:
    first = ensure(account, broker)
    sessions._opened.clear()
    again = sessions.current(account, clock=broker.clock)
    assert again == first
    assert again is not None
    assert again.grant.details == {"base_url": "http://127.0.0.1:9"}
    assert "planted" not in repr(again)
    with connection.cursor() as cursor:
        for table in ("brokers_sessionstate", "credentials_credentialstore", "credentials_credentialaccess"):
            cursor.execute(f"SELECT * FROM {table}")
            assert "planted" not in repr(cursor.fetchall())


def test_a_session_ends_by_the_markets_clock(account: BrokerAccount, broker: Broker) -> None:
    ensure(account, broker)
    broker.clock.pass_(hours=10)
    assert sessions.current(account, clock=broker.clock) is None
    assert ensure(account, broker).version == 2
    assert broker.logins == 2


def test_no_session_outlives_its_day_whatever_the_token_says(account: BrokerAccount, broker: Broker) -> None:
    broker.lasts = timedelta(days=30)
    session = ensure(account, broker)
    midnight = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
    assert (state().expires_at, session.grant.expires_at) == (midnight, midnight)
    broker.clock.at = midnight - timedelta(seconds=1)
    assert sessions.current(account, clock=broker.clock) is not None
    broker.clock.at = midnight
    assert sessions.current(account, clock=broker.clock) is None


def test_only_the_newest_session_can_be_reported_expired(account: BrokerAccount, broker: Broker) -> None:
    old = ensure(account, broker)
    sessions.report_expired(account, old.version, clock=broker.clock)
    assert state().status == Status.EXPIRED
    new = ensure(account, broker)
    sessions.report_expired(account, old.version, clock=broker.clock)
    assert sessions.current(account, clock=broker.clock) is new


def test_a_session_that_is_dropped_right_after_each_login_is_not_a_hot_loop(
    account: BrokerAccount, broker: Broker
) -> None:
    for _ in range(50):
        with suppress(BrokerUnavailable):
            session = ensure(account, broker)
            sessions.report_expired(account, session.version, clock=broker.clock)
        broker.clock.pass_(seconds=1)
    assert 2 <= broker.logins <= 6


def test_who_may_wait_does_so_for_a_short_pause(account: BrokerAccount, broker: Broker) -> None:
    for _ in range(2):
        session = ensure(account, broker)
        sessions.report_expired(account, session.version, clock=broker.clock)
    with pytest.raises(BrokerUnavailable, match="The next login is tried at"):
        ensure(account, broker)
    started = broker.clock.now()
    waited = ensure(account, broker, wait=lambda seconds: broker.clock.pass_(seconds=seconds))
    assert waited.version == 3
    assert broker.clock.now() - started < timedelta(seconds=sessions.WAIT_SECONDS)


def test_nobody_waits_for_a_pause_that_is_too_long(account: BrokerAccount, broker: Broker) -> None:
    broker.error = BrokerUnavailable("Down.")
    for _ in range(6):
        with suppress(BrokerUnavailable):
            ensure(account, broker)
        broker.clock.pass_(minutes=6)
    with suppress(BrokerUnavailable):
        ensure(account, broker)
    waits: list[float] = []
    with pytest.raises(BrokerUnavailable, match="The next login is tried at"):
        ensure(account, broker, wait=waits.append)
    assert not waits


def test_clearing_the_stored_token_forces_a_login(account: BrokerAccount, broker: Broker) -> None:
    ensure(account, broker)
    row = CredentialStore.objects.get()
    row.session_token = ""
    row.save()
    assert ensure(account, broker).version == 2
    store.clear_session("kotakneo", "default")
    assert ensure(account, broker).version == 3
    CredentialStore.objects.update(session_token=None)
    assert ensure(account, broker).version == 4


def test_changed_credentials_mean_a_new_login_even_when_changed_during_one(
    account: BrokerAccount, broker: Broker
) -> None:
    def change() -> None:
        row = CredentialStore.objects.get()
        row.api_key = "new"
        row.save(update_fields=["api_key"])

    ensure(account, broker)
    change()
    broker.during_login = change
    with pytest.raises(sessions.LoginInProgress):
        ensure(account, broker)
    broker.during_login = lambda: None
    assert ensure(account, broker).version == 3


def test_whoever_comes_during_a_login_is_turned_away_or_waits(account: BrokerAccount, broker: Broker) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        broker.clock.pass_(seconds=seconds)

    def meet_a_login() -> None:
        with pytest.raises(sessions.LoginInProgress, match="Another process is logging in account kotakneo/default"):
            ensure(account, broker)
        with pytest.raises(sessions.LoginInProgress):
            ensure(account, broker, wait=wait)

    broker.during_login = meet_a_login
    ensure(account, broker)
    assert broker.logins == 1
    assert 29 <= sum(waited) <= 31


def test_a_login_whose_process_died_is_taken_over(account: BrokerAccount, broker: Broker) -> None:
    SessionState.objects.create(
        account=account, status=Status.LOGGING_IN, lease_holder="dead:1:x", lease_until=MORNING + timedelta(seconds=35)
    )
    with pytest.raises(sessions.LoginInProgress):
        ensure(account, broker)
    broker.clock.pass_(seconds=36)
    assert ensure(account, broker).version == 1


def test_a_login_that_lost_its_lease_does_not_overwrite_the_newer_session(
    account: BrokerAccount, broker: Broker
) -> None:
    def overtaken() -> None:
        broker.during_login = lambda: None
        broker.clock.pass_(seconds=60)
        assert ensure(account, broker).grant.session_token == "planted-token-2"

    broker.during_login = overtaken
    session = ensure(account, broker)
    assert (session.version, session.grant.session_token, broker.logins) == (1, "planted-token-2", 2)


def test_a_refused_login_pauses_longer_each_time(account: BrokerAccount, broker: Broker) -> None:
    broker.error = LoginFailed("Kotak refused the TOTP.")
    tried_at = []
    for _ in range(4 * 60):
        before = broker.logins
        with pytest.raises(LoginFailed, match=r"^Kotak refused the TOTP\."):
            ensure(account, broker)
        if broker.logins > before:
            tried_at.append(round((broker.clock.at - MORNING).total_seconds() / 60))
        broker.clock.pass_(minutes=1)
    assert tried_at == [0, 5, 15, 35, 75, 135, 195]
    assert state().status == Status.FAILED
    sessions.try_again(account)
    broker.error = None
    assert ensure(account, broker).version == 1
    assert (state().failures, state().message) == (0, "")


def test_corrected_credentials_are_tried_at_once(account: BrokerAccount, broker: Broker) -> None:
    broker.error = LoginFailed("Kotak refused the TOTP.")
    with pytest.raises(LoginFailed):
        ensure(account, broker)
    row = CredentialStore.objects.get()
    row.totp_secret = "GEZDGNBVGY3TQOJQ"
    row.save()
    broker.error = None
    assert ensure(account, broker).version == 1


@pytest.mark.parametrize(
    "error", [BrokerUnavailable("Down."), RateLimited("Slow.", retry_after=timedelta(seconds=1))], ids=repr
)
def test_a_broker_that_cannot_be_asked_is_asked_again_soon(
    account: BrokerAccount, broker: Broker, error: BrokerError
) -> None:
    broker.error = error
    for _ in range(60):
        with pytest.raises(BrokerUnavailable):
            ensure(account, broker)
        broker.clock.pass_(seconds=1)
    assert broker.logins == 4
    assert state().status == Status.EXPIRED
    broker.error = None
    broker.clock.pass_(minutes=5)
    assert ensure(account, broker).version == 1


def test_a_session_that_is_over_when_it_comes_is_no_session(account: BrokerAccount, broker: Broker) -> None:
    broker.during_login = lambda: broker.clock.pass_(days=-1)
    with pytest.raises(BrokerUnavailable, match="check this machine's clock"):
        sessions.ensure(
            account,
            clock=cast(
                Any,
                SimpleNamespace(
                    now=lambda: MORNING + timedelta(days=2), real_now=broker.clock.real_now, monotonic=lambda: 0.0
                ),
            ),
            make_adapter=cast(Any, broker.make_adapter),
        )
    assert state().version == 0


def test_an_interrupted_login_gives_its_lease_back(account: BrokerAccount, broker: Broker) -> None:
    broker.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ensure(account, broker)
    broker.error = None
    assert ensure(account, broker).version == 1


def test_without_credentials_the_command_is_named_and_nothing_is_sent(broker: Broker) -> None:
    bare = BrokerAccount.objects.create(broker="kotakneo", name="second")
    with pytest.raises(CredentialsNotFound, match="setup_credentials --setup-kotakneo --name second"):
        ensure(bare, broker)
    assert broker.logins == 0


PAGE = "https://broker.example/login?api_key=planted-key"


def test_a_login_that_needs_a_person_waits_for_the_token_and_is_not_tried_again(
    attended: BrokerAccount, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.error = PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
    with pytest.raises(PersonNeeded) as caught:
        ensure(attended, broker)
    assert caught.value.login_url == PAGE
    for _ in range(10):
        with pytest.raises(LoginFailed, match=r"manage\.py session_token breeze"):
            ensure(attended, broker)
        broker.clock.pass_(hours=1)
    assert (broker.logins, state().status) == (1, Status.NEEDS_PERSON)
    assert "planted" not in state().message + str(caught.value) + caplog.text
    broker.error = None
    sessions.give_token(attended, " 12345678\n")
    assert ensure(attended, broker).version == 1
    assert broker.seen == ["", "12345678"]


def test_the_command_that_logs_in_is_the_one_of_this_account(broker: Broker) -> None:
    CredentialStore.objects.create(service="breeze", name="the second", **ATTENDED)
    account = BrokerAccount.objects.create(broker="breeze", name="the second")
    broker.error = PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
    with pytest.raises(PersonNeeded) as caught:
        ensure(account, broker)
    command = "`python manage.py session_token breeze --name 'the second'`"
    alert = Alert.objects.get(kind="no_session")
    assert command in state().message
    assert command in alert.to_do
    assert PAGE not in state().message + alert.happened + alert.to_do + caught.value.message


def test_a_token_pasted_straight_into_the_store_is_noticed(attended: BrokerAccount, broker: Broker) -> None:
    broker.error = PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
    with pytest.raises(PersonNeeded):
        ensure(attended, broker)
    row = CredentialStore.objects.get()
    row.session_token = "12345678"
    row.save()
    broker.error = None
    assert ensure(attended, broker).version == 1


@pytest.mark.parametrize(
    ("mode", "page", "played"),
    [
        (Mode.SIMULATED, "http://127.0.0.1:8101/login?api_key=k", True),
        (Mode.LIVE, "http://127.0.0.1:8101/login?api_key=k", False),
        (Mode.SIMULATED, PAGE, False),
    ],
)
def test_only_the_simulator_on_loopback_gets_its_person_played(
    attended: BrokerAccount,
    broker: Broker,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    page: str,
    played: bool,
) -> None:
    settings.MODE = mode
    face = ModuleType("face")

    def play_person(login_url: str) -> str:
        assert login_url == page
        broker.error = None
        return "from-the-page"

    face.play_person = play_person  # type: ignore[attr-defined]
    monkeypatch.setattr(simulated_person, "import_module", lambda name: face)
    broker.error = PersonNeeded(f"Open {page} .", login_url=page)
    if played:
        assert ensure(attended, broker).version == 1
        assert broker.seen == ["", "from-the-page"]
    else:
        with pytest.raises(PersonNeeded):
            ensure(attended, broker)


def test_ending_the_session_ends_it_for_everybody(account: BrokerAccount, broker: Broker) -> None:
    ensure(account, broker)
    sessions.end(account, clock=broker.clock)
    sessions._opened.clear()
    assert sessions.current(account, clock=broker.clock) is None
    assert CredentialStore.objects.get().session_token == ""
    assert ensure(account, broker).version == 2


# Whom it tells


def told() -> list[tuple[str, int, bool]]:
    return [
        (each.kind, each.severity, each.acknowledged_at is None)
        for each in Alert.objects.order_by("pk").exclude(kind="kill_switch")
    ]


def test_the_person_is_called_by_the_login_that_needs_them_and_not_after_their_login(
    attended: BrokerAccount, broker: Broker
) -> None:
    broker.error = PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
    with suppress(LoginFailed):
        ensure(attended, broker)
    assert told() == [("no_session", Severity.CRITICAL, True)]
    assert "planted" not in Alert.objects.get().happened
    broker.error = None
    sessions.give_token(attended, "12345678")
    ensure(attended, broker)
    assert told() == [("no_session", Severity.CRITICAL, False)]


def test_a_session_that_the_broker_ended_early_and_mcube_replaced_is_told_of_once(
    account: BrokerAccount, broker: Broker
) -> None:
    for _ in range(3):
        session = ensure(account, broker)
        broker.clock.pass_(hours=1)
        sessions.report_expired(account, session.version, clock=broker.clock)
    assert told() == [("second_login", Severity.INFO, True)]
    broker.clock.pass_(days=1)
    ensure(account, broker)
    assert len(told()) == 1, "yesterday's had its time"


def test_who_logs_in_by_hand_is_not_called_to_log_in(attended: BrokerAccount, broker: Broker) -> None:
    broker.error = PersonNeeded(f"Open {PAGE} , log in.", login_url=PAGE)
    with access.acting_as("user anita"), suppress(LoginFailed):
        ensure(attended, broker)
    assert told() == []


def test_who_said_that_they_take_care_is_called_again_only_for_another_event(
    attended: BrokerAccount, broker: Broker
) -> None:
    def tell() -> int:
        session_alerts.tell(attended, "It was refused.", at=broker.clock.now())
        return len(told())

    assert tell() == 1
    acknowledge(Alert.objects.all(), by="anita", at=broker.clock.now())
    broker.clock.pass_(minutes=5)
    assert tell() == 1
    SessionState.objects.create(account=attended, status=Status.NEEDS_PERSON)
    assert tell() == 2, "now only a person can mend it"
    acknowledge(Alert.objects.all(), by="anita", at=broker.clock.now())
    assert tell() == 2
    SessionState.objects.update(opened_at=broker.clock.now() + timedelta(minutes=1))
    assert tell() == 3, "it had a session in between"
    acknowledge(Alert.objects.all(), by="anita", at=broker.clock.now())
    SessionState.objects.update(opened_at=None)
    broker.clock.pass_(days=1)
    assert tell() == 4, "another day"
