"""What a caller relies on when it asks the calendar whether, when and why."""

from __future__ import annotations

import importlib
import json
import time as system_time
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from brokers import calendar, calendar_seed
from brokers.calendar import MarketCalendar, ShareClass
from brokers.clock import IST, SimulatedClock
from brokers.domain.enums import Exchange, MarketPhase
from brokers.models import HolidayList, SessionRule, SpecialDay
from tests.support import real_data

pytestmark = pytest.mark.django_db


class FixedClock:
    def __init__(self, at: datetime) -> None:
        self.at = at
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.at

    def real_now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds


def ist(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(ist("2026-11-23 11:00"))


@pytest.fixture
def market(clock: FixedClock) -> Iterator[MarketCalendar]:
    calendar_seed.seed(SessionRule, SpecialDay, HolidayList)
    calendar.forget()
    yield MarketCalendar(clock)
    calendar.forget()


@pytest.mark.parametrize(
    ("exchange", "at", "phase"),
    [
        ("NSE", "2026-11-23 08:59:59", MarketPhase.CLOSED),
        ("NSE", "2026-11-23 09:00", MarketPhase.PRE_OPEN),
        ("NSE", "2026-11-23 09:09:59", MarketPhase.PRE_OPEN),
        ("NSE", "2026-11-23 09:10", MarketPhase.CLOSED),
        ("NSE", "2026-09-04 09:08", MarketPhase.CLOSED),
        ("NFO", "2026-11-23 09:08", MarketPhase.CLOSED),
        ("NSE", "2026-11-23 09:15", MarketPhase.CONTINUOUS),
        ("NSE", "2026-11-23 15:29:59", MarketPhase.CONTINUOUS),
        ("NSE", "2026-11-23 15:30", MarketPhase.CLOSING_AUCTION),
        ("NSE", "2026-11-23 15:35", MarketPhase.CLOSED),
        ("BSE", "2026-11-23 15:40", MarketPhase.CLOSED),
        ("BSE", "2026-11-23 15:50", MarketPhase.POST_CLOSE),
        ("NSE", "2026-11-23 16:00", MarketPhase.CLOSED),
        ("NSE", "2026-07-31 15:35", MarketPhase.CLOSED),
        ("NSE", "2026-07-31 15:40", MarketPhase.POST_CLOSE),
        ("NFO", "2025-12-05 09:05", MarketPhase.CLOSED),
        ("NFO", "2025-12-08 09:05", MarketPhase.PRE_OPEN),
        ("NSE", "2025-10-21 13:30", MarketPhase.PRE_OPEN),
        ("NSE", "2025-10-21 15:00", MarketPhase.POST_CLOSE),
        ("NFO", "2026-02-01 09:05", MarketPhase.PRE_OPEN),
        ("BSE", "2026-02-01 15:45", MarketPhase.POST_CLOSE),
        ("NFO", "2026-11-23 15:39:59", MarketPhase.CONTINUOUS),
        ("NFO", "2026-11-23 15:40", MarketPhase.CLOSED),
        ("nse_fo", "2026-11-23 09:05", MarketPhase.PRE_OPEN),
        ("BFO", "2026-11-22 11:00", MarketPhase.CLOSED),
    ],
)
def test_each_moment_of_a_day_has_its_phase(market: MarketCalendar, exchange: str, at: str, phase: MarketPhase) -> None:
    assert market.phase(exchange, ist(at)) is phase


def test_the_closing_auction_is_for_shares_with_derivatives_only(market: MarketCalendar) -> None:
    at = ist("2026-11-23 15:20")
    assert market.phase("NSE", at, share_class=ShareClass.DERIVATIVES) is MarketPhase.CLOSING_AUCTION
    assert market.phase("NSE", at, share_class=ShareClass.OTHER) is MarketPhase.CONTINUOUS
    assert market.phase("NSE", at) is MarketPhase.CONTINUOUS
    assert market.phase("NFO", at, share_class=ShareClass.DERIVATIVES) is MarketPhase.CONTINUOUS


@pytest.mark.parametrize(
    ("day", "cash", "derivatives"),
    [("2026-07-31", "15:30", "15:30"), ("2026-08-03", "15:30", "15:40"), ("2026-12-07", "15:30", "15:45")],
)
def test_hours_change_on_the_announced_days(market: MarketCalendar, day: str, cash: str, derivatives: str) -> None:
    for exchange, close in (("NSE", cash), ("BSE", cash), ("NFO", derivatives), ("BFO", derivatives)):
        assert market.session(exchange, date.fromisoformat(day)) == (ist(f"{day} 09:15"), ist(f"{day} {close}"))


def test_every_answer_is_aware_utc(market: MarketCalendar) -> None:
    session = market.session(Exchange.NSE, date(2026, 11, 23))
    assert session is not None
    assert session[0] == datetime(2026, 11, 23, 3, 45, tzinfo=UTC)
    assert session[0].utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [("2025-10-21", "13:45", "14:45"), ("2026-11-08", "18:00", "19:15"), ("2026-02-01", "09:15", "15:30")],
)
def test_special_sessions_open_on_holidays_and_sundays(
    market: MarketCalendar, day: str, opens: str, closes: str
) -> None:
    for exchange in Exchange:
        assert market.is_trading_day(exchange, date.fromisoformat(day))
        assert market.session(exchange, date.fromisoformat(day)) == (ist(f"{day} {opens}"), ist(f"{day} {closes}"))
    assert not market.is_open("NSE", ist(f"{day} 16:30"))


def test_a_holiday_is_closed_and_says_which(market: MarketCalendar) -> None:
    assert not market.is_trading_day("NFO", date(2026, 11, 24))
    assert market.why_closed("NFO", ist("2026-11-24 11:00")) == (
        "NFO is closed at Tue 24 Nov 2026 11:00 IST (holiday: Guru Nanak Jayanti); "
        "it opens on Wed 25 Nov 2026 at 09:15 IST."
    )


def test_a_year_without_holidays_is_closed_and_says_so(market: MarketCalendar) -> None:
    assert market.session("NSE", date(2027, 1, 4)) is None
    sentence = market.why_closed("NSE", ist("2027-01-04 11:00"))
    assert "the holidays of 2027 are not known; enter the exchange's list of holidays in the admin" in sentence
    assert "no opening is known" in sentence
    assert not market.is_open("NSE", ist("2027-01-04 11:00"))
    assert not market.is_known("NSE", date(2027, 1, 4))
    assert "no opening is known after 31 Dec 2026" in market.why_closed("NSE", ist("2026-12-31 16:30"))
    assert market.known_until("NSE") == date(2026, 12, 31)


def test_some_holidays_of_a_year_do_not_make_it_known(market: MarketCalendar) -> None:
    SpecialDay.objects.create(exchange="NSE", date=date(2027, 1, 26), kind="HOLIDAY", note="a day", source="test")
    assert not market.is_trading_day("NSE", date(2027, 1, 4))
    assert market.is_known("NSE", date(2027, 1, 26))
    HolidayList.objects.create(exchange="NSE", year=2027, source="test")
    assert market.is_trading_day("NSE", date(2027, 1, 4))
    assert not market.is_trading_day("NSE", date(2027, 1, 26))
    assert market.known_until("NSE") == date(2027, 12, 31)
    assert market.known_until("NFO") == date(2026, 12, 31)


def test_a_day_before_every_rule_is_closed(market: MarketCalendar) -> None:
    HolidayList.objects.create(exchange="NSE", year=2024, source="test")
    assert not market.is_known("NSE", date(2024, 6, 3))
    assert market.session("NSE", date(2024, 6, 3)) is None
    assert "no session rule covers this day" in market.why_closed("NSE", ist("2024-06-03 11:00"))


def test_nothing_seeded_is_closed(clock: FixedClock) -> None:
    SessionRule.objects.all().delete()
    SpecialDay.objects.all().delete()
    HolidayList.objects.all().delete()
    market = MarketCalendar(clock)
    assert market.phase("NSE") is MarketPhase.CLOSED
    assert market.known_until("NSE") is None
    assert "no opening is known" in market.why_closed("NSE")


def test_the_next_opening_skips_weekends_and_holidays(market: MarketCalendar) -> None:
    assert market.next_open("NSE", ist("2026-11-23 15:45")) == ist("2026-11-25 09:15")
    assert market.next_open("NSE", ist("2026-11-23 09:00")) == ist("2026-11-23 09:15")
    assert market.next_open("NSE", ist("2026-11-23 09:15")) == ist("2026-11-25 09:15")
    assert market.next_open("NSE", ist("2026-11-06 16:00")) == ist("2026-11-08 18:00")


def test_an_open_market_gives_no_reason(market: MarketCalendar) -> None:
    assert market.why_closed("NSE") == ""


def test_an_auction_is_named_as_the_reason(market: MarketCalendar) -> None:
    assert "closing auction" in market.why_closed("NSE", ist("2026-11-23 15:32"))
    assert "weekend" in market.why_closed("NSE", ist("2026-11-22 11:00"))
    assert "outside trading hours" in market.why_closed("NSE", ist("2026-11-23 20:00"))
    assert "special hours of the day: Muhurat, a Sunday" in market.why_closed("NSE", ist("2026-11-08 20:00"))


def test_a_share_in_the_auction_is_closed_while_the_others_trade(market: MarketCalendar) -> None:
    at = ist("2026-11-23 15:20")
    assert market.is_open("NSE", at)
    assert market.is_open("NSE", at, share_class=ShareClass.OTHER)
    assert not market.is_open("NSE", at, share_class=ShareClass.DERIVATIVES)
    assert "closing auction" in market.why_closed("NSE", at, share_class=ShareClass.DERIVATIVES)


def test_an_exchange_may_trade_twice_on_a_saturday(market: MarketCalendar) -> None:
    """As on 2 March 2024, when the second half came from the exchanges' second site."""
    saturday = date(2026, 11, 28)
    for start, end in ((time(9, 15), time(10)), (time(11, 45), time(13))):
        SpecialDay.objects.create(
            exchange="NSE",
            date=saturday,
            kind="SESSION",
            phase="CONTINUOUS",
            start_time=start,
            end_time=end,
            note="second site",
            source="test",
        )
    assert market.session("NSE", saturday) == (ist("2026-11-28 09:15"), ist("2026-11-28 13:00"))
    assert market.is_open("NSE", ist("2026-11-28 09:59:59"))
    assert not market.is_open("NSE", ist("2026-11-28 10:00"))
    assert market.next_open("NSE", ist("2026-11-28 10:00")) == ist("2026-11-28 11:45")
    assert market.is_open("NSE", ist("2026-11-28 11:45"))
    assert not market.is_trading_day("NFO", saturday)


def test_an_unknown_exchange_is_refused_with_the_known_ones(market: MarketCalendar) -> None:
    with pytest.raises(ValueError, match="write one of NSE, BSE, NFO, BFO"):
        market.is_open("LSE")


def test_it_follows_the_clock_it_was_given(market: MarketCalendar, clock: FixedClock, tmp_path: Path) -> None:
    assert market.is_open("NSE")
    clock.at = ist("2026-11-22 11:00")
    assert not market.is_open("NSE")
    simulated = SimulatedClock(tmp_path / "simulated-clock.json")
    simulated.set(ist("2026-11-20 10:00"))
    assert MarketCalendar(simulated).is_open("NSE")


def test_a_change_in_this_process_counts_at_once(market: MarketCalendar) -> None:
    assert market.is_trading_day("NSE", date(2026, 11, 23))
    extra = SpecialDay.objects.create(exchange="NSE", date=date(2026, 11, 23), kind="HOLIDAY", source="test")
    assert not market.is_trading_day("NSE", date(2026, 11, 23))
    extra.delete()
    assert market.is_trading_day("NSE", date(2026, 11, 23))


def test_a_change_in_another_process_counts_after_seconds(market: MarketCalendar, clock: FixedClock) -> None:
    assert market.is_trading_day("NSE", date(2026, 11, 23))
    # An update sends no signal, as a change made by another process.
    SpecialDay.objects.filter(exchange="NSE", date=date(2026, 11, 24)).update(date=date(2026, 11, 23))
    assert market.is_trading_day("NSE", date(2026, 11, 23))
    clock.seconds += calendar.MAX_AGE_SECONDS
    assert not market.is_trading_day("NSE", date(2026, 11, 23))


def test_a_newer_rule_replaces_an_open_ended_one(market: MarketCalendar) -> None:
    SessionRule.objects.create(
        exchange="NFO",
        phase="CONTINUOUS",
        start_time=time(9, 30),
        end_time=time(16, 0),
        valid_from=date(2026, 12, 14),
        source="test",
    )
    assert market.session("NFO", date(2026, 12, 14)) == (ist("2026-12-14 09:30"), ist("2026-12-14 16:00"))
    assert market.session("NFO", date(2026, 12, 11)) == (ist("2026-12-11 09:15"), ist("2026-12-11 15:45"))


def test_seeding_again_keeps_what_a_person_changed(market: MarketCalendar) -> None:
    count = SpecialDay.objects.count()
    muhurat = SpecialDay.objects.get(exchange="NSE", date=date(2026, 11, 8), phase="CONTINUOUS")
    muhurat.start_time, muhurat.source = time(17, 45), "the circular"
    muhurat.save()
    SessionRule.objects.filter(exchange="NFO", valid_from=calendar_seed.DECEMBER).update(end_time=time(15, 40))
    calendar_seed.seed(SessionRule, SpecialDay, HolidayList)
    muhurat.refresh_from_db()
    assert (muhurat.start_time, muhurat.source) == (time(17, 45), "the circular")
    assert SessionRule.objects.get(exchange="NFO", valid_from=calendar_seed.DECEMBER).end_time == time(15, 40)
    assert SpecialDay.objects.count() == count


def test_every_seeded_row_names_its_source(market: MarketCalendar) -> None:
    assert not SessionRule.objects.filter(source="").exists()
    assert not SpecialDay.objects.filter(source="").exists()
    assert "provisional" in SpecialDay.objects.get(exchange="NSE", date=date(2026, 11, 8)).source
    for rule in SessionRule.objects.filter(valid_from=calendar_seed.DECEMBER):
        assert "verify" in rule.source
        assert not rule.is_verified
    assert set(SpecialDay.objects.filter(is_verified=False).values_list("date", flat=True)) == {date(2026, 11, 8)}


@pytest.fixture(scope="module")
def seeded(django_db_setup: None, django_db_blocker: Any) -> Iterator[MarketCalendar]:
    """The calendar as installed, for tests that ask it about very many moments and change nothing."""
    with django_db_blocker.unblock():
        calendar.forget()
        market = MarketCalendar(FixedClock(ist("2026-11-23 11:00")))
        market.phase("NSE")
        yield market
    calendar.forget()


KNOWN_DAYS = [date(2025, 1, 1) + timedelta(days=offset) for offset in range(730)]
SHARE_CLASSES = (ShareClass.DERIVATIVES, ShareClass.OTHER)
#: The order in which a day runs through its phases.
DAY = [MarketPhase.PRE_OPEN, MarketPhase.CONTINUOUS, MarketPhase.CLOSING_AUCTION, MarketPhase.POST_CLOSE]


@pytest.mark.parametrize("exchange", list(Exchange))
@pytest.mark.parametrize("share_class", SHARE_CLASSES)
def test_the_phases_of_a_day_follow_one_another(
    seeded: MarketCalendar, exchange: Exchange, share_class: ShareClass
) -> None:
    for day in KNOWN_DAYS:
        windows = [each for each in seeded._windows(exchange, day) if each.share_class in ("", share_class)]
        assert sorted(windows, key=lambda each: each.start) == sorted(windows, key=lambda each: DAY.index(each.phase))
        windows.sort(key=lambda each: each.start)
        assert all(each.start < each.end for each in windows)
        assert all(before.end <= after.start for before, after in pairwise(windows))
        assert bool(windows) == seeded.is_trading_day(exchange, day)
        assert seeded.is_known(exchange, day)


@given(
    exchange=strategies.sampled_from(list(Exchange)),
    share_class=strategies.sampled_from([None, *SHARE_CLASSES]),
    at=strategies.datetimes(datetime(2024, 12, 30), datetime(2027, 1, 3), timezones=strategies.just(UTC)),  # noqa: DTZ001
)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_moment_has_one_phase_whatever_zone_it_is_told_in(
    seeded: MarketCalendar, exchange: Exchange, share_class: ShareClass | None, at: datetime
) -> None:
    phase = seeded.phase(exchange, at, share_class=share_class)
    assert seeded.phase(exchange, at.astimezone(IST), share_class=share_class) is phase
    assert seeded.is_open(exchange, at, share_class=share_class) == (phase is MarketPhase.CONTINUOUS)
    assert (seeded.why_closed(exchange, at, share_class=share_class) == "") == (phase is MarketPhase.CONTINUOUS)
    session = seeded.session(exchange, at.astimezone(IST).date())
    if phase is MarketPhase.CONTINUOUS:
        assert session is not None
        assert session[0] <= at < session[1]
    if session is None:
        assert phase is MarketPhase.CLOSED
    opens = seeded.next_open(exchange, at)
    assert opens is None or (opens > at and seeded.is_open(exchange, opens))


def test_a_day_is_indias_whatever_the_date_in_utc(market: MarketCalendar) -> None:
    late = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)  # midnight between Sunday and Monday in India
    assert market.next_open("NSE", late - timedelta(microseconds=1)) == ist("2026-11-23 09:15")
    assert "weekend" in market.why_closed("NSE", late - timedelta(microseconds=1))
    assert "outside trading hours" in market.why_closed("NSE", late)
    assert "the holidays of 2027" in market.why_closed("NSE", datetime(2026, 12, 31, 18, 30, tzinfo=UTC))


def test_the_weekday_holidays_agree_with_pandas_market_calendars(market: MarketCalendar) -> None:
    library = importlib.import_module("pandas_market_calendars").get_calendar("NSE")
    theirs = {moment.date() for moment in library.valid_days("2025-01-01", "2026-12-31")}
    days = [date(2025, 1, 1) + timedelta(days=offset) for offset in range(730)]
    ours = {day for day in days if day.weekday() < 5 and market.is_trading_day("NSE", day)}
    # The library lists the Muhurat Tuesday of 2025 as a trading day or not, by version; ours trades on it.
    assert ours ^ theirs <= {date(2025, 10, 21)}


@real_data.needed(real_data.HOLIDAYS)
def test_the_holidays_agree_with_the_exchanges_own_lists(market: MarketCalendar) -> None:
    of_2025 = json.loads((real_data.HOLIDAYS / "nse-holiday-master-2025.json").read_text())
    of_2026 = json.loads((real_data.HOLIDAYS / "market-holidays-2026.json").read_text())
    for exchange, segment in ((Exchange.NSE, "CM"), (Exchange.NFO, "FO")):
        listed = {datetime.strptime(row["tradingDate"], "%d-%b-%Y").date() for row in of_2025[segment]}  # noqa: DTZ007
        listed |= {date.fromisoformat(row["date"]) for row in of_2026 if exchange in row["closed"]}
        ours = SpecialDay.objects.filter(exchange=exchange, kind="HOLIDAY").values_list("date", flat=True)
        assert set(ours) == listed


def test_an_answer_costs_microseconds(market: MarketCalendar) -> None:
    market.phase("NSE")
    started = system_time.perf_counter()
    for _ in range(1000):
        market.phase("NSE")
    assert system_time.perf_counter() - started < 0.5
