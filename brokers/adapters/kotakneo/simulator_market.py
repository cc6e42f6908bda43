"""Market data of Kotak Neo's face: quotes, option chains and candles, which need the consumer key alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from urllib.parse import parse_qsl, unquote

from brokers.adapters.kotakneo import simulator_quotes as rows
from brokers.adapters.kotakneo.simulator_master import INDEX_NAMES
from brokers.adapters.kotakneo.simulator_orders import SEGMENTS
from brokers.clock import IST
from brokers.domain.enums import CandleInterval, InstrumentKind
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.candles import candles
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.hours import Hours, session
from brokers.simulator.http import Reply, Request

QUOTES = "/script-details/1.0/quotes/neosymbol/"
CHAIN = "/market-data/1.0/watchlist/option-chain"
CANDLES = "/market-data/1.0/historical/details"

MOST_QUOTES = 50
CHAIN_SEGMENTS = ("nse_fo", "bse_fo")
CHAIN_STEP, USUAL_COUNT = 10, 40
#: ``interval`` -> what it is, and the days that one call may span, both ends counted. The others are not simulated.
INTERVALS = {
    "1min": (CandleInterval.MINUTE, 30),
    "5min": (CandleInterval.FIVE_MINUTES, 30),
    "15min": (CandleInterval.FIFTEEN_MINUTES, 60),
    "30min": (CandleInterval.THIRTY_MINUTES, 90),
    "60min": (CandleInterval.HOUR, 90),
    "D": (CandleInterval.DAY, 180),
}
NO_DATA = "No data found"


class BadQuery(Exception):
    """A query that market data refuses, and its text."""


def fault(text: str, code: int = 400) -> Reply:
    """Market data's shape of a refusal."""
    return Reply(content={"status": "ERROR", "fault": {"code": code, "message": text}}, status=code)


class MarketData:
    """Quotes, option chains and candles of the simulated exchange."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self._hours = Hours(exchange.settings)

    def quotes(self, request: Request, _: SimulatedAccount) -> Reply:
        parts = unquote(request.raw_path.decode().removeprefix(QUOTES)).rpartition("/")
        asked, kind = parts[0], parts[2]
        symbols = [part.partition("|")[::2] for part in asked.split(",") if part]
        if not symbols or len(symbols) > MOST_QUOTES:
            return fault(f"give 1 to {MOST_QUOTES} instruments")
        found = [self._named(segment, name) for segment, name in symbols]
        quoted = [rows.quote(self._exchange.quote(each), kind) for each in found if each]
        return Reply(content=quoted) if quoted else fault("no data found for the given symbols")

    def chain(self, request: Request, _: SimulatedAccount) -> Reply:
        try:
            return self._chain(dict(parse_qsl(request.query.decode(), keep_blank_values=True)))
        except BadQuery as bad:
            return fault(str(bad))

    def candles(self, request: Request, _: SimulatedAccount) -> Reply:
        try:
            return self._candles(dict(parse_qsl(request.query.decode(), keep_blank_values=True)))
        except BadQuery as bad:
            return fault(str(bad))

    def _chain(self, asked: Mapping[str, str]) -> Reply:
        segment, count = asked.get("exchange", ""), asked.get("count", str(USUAL_COUNT))
        if segment not in CHAIN_SEGMENTS or asked.get("instrument_type", "option") != "option":
            raise BadQuery("Invalid exchange or instrument_type")
        if not count.isascii() or not count.isdecimal() or not int(count) or int(count) % CHAIN_STEP:
            raise BadQuery("count must be a multiple of 10")
        listed = self._exchange.universe.of_underlying(SEGMENTS[segment], asked.get("underlying", ""))
        options = [each for each in listed if each.strike is not None and each.expiry is not None]
        if not options:
            raise BadQuery("Invalid underlying")
        nearest = min(each.expiry for each in options if each.expiry)
        expiry = _day(asked, "expiry") if asked.get("expiry") else nearest
        quotes = [self._exchange.quote(each) for each in options if each.expiry == expiry]
        if not quotes:
            raise BadQuery("Invalid expiry")
        return Reply(content=rows.chain(quotes, int(count)))

    def _candles(self, asked: Mapping[str, str]) -> Reply:
        segment, _, name = asked.get("neosymbol", "").partition("|")
        contract = self._named(segment, name)
        if contract is None:
            raise BadQuery("Invalid neosymbol")
        interval = asked.get("interval", "")
        if interval not in INTERVALS:
            raise BadQuery("Invalid interval value")
        length, most = INTERVALS[interval]
        first, last = _day(asked, "fromdate"), _day(asked, "todate")
        if last < first or (last - first).days + 1 > most:
            raise BadQuery(f"Date range must be 1 to {most} days for {interval}")
        exchange, now = self._exchange, self._exchange.now()
        starts_at, ends_at = datetime.combine(first, time(), IST), datetime.combine(last, time.max, IST)
        made = candles(contract, length, starts_at, ends_at, prices=exchange.prices, hours=self._hours, now=now)
        listed = [rows.candle(each) for each in made]
        if not listed and first == exchange.today() and now.timestamp() < session(contract.exchange, first)[0]:
            raise BadQuery("Data not available for the given range. Market has not yet opened")
        if not listed:
            raise BadQuery(NO_DATA)
        return Reply(content={"status": "success", "interval": interval, "data": {"candles": listed}})

    def _named(self, segment: str, name: str) -> Contract | None:
        """A contract by its token, or an index by its display name, e.g. ``Nifty 50``."""
        where = SEGMENTS.get(segment)
        if where is None:
            return None
        display = INDEX_NAMES.get(name, name).upper()
        found = self._exchange.universe.by_token(where, name) or self._exchange.universe.by_symbol(where, display)
        by_name = found is None or found.token != name
        return None if found is None or (by_name and found.kind is not InstrumentKind.INDEX) else found


def _day(asked: Mapping[str, str], name: str) -> date:
    try:
        return date.fromisoformat(asked.get(name, ""))
    except ValueError as error:
        raise BadQuery(f"Invalid or missing {name}") from error
