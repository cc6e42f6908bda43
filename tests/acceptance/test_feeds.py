"""Live feeds as they run: `manage.py run_feeds` beside a simulator, from a subscription to ticks, through a cut and a kill."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psutil
import pytest
import redis

from brokers.discovery import specs
from mcube import processes
from tests.support.processes import wait_for
from tests.support.stack import Stack, running_stack

BROKER, ACCOUNT = "kotakneo", "kotakneo/default"
LIFE = f"mcube:feed:{ACCOUNT}"
STREAM = f"mcube:ticks:{ACCOUNT}:NSE:RELIANCE"
SUBSCRIBE = f"""
from brokers.factory import BrokerFactory
broker = BrokerFactory.get_broker("{BROKER}")
broker.login()
broker.subscribe_live_feed(["RELIANCE"], "NSE", subscriber="test", depth=True)
broker.subscribe_live_feed(["SBIN", "TCS", "INFY", "NIFTY"], "NSE", subscriber="test")
"""
QUOTE = f"""
from brokers.factory import BrokerFactory
broker = BrokerFactory.get_broker("{BROKER}")
depth, quote = broker.get_depth("RELIANCE", "NSE"), broker.get_quote("RELIANCE", "NSE")
print(len(depth.bids), len(depth.asks), quote.last_price)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("feeds")) as made:
        made.load_instruments(BROKER)
        made.manage("shell", "-c", SUBSCRIBE)
        made.start("feeds", processes.feeds())
        yield made


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as made:
        yield made


def ticks_after(client: redis.Redis, entry: str) -> list[Any]:
    return list(client.xrange(STREAM, min=f"({entry}"))  # type: ignore[arg-type]


def until_ticks(client: redis.Redis, *, seconds: float = 60.0) -> str:
    """Wait for a tick that comes from now on; returns its entry's id."""
    newest: Any = client.xrevrange(STREAM, count=1)
    last = newest[0][0] if newest else "0"
    return str(wait_for(lambda: ticks_after(client, last), "ticks", seconds=seconds)[-1][0])


def is_whole(client: redis.Redis) -> bool:
    """Whether the feed is up and each of its instruments has ticked since it began."""
    life: Any = client.hgetall(LIFE)
    return bool(life.get("state") == "up" and life.get("heard") == life.get("instruments") == "5")


def keeper(stack: Stack) -> psutil.Process:
    """The process of the account's feed."""
    children = psutil.Process(stack.children["feeds"].pid).children()
    return next(child for child in children if ACCOUNT in child.cmdline())


def face(stack: Stack, path: str, **body: Any) -> Any:
    return stack.control(list(specs()).index(BROKER), "POST", path, body)


def test_a_quote_and_depth_are_served_from_ticks_without_a_call(stack: Stack, client: redis.Redis) -> None:
    until_ticks(client)
    face(stack, "price", exchange="NSE", symbol="RELIANCE", price="1234.50")
    wait_for(
        lambda: "1234.5" in str(client.hget(f"mcube:ticks:{ACCOUNT}", "NSE:RELIANCE")), "the pinned price as a tick"
    )
    before = client.zcard(f"mcube:calls:{{{ACCOUNT}}}:log")
    assert stack.manage("shell", "-c", QUOTE).strip().endswith("5 5 1234.5")
    # The count of calls is of the last seconds, so it can only have become less.
    assert client.zcard(f"mcube:calls:{{{ACCOUNT}}}:log") <= before


def test_an_order_event_has_the_book_read(stack: Stack, client: redis.Redis) -> None:
    wait_for(lambda: client.hget(LIFE, "state") == "up", "the feed")
    # The read after the connection was asked for already; no worker takes it here.
    wait_for(lambda: stack.waiting(BROKER) >= 1, "a read after the connection")
    before = stack.waiting(BROKER)
    order = {"exchange": "NSE", "symbol": "RELIANCE", "side": "BUY", "quantity": 1, "price": "1230", "product": "CNC"}
    face(stack, "orders", **order)
    wait_for(lambda: stack.waiting(BROKER) > before, "a read after an order that a person typed")


def test_after_a_cut_the_feed_is_whole_again_and_no_fill_was_missed(stack: Stack, client: redis.Redis) -> None:
    until_ticks(client)
    stack.start_workers(BROKER)
    order = {"symbol": "SBIN", "action": "B", "quantity": 1, "order_type": "LMT", "exchange": "NSE", "product": "CNC"}
    limit = Decimal(face(stack, "price", exchange="NSE", symbol="SBIN")["last_price"]) - 5
    stack.do("place", broker=BROKER, client_order_id="missed", price=str(limit), **order)
    wait_for(lambda: stack.intent("missed")["state"] == "WORKING", "the order at the exchange")
    face(stack, "feeds", up=False)
    wait_for(lambda: client.hget(LIFE, "state") == "down", "the feed's end")
    # It is filled while nobody listens, and no schedule runs that would read the book.
    face(stack, "price", exchange="NSE", symbol="SBIN", price=str(limit - 1))
    wait_for(lambda: stack.truth("filled"), "the fill")
    assert stack.intent("missed")["state"] == "WORKING"
    face(stack, "feeds")
    back = time.monotonic()
    wait_for(lambda: is_whole(client), "every instrument's tick", seconds=10)
    wait_for(lambda: stack.intent("missed")["state"] == "FILLED", "the fill in the ledger", seconds=10)
    assert time.monotonic() - back < 10
    stack.children[f"worker-{BROKER}"].kill()


def test_a_killed_process_is_started_again(stack: Stack, client: redis.Redis) -> None:
    until_ticks(client)
    keeper(stack).kill()
    until_ticks(client)


def test_no_process_is_left_when_it_ends(stack: Stack, client: redis.Redis) -> None:
    until_ticks(client)
    left = keeper(stack)
    os.kill(stack.children["feeds"].pid, signal.SIGKILL)
    wait_for(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, "the end of an orphan")
