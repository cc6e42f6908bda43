"""What trading needs: keys and credentials, sessions, instruments and the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

from django.conf import settings

from brokers import budgets, calendar_alerts
from brokers.calendar import MarketCalendar
from brokers.clock import IST, configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import Exchange, Mode
from brokers.domain.errors import CredentialsNotFound
from brokers.domain.redaction import scrub
from brokers.models import BrokerAccount, InstrumentMaster, SessionRule, SessionState, SpecialDay
from credentials import store
from mcube.diagnosis import Finding, fail, ok, warn

#: A session that ends sooner is worth a word.
SOON = timedelta(minutes=30)


def encryption() -> Iterator[Finding]:
    keys = settings.ENCRYPTION_KEYS
    if not keys:
        yield fail(
            "encryption keys",
            "there are none",
            "Set MCUBE_ENCRYPTION_KEYS, or unset it to have one made in MCUBE_HOME.",
        )
        return
    closed = store.unreadable()
    if closed:
        yield fail(
            "encryption keys",
            f"open {len(closed)} stored secrets no more: {closed[0]}",
            "Add the key they were written with to MCUBE_ENCRYPTION_KEYS, or enter these credentials again.",
        )
    else:
        yield ok("encryption keys", f"{len(keys)} configured, every stored secret opens")


def accounts() -> Iterator[Finding]:
    active = [account for account in BrokerAccount.objects.all() if account.is_active]
    if not active:
        yield warn(
            "accounts",
            "none is active",
            "Run `python manage.py setup_credentials --setup-<broker>`, which makes the account, or choose Resume on a "
            "paused one in the admin.",
        )
        return
    yield ok("accounts", ", ".join(str(account) for account in active))
    real = [str(account) for account in active if account.is_live_enabled]
    if settings.MODE is Mode.LIVE and settings.LIVE_TRADING and not real:
        yield warn(
            "accounts", "none may send real orders", "Enable live orders on the accounts meant to trade, in the admin."
        )


def credentials() -> Iterator[Finding]:
    for account in BrokerAccount.objects.filter(is_active=True):
        try:
            store.credential(account.broker, account.name)
        except CredentialsNotFound as error:
            yield fail("credentials", f"{account}: not complete", str(error))
        else:
            yield ok("credentials", f"{account}: complete")


def sessions() -> Iterator[Finding]:
    now = configured_clock().now()
    for account in BrokerAccount.objects.filter(is_active=True).select_related("session"):
        yield _session(account, account.session if hasattr(account, "session") else None, now)


def _session(account: BrokerAccount, state: SessionState | None, now: datetime) -> Finding:
    spec = specs()[account.broker]
    renew = (
        "Beat logs in with its next turn; `python manage.py doctor` tells whether it could."
        if spec.capabilities.unattended_login
        else "Log in at the broker's page and give the token in the admin, on the account's page."
    )
    if state is None or state.status == SessionState.Status.NONE:
        return warn("sessions", f"{account}: no session", renew)
    told = f"{account}: {state.get_status_display()}"
    message = scrub(state.message).rstrip(".")
    if state.status == SessionState.Status.FAILED:
        return fail(
            "sessions", f"{told}. {message}", "Mend the credentials, then choose `Log in now` on the account's page."
        )
    if state.status == SessionState.Status.NEEDS_PERSON:
        return warn("sessions", f"{told}. {message}", renew)
    if state.expires_at is None or state.expires_at <= now:
        return warn("sessions", f"{account}: expired", renew)
    ends = f"until {state.expires_at.astimezone(IST):%d %b %H:%M} IST"
    if state.expires_at - now < SOON:
        return warn("sessions", f"{told} {ends}", renew)
    return ok("sessions", f"{told} {ends}")


def calls() -> Iterator[Finding]:
    """Whether the day's calls last, where a broker limits them."""
    active = list(BrokerAccount.objects.filter(is_active=True))
    found = budgets.plans(active, configured_clock())
    for account in active:
        plan = found.get(account.pk)
        if plan is None:
            continue
        if plan.words:
            yield warn(
                "calls of the day",
                f"{account}: {plan.words}",
                "Look which strategy asks for so much, and have it use the cached reads; or poll more seldom.",
            )
        else:
            yield ok("calls of the day", f"{account}: {plan.spent:,} of {plan.budget:,}")


def instruments() -> Iterator[Finding]:
    today = trading_day(configured_clock().now())
    remedy = "Beat loads them each morning; to load them now, run the periodic task of the instruments in the admin."
    for broker in sorted({account.broker for account in BrokerAccount.objects.filter(is_active=True)}):
        master = InstrumentMaster.objects.filter(broker=broker).order_by("-master_day").first()
        if master is None:
            yield fail("instruments", f"{broker}: none were ever loaded", remedy)
        elif master.master_day < today:
            yield warn(
                "instruments", f"{broker}: of {master.master_day}, {(today - master.master_day).days} days old", remedy
            )
        else:
            left_out = f", left out or doubtful: {master.problem_count}" if master.problem_count else ""
            yield ok("instruments", f"{broker}: {master.row_count} of today{left_out}")


def calendar() -> Iterator[Finding]:
    clock = configured_clock()
    known = MarketCalendar(clock)
    today = trading_day(clock.now())
    remedy = "Enter the coming year's holidays, in the admin or with `manage.py holidays`; unknown days are closed."
    for exchange in Exchange:
        until = known.known_until(exchange)
        if until is None or until < today:
            yield fail("calendar", f"today is not known: {known.why_closed(exchange)}", remedy)
        elif (until - today).days < calendar_alerts.DAYS_AHEAD:
            yield warn("calendar", f"{exchange}: known until {until}", remedy)
        else:
            yield ok("calendar", f"{exchange}: known until {until}, now {known.phase(exchange).lower()}")


def unverified_hours() -> Iterator[Finding]:
    """Hours and days of now and the coming month that nobody has held against the exchange's circular."""
    today = trading_day(configured_clock().now())
    soon = today + timedelta(days=calendar_alerts.DAYS_AHEAD)
    rules = SessionRule.objects.filter(is_verified=False, valid_from__lte=soon).exclude(valid_until__lt=today)
    days = SpecialDay.objects.filter(is_verified=False, date__gte=today, date__lte=soon)
    remedy = (
        "Hold it against the exchange's circular, correct it under Market in the admin, and tick that it is verified."
    )
    ordered = rules.order_by("valid_from", "source", "exchange", "phase", "share_class")
    for (start, source), of_one in groupby(ordered, key=lambda rule: (rule.valid_from, rule.source)):
        told = ", ".join(_hours_of(rule) for rule in of_one)
        yield warn("calendar", f"not verified from {start}: {told} ({source})", remedy)
    for day in days.order_by("date", "exchange", "start_time"):
        yield warn("calendar", f"not verified: {day} ({day.source})", remedy)


def _hours_of(rule: SessionRule) -> str:
    what = f"{rule.phase} of {rule.get_share_class_display()}" if rule.share_class else rule.phase
    return f"{rule.exchange} {what} {rule.start_time:%H:%M} to {rule.end_time:%H:%M}"
