"""What a person adds, alters and closes in the calendar, and what the pages refuse."""

from __future__ import annotations

from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from brokers.calendar import MarketCalendar
from brokers.clock import IST, configured_clock
from brokers.domain.enums import Exchange
from brokers.models import HolidayList, SpecialDay
from mcube.access.groups import permissions_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.HOME = tmp_path


def test_a_special_day_is_a_persons_to_write(admin_client: Client) -> None:
    form = {"exchange": "NFO", "date": "2026-12-31", "kind": "HOLIDAY", "note": "", "source": "circular 1"}
    answer = admin_client.post(reverse("admin:brokers_specialday_add"), {**form, "start_time": "09:15"})
    assert "A holiday has no hours" in answer.content.decode()
    assert admin_client.post(reverse("admin:brokers_specialday_add"), form).status_code == 302
    assert SpecialDay.objects.filter(date="2026-12-31", exchange="NFO").exists()
    again = admin_client.post(reverse("admin:brokers_specialday_add"), form)
    assert again.status_code == 200


def test_special_hours_have_phases_one_after_the_other(admin_client: Client) -> None:
    page = reverse("admin:brokers_specialday_add")
    form = {"exchange": "NSE", "date": "2026-12-05", "kind": "SESSION", "note": "drill", "source": "circular 1"}
    hours = {"start_time": "09:15", "end_time": "12:30"}
    assert "need a phase" in admin_client.post(page, {**form, **hours}).content.decode()
    assert admin_client.post(page, {**form, **hours, "phase": "CONTINUOUS"}).status_code == 302
    early = {**form, "phase": "PRE_OPEN", "start_time": "09:00"}
    told = admin_client.post(page, {**early, "end_time": "09:20"}).content.decode()
    assert "On 05 Dec 2026 PRE_OPEN 09:00 to 09:20 and CONTINUOUS 09:15 to 12:30 would be at the same time" in told
    assert admin_client.post(page, {**early, "end_time": "09:08"}).status_code == 302
    assert MarketCalendar(configured_clock()).session("NSE", date(2026, 12, 5)) is not None


def test_a_rule_that_clashes_with_another_on_a_later_day_is_refused(admin_client: Client) -> None:
    form = {"exchange": "NSE", "phase": "POST_CLOSE", "valid_from": "2026-12-01", "source": "circular 1"}
    told = admin_client.post(
        reverse("admin:brokers_sessionrule_add"), {**form, "start_time": "15:35", "end_time": "15:55"}
    ).content.decode()
    assert "On 07 Dec 2026 CLOSING_AUCTION 15:30 to 15:40 and POST_CLOSE 15:35 to 15:55 would be at the same" in told
    good = admin_client.post(
        reverse("admin:brokers_sessionrule_add"), {**form, "start_time": "15:45", "end_time": "16:00"}
    )
    assert good.status_code == 302


def test_the_next_years_holidays_are_entered_as_one_list(admin_client: Client) -> None:
    market = MarketCalendar(configured_clock())
    form = {"exchange": "NSE", "year": "2027", "source": "circular 2"}
    page = reverse("admin:brokers_holidaylist_add")
    assert "write the exchange&#x27;s whole list" in admin_client.post(page, form).content.decode()
    assert "does not begin with a day" in admin_client.post(page, {**form, "days": "26 Jan 2027"}).content.decode()
    assert "is not a day of 2027" in admin_client.post(page, {**form, "days": "2026-01-26 x"}).content.decode()
    assert not market.is_known("NSE", date(2027, 1, 4))

    answer = admin_client.post(page, {**form, "days": "2027-01-26 Republic Day\n\n2027-03-22 Holi\n"})
    assert answer.status_code == 302
    assert market.is_trading_day("NSE", date(2027, 1, 4))
    assert not market.is_trading_day("NSE", date(2027, 1, 26))
    holi = SpecialDay.objects.get(exchange="NSE", date=date(2027, 3, 22))
    assert (holi.note, holi.source) == ("Holi", "circular 2")
    assert LogEntry.objects.filter(content_type__model="holidaylist", action_flag=ADDITION).exists()


@pytest.mark.parametrize(("group", "may"), [("viewer", False), ("trader", False), ("administrator", True)])
@pytest.mark.parametrize("model", ["holidaylist", "specialday", "sessionrule"])
def test_the_calendar_is_the_administrators_to_write_and_everybodys_to_see(
    client: Client, model: str, group: str, may: bool
) -> None:
    person = User.objects.create_user("person", is_staff=True)
    person.user_permissions.set(permissions_of(group))
    client.force_login(person)
    assert client.get(reverse(f"admin:brokers_{model}_changelist")).status_code == 200
    assert client.get(reverse(f"admin:brokers_{model}_add")).status_code == (200 if may else 403)


def test_a_day_that_is_not_known_is_said_on_the_first_page_and_by_status(admin_client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens there
    configured_clock().set(datetime(2026, 11, 23, 11, 0, tzinfo=IST))  # type: ignore[union-attr]
    sentence = "NSE is closed at Mon 23 Nov 2026 11:00 IST (the holidays of 2026 are not known"
    assert sentence not in admin_client.get(reverse("admin:index")).content.decode()
    HolidayList.objects.filter(exchange="NSE", year=2026).delete()
    assert sentence in admin_client.get(reverse("admin:index")).content.decode()
    told = StringIO()
    call_command("status", stdout=told)
    assert sentence in told.getvalue()
    assert "NFO is closed" not in told.getvalue()


def test_a_year_is_entered_for_all_exchanges_by_a_command() -> None:
    market, told = MarketCalendar(configured_clock()), StringIO()
    with pytest.raises(CommandError, match="is not a day of 2028"):
        call_command("holidays", "2028", "--source", "circular 3", file=StringIO("2027-01-26 Republic Day"))
    with pytest.raises(CommandError, match="whole list"):
        call_command("holidays", "2027", "--source", "circular 3", file=StringIO(""))
    assert not market.is_known("BFO", date(2027, 1, 4))
    call_command(
        "holidays", "2027", "--source", "circular 3", file=StringIO("2027-01-26 R\n2027-03-22 Holi"), stdout=told
    )
    assert told.getvalue().splitlines() == [f"{each}: 2027 is known, 2 holidays added." for each in Exchange]
    assert all(market.is_trading_day(each, date(2027, 1, 4)) for each in Exchange)
    assert not any(market.is_trading_day(each, date(2027, 1, 26)) for each in Exchange)
