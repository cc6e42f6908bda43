"""Kotak's instrument master: a list of file addresses, then one CSV for each segment.

Columns are found by name, since headings carry stray blanks and a semicolon and new columns come (78 in 2023, 79
since 2025). Strikes, ticks and bands are in paise. A broken row is reported and the rest is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.adapters.kotakneo.errors import Reply, read_failure
from brokers.adapters.kotakneo.tables import (
    EXPIRY_EPOCHS,
    MASTER_FILE_SECONDS,
    SEGMENTS,
    SHARE_SERIES,
)
from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.wire import ReplyTooLarge, Wire, WireReply

_COLUMNS = (
    "pSymbol",
    "pGroup",
    "pExchSeg",
    "pSymbolName",
    "pTrdSymbol",
    "pOptionType",
    "pISIN",
    "pDesc",
    "dTickSize",
    "lLotSize",
    "lExpiryDate",
    "dStrikePrice",
    "dHighPriceRange",
    "dLowPriceRange",
    "lFreezeQty",
)
_RIGHTS = {"CE": OptionRight.CALL, "PE": OptionRight.PUT}
_FUTURE_WORDS = ("XX", "FUT")
_PAISE = Decimal(100)
#: An expiry outside of these days from today is a misread epoch, not a contract: options run five years at most.
_EXPIRY_REACH_DAYS = (-400, 2200)


class _Refused(Exception):
    """A row that is not usable; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One line by column name. Absent values are empty text."""

    cells: Sequence[str]
    columns: Mapping[str, int]

    def text(self, name: str) -> str:
        return self.cells[self.columns[name]].strip()

    def number(self, name: str) -> Decimal | None:
        """The number as it stands; None when it is blank, -1 or 0."""
        text = self.text(name)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise _Refused(f"{name} {text!r} is no number") from None
        if not number.is_finite():
            raise _Refused(f"{name} {text!r} is no number")
        return number if number > 0 else None

    def rupees(self, name: str) -> Decimal | None:
        paise = self.number(name)
        return None if paise is None else _plain(paise / _PAISE)

    def units(self, name: str) -> int | None:
        number = self.number(name)
        if number is not None and number != number.to_integral_value():
            raise _Refused(f"{name} {number} is no whole number")
        return None if number is None else int(number)


def read(wire: Wire, files: Callable[[], Reply], *, today: date) -> Iterator[MasterRow | MasterProblem]:
    """Ask for the files' addresses and read the four segments that are traded here.

    :raises BrokerError: the list or a file could not be had; half a master is none.
    """
    for segment, address in file_addresses(files()).items():
        yield from parse(_download(wire, segment, address), segment, today=today)


def file_addresses(reply: Reply) -> dict[str, str]:
    """Segment -> address of its CSV.

    :raises BrokerUnavailable: the list could not be had, or a segment is missing in it.
    """
    body = reply.body
    listed = body.get("filesPaths") if isinstance(body, Mapping) else None
    if reply.status != 200 or not isinstance(listed, list):
        raise read_failure(reply, what="the list of instrument files")
    found: dict[str, str] = {}
    for segment in SEGMENTS:
        pattern = re.compile(rf"/{segment}(-v\d+)?\.csv$")
        match = next((path for path in listed if isinstance(path, str) and pattern.search(path)), None)
        if match is None:
            raise UnreadableReply(
                f"Kotak's list of {len(listed)} instrument files has none for {segment}; try again later."
            )
        found[segment] = match
    return found


def parse(content: bytes, segment: str, *, today: date) -> Iterator[MasterRow | MasterProblem]:
    """The rows of one segment's file, as they come.

    :raises UnreadableReply: it is not such a file at all.
    """
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="replace", newline=""))
    headings = [heading.strip().rstrip(";").strip() for heading in next(lines, [])]
    columns = {name: headings.index(name) for name in _COLUMNS if name in headings}
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise UnreadableReply(
            f"Kotak's instrument file {segment} has no column {', '.join(missing)}; nothing is loaded."
        )
    try:
        yield from _rows(lines, headings, columns, segment, today)
    except csv.Error as error:
        raise UnreadableReply(
            f"Kotak's instrument file {segment} is broken at line {lines.line_num} ({error}); try again later."
        ) from error


def _rows(
    lines: Any, headings: Sequence[str], columns: Mapping[str, int], segment: str, today: date
) -> Iterator[MasterRow | MasterProblem]:
    read_row = _derivative if SEGMENTS[segment].is_derivative else _cash
    seen: set[str] = set()
    for cells in lines:
        try:
            if len(cells) != len(headings):
                raise _Refused(f"{len(cells)} values under {len(headings)} headings")
            row = read_row(_Row(cells=cells, columns=columns), segment, today)
            if row is None:
                continue
            if row.key in seen:
                raise _Refused(f"{row.key} is listed twice")
        except _Refused as refusal:
            yield MasterProblem(source=f"{segment}.csv", line=lines.line_num, reason=str(refusal))
            continue
        seen.add(row.key)
        yield row


def _download(wire: Wire, segment: str, address: str) -> bytes:
    # The SDK fetches these files beside its own transport, without deadline or allow-list; so the wire does it.
    # Each has a call of its own, so that its bytes go with it, and never more time than the call around it.
    try:
        try:
            reply = _get(wire, address)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            # A published file may be asked for twice; the day's start need not wait five minutes for a cut connection.
            reply = _get(wire, address)
    except (httpx.TransportError, ReplyTooLarge) as error:
        raise BrokerUnavailable(
            f"Kotak's instrument file {segment} could not be fetched ({type(error).__name__}); try again."
        ) from error
    if reply.status != 200:
        raise BrokerUnavailable(f"Kotak's instrument file {segment} answered HTTP {reply.status}; try again later.")
    return reply.body


def _get(wire: Wire, address: str) -> WireReply:
    left = MASTER_FILE_SECONDS if wire.trace is None else wire.remaining(httpx.ReadTimeout)
    with wire.call(total_seconds=min(left, MASTER_FILE_SECONDS)):
        return wire.request("GET", address, {"Accept": "text/csv", "Accept-Encoding": "gzip"})


def _cash(row: _Row, segment: str, today: date) -> MasterRow | None:
    exchange, series, traded = SEGMENTS[segment], row.text("pGroup"), _traded(row, segment)
    is_index = not series and not row.text("pISIN")
    if exchange is Exchange.NSE and not is_index and series not in SHARE_SERIES:
        return None
    symbol = traded.removesuffix("-EQ") if series == "EQ" else traded
    freeze = None if is_index else _freeze(row)
    return MasterRow(
        exchange=exchange,
        kind=InstrumentKind.INDEX if is_index else InstrumentKind.EQUITY,
        token=row.text("pSymbol"),
        symbol=symbol,
        underlying=symbol,
        lot_size=None if is_index else row.units("lLotSize"),
        tick_size=None if is_index else row.rupees("dTickSize"),
        freeze_quantity=freeze,
        lower_band=row.rupees("dLowPriceRange"),
        upper_band=row.rupees("dHighPriceRange"),
        series=series,
        isin=row.text("pISIN"),
        name=row.text("pDesc"),
        key=f"{segment}|{traded}",
        identifiers=_identifiers(row, segment, traded),
    )


def _derivative(row: _Row, segment: str, today: date) -> MasterRow:
    traded, word = _traded(row, segment), row.text("pOptionType")
    right = _RIGHTS.get(word)
    if right is None and word not in _FUTURE_WORDS:
        raise _Refused(f"{traded} has pOptionType {word!r}, which is none of CE, PE and XX")
    if not row.text("pSymbolName"):
        raise _Refused(f"{traded} has no pSymbolName, so that its underlying is not known")
    return MasterRow(
        exchange=SEGMENTS[segment],
        kind=InstrumentKind.OPTION if right else InstrumentKind.FUTURE,
        token=row.text("pSymbol"),
        symbol=traded,
        underlying=row.text("pSymbolName"),
        expiry=_expiry(row, segment, traded, today),
        strike=_strike(row, traded, right) if right else None,
        right=right,
        lot_size=row.units("lLotSize"),
        tick_size=row.rupees("dTickSize"),
        freeze_quantity=_freeze(row),
        lower_band=row.rupees("dLowPriceRange"),
        upper_band=row.rupees("dHighPriceRange"),
        name=row.text("pDesc"),
        key=f"{segment}|{traded}",
        identifiers=_identifiers(row, segment, traded),
    )


def _traded(row: _Row, segment: str) -> str:
    traded, token = row.text("pTrdSymbol"), row.text("pSymbol")
    if not traded or not token:
        raise _Refused(f"pTrdSymbol {traded!r} or token {token!r} is blank")
    if row.text("pExchSeg") != segment:
        raise _Refused(f"{traded} is of segment {row.text('pExchSeg')!r}")
    return traded


def _expiry(row: _Row, segment: str, traded: str, today: date) -> date:
    seconds = row.units("lExpiryDate")
    if seconds is None:
        raise _Refused(f"{traded} has no expiry")
    expiry = datetime.fromtimestamp(seconds + EXPIRY_EPOCHS[segment], UTC).astimezone(IST).date()
    earliest, latest = _EXPIRY_REACH_DAYS
    if not earliest <= (expiry - today).days <= latest:
        raise _Refused(f"{traded} would expire on {expiry}; the file's way to count time has changed")
    return expiry


def _strike(row: _Row, traded: str, right: OptionRight) -> Decimal:
    """The strike in rupees, confirmed by the symbol.

    The column is printed with six digits, so that a long strike loses its end; the trading symbol is whole.
    """
    strike = row.rupees("dStrikePrice")
    if strike is None:
        raise _Refused(f"{traded} has no strike")
    if not traded.endswith(f"{strike:f}{right.value}"):
        raise _Refused(f"{traded} does not end with its strike of {strike:f} rupees")
    return strike


def _freeze(row: _Row) -> int | None:
    """The largest quantity of one order. Kotak states the first that is refused: 1801 for NSE's 1800 (2026-08-28)."""
    stated = row.units("lFreezeQty")
    return None if stated is None or stated < 2 else stated - 1


def _identifiers(row: _Row, segment: str, traded: str) -> dict[str, str]:
    return {"exchange_segment": segment, "trading_symbol": traded, "token": row.text("pSymbol")}


def _plain(number: Decimal) -> Decimal:
    """Without exponent and trailing zeros: ``21000``, not ``2.1E+4``."""
    number = number.normalize()
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number
