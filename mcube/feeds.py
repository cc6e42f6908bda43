"""The processes of the live feeds: one that watches, and one for each account, which it starts and ends.

Sockets and threads have no place in a worker that forks, so every account's feed has a process of its own.
"""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Container
from dataclasses import dataclass

import redis
from django.db import DatabaseError, close_old_connections
from kombu.exceptions import OperationalError

from brokers.clock import configured_clock
from brokers.discovery import specs
from brokers.domain.capabilities import Operation
from brokers.factory import find_account, make_adapter
from brokers.feeds.keeping import FeedKeeper
from brokers.feeds.ticks import store
from brokers.models import BrokerAccount
from mcube import processes

log = logging.getLogger("mcube.feeds")

WATCHED_KEY = "mcube:feeds"
WATCHED_SECONDS = 15
LOOK_SECONDS, PUMP_SECONDS = 1.0, 0.05
#: Seconds before a process that ended is started again: doubled each time, from the first to the last.
FIRST_BACKOFF, LAST_BACKOFF = 1.0, 30.0
STOP_SECONDS = 8.0
#: A process whose feed shows no sign of life for so long hangs, and another takes its place. Long enough for a slow start.
HUNG_SECONDS = 60.0
#: Objects made before the garbage collector looks for cycles, and how often it looks at older ones.
GARBAGE = (50_000, 20, 50)
#: A read after an order event is of no use later: the schedule's comes.
READ_EXPIRES_SECONDS = 30
_FEEDS = frozenset({Operation.LIVE_FEED, Operation.ORDER_FEED})


@dataclass(kw_only=True)
class _Child:
    handle: subprocess.Popen[bytes]
    started: float
    backoff: float = FIRST_BACKOFF
    #: Since when its feed has shown no sign of life; None while it does, or nobody could look.
    silent_since: float | None = None


def accounts_with_feeds() -> list[BrokerAccount]:
    """Active accounts whose broker offers a feed."""
    offering = [name for name, spec in specs().items() if spec.capabilities.operations & _FEEDS]
    return list(BrokerAccount.objects.filter(is_active=True, broker__in=offering).order_by("broker", "name"))


def is_watched(redis_url: str) -> bool:
    """Whether a watching process gave a sign of life just now.

    :raises redis.RedisError: Redis cannot be asked.
    """
    with redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1) as client:
        return bool(client.exists(WATCHED_KEY))


def watch(ended: threading.Event, *, redis_url: str) -> None:
    """Keep one process running for each account that has a feed, until ``ended``."""
    children: dict[str, _Child] = {}
    client = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1)
    try:
        while not ended.is_set():
            try:
                accounts = accounts_with_feeds()
                client.set(WATCHED_KEY, os.getpid(), ex=WATCHED_SECONDS)
                lives = store().lives(accounts)
                alive = {str(account) for account in accounts if account.pk in lives}
                _adjust(children, [str(account) for account in accounts], alive, now=time.monotonic())
            except DatabaseError as error:
                log.warning("The accounts with live feeds cannot be read (%s).", type(error).__name__)
                _judge_anew(children)
            except redis.RedisError as error:
                log.warning("Nobody is told that live feeds are watched (%s).", type(error).__name__)
                _judge_anew(children)
            close_old_connections()
            ended.wait(LOOK_SECONDS)
    finally:
        for child in children.values():
            child.handle.terminate()
        for child in children.values():
            _end(child)
        client.close()


def _adjust(children: dict[str, _Child], wanted: list[str], alive: Container[str], *, now: float) -> None:
    """Start what is missing, end what is wanted no more, and kill what hangs: it is started again like what ended."""
    for account in [account for account in children if account not in wanted]:
        child = children.pop(account)
        child.handle.terminate()
        _end(child)
    for account in wanted:
        found = children.get(account)
        if found is None:
            children[account] = _Child(handle=_start(account), started=now)
        elif found.handle.poll() is None:
            _judge(account, found, account in alive, now)
        elif now - found.started >= found.backoff:
            log.warning("The process of the live feed of %s ended (%s).", account, found.handle.returncode)
            lasted = now - found.started >= LAST_BACKOFF
            backoff = FIRST_BACKOFF if lasted else min(2 * found.backoff, LAST_BACKOFF)
            children[account] = _Child(handle=_start(account), started=now, backoff=backoff)


def _judge(account: str, child: _Child, is_alive: bool, now: float) -> None:
    """Kill a process that hangs, as one on a database that never answers does. It may be stopped, and hear nothing else."""
    if is_alive:
        child.silent_since = None
    elif child.silent_since is None:
        child.silent_since = now
    elif now - child.silent_since >= HUNG_SECONDS:
        log.warning("The process of the live feed of %s hangs and is killed.", account)
        child.handle.kill()


def _judge_anew(children: dict[str, _Child]) -> None:
    """Hold no silence against a process that could not be heard, or could not speak, for want of the database or Redis."""
    for child in children.values():
        child.silent_since = None


def _start(account: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(processes.feeds(account), stdin=subprocess.DEVNULL)


def _end(child: _Child) -> None:
    try:
        child.handle.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.handle.kill()
        child.handle.wait()


def keep(name: str, ended: Callable[[], bool]) -> None:
    """Keep one account's feed, until ``ended`` or the process that started this one is gone.

    :raises AccountNotFound: there is no account ``broker/name``.
    """
    broker, _, account_name = name.partition("/")
    account, parent, clock = find_account(broker, account_name), os.getppid(), configured_clock()
    keeper = FeedKeeper(
        account,
        clock=clock,
        store=store(),
        make_adapter=lambda row: make_adapter(row, clock=clock),
        ask_for_read=ask_for_read,
    )
    # A tick makes dozens of short-lived objects and no cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    try:
        run(keeper, name, lambda: ended() or os.getppid() != parent)
    finally:
        keeper.close()


def run(
    keeper: FeedKeeper,
    name: str,
    ended: Callable[[], bool],
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look and pump until ``ended``; ticks are written whatever a look ran into."""

    def look() -> None:
        close_old_connections()
        keeper.look()

    next_look = 0.0
    while not ended():
        if monotonic() >= next_look:
            _try(look, name)
            # From its end on: without a database each takes seconds, and ticks come in between.
            next_look = monotonic() + LOOK_SECONDS
        _try(keeper.pump, name)
        sleep(PUMP_SECONDS)


def _try(step: Callable[[], None], name: str) -> None:
    try:
        step()
    except DatabaseError as error:
        log.warning("The live feed of %s goes on without the database (%s).", name, type(error).__name__)
    except redis.RedisError as error:
        log.warning("Ticks of %s are lost, since Redis does not answer (%s).", name, type(error).__name__)


def ask_for_read(account: BrokerAccount) -> bool:
    """Enqueue a read of the account's order book; False when the queue does not answer."""
    from tasks.orders import sync_orders

    try:
        sync_orders.apply_async(
            kwargs={"broker": account.broker, "account": account.name}, expires=READ_EXPIRES_SECONDS, retry=False
        )
    except (OperationalError, redis.RedisError):
        return False
    return True
