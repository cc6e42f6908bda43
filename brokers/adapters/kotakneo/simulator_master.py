"""Kotak Neo's scrip master: the CSV files in Kotak's own layout, from the simulated market or from real files.

Headings keep their stray blanks and semicolon; strikes, ticks and prices are in paise; expiries of ``nse_fo`` count
from 1980, those of ``bse_fo`` from 1970; the freeze quantity is one more than an order may carry. Read from the files
of 2023-04-13, 2025-12-29 and 2026-08-28.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from brokers.adapters.kotakneo.simulator_orders import SEGMENT_OF, SEGMENTS, trading_symbol
from brokers.clock import IST
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.simulator.contracts import Contract

#: 1980-01-01 00:00 IST, from which ``nse_fo`` counts, as a Unix time.
EPOCH_1980 = 315_513_000
PATHS = {
    "nse_fo": "transformed/nse_fo.csv",
    "bse_fo": "transformed/bse_fo.csv",
    "nse_cm": "transformed-v1/nse_cm-v1.csv",
    "bse_cm": "transformed-v1/bse_cm-v1.csv",
}
_HEADINGS = (
    "pSymbol,pGroup,pExchSeg,pInstType,pSymbolName,pTrdSymbol,pOptionType,pScripRefKey,pISIN,pAssetCode,pSubGroup,"
    "pCombinedSymbol,pDesc,pAmcCode,pContractId,dTickSize ,lLotSize,lExpiryDate ,lMultiplier ,lPrecision,"
    "dStrikePrice;,pExchange,pInstName,pExpiryDate,pIssueDate,pMaturityDate,pListingDate,pNoDelStartDate,"
    "pNoDelEndDate,pBookClsStartDate,pBookClsEndDate,pRecordDate,pCreditRating,pReAdminDate,pExpulsionDate,"
    "pLocalUpdateTime,pDeliveryUnits,pPriceUnits,pLastTradingDate,pTenderPeridEndDate,pTenderPeridStartDate,"
    "pSellVarMargin,pBuyVarMargin,pInstrumentInfo,pRemarksText,pSegment,pNav,pNavDate,pMfAmt,pSipSecurity,pFaceValue,"
    "pTrdUnits,pExerciseStartDate,pExerciseEndDate,pElmMargin,pVarMargin,pTotProposedLimitValue,pScripBasePrice,"
    "pSettlementType,pCurrectionTime,iPermittedToTrade,iBoardLotQty ,iMaxOrderSize ,iLotSize,dOpenInterest ,"
    "dHighPriceRange ,dLowPriceRange ,dPriceNum   ,dGenDen,dGenNum,dPriceQuatation ,dIssuerate ,dPriceDen,"
    "dWarningQty ,dIssueCapital ,dExposureMargin ,dMinRedemptionQty ,lFreezeQty"
)
#: The 79th column differs by segment.
LAST_COLUMN = {"nse_fo": "CASEligible", "bse_fo": "CASEligible"}
OTHER_LAST_COLUMN = "surveillanceMessage"
#: Exchange's token of an index -> its display name.
INDEX_NAMES = {"26000": "NIFTY 50", "26009": "NIFTY BANK", "26037": "NIFTY FIN SERVICE", "1": "BSE SENSEX"}
UNSTATED_FREEZE_LOTS = 40
_SERIES = ("EQ", "BE")


def headings(segment: str) -> list[str]:
    """The first line of a segment's file."""
    return [*_HEADINGS.split(","), LAST_COLUMN.get(segment, OTHER_LAST_COLUMN)]


def master_file(segment: str, contracts: list[Contract], master_dir: Path | None) -> bytes:
    """A segment's file: the real one of a folder, or one made from the simulated market."""
    real = real_file(segment, master_dir)
    return _unpacked(real) if real else written(segment, contracts)


def written(segment: str, contracts: list[Contract]) -> bytes:
    """A file in Kotak's layout."""
    buffer = io.StringIO()
    out = csv.writer(buffer, lineterminator="\n")
    names = headings(segment)
    out.writerow(names)
    for contract in contracts:
        row = _row(segment, contract)
        out.writerow([row.get(name.strip(" ;"), "") for name in names])
    return buffer.getvalue().encode()


def real_file(segment: str, master_dir: Path | None) -> Path | None:
    """The real file of a segment in a folder: the largest, since samples of a row lie beside whole files."""
    if master_dir is None:
        return None
    found = [path for end in ("csv", "csv.gz") for path in master_dir.rglob(f"{segment}*.{end}")]
    return max(found, key=lambda path: path.stat().st_size, default=None)


def read_contracts(master_dir: Path) -> list[Contract]:
    """The contracts of the real files in a folder; rows that cannot be read are left out."""
    contracts: list[Contract] = []
    for segment, exchange in SEGMENTS.items():
        path = real_file(segment, master_dir)
        if path is not None:
            contracts += _contracts(exchange, _unpacked(path))
    return contracts


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _plain(number: Decimal) -> str:
    """Paise as C prints a double: ``2.1e+06`` from a million on."""
    return f"{float(number):g}"


def _expiry(segment: str, expiry: date | None) -> str:
    if expiry is None:
        return "-1"
    unix = int(datetime(expiry.year, expiry.month, expiry.day, 14, 30, tzinfo=IST).timestamp())
    return str(unix - EPOCH_1980 if segment == "nse_fo" else unix)


def _row(segment: str, contract: Contract) -> dict[str, str]:
    derived = contract.expiry is not None
    index = contract.kind is InstrumentKind.INDEX
    expiry = _expiry(segment, contract.expiry)
    reference = f"{contract.underlying}{contract.expiry:%d%b%y}".upper() if contract.expiry else contract.symbol
    if contract.strike is not None and contract.right is not None:
        reference += f"{contract.strike:.2f}{contract.right.value}"
    name = contract.underlying if index else trading_symbol(contract)
    return {
        "pSymbol": contract.token,
        "pGroup": "XX" if derived else contract.series,
        "pExchSeg": SEGMENT_OF[contract.exchange],
        "pInstType": contract.instrument_name if derived else "",
        "pSymbolName": contract.underlying,
        "pTrdSymbol": name,
        "pOptionType": contract.right.value if contract.right else "XX" if derived else "",
        "pScripRefKey": reference,
        "pISIN": contract.isin,
        "pDesc": contract.name,
        "dTickSize": "-1" if index else _plain(contract.tick_size * 100),
        "lLotSize": str(contract.lot_size),
        "lExpiryDate": expiry,
        "lMultiplier": "-1",
        "lPrecision": "2",
        "dStrikePrice": _plain(contract.strike * 100) if contract.strike is not None else "-1",
        "pExchange": "" if index else "NSE" if segment.startswith("nse") else "BSE",
        "pInstName": contract.instrument_name if derived else "",
        "pExpiryDate": expiry if derived else "",
        "pMaturityDate": expiry if derived else "",
        "pLastTradingDate": "",
        "pSegment": "" if index else "FO" if derived else "CASH",
        "pScripBasePrice": f"{contract.base_price * 100:.4f}",
        "pSettlementType": "Cash" if contract.on_index and derived else "Physical" if derived else "T+1",
        "iPermittedToTrade": "0" if index else "1",
        "iBoardLotQty": "1",
        "iMaxOrderSize": f"{contract.freeze_quantity + 1}.00" if derived else "0",
        "iLotSize": str(contract.lot_size),
        "dOpenInterest": "0",
        "dHighPriceRange": _plain(contract.upper_band * 100),
        "dLowPriceRange": _plain(contract.lower_band * 100),
        "dPriceNum": "1",
        "dGenDen": "1",
        "dGenNum": "1",
        "dPriceDen": "1",
        "dMinRedemptionQty": "0",
        "lFreezeQty": "0" if index else str(contract.freeze_quantity + 1),
        "CASEligible": "false",
    }


def _contracts(exchange: Exchange, content: bytes) -> Iterator[Contract]:
    lines = csv.reader(io.StringIO(content.decode("utf-8", errors="replace")))
    names = [name.strip(" ;") for name in next(lines, [])]
    for fields in lines:
        if len(fields) != len(names):
            continue
        row = dict(zip(names, fields, strict=True))
        try:
            contract = _derivative(exchange, row) if exchange.is_derivative else _cash(exchange, row)
        except (ArithmeticError, KeyError, ValueError):
            continue
        if contract is not None:
            yield contract


def _rupees(row: Mapping[str, str], name: str) -> Decimal:
    """A figure in paise as rupees; 0 when there is none."""
    paise = Decimal(row[name] or "0")
    return max(Decimal(0), paise) / 100


def _freeze_quantity(row: Mapping[str, str]) -> int:
    """What one order may carry; where the file states nothing, forty lots."""
    stated = int(Decimal(row["lFreezeQty"] or "0")) - 1
    return stated if stated > 0 else int(row["lLotSize"]) * UNSTATED_FREEZE_LOTS


def _cash(exchange: Exchange, row: Mapping[str, str]) -> Contract | None:
    token, symbol = row["pSymbol"], row["pSymbolName"]
    if not row["pISIN"] and token in INDEX_NAMES:
        return Contract(
            exchange=exchange,
            kind=InstrumentKind.INDEX,
            token=token,
            symbol=INDEX_NAMES[token],
            underlying=symbol,
            name=INDEX_NAMES[token],
            on_index=True,
        )
    if exchange is Exchange.NSE and row["pGroup"] not in _SERIES:
        return None
    return Contract(
        exchange=exchange,
        kind=InstrumentKind.EQUITY,
        token=token,
        symbol=symbol,
        underlying=symbol,
        name=row["pDesc"],
        series=row["pGroup"],
        isin=row["pISIN"],
        tick_size=_rupees(row, "dTickSize"),
        freeze_quantity=_freeze_quantity(row),
        base_price=(_rupees(row, "dHighPriceRange") + _rupees(row, "dLowPriceRange")) / 2,
        lower_band=_rupees(row, "dLowPriceRange"),
        upper_band=_rupees(row, "dHighPriceRange"),
    )


def _derivative(exchange: Exchange, row: Mapping[str, str]) -> Contract:
    seconds = int(row["lExpiryDate"]) + (EPOCH_1980 if exchange is Exchange.NFO else 0)
    option = row["pOptionType"] in ("CE", "PE")
    return Contract(
        exchange=exchange,
        kind=InstrumentKind.OPTION if option else InstrumentKind.FUTURE,
        token=row["pSymbol"],
        symbol=row["pTrdSymbol"],
        underlying=row["pSymbolName"],
        name=row["pSymbolName"],
        expiry=datetime.fromtimestamp(seconds, UTC).astimezone(IST).date(),
        strike=_rupees(row, "dStrikePrice").normalize() if option else None,
        right=OptionRight(row["pOptionType"]) if option else None,
        lot_size=int(row["lLotSize"]),
        tick_size=_rupees(row, "dTickSize"),
        freeze_quantity=_freeze_quantity(row),
        base_price=_rupees(row, "pScripBasePrice"),
        lower_band=_rupees(row, "dLowPriceRange"),
        upper_band=_rupees(row, "dHighPriceRange"),
        on_index=row["pInstType"].endswith("IDX"),
    )
