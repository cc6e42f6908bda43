"""The instrument master: synthetic archives for the rules, the real ones for volume when they are at hand."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest

from brokers.adapter_interface import MasterProblem, MasterRow
from brokers.adapters.breeze import master
from brokers.adapters.breeze.tests.harness import Answer, breeze
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from tests.support import real_data

CASH = '"Token", "ShortName", "Series", "CompanyName", "ticksize", "Lotsize", "ISINCode", "ExchangeCode"\n'
CONTRACT = (
    '"Token","InstrumentName","ShortName","Series","ExpiryDate","StrikePrice","OptionType","FreezeQty","LotSize",'
    '"TickSize","CompanyName","LowPriceRange","HighPriceRange","BasePrice","ExchangeCode"\n'
)
FILES = {
    "NSEScripMaster.txt": CASH
    + '"1660","ITC","EQ","ITC LIMITED",0.01,1,"INE154A01025","ITC"\n'
    + '"NIFTY 50","NIFTY","0","NIFTY 50",0.01,1,"","NIFTY 50"\n',
    "BSEScripMaster.txt": CASH + '"500875","ITC","DR","ITC LIMITED",400.1,1,"INE154A01025","ITC"\n',
    "FONSEScripMaster.txt": CONTRACT
    + '"71472","OPTIDX","NIFTY","OPTION","24-Nov-2026","24800","CE",0,75,5,"NIFTY 50",0.05,620.5,2443110,"NIFTY 50"\n'
    + '"50001","FUTSTK","RELIND","FUTURE","24-Nov-2026","0","XX",0,500,10,"RELIANCE",1300,1600,1450,"RELIANCE"\n',
    "FOBSEScripMaster.txt": CONTRACT
    + '"825622","FUTIND","BSESEN","FUTURE","26-Nov-2026","0","XX",0,20,5,"BSE SENSEX",0,84977,1,"SENSEX"\n',
    "CDNSEScripMaster.txt": "a currency file\n",
    "MFScripMaster.txt": "a fund file\n",
}


def archive(**changed: str | None) -> bytes:
    """An archive of ``FILES``; ``NSE=...`` replaces NSEScripMaster.txt, None leaves it out."""
    files: dict[str, str | None] = dict(FILES)
    files |= {f"{name}ScripMaster.txt": content for name, content in changed.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            if content is not None:
                packed.writestr(name, content)
    return buffer.getvalue()


def read(content: bytes) -> tuple[dict[str, MasterRow], list[MasterProblem]]:
    entries = list(master.read(content))
    rows = [entry for entry in entries if isinstance(entry, MasterRow)]
    return {row.key: row for row in rows}, [entry for entry in entries if isinstance(entry, MasterProblem)]


def test_the_four_exchanges_are_read_and_other_files_skipped() -> None:
    rows, problems = read(archive())
    assert not problems
    assert sorted(rows) == [
        "BFO|BSESEN|2026-11-26|XX|0",
        "BSE|ITC",
        "NFO|NIFTY|2026-11-24|CE|24800",
        "NFO|RELIND|2026-11-24|XX|0",
        "NSE|ITC",
        "NSE|NIFTY",
    ]


def test_an_option_carries_what_an_order_needs() -> None:
    row = read(archive())[0]["NFO|NIFTY|2026-11-24|CE|24800"]
    assert (row.kind, row.underlying, row.expiry) == (InstrumentKind.OPTION, "NIFTY", date(2026, 11, 24))
    assert (row.strike, row.right, row.lot_size) == (Decimal(24800), OptionRight.CALL, 75)
    assert (row.lower_band, row.upper_band) == (Decimal("0.05"), Decimal("620.5"))
    assert row.identifiers == {
        "stock_code": "NIFTY",
        "exchange_code": "NFO",
        "token": "71472",
        "expiry_date": "2026-11-24T06:00:00.000Z",
        "right": "call",
        "strike_price": "24800",
    }


def test_a_future_has_no_strike_and_a_zero_band_is_unknown() -> None:
    row = read(archive())[0]["BFO|BSESEN|2026-11-26|XX|0"]
    assert (row.kind, row.strike, row.right, row.underlying) == (InstrumentKind.FUTURE, None, None, "SENSEX")
    assert (row.lower_band, row.upper_band) == (None, Decimal(84977))


def test_tick_and_freeze_are_never_taken_from_breeze() -> None:
    rows, _ = read(archive())
    assert {(row.tick_size, row.freeze_quantity) for row in rows.values()} == {(None, None)}


def test_an_index_is_quoted_by_its_exchange_name() -> None:
    row = read(archive())[0]["NSE|NIFTY"]
    assert (row.kind, row.symbol, row.token, row.lot_size) == (InstrumentKind.INDEX, "NIFTY", "NIFTY 50", None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"1","OPTIDX","NIFTY","OPTION","31-Nov-2026","1","CE",0,75,5,"x",0,1,1,"NIFTY 50"', "not a date"),
        ('"1","OPTIDX","NIFTY","OPTION","24-Nov-2026","x","CE",0,75,5,"x",0,1,1,"NIFTY 50"', "StrikePrice 'x'"),
        ('"1","OPTIDX","NIFTY","OPTION","24-Nov-2026","NaN","CE",0,75,5,"x",0,1,1,"NIFTY 50"', "not a number"),
        ('"1","OPTIDX","NIFTY","OPTION","24-Nov-2026","0","CE",0,75,5,"x",0,1,1,"NIFTY 50"', "not above zero"),
        ('"1","OPTIDX","NIFTY","OPTION","24-Nov-2026","1","CE",0,0,5,"x",0,1,1,"NIFTY 50"', "not above zero"),
        ('"1","OPTIDX","NIFTY","OPTION","24-Nov-2026","1","ZZ",0,75,5,"x",0,1,1,"NIFTY 50"', "OptionType 'ZZ'"),
        ('"","OPTIDX","NIFTY","OPTION","24-Nov-2026","1","CE",0,75,5,"x",0,1,1,"NIFTY 50"', "names no contract"),
        ('"1","OPTIDX","NIFTY"', "3 fields under 15 headings"),
    ],
)
def test_a_broken_row_is_refused_and_the_rest_loads(line: str, reason: str) -> None:
    rows, problems = read(archive(FONSE=FILES["FONSEScripMaster.txt"] + line + "\n"))
    assert len(rows) == 6
    (problem,) = problems
    assert (problem.source, problem.line) == ("FONSEScripMaster.txt", 4)
    assert reason in problem.reason


@pytest.mark.parametrize("token", ["0", "00", "NA", "X25889X"])
def test_a_share_without_a_listing_is_refused(token: str) -> None:
    line = f'"{token}","ALFLAV","EQ","ALFA LAVAL",0.01,1,"INE427A01017","ALFALAVAL"\n'
    rows, problems = read(archive(NSE=FILES["NSEScripMaster.txt"] + line))
    assert "NSE|ALFLAV" not in rows
    assert f"Token {token!r} of ALFLAV" in problems[0].reason


def test_a_file_without_a_column_is_refused_and_the_others_load() -> None:
    rows, problems = read(archive(FONSE=FILES["FONSEScripMaster.txt"].replace("LotSize", "Lots")))
    assert [problem.reason for problem in problems] == ["Columns LotSize are missing."]
    assert Counter(row.exchange for row in rows.values()) == {Exchange.NSE: 2, Exchange.BSE: 1, Exchange.BFO: 1}


def test_columns_may_stand_in_another_order() -> None:
    header, line = (
        '"ExchangeCode","ISINCode","CompanyName","Series","ShortName","Token","New"',
        '"ITC","INE154A01025","ITC LIMITED","EQ","ITC","1660",""',
    )
    rows, problems = read(archive(NSE=f"{header}\n{line}\n"))
    assert not problems
    assert rows["NSE|ITC"].token == "1660"


def test_what_is_no_archive_is_unreadable() -> None:
    with pytest.raises(UnreadableReply, match="not a zip archive"):
        list(master.read(b"<html></html>"))


def test_an_archive_without_an_exchange_is_unreadable() -> None:
    with pytest.raises(UnreadableReply, match=r"has no BSEScripMaster\.txt"):
        list(master.read(archive(BSE=None)))


def test_the_second_address_is_asked_when_the_first_lacks_an_exchange() -> None:
    with breeze(Answer(archive(NSE=None)), Answer(archive())) as (adapter, stub):
        rows = list(adapter.read_master())
    assert len(rows) == 6
    assert [seen.path for seen in stub.seen] == [
        "/MotherAppMaster/SecurityMaster.zip",
        "/NewSecurityMaster/SecurityMaster.zip",
    ]


def test_a_master_that_cannot_be_had_says_why() -> None:
    with (
        breeze(Answer(b"gone", status=404), Answer(close=True)) as (adapter, _),
        pytest.raises(BrokerUnavailable, match=r"MotherAppMaster.*HTTP 404.*NewSecurityMaster.*try again"),
    ):
        adapter.read_master()


REAL = real_data.BREEZE / "SecurityMaster-2026-07-30.zip"


@real_data.needed(REAL)
def test_the_whole_real_master_is_read() -> None:
    rows, problems = read(REAL.read_bytes())
    assert Counter(row.exchange for row in rows.values()) == {
        Exchange.NSE: 5557,
        Exchange.BSE: 13102,
        Exchange.NFO: 70950,
        Exchange.BFO: 4439,
    }
    assert len(problems) == 142
    assert {problem.source for problem in problems} == {"NSEScripMaster.txt", "BSEScripMaster.txt"}
    assert rows["NSE|RELIND"].token == "2885"
    assert rows["NSE|RELIND"].symbol == "RELIANCE"
    assert {row.underlying for row in rows.values() if row.key.startswith("NFO|CNXBAN|")} == {"BANKNIFTY"}


def test_an_offer_for_sale_does_not_pass_for_the_share() -> None:
    rows, problems = read(
        archive(BSE=FILES["BSEScripMaster.txt"] + '"51131","ITCOFS","DR","ITC LIMITED OFS",0,1,"INE000000133","ITC"\n')
    )
    assert [row.token for row in rows.values() if row.exchange is Exchange.BSE] == ["500875"]
    assert not problems
