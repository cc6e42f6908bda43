"""What the doctor and the status say, of a sound installation and of an ailing one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from brokers.alerts import acknowledge, raise_alert
from brokers.clock import configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import Exchange, Mode
from brokers.models import (
    BrokerAccount,
    HolidayList,
    InstrumentMaster,
    KillSwitch,
    Scope,
    SessionRule,
    SessionState,
    Severity,
    SpecialDay,
    StartupBarrier,
)
from brokers.risk import switches
from credentials.models import CredentialStore
from mcube import beat, diagnosis, overview, schedule
from mcube.diagnosis import Level, machine, safety, stores, trading, workers
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON
from tests.support.processes import CHECKOUT

pytestmark = pytest.mark.django_db

PLANTED = "planted-secret"


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    configured_clock().set(NOON)  # type: ignore[union-attr]


def levels(check: diagnosis.Check) -> list[Level]:
    return [finding.level for finding in check()]


def said(check: diagnosis.Check) -> str:
    return "\n".join(f"{finding.detail} {finding.remedy}" for finding in check())


def doctor(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out, no_color=True)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def credential(owner: BrokerAccount) -> CredentialStore:
    required = specs()[owner.broker].required_credentials
    values = dict.fromkeys([*required, "session_token"], PLANTED)
    return CredentialStore.objects.create(service=owner.broker, name=owner.name, **values)


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    admin_rows.account()
    checks, on_tables = diagnosis.all_checks()
    findings = list(diagnosis.examine(checks, on_tables=on_tables))
    assert {finding.level for finding in findings} > {Level.OK}
    for finding in findings:
        assert bool(finding.remedy) == (finding.level is not Level.OK), finding
        assert finding.remedy == "" or finding.remedy.endswith("."), finding


def test_a_failure_ends_with_status_1_and_json_says_the_same(settings: Any) -> None:
    settings.REDIS_URL = f"redis://:{PLANTED}@127.0.0.1:1/0"
    status, lines = doctor()
    assert status == 1
    assert "FAIL  Redis: does not answer" in lines
    status, text = doctor("--json")
    assert status == 1
    assert {"level": "FAIL", "name": "Redis"}.items() <= next(
        f for f in json.loads(text) if f["name"] == "Redis"
    ).items()
    assert PLANTED not in lines + text


def test_neither_doctor_nor_status_shows_a_secret(settings: Any) -> None:
    owner = admin_rows.account()
    credential(owner)
    SessionState.objects.update(status="FAILED", message=f"refused password={PLANTED}")
    admin_rows.snapshots(owner, error=f"redis://:{PLANTED}@h/0")
    shown = doctor()[1] + doctor("--json")[1]
    for arguments in ([], ["--json"]):
        out = io.StringIO()
        call_command("status", *arguments, stdout=out)
        shown += out.getvalue()
    assert PLANTED not in shown
    for secret in (settings.SECRET_KEY, *settings.ENCRYPTION_KEYS):
        assert secret not in shown


def test_a_check_that_breaks_is_a_finding_and_hides_no_other() -> None:
    def breaks() -> Any:
        raise ZeroDivisionError("password=planted")

    broken, python = diagnosis.examine([("broken", breaks), ("Python", machine.python)])
    assert broken.level is Level.FAIL
    assert "ZeroDivisionError" in broken.detail
    assert "planted" not in broken.detail
    assert python.level is Level.OK


def test_without_a_database_the_tables_are_not_looked_at_one_by_one() -> None:
    def no_database() -> Any:
        yield diagnosis.fail("database", "down", "Start it.")

    def on_table() -> Any:
        raise AssertionError("asked for nothing")

    _, skipped = diagnosis.examine([("database", no_database)], on_tables=[("orders", on_table)])
    assert (skipped.level, skipped.detail) == (Level.WARN, "not looked at")


def test_a_simulator_that_does_not_answer_is_told(settings: Any, tmp_path: Path) -> None:
    settings.BROKER_URLS = {"breeze": "http://127.0.0.1:1"}
    assert levels(machine.simulators) == [Level.FAIL]
    assert "MCUBE_BREEZE_URL" in said(machine.simulators)
    command = [sys.executable, "-m", "brokers.simulator", "--home", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        settings.BROKER_URLS = json.loads(process.stdout.readline())["urls"]
        assert levels(machine.simulators) == [Level.OK] * len(specs())
        process.terminate()
    settings.MODE = Mode.LIVE
    assert levels(machine.simulators) == []


def test_credentials_that_are_missing_name_the_command() -> None:
    owner = admin_rows.account()
    assert f"setup_credentials --setup-{owner.broker}" in said(trading.credentials)
    credential(owner)
    assert levels(trading.credentials) == [Level.OK]


def test_secrets_that_no_key_opens_are_told(settings: Any) -> None:
    from cryptography.fernet import Fernet

    credential(admin_rows.account())
    assert levels(trading.encryption) == [Level.OK]
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert levels(trading.encryption) == [Level.FAIL]


@pytest.mark.parametrize(
    ("status", "minutes", "level"),
    [
        ("VALID", 300, Level.OK),
        ("VALID", 10, Level.WARN),
        ("VALID", -1, Level.WARN),
        ("FAILED", None, Level.FAIL),
        ("NEEDS_PERSON", None, Level.WARN),
        ("NONE", None, Level.WARN),
    ],
)
def test_a_session_is_judged_by_its_status_and_its_end(status: str, minutes: int | None, level: Level) -> None:
    admin_rows.account()
    expires_at = None if minutes is None else NOON + timedelta(minutes=minutes)
    SessionState.objects.update(status=status, expires_at=expires_at)
    assert levels(trading.sessions) == [level]


def test_instruments_of_another_day_and_none_at_all_are_told() -> None:
    owner = admin_rows.account()
    assert levels(trading.instruments) == [Level.FAIL]
    master = InstrumentMaster.objects.create(
        broker=owner.broker, master_day=NOON.date() - timedelta(days=2), loaded_at=NOON, row_count=9, digest="d"
    )
    assert "2 days old" in said(trading.instruments)
    master.master_day = NOON.date()
    master.save()
    assert levels(trading.instruments) == [Level.OK]


def test_a_calendar_that_ends_soon_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from brokers.calendar import MarketCalendar

    for days, level in ((400, Level.OK), (29, Level.WARN), (-1, Level.FAIL)):
        until = NOON.date() + timedelta(days=days)
        monkeypatch.setattr(MarketCalendar, "known_until", lambda *_: until)  # noqa: B023 -- used at once
        assert levels(trading.calendar) == [level] * len(Exchange)


def test_an_unknown_calendar_counts_as_closed() -> None:
    HolidayList.objects.all().delete()
    assert set(levels(trading.calendar)) == {Level.FAIL}
    assert "the holidays of 2026 are not known" in said(trading.calendar)


def test_hours_that_rest_on_one_source_are_told_until_somebody_has_verified_them() -> None:
    told = said(trading.unverified_hours)
    assert set(levels(trading.unverified_hours)) == {Level.WARN}
    assert "BFO CONTINUOUS 09:15 to 15:40" in told
    assert "not verified from 2026-12-07: BFO CONTINUOUS 09:15 to 15:45, BSE CLOSING_AUCTION of shares that" in told
    SessionRule.objects.update(is_verified=True)
    assert levels(trading.unverified_hours) == []
    SpecialDay.objects.create(
        exchange="NSE", date=NOON.date() + timedelta(days=9), kind="HOLIDAY", source="a rumour", is_verified=False
    )
    assert "not verified: NSE 2026-11-29 HOLIDAY (a rumour)" in said(trading.unverified_hours)


def test_orders_in_doubt_are_named_with_what_is_to_be_done() -> None:
    owner = admin_rows.account()
    assert levels(safety.orders) == [Level.OK]
    admin_rows.intent(owner, 1, state="UNKNOWN")
    admin_rows.intent(owner, 2, state="ARMED", now=NOON - timedelta(minutes=1))
    admin_rows.intent(owner, 3, state="NEEDS_HUMAN")
    assert levels(safety.orders) == [Level.WARN] * 3
    human, unknown, silent = safety.orders()
    assert f"order-{owner.pk}-3" in human.detail
    assert "Decide" in human.remedy
    assert f"order-{owner.pk}-1" in unknown.detail
    assert "Do not place them again" in unknown.remedy
    assert f"order-{owner.pk}-2" in silent.detail


def test_a_server_whose_clock_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(safety.clock_drift) == [Level.OK]
    monkeypatch.setattr(safety, "_redis_time", lambda: datetime.now(UTC) - timedelta(seconds=7))
    assert "+7.0 s from Redis" in said(safety.clock_drift)


def test_a_brokers_clock_that_differed_at_the_start_is_told(settings: Any) -> None:
    settings.MODE = Mode.LIVE
    check = {"name": "clock", "is_green": False, "sentence": "This machine's clock is +9.0 s from the broker's."}
    StartupBarrier.objects.create(account=admin_rows.account(), checks=[check])
    assert "+9.0 s from the broker" in said(safety.clock_drift)


def test_the_barrier_is_told_for_live_accounts_alone(settings: Any) -> None:
    owner = admin_rows.account()
    assert levels(safety.start_up_barrier) == [Level.OK]
    settings.MODE = Mode.LIVE
    assert levels(safety.start_up_barrier) == []
    owner.is_live_enabled = True
    owner.save()
    assert levels(safety.start_up_barrier) == [Level.WARN]
    now = configured_clock().now()
    red = {"name": "session", "is_green": False, "sentence": "The broker did not answer."}
    row = StartupBarrier.objects.create(account=owner, trading_day=trading_day(now), checked_at=now, checks=[red])
    assert levels(safety.start_up_barrier) == [Level.FAIL]
    assert "The broker did not answer." in said(safety.start_up_barrier)
    row.passed_at, row.checks = now, [red | {"is_green": True}]
    row.save()
    assert levels(safety.start_up_barrier) == [Level.OK]


def test_a_switch_that_stops_orders_says_how_it_is_undone() -> None:
    assert levels(safety.kill_switches) == [Level.OK]
    at = configured_clock().now()
    halted = KillSwitch.State.HALTED
    switches.set_switch(Scope.STRATEGY, "strangle", halted, by="a person", reason="it loops", at=at)
    assert levels(safety.kill_switches) == [Level.WARN]
    assert "manage.py halt --resume --strategy strangle" in said(safety.kill_switches)
    assert "it loops" in said(safety.kill_switches)


def test_live_orders_that_nobody_switched_on_are_told(settings: Any) -> None:
    settings.MODE = Mode.LIVE
    assert levels(safety.kill_switches) == [Level.WARN]


def test_open_alerts_are_counted_until_somebody_acknowledges_them(settings: Any) -> None:
    assert levels(safety.alerts) == [Level.OK]
    at = configured_clock().now()
    alert = raise_alert(
        "test", "1", severity=Severity.CRITICAL, happened="It rains.", meaning="Wet.", to_do="An umbrella.", at=at
    )
    assert levels(safety.alerts) == [Level.WARN]
    assert "1 are open, the gravest: It rains" in said(safety.alerts)
    acknowledge([alert], by="a person", at=at)
    assert levels(safety.alerts) == [Level.OK]
    settings.MODE = Mode.LIVE
    assert "no channel is configured" in said(safety.alerts)


def test_keys_that_others_may_read_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    key = tmp_path / "keys" / "encryption-keys"
    key.touch(mode=0o600)
    assert levels(machine.home) == [Level.OK]
    key.chmod(0o644)
    assert levels(machine.home) == [Level.FAIL]
    assert "chmod go-rwx" in said(machine.home)


def test_a_folder_that_is_not_there_is_a_failure(settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path / "nowhere"
    assert levels(machine.home) == [Level.FAIL]


def test_an_sdk_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert set(levels(machine.sdks)) == {Level.FAIL}
    for spec in specs().values():
        assert f".[{spec.extra}]" in said(machine.sdks)


def test_live_orders_are_never_a_surprise(settings: Any) -> None:
    settings.MODE = Mode.LIVE
    assert "orders are off" in said(machine.mode)
    settings.LIVE_TRADING = True
    assert levels(machine.mode) == [Level.WARN]


def test_the_embedded_database_is_durable() -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        assert levels(stores.database) == [Level.OK]
        return
    # The tests' database is kept in memory, which no write-ahead log can make safe.
    assert "journal_mode" in said(stores.database)


def test_a_database_that_does_not_answer_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connection

    def refuse() -> None:
        raise DatabaseError("could not connect to postgres://mcube:planted@db/mcube")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    assert levels(stores.database) == [Level.FAIL]
    assert "planted" not in said(stores.database)


def test_redis_that_forgets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def answering(**info: object) -> None:
        class Client:
            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def info(self) -> dict[str, object]:
                return {"redis_version": "8", **info}

        monkeypatch.setattr(overview, "connect", Client)

    answering(aof_enabled=1, maxmemory=0, maxmemory_policy="allkeys-lru")
    assert levels(stores.queue_server) == [Level.OK]
    answering(aof_enabled=0, maxmemory=0, maxmemory_policy="noeviction")
    assert levels(stores.queue_server) == [Level.WARN]
    answering(aof_enabled=1, maxmemory=100, maxmemory_policy="allkeys-lru")
    assert levels(stores.queue_server) == [Level.FAIL]


def test_a_queue_without_a_worker_and_a_missing_beat_are_failures() -> None:
    assert set(levels(workers.answering)) == {Level.FAIL}
    assert levels(workers.beat_alive) == [Level.FAIL]


def test_a_beat_that_ran_nothing_for_long_says_since_when_in_indias_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "holder", lambda url: "beat@here")
    schedule.seed()
    assert levels(workers.beat_alive) == [Level.OK]
    PeriodicTask.objects.update(last_run_at=datetime(2026, 11, 23, 5, 30, 7, tzinfo=UTC))
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 23, 5, 50, tzinfo=UTC))
    assert levels(workers.beat_alive) == [Level.WARN]
    assert "last ran something on 23 Nov at 11:00:07 IST" in said(workers.beat_alive)


@pytest.mark.parametrize("entry", schedule.TABLE, ids=lambda entry: entry.name)
def test_a_schedule_that_is_off_or_gone_is_named_with_what_helps(entry: schedule.Entry) -> None:
    trading_stops = entry.name in {"sweep", "open questions", "plans", "order books", "alerts"}
    grave = Level.FAIL if trading_stops else Level.WARN
    schedule.seed()
    assert levels(workers.scheduled) == [Level.OK]

    PeriodicTask.objects.filter(name=entry.name).update(enabled=False)
    assert levels(workers.scheduled) == [grave]
    assert f"off: {entry.name}" in said(workers.scheduled)
    assert ("trading depends on" in said(workers.scheduled)) == trading_stops
    assert said(workers.scheduled).endswith("Enable them in the admin, under Schedule, Periodic tasks.")
    call_command("seed_schedule", verbosity=0)
    assert levels(workers.scheduled) == [grave], "seeding leaves off what people turned off"

    PeriodicTask.objects.filter(name=entry.name).delete()
    assert levels(workers.scheduled) == [grave]
    assert said(workers.scheduled).endswith("Run `python manage.py seed_schedule`, which adds them.")
    call_command("seed_schedule", verbosity=0)
    assert levels(workers.scheduled) == [Level.OK]


def test_schedules_that_are_off_are_told_apart_by_what_they_stop() -> None:
    schedule.seed()
    PeriodicTask.objects.filter(name__in=["sweep", "plans", "snapshots"]).update(enabled=False)
    PeriodicTask.objects.filter(name__in=["alerts", "old accesses"]).delete()
    found = list(workers.scheduled())
    assert [(finding.level, finding.detail) for finding in found] == [
        (Level.FAIL, "off: sweep, plans; trading depends on it"),
        (Level.FAIL, "missing: alerts; trading depends on it"),
        (Level.WARN, "off: snapshots"),
        (Level.WARN, "missing: old accesses"),
    ]


def test_an_installation_without_any_schedule_does_not_work() -> None:
    assert Level.FAIL in levels(workers.scheduled)
    assert workers.scheduled in [check for _, check in diagnosis.all_checks()[1]]


def test_a_waiting_message_is_counted_whatever_its_priority(settings: Any) -> None:
    from mcube import processes
    from mcube.celery import app

    queue = processes.queues()[0]
    settings.REDIS_URL = settings.REDIS_URL.rpartition("/")[0] + "/7"  # away from what other tests send
    steps = app.conf.broker_transport_options["priority_steps"]
    with overview.connect() as client:
        client.flushdb()
        for step in steps:
            client.rpush(f"{queue}{overview.PRIORITY_SEPARATOR}{step}" if step else queue, "message")
        depths = overview.queue_depths()
        client.flushdb()
    assert depths is not None
    assert depths[queue] == len(steps)
    assert sum(depths.values()) == len(steps)


def test_the_key_of_a_queue_is_the_one_the_transport_uses() -> None:
    from kombu.transport.redis import Channel

    assert Channel.sep == overview.PRIORITY_SEPARATOR


def test_status_shows_accounts_with_money_and_its_age() -> None:
    owner = admin_rows.account()
    admin_rows.snapshots(owner, slot_at=NOON - timedelta(minutes=4))
    out = io.StringIO()
    call_command("status", "--json", stdout=out)
    (shown,) = json.loads(out.getvalue())["accounts"]
    assert (shown["available_margin"], shown["pnl"]) == ("1234567.5000", "-1875.2500")
    assert shown["margin_as_of"] == (NOON - timedelta(minutes=4) + timedelta(seconds=1)).isoformat()
    assert shown["session"] == "VALID"


def test_status_of_no_database_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("no such table")

    monkeypatch.setattr("mcube.overview.take", refuse)
    with pytest.raises(CommandError, match="manage.py doctor".replace(".", r"\.")):
        call_command("status")


@pytest.mark.parametrize(
    ("variables", "identifier"),
    [
        ({"MCUBE_MODE": "live", "MCUBE_DEBUG": "1"}, "mcube.E002"),
        ({"MCUBE_LIVE_TRADING": "1"}, "mcube.W001"),
    ],
)
def test_settings_that_disagree_are_told_before_anything_starts(
    variables: dict[str, str], identifier: str, tmp_path: Path
) -> None:
    answer = manage(tmp_path, "check", **variables)
    assert identifier in answer.stderr
    assert (answer.returncode != 0) == identifier.startswith("mcube.E")


def test_a_public_installation_passes_djangos_own_checks(tmp_path: Path) -> None:
    answer = manage(tmp_path, "check", "--deploy", MCUBE_HTTPS="1", MCUBE_ALLOWED_HOSTS="mcube.example")
    assert answer.returncode == 0, answer.stderr
    assert "WARNINGS" not in answer.stderr


def manage(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = {"PATH": os.environ["PATH"], "MCUBE_HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=60
    )
