"""A history of many pages comes whole, at the pace that the broker's limits allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from brokers.domain.capabilities import Operation
from brokers.domain.enums import CandleInterval
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from tests.contract.customer import Customer
from tests.contract.world import MARKET_TIME, Simulator, Trader

pytestmark = pytest.mark.django_db

#: More than twenty answers hold, which is different at each broker.
LONG = {"breeze": (CandleInterval.MINUTE, timedelta(days=43)), "kotakneo": (CandleInterval.DAY, timedelta(days=3900))}


@pytest.fixture
def customer(trader: Trader, simulator: Simulator, settings: Any) -> Iterator[Customer]:
    trader.needs(Operation.CANDLES)
    settings.HOME = simulator.home
    settings.BROKER_URLS = dict(simulator.urls)
    yield Customer(trader)
    BrokerFactory.close_all()


def counted(trader: Trader) -> dict[str, int]:
    """What the simulated broker has counted of the account."""
    calls: dict[str, int] = trader.control("GET", "counters").json()[trader.account.user_id]["calls"]
    return calls


@pytest.mark.parametrize("how", [nullcontext, no_waiting], ids=["called", "in a task"])
def test_a_history_of_many_pages_comes_whole_and_within_the_limits(customer: Customer, how: Any) -> None:
    trader, (interval, length) = customer.trader, LONG[customer.broker]
    first, before = MARKET_TIME - length, counted(trader)["total"]
    with how():
        series = customer.gateway.get_candles(trader.share.symbol, interval.value, first, MARKET_TIME)

    calls = counted(trader)
    assert calls["total"] - before > 20
    of_window = {1: calls["max_in_second"], 60: calls["max_in_minute"]}
    assert all(of_window[seconds] <= limit for limit, seconds in trader.spec.capabilities.call_limits)
    # Straight from the adapter, which knows nothing of the calls so far.
    customer.let_calls_be_free(trader.spec.capabilities.call_limits[0][0])
    whole = trader.adapter.fetch_candles(trader.share, interval, first, MARKET_TIME)
    assert [each.opened_at for each in series.candles] == [each.opened_at for each in whole]
    assert whole[0].opened_at - first < timedelta(days=4)
