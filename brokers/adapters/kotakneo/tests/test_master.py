"""Kotak's instrument files, synthetic ones and, where they are at hand, genuine ones."""

import gzip
import time
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.adapters.kotakneo import master
from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.adapters.kotakneo.tests.stub import Said, Stub
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from tests.support import real_data

TODAY = date(2026, 11, 23)
#: The order differs from Kotak's on purpose; blanks and the semicolon are Kotak's.
HEADINGS = (
    "pSymbol,pTrdSymbol,pGroup,pExchSeg,pInstType,pSymbolName,pOptionType,pISIN,pDesc,dTickSize ,lLotSize,"
    "lExpiryDate ,dStrikePrice;,dHighPriceRange ,dLowPriceRange ,lFreezeQty,newColumn"
)
#: 24 November 2026, 14:30 IST, as NSE counts.
NSE_EXPIRY = 1_795_510_800 - 315_513_000


def file(*lines: str) -> bytes:
    return "\r\n".join((HEADINGS, *lines, "")).encode()


CALL = f"71472,NIFTY26NOV22250CE,XX,nse_fo,OPTIDX,NIFTY,CE,,,5,65,{NSE_EXPIRY},2.225e+06,20150,5,1801,x"
FUTURE = f"61304,TCS26NOVFUT,XX,nse_fo,FUTSTK,TCS,XX,,,10,225,{NSE_EXPIRY},-1,231000,189000,20001,x"
SHARE = "2885,RELIANCE-EQ,EQ,nse_cm,,RELIANCE,,INE000A01000,A SHARE,10,1,-1,-1,275000,225000,92162,x"


def rows(content: bytes, segment: str = "nse_fo") -> list[MasterRow]:
    read = list(master.parse(content, segment, today=TODAY))
    assert not [item for item in read if isinstance(item, MasterProblem)]
    return [item for item in read if isinstance(item, MasterRow)]


def problems(content: bytes, segment: str = "nse_fo") -> list[MasterProblem]:
    return [item for item in master.parse(content, segment, today=TODAY) if isinstance(item, MasterProblem)]


def test_an_option_is_read_in_rupees_and_units() -> None:
    [row] = rows(file(CALL))
    assert (row.exchange, row.kind, row.right) == (Exchange.NFO, InstrumentKind.OPTION, OptionRight.CALL)
    assert (row.symbol, row.underlying, row.token) == ("NIFTY26NOV22250CE", "NIFTY", "71472")
    assert (row.strike, row.tick_size, row.lot_size) == (Decimal(22250), Decimal("0.05"), 65)
    assert row.expiry == date(2026, 11, 24)
    assert (row.lower_band, row.upper_band) == (Decimal("0.05"), Decimal("201.5"))
    assert row.key == "nse_fo|NIFTY26NOV22250CE"
    assert row.identifiers == {
        "exchange_segment": "nse_fo",
        "trading_symbol": "NIFTY26NOV22250CE",
        "token": "71472",
    }


def test_the_freeze_quantity_is_the_largest_that_passes() -> None:
    assert rows(file(CALL))[0].freeze_quantity == 1800


@pytest.mark.parametrize("stated", ["", "0", "-1", "1"])
def test_a_freeze_quantity_that_is_not_stated_is_not_known(stated: str) -> None:
    assert rows(file(CALL.replace(",1801,", f",{stated},")))[0].freeze_quantity is None


def test_a_future_has_no_strike() -> None:
    [row] = rows(file(FUTURE))
    assert (row.kind, row.strike, row.right) == (InstrumentKind.FUTURE, None, None)


def test_a_bse_expiry_counts_from_1970() -> None:
    line = CALL.replace("nse_fo", "bse_fo").replace(str(NSE_EXPIRY), "1795510800")
    assert rows(file(line), "bse_fo")[0].expiry == date(2026, 11, 24)


def test_a_share_is_known_by_its_symbol_without_the_series() -> None:
    [row] = rows(file(SHARE), "nse_cm")
    assert (row.symbol, row.kind, row.series) == ("RELIANCE", InstrumentKind.EQUITY, "EQ")
    assert (row.tick_size, row.lot_size, row.isin) == (Decimal("0.1"), 1, "INE000A01000")
    assert row.key == "nse_cm|RELIANCE-EQ"


def test_another_series_keeps_its_name_and_debt_is_left_out() -> None:
    besides = SHARE.replace("RELIANCE-EQ,EQ", "RELIANCE-BE,BE")
    debt = SHARE.replace("RELIANCE-EQ,EQ", "RELIANCE-N1,N1")
    assert [row.symbol for row in rows(file(SHARE, besides, debt), "nse_cm")] == ["RELIANCE", "RELIANCE-BE"]


def test_an_index_is_quoted_and_has_no_lot_or_tick() -> None:
    [row] = rows(file("26000,NIFTY,,nse_cm,,NIFTY,,,NIFTY,-1,1,-1,-1,0,0,0,x"), "nse_cm")
    assert (row.kind, row.lot_size, row.tick_size) == (InstrumentKind.INDEX, None, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (CALL + ",one more", "18 values under 17 headings"),
        (CALL.replace("2.225e+06", "2.2251e+06"), "does not end with its strike of 22251 rupees"),
        (CALL.replace("2.225e+06", "22250"), "does not end with its strike of 222.5 rupees"),
        (CALL.replace("2.225e+06", "-1"), "has no strike"),
        (CALL.replace(str(NSE_EXPIRY), "1795510800"), "way to count time has changed"),
        (CALL.replace(str(NSE_EXPIRY), ""), "has no expiry"),
        (CALL.replace(",65,", ",sixty,"), "lLotSize 'sixty' is no number"),
        (CALL.replace(",65,", ",65.5,"), "lLotSize 65.5 is no whole number"),
        (CALL.replace(",5,65", ",nan,65"), "dTickSize 'nan' is no number"),
        (CALL.replace(",CE,", ",XE,"), "pOptionType 'XE'"),
        (CALL.replace("NIFTY26NOV22250CE,", ","), "is blank"),
        (CALL.replace("nse_fo", "nse_cm"), "is of segment 'nse_cm'"),
    ],
)
def test_a_broken_row_is_reported_and_the_rest_is_read(line: str, reason: str) -> None:
    content = file(FUTURE, line, FUTURE.replace("TCS", "INFY"))
    [problem] = problems(content)
    assert reason in problem.reason
    assert (problem.source, problem.line) == ("nse_fo.csv", 3)
    assert len(list(master.parse(content, "nse_fo", today=TODAY))) == 3


def test_a_row_listed_twice_is_reported_once() -> None:
    [problem] = problems(file(CALL, CALL))
    assert "listed twice" in problem.reason


@pytest.mark.parametrize("content", [b"", b"<html>busy</html>", b"pSymbol,pTrdSymbol\r\n1,X\r\n"])
def test_what_is_no_instrument_file_loads_nothing(content: bytes) -> None:
    with pytest.raises(UnreadableReply, match="no column"):
        list(master.parse(content, "nse_fo", today=TODAY))


def serve(stub: Stub, **files: Said) -> None:
    paths = [f"{stub.url}/scrip/2026-11-23/transformed/{name}.csv" for name in ("mcx_fo", "cde_fo", "nse_fo", "bse_fo")]
    paths += [f"{stub.url}/scrip/2026-11-23/transformed-v1/{name}-v1.csv" for name in ("nse_cm", "bse_cm")]
    stub.says("/script-details/1.0/masterscrip", Said(content={"data": {"baseFolder": "x", "filesPaths": paths}}))
    for path in paths:
        name = path.rpartition("/")[2].removesuffix(".csv").removesuffix("-v1")
        stub.says(path.removeprefix(stub.url), files.get(name, Said(content=file())))


def test_the_master_is_fetched_segment_by_segment(adapter: NeoAPI, stub: Stub) -> None:
    serve(stub, nse_cm=Said(content=file(SHARE)), nse_fo=Said(content=file(CALL, CALL)))
    read = list(adapter.read_master())
    assert Counter(type(item).__name__ for item in read) == {"MasterRow": 2, "MasterProblem": 1}
    assert not [heard for heard in stub.heard if "mcx_fo" in heard.path]


def test_a_file_whose_connection_is_cut_is_asked_for_once_more(adapter: NeoAPI, stub: Stub) -> None:
    serve(stub)
    stub.says("/scrip/2026-11-23/transformed/nse_fo", Said(drop=True), Said(content=file(CALL)))
    del stub.script["/scrip/2026-11-23/transformed/nse_fo.csv"]
    assert [type(item).__name__ for item in adapter.read_master()] == ["MasterRow"]
    assert len(stub.calls("/scrip/2026-11-23/transformed/nse_fo")) == 2


def test_half_a_master_is_none(adapter: NeoAPI, stub: Stub) -> None:
    serve(stub, bse_fo=Said(content=b"gone", status=404))
    with pytest.raises(BrokerUnavailable, match="bse_fo answered HTTP 404"):
        list(adapter.read_master())
    serve(stub, nse_fo=Said(drop=True))
    with pytest.raises(BrokerUnavailable, match="nse_fo could not be fetched"):
        list(adapter.read_master())
    stub.says("/script-details/1.0/masterscrip", Said(content={"data": {"filesPaths": [f"{stub.url}/x/nse_cm.csv"]}}))
    with pytest.raises(UnreadableReply, match="has none for bse_cm"):
        list(adapter.read_master())


def genuine(name: str) -> bytes:
    path = real_data.KOTAKNEO / name
    if not path.exists():
        pytest.skip(f"MCUBE_TEST_DATA names no folder with kotak-neo/{name}; only the synthetic files were read.")
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def test_the_genuine_cash_file_is_read_whole() -> None:
    read = list(master.parse(genuine("nse_cm-2025-12-29.csv.gz"), "nse_cm", today=date(2025, 12, 29)))
    shares = {row.symbol: row for row in read if isinstance(row, MasterRow)}
    assert len(shares) == len(read) > 2500
    assert shares["RELIANCE"].token == "2885"
    assert shares["RELIANCE"].tick_size == Decimal("0.1")
    assert shares["NIFTY"].kind is InstrumentKind.INDEX


def test_the_older_layout_is_read_too() -> None:
    read = list(master.parse(genuine("nse_cm-2023-04-13.csv.gz"), "nse_cm", today=date(2023, 4, 13)))
    assert all(isinstance(row, MasterRow) for row in read)
    assert len(read) > 1500


def test_the_genuine_option_row_means_what_its_exchange_says() -> None:
    [row] = master.parse(genuine("nse_fo-2026-08-28.one-row.csv"), "nse_fo", today=date(2026, 8, 28))
    assert isinstance(row, MasterRow)
    assert (row.symbol, row.strike, row.expiry) == ("NIFTY2692221000PE", Decimal(21000), date(2026, 9, 22))
    assert (row.lot_size, row.freeze_quantity, row.tick_size) == (65, 1800, Decimal("0.05"))


def test_the_mangled_row_is_refused() -> None:
    [problem] = master.parse(genuine("nse_fo-2026-06.mangled-row.csv"), "nse_fo", today=date(2026, 6, 19))
    assert isinstance(problem, MasterProblem)


def test_a_whole_derivatives_file_is_read_quickly() -> None:
    content = genuine("reconstructed/nse_fo-2026-07-30.RECONSTRUCTED.csv.gz")
    started = time.process_time()
    read = list(master.parse(content, "nse_fo", today=date(2026, 7, 30)))
    assert time.process_time() - started < 10
    assert len(read) == 30_439
    assert all(isinstance(row, MasterRow) for row in read)
