"""The start-up barrier: what must be green before a live account may send orders, each day and after each start.

It stands between a start and the first order: a session that the broker accepts, clocks that agree, the
registered address, today's instruments and calendar, the whole book, and nothing of ours in it that the
ledger does not know. Everything starts halted: the first start of a day sets the kill switch of everything,
and a person resumes. Simulated orders need none of it; there it is a report.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from django.conf import settings
from django.db.models import F

from brokers import session_alerts
from brokers.adapter_interface import BrokerAdapter
from brokers.alerts import close_alert, raise_alert
from brokers.clock import trading_day
from brokers.domain.enums import Mode
from brokers.domain.errors import BrokerError, CredentialsNotFound, NotSent, OrderDenied, SDKMissing
from brokers.domain.evidence import WireEvidence
from brokers.domain.order_states import AttemptOutcome
from brokers.gateway import BrokerGateway
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    HumanDecision,
    InstrumentMaster,
    KillSwitch,
    OrderAttempt,
    Scope,
    SessionState,
    Severity,
    StartupBarrier,
)
from brokers.risk import switches
from credentials import store

#: How far this machine's clock may be from the broker's.
CLOCK_TOLERANCE = timedelta(seconds=2)
#: The resolution of a ``Date`` header.
DATE_HEADER = timedelta(seconds=1)
EGRESS_SECONDS = 5.0

#: Earlier than this before the first session, and so long after a login, the day's instruments are still being loaded.
INSTRUMENTS_BY, INSTRUMENTS_AFTER_LOGIN = timedelta(minutes=30), timedelta(minutes=10)
#: The check without which most others cannot be made.
SESSION, INSTRUMENTS = "session", "instruments"

#: What keeps a broker from being asked.
UNREADABLE = (BrokerError, CredentialsNotFound, SDKMissing)

SyncBook = Callable[[BrokerAccount], object]


class NotChecked(NotSent):
    """The checks were not made yet since the last start, or today. What waits is sent when they are green."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at. Holds no secret."""

    name: str
    is_green: bool
    #: What was seen; when red, what is wrong and what to do.
    sentence: str


def check(account: BrokerAccount, now: datetime) -> None:
    """In live mode let the account's orders pass, if every check was green today and since the last start.

    :raises OrderDenied: a check is red; the sentences say which, and what to do.
    :raises NotChecked: they were not made yet, or could not be for want of a session; come again.
    """
    if settings.MODE is not Mode.LIVE:
        return
    columns = ("trading_day", "passed_at", "checks")
    row = StartupBarrier.objects.filter(account=account).values_list(*columns).first()
    day, passed_at, checks = row or (None, None, [])
    if day != trading_day(now) or not checks:
        raise NotChecked(
            f"The start-up checks of account {account} are still to be made; beat makes them on trading days, and "
            "`manage.py barrier` makes them now."
        )
    red = {each["name"]: each["sentence"] for each in checks if not each["is_green"]}
    if passed_at is None and (SESSION in red or set(red) == {INSTRUMENTS}):
        waits_for = "its session" if SESSION in red else "today's instruments"
        raise NotChecked(f"Account {account} waits for {waits_for}, and for the start-up checks that follow.")
    if passed_at is None:
        raise OrderDenied(
            f"No live order of account {account} goes out before its start-up checks are green. {' '.join(red.values())}"
        )


def has_passed(account: BrokerAccount, now: datetime) -> bool:
    """Whether every check was green today and since the last start."""
    rows = StartupBarrier.objects.filter(account=account, trading_day=trading_day(now))
    return rows.filter(passed_at__isnull=False).exists()


def waits_for_session_that_came(account: BrokerAccount) -> bool:
    """Whether a session was opened since the last checks."""
    return StartupBarrier.objects.filter(account=account, account__session__opened_at__gt=F("checked_at")).exists()


def invalidate(broker: str, now: datetime) -> int:
    """A worker of the broker starts: its accounts are checked again before anything is sent. Returns how many."""
    return StartupBarrier.objects.filter(account__broker=broker).update(passed_at=None, checked_at=now, checks=[])


def run(account: BrokerAccount, gateway: BrokerGateway, now: datetime, *, sync_book: SyncBook) -> list[Check]:
    """Make every check and keep the result.

    ``sync_book`` reads the broker's whole order book into the ledger, or raises. A start that happens
    meanwhile wins over what is found here.
    """
    before, _ = StartupBarrier.objects.get_or_create(account=account)
    if settings.MODE is Mode.LIVE and not before.checks:
        _halt_on_first_start(now)
    checks = list(_checks(account, gateway, now, before.checked_at, sync_book))
    red = [each for each in checks if not each.is_green]
    StartupBarrier.objects.filter(pk=before.pk, checked_at=before.checked_at).update(
        trading_day=trading_day(now),
        passed_at=None if red else now,
        checked_at=now,
        checks=[asdict(each) for each in checks],
    )
    if settings.MODE is Mode.LIVE:
        _tell(account, red, gateway, now)
    return checks


def _checks(
    account: BrokerAccount, gateway: BrokerGateway, now: datetime, before: datetime | None, sync_book: SyncBook
) -> Iterator[Check]:
    session, evidence = _session(account, gateway)
    yield session
    yield _clock(evidence, now, before)
    yield _egress(account)
    yield _instruments(account, now)
    yield _calendar(gateway, now)
    yield _book(account, sync_book)
    yield _own_orders(account, now)
    yield _overdue(account, now)


def _session(account: BrokerAccount, gateway: BrokerGateway) -> tuple[Check, WireEvidence | None]:
    """A real call, since a stored session proves nothing; also what the wire saw of its reply."""

    def margin(adapter: BrokerAdapter) -> WireEvidence | None:
        adapter.fetch_margin()
        trace = adapter.context.wire.trace
        return trace.last.evidence() if trace and trace.last else None

    try:
        evidence = gateway.read(margin)
    except UNREADABLE as error:
        return _red(SESSION, f"The broker did not answer a call of account {account}: {error}"), None
    return _green(SESSION, "The broker answered a call."), evidence


def _clock(evidence: WireEvidence | None, now: datetime, before: datetime | None) -> Check:
    """Our clock against the ``Date`` of the broker's reply, and against the checks before."""
    if settings.MODE is Mode.LIVE and before is not None and before - now > CLOCK_TOLERANCE:
        went = f"{(before - now).total_seconds():.1f} s"
        return _red("clock", f"This machine's clock went back by {went} since the last checks; keep it by NTP.")
    try:
        offset = _offset(evidence) if evidence else None
    except ValueError:
        offset = None
    if offset is None:
        return _red("clock", "The broker's reply states no time, so this machine's clock could not be compared.")
    shown = f"{offset.total_seconds():+.1f} s"
    if abs(offset) > CLOCK_TOLERANCE:
        return _red("clock", f"This machine's clock is {shown} from the broker's; set it, and keep it by NTP.")
    return _green("clock", f"This machine's clock is {shown} from the broker's.")


def _offset(evidence: WireEvidence) -> timedelta:
    """How far our clock is ahead of the broker's, at least: a header of whole seconds tells no more.

    :raises ValueError: the header is none.
    """
    stated = parsedate_to_datetime(evidence.server_date)
    stated = stated if stated.tzinfo else stated.replace(tzinfo=UTC)
    if evidence.finished_at < stated:
        return evidence.finished_at - stated
    asked_at = evidence.first_byte_at or evidence.started_at
    return max(asked_at - stated - DATE_HEADER, timedelta(0))


def _egress(account: BrokerAccount) -> Check:
    """The brokers take orders from registered addresses only."""
    if settings.MODE is not Mode.LIVE:
        return _green("egress address", "Simulated orders leave this machine by no address.")
    if not settings.EGRESS_URL:
        return _red(
            "egress address",
            "MCUBE_EGRESS_URL is not set, so it is not known which address orders leave from; set it to a page that "
            "answers with the caller's address as text.",
        )
    try:
        registered = store.secrets_of(account.broker, account.name, purpose="barrier")["static_ip"]
        seen = _own_address(settings.EGRESS_URL)
    except CredentialsNotFound as error:
        return _red("egress address", str(error))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return _red("egress address", f"The page of MCUBE_EGRESS_URL named no address ({type(error).__name__}).")
    if not registered:
        return _red(
            "egress address",
            f"No registered address is kept for account {account}; enter the one the broker knows as its static_ip. "
            f"This machine's is {seen} now.",
        )
    if ipaddress.ip_address(registered) != seen:
        return _red(
            "egress address",
            f"This machine's address is {seen}, which is not the one registered for account {account}; the broker "
            "refuses orders from it.",
        )
    return _green("egress address", "Orders leave from the registered address.")


def _own_address(url: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # As the wire does: no proxy, no redirect.
    reply = httpx.get(url, timeout=EGRESS_SECONDS, trust_env=False, follow_redirects=False)
    return ipaddress.ip_address(reply.raise_for_status().text.strip()[:64])


def _instruments(account: BrokerAccount, now: datetime) -> Check:
    today = trading_day(now)
    if InstrumentMaster.objects.filter(broker=account.broker, master_day=today).exists():
        return _green(INSTRUMENTS, f"The instruments of {today:%d %b %Y} are loaded.")
    return _red(
        INSTRUMENTS, f"The instruments of {today:%d %b %Y} are not loaded; beat loads them, or the task in the admin."
    )


def _calendar(gateway: BrokerGateway, now: datetime) -> Check:
    today = trading_day(now)
    known = {each: gateway.calendar.known_until(each) for each in sorted(gateway.spec.capabilities.exchanges)}
    missing = [str(each) for each, until in known.items() if until is None or until < today]
    if missing:
        return _red(
            "calendar",
            f"The calendar of {', '.join(missing)} does not cover today; enter the year's list of holidays in the admin.",
        )
    return _green("calendar", "The calendar covers today.")


def _book(account: BrokerAccount, sync_book: SyncBook) -> Check:
    try:
        sync_book(account)
    except UNREADABLE as error:
        return _red("order book", f"The order book of account {account} could not be read: {error}")
    return _green("order book", "The whole order book was read.")


def _own_orders(account: BrokerAccount, now: datetime) -> Check:
    """An order with our tag that the ledger does not know means that the ledger lost rows or was bypassed.

    Who acknowledges its alert has explained it; and without one, who was asked what became of the intent with that tag.
    """
    day = trading_day(now)
    suspects = BrokerOrder.objects.filter(account=account, trading_day=day, origin=BrokerOrder.Origin.SUSPECT)
    told = dict(
        Alert.objects.filter(kind="suspect_order", account=account)
        .order_by("first_at")
        .values_list("key", "acknowledged_at")
    )
    answered = _answered(account, day) if suspects.exists() else frozenset()
    names = [
        number
        for number in suspects.values_list("broker_order_id", flat=True)
        if not told.get(f"suspect_order:{account.pk}:{day}:{number}", number in answered)
    ]
    if names:
        return _red(
            "own orders",
            f"Orders that carry this installation's tag are not in its ledger: {', '.join(names[:5])}. Find out who "
            "sent them, e.g. a second installation, or a ledger that was restored from a backup; then acknowledge "
            "their alerts, and answer the orders that ask for a decision.",
        )
    return _green("own orders", "Every order with this installation's tag is in its ledger.")


def _answered(account: BrokerAccount, day: date) -> frozenset[str]:
    """Orders that a person saw under the tag of an intent when they said what became of it."""
    answers = HumanDecision.objects.filter(
        intent__account=account,
        intent__trading_day=day,
        kind__in=[HumanDecision.Kind.ADOPT, HumanDecision.Kind.NOT_PLACED],
    )
    return frozenset(
        row["broker_order_id"]
        for tag, candidates in answers.values_list("intent__client_tag", "evidence__candidates")
        for row in candidates or ()
        if row["client_tag"].partition("-")[0] == tag
    )


def _overdue(account: BrokerAccount, now: datetime) -> Check:
    late = OrderAttempt.objects.filter(
        outcome=AttemptOutcome.ARMED, quiet_at__lt=now, intent__account=account
    ).values_list("intent__client_order_id", flat=True)
    if names := ", ".join(late[:5]):
        return _red("unsettled sends", f"Attempts of a sender that died or hangs are not judged yet: {names}.")
    return _green("unsettled sends", "No attempt of a sender that is gone is unjudged.")


def _halt_on_first_start(now: datetime) -> None:
    """A resume holds for the day on which it was given, or until the next start on a later one."""
    switch = KillSwitch.objects.filter(scope=Scope.EVERYTHING).first()
    if switch is None or switch.state == KillSwitch.State.HALTED:
        return
    if switch.changed_at is not None and trading_day(switch.changed_at) == trading_day(now):
        return
    switches.set_switch(
        Scope.EVERYTHING,
        "",
        KillSwitch.State.HALTED,
        by="mcube",
        reason="live mode begins each day's first start halted",
        at=now,
    )


def _tell(account: BrokerAccount, red: list[Check], gateway: BrokerGateway, now: datetime) -> None:
    """One alert a day while something is red; nobody is called any more when all is green."""
    key = f"{account}:{trading_day(now)}"
    if not red:
        close_alert("barrier", key, because="every start-up check is green", at=now)
        return
    told = [each for each in red if not (each.name == INSTRUMENTS and _is_early(account, gateway, now))]
    # Without a session the others cannot be made, and its own alert tells of that.
    if not told or (any(each.name == SESSION for each in red) and session_alerts.is_told(account)):
        return
    raise_alert(
        "barrier",
        key,
        severity=Severity.WARNING,
        happened=f"The start-up checks of account {account} are not green: {' '.join(each.sentence for each in told)}",
        meaning=f"No live order of account {account} goes out; cancels still do.",
        to_do="Mend what it names; the checks are made again by themselves, and `manage.py barrier` shows them all.",
        at=now,
        account=account,
    )


def _is_early(account: BrokerAccount, gateway: BrokerGateway, now: datetime) -> bool:
    """Whether beat still has time to load the day's instruments."""
    if SessionState.objects.filter(account=account, opened_at__gt=now - INSTRUMENTS_AFTER_LOGIN).exists():
        return True
    sessions = [gateway.calendar.session(each, trading_day(now)) for each in gateway.spec.capabilities.exchanges]
    opens = [held[0] for held in sessions if held is not None]
    return bool(opens) and now < min(opens) - INSTRUMENTS_BY


def _green(name: str, sentence: str) -> Check:
    return Check(name=name, is_green=True, sentence=sentence)


def _red(name: str, sentence: str) -> Check:
    return Check(name=name, is_green=False, sentence=sentence)
