"""What orders and positions block at the simulated exchange, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.domain.enums import Exchange, Product, Side
from brokers.simulator.accounts import LAST_NUMBER, STARTING_FUNDS, default, find, numbered
from brokers.simulator.book import Refused, Why
from brokers.simulator.checks import INDEX_FUTURE, INDEX_SHORT_OPTION
from tests.support.simulator import BROKER, FUTURE, Market, Markets

SHARE = {"symbol": "SBIN", "exchange": Exchange.NSE, "product": Product.CNC}


@pytest.fixture
def markets(tmp_path: Path) -> Iterator[Markets]:
    made = Markets(tmp_path)
    yield made
    made.close()


@pytest.fixture
def market(markets: Markets) -> Market:
    made = markets.open()
    made.pin("50")
    made.pin("22300", FUTURE)
    return made


def test_an_open_order_blocks_its_margin_and_a_cancel_releases_it(market: Market) -> None:
    order = market.place(symbol=FUTURE, price="22000")
    assert market.exchange.funds(market.account).blocked_by_orders == 65 * 22000 * INDEX_FUTURE

    market.exchange.cancel(market.account, order.order_id)

    assert market.exchange.funds(market.account).available == STARTING_FUNDS


def test_a_filled_future_moves_its_margin_from_the_order_to_the_position(market: Market) -> None:
    market.place(symbol=FUTURE, price="22400")

    funds = market.exchange.funds(market.account)

    assert funds.blocked_by_orders == 0
    assert funds.blocked_by_positions == 65 * Decimal("22300.10") * INDEX_FUTURE
    assert funds.blocked_in_derivatives == funds.used


def test_closing_a_future_needs_no_margin_and_realizes_its_profit(market: Market) -> None:
    market.place(symbol=FUTURE, price="22400")
    market.pin("22400", FUTURE)
    resting = market.place(symbol=FUTURE, side=Side.SELL, price="22500")
    assert market.exchange.funds(market.account).blocked_by_orders == 0
    market.exchange.cancel(market.account, resting.order_id)

    market.place(symbol=FUTURE, side=Side.SELL, price="22300")

    funds = market.exchange.funds(market.account)
    assert funds.used == 0
    assert funds.realized == 65 * (Decimal("22399.90") - Decimal("22300.10"))


def test_the_second_closing_order_opens_a_position_and_blocks_margin(market: Market) -> None:
    market.place(symbol=FUTURE, price="22400")
    market.place(symbol=FUTURE, side=Side.SELL, price="22500")
    assert market.exchange.funds(market.account).blocked_by_orders == 0

    market.place(symbol=FUTURE, side=Side.SELL, price="22500")

    assert market.exchange.funds(market.account).blocked_by_orders == 65 * 22500 * INDEX_FUTURE


def test_a_bought_option_costs_its_premium_and_a_sold_one_blocks_margin(market: Market) -> None:
    market.place(price="60")
    bought = market.exchange.funds(market.account)
    assert (bought.realized, bought.used) == (-65 * Decimal("50.05"), Decimal(0))

    market.place(side=Side.SELL, price="40", quantity=130)

    sold = market.exchange.funds(market.account)
    assert sold.blocked_by_positions == 65 * Decimal("22250.00") * INDEX_SHORT_OPTION


def test_shares_that_are_not_held_are_not_sold(market: Market) -> None:
    with pytest.raises(Refused) as refused:
        market.place(**SHARE, side=Side.SELL, price="940", quantity=1)  # type: ignore[arg-type]
    assert refused.value.why is Why.HOLDING

    market.place(**SHARE, price="960", quantity=10)  # type: ignore[arg-type]
    market.place(**SHARE, side=Side.SELL, price="940", quantity=10)  # type: ignore[arg-type]

    (position,) = market.exchange.positions(market.account)
    assert (position.buy_quantity, position.sell_quantity, position.net_quantity) == (10, 10, 0)
    assert position.average_price == 0


def test_accounts_are_the_same_everywhere_and_differ_from_each_other() -> None:
    assert default(BROKER) is numbered(BROKER, 1)
    made = [numbered(BROKER, number) for number in range(1, LAST_NUMBER + 1)]
    for column in ("user_id", "api_key", "api_secret", "ucc", "mobile_number", "totp_secret", "pan"):
        assert len({getattr(account, column) for account in made}) == LAST_NUMBER, column
    assert find(BROKER, "api_key", made[41].api_key) is made[41]
    assert made[0].api_secret not in repr(made[0])
    with pytest.raises(ValueError, match=f"choose 1 to {LAST_NUMBER}"):
        numbered(BROKER, LAST_NUMBER + 1)


def test_the_made_up_market_lists_weekly_and_monthly_contracts_by_the_exchanges_symbols(market: Market) -> None:
    listed = {each.symbol: each for each in market.exchange.universe.all(Exchange.NFO)}

    assert listed["NIFTY26NOV22250CE"].expiry == date(2026, 11, 24)
    assert listed["NIFTY26D0122250CE"].expiry == date(2026, 12, 1)
    assert listed["BANKNIFTY26DEC50000PE"].lot_size == 30
    assert listed["FINNIFTY27JANFUT"].lot_size == 60
    assert listed["NIFTY26NOVFUT"].tick_size == Decimal("0.10")
    assert len({each.token for each in listed.values()}) == len(listed)
    quote = market.exchange.quote(listed["NIFTY26D0122250CE"])
    assert quote.bid < quote.last_price < quote.ask
    assert quote.low <= quote.last_price <= quote.high


def test_a_pinned_share_moves_its_future(market: Market) -> None:
    market.pin("1000", "SBIN", Exchange.NSE)

    future = market.exchange.quote(market.contract("SBIN26NOVFUT"))

    assert Decimal(1000) <= future.last_price < Decimal(1005)


def test_prices_move_and_are_the_same_in_every_run(markets: Markets) -> None:
    first, second = markets.open("a"), markets.open("b")
    for market in (first, second):
        market.settings.moving = True
    seen = []
    for _ in range(20):
        first.pass_time(60)
        second.pass_time(60)
        price = first.exchange.quote(first.contract()).last_price
        assert price == second.exchange.quote(second.contract()).last_price
        seen.append(price)

    assert len(set(seen)) > 10
