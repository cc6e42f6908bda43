"""A day's end and every reading of a schedule, of each broker through its real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from brokers import day_records
from brokers.clock import configured_clock, trading_day
from brokers.domain.enums import Product
from brokers.factory import BrokerFactory
from brokers.models import BrokerOrder, DayRecord
from tests.contract.customer import Customer
from tests.contract.test_account_reads import carry
from tests.contract.world import Simulator, Trader
from tests.support.processes import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer(trader: Trader, simulator: Simulator, settings: Any) -> Iterator[Customer]:
    settings.HOME = simulator.home
    settings.BROKER_URLS = dict(simulator.urls)
    offset = trader.clock.offset()
    yield Customer(trader)
    BrokerFactory.close_all()
    trader.clock.set(trader.clock.real_now() + offset)


def test_a_days_record_says_what_the_exchange_holds(customer: Customer) -> None:
    trader, now = customer.trader, configured_clock().now()
    carry(trader, trader.share, 10, Decimal(1350), Product.CNC)
    order_id, lot = customer.place(), trader.option.lot_size or 0
    trader.fill(str(order_id), lot)
    day = trading_day(now)
    # The calls of a second may not suffice; the schedule comes again as well.
    wait_for(lambda: day_records.take(customer.account, day).status == DayRecord.Status.OK, "the day's record")
    record = DayRecord.objects.get(error="")
    assert record.margin is not None
    assert record.margin.available == customer.gateway.get_margin().available
    assert record.positions is not None
    [line] = [each for each in record.positions.lines.all() if each.symbol == trader.option.symbol]
    assert line.quantity == lot
    assert record.holdings is not None
    [share] = record.holdings.lines.all()
    assert (share.symbol, share.quantity, record.holdings.value) == ("RELIANCE", 10, Decimal(14_000))
    assert (record.orders, record.fills) == (BrokerOrder.objects.count(), 1)
