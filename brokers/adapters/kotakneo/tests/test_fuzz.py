"""Whatever an answer says, it is read as what it says or refused; nothing else is raised and nothing is made up."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers.adapters.kotakneo import building, parsing_account, parsing_market, parsing_orders, tables
from brokers.adapters.kotakneo.tests.stub import CALL, INDEX, SHARE, Shelf, fixture, option
from brokers.domain.account import Holding, MarginData, MarginRequired, Position, SegmentMargin
from brokers.domain.enums import CandleInterval, Exchange, OptionRight, OrderStatus
from brokers.domain.errors import BrokerError
from brokers.domain.market import Candle, Depth, OptionChain, Quote, YearRange
from brokers.domain.orders import Fill, Order, OrderEvent

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
SHELF = Shelf(CALL, SHARE, INDEX, *(option(22250 + step, right) for step in (-50, 50) for right in OptionRight))
TOKENS = [(building.quote_token(each), each) for each in (CALL, SHARE)]

Parse = Callable[[Any], Any]

#: Fixture -> how its reply is parsed, and what comes out.
PARSERS: dict[str, tuple[Parse, type | tuple[type, ...]]] = {
    "order_report": (lambda reply: parsing_orders.orders(reply["data"], SHELF), Order),
    "order_history": (lambda reply: parsing_orders.events(reply["data"], "261123000000001"), OrderEvent),
    "trade_report": (lambda reply: parsing_orders.fills(reply["data"], SHELF), Fill),
    "positions": (lambda reply: parsing_account.positions(reply["data"], SHELF, as_of=NOW), Position),
    "limits": (
        lambda reply: [
            parsing_account.margin(reply, as_of=NOW),
            *parsing_account.segment_margins(reply, as_of=NOW),
        ],
        (MarginData, SegmentMargin),
    ),
    "margin_required": (lambda reply: [parsing_account.margin_required([reply], as_of=NOW)], MarginRequired),
    "holdings": (
        lambda reply: parsing_account.holdings(
            reply["data"],
            parsing_account.held_shares(reply["data"], SHELF),
            {(Exchange.NSE, "RELIANCE"): Decimal(2500)},
            as_of=NOW,
        ),
        Holding,
    ),
    "quotes_many": (lambda reply: parsing_market.quotes(reply, TOKENS, as_of=NOW), Quote),
    "quotes": (lambda reply: [parsing_market.depth(reply, *TOKENS[0], as_of=NOW)], Depth),
    "quotes_52w": (lambda reply: [parsing_market.year_range(reply, *TOKENS[1], as_of=NOW)], YearRange),
    "option_chain": (
        lambda reply: [
            parsing_market.option_chain(
                reply["data"], INDEX, date(2026, 11, 24), 2, SHELF, exchange=Exchange.NFO, as_of=NOW
            )[0]
        ],
        OptionChain,
    ),
    "candles_1min": (lambda reply: parsing_market.candles(reply, CALL, CandleInterval.MINUTE), Candle),
    "candles_day": (lambda reply: parsing_market.candles(reply, SHARE, CandleInterval.DAY), Candle),
}

#: What has been seen where something else belongs, and what has not been seen yet.
ODD = st.one_of(
    st.sampled_from(
        [
            None, "", " ", "NA", "--", "- ", "null", "None", "nan", "inf", "-inf", "1e999999", "1E-400", "1_000", "0x10",
            "<html><body>502</body></html>", "1,234.50", "0", "-1", "0.00", " 65 ", "0065", "00071472 ", "65.5", True,
            False, 0, -1, 10**30, 1e300, 5e-324, [], {}, [None], {"a": 1}, "999999999999999999999", "31-Feb-2026 99:99:99",
            "01-Jan-0001 00:00:00", "2026-11-20T09:15:00", "9999-12-31T23:59:59-2359", "0001-01-01T00:00:00+2359",
            "NSE_CM", "nse_cm ", "CE", "ce", "FUT", "ATM", "complete", "expired", "settled",
        ]
    ),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything below a reply."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> Any:
    """The fixture's reply with one to three places changed, taken away or doubled."""
    reply = deepcopy(fixture(name))
    for _ in range(draw(st.integers(1, 3))):
        # ``data`` itself is checked before it is parsed.
        reachable = [(holder, key) for holder, key in places(reply) if key != "data"]
        holder, key = draw(st.sampled_from(reachable))
        if isinstance(holder, dict) and draw(st.booleans()):
            holder.pop(key)
        elif not isinstance(holder[key], dict) or isinstance(holder, dict):
            holder[key] = deepcopy(draw(ODD))  # one of it, or it may end up inside of itself
    return reply


@pytest.mark.parametrize("name", PARSERS)
@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_spoiled_answer_is_read_or_refused(name: str, data: st.DataObject) -> None:
    parse, kind = PARSERS[name]
    reply = data.draw(spoiled(name))
    with suppress(BrokerError):
        assert all(isinstance(value, kind) for value in parse(reply))


@pytest.mark.parametrize("name", PARSERS)
def test_an_answer_as_it_should_be_is_read(name: str) -> None:
    parse, _ = PARSERS[name]
    assert parse(fixture(name))


@given(word=st.text(max_size=20).filter(lambda word: word.strip().lower() not in tables.ORDER_STATUSES))
def test_a_status_that_is_not_known_ends_no_order(word: str) -> None:
    rows = [row | {"ordSt": word} for row in fixture("order_report")["data"]]
    assert {order.status for order in parsing_orders.orders(rows, SHELF)} == {OrderStatus.UNKNOWN}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("order_report", "trnsTp"),
        ("order_report", "prcTp"),
        ("order_report", "vldt"),
        ("order_report", "qty"),
        ("order_report", "fldQty"),
        ("order_history", "fldQty"),
        ("order_history", "nOrdNo"),
        ("trade_report", "fldQty"),
        ("trade_report", "avgPrc"),
        ("trade_report", "trnsTp"),
        ("positions", "flBuyQty"),
        ("positions", "cfSellQty"),
        ("positions", "buyAmt"),
        ("holdings", "quantity"),
    ],
)
@pytest.mark.parametrize("value", [None, "", "NA", "--", "- ", "?", "<html>", [], {}])
def test_what_must_be_known_is_never_filled_in(name: str, field: str, value: Any) -> None:
    reply = fixture(name)
    reply["data"][0][field] = value
    with pytest.raises(BrokerError):
        PARSERS[name][0](reply)
