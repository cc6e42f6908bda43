"""One account's feed is kept whole: it follows wishes and sessions, mends itself, and its ticks are where they are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError

from brokers import instruments, limits, reads, sessions
from brokers.adapter_interface import SessionGrant
from brokers.clock import IST, SimulatedClock, configured_clock
from brokers.discovery import spec_of
from brokers.domain.capabilities import BASIC_OPERATIONS, Operation
from brokers.domain.enums import Exchange, InstrumentKind
from brokers.domain.errors import CredentialsNotFound, InvalidSymbol, OrderDenied, UnsupportedFeature
from brokers.domain.instruments import Instrument
from brokers.domain.market import Depth, Quote
from brokers.factory import BrokerFactory
from brokers.feed_interface import FeedState
from brokers.feeds import intake, keeping, subscriptions, ticks
from brokers.feeds.keeping import FeedKeeper
from brokers.feeds.life import FeedLife, State
from brokers.feeds.ticks import TickStore
from brokers.gateway import BrokerGateway
from brokers.models import Alert, BrokerAccount, FeedSubscription, SessionState
from mcube.diagnosis import Level
from mcube.diagnosis import feeds as diagnosed
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, OPEN_MARKET, SHARE, ScriptedAdapter
from tests.support.scripted_feed import FeedMaker, ScriptedFeed

pytestmark = pytest.mark.django_db(transaction=True)

BROKER = "kotakneo"
#: One that allows so many calls a day, and whose order book is four of them.
LIMITED, BOOK_CALLS = "breeze", 4


@dataclass
class HandClock:
    """The installation's clock, whose monotonic seconds a test moves."""

    market: SimulatedClock
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.market.now()

    real_now = now

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Bench:
    """An account, its gateway, and the keeper of its feed."""

    account: BrokerAccount
    gateway: BrokerGateway
    adapter: ScriptedAdapter
    clock: HandClock
    store: TickStore
    maker: FeedMaker = field(default_factory=FeedMaker)
    reads: list[str] = field(default_factory=list)
    queue_is_up: bool = True

    def keeper(self) -> FeedKeeper:
        return FeedKeeper(
            self.account, clock=self.clock, store=self.store, make_adapter=self.maker, ask_for_read=self.ask_for_read
        )

    def ask_for_read(self, account: BrokerAccount) -> bool:
        if self.queue_is_up:
            self.reads.append(str(account))
        return self.queue_is_up

    @property
    def feed(self) -> ScriptedFeed:
        return self.maker.feeds[-1]

    def life(self) -> FeedLife:
        return self.store.lives([self.account])[self.account.pk]

    def later(self, keeper: FeedKeeper, seconds: float) -> None:
        self.clock.seconds += seconds
        keeper.look()
        keeper.pump()

    def tick(self, symbol: str, price: str, exchange: str = "NSE") -> None:
        self.feed.tick(symbol, price, at=self.clock.now(), exchange=exchange)


@pytest.fixture
def bench(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Bench]:
    """Of :data:`BROKER`, unless a test names another."""
    forget = ticks.store.cache_clear
    broker = getattr(request, "param", BROKER)
    account, adapter = scripted_broker.install(broker)
    adapter.check_feed = lambda instrument: None  # type: ignore[method-assign]
    market = configured_clock()
    assert isinstance(market, SimulatedClock)
    yield Bench(
        account=account,
        gateway=BrokerFactory.get_broker(broker),
        adapter=adapter,
        clock=HandClock(market),
        store=TickStore(redis_url),
    )
    with redis.Redis.from_url(redis_url) as client:
        for kind in ("ticks", "depth", "feed"):
            client.delete("mcube:feeds", *client.scan_iter(f"mcube:{kind}:*"))
    forget()


def test_wishes_are_rows_shared_by_subscribers_and_outlive_the_keeper(bench: Bench) -> None:
    assert bench.gateway.subscribe_live_feed([SHARE, CALL], subscriber="strangle")
    assert bench.gateway.subscribe_live_feed([SHARE], subscriber="pairs")
    assert bench.gateway.subscribe_live_feed([SHARE], subscriber="pairs")
    keeper = bench.keeper()
    keeper.look()
    assert bench.feed.carried == {SHARE, CALL}
    keeper.close()
    assert bench.feed.stopped
    again = bench.keeper()
    again.look()
    assert bench.feed.carried == {SHARE, CALL}
    assert bench.gateway.unsubscribe_live_feed([SHARE, CALL], subscriber="strangle")
    again.look()
    assert bench.feed.carried == {SHARE}
    assert bench.gateway.unsubscribe_live_feed([SHARE], subscriber="pairs")
    assert not bench.gateway.unsubscribe_live_feed([SHARE], subscriber="pairs")
    again.look()
    assert bench.feed.carried == set()
    assert len(bench.maker.feeds) == 2


def test_an_unknown_symbol_is_refused_in_words_and_none_is_noted(bench: Bench) -> None:
    with pytest.raises(InvalidSymbol, match="NOSUCH"):
        bench.gateway.subscribe_live_feed([SHARE, "NOSUCH"])
    assert not FeedSubscription.objects.exists()


def test_a_feed_carries_no_more_than_the_broker_takes(bench: Bench) -> None:
    resolved = [bench.gateway.resolve(symbol) for symbol in (SHARE, CALL)]
    room = replace(spec_of(BROKER).capabilities, most_fed=1)
    subscriptions.add(bench.account, resolved[:1], subscriber="", depth=False, room=room)
    subscriptions.add(bench.account, resolved[:1], subscriber="another", depth=True, room=room)
    with pytest.raises(OrderDenied, match="1 instruments at most"):
        subscriptions.add(bench.account, resolved, subscriber="", depth=False, room=room)
    assert FeedSubscription.objects.count() == 2


def test_depth_takes_room_where_the_broker_counts_it(bench: Bench) -> None:
    resolved = [bench.gateway.resolve(symbol) for symbol in (SHARE, CALL)]
    room = replace(spec_of(BROKER).capabilities, most_fed=3, fed_depth_takes=1)
    subscriptions.add(bench.account, resolved, subscriber="", depth=False, room=room)
    subscriptions.add(bench.account, resolved[:1], subscriber="another", depth=True, room=room)
    with pytest.raises(
        OrderDenied, match="3 instruments at most, the depth of one counted as 1 more, and would have 4"
    ):
        subscriptions.add(bench.account, resolved, subscriber="", depth=True, room=room)
    assert FeedSubscription.objects.filter(depth=True).count() == 1


def test_depth_is_carried_while_anybody_wants_it(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE, CALL], subscriber="strangle")
    keeper = bench.keeper()
    keeper.look()
    assert bench.feed.deep == set()
    bench.gateway.subscribe_live_feed([SHARE], subscriber="strangle", depth=True)
    bench.gateway.subscribe_live_feed([SHARE, CALL], subscriber="pairs", depth=True)
    # Who asks for ticks again keeps the depth.
    bench.gateway.subscribe_live_feed([SHARE], subscriber="strangle")
    keeper.look()
    assert bench.feed.deep == {SHARE, CALL}
    keeper.close()
    again = bench.keeper()
    again.look()
    assert (bench.feed.carried, bench.feed.deep) == ({SHARE, CALL}, {SHARE, CALL})
    bench.gateway.unsubscribe_live_feed([SHARE, CALL], subscriber="pairs")
    again.look()
    assert (bench.feed.carried, bench.feed.deep) == ({SHARE, CALL}, {SHARE})
    bench.gateway.unsubscribe_live_feed([SHARE], subscriber="strangle")
    again.look()
    assert (bench.feed.carried, bench.feed.deep) == ({CALL}, set())


def test_an_index_has_no_depth(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    index = replace(bench.gateway.resolve(SHARE), kind=InstrumentKind.INDEX)
    monkeypatch.setattr(bench.gateway, "resolve", lambda symbol, exchange: index)
    with pytest.raises(OrderDenied, match="index, which has no depth"):
        bench.gateway.subscribe_live_feed([SHARE], depth=True)
    assert not FeedSubscription.objects.exists()


def test_a_broker_whose_feed_has_no_depth_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(BROKER)
    less = replace(spec.capabilities, operations=spec.capabilities.operations - {Operation.DEPTH_FEED})
    monkeypatch.setattr(reads, "spec_of", lambda broker: replace(spec, capabilities=less))
    with pytest.raises(UnsupportedFeature, match="depth feed"):
        bench.gateway.subscribe_live_feed([SHARE], depth=True)
    assert bench.gateway.subscribe_live_feed([SHARE])


def test_depth_is_a_stream_and_the_newest_serves_who_asks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    called = Depth(symbol=SHARE, exchange="NSE", bids=(), asks=(), as_of=bench.clock.now())
    monkeypatch.setattr(bench.adapter, "fetch_depth", lambda instrument: called, raising=False)
    bench.gateway.subscribe_live_feed([SHARE], depth=True)
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    bench.tick(SHARE, "1400.05")
    for bid in ("1400.00", "1400.05"):
        bench.feed.show_depth(SHARE, bid, "1400.10", at=bench.clock.now())
    keeper.pump()
    stream = bench.store.read_depth(bench.account, Exchange.NSE, SHARE)
    assert [str(depth.bids[0].price) for _, depth in stream] == ["1400.00", "1400.05"]
    assert bench.store.read_depth(bench.account, Exchange.NSE, SHARE, after=stream[0][0]) == stream[1:]
    # A stream of its own.
    assert len(bench.store.read(bench.account, Exchange.NSE, SHARE)) == 1
    assert bench.gateway.get_depth(SHARE) == stream[-1][1]
    bench.clock.market.set(bench.clock.now() + timedelta(seconds=3))
    assert bench.gateway.get_depth(SHARE) == called


def test_wishes_for_expired_contracts_are_dropped(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE, CALL])
    subscriptions.forget_expired(bench.account, OPEN_MARKET.date() + timedelta(days=60))
    assert [row.symbol for row in FeedSubscription.objects.all()] == [SHARE]


def test_a_broker_without_a_feed_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(BROKER)
    without = replace(spec, capabilities=replace(spec.capabilities, operations=BASIC_OPERATIONS))
    monkeypatch.setattr(reads, "spec_of", lambda broker: without)
    with pytest.raises(UnsupportedFeature, match="live feed"):
        bench.gateway.subscribe_live_feed([SHARE])
    assert not FeedSubscription.objects.exists()


def test_ticks_are_a_stream_and_the_newest_serves_a_quote(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fetch = bench.adapter.fetch_quote

    def fetch_and_note(instrument: Instrument) -> Quote:
        asked.append(instrument.symbol)
        return fetch(instrument)

    monkeypatch.setattr(bench.adapter, "fetch_quote", fetch_and_note)
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    for price in ("1400.05", "1400.10"):
        bench.tick(SHARE, price)
    keeper.pump()
    stream = bench.store.read(bench.account, Exchange.NSE, SHARE)
    assert [str(tick.last_price) for _, tick in stream] == ["1400.05", "1400.10"]
    assert bench.store.read(bench.account, Exchange.NSE, SHARE, after=stream[0][0]) == stream[1:]
    quote = bench.gateway.get_quote(SHARE)
    assert (str(quote.last_price), asked) == ("1400.10", [])
    # Once it is old the broker is asked.
    bench.clock.market.set(bench.clock.now() + timedelta(seconds=3))
    assert bench.gateway.get_quote(SHARE).last_price == bench.adapter.price
    assert asked == [SHARE]


def test_a_stream_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "STREAM_LENGTH", 100)
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    for number in range(1000):
        bench.tick(SHARE, f"{1000 + number}")
    keeper.pump()
    kept = bench.store.read(bench.account, Exchange.NSE, SHARE)
    # Redis cuts whole nodes of a hundred entries.
    assert 100 <= len(kept) <= 250
    assert str(kept[-1][1].last_price) == "1999"


def test_too_many_ticks_lose_the_oldest_and_never_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_WAITING", 10)
    taken = intake.Intake()
    feed = ScriptedFeed(grant=None)  # type: ignore[arg-type]
    feed.start(taken)
    feed.tick("QUIET", "1", at=OPEN_MARKET)
    for number in range(20):
        feed.tick("BUSY", f"{100 + number}", at=OPEN_MARKET)
    waiting, newest = taken.take()
    assert [str(tick["last_price"]) for tick in waiting] == [f"{110 + number}" for number in range(10)]
    assert {tick.symbol: str(tick["last_price"]) for tick in newest} == {"QUIET": "1", "BUSY": "119"}
    assert (taken.came, taken.dropped) == (21, 11)
    assert taken.take() == ([], [])


def test_order_events_are_one_read_a_second_and_wait_for_the_queue(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    for _ in range(5):
        bench.feed.listener.on_order()
    keeper.pump()
    bench.feed.listener.on_order()
    keeper.pump()
    assert len(bench.reads) == 1
    bench.later(keeper, 1.0)
    assert len(bench.reads) == 2
    bench.queue_is_up = False
    bench.feed.listener.on_order()
    bench.later(keeper, 1.0)
    bench.queue_is_up = True
    bench.later(keeper, 1.0)
    assert len(bench.reads) == 3


@pytest.mark.parametrize("bench", [LIMITED], indirect=True)
@pytest.mark.parametrize(("hour", "minute", "most"), [(10, 0, 12), (8, 10, 3)])
def test_a_feed_that_flaps_leaves_the_days_calls_to_the_schedule(
    bench: Bench, hour: int, minute: int, most: int
) -> None:
    bench.clock.market.set(datetime(2026, 11, 23, hour, minute, tzinfo=IST))
    keeper = bench.keeper()
    keeper.look()
    for _ in range(300):
        bench.feed.up()
        bench.feed.listener.on_order()
        bench.feed.listener.on_state(FeedState.DOWN, "It was cut.")
        bench.later(keeper, 2.0)
    limit = spec_of(LIMITED).capabilities.calls_per_day
    assert limit is not None
    share = limits.read_share(limit) * 600 / timedelta(hours=6, minutes=15).total_seconds()
    assert 1 <= len(bench.reads) <= most
    assert BOOK_CALLS * len(bench.reads) <= share


@pytest.mark.parametrize("bench", [LIMITED], indirect=True)
def test_where_calls_are_limited_order_events_wait_the_longer_the_more_come(bench: Bench) -> None:
    def reads_in(seconds: int) -> list[int]:
        """The seconds after which the book was asked for, with an order event in each of them."""
        found = []
        for second in range(seconds):
            before = len(bench.reads)
            bench.feed.listener.on_order()
            bench.later(keeper, 1.0)
            found += [second] * (len(bench.reads) - before)
        return found

    keeper = bench.keeper()
    keeper.look()
    assert reads_in(160) == [0, 10, 30, 70, 150]
    # The last of them is not forgotten. Then it is quiet, and another order comes.
    for quiet in (80.0, 170.0):
        bench.later(keeper, quiet)
    assert reads_in(11) == [0, 10]
    # As many times longer as polls wait, when the calls run short.
    bench.later(keeper, 1000.0)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.set(f"mcube:calls:{{{bench.account}}}:2026-11-23", 4500, ex=600)
    keeper.look()
    assert reads_in(101) == [0, 100]


def test_after_a_cut_the_feed_is_whole_again_within_ten_seconds(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    # Thirty seconds in which every new feed is cut.
    for _ in range(30):
        bench.feed.listener.on_state(FeedState.DOWN, "It was cut.")
        bench.later(keeper, 1.0)
    tried = len(bench.maker.feeds)
    assert 5 <= tried <= 15, "neither given up nor tried without a pause"
    began = bench.clock.seconds
    while bench.feed.stopped:
        bench.later(keeper, 1.0)
    assert bench.clock.seconds - began < 10
    bench.feed.up()
    bench.later(keeper, keeping.CONNECT_SECONDS - 20)
    assert not bench.feed.stopped
    assert bench.feed.carried == {SHARE}


def test_a_new_session_is_a_new_feed_at_once(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    SessionState.objects.filter(account=bench.account).update(version=2)
    keeper.look()
    assert len(bench.maker.feeds) == 2
    assert bench.maker.feeds[0].stopped


def test_without_a_session_there_is_no_feed_and_nobody_logs_in(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    SessionState.objects.filter(account=bench.account).update(status=SessionState.Status.EXPIRED)
    logins = bench.adapter.reads.count("login")
    keeper.look()
    bench.later(keeper, 60)
    assert bench.feed.stopped
    assert len(bench.maker.feeds) == 1
    assert bench.adapter.reads.count("login") == logins
    assert "no session" in bench.life().words


def test_a_feed_that_stalls_while_the_market_is_open_is_built_anew(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    bench.tick(SHARE, "1400")
    keeper.pump()
    bench.later(keeper, keeping.STALL_SECONDS - 1)
    assert len(bench.maker.feeds) == 1
    bench.later(keeper, 1)
    assert len(bench.maker.feeds) == 2
    # One that did not help is waited for twice as long.
    bench.feed.up()
    bench.later(keeper, keeping.STALL_SECONDS + 1)
    assert len(bench.maker.feeds) == 2
    bench.later(keeper, keeping.STALL_SECONDS)
    assert len(bench.maker.feeds) == 3


def test_a_quiet_instrument_has_the_feed_built_anew_a_few_times_and_no_more(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    for _ in range(30):
        for _ in range(4):
            bench.feed.up()
            bench.later(keeper, 15.0)
        bench.tick(SHARE, "1400")
        keeper.pump()
    assert 2 <= len(bench.maker.feeds) <= 6
    # Once it has ticked for a while without a gap, silence means something again.
    for _ in range(10):
        bench.tick(SHARE, "1400")
        bench.later(keeper, 5.0)
    built = len(bench.maker.feeds)
    bench.later(keeper, keeping.STALL_SECONDS)
    assert len(bench.maker.feeds) == built + 1


@pytest.mark.parametrize(
    "moment", [datetime(2026, 11, 23, 20, 0, tzinfo=IST), datetime(2026, 11, 22, 11, 0, tzinfo=IST)]
)
def test_silence_outside_of_trading_is_no_stall(bench: Bench, moment: datetime) -> None:
    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    bench.clock.market.set(moment)
    SessionState.objects.filter(account=bench.account).update(expires_at=moment + timedelta(hours=3))
    keeper.look()
    built = len(bench.maker.feeds)
    bench.feed.up()
    bench.later(keeper, 600)
    assert len(bench.maker.feeds) == built


def test_a_feed_that_does_not_come_up_is_given_up(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    bench.later(keeper, keeping.CONNECT_SECONDS + 1)
    bench.later(keeper, 1)
    assert len(bench.maker.feeds) == 2


def test_a_refused_login_is_told_and_taken_back(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.look()
    bench.feed.listener.on_state(FeedState.REFUSED, "The feed does not take the session.")
    bench.later(keeper, 1)
    alert = Alert.objects.get(kind="feed_refused")
    assert "does not take the session" in alert.happened
    # Not tried at once: a refusal seldom mends itself in a second.
    assert len(bench.maker.feeds) == 1
    bench.later(keeper, keeping.REFUSED_FIRST_PAUSE)
    bench.feed.up()
    bench.later(keeper, 1)
    alert.refresh_from_db()
    assert alert.acknowledged_at is not None


def test_an_account_without_credentials_is_no_crash(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(grant: SessionGrant) -> ScriptedFeed:
        raise CredentialsNotFound("Credentials not found: run setup_credentials.")

    keeper = bench.keeper()
    with monkeypatch.context() as patched:
        patched.setattr(bench.maker, "make_feed", refuse)
        keeper.look()
    assert "setup_credentials" in bench.life().words
    bench.later(keeper, keeping.LAST_PAUSE)
    assert len(bench.maker.feeds) == 1


def test_one_process_keeps_an_accounts_feed(bench: Bench) -> None:
    first, second = bench.keeper(), bench.keeper()
    first.look()
    second.look()
    assert len(bench.maker.feeds) == 1
    first.close()
    second.look()
    assert len(bench.maker.feeds) == 2


def test_what_the_broker_does_not_have_is_passed_over(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE, CALL])
    bench.maker.lacks.add(CALL)
    keeper = bench.keeper()
    keeper.look()
    assert bench.feed.carried == {SHARE}
    bench.feed.up()
    bench.tick(SHARE, "1400")
    bench.maker.lacks.clear()
    for _ in range(3):
        bench.later(keeper, keeping.UNKNOWN_EVERY_SECONDS / 3)
        bench.tick(SHARE, "1400")
    assert bench.feed.carried == {SHARE, CALL}


def test_an_edition_that_calls_an_instrument_otherwise_has_it_subscribed_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(tokens: dict[str, str]) -> None:
        listed = {SHARE: (Exchange.NSE, 1), CALL: (Exchange.NFO, 65)}
        rows = [
            scripted_broker.master_row(BROKER, listed[symbol][0], symbol, token, lot=listed[symbol][1])
            for symbol, token in tokens.items()
        ]
        monkeypatch.setattr(bench.adapter, "read_master", lambda: iter(rows))
        instruments.refresh(bench.account, adapter=bench.adapter, clock=bench.clock)

    def asked() -> list[tuple[bool, str, str]]:
        found = [(new, each.symbol, each.identifiers[BROKER]["token"]) for new, each in bench.feed.asked]
        bench.feed.asked.clear()
        return found

    bench.gateway.subscribe_live_feed([SHARE, CALL], depth=True)
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    assert sorted(asked()) == [(True, CALL, "51001"), (True, SHARE, "2885")]
    # The option has the token that the share had.
    publish({SHARE: "3000", CALL: "2885"})
    keeper.look()
    told = asked()
    assert sorted(told[:2]) == [(False, CALL, "51001"), (False, SHARE, "2885")]
    assert sorted(told[2:]) == [(True, CALL, "2885"), (True, SHARE, "3000")]
    assert bench.feed.deep == {SHARE, CALL}
    publish({SHARE: "3001", CALL: "2885"})
    keeper.look()
    assert asked() == [(False, SHARE, "3000"), (True, SHARE, "3001")]
    publish({CALL: "2885"})
    keeper.look()
    assert asked() == [(False, SHARE, "3001")]
    assert (bench.life().instruments, bench.life().unknown) == (1, 1)
    # It is not waited for until unknown ones are looked for again.
    publish({SHARE: "3001", CALL: "2885"})
    keeper.look()
    assert asked() == [(True, SHARE, "3001")]
    keeper.look()
    assert asked() == []


def test_without_redis_a_quote_costs_a_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody: Any = TickStore("redis://127.0.0.1:1/0")
    monkeypatch.setattr(ticks, "store", lambda: nobody)
    assert bench.gateway.get_quote(SHARE).last_price == bench.adapter.price


def test_signs_of_life_tell_how_the_feed_stands(bench: Bench) -> None:
    bench.gateway.subscribe_live_feed([SHARE, CALL], depth=True)
    keeper = bench.keeper()
    assert bench.store.lives([bench.account]) == {}
    began = bench.clock.now()
    keeper.look()
    life = bench.life()
    assert (life.state, life.words) == (State.DOWN, "connecting")
    assert began <= life.since <= bench.clock.now()
    bench.feed.up()
    up_at = began + timedelta(minutes=1)
    bench.clock.market.set(up_at)
    bench.tick(SHARE, "1400.05")
    bench.tick(SHARE, "1400.10")
    keeper.pump()
    bench.later(keeper, 2.0)
    life = bench.life()
    assert (life.is_up, life.words) == (True, "")
    assert life.last_at is not None
    assert up_at <= life.last_at <= life.since <= bench.clock.now()
    assert (life.instruments, life.heard, life.depths, life.unknown) == (2, 1, 2, 0)
    assert (life.ticks, life.per_second, life.dropped) == (2, 1.0, 0)
    bench.clock.market.set(up_at + timedelta(minutes=1))
    bench.later(keeper, 3.0)
    assert (bench.life().silent_seconds, bench.life().per_second) == (5.0, 0.0)
    assert bench.life().since == life.since
    # Silence counts only while an exchange is open.
    bench.clock.market.set(datetime(2026, 11, 22, 11, 0, tzinfo=IST))
    SessionState.objects.filter(account=bench.account).update(expires_at=datetime(2026, 11, 22, 15, 0, tzinfo=IST))
    keeper.look()
    assert bench.life().silent_seconds == 0


def test_without_the_database_the_feed_shows_that_it_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OperationalError("timeout expired")

    bench.gateway.subscribe_live_feed([SHARE])
    keeper = bench.keeper()
    keeper.look()
    bench.feed.up()
    before = bench.life()
    monkeypatch.setattr(sessions, "current", unreachable)
    bench.tick(SHARE, "1400.05")
    with pytest.raises(OperationalError):
        keeper.look()
    keeper.pump()
    assert bench.life().at > before.at
    assert (bench.life().is_up, bench.life().instruments) == (True, 1)
    assert len(bench.store.read(bench.account, Exchange.NSE, SHARE)) == 1
    bench.feed.listener.on_state(FeedState.DOWN, "It was cut.")
    with pytest.raises(OperationalError):
        keeper.look()
    assert (bench.life().is_up, bench.life().words) == (False, "It was cut.")


def test_the_doctor_and_the_status_tell_of_the_feed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def found() -> tuple[Level, str]:
        (one,) = diagnosed.live_feeds()
        return one.level, f"{one.detail} {one.remedy}"

    def shown() -> str:
        call_command("status", no_color=True)
        return capsys.readouterr().out

    assert found()[0] is Level.WARN
    bench.gateway.subscribe_live_feed([SHARE, CALL])
    level, words = found()
    assert level is Level.FAIL
    assert "no process keeps it" in words
    assert "run_feeds" in words
    assert "Live feeds" not in shown()
    keeper = bench.keeper()
    keeper.look()
    level, words = found()
    assert (level, "down since" in words, "connecting" in words) == (Level.FAIL, True, True)
    assert "connecting" in shown()
    bench.feed.up()
    bench.tick(SHARE, "1400.05")
    keeper.pump()
    bench.later(keeper, 1.0)
    level, words = found()
    assert (level, "1 of 2 instruments have ticked" in words) == (Level.OK, True), words
    assert "1 of 2" in shown()
    # Silent for so long that it was built anew, and silent again.
    bench.later(keeper, keeping.STALL_SECONDS)
    bench.feed.up()
    bench.later(keeper, keeping.STALL_SECONDS + 1)
    level, words = found()
    assert (level, "no tick for 16 s" in words) == (Level.FAIL, True), words
    bench.maker.lacks.add(CALL)
    SessionState.objects.filter(account=bench.account).update(version=2)
    bench.later(keeper, 1.0)
    bench.feed.up()
    bench.later(keeper, 1.0)
    level, words = found()
    assert (level, "1 are wished for that today's instruments do not have" in words) == (Level.WARN, True), words


def test_without_redis_the_doctor_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = TickStore("redis://127.0.0.1:1/0")
    monkeypatch.setattr(diagnosed, "store", lambda: nobody)
    (one,) = diagnosed.live_feeds()
    assert (one.level, "Redis" in one.detail) == (Level.FAIL, True)
