"""How the installation stands now: what the dashboard and ``manage.py status`` show.

Every figure carries when it was taken. What cannot be asked is said, not left out. Holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import redis
from django.conf import settings
from django.db.models import Count, OuterRef, Subquery
from redis.backoff import NoBackoff
from redis.retry import Retry

from brokers import budgets, slot_watch
from brokers.budgets import DayPlan
from brokers.calendar import MarketCalendar
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import Exchange, MarketPhase, Mode
from brokers.feeds.life import FeedLife
from brokers.feeds.ticks import store
from brokers.interfaces import Clock
from brokers.ledger import queries
from brokers.models import (
    BrokerAccount,
    MarginSnapshot,
    OrderAttempt,
    OrderIntent,
    PositionSnapshot,
    SessionState,
)
from brokers.models.snapshots import Snapshot
from brokers.slot_watch import Trouble
from mcube import processes
from mcube.celery import app

#: Seconds that the queue server has to answer a page.
REDIS_PATIENCE = 0.25
#: What kombu's Redis transport puts between a queue's name and the priority in a list's key.
PRIORITY_SEPARATOR = "\x06\x16"
#: Rows of a list that a person reads; the count says how many there are.
LONGEST_LIST = 20

S = TypeVar("S", bound=Snapshot)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountView:
    """One account with what is known of it. A snapshot is None when none was ever taken."""

    account: BrokerAccount
    session: SessionState | None
    margin: MarginSnapshot | None
    positions: PositionSnapshot | None
    #: The sentence of a slot that failed after the snapshot above was taken.
    margin_failure: str
    positions_failure: str
    #: How the day's calls last; None where the broker limits no day, or Redis does not answer.
    calls: DayPlan | None
    #: How its live feed stands; None where no process keeps one, or Redis does not answer.
    feed: FeedLife | None
    #: Readings of the last hour of trading that failed or are missing.
    troubles: Sequence[Trouble]
    #: The sentence of today's record, or of the last day's, that could not be written.
    unwritten_day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    mode: Mode
    live_trading: bool
    #: The market's time.
    now: datetime
    phases: Mapping[Exchange, MarketPhase]
    #: A sentence for each exchange that counts as closed since nothing is known of today.
    unknown_days: Sequence[str]
    accounts: Sequence[AccountView]
    #: Intents of today by state.
    orders: Mapping[str, int]
    #: The oldest of what may be at the broker, and how many there are.
    unknown: Sequence[OrderIntent]
    unknown_count: int
    #: Attempts armed past every timeout.
    overdue: Sequence[OrderAttempt]
    #: Messages waiting by queue; None when the queue server does not answer.
    queues: Mapping[str, int] | None


def take(clock: Clock | None = None) -> Overview:
    """Look at everything, in a number of queries that does not grow with the number of accounts."""
    clock = clock or configured_clock()
    now = clock.now()
    calendar = MarketCalendar(clock)
    unknown, queues = queries.unknown(), queue_depths()
    # Asked once whether it answers, Redis is not waited for again.
    plans = {} if queues is None else budgets.plans(BrokerAccount.objects.all(), clock)
    lives = {} if queues is None else _lives()
    return Overview(
        mode=settings.MODE,
        live_trading=settings.LIVE_TRADING,
        now=now,
        phases={exchange: calendar.phase(exchange, now) for exchange in Exchange},
        unknown_days=[
            calendar.why_closed(each, now) for each in Exchange if not calendar.is_known(each, trading_day(now))
        ],
        accounts=_accounts(plans, lives, clock),
        orders=dict(
            OrderIntent.objects.filter(trading_day=trading_day(now))
            .values_list("state")
            .annotate(Count("pk"))
            .order_by("state")
        ),
        unknown=list(unknown[:LONGEST_LIST]),
        unknown_count=unknown.count(),
        overdue=list(queries.overdue(now)[:LONGEST_LIST]),
        queues=queues,
    )


def queue_depths() -> dict[str, int] | None:
    """Messages waiting in each queue, of every priority; None when the queue server does not answer."""
    steps = app.conf.broker_transport_options["priority_steps"]
    names = processes.queues()
    try:
        with connect() as client, client.pipeline(transaction=False) as asked:
            for name in names:
                for step in steps:
                    asked.llen(f"{name}{PRIORITY_SEPARATOR}{step}" if step else name)
            lengths = asked.execute()
    except redis.RedisError:
        return None
    return {name: sum(lengths[i * len(steps) : (i + 1) * len(steps)]) for i, name in enumerate(names)}


def connect() -> redis.Redis:
    """A client that gives up soon, for a person who waits."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=REDIS_PATIENCE,
        socket_connect_timeout=REDIS_PATIENCE,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _accounts(plans: Mapping[int, DayPlan], lives: Mapping[int, FeedLife], clock: Clock) -> list[AccountView]:
    accounts = list(BrokerAccount.objects.select_related("session").order_by("broker", "name"))
    troubles = slot_watch.of_last_hour(accounts, clock, plans)
    unwritten = {record.account_id: f"{record.day}: {record.error}" for record in slot_watch.unwritten_days(clock)}
    margins = _newest(MarginSnapshot)
    positions = _newest(PositionSnapshot)
    views = []
    for account in accounts:
        margin, margin_failure = margins.get(account.pk, (None, ""))
        held, positions_failure = positions.get(account.pk, (None, ""))
        views.append(
            AccountView(
                account=account,
                session=account.session if hasattr(account, "session") else None,
                margin=margin,
                positions=held,
                margin_failure=margin_failure,
                positions_failure=positions_failure,
                calls=plans.get(account.pk),
                feed=lives.get(account.pk),
                troubles=troubles.get(account.pk, ()),
                unwritten_day=unwritten.get(account.pk, ""),
            )
        )
    return views


def _lives() -> dict[int, FeedLife]:
    try:
        return store().lives(list(BrokerAccount.objects.all()))
    except redis.RedisError:
        return {}


def _newest(model: type[S]) -> dict[int, tuple[S | None, str]]:
    """The newest good snapshot of each account, and what a later slot failed with."""
    slots = model._default_manager.filter(account=OuterRef("pk")).order_by("-slot_at").values("pk")
    newest = BrokerAccount.objects.annotate(
        last=Subquery(slots[:1]), good=Subquery(slots.filter(status=Snapshot.Status.OK)[:1])
    ).values_list("pk", "last", "good")
    wanted = list(newest)
    rows = model._default_manager.in_bulk({pk for _, *pks in wanted for pk in pks if pk})
    found = {}
    for account_id, last, good in wanted:
        found[account_id] = (rows.get(good), rows[last].error if last and last != good else "")
    return found
