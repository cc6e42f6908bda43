"""The contracts of one trading day: those of real masters when there are any, made up otherwise.

Names of shares and indices are those of the Indian market; tokens, ISINs and prices are made up. Lots and freeze
quantities of indices are those in force since 2026-02-01 (exchange circulars).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.simulator.contracts import Contract
from brokers.simulator.hours import OPEN
from brokers.simulator.prices import fair_value, on_tick

TUESDAY, THURSDAY = 1, 3
WEEKS, MONTHS = 3, 3
STRIKES_EACH_SIDE = 20
BAND = Decimal("0.10")
TICK, WIDE_TICK = Decimal("0.05"), Decimal("0.10")
#: Ticks of shares by price, from NSE's circular in force since 2025-04-15: below the price, the tick.
SHARE_TICKS = ((250, "0.01"), (1000, "0.05"), (5000, "0.10"), (10_000, "0.50"), (20_000, "1.00"))
TOP_TICK = Decimal("5.00")
#: NSE writes the month of a weekly expiry as one character.
WEEKLY_MONTHS = "123456789OND"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Share:
    symbol: str
    name: str
    price: Decimal
    lot_size: int
    tick_size: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    symbol: str
    name: str
    exchange: Exchange
    token: str
    price: Decimal
    lot_size: int
    freeze_quantity: int
    strike_step: int
    expires_on: int
    weekly: bool


def share_tick(price: Decimal) -> Decimal:
    """The tick of a share in rupees, by its price."""
    return next((Decimal(tick) for below, tick in SHARE_TICKS if price < below), TOP_TICK)


def _share(symbol: str, name: str, price: str, lot_size: int) -> _Share:
    value = Decimal(price)
    return _Share(symbol=symbol, name=name, price=value, lot_size=lot_size, tick_size=share_tick(value))


SHARES = (
    _share("RELIANCE", "RELIANCE INDUSTRIES", "1400", 500),
    _share("TCS", "TATA CONSULTANCY SERVICES", "3100", 175),
    _share("INFY", "INFOSYS", "1500", 400),
    _share("SBIN", "STATE BANK OF INDIA", "950", 750),
    _share("HDFCBANK", "HDFC BANK", "990", 550),
    _share("ICICIBANK", "ICICI BANK", "1380", 700),
    _share("ITC", "ITC", "410", 1600),
    _share("LT", "LARSEN AND TOUBRO", "3900", 175),
    _share("AXISBANK", "AXIS BANK", "1240", 625),
    _share("MARUTI", "MARUTI SUZUKI INDIA", "15600", 50),
    _share("ONGC", "OIL AND NATURAL GAS CORPORATION", "245", 2250),
    _share("PNB", "PUNJAB NATIONAL BANK", "120", 8000),
)


def _index(symbol: str, name: str, token: str, price: int, lot_size: int, freeze: int, step: int) -> _Index:
    return _Index(
        symbol=symbol,
        name=name,
        exchange=Exchange.NSE,
        token=token,
        price=Decimal(price),
        lot_size=lot_size,
        freeze_quantity=freeze,
        strike_step=step,
        expires_on=TUESDAY,
        weekly=symbol == "NIFTY",
    )


INDICES = (
    _index("NIFTY", "NIFTY 50", "26000", 22_250, 65, 1800, 50),
    _index("BANKNIFTY", "NIFTY BANK", "26009", 50_000, 30, 600, 100),
    _index("FINNIFTY", "NIFTY FIN SERVICE", "26037", 24_000, 60, 1800, 50),
    replace(_index("SENSEX", "BSE SENSEX", "1", 73_000, 20, 1000, 100), exchange=Exchange.BSE, expires_on=THURSDAY),
)


def monthly_expiries(day: date, weekday: int, holidays: frozenset[date]) -> list[date]:
    """The next three last ``weekday``s of a month, on the trading day before when closed."""
    found: list[date] = []
    year, month = day.year, day.month
    while len(found) < MONTHS:
        year_after, month_after = (year, month + 1) if month < 12 else (year + 1, 1)
        last = date(year_after, month_after, 1) - timedelta(days=1)
        expiry = _trading_day(last - timedelta(days=(last.weekday() - weekday) % 7), holidays)
        if expiry >= day:
            found.append(expiry)
        year, month = year_after, month_after
    return found


def weekly_expiries(day: date, weekday: int, holidays: frozenset[date]) -> list[date]:
    """The next three ``weekday``s, on the trading day before when closed."""
    first = day + timedelta(days=(weekday - day.weekday()) % 7)
    days = [_trading_day(first + timedelta(weeks=week), holidays) for week in range(WEEKS + 1)]
    return [expiry for expiry in days if expiry >= day][:WEEKS]


def _trading_day(day: date, holidays: frozenset[date]) -> date:
    while day.weekday() > 4 or day in holidays:
        day -= timedelta(days=1)
    return day


def derivative_symbol(
    underlying: str, expiry: date, *, monthly: bool, strike: Decimal | None = None, right: OptionRight | None = None
) -> str:
    """The exchange's trading symbol: ``NIFTY26NOV22250CE`` monthly, ``NIFTY26N2422250CE`` weekly, ``NIFTY26NOVFUT``."""
    if monthly:
        stem = f"{underlying}{expiry:%y%b}".upper()
    else:
        stem = f"{underlying}{expiry:%y}{WEEKLY_MONTHS[expiry.month - 1]}{expiry:%d}"
    return f"{stem}FUT" if strike is None or right is None else f"{stem}{strike.normalize():f}{right.value}"


def synthetic(day: date, holidays: frozenset[date] = frozenset()) -> list[Contract]:
    """The made-up market of a day. F&O tokens change from day to day, as real ones do over the months."""
    contracts: list[Contract] = []
    for number, share in enumerate(SHARES):
        contracts += _of_share(share, number)
        contracts += _futures(
            share.symbol, share.name, share.price, day, holidays, share.lot_size, share.lot_size * 40, share.tick_size
        )
    for index in INDICES:
        contracts += _of_index(index, day, holidays)
    first = 35_000 + day.toordinal() % 7 * 4_000
    numbered = []
    for offset, contract in enumerate(contracts):
        numbered.append(contract if contract.token else replace(contract, token=str(first + offset)))
    return numbered


def _banded(price: Decimal, tick: Decimal) -> tuple[Decimal, Decimal]:
    reach = price * BAND
    return -(-(price - reach) // tick) * tick, (price + reach) // tick * tick


def _of_share(share: _Share, number: int) -> Iterator[Contract]:
    lower, upper = _banded(share.price, share.tick_size)
    for exchange, token, series in (
        (Exchange.NSE, str(900_01 + number), "EQ"),
        (Exchange.BSE, str(590_001 + number), "A"),
    ):
        yield Contract(
            exchange=exchange,
            kind=InstrumentKind.EQUITY,
            token=token,
            symbol=share.symbol,
            underlying=share.symbol,
            name=share.name,
            series=series,
            isin=f"INE9{number:02d}Z01{number:02d}0",
            tick_size=share.tick_size,
            base_price=share.price,
            lower_band=lower,
            upper_band=upper,
        )


def _futures(
    underlying: str,
    name: str,
    price: Decimal,
    day: date,
    holidays: frozenset[date],
    lot_size: int,
    freeze_quantity: int,
    tick_size: Decimal,
    *,
    index: _Index | None = None,
) -> Iterator[Contract]:
    opening = datetime.combine(day, OPEN, IST).timestamp()
    for expiry in monthly_expiries(day, index.expires_on if index else TUESDAY, holidays):
        bare = Contract(
            exchange=Exchange.BFO if index and index.exchange is Exchange.BSE else Exchange.NFO,
            kind=InstrumentKind.FUTURE,
            token="",
            symbol=derivative_symbol(underlying, expiry, monthly=True),
            underlying=underlying,
            name=name,
            expiry=expiry,
            lot_size=lot_size,
            tick_size=tick_size,
            freeze_quantity=freeze_quantity,
            on_index=index is not None,
        )
        base = on_tick(fair_value(bare, float(price), opening), bare)
        lower, upper = _banded(base, tick_size)
        yield replace(bare, base_price=base, lower_band=lower, upper_band=upper)


def _of_index(index: _Index, day: date, holidays: frozenset[date]) -> Iterator[Contract]:
    yield Contract(
        exchange=index.exchange,
        kind=InstrumentKind.INDEX,
        token=index.token,
        symbol=index.name,
        underlying=index.symbol,
        name=index.name,
        base_price=index.price,
        tick_size=TICK,
        on_index=True,
    )
    yield from _futures(
        index.symbol,
        index.name,
        index.price,
        day,
        holidays,
        index.lot_size,
        index.freeze_quantity,
        WIDE_TICK,
        index=index,
    )
    monthly = monthly_expiries(day, index.expires_on, holidays)
    weekly = weekly_expiries(day, index.expires_on, holidays) if index.weekly else []
    for expiry in sorted({*monthly, *weekly}):
        yield from _options(index, day, expiry, monthly=expiry in monthly)


def _options(index: _Index, day: date, expiry: date, *, monthly: bool) -> Iterator[Contract]:
    opening = datetime.combine(day, OPEN, IST).timestamp()
    middle = round(index.price / index.strike_step) * index.strike_step
    for step in range(-STRIKES_EACH_SIDE, STRIKES_EACH_SIDE + 1):
        strike = Decimal(middle + step * index.strike_step)
        for right in OptionRight:
            bare = Contract(
                exchange=Exchange.BFO if index.exchange is Exchange.BSE else Exchange.NFO,
                kind=InstrumentKind.OPTION,
                token="",
                symbol=derivative_symbol(index.symbol, expiry, monthly=monthly, strike=strike, right=right),
                underlying=index.symbol,
                name=index.name,
                expiry=expiry,
                strike=strike,
                right=right,
                lot_size=index.lot_size,
                tick_size=TICK,
                freeze_quantity=index.freeze_quantity,
                on_index=True,
            )
            base = on_tick(fair_value(bare, float(index.price), opening), bare)
            upper = (base + index.price * BAND) // TICK * TICK
            yield replace(bare, base_price=base, lower_band=TICK, upper_band=upper)


Terms = tuple[Exchange, str, date | None, Decimal | None, OptionRight | None]


class Universe:
    """The contracts of one day, found by symbol, token, terms or underlying."""

    def __init__(self, day: date, contracts: Iterable[Contract]) -> None:
        """A contract that comes twice, from two masters, is the later one."""
        self.day = day
        self._by_symbol: dict[tuple[Exchange, str], Contract] = {}
        for contract in contracts:
            if contract.expiry is None or contract.expiry >= day:
                self._by_symbol[contract.exchange, contract.symbol] = contract
        self._by_token: dict[tuple[Exchange, str], Contract] = {}
        self._by_terms: dict[Terms, Contract] = {}
        self._by_underlying: defaultdict[tuple[Exchange, str], list[Contract]] = defaultdict(list)
        self._bases: dict[str, float] = {}
        for each in self._by_symbol.values():
            self._by_token[each.exchange, each.token] = each
            self._by_terms[each.exchange, each.underlying, each.expiry, each.strike, each.right] = each
            self._by_underlying[each.exchange, each.underlying].append(each)

    def all(self, exchange: Exchange | None = None) -> list[Contract]:
        return [each for (where, _), each in self._by_symbol.items() if exchange in (None, where)]

    def by_symbol(self, exchange: Exchange, symbol: str) -> Contract | None:
        return self._by_symbol.get((exchange, symbol))

    def by_token(self, exchange: Exchange, token: str) -> Contract | None:
        """Tokens are unique within an exchange; those of indices are in NSE and BSE."""
        return self._by_token.get((exchange, token))

    def by_terms(
        self,
        exchange: Exchange,
        underlying: str,
        expiry: date | None = None,
        strike: Decimal | None = None,
        right: OptionRight | None = None,
    ) -> Contract | None:
        """The contract with these terms; without any, the share or index itself."""
        return self._by_terms.get((exchange, underlying, expiry, strike, right))

    def of_underlying(self, exchange: Exchange, underlying: str) -> list[Contract]:
        """The futures and options, or the share or index itself, of an underlying."""
        return self._by_underlying.get((exchange, underlying), [])

    def base(self, underlying: str) -> float:
        """The day's base price of an underlying: its own where listed, that of its nearest future otherwise."""
        known = self._bases.get(underlying)
        if known is None:
            known = self._bases[underlying] = self._find_base(underlying)
        return known

    def _find_base(self, underlying: str) -> float:
        for exchange in (Exchange.NSE, Exchange.BSE, Exchange.NFO, Exchange.BFO):
            priced = [each for each in self.of_underlying(exchange, underlying) if each.base_price and not each.strike]
            if priced:
                nearest = min(priced, key=lambda each: each.expiry or date.min)
                return float(nearest.base_price)
        return 100.0
