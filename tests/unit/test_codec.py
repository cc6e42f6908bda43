"""What a process writes for another comes back equal, and a failure as the same failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokers import codec, shared_reads
from brokers.domain import errors
from brokers.domain.account import MarginData
from brokers.domain.market import Quote
from brokers.domain.orders import Order

READS = [
    *("get_margin", "get_segment_margins", "get_margin_required", "get_positions", "get_holdings"),
    *("get_demat_holdings", "get_orders", "get_order", "get_order_history", "get_orders_between", "get_trades"),
    *(
        "get_trades_between",
        "get_quote",
        "get_quotes",
        "get_depth",
        "get_year_range",
        "get_option_chain",
        "get_candles",
    ),
]
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(timezones=st.just(UTC))


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the domain: Decimals that are numbers, times that are UTC."""
    if kind is Decimal:
        return AMOUNTS
    if kind is datetime:
        return MOMENTS
    if kind is Order:
        hints = {each.name: _values(_hint(Order, each.name)) for each in fields(Order)}
        return st.builds(Order, **hints | {"raw": st.just({})})
    if hasattr(kind, "__dataclass_fields__"):
        return st.builds(kind, **{each.name: _values(_hint(kind, each.name)) for each in fields(kind)})
    parts = get_args(kind)
    origin = get_origin(kind)
    if origin is list:
        return st.lists(_values(parts[0]), max_size=3)
    if origin is tuple and parts[-1] is Ellipsis:
        return st.lists(_values(parts[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_values, parts))
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)
    if origin in (Union, UnionType):
        return st.one_of(*map(_values, parts))
    return st.from_type(kind)


def _hint(kind: Any, name: str) -> Any:
    return get_type_hints(kind)[name]


@pytest.mark.parametrize("method", READS)
def test_whatever_a_read_returns_comes_back_equal(method: str) -> None:
    kind = shared_reads.kind_of(method)

    @settings(max_examples=15, suppress_health_check=list(HealthCheck), database=None)
    @given(_values(kind))
    def holds(value: Any) -> None:
        text = codec.dump(kind, value)
        again = codec.load(kind, text)
        assert again == value
        assert type(again) is type(value)
        assert codec.dump(kind, again) == text

    holds()


def test_amounts_keep_their_digits_and_times_their_offset() -> None:
    moment = datetime(2026, 11, 23, 4, 30, 0, 123456, tzinfo=UTC)
    quote = Quote(symbol="X", exchange="NSE", last_price=Decimal("1.50"), as_of=moment)
    again = codec.load(Quote, codec.dump(Quote, quote))
    assert str(again.last_price) == "1.50"
    assert again.as_of.utcoffset() == timedelta(0)
    assert again.bid_price is None


@pytest.mark.parametrize("text", ["", "null", "{}", '{"symbol": 1}', "[]", "\x00"])
def test_what_is_no_such_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        codec.load(MarginData, text)


@pytest.mark.parametrize(
    "error",
    [
        errors.BrokerUnavailable("The broker is down; try again.", reason="HTTP 503", code="503"),
        errors.UnreadableReply("It answered HTML."),
        errors.SessionExpired("Log in once."),
        errors.UnsupportedFeature("It offers no depth."),
        errors.InvalidSymbol("There is no such symbol."),
        errors.RateLimited("Wait.", retry_after=timedelta(milliseconds=1500)),
        errors.OrderRejected("No.", reason="margin", code="16"),
        errors.CredentialsNotFound("Run setup_credentials."),
        errors.AccountNotFound("There is no such account."),
        errors.SDKMissing("Install the extra."),
    ],
)
def test_a_failure_comes_back_as_the_same_failure(error: Exception) -> None:
    again = codec.load_error(codec.dump_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    for name in ("reason", "code", "retry_after"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_a_failure_carries_no_secret_and_no_address_to_log_in() -> None:
    error = errors.PersonNeeded(
        "Log in; session_token=SECRET1 was refused.",
        login_url="https://broker/login?api_key=SECRET2",
        reason="pin=SECRET3",
    )
    text = codec.dump_error(error)
    assert "SECRET" not in text
    again = codec.load_error(text)
    assert isinstance(again, errors.PersonNeeded)
    assert again.login_url == ""


def test_a_failure_of_a_newer_version_is_that_nothing_is_known() -> None:
    again = codec.load_error('{"kind": "SomethingNew", "message": "It did something new."}')
    assert type(again) is errors.BrokerUnavailable
    assert str(again) == "It did something new."
