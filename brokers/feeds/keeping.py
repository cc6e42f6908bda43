"""Keeps one account's feed whole: builds it for the session of now and what is wanted, and anew when it ends or stalls.

It never logs in. Without a session there is no feed, and another session means another feed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import date, datetime

import redis
from django.db import DatabaseError
from redis.exceptions import LockError

from brokers import instruments, sessions
from brokers.adapter_interface import BrokerAdapter
from brokers.alerts import close_alert, raise_alert
from brokers.calendar import MarketCalendar, ShareClass
from brokers.clock import trading_day
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.domain.instruments import Instrument
from brokers.feed_interface import BrokerFeed
from brokers.feeds import subscriptions
from brokers.feeds.intake import Intake
from brokers.feeds.life import FeedLife, State
from brokers.feeds.pace import ReadPace
from brokers.feeds.subscriptions import Key
from brokers.feeds.ticks import TickStore
from brokers.interfaces import Clock
from brokers.models import BrokerAccount, Severity

log = logging.getLogger("brokers.feeds")

#: Without a tick for so long, while an exchange of a subscribed instrument is open, the feed is taken for dead. After one
#: that did not help the next is waited for twice as long, up to the second number.
STALL_SECONDS, LONGEST_STALL_SECONDS = 15.0, 240.0
#: A feed that is not up after this long is given up.
CONNECT_SECONDS = 30.0
#: Between the end of a feed and the next: doubled each time, from the first to the last.
FIRST_PAUSE, LAST_PAUSE = 0.5, 3.0
REFUSED_FIRST_PAUSE, REFUSED_LAST_PAUSE = 5.0, 60.0
#: A feed that was up this long begins the pauses anew; one that is accepted and closed at once does not. Likewise ticks
#: that came for so long without a gap begin the waiting for a stall anew.
STEADY_SECONDS = 30.0
#: What today's instruments do not have is looked for again this often.
UNKNOWN_EVERY_SECONDS = 30.0
REFUSED = "feed_refused"


class FeedKeeper:
    """One account's feed in the process that keeps it. Not for several threads."""

    def __init__(
        self,
        account: BrokerAccount,
        *,
        clock: Clock,
        store: TickStore,
        make_adapter: Callable[[BrokerAccount], BrokerAdapter],
        ask_for_read: Callable[[BrokerAccount], bool],
    ) -> None:
        """``ask_for_read`` has the account's book read soon; False when it could not be asked."""
        self._account = account
        self._clock = clock
        self._store = store
        self._make_adapter = make_adapter
        self._ask_for_read = ask_for_read
        self._lease = store.lease(account)
        self._has_lease = False
        self._calendar = MarketCalendar(clock)
        self._adapter: BrokerAdapter | None = None
        self._feed: BrokerFeed | None = None
        self._intake = Intake()
        self._version = 0
        self._carried: dict[Key, Instrument] = {}
        #: Those of them whose depth is carried as well.
        self._deep: set[Key] = set()
        self._day: date | None = None
        #: Of the instruments that they were resolved by.
        self._edition: int | None = None
        self._unknown: set[Key] = set()
        self._unknown_until = 0.0
        self._began = self._last_news = self._retry_at = 0.0
        self._came_before = self._failures = 0
        self._stall_seconds = STALL_SECONDS
        #: When the newest tick came, and since when they have come without a gap.
        self._last_tick = self._ticking_since = -math.inf
        self._read_waits, self._pace = False, ReadPace(account, clock)
        self._words = "not started"
        #: Instruments that have ticked since the feed began, and when the newest tick came.
        self._heard: set[tuple[str, str]] = set()
        self._last_at: datetime | None = None
        self._life: FeedLife | None = None
        self._since, self._told_at = clock.now(), 0.0

    def look(self) -> None:
        """Hold session, wishes and feed against one another, and mend what differs. About once a second.

        :raises redis.RedisError: Redis does not answer; nothing was changed.
        :raises DatabaseError: the database does not answer; the feed goes on, and shows that it does.
        """
        if not self._holds_lease():
            self._drop("another process keeps this account's feed")
            return
        try:
            self._mend()
        except DatabaseError:
            self._tell(should_tick=False)
            raise
        self._tell(should_tick=self._should_tick())

    def pump(self) -> None:
        """Write what came, and have the book read after order events. Many times a second.

        :raises redis.RedisError: Redis does not answer; these ticks are lost, newer ones come.
        """
        now = self._clock.monotonic()
        self._read_waits |= self._intake.take_order()
        if self._read_waits and self._pace.may_read(now) and self._ask_for_read(self._account):
            self._read_waits = False
            self._pace.note_read(now)
        news, newest = self._intake.take()
        if news:
            self._last_news = now
            self._note_steadiness(now)
            self._last_at = news[-1].as_of
            self._heard.update((each.exchange, each.symbol) for each in newest)
            self._store.write(self._account, news, newest)

    def close(self) -> None:
        """End the feed and let another process take over at once."""
        self._drop("the process ends")
        if self._has_lease:
            try:
                self._lease.release()
            except (redis.RedisError, LockError):
                log.info("the lease of a feed is left to run out", extra={"account": str(self._account)})

    # Inside

    def _holds_lease(self) -> bool:
        if self._has_lease:
            try:
                self._lease.reacquire()
            except LockError:
                self._has_lease = False
        if not self._has_lease:
            self._has_lease = bool(self._lease.acquire(blocking=False))
        return self._has_lease

    def _mend(self) -> None:
        self._pace.look()
        session = sessions.current(self._account, clock=self._clock)
        now = self._clock.monotonic()
        if self._feed is not None and (why := self._why_not(session, now)):
            self._drop(why)
        if self._feed is None and session is not None and now >= self._retry_at:
            self._build(session, now)
        if self._feed is not None:
            self._follow_wishes(self._feed, now)
        elif session is None:
            self._words = "the account has no session"

    def _why_not(self, session: sessions.Session | None, now: float) -> str:
        """Why the feed that there is must go; empty when it may stay. Says when the next may come."""
        if session is None:
            return "the account has no session"
        if session.version != self._version:
            return "the account has a new session"
        if self._intake.ending:
            self._pause(now, refused=self._intake.was_refused)
            return self._intake.ending
        if not self._intake.is_up:
            if now - self._began < CONNECT_SECONDS:
                return ""
            self._pause(now, refused=False)
            return f"the feed did not come up in {CONNECT_SECONDS:.0f} s"
        close_alert(REFUSED, str(self._account.pk), because="the feed is up", at=self._clock.now())
        if now - max(self._last_news, self._began) < self._stall_seconds or not self._should_tick():
            return ""
        silent = self._stall_seconds
        self._stall_seconds = min(2 * silent, LONGEST_STALL_SECONDS)
        return f"no tick came for {silent:.0f} s while the market is open"

    def _note_steadiness(self, now: float) -> None:
        """Forget that a silence was no stall once ticks come without one: an instrument that seldom trades has gaps."""
        if now - self._last_tick >= STALL_SECONDS:
            self._ticking_since = now
        self._last_tick = now
        if now - self._ticking_since >= STEADY_SECONDS:
            self._stall_seconds = STALL_SECONDS

    def _should_tick(self) -> bool:
        """In the closing auction of the others nothing says which shares still trade."""
        exchanges = {exchange for exchange, _ in self._carried}
        return any(self._calendar.is_open(each, share_class=ShareClass.DERIVATIVES) for each in exchanges)

    def _pause(self, now: float, *, refused: bool) -> None:
        if self._intake.is_up and now - self._began >= STEADY_SECONDS:
            self._failures = 0
        first, last = (REFUSED_FIRST_PAUSE, REFUSED_LAST_PAUSE) if refused else (FIRST_PAUSE, LAST_PAUSE)
        self._retry_at = now + min(first * 2 ** min(self._failures, 10), last)
        self._failures += 1
        if refused:
            raise_alert(
                REFUSED,
                str(self._account.pk),
                severity=Severity.WARNING,
                happened=f"The live feed of {self._account} was refused: {self._intake.ending}",
                meaning="Quotes cost a call each, and orders are followed by the schedule alone.",
                to_do="Nothing yet, it is tried again; if it stays, log the account in anew.",
                at=self._clock.now(),
                account=self._account,
            )

    def _build(self, session: sessions.Session, now: float) -> None:
        try:
            self._adapter = self._make_adapter(self._account)
            feed = self._adapter.make_feed(session.grant)
        except (BrokerError, CredentialsNotFound, SDKMissing) as error:
            self._words = str(error)
            self._pause(now, refused=False)
            return
        self._came_before += self._intake.came
        self._intake, self._version = Intake(), session.version
        self._began, self._feed, self._words = now, feed, "connecting"
        feed.start(self._intake)

    def _drop(self, why: str) -> None:
        self._words = why
        feed, self._feed = self._feed, None
        self._carried.clear()
        self._deep.clear()
        self._heard.clear()
        if feed is not None:
            log.warning("The live feed of %s ends: %s.", self._account, why.rstrip("."))
            feed.stop()
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()

    def _follow_wishes(self, feed: BrokerFeed, now: float) -> None:
        wanted = subscriptions.wanted(self._account)
        outdated = self._outdated(now)
        gone = [key for key in self._carried if key not in wanted or key in outdated]
        if gone:
            feed.unsubscribe([self._carried.pop(key) for key in gone])
            self._deep.difference_update(gone)
            self._heard.difference_update(gone)
        new = self._resolved({key for key in wanted if key not in self._carried}, now)
        if new:
            self._carried |= new
            # The first tick of a new one is waited for from now on.
            self._last_news = max(self._last_news, now)
        deep = {key for key in self._carried if wanted[key]}
        changed = new.keys() | (deep ^ self._deep)
        for depth in (False, True):
            if some := [self._carried[key] for key in changed if (key in deep) is depth]:
                feed.subscribe(some, depth=depth)
        self._deep = deep

    def _outdated(self, now: float) -> set[Key]:
        """Those carried that a new edition calls otherwise, or does not have: their tokens may be another's by now."""
        edition = instruments.lookup().edition
        if edition is None or edition == self._edition:
            return set()
        # What the edition before did not have may be in this one.
        self._unknown_until = -math.inf
        found = self._resolved(set(self._carried), now)
        self._edition = edition
        broker = self._account.broker
        return {
            key
            for key, known in self._carried.items()
            if key not in found or found[key].identifiers.get(broker) != known.identifiers.get(broker)
        }

    def _resolved(self, keys: set[Key], now: float) -> dict[Key, Instrument]:
        """Today's instruments. Those that are none, e.g. expired ones, are passed over and looked for again later."""
        day = trading_day(self._clock.now())
        if day != self._day:
            subscriptions.forget_expired(self._account, day)
        if day != self._day or now >= self._unknown_until:
            self._day, self._unknown, self._unknown_until = day, set(), now + UNKNOWN_EVERY_SECONDS
        lookup, found = instruments.lookup(), {}
        for exchange, symbol in keys - self._unknown:
            try:
                instrument = lookup.resolve(symbol, exchange)
                if self._adapter is not None:
                    self._adapter.check_feed(instrument)
                found[exchange, symbol] = instrument
            except BrokerError:
                self._unknown.add((exchange, symbol))
        return found

    def _tell(self, *, should_tick: bool) -> None:
        now = self._clock.monotonic()
        # One that ended is still there while the database does not say what may follow it.
        ending = self._intake.ending if self._feed is not None else ""
        at, is_up = self._clock.now(), self._feed is not None and self._intake.is_up and not ending
        state = State.UP if is_up else State.DOWN
        if self._life is None or self._life.state is not state:
            self._since = at
        ticks = self._came_before + self._intake.came
        seconds, before = now - self._told_at, self._life.ticks if self._life else 0
        self._told_at = now
        self._life = FeedLife(
            state=state,
            words="" if is_up else ending or self._words,
            since=self._since,
            instruments=len(self._carried),
            heard=len(self._heard & self._carried.keys()),
            depths=len(self._deep),
            unknown=len(self._unknown),
            ticks=ticks,
            per_second=round((ticks - before) / seconds, 1) if seconds > 0 else 0.0,
            dropped=self._intake.dropped,
            last_at=self._last_at,
            silent_seconds=round(now - max(self._last_news, self._began), 1) if is_up and should_tick else 0.0,
            at=at,
        )
        self._store.tell(self._account, self._life)
