"""Every operation and every word of an order as a task that a worker of each broker runs, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
import redis

from brokers.discovery import specs
from brokers.domain.capabilities import Operation
from brokers.domain.enums import Exchange, OrderType, Product
from brokers.feeds import pace
from brokers.simulator.checks import INDEX_FUTURE
from mcube import processes
from tests.acceptance.desk import COST, HELD, INDEX, SHARE, Desk
from tests.contract.world import PLACE_OF, WORDS
from tests.support.processes import wait_for
from tests.support.stack import Stack, running_stack

#: Of the made-up market while prices stand still, in rupees.
SHARE_PRICE, SHARE_TICK = Decimal(1400), Decimal("0.1")
SPOT, STRIKE_STEP = Decimal(22_250), Decimal(50)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation with workers, and prices that stand still."""
    with running_stack(tmp_path_factory.mktemp("operations")) as made:
        made.control(0, "POST", "settings", {"moving": False})
        made.start_workers()
        for broker in specs():
            made.do("send", task="tasks.instruments.refresh_instruments", broker=broker)
        wait_for(lambda: all(made.do("instrument_count", broker=each) for each in specs()), "the instruments")
        yield made


@pytest.fixture(scope="module", params=list(specs()))
def broker(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def desk(stack: Stack, broker: str) -> Desk:
    """Of all reads of a broker."""
    return Desk(stack, broker)


@pytest.fixture
def fresh(stack: Stack, broker: str) -> Desk:
    """Of one test alone."""
    return Desk(stack, broker)


def money(value: Any) -> Decimal:
    return Decimal(value)


class Question(NamedTuple):
    """A read task, its words, and what of its answer must be there: the account's and the exchange's figures."""

    task: str
    words: Callable[[Desk], Mapping[str, Any]]
    heard: Callable[[Any], Any]
    true: Callable[[Desk], Any]


def no_words(desk: Desk) -> Mapping[str, Any]:
    return {}


def of_share(desk: Desk) -> Mapping[str, Any]:
    return {"symbol": SHARE}


def of_order(desk: Desk) -> Mapping[str, Any]:
    return {"order_id": desk.placed["order_id"]}


def of_week(desk: Desk) -> Mapping[str, Any]:
    return desk.week


def of_minutes(desk: Desk) -> Mapping[str, Any]:
    ends = desk.now.replace(second=0, microsecond=0)
    starts = ends - timedelta(minutes=5)
    return {"symbol": SHARE, "interval": "1m", "starts_at": starts.isoformat(), "ends_at": ends.isoformat()}


def a_plan(desk: Desk) -> Mapping[str, Any]:
    """An order as large as the one that was placed."""
    plan = {
        "symbol": desk.symbol,
        "action": "B",
        "quantity": 2 * desk.lot,
        "order_type": "LIMIT",
        "price": str(desk.price),
    }
    return {"orders": [plan]}


def order_figures(order: Mapping[str, Any]) -> tuple[Any, ...]:
    return (order["broker_order_id"], order["quantity"], order["filled_quantity"], order["status"])


def true_order(desk: Desk) -> tuple[Any, ...]:
    return (desk.placed["order_id"], 2 * desk.lot, desk.lot, "PARTIALLY_FILLED")


def fill_figures(fills: list[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(fill["broker_order_id"], fill["quantity"], money(fill["price"])) for fill in fills]


def true_fills(desk: Desk) -> list[tuple[Any, ...]]:
    return [(desk.placed["order_id"], desk.lot, desk.price)]


def blocked(desk: Desk) -> Decimal:
    """What the exchange blocks for the order and what was executed of it."""
    return (desk.price * 2 * desk.lot * INDEX_FUTURE).quantize(Decimal("0.01"))


READS: dict[Operation, Question] = {
    Operation.MARGIN: Question(
        "tasks.account.get_margin",
        no_words,
        lambda margin: (money(margin["available"]), money(margin["used"])),
        lambda desk: (desk.account.funds - blocked(desk), blocked(desk)),
    ),
    Operation.SEGMENT_MARGINS: Question(
        "tasks.account.get_segment_margins",
        no_words,
        lambda segments: [money(each["blocked"]) for each in segments if money(each["blocked"])],
        lambda desk: [blocked(desk)],
    ),
    Operation.MARGIN_REQUIRED: Question(
        "tasks.account.get_margin_required", a_plan, lambda margin: money(margin["required"]), blocked
    ),
    Operation.POSITIONS: Question(
        "tasks.account.get_positions",
        no_words,
        lambda found: [
            (each["symbol"], each["quantity"], money(each["average_price"]))
            for each in found
            if each["symbol"] != SHARE
        ],
        lambda desk: [(desk.symbol, desk.lot, desk.price)],
    ),
    Operation.HOLDINGS: Question(
        "tasks.account.get_holdings",
        no_words,
        lambda found: [(each["symbol"], each["quantity"], money(each["average_price"])) for each in found],
        lambda desk: [(SHARE, HELD, COST)],
    ),
    Operation.DEMAT_HOLDINGS: Question(
        "tasks.account.get_demat_holdings",
        no_words,
        lambda found: [(each["symbol"], each["quantity"]) for each in found],
        lambda desk: [(SHARE, HELD)],
    ),
    Operation.ORDERS: Question(
        "tasks.account.get_orders",
        no_words,
        lambda found: list(map(order_figures, found)),
        lambda desk: [true_order(desk)],
    ),
    Operation.ORDER: Question("tasks.account.get_order", of_order, order_figures, true_order),
    Operation.ORDER_HISTORY: Question(
        "tasks.account.get_order_history",
        of_order,
        lambda events: (events[-1]["broker_order_id"], events[-1]["filled_quantity"], events[-1]["status"]),
        lambda desk: (desk.placed["order_id"], desk.lot, "PARTIALLY_FILLED"),
    ),
    Operation.ORDERS_BETWEEN: Question(
        "tasks.account.get_orders_between",
        of_week,
        lambda found: list(map(order_figures, found)),
        lambda desk: [true_order(desk)],
    ),
    Operation.TRADES: Question("tasks.account.get_trades", no_words, fill_figures, true_fills),
    Operation.TRADES_BETWEEN: Question("tasks.account.get_trades_between", of_week, fill_figures, true_fills),
    Operation.QUOTE: Question(
        "tasks.market.get_quote", of_share, lambda quote: money(quote["last_price"]), lambda desk: SHARE_PRICE
    ),
    Operation.QUOTES: Question(
        "tasks.market.get_quotes",
        lambda desk: {"symbols": [SHARE, INDEX]},
        lambda quotes: [money(each["last_price"]) for each in quotes],
        lambda desk: [SHARE_PRICE, SPOT],
    ),
    Operation.DEPTH: Question(
        "tasks.market.get_depth",
        of_share,
        lambda depth: (money(depth["bids"][0]["price"]), money(depth["asks"][0]["price"])),
        lambda desk: (SHARE_PRICE - SHARE_TICK, SHARE_PRICE + SHARE_TICK),
    ),
    Operation.YEAR_RANGE: Question(
        "tasks.market.get_year_range",
        of_share,
        lambda found: 0 < money(found["low"]) <= SHARE_PRICE <= money(found["high"]),
        lambda desk: True,
    ),
    Operation.OPTION_CHAIN: Question(
        "tasks.market.get_option_chain",
        lambda desk: {"underlying": INDEX, "strikes": 1},
        lambda chain: [[money(each["strike"]) for each in chain[side]] for side in ("calls", "puts")],
        lambda desk: [[SPOT - STRIKE_STEP, SPOT, SPOT + STRIKE_STEP]] * 2,
    ),
    Operation.CANDLES: Question(
        "tasks.market.get_candles",
        of_minutes,
        lambda series: ([money(each["close"]) for each in series["candles"]], series["gaps"]),
        lambda desk: ([SHARE_PRICE] * 5, []),
    ),
}


@pytest.mark.parametrize(
    "operation", [pytest.param(each, marks=pytest.mark.proves(each), id=each.value) for each in READS]
)
def test_a_read_is_answered_with_the_exchanges_figures_or_refused_by_name(operation: Operation, desk: Desk) -> None:
    question = READS[operation]
    truth = question.true(desk)
    answer = desk.ask(question.task, **question.words(desk))
    if desk.capabilities.offers(operation):
        assert "value" in answer, answer
        assert question.heard(answer["value"]) == truth
    else:
        assert answer["failure"] == "UnsupportedFeature"
        assert operation.words in answer["why"]


@pytest.mark.proves(Operation.PLACE)
def test_an_order_is_placed_as_it_was_meant(fresh: Desk) -> None:
    order = fresh.order()
    fresh.stack.do("place", **order)
    fresh.until(order["client_order_id"], "WORKING")
    [placed] = fresh.happened("accepted")
    assert (placed["symbol"], placed["side"], placed["quantity"]) == (fresh.symbol, "BUY", fresh.lot)
    assert money(placed["price"]) == money(order["price"])


@pytest.mark.proves(Operation.MODIFY)
def test_an_order_is_changed_once(fresh: Desk) -> None:
    order_id, key = fresh.place()["order_id"], fresh.new_key()
    fresh.stack.do("modify", **fresh.who, order_id=order_id, client_order_id=key, quantity=2 * fresh.lot)
    wait_for(lambda: fresh.happened("modified"), "the change")
    [changed] = fresh.happened("modified")
    assert (changed["order_id"], changed["quantity"]) == (order_id, 2 * fresh.lot)


@pytest.mark.proves(Operation.CANCEL)
def test_an_order_is_cancelled_once(fresh: Desk) -> None:
    order_id, key = fresh.place()["order_id"], fresh.new_key()
    fresh.stack.do("cancel", **fresh.who, order_id=order_id, client_order_id=key)
    wait_for(lambda: fresh.happened("cancelled"), "the cancel")
    assert [line["order_id"] for line in fresh.happened("cancelled")] == [order_id]


GTTS = {
    Operation.GTT_SINGLE: {"action": "S", "trigger_price": "22000", "price": "21990"},
    Operation.GTT_THREE_LEG: {
        "action": "B",
        "target_trigger_price": "22500",
        "target_price": "22490",
        "stop_trigger_price": "21900",
        "stop_price": "21890",
    },
}


@pytest.mark.parametrize(
    "operation", [pytest.param(each, marks=pytest.mark.proves(each), id=each.value) for each in GTTS]
)
def test_a_gtt_is_placed_changed_and_cancelled_or_refused_by_name(operation: Operation, fresh: Desk) -> None:
    key, words = fresh.new_key(), {"symbol": fresh.symbol, "quantity": fresh.lot, "price": fresh.order()["price"]}
    wanted = fresh.who | words | GTTS[operation] | {"client_order_id": key}
    if not fresh.capabilities.offers(operation):
        fresh.stack.do("send_whole", task="tasks.gtts.place_gtt", **wanted)
        failure, worker = f"{key}: UnsupportedFeature", fresh.stack.children[f"worker-{fresh.broker}"]
        wait_for(lambda: failure in worker.read_log(), failure)
        assert fresh.happened("gtt_accepted") == []
        return
    fresh.stack.do("send", task="tasks.gtts.place_gtt", **wanted)
    fresh.until(key, "WORKING")
    [accepted] = fresh.happened("gtt_accepted")
    whose = fresh.who | {"gtt_order_id": accepted["gtt_order_id"]}
    [listed] = fresh.ask("tasks.gtts.get_gtts")["value"]
    assert (listed["gtt_order_id"], listed["quantity"]) == (accepted["gtt_order_id"], fresh.lot)
    which = "trigger_price" if operation is Operation.GTT_SINGLE else "stop_trigger_price"
    fresh.stack.do("send", task="tasks.gtts.modify_gtt", **whose, **{which: "21950"}, client_order_id=f"{key}-change")
    wait_for(lambda: fresh.happened("gtt_modified"), "the change")
    fresh.stack.do("send", task="tasks.gtts.cancel_gtt", **whose, client_order_id=f"{key}-cancel")
    wait_for(lambda: fresh.happened("gtt_cancelled"), "the cancel")
    fresh.stack.do("send", task="tasks.gtts.sync_gtts", **fresh.who)
    for each in (key, f"{key}-change", f"{key}-cancel"):
        fresh.until(each, "DONE")


@pytest.mark.parametrize("word", [pytest.param(each, marks=pytest.mark.proves(each), id=each.value) for each in WORDS])
def test_a_word_of_an_order_arrives_or_is_refused_by_name(word: StrEnum, fresh: Desk) -> None:
    order = order_with(fresh, word)
    fresh.stack.do("send_whole", **order)
    # A market order is taken, and goes out as a limit order.
    if fresh.capabilities.offers(word) or word is OrderType.MARKET:
        [placed] = wait_for(lambda: fresh.happened("accepted"), "the order")
        arrived = OrderType.LIMIT if word is OrderType.MARKET else word
        assert (placed["symbol"], placed[PLACE_OF[type(word)]]) == (order["symbol"], arrived)
    else:
        failure = f"{order['client_order_id']}: UnsupportedFeature"
        worker = fresh.stack.children[f"worker-{fresh.broker}"]
        wait_for(lambda: failure in worker.read_log(), failure)
        assert fresh.happened("accepted") == []


def order_with(desk: Desk, word: StrEnum) -> dict[str, Any]:
    """An order with this word in it that every broker would take if it knew the word."""
    if word is Exchange.BFO:
        symbol, lot = desk.future("SENSEX")
        return desk.order(symbol=symbol, quantity=lot)
    if word in (Exchange.NSE, Exchange.BSE):
        return desk.order(symbol=SHARE, exchange=word.value, quantity=1)
    if isinstance(word, Product) and word is not Product.NRML:
        return desk.order(symbol=SHARE, exchange="NSE", quantity=1, product=word.value)
    order = desk.order(**{PLACE_OF[type(word)]: word.value})
    if word is OrderType.MARKET:
        return order | {"price": None}
    if word is OrderType.STOP_LIMIT:
        above = str((money(order["price"]) * Decimal("1.04")).quantize(Decimal(1)))
        return order | {"price": above, "trigger_price": above}
    return order


@pytest.fixture
def feed(fresh: Desk) -> Iterator[redis.Redis]:
    """The live feed of the account, with one share, and what it is written to."""
    name = f"{fresh.broker}/{fresh.account.user_id}"
    fresh.order()  # logs in
    fresh.stack.do("subscribe", **fresh.who, symbol=SHARE, depth=True)
    child = fresh.stack.start(f"feed-{name.replace('/', '-')}", processes.feeds(name))
    with redis.Redis.from_url(fresh.stack.redis_url, decode_responses=True) as client:
        wait_for(lambda: client.hget(f"mcube:feed:{name}", "state") == "up", f"the feed of {name}")
        wait_for(lambda: client.hget(f"mcube:ticks:{name}", f"NSE:{SHARE}"), "a tick")
        wait_for(lambda: client.hget(f"mcube:depth:{name}", f"NSE:{SHARE}"), "a depth")
        yield client
    child.stop()


@pytest.fixture
def no_quotes(fresh: Desk) -> Iterator[None]:
    """The broker answers no call for prices."""
    face = list(specs()).index(fresh.broker)
    fresh.stack.control(face, "POST", "faults", {"kind": "bad_gateway", "endpoint": "quote", "count": 0})
    yield
    fresh.stack.control(face, "DELETE", "faults")


@pytest.mark.usefixtures("feed", "no_quotes")
@pytest.mark.proves(Operation.LIVE_FEED)
def test_a_quote_is_answered_from_the_feed_while_the_broker_answers_no_call(fresh: Desk) -> None:
    answer = fresh.ask("tasks.market.get_quote", symbol=SHARE)
    assert "value" in answer, answer
    assert money(answer["value"]["last_price"]) == SHARE_PRICE


@pytest.mark.usefixtures("feed", "no_quotes")
@pytest.mark.proves(Operation.DEPTH_FEED)
def test_a_depth_is_answered_from_the_feed_while_the_broker_answers_no_call(fresh: Desk) -> None:
    answer = fresh.ask("tasks.market.get_depth", symbol=SHARE)
    assert "value" in answer, answer
    assert [len(answer["value"][side]) for side in ("bids", "asks")] == [5, 5]


@pytest.mark.proves(Operation.ORDER_FEED)
def test_an_execution_is_read_when_the_feed_tells_of_it(fresh: Desk, feed: redis.Redis) -> None:
    """Beat does not run. The first read may be the one after the connection; the second follows an event."""
    for lots in (1, 2):
        quantity = lots * fresh.lot
        order = fresh.order(quantity=quantity)
        fresh.stack.do("place", **order)
        fresh.until(order["client_order_id"], "WORKING")
        [placed] = [line for line in fresh.happened("accepted") if line["quantity"] == quantity]
        fresh.control("POST", "fill", order_id=placed["order_id"], quantity=quantity)
        fresh.until(order["client_order_id"], "FILLED", seconds=pace.LIMITED_LAST_SECONDS)
