"""Clocks. The simulated exchange has its own time, which every process of the installation obeys.

The simulated clock is a file in ``MCUBE_HOME`` that says which market time belonged to which real time;
the market's time runs on from there at the pace of the wall's.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from pathlib import Path

#: In MCUBE_HOME; its being there marks a simulated installation.
CLOCK_FILE = "simulated-clock.json"

IST = timezone(timedelta(hours=5, minutes=30), "IST")


class SystemClock:
    """The wall's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real_now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class SimulatedClock:
    """The simulated exchange's clock, read from its file whenever that changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset()

    def real_now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def offset(self) -> timedelta:
        """Market time minus real time; zero until somebody has set the clock."""
        try:
            state = os.stat(self._path)
        except FileNotFoundError:
            return timedelta(0)
        stamp = (state.st_mtime_ns, state.st_ino)
        if stamp != self._stamp:
            self._offset = timedelta(seconds=json.loads(self._path.read_text())["offset_seconds"])
            self._stamp = stamp
        return self._offset

    def set(self, market_time: datetime) -> None:
        """Make it ``market_time`` (aware) now, for every process that reads the file."""
        offset = (market_time - datetime.now(UTC)).total_seconds()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps({"offset_seconds": offset}))
        os.replace(draft, self._path)


def trading_day(moment: datetime) -> date:
    """The IST date of a moment."""
    return moment.astimezone(IST).date()


def end_of_day(moment: datetime) -> datetime:
    """The first 00:00 IST after a moment, aware UTC."""
    tomorrow = trading_day(moment) + timedelta(days=1)
    return datetime.combine(tomorrow, time_of_day(), IST).astimezone(UTC)


def configured_clock() -> SystemClock | SimulatedClock:
    """The clock of this installation: simulated in simulated mode, the wall's otherwise."""
    from django.conf import settings

    from brokers.domain.enums import Mode

    if settings.MODE is Mode.SIMULATED:
        return SimulatedClock(settings.HOME / CLOCK_FILE)
    return SystemClock()
