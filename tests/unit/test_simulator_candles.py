"""The simulated exchange's history is that of its own prices, within its own hours."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from brokers.clock import IST, SimulatedClock, trading_day
from brokers.domain.enums import CandleInterval, Exchange
from brokers.simulator.candles import PastCandle, candles
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.hours import Hours
from brokers.simulator.rules import ExchangeSettings

NOW = datetime(2026, 11, 23, 10, 30, 20, tzinfo=IST)
HOLIDAY = date(2026, 11, 18)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[SimulatedExchange]:
    clock = SimulatedClock(tmp_path / "clock.json")
    clock.set(NOW)
    made = SimulatedExchange(tmp_path, clock=clock, settings=ExchangeSettings(holidays=frozenset({HOLIDAY})))
    yield made
    made.truth.close()


def history(
    exchange: SimulatedExchange,
    interval: CandleInterval,
    first: datetime,
    last: datetime,
    *,
    where: Exchange = Exchange.NSE,
    symbol: str = "SBIN",
) -> list[PastCandle]:
    contract = exchange.universe.by_symbol(where, symbol)
    assert contract is not None
    hours = Hours(exchange.settings)
    return list(candles(contract, interval, first, last, prices=exchange.prices, hours=hours, now=NOW))


def test_the_minutes_of_a_day_make_up_its_day(exchange: SimulatedExchange) -> None:
    midnight = datetime(2026, 11, 20, tzinfo=IST)
    minutes = history(exchange, CandleInterval.MINUTE, midnight, midnight + timedelta(days=1, seconds=-1))
    [day] = history(exchange, CandleInterval.DAY, midnight, midnight)
    assert len(minutes) == 375
    assert (minutes[0].open, minutes[-1].close) == (day.open, day.close)
    assert sum(minute.volume for minute in minutes) == day.volume
    assert all(each.low <= min(each.open, each.close) <= max(each.open, each.close) <= each.high for each in minutes)


def test_todays_candle_ends_with_the_last_price(exchange: SimulatedExchange) -> None:
    contract = exchange.universe.by_symbol(Exchange.NSE, "SBIN")
    assert contract is not None
    quote = exchange.quote(contract)
    [day] = history(exchange, CandleInterval.DAY, NOW - timedelta(hours=12), NOW)
    minute = history(exchange, CandleInterval.MINUTE, NOW - timedelta(minutes=5), NOW)[-1]
    assert (day.open, day.close) == (quote.open, quote.last_price)
    assert minute.close == quote.last_price
    assert minute.opened_at == NOW.replace(second=0)


def test_there_is_no_candle_of_a_closed_day_or_of_time_to_come(exchange: SimulatedExchange) -> None:
    found = history(exchange, CandleInterval.DAY, NOW - timedelta(days=8), NOW + timedelta(days=30))
    assert [trading_day(each.opened_at).day for each in found] == [16, 17, 19, 20, 23]


def test_derivatives_trade_longer_and_have_a_first_day(exchange: SimulatedExchange) -> None:
    friday = datetime(2026, 11, 20, 15, 25, tzinfo=IST)
    where, symbol = Exchange.NFO, "NIFTY26NOV22250CE"
    minutes = history(
        exchange, CandleInterval.FIVE_MINUTES, friday, friday + timedelta(hours=1), where=where, symbol=symbol
    )
    assert [each.opened_at.minute for each in minutes] == [25, 30, 35]
    days = history(exchange, CandleInterval.DAY, NOW - timedelta(days=365), NOW, where=where, symbol=symbol)
    assert trading_day(days[0].opened_at) >= date(2026, 11, 24) - timedelta(days=100)
