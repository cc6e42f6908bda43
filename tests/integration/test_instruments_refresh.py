"""A refresh publishes a whole new book or changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from brokers import instruments
from brokers.adapter_interface import BrokerAdapter, MasterProblem, MasterRow
from brokers.domain.enums import Exchange
from brokers.domain.errors import BrokerUnavailable, InvalidSymbol, UnreadableReply
from brokers.instruments import InstrumentStore, editions, loading
from brokers.instruments.rows import pack
from brokers.models import (
    BrokerAccount,
    InstrumentEdition,
    InstrumentListing,
    InstrumentMaster,
    InstrumentMasterRows,
    InstrumentRecord,
)
from tests.support.masters import DAY, MONTHLY, MarketClock, Rows, many, option, reading, serving, share

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_store() -> Iterator[None]:
    instruments.forget()
    yield
    instruments.forget()


def refresh(broker: str, rows: Rows | BrokerAdapter, clock: MarketClock | None = None) -> InstrumentMaster:
    adapter = rows if not isinstance(rows, list) else serving(rows)
    account = BrokerAccount(broker=broker)
    return instruments.refresh(account, adapter=adapter, clock=clock or MarketClock())  # type: ignore[arg-type]


def state() -> tuple[Any, ...]:
    models = (InstrumentMaster, InstrumentMasterRows, InstrumentEdition, InstrumentRecord, InstrumentListing)
    return tuple(list(model._default_manager.order_by("pk").values()) for model in models)


def test_both_masters_of_a_day_become_one_book() -> None:
    refresh("alpha", [option(), share()])
    refresh("beta", [option("TESTIDX26NOV24000CE", key="b|1", tick_size=Decimal("0.05"), freeze_quantity=1800)])
    found = instruments.lookup().resolve("TESTIDX26NOV24000CE")
    assert (found.expiry, found.strike, found.lot_size, found.tick_size, found.freeze_quantity) == (
        MONTHLY,
        Decimal(24000),
        65,
        Decimal("0.05"),
        1800,
    )
    assert found.identifiers == {"alpha": {"code": "TSTIDX"}, "beta": {"code": "TSTIDX"}}
    assert found.master_day == DAY
    assert instruments.lookup().find("beta", "b|1") == found
    assert InstrumentRecord.objects.count() == 2


def test_an_order_is_refused_while_only_the_master_without_freeze_and_tick_is_loaded() -> None:
    refresh("alpha", [option()])
    found = instruments.lookup().resolve("TESTIDX26NOV24000CE")
    with pytest.raises(Exception, match="freeze quantity of TESTIDX26NOV24000CE is not known"):
        found.check_quantity(65)
    with pytest.raises(Exception, match="tick size of TESTIDX26NOV24000CE is not known"):
        found.check_price(Decimal(100))


def test_it_says_what_was_loaded_and_what_was_refused() -> None:
    broken = [MasterProblem(source="file.csv", line=line, reason="broken") for line in range(60)]
    master = refresh("alpha", [*broken, *many(200), option(strike=None)])
    master.refresh_from_db()
    assert (master.broker, master.master_day, master.row_count, master.problem_count) == ("alpha", DAY, 200, 61)
    assert len(master.problems) == 50
    assert master.problems[0] == {"source": "file.csv", "line": 0, "reason": "broken"}
    assert master.loaded_at == MarketClock().now()


def test_disagreements_with_the_other_master_are_reported_on_the_load_that_found_them() -> None:
    refresh("alpha", [option("X")])
    master = refresh("beta", [option("X", lot_size=75)])
    assert master.problem_count == 1
    assert master.problems[0]["reason"] == "lot_size of X is 65 at alpha, 75 at beta; none is taken."
    assert instruments.lookup().resolve("X").lot_size is None


def test_loading_the_same_master_again_changes_nothing_but_its_time() -> None:
    refresh("alpha", [option(), share()])
    before = list(InstrumentEdition.objects.values())
    later = MarketClock()
    later.at += timedelta(hours=1)
    master = refresh("alpha", [option(), share()], later)
    assert list(InstrumentEdition.objects.values()) == before
    assert InstrumentMaster.objects.get() == master
    assert master.loaded_at == later.at


def test_loading_again_replaces_what_the_broker_said_before() -> None:
    refresh("alpha", [option("X"), share()])
    refresh("beta", [option("X", lot_size=75, freeze_quantity=1800)])
    refresh("beta", [option("X", lot_size=65)])
    found = instruments.lookup().resolve("X")
    assert (found.lot_size, found.freeze_quantity) == (65, None)
    assert InstrumentEdition.objects.count() == 1
    assert InstrumentRecord.objects.count() == 2


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [option(strike=None)],
        [share(), *[MasterProblem(source="f", line=1, reason="broken")] * 2],
        many(49),
        [*many(200), *[option(strike=n, token=str(n)) for n in range(1, 40)]],
    ],
    ids=["empty", "only broken rows", "mostly broken rows", "half of the shares gone", "most derivatives gone"],
)
def test_an_absurd_master_is_refused_whole_and_changes_nothing(rows: Rows) -> None:
    refresh("alpha", [*many(100), *[option(strike=n, token=str(n)) for n in range(1, 101)]])
    before = state()
    with pytest.raises(UnreadableReply, match="refused"):
        refresh("alpha", list(rows))
    assert state() == before
    assert instruments.lookup().resolve("FILLER7").symbol == "FILLER7"


def test_a_master_that_breaks_off_changes_nothing() -> None:
    def torn() -> Iterator[MasterRow | MasterProblem]:
        yield from many(50)
        raise BrokerUnavailable("The connection broke; ask again.")

    refresh("alpha", many(100))
    before = state()
    with pytest.raises(BrokerUnavailable, match="connection broke"):
        refresh("alpha", reading(torn))
    assert state() == before


def test_a_crash_on_the_way_leaves_the_old_book_and_is_cleared_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    refresh("alpha", [share(), option("OLD")])
    with monkeypatch.context() as crashing:
        crashing.setattr(loading, "_make_current", _die)
        with pytest.raises(KeyboardInterrupt):
            refresh("alpha", [share(), option("NEW")])
    store = InstrumentStore()
    assert store.resolve("OLD").symbol == "OLD"
    with pytest.raises(InvalidSymbol):
        store.resolve("NEW")
    assert InstrumentEdition.objects.count() == 2

    later = MarketClock()
    later.at += timedelta(hours=2)
    refresh("alpha", [share(), option("NEW")], later)
    assert InstrumentStore().resolve("NEW").symbol == "NEW"
    assert InstrumentEdition.objects.count() == 1
    assert InstrumentRecord.objects.count() == InstrumentListing.objects.count() == 2


def _die(*_: object) -> bool:
    raise KeyboardInterrupt


def test_readers_see_the_old_book_until_the_new_one_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    refresh("alpha", [share(), option("OLD")])
    seen = []
    insert = editions._insert

    def watch(*arguments: Any) -> None:
        insert(*arguments)
        store = InstrumentStore()
        seen.append((store.resolve("OLD").symbol, [each.symbol for each in store.search("NEW")]))

    monkeypatch.setattr(editions, "_insert", watch)
    refresh("alpha", [share(), option("NEW")])
    assert seen == [("OLD", []), ("OLD", [])]
    assert InstrumentStore().resolve("NEW").symbol == "NEW"


def test_a_master_that_lands_while_an_edition_is_built_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = editions.write, [pack("beta", iter([share("LATE", token="9")]))]

    def meanwhile(*arguments: Any) -> InstrumentEdition:
        if others:
            loading._keep("beta", DAY, others.pop(), MarketClock())
        return write(*arguments)

    monkeypatch.setattr(editions, "write", meanwhile)
    refresh("alpha", [share()])
    assert instruments.lookup().resolve("LATE").symbol == "LATE"
    assert instruments.lookup().resolve("TESTCO").symbol == "TESTCO"
    assert InstrumentEdition.objects.count() == 1


def test_endless_loading_by_others_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_make_current", lambda *_: False)
    with pytest.raises(BrokerUnavailable, match="refresh again"):
        refresh("alpha", [share()])
    assert InstrumentRecord.objects.count() == 0


def test_yesterdays_master_of_the_other_broker_is_merged_and_said_to_be_stale() -> None:
    refresh("beta", [option("X", freeze_quantity=1800)], MarketClock(DAY - timedelta(days=1)))
    master = refresh("alpha", [option(), share()])
    found = instruments.lookup().resolve("X")
    assert sorted(found.identifiers) == ["alpha", "beta"]
    assert (found.lot_size, found.freeze_quantity, found.master_day) == (65, None, DAY)
    assert "beta is of 2026-11-22, not 2026-11-23" in master.problems[0]["reason"]


def test_a_master_older_than_a_week_is_left_out() -> None:
    refresh("beta", [share("ANCIENT", token="7")], MarketClock(DAY - timedelta(days=8)))
    refresh("alpha", [share()])
    with pytest.raises(InvalidSymbol):
        instruments.lookup().resolve("ANCIENT")


def test_old_days_are_pruned_and_the_newest_kept() -> None:
    for days in range(20, -1, -1):
        refresh("alpha", [share(), option(strike=1000 + days)], MarketClock(DAY - timedelta(days=days)))
    assert list(InstrumentEdition.objects.order_by("master_day").values_list("master_day", flat=True)) == [
        DAY - timedelta(days=days) for days in (2, 1, 0)
    ]
    assert InstrumentRecord.objects.count() == 6
    assert InstrumentListing.objects.count() == 6
    assert InstrumentMaster.objects.count() == 15
    assert InstrumentMasterRows.objects.count() == 15


def test_a_clock_set_back_gets_the_book_of_its_day() -> None:
    refresh("alpha", [share("FUTURE", token="8")])
    refresh("alpha", [share("PAST", token="9")], MarketClock(DAY - timedelta(days=1)))
    assert instruments.lookup().resolve("PAST").master_day == DAY - timedelta(days=1)
    with pytest.raises(InvalidSymbol):
        instruments.lookup().resolve("FUTURE")


def test_the_record_of_a_contract_reads_the_same_through_the_orm() -> None:
    refresh("alpha", [option(strike="132.5", tick_size=Decimal("0.05"))])
    record = InstrumentRecord.objects.get(strike=Decimal("132.5"), expiry=MONTHLY, exchange=Exchange.NFO)
    assert (record.symbol, record.tick_size, record.right) == ("TESTIDX26NOV132.5CE", Decimal("0.05"), "CE")
    assert record.identifiers == {"alpha": {"code": "TSTIDX"}}
