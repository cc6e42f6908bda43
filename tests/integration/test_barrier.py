"""In live mode nothing is sent before the start-up checks are green, today and since the worker's last start."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from brokers import barrier, calendar, session_alerts, sessions
from brokers.barrier import NotChecked
from brokers.clock import SystemClock, configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import Mode
from brokers.domain.errors import BrokerUnavailable, LoginFailed
from brokers.domain.order_states import AttemptOutcome, IntentState
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import book, operations
from brokers.ledger.delivery import deliver
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    HolidayList,
    InstrumentMaster,
    KillSwitch,
    MarginSnapshot,
    OrderAttempt,
    PositionSnapshot,
    RiskChange,
    Scope,
    SessionState,
    StartupBarrier,
)
from brokers.risk import switches
from brokers.wire import WireRecord
from credentials import store
from credentials.models import CredentialStore
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, ScriptedAdapter

pytestmark = pytest.mark.django_db

ADDRESS = "203.0.113.7"


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    BrokerFactory._gateways.clear()


@dataclass
class Page:
    """A page that says which address it was asked from."""

    says: str = ADDRESS
    asked: int = 0
    url: str = ""


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page.asked += 1
            body = page.says.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    page.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield page
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class LiveDesk:
    """A live installation at ten on a trading day, whose broker is scripted: nothing here can reach a real host."""

    account: BrokerAccount
    adapter: ScriptedAdapter
    page: Page
    #: What the broker's replies say of the time, in seconds from ours.
    broker_is_ahead: float = 0.0
    says_the_time: bool = True

    def run(self) -> dict[str, barrier.Check]:
        gateway = BrokerFactory.get_broker(self.account.broker, "default")
        now = configured_clock().now()
        with no_waiting():
            checks = barrier.run(self.account, gateway, now, sync_book=lambda account: book.sync_orders(account.pk))
        return {each.name: each for each in checks}

    def red(self) -> dict[str, str]:
        return {name: each.sentence for name, each in self.run().items() if not each.is_green}

    def resume(self) -> None:
        switches.set_switch(
            Scope.EVERYTHING, "", KillSwitch.State.ACTIVE, by="a person", reason="", at=configured_clock().now()
        )

    def lose_session(self) -> None:
        """The broker's session is over, and its login is refused."""
        sessions.end(self.account, clock=configured_clock())
        self.adapter.logins = [LoginFailed("The token was refused.") for _ in range(5)]

    def order(self, key: str = "k1") -> Any:
        intent = operations.record_place(
            broker=self.account.broker,
            account="default",
            symbol=CALL,
            side="B",
            quantity=65,
            order_type="LIMIT",
            limit_price="100.50",
            client_order_id=key,
        )
        return deliver(intent.pk)

    def answer(self, original: Callable[[], Any]) -> Any:
        """The margin, with what the wire sees of the reply."""
        value = original()
        trace = self.adapter.context.wire.trace
        assert trace is not None
        now = datetime.now(UTC)
        stated = format_datetime(now + timedelta(seconds=self.broker_is_ahead), usegmt=True)
        headers = {"date": stated} if self.says_the_time else {}
        trace.records.append(
            WireRecord(
                method="GET",
                target="broker/margin",
                started_at=now,
                first_byte_at=now,
                http_status=200,
                headers=headers,
            )
        )
        return value


@pytest.fixture
def desk(broker: str, page: Page, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveDesk]:
    calendar.forget()
    with time_machine.travel(scripted_broker.OPEN_MARKET, tick=True):
        account, adapter = scripted_broker.install(broker)
        account.is_live_enabled = True
        account.save()
        row = CredentialStore.objects.get(service=broker)
        row.static_ip = ADDRESS
        row.save()
        store.save_session(broker, "default", adapter.open_session(), login_used_at=row.updated_at)
        now = scripted_broker.OPEN_MARKET
        ok = MarginSnapshot.Status.OK
        MarginSnapshot.objects.create(
            account=account, slot_at=now, taken_at=now, status=ok, available=Decimal(100_000), created_at=now
        )
        PositionSnapshot.objects.create(
            account=account, slot_at=now, taken_at=now, status=ok, pnl=Decimal(0), created_at=now
        )
        settings.MODE, settings.LIVE_TRADING, settings.EGRESS_URL = Mode.LIVE, True, page.url
        gateway = BrokerFactory.get_broker(broker, "default")
        gateway.clock = SystemClock()
        desk = LiveDesk(account, adapter, page)
        original = adapter.fetch_margin
        monkeypatch.setattr(adapter, "fetch_margin", lambda: desk.answer(original))
        yield desk
    calendar.forget()


# Passing


def test_an_installation_in_order_is_green_and_its_orders_go(desk: LiveDesk) -> None:
    desk.resume()
    assert desk.red() == {}
    assert desk.order().state == IntentState.WORKING
    assert len(desk.adapter.sent) == 1


def test_before_the_checks_were_made_an_order_waits(desk: LiveDesk) -> None:
    desk.resume()
    waiting = desk.order()
    assert waiting.state == IntentState.READY
    assert "still to be made" in waiting.waiting_reason
    assert not desk.adapter.sent


def test_a_red_check_refuses_the_order_and_says_why(desk: LiveDesk) -> None:
    desk.resume()
    desk.page.says = "198.51.100.9"
    desk.run()
    refused = desk.order()
    assert refused.state == IntentState.DENIED
    assert "198.51.100.9, which is not the one registered" in refused.closed_reason
    assert not desk.adapter.sent


def test_without_a_session_an_order_waits_for_it(desk: LiveDesk) -> None:
    desk.resume()
    desk.lose_session()
    assert "session" in desk.red()
    waiting = desk.order()
    assert waiting.state == IntentState.READY
    assert "waits for its session" in waiting.waiting_reason
    assert not desk.adapter.sent


def test_an_order_waits_for_instruments_that_are_being_loaded(desk: LiveDesk) -> None:
    desk.resume()
    desk.run()
    StartupBarrier.objects.update(
        passed_at=None, checks=[{"name": "instruments", "is_green": False, "sentence": "They are not loaded."}]
    )
    with pytest.raises(NotChecked, match="waits for today's instruments"):
        barrier.check(desk.account, configured_clock().now())


def test_after_a_login_the_checks_are_made_at_once(desk: LiveDesk) -> None:
    desk.lose_session()
    desk.run()
    assert not barrier.waits_for_session_that_came(desk.account)
    SessionState.objects.update(opened_at=configured_clock().now() + timedelta(seconds=1))
    assert barrier.waits_for_session_that_came(desk.account)


def test_a_cancel_needs_no_green_barrier(desk: LiveDesk) -> None:
    desk.resume()
    desk.run()
    desk.order()
    barrier.invalidate(desk.account.broker, configured_clock().now())
    assert BrokerFactory.get_broker(desk.account.broker, "default").cancel_order("000001") is True


def test_what_passed_today_does_not_pass_tomorrow(desk: LiveDesk) -> None:
    desk.run()
    with pytest.raises(NotChecked):
        barrier.check(desk.account, configured_clock().now() + timedelta(days=1))


def test_a_start_of_the_brokers_worker_closes_it_again(desk: LiveDesk) -> None:
    desk.run()
    now = configured_clock().now()
    barrier.check(desk.account, now)
    assert barrier.invalidate(desk.account.broker, now) == 1
    with pytest.raises(NotChecked):
        barrier.check(desk.account, now)
    assert not barrier.has_passed(desk.account, now)
    desk.run()
    barrier.check(desk.account, now)


def test_a_start_of_another_brokers_worker_changes_nothing(desk: LiveDesk) -> None:
    desk.run()
    (other,) = set(specs()) - {desk.account.broker}
    assert barrier.invalidate(other, configured_clock().now()) == 0
    barrier.check(desk.account, configured_clock().now())


def test_a_start_in_the_middle_of_the_checks_wins(desk: LiveDesk) -> None:
    desk.run()
    gateway = BrokerFactory.get_broker(desk.account.broker, "default")
    now = configured_clock().now()
    barrier.run(desk.account, gateway, now, sync_book=lambda account: barrier.invalidate(account.broker, now))
    with pytest.raises(NotChecked):
        barrier.check(desk.account, now)


def test_in_simulated_mode_orders_need_none_of_it(desk: LiveDesk, settings: Any) -> None:
    settings.MODE = Mode.SIMULATED
    barrier.check(desk.account, configured_clock().now())


# Checks


def test_a_session_the_broker_does_not_accept_is_red(desk: LiveDesk) -> None:
    desk.adapter.margin = BrokerUnavailable("The broker is down.")
    red = desk.red()
    assert "The broker is down." in red["session"]
    assert "could not be compared" in red["clock"]


@pytest.mark.parametrize("seconds", [-5, 5])
def test_a_clock_that_differs_from_the_brokers_is_red(desk: LiveDesk, seconds: float) -> None:
    desk.broker_is_ahead = seconds
    assert set(desk.red()) == {"clock"}


@pytest.mark.parametrize("seconds", [-1.5, 0, 1.5])
def test_a_second_and_a_half_is_within_what_a_header_can_tell(desk: LiveDesk, seconds: float) -> None:
    desk.broker_is_ahead = seconds
    assert desk.red() == {}


def test_a_reply_without_the_time_is_red(desk: LiveDesk) -> None:
    desk.says_the_time = False
    assert "states no time" in desk.red()["clock"]


def test_a_clock_that_went_back_is_red_until_it_has_settled(desk: LiveDesk) -> None:
    desk.run()
    with time_machine.travel(scripted_broker.OPEN_MARKET - timedelta(minutes=5), tick=True):
        assert "went back" in desk.red()["clock"]
        assert desk.red() == {}


def test_without_a_page_that_tells_the_address_it_is_red(desk: LiveDesk, settings: Any) -> None:
    settings.EGRESS_URL = ""
    assert "MCUBE_EGRESS_URL is not set" in desk.red()["egress address"]


@pytest.mark.parametrize("answer", ["<html>", "", "x" * 100_000])
def test_a_page_that_tells_no_address_is_red(desk: LiveDesk, answer: str) -> None:
    desk.page.says = answer
    assert "named no address" in desk.red()["egress address"]


def test_a_page_that_does_not_answer_is_red(desk: LiveDesk, settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        settings.EGRESS_URL = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    assert "named no address (ConnectError)" in desk.red()["egress address"]


def test_without_a_registered_address_it_is_red(desk: LiveDesk) -> None:
    row = CredentialStore.objects.get()
    row.static_ip = ""
    row.save()
    store.save_session(row.service, row.name, desk.adapter.open_session(), login_used_at=row.updated_at)
    assert "No registered address" in desk.red()["egress address"]


def test_no_check_shows_the_registered_address(desk: LiveDesk) -> None:
    desk.page.says = "198.51.100.9"
    assert ADDRESS not in str(desk.run())


def test_instruments_of_another_day_are_red(desk: LiveDesk) -> None:
    InstrumentMaster.objects.update(master_day=trading_day(configured_clock().now()) - timedelta(days=1))
    assert set(desk.red()) == {"instruments"}


def test_a_calendar_that_ended_is_red(desk: LiveDesk) -> None:
    HolidayList.objects.filter(year=2026).delete()
    assert "list of holidays" in desk.red()["calendar"]


def test_a_book_that_cannot_be_read_is_red(desk: LiveDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise BrokerUnavailable("The book is not to be had.")

    monkeypatch.setattr(desk.adapter, "fetch_orders", fails)
    assert "The book is not to be had." in desk.red()["order book"]


def test_an_order_with_our_tag_that_the_ledger_does_not_know_is_red(desk: LiveDesk) -> None:
    now = configured_clock().now()
    row = BrokerOrder.objects.create(
        account=desk.account,
        trading_day=trading_day(now),
        broker_order_id="900001",
        origin=BrokerOrder.Origin.SUSPECT,
        exchange="NFO",
        symbol=CALL,
        side="BUY",
        order_type="LIMIT",
        quantity=65,
        status="OPEN",
        first_seen_at=now,
        last_seen_at=now,
    )
    assert "900001" in desk.red()["own orders"]
    row.trading_day -= timedelta(days=1)
    row.save()
    assert desk.red() == {}


def test_an_attempt_that_nobody_judged_is_red(desk: LiveDesk) -> None:
    desk.resume()
    desk.run()
    intent = desk.order()
    past = configured_clock().now() - timedelta(seconds=1)
    OrderAttempt.objects.filter(intent=intent).update(outcome=AttemptOutcome.ARMED, quiet_at=past)
    assert intent.client_order_id in desk.red()["unsettled sends"]


def test_red_checks_are_one_alert_however_often_they_are_made(desk: LiveDesk) -> None:
    desk.page.says = "198.51.100.9"
    desk.run()
    desk.run()
    alert = Alert.objects.get(kind="barrier")
    assert alert.count == 2
    assert "198.51.100.9" in alert.happened


def test_a_missing_session_is_one_alert_and_its_own(desk: LiveDesk) -> None:
    desk.lose_session()
    session_alerts.tell(desk.account, "The token was refused.", at=configured_clock().now())
    assert "session" in desk.red()
    assert [each.kind for each in Alert.objects.exclude(kind="kill_switch")] == ["no_session"]


def test_instruments_are_told_of_when_they_are_late(desk: LiveDesk) -> None:
    InstrumentMaster.objects.update(master_day=trading_day(configured_clock().now()) - timedelta(days=1))
    with time_machine.travel(scripted_broker.OPEN_MARKET.replace(hour=8, minute=1), tick=True):
        assert set(desk.red()) == {"instruments"}
        assert not Alert.objects.filter(kind="barrier").exists()
    with time_machine.travel(scripted_broker.OPEN_MARKET.replace(hour=8, minute=50), tick=True):
        SessionState.objects.update(opened_at=configured_clock().now() - timedelta(minutes=5))
        assert set(desk.red()) == {"instruments"}
        assert not Alert.objects.filter(kind="barrier").exists(), "the login was late, and so are they"
        SessionState.objects.update(opened_at=configured_clock().now() - timedelta(minutes=15))
        desk.run()
        assert Alert.objects.filter(kind="barrier").exists()


def test_an_alert_is_taken_back_when_all_is_green(desk: LiveDesk) -> None:
    desk.page.says = "198.51.100.9"
    desk.run()
    desk.page.says = ADDRESS
    desk.run()
    assert Alert.objects.get(kind="barrier").acknowledged_at is not None


# Halted at the start


def test_everything_is_halted_until_a_person_resumes(desk: LiveDesk) -> None:
    assert desk.red() == {}
    refused = desk.order()
    assert refused.state == IntentState.DENIED
    assert "manage.py halt --resume" in refused.closed_reason


def test_the_first_start_of_a_day_halts_what_was_resumed_the_day_before(desk: LiveDesk) -> None:
    with time_machine.travel(scripted_broker.OPEN_MARKET - timedelta(days=1), tick=True):
        desk.resume()
    desk.run()
    switch = KillSwitch.objects.get(scope=Scope.EVERYTHING)
    assert (switch.state, switch.changed_by) == (KillSwitch.State.HALTED, "mcube")
    assert RiskChange.objects.filter(changed_by="mcube").count() == 1


def test_a_later_start_of_the_day_keeps_the_resume(desk: LiveDesk) -> None:
    desk.run()
    desk.resume()
    barrier.invalidate(desk.account.broker, configured_clock().now())
    desk.run()
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.ACTIVE


def test_without_a_start_a_resume_outlasts_the_night(desk: LiveDesk) -> None:
    desk.run()
    desk.resume()
    tomorrow = configured_clock().now() + timedelta(days=1)
    with time_machine.travel(tomorrow, tick=True):
        desk.run()
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.ACTIVE


def test_a_day_that_begins_red_without_a_start_keeps_the_resume(desk: LiveDesk) -> None:
    desk.run()
    desk.resume()
    with time_machine.travel(configured_clock().now() + timedelta(days=1), tick=True):
        desk.page.says = "198.51.100.9"
        desk.run()
        desk.run()
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.ACTIVE


def test_a_simulated_installation_is_not_halted(desk: LiveDesk, settings: Any) -> None:
    with time_machine.travel(scripted_broker.OPEN_MARKET - timedelta(days=1), tick=True):
        desk.resume()
    settings.MODE = Mode.SIMULATED
    desk.run()
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.ACTIVE
    assert not Alert.objects.filter(kind="barrier").exists()


# By hand


def test_the_command_shows_every_check(desk: LiveDesk) -> None:
    out = StringIO()
    call_command("barrier", account=str(desk.account), stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == str(desk.account)
    assert sum("green" in line for line in lines[1:-1]) == 8
    assert lines[-1].startswith("All green.")
    assert StartupBarrier.objects.get().passed_at is not None


def test_the_command_ends_with_a_red_check(desk: LiveDesk) -> None:
    desk.broker_is_ahead = 60
    out = StringIO()
    with pytest.raises(CommandError, match="Not green: 1 of the checks"):
        call_command("barrier", stdout=out)
    assert "RED    clock:" in out.getvalue()


def test_the_command_names_the_accounts_there_are(desk: LiveDesk) -> None:
    with pytest.raises(CommandError, match=f"one of: {desk.account}"):
        call_command("barrier", account="nobody/default")
