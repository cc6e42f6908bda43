"""The page of an account's day: its curve, its slots, its end; and the cadences that a person sets."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from brokers.admin.days import page_of
from brokers.clock import configured_clock
from brokers.models import BrokerAccount, MarginSnapshot, PositionSnapshot, SnapshotCadence
from tests.integration import admin_rows
from tests.integration.admin_rows import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = settings.HOME = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # these tests are not about it
    configured_clock().set(NOON + timedelta(minutes=10))  # type: ignore[union-attr]


@pytest.fixture
def owner() -> BrokerAccount:
    return admin_rows.account()


def positions(owner: BrokerAccount, minute: int, pnl: str | None, status: str = "OK") -> None:
    PositionSnapshot.objects.create(
        account=owner,
        slot_at=NOON + timedelta(minutes=minute),
        status=status,
        pnl=None if pnl is None else Decimal(pnl),
        cadence_seconds=60,
        created_at=NOON,
    )


def text(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_a_day_is_drawn_without_a_script(admin_client: Client, owner: BrokerAccount) -> None:
    for minute, pnl in enumerate(("0", "125000.5", None, "-2500", "-1200")):
        positions(owner, minute, pnl, status="OK" if pnl else "FAILED")
    page = text(admin_client, page_of(owner.pk, NOON.date()))
    [drawing] = re.findall(r"<svg viewBox.*?</svg>", page, re.DOTALL)
    assert drawing.count("<polyline") == 2
    assert "<script" not in drawing
    for words in ("last -₹1,200.00", "highest ₹1,25,000.50", "lowest -₹2,500.00", "12:00:00 to 12:04:00 IST"):
        assert words in page


def test_a_days_slots_say_what_failed_and_what_is_missing(admin_client: Client, owner: BrokerAccount) -> None:
    for minute in (0, 1, 4):
        positions(owner, minute, "5")
    positions(owner, 5, None, status="FAILED")
    page = text(admin_client, page_of(owner.pk, NOON.date()))
    assert "2 between 12:01:00 and 12:04:00" in page
    row = re.search(r"<tr><td>positions</td>.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert ">3</td>" in row.group()  # taken
    assert ">1</td>" in row.group()  # failed


def test_a_day_without_readings_says_so(admin_client: Client, owner: BrokerAccount) -> None:
    page = text(admin_client, page_of(owner.pk, NOON.date()))
    assert "No reading of this day has a figure." in page
    assert "Not written: that is done after the last close." in page
    wrong = reverse("admin:brokers_dayrecord_page", args=(owner.pk, "yesterday"))
    assert admin_client.get(wrong).status_code == 404


def test_who_may_not_see_days_does_not_see_one(client: Client, owner: BrokerAccount) -> None:
    client.force_login(User.objects.create_user("asha", password="x", is_staff=True))
    assert client.get(page_of(owner.pk, NOON.date())).status_code == 403


def test_the_list_of_days_leads_to_today(admin_client: Client, owner: BrokerAccount) -> None:
    page = text(admin_client, reverse("admin:brokers_dayrecord_changelist"))
    assert page_of(owner.pk, NOON.date()) in page


def test_a_late_slot_is_seen_and_found(admin_client: Client, owner: BrokerAccount) -> None:
    admin_rows.snapshots(owner)
    MarginSnapshot.objects.update(is_late=True)
    listed = reverse("admin:brokers_marginsnapshot_changelist")
    assert "taken late" in text(admin_client, listed + "?is_late__exact=1")
    assert "taken late" not in text(admin_client, listed + "?is_late__exact=0")


def test_a_person_changes_a_cadence(admin_client: Client, owner: BrokerAccount) -> None:
    add = reverse("admin:brokers_snapshotcadence_add")
    form = {"account": owner.pk, "kind": "POSITIONS", "seconds": "15"}
    assert "15 s is no cadence" in admin_client.post(add, form).content.decode()
    assert admin_client.post(add, form | {"seconds": "10"}).status_code == 302
    assert SnapshotCadence.objects.get().seconds == 10
