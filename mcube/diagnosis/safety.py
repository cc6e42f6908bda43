"""What keeps money safe: clocks that agree, the start-up barrier, kill switches, alerts, and orders in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import redis
from django.conf import settings
from django.db import connection

from brokers import barrier
from brokers.clock import IST, configured_clock
from brokers.domain.enums import Mode
from brokers.domain.order_states import IntentState
from brokers.domain.redaction import scrub
from brokers.ledger import queries
from brokers.models import Alert, AlertChannel, BrokerAccount, KillSwitch, OrderIntent, Severity, StartupBarrier
from brokers.risk import switches
from mcube import overview
from mcube.diagnosis import Finding, fail, ok, warn

#: What is named of a long list.
NAMED = 5
#: Clocks further apart make a server's times and this machine's tell different stories.
DRIFT = timedelta(seconds=2)


def clock_drift() -> Iterator[Finding]:
    """This machine's clock against those of its servers, and against each broker's at the last start-up checks."""
    remedy = "Keep every machine's clock by NTP."
    servers = [("the database", _database_time()), ("Redis", _redis_time())]
    for name, its_time in servers:
        ahead = datetime.now(UTC) - its_time if its_time else timedelta(0)
        if abs(ahead) > DRIFT:
            yield warn("clock drift", f"this machine is {ahead.total_seconds():+.1f} s from {name}", remedy)
            return
    if settings.MODE is Mode.LIVE:
        for row in StartupBarrier.objects.select_related("account"):
            for each in row.checks:
                if each["name"] == "clock" and not each["is_green"]:
                    yield warn("clock drift", f"{row.account}: {each['sentence'].rstrip('.')}", remedy)
                    return
    compared = " and ".join(name for name, its_time in servers if its_time) or "itself alone"
    yield ok("clock drift", f"none to speak of between this machine and {compared}")


def _database_time() -> datetime | None:
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def _redis_time() -> datetime | None:
    try:
        with overview.connect() as client:
            seconds, micros = client.time()
    except redis.RedisError:
        return None
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)


def start_up_barrier() -> Iterator[Finding]:
    if settings.MODE is not Mode.LIVE:
        yield ok("start-up barrier", f"orders in {settings.MODE} mode do not need it")
        return
    now = configured_clock().now()
    rows = {row.account_id: row for row in StartupBarrier.objects.all()}
    for account in BrokerAccount.objects.filter(is_active=True, is_live_enabled=True):
        row = rows.get(account.pk)
        red = [each for each in row.checks if not each["is_green"]] if row else []
        if row and barrier.has_passed(account, now):
            passed = f"{row.passed_at.astimezone(IST):%H:%M:%S} IST" if row.passed_at else ""
            yield ok("start-up barrier", f"{account}: green since {passed}")
        elif red:
            yield fail(
                "start-up barrier",
                f"{account}: {scrub(' '.join(each['sentence'] for each in red))}",
                "Mend what it names; `python manage.py barrier` shows every check and makes them again.",
            )
        else:
            yield warn(
                "start-up barrier",
                f"{account}: not checked yet today or since the last start, so that live orders wait",
                "Beat has it checked on trading days; `python manage.py barrier` does it now.",
            )


def kill_switches() -> Iterator[Finding]:
    rows = list(KillSwitch.objects.exclude(state=KillSwitch.State.ACTIVE).order_by("scope", "scope_key"))
    for row in rows:
        who = f"set by {row.changed_by or 'nobody'}: {scrub(row.reason) or 'no reason given'}"
        yield warn(
            "kill switch",
            f"{switches.name_of(row.scope, row.scope_key)} is {row.state}, {who}",
            f"When it is over: {switches.how_to_resume(row.scope, row.scope_key)}",
        )
    if rows:
        return
    begun = KillSwitch.objects.filter(scope="EVERYTHING").exists()
    if not begun and switches.initial_state() is not KillSwitch.State.ACTIVE:
        yield warn(
            "kill switch",
            "everything is halted until a person switches live orders on",
            f"When all is in order: {switches.how_to_resume('EVERYTHING', '')}",
        )
        return
    yield ok("kill switch", "every switch is ACTIVE")


def alerts() -> Iterator[Finding]:
    open_ones = Alert.objects.filter(acknowledged_at__isnull=True, severity__gte=Severity.WARNING)
    count = open_ones.count()
    if count:
        newest = open_ones.order_by("-severity", "-last_at").first()
        shown = scrub(newest.happened).rstrip(".") if newest else ""
        yield warn(
            "alerts", f"{count} are open, the gravest: {shown}", "Attend to them, and acknowledge them in the admin."
        )
    channels = AlertChannel.objects.filter(is_active=True)
    for channel in channels.exclude(last_problem=""):
        yield warn(
            "alerts",
            f"channel {channel.name} took none the last time: {scrub(channel.last_problem).rstrip('.')}",
            "Mend its address in the admin, and try it there.",
        )
    if settings.MODE is Mode.LIVE and not channels.exists():
        yield warn("alerts", "no channel is configured, so that nobody is told", "Add an alert channel in the admin.")
    elif not count:
        yield ok("alerts", "none is open")


def orders() -> Iterator[Finding]:
    """Orders whose fate is not known, by what is to be done about them."""
    sound = True
    for state, detail, remedy in (
        (
            IntentState.NEEDS_HUMAN,
            "wait for a person to say whether the broker has them",
            "Decide on each order's page in the admin; the broker's own app is the last word.",
        ),
        (
            IntentState.UNKNOWN,
            "may be at the broker",
            "They are looked up in its book by themselves. Do not place them again.",
        ),
        (
            IntentState.ABSENT,
            "are proved not to be at the broker",
            "Send them again in the admin while their time lasts, or let them go.",
        ),
    ):
        found = OrderIntent.objects.filter(state=state).select_related("account").order_by("created_at")
        if count := found.count():
            sound = False
            names = ", ".join(f"{intent.client_order_id} ({intent.account})" for intent in found[:NAMED])
            yield warn("orders", f"{count} {detail}: {names}", remedy)
    overdue = queries.overdue(configured_clock().now())
    if late := overdue.count():
        sound = False
        names = ", ".join(attempt.intent.client_order_id for attempt in overdue[:NAMED])
        yield warn(
            "orders",
            f"{late} attempts are armed past their deadline: {names}",
            "Their sender died or hangs. It is dealt with by itself, unless it ran on another machine; see the admin.",
        )
    if sound:
        yield ok("orders", "none is in doubt")
