"""Rupees, units and times: the same at every broker."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from brokers.domain.enums import InstrumentKind, OptionRight
from tests.contract.world import MARKET_TIME, Catalogue, Trader


def test_quantities_are_units_on_the_way_out_and_back(trader: Trader) -> None:
    lot = trader.option.lot_size or 0
    order_id = trader.adapter.place(trader.order(quantity=3 * lot)).broker_order_id
    assert trader.truth()[0]["quantity"] == 3 * lot
    [order] = trader.adapter.fetch_orders()
    assert (order.quantity, order.pending_quantity) == (3 * lot, 3 * lot)
    trader.fill(order_id, lot)
    [position] = trader.adapter.fetch_positions()
    assert position.quantity == lot
    assert type(position.quantity) is int


def test_prices_are_rupees_to_the_tick_on_the_way_out_and_back(trader: Trader) -> None:
    tick = trader.option.tick_size or Decimal(0)
    price = trader.lowest(trader.option) + 7 * tick
    trader.adapter.place(trader.order(limit_price=price))
    assert Decimal(trader.truth()[0]["price"]) == price
    [order] = trader.adapter.fetch_orders()
    assert order.limit_price == price
    assert isinstance(order.limit_price, Decimal)


def test_money_is_decimal_everywhere(trader: Trader) -> None:
    order_id = trader.adapter.place(trader.order()).broker_order_id
    trader.fill(order_id, trader.option.lot_size or 0)
    adapter = trader.adapter
    values = [
        adapter.fetch_margin(),
        adapter.fetch_quote(trader.option),
        *adapter.fetch_positions(),
        *adapter.fetch_orders(),
        *adapter.fetch_trades(),
    ]
    assert len(values) >= 4
    for value in values:
        assert not [name for name in value.keys() if isinstance(value[name], float)]  # noqa: SIM118


def test_times_are_aware_and_of_the_market(trader: Trader) -> None:
    trader.adapter.place(trader.order())
    [order] = trader.adapter.fetch_orders()
    quote, margin = trader.adapter.fetch_quote(trader.option), trader.adapter.fetch_margin()
    moments = [order.placed_at, quote.as_of, margin.as_of, *([quote.traded_at] if quote.traded_at else [])]
    for moment in moments:
        assert isinstance(moment, datetime)
        assert moment.utcoffset() == timedelta(0)
        assert abs(moment - MARKET_TIME.astimezone(UTC)) < timedelta(minutes=30)


def test_the_master_says_of_every_contract_what_the_exchange_says(trader: Trader, catalogue: Catalogue) -> None:
    traded = 0
    for row in catalogue.rows:
        contract = catalogue.contracts.get((row.exchange, row.token))
        if contract is None:
            continue
        traded += 1
        assert (row.kind, row.expiry, row.right) == (contract.kind, contract.expiry, contract.right), row.key
        assert row.strike == contract.strike, row.key
        # Every source has its own name for an index.
        assert row.kind is InstrumentKind.INDEX or row.symbol in ("", contract.symbol), row.key
        assert row.lot_size in (None, contract.lot_size), row.key
        assert row.tick_size in (None, contract.tick_size), row.key
        assert row.freeze_quantity in (None, contract.freeze_quantity), row.key
    assert traded > 500


def test_the_master_has_every_contract_once_and_no_broken_row(trader: Trader, catalogue: Catalogue) -> None:
    assert catalogue.problems == []
    assert len({row.key for row in catalogue.rows}) == len(catalogue.rows)
    listed = {(row.exchange, row.token) for row in catalogue.rows}
    missing = [
        contract.symbol
        for key, contract in catalogue.contracts.items()
        if key not in listed and contract.kind is not InstrumentKind.INDEX
    ]
    assert missing == []


def test_an_option_of_the_master_can_be_traded_and_quoted(trader: Trader, catalogue: Catalogue) -> None:
    for right in OptionRight:
        instrument = catalogue.nearest(InstrumentKind.OPTION, right)
        assert trader.adapter.fetch_quote(instrument).symbol == instrument.symbol
        request = trader.order(
            instrument=instrument, quantity=instrument.lot_size, limit_price=trader.lowest(instrument)
        )
        trader.adapter.place(request)
        assert trader.truth()[-1]["symbol"] == instrument.symbol
