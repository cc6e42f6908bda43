"""What is served from a cache: young enough, of after the last settled order, and asked for once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers import shared_reads
from brokers.clock import IST, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import BrokerUnavailable, OrderDenied
from brokers.domain.market import Depth, Quote
from brokers.factory import BrokerFactory
from brokers.feeds.ticks import TickStore
from brokers.gateway import BrokerGateway
from brokers.ledger import book
from brokers.models import BrokerAccount, BrokerOrder
from brokers.shared_reads import get_margin_cached, get_positions_cached, get_quote_cached
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, OPEN_MARKET, SHARE, ScriptedAdapter, foreign_row, refuses

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def adapter() -> ScriptedAdapter:
    return scripted_broker.install("kotakneo")[1]


@pytest.fixture
def gateway(adapter: ScriptedAdapter) -> BrokerGateway:
    return BrokerFactory.get_broker(adapter.name)


def margins(adapter: ScriptedAdapter) -> int:
    return adapter.reads.count("margin")


def settle(account: BrokerAccount) -> None:
    """The book tells of one more order."""
    count = BrokerOrder.objects.filter(account=account).count()
    book.apply_book(account, [foreign_row(f"settled-{count}")], configured_clock().now())


def at(moment: datetime) -> None:
    clock: Any = configured_clock()
    clock.set(moment)


def test_a_margin_young_enough_costs_no_call(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    first = get_margin_cached(gateway)
    adapter.margin = Decimal(7)
    assert get_margin_cached(gateway, timeout=300) == first
    assert margins(adapter) == 1
    assert get_margin_cached(gateway, timeout=0).available == 7
    assert margins(adapter) == 2


def test_an_answer_is_given_as_old_as_the_caller_accepts_and_not_older(
    gateway: BrokerGateway, adapter: ScriptedAdapter
) -> None:
    get_margin_cached(gateway)
    at(OPEN_MARKET + timedelta(seconds=200))
    assert get_margin_cached(gateway, timeout=300).as_of < OPEN_MARKET + timedelta(seconds=100)
    assert get_margin_cached(gateway, timeout=100).as_of >= OPEN_MARKET + timedelta(seconds=200)
    assert margins(adapter) == 2


def test_an_answer_of_a_clock_that_was_set_back_is_not_served(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    get_margin_cached(gateway)
    at(OPEN_MARKET - timedelta(minutes=10))
    get_margin_cached(gateway)
    assert margins(adapter) == 2


def test_no_positions_say_when_there_were_none(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    found = get_positions_cached(gateway)
    assert found.value == []
    assert timedelta(0) <= gateway.clock.now() - found.as_of < timedelta(minutes=1)
    assert get_positions_cached(gateway) == found
    assert adapter.reads.count("positions") == 1


def test_a_failure_is_raised_and_not_kept(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    adapter.positions = BrokerUnavailable("The broker is down.")
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="down"):
            get_positions_cached(gateway)
    assert adapter.reads.count("positions") == 2
    adapter.positions = []
    assert get_positions_cached(gateway).value == []


def test_a_failure_takes_no_older_answer_away(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    kept = get_margin_cached(gateway)
    adapter.margin = BrokerUnavailable("The broker is down.")
    with pytest.raises(BrokerUnavailable):
        get_margin_cached(gateway, timeout=0)
    assert get_margin_cached(gateway) == kept


def test_quotes_are_kept_by_symbol_and_found_in_any_case(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    share = get_quote_cached(gateway, SHARE)
    adapter.price = Decimal(5)
    assert get_quote_cached(gateway, f" {SHARE.lower()} ") == share
    assert get_quote_cached(gateway, CALL).last_price == 5
    assert get_quote_cached(gateway, SHARE, "NSE").last_price == 5


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_an_age_that_is_none_is_refused(gateway: BrokerGateway, timeout: float) -> None:
    with pytest.raises(OrderDenied, match="say how old"):
        get_margin_cached(gateway, timeout=timeout)


def test_an_order_that_settles_drops_what_was_read_before(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    get_margin_cached(gateway)
    get_positions_cached(gateway)
    number = gateway.place_order(SHARE, "B", 1, "LIMIT", "100")
    get_margin_cached(gateway)
    get_positions_cached(gateway)
    assert margins(adapter) == 2
    assert adapter.reads.count("positions") == 2

    adapter.book[number] = filled = foreign_row(
        number, filled_quantity=1, pending_quantity=0, status=OrderStatus.FILLED
    )
    assert filled.status.is_terminal
    book.sync_orders(gateway.account.pk)
    get_margin_cached(gateway)
    assert margins(adapter) == 3
    book.sync_orders(gateway.account.pk)
    get_margin_cached(gateway)
    assert margins(adapter) == 3


def test_a_refused_order_and_a_strangers_drop_it_as_well(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    from brokers.domain.errors import OrderRejected

    get_margin_cached(gateway)
    adapter.script = [refuses("no margin")]
    with pytest.raises(OrderRejected):
        gateway.place_order(SHARE, "B", 1, "LIMIT", "100")
    get_margin_cached(gateway)
    assert margins(adapter) == 2

    adapter.book["900"] = foreign_row("900")
    book.sync_orders(gateway.account.pk)
    get_margin_cached(gateway)
    assert margins(adapter) == 3


def test_an_order_that_settles_while_the_broker_is_asked_drops_the_answer(
    gateway: BrokerGateway, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = adapter.fetch_margin

    def settles_meanwhile() -> Any:
        found = read()
        settle(gateway.account)
        return found

    monkeypatch.setattr(adapter, "fetch_margin", settles_meanwhile)
    get_margin_cached(gateway)
    monkeypatch.setattr(adapter, "fetch_margin", read)
    get_margin_cached(gateway)
    assert margins(adapter) == 2


def test_another_accounts_orders_drop_nothing(gateway: BrokerGateway, adapter: ScriptedAdapter) -> None:
    other = BrokerAccount.objects.create(broker=adapter.name, name="other")
    get_margin_cached(gateway)
    settle(other)
    get_margin_cached(gateway)
    assert margins(adapter) == 1


def test_without_redis_nothing_is_read(
    gateway: BrokerGateway, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(django_settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    shared_reads._flights.cache_clear()
    with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
        get_margin_cached(gateway)
    assert margins(adapter) == 0


@pytest.fixture
def fed(gateway: BrokerGateway, redis_url: str) -> Iterator[Callable[[float], None]]:
    """Ticks and depths of the account's feed, so many seconds old; their price is none of the adapter's."""
    store = TickStore(redis_url)

    def write(age: float) -> None:
        as_of = gateway.clock.now() - timedelta(seconds=age)
        tick = Quote(symbol=SHARE, exchange="NSE", last_price=Decimal(7), as_of=as_of)
        depth = Depth(symbol=SHARE, exchange="NSE", bids=(), asks=(), as_of=as_of)
        store.write(gateway.account, [tick, depth], [tick, depth])

    yield write
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter("mcube:ticks:*"), *client.scan_iter("mcube:depth:*"))


def test_a_tick_older_than_the_caller_accepts_is_not_served(
    gateway: BrokerGateway, adapter: ScriptedAdapter, fed: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Depth(symbol=SHARE, exchange="NSE", bids=(), asks=(), as_of=OPEN_MARKET)
    monkeypatch.setattr(adapter, "fetch_depth", lambda instrument: asked, raising=False)
    fed(-0.9)
    assert get_quote_cached(gateway, SHARE, timeout=5).last_price == 7
    at(OPEN_MARKET + timedelta(minutes=1))
    fed(1.5)
    assert get_quote_cached(gateway, SHARE, timeout=1).last_price == adapter.price
    not_before = gateway.clock.now() - timedelta(seconds=1)
    assert shared_reads.read(gateway, "get_depth", not_before=not_before, symbol=SHARE).value == asked
    fed(-0.9)
    assert shared_reads.read(gateway, "get_depth", not_before=not_before, symbol=SHARE).value != asked


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 400)),
        st.tuples(st.just("pass"), st.integers(1, 200)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 400)),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
@given(steps=STEPS)
def test_nothing_too_old_and_nothing_of_before_a_settlement_is_ever_served(
    gateway: BrokerGateway, adapter: ScriptedAdapter, steps: list[tuple[str, int]]
) -> None:
    """Whatever the order of events: each answer names the read it is of, and a call is made only when it is needed."""
    now = datetime(2026, 11, 23, 10, 0, tzinfo=IST)
    at(now)
    settle(gateway.account)
    read_at: dict[Decimal, datetime] = {}
    newest, settled = None, True
    for number, (step, seconds) in enumerate(steps):
        scripted_broker.give_back_calls(gateway.account)
        adapter.margin = Decimal(number + 1)
        calls = margins(adapter)
        if step == "pass":
            now += timedelta(seconds=seconds)
            at(now)
        elif step == "settle":
            settle(gateway.account)
            settled = True
        elif step == "fail":
            adapter.margin = BrokerUnavailable("The broker is down.")
            try:
                assert get_margin_cached(gateway, timeout=seconds).available == newest
            except BrokerUnavailable:
                assert margins(adapter) == calls + 1
        else:
            found = get_margin_cached(gateway, timeout=seconds)
            if margins(adapter) > calls:
                read_at[found.available] = now
                newest, settled = found.available, False
            assert found.available == newest
            assert not settled
            # The clock runs on by itself while a test computes.
            assert now - read_at[found.available] <= timedelta(seconds=seconds + 5)


@pytest.mark.parametrize("broker", list(specs()))
def test_a_hundred_that_ask_for_one_quote_at_once_cost_the_broker_one_call(
    broker: str, redis_url: str, tmp_path: Path
) -> None:
    """Five processes of twenty threads, each running the task, over the real SDK; counted by the simulated broker."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")}
    environment |= {
        "MCUBE_HOME": str(tmp_path / "home"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'shared.sqlite3'}",
        "MCUBE_REDIS_URL": redis_url,
        "PYTHONPATH": str(CHECKOUT),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("shared_reads_driver.py")), broker, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["answered"] == 100, done.stderr
    assert result["prices"] == 1
    assert result["calls"] == 1
