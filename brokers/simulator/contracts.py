"""What the simulated exchange trades: one frozen value a contract, share or index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from brokers.domain.enums import Exchange, InstrumentKind, OptionRight

#: Prices a side in a book that is shown.
LEVELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One contract of one trading day, as the exchange knows it."""

    exchange: Exchange
    kind: InstrumentKind
    #: The exchange's token of the day, e.g. ``71472``; an index may have text, e.g. ``NIFTY 50``.
    token: str
    #: The exchange's trading symbol without a series, e.g. ``RELIANCE`` or ``NIFTY26NOV22250CE``.
    symbol: str
    #: The exchange's name of the underlying, e.g. ``NIFTY``; the symbol itself for a share.
    underlying: str
    name: str = ""
    #: ``EQ`` for a share at NSE, a group at BSE; empty otherwise.
    series: str = ""
    isin: str = ""
    #: Last trading day; None for shares and indices.
    expiry: date | None = None
    #: Rupees; None unless an option.
    strike: Decimal | None = None
    right: OptionRight | None = None
    #: Units.
    lot_size: int = 1
    #: Rupees.
    tick_size: Decimal = Decimal("0.05")
    #: Largest quantity in units that one order may carry (inclusive).
    freeze_quantity: int = 100_000
    #: The last trading day's close in rupees; prices of the day move around it.
    base_price: Decimal = Decimal(0)
    #: The day's price band in rupees.
    lower_band: Decimal = Decimal(0)
    upper_band: Decimal = Decimal(0)
    #: The underlying is an index.
    on_index: bool = False

    @property
    def instrument_name(self) -> str:
        """The exchange's word for it: FUTIDX, FUTSTK, OPTIDX or OPTSTK; EQ or INDEX otherwise."""
        if self.kind is InstrumentKind.EQUITY:
            return "EQ"
        if self.kind is InstrumentKind.INDEX:
            return "INDEX"
        return ("FUT" if self.kind is InstrumentKind.FUTURE else "OPT") + ("IDX" if self.on_index else "STK")


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketQuote:
    """The market in one contract at one moment. Money is rupees."""

    contract: Contract
    last_price: Decimal
    #: When the last price traded (aware UTC, market time).
    traded_at_epoch: float
    bid: Decimal
    ask: Decimal
    bid_quantity: int
    ask_quantity: int
    open: Decimal
    high: Decimal
    low: Decimal
    previous_close: Decimal
    volume: int
    open_interest: int
    #: The underlying's last price; None for shares and indices.
    spot: Decimal | None

    @property
    def bids(self) -> list[tuple[Decimal, int]]:
        """The five best prices of buyers with their units, the best first; zeros where nobody stands."""
        return _ladder(self.bid, -self.contract.tick_size, self.bid_quantity)

    @property
    def asks(self) -> list[tuple[Decimal, int]]:
        """The five best prices of sellers, as :attr:`bids`."""
        return _ladder(self.ask, self.contract.tick_size, self.ask_quantity)


def _ladder(best: Decimal, step: Decimal, units: int) -> list[tuple[Decimal, int]]:
    prices = [best + step * number for number in range(LEVELS)]
    return [(price, units) if price > 0 else (Decimal(0), 0) for price in prices]
