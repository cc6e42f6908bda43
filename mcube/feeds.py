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
from collections.abc import Callable
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
                wanted = [str(account) for account in accounts_with_feeds()]
                client.set(WATCHED_KEY, os.getpid(), ex=WATCHED_SECONDS)
                _adjust(children, wanted)
            except DatabaseError as error:
                log.warning("The accounts with live feeds cannot be read (%s).", type(error).__name__)
            except redis.RedisError as error:
                log.warning("Nobody is told that live feeds are watched (%s).", type(error).__name__)
            close_old_connections()
            ended.wait(LOOK_SECONDS)
    finally:
        for child in children.values():
            child.handle.terminate()
        for child in children.values():
            _end(child)
        client.close()


def _adjust(children: dict[str, _Child], wanted: list[str]) -> None:
    now = time.monotonic()
    for account in [account for account in children if account not in wanted]:
        child = children.pop(account)
        child.handle.terminate()
        _end(child)
    for account in wanted:
        found = children.get(account)
        if found is None:
            children[account] = _Child(handle=_start(account), started=now)
        elif found.handle.poll() is not None and now - found.started >= found.backoff:
            log.warning("The process of the live feed of %s ended (%s).", account, found.handle.returncode)
            lasted = now - found.started >= LAST_BACKOFF
            backoff = FIRST_BACKOFF if lasted else min(2 * found.backoff, LAST_BACKOFF)
            children[account] = _Child(handle=_start(account), started=now, backoff=backoff)


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
    next_look = 0.0
    # A tick makes dozens of short-lived objects and no cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    try:
        while not ended() and os.getppid() == parent:
            try:
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + LOOK_SECONDS
                    close_old_connections()
                    keeper.look()
                keeper.pump()
            except DatabaseError as error:
                log.warning("The live feed of %s goes on without the database (%s).", account, type(error).__name__)
            except redis.RedisError as error:
                log.warning("Ticks of %s are lost, since Redis does not answer (%s).", account, type(error).__name__)
            time.sleep(PUMP_SECONDS)
    finally:
        keeper.close()


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
