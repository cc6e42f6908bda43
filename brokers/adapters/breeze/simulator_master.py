"""Breeze's SecurityMaster.zip on the simulated exchange: written from its contracts, or read to make them.

Layout as served in April and July 2026: text in quotes, numbers bare, headings with a space after each comma at NSE
only. ``FreezeQty`` is 0 on every row and ``ticksize`` 0.01 on every NSE row, which is wrong, as in the real files.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.simulator.contracts import Contract
from brokers.simulator.instruments import Universe, derivative_symbol, share_tick

#: Short name -> the exchange's name of the index.
INDEX_NAMES = {
    "NIFTY": "NIFTY",
    "CNXBAN": "BANKNIFTY",
    "NIFFIN": "FINNIFTY",
    "NIFSEL": "MIDCPNIFTY",
    "NIFNEX": "NIFTYNXT50",
    "BSESEN": "SENSEX",
    "BANKEX": "BANKEX",
    "BSEFOC": "SENSEX50",
}
#: Short names of the shares of the made-up market.
SHARE_NAMES = {
    "RELIND": "RELIANCE",
    "TCS": "TCS",
    "INFTEC": "INFY",
    "STABAN": "SBIN",
    "HDFBAN": "HDFCBANK",
    "ICIBAN": "ICICIBANK",
    "ITC": "ITC",
    "LARTOU": "LT",
    "AXIBAN": "AXISBANK",
    "MARUTI": "MARUTI",
    "ONGC": "ONGC",
    "PUNBAN": "PNB",
}
#: Units, in force since 2026-02-01 (exchange circulars); the master does not state them.
FREEZE_QUANTITIES = {
    "NIFTY": 1800,
    "BANKNIFTY": 600,
    "FINNIFTY": 1800,
    "MIDCPNIFTY": 2800,
    "NIFTYNXT50": 600,
    "SENSEX": 1000,
    "BANKEX": 900,
    "SENSEX50": 1800,
}
FREEZE_LOTS = 40

NSE, BSE, NFO, BFO, CDS = (f"{name}ScripMaster.txt" for name in ("NSE", "BSE", "FONSE", "FOBSE", "CDNSE"))

NSE_COLUMNS = (
    "Token ShortName Series CompanyName ticksize Lotsize DateOfListing DateOfDeListing IssuePrice FaceValue "
    "ISINCode 52WeeksHigh 52WeeksLow LifeTimeHigh LifeTimeLow HighDate LowDate Symbol InstrumentType "
    "PermittedToTrade IssueCapital WarningPercent FreezePercent CreditRating IssueRate IssueStartDate "
    "InterestPaymentDate IssueMaturityDate BoardLotQty Name ListingDate ExpulsionDate ReAdmissionDate RecordDate "
    "ExpiryDate NoDeliveryStartDate NoDeliveryEndDate MFill AON ParticipantInMarketIndex BookClsStartDate "
    "BookClsEndDate EGM AGM Interest Bonus Rights Dividends LocalUpdateDateTime DeleteFlag Remarks "
    "NormalMarketStatus OddLotMarketStatus SpotMarketStatus AuctionMarketStatus NormalMarketEligibility "
    "OddLotlMarketEligibility SpotMarketEligibility AuctionlMarketEligibility MarginPercentage ExchangeCode"
)
BSE_COLUMNS = (
    "Token ShortName Series CompanyName TickSize LotSize ScripCode MarketLot BCastFlag AVMBuyMargin "
    "AVMSellMargin ScripID ScripName GroupName NdFlag NDSDate NDEDate SuspStatus avmflag SuspensionReason "
    "Suspensiondate DateOfListing DateOfDeListing IssuePrice FaceValue ISINCode 52WeeksHigh 52WeeksLow "
    "LifeTimeHigh LifeTimeLow HighDate LowDate MarginPercentage ExchangeCode"
)
DERIVATIVE_COLUMNS = (
    "Token InstrumentName ShortName Series ExpiryDate StrikePrice OptionType CALevel PermittedToTrade "
    "IssueCapital WarningQty FreezeQty CreditRating NormalMarketStatus OddLotMarketStatus SpotMarketStatus "
    "AuctionMarketStatus NormalMarketEligibility OddLotMarketEligibility SpotMarketEligibility "
    "AuctionMarketEligibility IssueRate IssueStartDate InterestPaymentDate IssueMaturityDate MarginPercentage "
    "MinimumLotQty LotSize TickSize CompanyName ListingDate ExpulsionDate ReAdmissionDate RecordDate "
    "LowPriceRange HighPriceRange SecurityExpiryDate NoDeliveryStartDate NoDeliveryEndDate MF AON "
    "ParticipantInMarketIndex BookClsStartDate BookClsEndDate ExcerciseStartDate ExcerciseEndDate OldToken "
    "AssetInstrument AssetName AssetToken IntrinsicValue ExtrinsicValue ExcerciseStyle EGM AGM Interest Bonus "
    "Rights Dividends ExAllowed ExRejectionAllowed PlAllowed IsThisAsset IsCorpAdjusted LocalUpdateDatetime "
    "DeleteFlag Remarks BasePrice ExchangeCode"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Breeze's short names and the exchange's names, both ways."""

    by_short: Mapping[str, str]
    by_underlying: Mapping[str, str]

    @classmethod
    def read(cls, master_dir: Path | None) -> Names:
        """Those of the archive in ``master_dir``, or those of the made-up market."""
        archive = newest_archive(master_dir)
        if archive is None:
            shares: dict[str, str] = dict(SHARE_NAMES)
        else:
            with zipfile.ZipFile(archive) as opened:
                shares = {
                    row["ShortName"]: row["ExchangeCode"]
                    for member in (BSE, NSE)
                    for row in _rows(opened, member)
                    if row["ExchangeCode"]
                }
        by_short = {**shares, **INDEX_NAMES}
        return cls(by_short=by_short, by_underlying={name: short for short, name in by_short.items()})

    def underlying(self, short: str) -> str:
        """The exchange's name; the text itself when it is not known."""
        return self.by_short.get(short.upper(), short.upper())

    def short(self, underlying: str) -> str:
        """Breeze's short name; the text itself when there is none."""
        return self.by_underlying.get(underlying, underlying)


def newest_archive(master_dir: Path | None) -> Path | None:
    """The archive with the last name in a folder, which is the newest when names carry dates."""
    return max(master_dir.rglob("SecurityMaster*.zip"), default=None) if master_dir else None


# Reading


def read_contracts(master_dir: Path) -> list[Contract]:
    """The contracts of the newest real archive in a folder; none when there is no archive."""
    archive = newest_archive(master_dir)
    if archive is None:
        return []
    names = Names.read(master_dir)
    with zipfile.ZipFile(archive) as opened:
        return [
            *_read_shares(_rows(opened, NSE), Exchange.NSE),
            *_read_shares(_rows(opened, BSE), Exchange.BSE),
            *_read_derivatives(list(_rows(opened, NFO)), Exchange.NFO, names),
            *_read_derivatives(list(_rows(opened, BFO)), Exchange.BFO, names),
        ]


def _rows(archive: zipfile.ZipFile, member: str) -> Iterator[dict[str, str]]:
    if member not in archive.namelist():
        return
    with archive.open(member) as raw:
        lines = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", errors="replace"), skipinitialspace=True)
        heading = [column.strip() for column in next(lines)]
        for line in lines:
            yield dict(zip(heading, (value.strip() for value in line), strict=False))


def _amount(text: str) -> Decimal:
    return Decimal(text or 0)


def _read_shares(rows: Iterable[dict[str, str]], exchange: Exchange) -> Iterator[Contract]:
    for row in rows:
        index = row["ShortName"] in INDEX_NAMES and not row["Token"].isdigit()
        at_nse = exchange is Exchange.NSE
        if not index and (not row["Token"].isdigit() or int(row["Token"]) == 0 or (at_nse and row["Series"] != "EQ")):
            continue
        lower, upper = (_amount(row["FreezePercent"]), _amount(row["WarningPercent"])) if at_nse else (Decimal(0),) * 2
        base = (lower + upper) / 2 if at_nse else _amount(row["TickSize"])
        yield Contract(
            exchange=exchange,
            kind=InstrumentKind.INDEX if index else InstrumentKind.EQUITY,
            token=row["Token"],
            symbol=row["ExchangeCode"],
            underlying=INDEX_NAMES[row["ShortName"]] if index else row["ExchangeCode"],
            name=row["CompanyName"],
            series="" if index else row["Series"],
            isin=row["ISINCode"],
            tick_size=Decimal("0.05") if index else share_tick(base),
            base_price=Decimal(0) if index else base.quantize(Decimal("0.01")),
            lower_band=Decimal(0) if index else lower,
            upper_band=Decimal(0) if index else upper,
            on_index=index,
        )


def _day(text: str) -> date:
    return datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=IST).date()


def _read_derivatives(rows: list[dict[str, str]], exchange: Exchange, names: Names) -> Iterator[Contract]:
    days = {text: _day(text) for text in {row["ExpiryDate"] for row in rows}}
    monthly: dict[tuple[str, int, int], date] = {}
    for row in rows:
        day = days[row["ExpiryDate"]]
        month = (row["ShortName"], day.year, day.month)
        monthly[month] = max(day, monthly.get(month, day))
    for row in rows:
        expiry, underlying = days[row["ExpiryDate"]], names.underlying(row["ShortName"])
        right = OptionRight(row["OptionType"]) if row["OptionType"] in ("CE", "PE") else None
        strike, lot = Decimal(row["StrikePrice"]) if right else None, int(row["LotSize"])
        yield Contract(
            exchange=exchange,
            kind=InstrumentKind.OPTION if right else InstrumentKind.FUTURE,
            token=row["Token"],
            symbol=derivative_symbol(
                underlying,
                expiry,
                monthly=monthly[row["ShortName"], expiry.year, expiry.month] == expiry,
                strike=strike,
                right=right,
            ),
            underlying=underlying,
            name=row["CompanyName"],
            expiry=expiry,
            strike=strike,
            right=right,
            lot_size=lot,
            tick_size=Decimal(row["TickSize"]) / 100,
            freeze_quantity=FREEZE_QUANTITIES.get(underlying, lot * FREEZE_LOTS),
            base_price=Decimal(0) if right else Decimal(row["BasePrice"]) / 100,
            lower_band=_amount(row["LowPriceRange"]),
            upper_band=_amount(row["HighPriceRange"]),
            on_index=row["ShortName"] in INDEX_NAMES,
        )


# Writing


def security_master(universe: Universe, master_dir: Path | None, names: Names) -> bytes:
    """The archive as served: the real one byte for byte when there is one."""
    real = newest_archive(master_dir)
    if real is not None:
        return real.read_bytes()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, columns, rows in (
            (NSE, NSE_COLUMNS, [_nse_row(each, names) for each in universe.all(Exchange.NSE)]),
            (BSE, BSE_COLUMNS, [_bse_row(each, names) for each in universe.all(Exchange.BSE)]),
            (NFO, DERIVATIVE_COLUMNS, [_derivative_row(each, names) for each in universe.all(Exchange.NFO)]),
            (BFO, DERIVATIVE_COLUMNS, [_derivative_row(each, names) for each in universe.all(Exchange.BFO)]),
            (CDS, DERIVATIVE_COLUMNS, list(_currencies())),
        ):
            archive.writestr(member, _table(columns, rows, separator=", " if member == NSE else ","))
    return target.getvalue()


def _table(headings: str, rows: list[dict[str, Any]], *, separator: str) -> str:
    columns = headings.split()
    lines = [separator.join(f'"{column}"' for column in columns)]
    lines += [",".join(_cell(row.get(column, "")) for column in columns) for row in rows]
    return "\r\n".join(lines) + "\r\n"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _nse_row(contract: Contract, names: Names) -> dict[str, Any]:
    return {
        "Token": contract.token if contract.kind is InstrumentKind.EQUITY else contract.symbol,
        "ShortName": names.short(contract.underlying),
        "Series": contract.series or "0",
        "CompanyName": contract.name,
        "ticksize": Decimal("0.01"),
        "Lotsize": 1,
        "ISINCode": contract.isin,
        "WarningPercent": contract.upper_band,
        "FreezePercent": contract.lower_band,
        "ExchangeCode": contract.symbol,
    }


def _bse_row(contract: Contract, names: Names) -> dict[str, Any]:
    share = contract.kind is InstrumentKind.EQUITY
    return {
        "Token": contract.token if share else contract.underlying,
        "ShortName": names.short(contract.underlying),
        "Series": "DR",
        "CompanyName": contract.name,
        "TickSize": contract.base_price,
        "LotSize": 1,
        "ScripCode": contract.token,
        "ScripID": contract.symbol,
        "ScripName": contract.name,
        "IssuePrice": contract.lower_band,
        "ISINCode": contract.isin,
        "ExchangeCode": contract.symbol if share else contract.underlying,
    }


def _derivative_row(contract: Contract, names: Names) -> dict[str, Any]:
    at_bse = contract.exchange is Exchange.BFO
    instrument = contract.instrument_name.replace("IDX", "IND") if at_bse else contract.instrument_name
    return {
        "Token": contract.token,
        "InstrumentName": instrument,
        "ShortName": names.short(contract.underlying),
        "Series": "OPTION" if contract.kind is InstrumentKind.OPTION else "FUTURE",
        "ExpiryDate": f"{contract.expiry:%d-%b-%Y}",
        "StrikePrice": f"{(contract.strike or Decimal(0)).normalize():f}",
        "OptionType": contract.right.value if contract.right else "XX",
        "FreezeQty": 0,
        "MinimumLotQty": 0,
        "LotSize": contract.lot_size,
        "TickSize": contract.tick_size * 100,
        "CompanyName": contract.name,
        "LowPriceRange": contract.lower_band,
        "HighPriceRange": contract.upper_band,
        "ExAllowed": contract.exchange.value,
        "BasePrice": contract.base_price * 100,
        "ExchangeCode": contract.name if contract.on_index else contract.underlying,
    }


def _currencies() -> Iterator[dict[str, Any]]:
    """Two rows of currency, whose file the SDK's loader takes for NSE's."""
    for token, name in (("25", "EURINR"), ("26", "GBPINR")):
        yield {
            "Token": token,
            "InstrumentName": "UNDCUR",
            "ShortName": name,
            "Series": "SPOT",
            "ExpiryDate": "01-Jan-1980",
            "StrikePrice": 0,
            "OptionType": "XX",
            "LotSize": 1000,
            "TickSize": Decimal("0.0025"),
            "CompanyName": name,
            "ExchangeCode": name,
        }
