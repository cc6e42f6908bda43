"""Breeze's instrument master: SecurityMaster.zip, one CSV file an exchange, read by column name.

Measured on the archives of 2026-04-10 and 2026-07-30: ``FreezeQty`` is 0 on every derivative, ``ticksize`` is
0.01 on every NSE share and a price on BSE's, ``TickSize`` of derivatives is off for one contract in eighty, and
``BasePrice`` of an option is the underlying's. None of these is taken. Price ranges are rupees.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.adapters.breeze import building, parsing, tables
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import UnreadableReply

Fields = Mapping[str, int]

MAX_FILE_BYTES = 256 * 1024 * 1024
_CASH_COLUMNS = ("Token", "ShortName", "Series", "CompanyName", "ISINCode", "ExchangeCode")
_CONTRACT_COLUMNS = (
    "Token",
    "ShortName",
    "ExpiryDate",
    "StrikePrice",
    "OptionType",
    "LotSize",
    "LowPriceRange",
    "HighPriceRange",
    "CompanyName",
    "ExchangeCode",
)
_RIGHTS = {"CE": OptionRight.CALL, "PE": OptionRight.PUT, "XX": None}


class BadRow(Exception):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    exchange: Exchange
    columns: tuple[str, ...]
    read: Callable[[Exchange, Fields, Sequence[str]], MasterRow | None]


def read(archive: bytes) -> Iterator[MasterRow | MasterProblem]:
    """Read the exchanges mcube trades; files of other markets are skipped.

    :raises UnreadableReply: it is no archive, or an exchange's file is missing.
    """
    try:
        opened = zipfile.ZipFile(io.BytesIO(archive))
    except zipfile.BadZipFile as error:
        raise UnreadableReply("Breeze's instrument master is not a zip archive; ask again.") from error
    with opened:
        sizes = {info.filename: info.file_size for info in opened.infolist()}
        for file in _FILES:
            if file.name not in sizes:
                raise UnreadableReply(f"Breeze's instrument master has no {file.name}; ask again.")
            if sizes[file.name] > MAX_FILE_BYTES:
                raise UnreadableReply(f"{file.name} of Breeze's instrument master is too large to be one; ask again.")
        for file in _FILES:
            yield from _read_file(opened, file)


def is_complete(archive: bytes) -> bool:
    """Whether it is an archive with a file for every exchange."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return {file.name for file in _FILES} <= set(opened.namelist())
    except zipfile.BadZipFile:
        return False


def _read_file(archive: zipfile.ZipFile, file: _File) -> Iterator[MasterRow | MasterProblem]:
    with archive.open(file.name) as binary:
        lines = csv.reader(io.TextIOWrapper(binary, "utf-8", errors="replace", newline=""), skipinitialspace=True)
        headings = [heading.strip() for heading in next(lines, [])]
        missing = [column for column in file.columns if column not in headings]
        if missing:
            yield MasterProblem(source=file.name, line=1, reason=f"Columns {', '.join(missing)} are missing.")
            return
        fields = {heading: position for position, heading in enumerate(headings)}
        for row in _lines(lines):
            try:
                if isinstance(row, csv.Error):
                    raise BadRow(f"It is not CSV: {row}.")
                if len(row) != len(headings):
                    raise BadRow(f"It has {len(row)} fields under {len(headings)} headings.")
                if (entry := file.read(file.exchange, fields, row)) is not None:
                    yield entry
            except BadRow as problem:
                yield MasterProblem(source=file.name, line=lines.line_num, reason=str(problem))


def _lines(lines: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """The rows; a row that the CSV reader refuses does not end the file."""
    while True:
        try:
            yield next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _cash(exchange: Exchange, fields: Fields, row: Sequence[str]) -> MasterRow | None:
    token, code, series = (row[fields[name]].strip() for name in ("Token", "ShortName", "Series"))
    if not code:
        raise BadRow("It has no ShortName.")
    isin, symbol = row[fields["ISINCode"]].strip(), row[fields["ExchangeCode"]].strip()
    # The series of NSE's indices is "0" and their token a name; BSE's SENSEX has a name for a token, too.
    is_index = not isin and (series == "0" or (code in tables.INDEX_UNDERLYINGS and not token.isdigit()))
    if not is_index and not (token.isdigit() and int(token)):
        raise BadRow(f"Token {token!r} of {code} is not a listed security's.")
    if row[fields["CompanyName"]].strip().endswith(" OFS"):
        # An offer for sale is not traded by ordinary orders, and carries the share's own ExchangeCode, which would
        # make the share ambiguous (seen in BSE's file of 2026-07-30).
        return None
    kind = InstrumentKind.INDEX if is_index else InstrumentKind.EQUITY
    return MasterRow(
        exchange=exchange,
        kind=kind,
        token=token,
        symbol=tables.INDEX_UNDERLYINGS.get(code, symbol) if is_index else symbol,
        underlying=tables.INDEX_UNDERLYINGS.get(code, symbol) if is_index else symbol,
        lot_size=None if is_index else 1,
        series="" if is_index else series,
        isin=isin,
        name=row[fields["CompanyName"]].strip(),
        key=parsing.cash_key(exchange.value, code),
        identifiers={"stock_code": code, "exchange_code": exchange.value, "token": token},
    )


def _contract(exchange: Exchange, fields: Fields, row: Sequence[str]) -> MasterRow:
    token, code = row[fields["Token"]].strip(), row[fields["ShortName"]].strip()
    if not code or not token.isdigit():
        raise BadRow(f"Token {token!r} with ShortName {code!r} names no contract.")
    expiry = _expiry(row[fields["ExpiryDate"]])
    option_type = row[fields["OptionType"]].strip()
    if option_type not in _RIGHTS:
        raise BadRow(f"OptionType {option_type!r} of {code} is none of {', '.join(_RIGHTS)}.")
    right = _RIGHTS[option_type]
    strike = _number(row[fields["StrikePrice"]], "StrikePrice") if right else Decimal(0)
    lot = _number(row[fields["LotSize"]], "LotSize")
    if (right and strike <= 0) or lot <= 0 or lot != int(lot):
        raise BadRow(f"Strike {strike} or lot {lot} of {code} is not above zero.")
    return MasterRow(
        exchange=exchange,
        kind=InstrumentKind.OPTION if right else InstrumentKind.FUTURE,
        token=token,
        symbol="",
        underlying=tables.INDEX_UNDERLYINGS.get(code, row[fields["ExchangeCode"]].strip()),
        expiry=expiry,
        strike=strike if right else None,
        right=right,
        lot_size=int(lot),
        lower_band=_number(row[fields["LowPriceRange"]], "LowPriceRange") or None,
        upper_band=_number(row[fields["HighPriceRange"]], "HighPriceRange") or None,
        name=row[fields["CompanyName"]].strip(),
        key=parsing.contract_key(exchange.value, code, expiry, right, strike),
        identifiers={
            "stock_code": code,
            "exchange_code": exchange.value,
            "token": token,
            "expiry_date": building.day(expiry),
            "right": tables.RIGHT_TO_WIRE[right],
            "strike_price": building.plain(strike),
        },
    )


@lru_cache(maxsize=1024)
def _expiry(text: str) -> date:
    expiry = parsing.day(text.strip())
    if expiry is None:
        raise BadRow(f"ExpiryDate {text!r} is not a date.")
    return expiry


@lru_cache(maxsize=65536)
def _number(text: str, name: str) -> Decimal:
    try:
        number = Decimal(text.strip() or "0")
    except InvalidOperation as error:
        raise BadRow(f"{name} {text!r} is not a number.") from error
    if not number.is_finite():
        raise BadRow(f"{name} {text!r} is not a number.")
    return number


_FILES = (
    _File("NSEScripMaster.txt", Exchange.NSE, _CASH_COLUMNS, _cash),
    _File("BSEScripMaster.txt", Exchange.BSE, _CASH_COLUMNS, _cash),
    _File("FONSEScripMaster.txt", Exchange.NFO, _CONTRACT_COLUMNS, _contract),
    _File("FOBSEScripMaster.txt", Exchange.BFO, _CONTRACT_COLUMNS, _contract),
)
