"""One login per account and day, shared by all processes through the database.

``SessionState`` says where the session stands and who is logging in; the tokens are in the credential
store. A login is done by whoever takes the lease, with no transaction open; everybody else reads the
result. A failed login cools down, so that no schedule turns into a hot loop against the broker.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.views.decorators.debug import sensitive_variables

from brokers import limits, session_alerts
from brokers.adapter_interface import BrokerAdapter, SessionGrant
from brokers.clock import IST, end_of_day
from brokers.discovery import spec_of
from brokers.domain.errors import BrokerError, BrokerUnavailable, LoginFailed, PersonNeeded, RateLimited
from brokers.domain.order_states import IntentState
from brokers.interfaces import Clock
from brokers.login_pauses import REFUSED_PAUSE, UNREACHABLE_PAUSE, is_paused, pause, was_opened_just_now
from brokers.models import BrokerAccount, OrderIntent, SessionState
from brokers.simulated_person import play_person
from credentials import access, store, validation
from credentials.commands import login_command

log = logging.getLogger("brokers.sessions")

Status = SessionState.Status
MakeAdapter = Callable[[BrokerAccount, Clock], BrokerAdapter]

#: A login is a handful of calls under one deadline.
LOGIN_SECONDS = 25.0
LOGIN_CALLS = 2
#: Wall time after which a login's process is taken for dead.
LEASE = timedelta(seconds=LOGIN_SECONDS + 10)
#: How long a caller that may wait does so for another process's login, and how often it looks.
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.1
#: What names the user in a session's details.
WHO = "user_id"
USE_NOTED_EVERY = timedelta(minutes=1)


class LoginInProgress(BrokerUnavailable):
    """Another process is logging this account in now. Come again with the next turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """An account's session as this process holds it. Its repr shows no token."""

    account_id: int
    version: int
    grant: SessionGrant


#: The sessions this process has decrypted, so that a call costs two small reads and no decryption.
_opened: dict[int, tuple[store.Stamp | None, Session]] = {}


def current(account: BrokerAccount, *, clock: Clock) -> Session | None:
    """The account's session if it is valid now; makes no call to the broker.

    :raises DecryptError: the stored tokens open with no configured key.
    """
    state = SessionState.objects.filter(account_id=account.pk).first()
    return _session_in(state, account, clock) if state else None


def ensure(
    account: BrokerAccount,
    *,
    clock: Clock,
    wait: Callable[[float], None] | None = None,
    make_adapter: MakeAdapter | None = None,
) -> Session:
    """The current session, or one login for all processes.

    While another process logs in, or a pause is short, a caller with ``wait`` (it is given seconds) looks again
    and again for up to 30 s; a caller without it, such as a task, is turned away at once.

    :raises LoginFailed: the broker refused, a pause after a refusal is not over, or a person is needed.
    :raises LoginInProgress: another process is at it.
    :raises RateLimited: the account's calls are used up for now.
    :raises BrokerUnavailable: the broker could not be asked, or the pause after that is not over.
    :raises CredentialsNotFound: there are none, or they are incomplete.
    """
    give_up_at = clock.monotonic() + WAIT_SECONDS
    while True:
        # One reading of the state is judged and then compared at the lease, so that no login falls in between.
        state, _ = SessionState.objects.get_or_create(account=account)
        session = _session_in(state, account, clock)
        if session is not None:
            return session
        patience = give_up_at - clock.monotonic() if wait else 0.0
        as_it_failed = store.credential(account.broker, account.name).is_unchanged_since_login
        paused = as_it_failed and is_paused(state, clock, patience)
        if not paused and (holder := _take_lease(state, clock)):
            maker = make_adapter or _adapter_from_factory
            login = _Login(account=account, clock=clock, seen=state, holder=holder, make_adapter=maker)
            try:
                return login.run()
            except RateLimited:
                if wait is None or clock.monotonic() >= give_up_at:
                    raise
        if wait is None or clock.monotonic() >= give_up_at:
            raise LoginInProgress(f"Another process is logging in account {account}; try again in a few seconds.")
        wait(LOOK_SECONDS)


def renew(account: BrokerAccount, *, beyond: int, clock: Clock, make_adapter: MakeAdapter | None = None) -> Session:
    """A session of a later version than ``beyond``: a fresh login, while the present session stays in use.

    A login that fails takes nothing away; the next one waits, as after any that failed.

    :raises LoginInProgress: another process is at it.
    :raises BrokerError: there is no fresh session now; the message says why.
    """
    state, _ = SessionState.objects.get_or_create(account=account)
    session = _session_in(state, account, clock)
    if session is None:
        return ensure(account, clock=clock, make_adapter=make_adapter)
    if session.version > beyond:
        return session
    is_paused(state, clock, 0.0)
    holder = _take_lease(state, clock, meanwhile=Status.VALID)
    if not holder:
        raise LoginInProgress(f"Another process is logging in account {account}; try again in a few seconds.")
    maker = make_adapter or _adapter_from_factory
    login = _Login(account=account, clock=clock, seen=state, holder=holder, make_adapter=maker, keeps_session=True)
    return login.run()


def note_use(account: BrokerAccount, now: datetime) -> None:
    """Say that a process has used the session that it holds."""
    SessionState.objects.filter(account_id=account.pk).update(last_used_at=now)


def report_expired(account: BrokerAccount, version: int, *, clock: Clock) -> None:
    """The broker did not accept the session of this version. An older version changes nothing."""
    rows = SessionState.objects.filter(account_id=account.pk, version=version, status=Status.VALID)
    state = rows.first()
    if state is None:
        return
    now = clock.now()
    failures = state.failures + 1 if was_opened_just_now(state, clock) else 0
    retry_at = now + pause(UNREACHABLE_PAUSE, failures - 1) if failures > 1 else None
    message = f"The broker no longer accepts the session of account {account}."
    if rows.update(status=Status.EXPIRED, expires_at=now, message=message, failures=failures, retry_at=retry_at):
        log.warning("session expired", extra={"account": str(account), "version": version})


def end(account: BrokerAccount, *, clock: Clock) -> None:
    """End the session for everybody; the next use logs in."""
    with transaction.atomic():
        SessionState.objects.filter(account_id=account.pk).update(
            status=Status.NONE, expires_at=clock.now(), message="", failures=0, retry_at=None, details={}
        )
        store.clear_session(account.broker, account.name)
    _opened.pop(account.pk, None)


def try_again(account: BrokerAccount) -> None:
    """Forget the pause after a failed login, because a person says that the cause is gone."""
    SessionState.objects.filter(account_id=account.pk, status__in=[Status.FAILED, Status.NEEDS_PERSON]).update(
        status=Status.NONE, failures=0, retry_at=None, message=""
    )
    SessionState.objects.filter(account_id=account.pk).update(retry_at=None)


@sensitive_variables("token")
def give_token(account: BrokerAccount, token: str) -> None:
    """Take the token that a person brings back from the broker's login page; the next use logs in with it.

    ``token`` may also be the whole address that the page ended at.

    :raises CredentialsNotFound: the account has no credentials.
    :raises ValidationError: there is no token in it, it holds control characters or is too long.
    """
    row = store.credential(account.broker, account.name)
    row.session_token = validation.token_in(token)
    row.sid = ""
    row.save(update_fields=["session_token", "sid"])
    try_again(account)


def _session_in(state: SessionState, account: BrokerAccount, clock: Clock) -> Session | None:
    """The session of this state if it is valid now."""
    if state.status != Status.VALID or state.expires_at is None or state.expires_at <= clock.now():
        return None
    stamp = store.stamp(account.broker, account.name)
    known = _opened.get(account.pk)
    if known and known[0] == stamp and known[1].version == state.version:
        session = known[1]
    else:
        row = store.find(account.broker, account.name)
        if row is None or row.sealed("session_token") is None or not row.is_unchanged_since_login:
            return None
        token, sid = store.open_session(row, purpose=f"session {state.version}")
        grant = SessionGrant(session_token=token, sid=sid, details=state.details, expires_at=state.expires_at)
        session = Session(account_id=account.pk, version=state.version, grant=grant)
        _opened[account.pk] = (stamp, session)
    _note_use(state, account, clock)
    return session


def _let_go_what_waited(account: BrokerAccount, now: datetime) -> None:
    """Orders that were put off and say why are due now; the next turn of the sweeper rings for them."""
    waiting = OrderIntent.objects.filter(account_id=account.pk, state=IntentState.READY, not_before__gt=now)
    waiting.exclude(waiting_reason="").update(not_before=now)


def _note_use(state: SessionState, account: BrokerAccount, clock: Clock) -> None:
    now = clock.now()
    if state.last_used_at is None or abs(now - state.last_used_at) >= USE_NOTED_EVERY:
        note_use(account, now)


def _take_lease(state: SessionState, clock: Clock, *, meanwhile: str = Status.LOGGING_IN) -> str:
    """Become the one who logs in; returns the lease's name, or "" when somebody else is at it."""
    holder = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(6)}"
    now = clock.real_now()
    # version and failures are part of the comparison: whoever logged in or failed since `state` was read has
    # changed one of them, and this caller must look at the result first.
    won = (
        SessionState.objects.filter(pk=state.pk, version=state.version, failures=state.failures)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))
        .update(lease_holder=holder, lease_until=now + LEASE, status=meanwhile, message="")
    )
    return holder if won else ""


@dataclass(kw_only=True)
class _Login:
    """One login by the holder of the lease."""

    account: BrokerAccount
    clock: Clock
    #: The session's state before this login.
    seen: SessionState
    holder: str
    make_adapter: MakeAdapter
    #: ``updated_at`` of the credential as this login read it.
    used_at: datetime | None = None
    #: The present session stays in use until there is a new one, and after a failure too.
    keeps_session: bool = False

    def run(self) -> Session:
        self._count_calls()
        try:
            grant = self._open_session()
            if grant.expires_at <= self.clock.now():
                raise BrokerUnavailable(
                    f"{self.account}: the broker opened a session that had already ended at "
                    f"{grant.expires_at.astimezone(IST):%Y-%m-%d %H:%M} IST; check this machine's clock."
                )
            self._see_who_it_is(grant)
        except PersonNeeded as error:
            # The address carries the account's key, so it goes to the person only, never into a row or a log.
            hidden = f"the page that `{login_command(self.account.broker, self.account.name)}` names"
            shown = PersonNeeded(
                error.message.replace(error.login_url, hidden), login_url=error.login_url, reason=error.reason
            )
            self._settle_failure(Status.NEEDS_PERSON, shown, REFUSED_PAUSE)
            raise shown from None
        except LoginFailed as error:
            needs_person = not spec_of(self.account.broker).capabilities.unattended_login
            self._settle_failure(Status.NEEDS_PERSON if needs_person else Status.FAILED, error, REFUSED_PAUSE)
            raise
        except BrokerError as error:
            self._settle_failure(Status.EXPIRED, error, UNREACHABLE_PAUSE)
            if isinstance(error, BrokerUnavailable):
                raise
            raise BrokerUnavailable(f"Account {self.account} could not log in: {error.message}") from error
        except BaseException as error:
            if isinstance(error, Exception):
                # A fault of our own must not become a login at every poll.
                cause = f"The login of account {self.account} failed with {type(error).__name__}."
                self._settle_failure(Status.EXPIRED, BrokerUnavailable(cause), UNREACHABLE_PAUSE)
            else:
                status = Status.VALID if self.keeps_session else Status.EXPIRED
                self._leave(status=status, message="The login was interrupted.")
            raise
        return self._settle_success(grant)

    def _see_who_it_is(self, grant: SessionGrant) -> None:
        before, now = self.seen.details.get(WHO), grant.details.get(WHO)
        if before and now and before != now:
            raise LoginFailed(
                f"The login of account {self.account} is another person's at the broker than before. Log in as the "
                "account's owner; if the account changed hands, end its session first."
            )

    def _open_session(self) -> SessionGrant:
        try:
            return self._ask_broker()
        except PersonNeeded as error:
            token = play_person(self.account, error.login_url)
            if not token:
                raise
        row = store.credential(self.account.broker, self.account.name)
        row.session_token = token
        row.save(update_fields=["session_token"])
        return self._ask_broker()

    def _ask_broker(self) -> SessionGrant:
        self.used_at = store.credential(self.account.broker, self.account.name).updated_at
        adapter = self.make_adapter(self.account, self.clock)
        try:
            with adapter.context.wire.call(total_seconds=LOGIN_SECONDS) as trace:
                grant = adapter.open_session()
            trace.raise_interruption()
            return grant
        finally:
            adapter.close()

    def _count_calls(self) -> None:
        """A login's requests are calls as well; orders wait for it, so they may use what is kept for orders.

        All of them are counted before the first: a login that stops half-way has used up its one-time password.

        :raises RateLimited: there is no room for them now; nothing was sent.
        """
        try:
            limits.count_for_order(self.account, self.clock.now(), calls=LOGIN_CALLS)
        except RateLimited as error:
            # Nothing was asked of the broker, so nothing failed there.
            self._leave(status=Status.VALID if self.keeps_session else Status.EXPIRED, message=error.message)
            raise

    def _settle_success(self, grant: SessionGrant) -> Session:
        now = self.clock.now()
        with transaction.atomic():
            kept = self._leave(
                status=Status.VALID,
                version=F("version") + 1,
                details=dict(grant.details),
                opened_at=now,
                # The exchanges have every session of an API ended before the next trading day, whatever a token says.
                expires_at=min(grant.expires_at, end_of_day(now)),
                failures=self.seen.failures if was_opened_just_now(self.seen, self.clock) else 0,
                retry_at=None,
            )
            if kept and self.used_at:
                store.save_session(self.account.broker, self.account.name, grant, login_used_at=self.used_at)
            if kept:
                session_alerts.note_second_login(self.account, self.seen, at=now)
                session_alerts.take_back(self.account, at=now)
        session = current(self.account, clock=self.clock)
        if session is None:
            raise LoginInProgress(
                f"The login of account {self.account} took too long, or its credentials were changed meanwhile; try again."
            )
        _let_go_what_waited(self.account, self.clock.now())
        log.info("session opened", extra={"account": str(self.account), "version": session.version})
        return session

    def _settle_failure(self, status: str, error: BrokerError, ladder: tuple[timedelta, timedelta]) -> None:
        if self.keeps_session:
            status = Status.VALID
        failures = self.seen.failures + 1
        retry_at = self.clock.now() + pause(ladder, failures)
        with transaction.atomic():
            kept = self._leave(
                status=status,
                message=error.message[:500],
                failures=failures,
                retry_at=None if status == Status.NEEDS_PERSON else retry_at,
            )
            if kept and self.used_at:
                store.note_login(self.account.broker, self.account.name, login_used_at=self.used_at)
            # What may pass by itself is told of when it is still there at beat's next look; who logs in by hand knows.
            if kept and status in (Status.FAILED, Status.NEEDS_PERSON) and not access.is_by_hand():
                session_alerts.tell(self.account, error.message, at=self.clock.now())
        log.warning("login failed", extra={"account": str(self.account), "status": str(status), "failures": failures})

    def _leave(self, **changes: object) -> bool:
        """Write the outcome and give the lease back; False when the lease was lost meanwhile."""
        rows = SessionState.objects.filter(account_id=self.account.pk, lease_holder=self.holder)
        return bool(rows.update(**changes, lease_holder="", lease_until=None))


def _adapter_from_factory(account: BrokerAccount, clock: Clock) -> BrokerAdapter:
    from brokers.factory import make_adapter

    return make_adapter(account, clock=clock)
