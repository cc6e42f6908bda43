"""The simulated exchange's clock starts in a session, whatever the day."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError

from brokers.clock import CLOCK_FILE, IST, SimulatedClock
from mcube import market_time

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path
    return tmp_path


def ist(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


@pytest.mark.parametrize(
    ("today", "starts"),
    [
        ("2026-11-23 20:00", "2026-11-23 09:30"),  # a Monday's evening: its session anew
        ("2026-11-24 11:00", "2026-11-25 09:30"),  # a holiday
        ("2026-11-28 11:00", "2026-11-30 09:30"),  # a Saturday
        ("2026-11-08 11:00", "2026-11-08 18:15"),  # a session at special hours
        ("2026-12-31 23:00", "2026-12-31 09:30"),
        ("2027-03-02 11:00", "2026-12-31 09:30"),  # after all that is known
    ],
)
def test_a_new_installation_starts_in_a_session(home: Path, today: str, starts: str) -> None:
    with time_machine.travel(ist(today), tick=False):
        assert market_time.settle() == ist(starts)


def test_a_clock_that_ran_never_goes_back(home: Path) -> None:
    with time_machine.travel(ist("2027-03-02 11:00"), tick=False):
        SimulatedClock(home / CLOCK_FILE).set(ist("2026-12-31 16:00"))
        with pytest.raises(CommandError, match="knows no session of NFO after 31 Dec 2026; enter the year's holidays"):
            market_time.settle()
