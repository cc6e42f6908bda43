"""A market order goes out as a limit order that cannot run away."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.domain.enums import Exchange, InstrumentKind, Side
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.domain.market import Quote
from brokers.risk.pricing import protected_limit

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def instrument(
    kind: InstrumentKind = InstrumentKind.EQUITY, tick: str = "0.05", lower: str | None = None, upper: str | None = None
) -> Instrument:
    return Instrument(
        symbol="RELIANCE",
        exchange=Exchange.NSE if kind is InstrumentKind.EQUITY else Exchange.NFO,
        kind=kind,
        underlying="RELIANCE",
        lot_size=1,
        tick_size=Decimal(tick),
        freeze_quantity=1800,
        lower_band=Decimal(lower) if lower else None,
        upper_band=Decimal(upper) if upper else None,
        master_day=date(2026, 11, 23),
    )


def quote(
    last: str | None, bid: str | None = None, ask: str | None = None, lower: str | None = None, upper: str | None = None
) -> Quote:
    return Quote(
        symbol="RELIANCE",
        exchange="NSE",
        last_price=Decimal(last) if last else None,
        bid_price=Decimal(bid) if bid else None,
        ask_price=Decimal(ask) if ask else None,
        lower_circuit=Decimal(lower) if lower else None,
        upper_circuit=Decimal(upper) if upper else None,
        as_of=NOW,
    )


def test_a_buy_is_protected_above_the_best_offer() -> None:
    assert protected_limit(instrument(), Side.BUY, quote("1000", bid="999.95", ask="1000.05")) == Decimal("1005.10")


def test_a_sell_is_protected_below_the_best_bid() -> None:
    assert protected_limit(instrument(), Side.SELL, quote("1000", bid="999.95", ask="1000.05")) == Decimal("994.95")


def test_the_last_price_serves_when_the_other_side_is_empty() -> None:
    assert protected_limit(instrument(), Side.BUY, quote("200")) == Decimal("202.00")


def test_a_cheap_option_is_protected_by_ten_paise() -> None:
    assert protected_limit(instrument(InstrumentKind.OPTION), Side.BUY, quote("0.50")) == Decimal("0.60")


def test_the_day_s_band_is_never_passed() -> None:
    capped = instrument(upper="1001", lower="999")
    assert protected_limit(capped, Side.BUY, quote("1000")) == Decimal("1001")
    assert protected_limit(capped, Side.SELL, quote("1000")) == Decimal("999")
    assert protected_limit(instrument(), Side.BUY, quote("1000", upper="1002.03")) == Decimal("1002.00")


def test_without_a_price_nothing_is_guessed() -> None:
    with pytest.raises(OrderDenied, match="no price now"):
        protected_limit(instrument(), Side.BUY, quote(None))


@given(
    last=st.decimals("0.05", "90000", places=2),
    tick=st.sampled_from(["0.01", "0.05", "0.10", "1"]),
    side=st.sampled_from(Side),
    kind=st.sampled_from([InstrumentKind.EQUITY, InstrumentKind.FUTURE, InstrumentKind.OPTION]),
)
def test_the_limit_is_on_the_tick_positive_and_near_the_price(
    last: Decimal, tick: str, side: Side, kind: InstrumentKind
) -> None:
    price = protected_limit(instrument(kind, tick), side, quote(str(last)))
    assert price % Decimal(tick) == 0
    assert price > 0
    room = max(last * Decimal("0.11"), Decimal("0.10")) + 2 * Decimal(tick)
    assert abs(price - last) <= room
    if side is Side.BUY:
        assert price >= last
