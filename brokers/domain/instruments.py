"""What can be traded: one frozen value a contract, with the rules an order must keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import OrderDenied

#: Rupees a unit. Nothing that is traded comes near, and the ledger's columns hold no more.
HIGHEST_PRICE = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Instrument:
    """One contract or share, as its master of ``master_day`` describes it."""

    #: The exchange's trading symbol, e.g. ``NIFTY26NOV22250CE`` or ``RELIANCE``.
    symbol: str
    exchange: Exchange
    kind: InstrumentKind
    #: The exchange's name of the underlying, e.g. ``NIFTY``; the symbol itself for a share.
    underlying: str
    #: Last trading day; None for shares and indices.
    expiry: date | None = None
    #: Rupees; None unless an option.
    strike: Decimal | None = None
    right: OptionRight | None = None
    #: Units in one lot; None when no source of this day states it.
    lot_size: int | None = None
    #: Rupees; None when no trustworthy source states it.
    tick_size: Decimal | None = None
    #: Largest quantity in units that one order may carry (inclusive); None when unknown.
    freeze_quantity: int | None = None
    #: Lowest and highest price in rupees of the day's band; None when unknown.
    lower_band: Decimal | None = None
    upper_band: Decimal | None = None
    name: str = ""
    #: The day whose master this row was read from (IST).
    master_day: date
    #: Broker name -> that broker's own identifiers, as its adapter's master reader wrote them.
    identifiers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def check_quantity(self, quantity: int) -> None:
        """Refuse a quantity in units that the exchange would refuse.

        :raises OrderDenied: not positive, not a whole number of lots, above the freeze quantity,
            or the lot or freeze quantity is unknown.
        """
        if quantity <= 0:
            raise OrderDenied(f"Quantity {quantity} of {self.symbol} is not above zero; give units, e.g. one lot.")
        if self.lot_size is None:
            raise OrderDenied(
                f"The lot size of {self.symbol} is not known today; refresh the instruments and try again."
            )
        if quantity % self.lot_size:
            raise OrderDenied(
                f"Quantity {quantity} of {self.symbol} is not a multiple of its lot of {self.lot_size}; "
                f"the nearest is {max(self.lot_size, round(quantity / self.lot_size) * self.lot_size)}."
            )
        if self.freeze_quantity is None and self.exchange.is_derivative:
            raise OrderDenied(
                f"The freeze quantity of {self.symbol} is not known today; refresh the instruments and try again."
            )
        if self.freeze_quantity is not None and quantity > self.freeze_quantity:
            raise OrderDenied(
                f"Quantity {quantity} of {self.symbol} is above its freeze quantity of {self.freeze_quantity}; "
                "send it in slices."
            )

    @property
    def on_any_day(self) -> "Instrument":
        """As it is without today's band: for prices that may come to the exchange on another day."""
        return replace(self, lower_band=None, upper_band=None)

    def check_price(self, price: Decimal) -> None:
        """Refuse a price in rupees that the exchange would refuse.

        :raises OrderDenied: not a finite number above zero, off the tick, outside the day's band,
            or the tick is unknown.
        """
        if not price.is_finite() or price <= 0:
            raise OrderDenied(f"Price {price} of {self.symbol} is not a number above zero; give rupees a unit.")
        if price > HIGHEST_PRICE:
            raise OrderDenied(f"Price {price} of {self.symbol} is above {HIGHEST_PRICE:,} rupees a unit; check it.")
        if self.tick_size is None:
            raise OrderDenied(
                f"The tick size of {self.symbol} is not known today; refresh the instruments and try again."
            )
        if price % self.tick_size:
            raise OrderDenied(f"Price {price} of {self.symbol} is not a multiple of its tick of {self.tick_size}.")
        if self.lower_band is not None and price < self.lower_band:
            raise OrderDenied(
                f"Price {price} of {self.symbol} is below the day's band, which starts at {self.lower_band}."
            )
        if self.upper_band is not None and price > self.upper_band:
            raise OrderDenied(
                f"Price {price} of {self.symbol} is above the day's band, which ends at {self.upper_band}."
            )

    def round_to_tick(self, price: Decimal, *, up: bool) -> Decimal:
        """Move ``price`` (rupees) to the next tick, upwards or downwards.

        :raises OrderDenied: the tick is unknown.
        """
        if self.tick_size is None:
            raise OrderDenied(
                f"The tick size of {self.symbol} is not known today; refresh the instruments and try again."
            )
        steps, rest = divmod(price, self.tick_size)
        if rest and up:
            steps += 1
        return steps * self.tick_size
