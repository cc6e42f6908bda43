"""The live feeds: whether each account's is up, and brings what is wished of it."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from brokers.admin.display import span
from brokers.clock import IST, configured_clock
from brokers.domain.redaction import scrub
from brokers.feeds import subscriptions
from brokers.feeds.keeping import STALL_SECONDS
from brokers.feeds.life import FeedLife
from brokers.feeds.ticks import store
from brokers.models import BrokerAccount
from mcube.diagnosis import Finding, fail, ok, warn
from mcube.feeds import accounts_with_feeds

NAME = "live feeds"
LOGS = "Look into the log of run_feeds; docs/live-feeds.md says how a feed stands by itself."


def live_feeds() -> Iterator[Finding]:
    accounts = accounts_with_feeds()
    if not accounts:
        return
    try:
        lives = store().lives(accounts)
    except redis.RedisError:
        yield fail(NAME, "cannot be asked, since Redis does not answer", "See the line about Redis.")
        return
    for account in accounts:
        yield _feed(account, lives.get(account.pk), len(subscriptions.wanted(account)))


def _feed(account: BrokerAccount, life: FeedLife | None, wished: int) -> Finding:
    # Without a wish only the hints about orders are missing, and the schedule reads the book.
    say = fail if wished else warn
    if life is None:
        return say(NAME, f"{account}: no process keeps it", "Run `make up`, or `python manage.py run_feeds`.")
    since = f"{life.since.astimezone(IST):%d %b %H:%M:%S} IST"
    if not life.is_up:
        remedy = f"It is built anew by itself, once the account has a session. If it stays: {LOGS}"
        return say(NAME, f"{account}: down since {since}: {scrub(life.words).rstrip('.')}", remedy)
    if life.silent_seconds >= STALL_SECONDS and life.instruments:
        return say(
            NAME,
            f"{account}: no tick for {life.silent_seconds:.0f} s while the market is open",
            f"It is built anew by itself. If it stays, log the account in anew. {LOGS}",
        )
    told = f"{account}: up since {since}, {_carried(life)}"
    if life.unknown:
        return warn(
            NAME,
            f"{told}; {life.unknown} are wished for that today's instruments do not have",
            "Unsubscribe what is traded no more, and see the line about instruments.",
        )
    if life.dropped:
        return warn(
            NAME,
            f"{told}; {life.dropped:,} were too fast for their streams, the newest of each instrument was kept",
            "Subscribe to fewer instruments, or give the process of the feed more of a core.",
        )
    return ok(NAME, told)


def _carried(life: FeedLife) -> str:
    if not life.instruments:
        return "nothing is subscribed to"
    last = f", the last {span(configured_clock().now() - life.last_at)} ago" if life.last_at else ""
    return f"{life.heard} of {life.instruments} instruments have ticked, {life.per_second:.0f} ticks/s{last}"
