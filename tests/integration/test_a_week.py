"""A live week from Friday afternoon to the Saturday after the next, with everything in it that goes wrong with sessions.

It is the calendar's own week of November 2026: a weekend with a Muhurat session on its Sunday, a holiday on the Tuesday.
Session work ticks at its own cadence all week. Reads, the sweeper and the start-up checks are thinned out, but not while
something happens.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.core.management import call_command

from brokers import calendar, sessions
from brokers.adapters.breeze.simulator import play_person
from brokers.clock import IST, SystemClock, trading_day
from brokers.domain.enums import Exchange, InstrumentKind, Mode, OptionRight
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import IntentState
from brokers.factory import BrokerFactory
from brokers.models import Alert, BrokerAccount, KillSwitch, OrderAttempt, OrderIntent, Scope, SessionState, Severity
from brokers.risk import switches
from brokers.simulator import accounts
from brokers.simulator.contracts import Contract
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.rules import ExchangeSettings
from credentials.models import CredentialStore
from mcube.celery import app
from mcube.processes import OWN_QUEUE
from tasks.orders import place_order
from tests.support.simulated_time import Brokers, Call, Installation, Wall, published_to

#: The first one's login needs a person, the second one's needs none.
ATTENDED, UNATTENDED = BROKERS = ("breeze", "kotakneo")
ADDRESS = "127.0.0.1"
MINUTE = 60
#: Seconds between ticks while nothing happens. What is not named here ticks at its own cadence.
THIN = {
    "sweep": 30 * MINUTE,
    "open questions": 30 * MINUTE,
    "plans": 30 * MINUTE,
    "alerts": 30 * MINUTE,
    "start-up checks": 5 * MINUTE,
    "order books": 60 * MINUTE,
    "snapshots": 60 * MINUTE,
}
FRIDAY, SATURDAY, MUHURAT, MONDAY = (date(2026, 11, day) for day in (6, 7, 8, 9))
HOLIDAY, LATE, WRONG_CLOCK, KILLED, LAST_SATURDAY = (date(2026, 11, day) for day in (10, 11, 12, 13, 14))
TRADING_DAYS = (FRIDAY, MUHURAT, MONDAY, LATE, WRONG_CLOCK, KILLED)
AT_THE_BROKER = {IntentState.WORKING, IntentState.FILLED}
#: A person's call by hand, and what each event of the week is told by: day, kind, account, severity.
EXPECTED_ALERTS = [
    (FRIDAY, "kill_switch", None, Severity.INFO),  # resumed by a person
    (MUHURAT, "no_session", ATTENDED, Severity.CRITICAL),  # the day's request for a person
    (MONDAY, "no_session", ATTENDED, Severity.CRITICAL),
    (MONDAY, "no_session", UNATTENDED, Severity.WARNING),  # two refused logins
    (LATE, "no_session", ATTENDED, Severity.CRITICAL),  # two hours without the person
    (WRONG_CLOCK, "no_session", ATTENDED, Severity.CRITICAL),
    (WRONG_CLOCK, "barrier", ATTENDED, Severity.WARNING),  # each account says that the clock is wrong
    (WRONG_CLOCK, "no_session", UNATTENDED, Severity.WARNING),
    (KILLED, "no_session", ATTENDED, Severity.CRITICAL),
    (KILLED, "no_session", ATTENDED, Severity.CRITICAL),  # at noon
    (KILLED, "second_login", UNATTENDED, Severity.INFO),  # at noon, mended by itself
]


def at(day: date, clock: str) -> datetime:
    """A moment in India."""
    return datetime.fromisoformat(f"{day.isoformat()}T{clock}").replace(tzinfo=IST)


class Person:
    """The owner of the accounts: logs in where a person must, and says what is typed there."""

    def __init__(self, output: StringIO) -> None:
        self._output = output

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        found = re.search(r"http://\S+", self._output.getvalue())
        assert found, self._output.getvalue()
        return play_person(found[0])


class Week:
    """The installation, its brokers, its person and its strategy."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = Wall(at(FRIDAY, "15:04"))
        rules = ExchangeSettings(moving=False, limits=False, holidays=frozenset({HOLIDAY}))
        self.brokers = Brokers(home, self.wall, rules)
        self.redis = redis.Redis.from_url(django_settings.REDIS_URL)
        self.installation = Installation(self.wall, thin=THIN, between=self.give_back_windows)
        self.accounts: dict[str, BrokerAccount] = {}
        self.placed: dict[str, int] = {}
        self._monkeypatch = monkeypatch

    def set_up(self) -> None:
        columns = {field.name for field in CredentialStore._meta.get_fields()}
        for broker in BROKERS:
            secrets = {k: v for k, v in accounts.default(broker).credentials().items() if k in columns}
            secrets["static_ip"] = ADDRESS
            CredentialStore.objects.create(service=broker, **secrets)
            self.accounts[broker] = BrokerAccount.objects.create(
                broker=broker, is_live_enabled=True, manual_trading=BrokerAccount.ManualTrading.NONE
            )

    def stop(self) -> None:
        BrokerFactory.close_all()
        self.redis.close()
        self.brokers.stop()
        self.wall.stop()

    def give_back_windows(self) -> None:
        """Redis counts a minute's calls by its own clock, by which the whole week takes a minute; not the day's."""
        self.redis.delete(*(f"mcube:calls:{{{account}}}:log" for account in self.accounts.values()))

    # Time

    @property
    def clock(self) -> SystemClock:
        return SystemClock()

    def run_to(self, day: date, clock: str, *, closely: bool = False) -> None:
        self.installation.run_to(at(day, clock), closely=closely)

    # People

    def log_in(self) -> None:
        output = StringIO()
        self._monkeypatch.setattr("sys.stdin", Person(output))
        call_command("breeze_token", stdout=output)

    def resume(self) -> None:
        switches.set_switch(
            Scope.EVERYTHING, "", KillSwitch.State.ACTIVE, by="a person", reason="the day begins", at=self.wall.machine
        )

    # The strategy

    def contract(self) -> Contract:
        """The call at the money that outlives the week."""
        options = [
            each
            for each in self.brokers.exchange.universe.all()
            if (each.exchange, each.underlying, each.kind, each.right)
            == (Exchange.NFO, "NIFTY", InstrumentKind.OPTION, OptionRight.CALL)
            and each.expiry
            and each.expiry > LAST_SATURDAY
        ]
        return min(options, key=lambda each: (each.expiry, abs(each.base_price - 100)))

    def order(self, broker: str, key: str, *, until: datetime | None = None) -> None:
        """A limit order for one lot, a tick dearer than the one before, as a strategy gives it."""
        contract = self.contract()
        recorded = place_order.delay(
            broker=broker,
            symbol=contract.symbol,
            exchange="NFO",
            action="B",
            quantity=contract.lot_size,
            order_type="LIMIT",
            price=str(contract.base_price + contract.tick_size * len(self.placed)),
            client_order_id=key,
            not_after=(until or self.wall.machine + timedelta(minutes=2)).isoformat(),
        )
        self.placed[key] = recorded.intent_id

    # What happened

    def login_calls(self, broker: str) -> list[Call]:
        """The first step of every login that was tried."""
        first_step = {"breeze": "customerdetails", "kotakneo": "tradeApiLogin"}[broker]
        return [call for call in self.brokers.calls if call.broker == broker and call.path.endswith(first_step)]

    def logins(self, broker: str) -> Counter[date]:
        """How many logins the broker took on each day."""
        last_step = {"breeze": "customerdetails", "kotakneo": "tradeApiValidate"}[broker]
        done = [call for call in self.brokers.calls if call.broker == broker and call.path.endswith(last_step)]
        return Counter(trading_day(call.at) for call in done if call.reply.get("data") or call.reply.get("Success"))

    def refused(self, broker: str, day: date) -> list[datetime]:
        """When a login was refused."""
        tried = [call for call in self.login_calls(broker) if trading_day(call.at) == day]
        return [call.at for call in tried if not (call.reply.get("data") or call.reply.get("Success"))]

    def state(self, key: str) -> str:
        return OrderIntent.objects.get(pk=self.placed[key]).state

    def sent_at(self, key: str) -> list[datetime]:
        attempts = OrderAttempt.objects.filter(intent=self.placed[key]).order_by("number")
        return list(attempts.values_list("armed_at", flat=True))

    def taken_at_noon(self, broker: str) -> int:
        """How many of the orders of noon the exchange really took."""
        lines = self.brokers.exchange.truth.lines()
        mine = [line for line in lines if (line["event"], line["broker"]) == ("accepted", broker)]
        return sum(str(line["market_at"]) > at(KILLED, "12:00").astimezone(UTC).isoformat() for line in mine)

    def is_waiting(self, broker: str) -> bool:
        return SessionState.objects.get(account=self.accounts[broker]).status != SessionState.Status.VALID

    def alerts(self, day: date) -> list[Alert]:
        return [each for each in Alert.objects.order_by("pk") if trading_day(each.first_at) == day]


@pytest.fixture
def week(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[Week]:
    made = Week(tmp_path, monkeypatch)
    settings.HOME = tmp_path
    settings.BROKER_URLS = dict(made.brokers.urls)
    settings.MODE, settings.LIVE_TRADING, settings.EGRESS_URL = Mode.LIVE, True, "http://127.0.0.1/"
    monkeypatch.setattr("brokers.barrier._own_address", lambda url: ipaddress.ip_address(ADDRESS))
    monkeypatch.setattr("celery.app.trace.logger.disabled", True)
    calendar.forget()
    sessions._opened.clear()
    try:
        with published_to(made.installation, monkeypatch):
            made.set_up()
            yield made
    finally:
        made.stop()
        calendar.forget()


# The days


def friday(week: Week) -> None:
    """An ordinary afternoon; its sessions are over before Saturday."""
    week.log_in()
    week.resume()
    app.send_task("tasks.instruments.schedule", kwargs={}, queue=OWN_QUEUE, expires=60)
    week.run_to(FRIDAY, "15:16")
    week.run_to(FRIDAY, "15:18:05", closely=True)
    for broker in BROKERS:
        week.order(broker, f"friday-{broker}")
    week.run_to(FRIDAY, "15:18:30", closely=True)
    assert {week.state(f"friday-{broker}") for broker in BROKERS} <= AT_THE_BROKER
    week.run_to(SATURDAY, "00:01")
    assert all(sessions.current(account, clock=week.clock) is None for account in week.accounts.values())


def weekend_with_a_session(week: Week) -> None:
    week.run_to(MUHURAT, "16:50")
    assert not week.is_waiting(UNATTENDED), "an hour and a quarter before the first opening"
    week.log_in()


def monday_with_two_refused_logins(week: Week) -> None:
    week.brokers.exchange.faults.add(
        Fault(broker=UNATTENDED, kind=Kind.REFUSE, endpoint="login", count=2, body="Invalid TOTP")
    )
    week.run_to(MONDAY, "07:59:50")
    # Every task that wants a session asks for one meanwhile.
    week.run_to(MONDAY, "08:01", closely=True)
    week.run_to(MONDAY, "08:05:30", closely=True)
    week.run_to(MONDAY, "08:14:50")
    assert week.is_waiting(UNATTENDED)
    week.run_to(MONDAY, "08:16")
    week.log_in()
    assert not any(week.is_waiting(broker) for broker in BROKERS)


def holiday(week: Week) -> None:
    """Whatever is wanted on a day without a session, nobody logs in for it."""
    week.run_to(HOLIDAY, "11:00")
    for broker in BROKERS:
        with pytest.raises(OrderDenied):
            week.order(broker, f"holiday-{broker}")
    week.run_to(HOLIDAY, "11:00:10", closely=True)


def day_of_the_late_person(week: Week) -> None:
    week.run_to(LATE, "09:58")
    for number in range(3):
        week.order(ATTENDED, f"parked-{number}", until=at(LATE, "11:00"))
    began = len(week.installation.runs)
    week.run_to(LATE, "10:00", closely=True)
    assert {week.state(f"parked-{number}") for number in range(3)} == {IntentState.READY}
    assert max(run.seconds for run in week.installation.runs[began:]) < 5, "a parked task holds no worker"
    week.log_in()
    came_at = week.wall.true
    week.run_to(LATE, "10:00:30", closely=True)
    for number in range(3):
        [sent_at] = week.sent_at(f"parked-{number}")
        assert sent_at - came_at < timedelta(seconds=25)
        assert week.state(f"parked-{number}") in AT_THE_BROKER


def day_of_the_wrong_clock(week: Week) -> None:
    week.run_to(WRONG_CLOCK, "07:30")
    week.wall.set_wrong(timedelta(seconds=75))
    week.run_to(WRONG_CLOCK, "08:20")
    week.log_in()
    week.run_to(WRONG_CLOCK, "09:20")
    week.run_to(WRONG_CLOCK, "09:22", closely=True)
    assert any("clock is +75 s" in each.happened for each in week.alerts(WRONG_CLOCK))
    week.wall.set_wrong(timedelta(0))
    # The longest pause after a refused login is an hour.
    week.run_to(WRONG_CLOCK, "10:30")
    assert not any(week.is_waiting(broker) for broker in BROKERS)


def day_of_the_killed_session(week: Week) -> None:
    week.run_to(KILLED, "08:30")
    week.log_in()
    week.run_to(KILLED, "11:57")
    week.run_to(KILLED, "12:00", closely=True)
    for broker in BROKERS:
        week.brokers.exchange.sessions.kill(accounts.default(broker))
        for number in range(3):
            week.order(broker, f"noon-{broker}-{number}")
    week.run_to(KILLED, "12:00:20", closely=True)
    assert not week.is_waiting(UNATTENDED)
    assert week.is_waiting(ATTENDED)
    assert week.taken_at_noon(ATTENDED) == 0, "sends are halted"
    week.log_in()
    week.run_to(KILLED, "12:01", closely=True)
    for broker in BROKERS:
        assert week.taken_at_noon(broker) == 3


DAYS = (
    friday,
    weekend_with_a_session,
    monday_with_two_refused_logins,
    holiday,
    day_of_the_late_person,
    day_of_the_wrong_clock,
    day_of_the_killed_session,
)


# What is to be said of the whole


def check_logins(week: Week) -> None:
    """One a day of trading, one more where the broker ended it, none on any other day."""
    for broker in BROKERS:
        assert week.logins(broker) == Counter(TRADING_DAYS) + Counter([KILLED])
        days = {trading_day(call.at) for call in week.brokers.calls if call.broker == broker}
        assert days == set(TRADING_DAYS), "no call of any kind on a day without a session"


def check_pauses(week: Week) -> None:
    first, second = week.refused(UNATTENDED, MONDAY)
    [third] = [call.at for call in week.login_calls(UNATTENDED) if trading_day(call.at) == MONDAY and call.at > second]
    assert second - first >= timedelta(minutes=5)
    assert third - second >= timedelta(minutes=10)
    wrong = week.refused(UNATTENDED, WRONG_CLOCK)
    pauses = [later - earlier for earlier, later in pairwise(wrong)]
    assert 3 <= len(wrong) <= 5
    assert pauses == sorted(pauses)
    # The token of the day before, once by beat and once by the person's command.
    assert all(len(week.refused(ATTENDED, day)) <= 4 for day in TRADING_DAYS)
    per_minute = Counter((call.broker, call.at.replace(second=0, microsecond=0)) for call in week.brokers.calls)
    assert max(per_minute.values()) < 60, "no hot loop"


def check_alerts(week: Week) -> None:
    # Beat is thinned where nobody looks, so that readings are missing by this test's own doing.
    shown = Alert.objects.exclude(kind="readings_missing")
    told = [
        (trading_day(each.first_at), each.kind, each.account.broker if each.account else None, each.severity)
        for each in shown.select_related("account").order_by("pk")
    ]
    assert Counter(told) == Counter(EXPECTED_ALERTS)
    still_open = shown.filter(acknowledged_at__isnull=True).values_list("kind", flat=True)
    assert set(still_open) <= {"kill_switch", "second_login"}, "the others ended with their cause"


def check_orders(week: Week) -> None:
    """Every order has its outcome, and the exchange took each that went out once."""
    states = {key: week.state(key) for key in week.placed}
    assert set(states.values()) <= {IntentState.FILLED, IntentState.EXPIRED}, states
    lines = [line for line in week.brokers.exchange.truth.lines() if line["event"] == "accepted"]
    assert len(lines) == len(states) == len({line["order_id"] for line in lines})


def check_tasks(week: Week) -> None:
    assert {run.state for run in week.installation.runs} == {"SUCCESS"}
    assert not week.installation.expired, "nothing waited in a queue until it lapsed"
    assert KillSwitch.objects.get(scope=Scope.EVERYTHING).state == KillSwitch.State.ACTIVE


@pytest.mark.timeout(900)
def test_a_week(week: Week) -> None:
    for day in DAYS:
        day(week)
    week.run_to(LAST_SATURDAY, "12:00")
    for check in (check_logins, check_pauses, check_alerts, check_orders, check_tasks):
        check(week)
