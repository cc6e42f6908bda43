"""A day's profit and loss drawn on the server: an SVG without a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from brokers.admin.display import rupees
from brokers.clock import IST
from brokers.slots import Point

WIDTH, HEIGHT, MARGIN = 900, 240, 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What the template draws. Lines are broken where a slot has no figure."""

    width: int
    height: int
    lines: tuple[str, ...]
    #: Where nothing was won or lost.
    zero_y: float
    highest: str
    lowest: str
    last: str
    first_at: str
    last_at: str


def curve(points: Sequence[Point]) -> Curve | None:
    """The drawing of a day; None when no slot has a figure."""
    known = [(point.slot_at, float(point.pnl)) for point in points if point.pnl is not None]
    if not known:
        return None
    starts, ends = known[0][0], known[-1][0]
    high, low = max(0.0, *(pnl for _, pnl in known)), min(0.0, *(pnl for _, pnl in known))
    seconds, rise = max(1.0, (ends - starts).total_seconds()), max(1.0, high - low)

    def x(at: datetime) -> float:
        return MARGIN + (at - starts).total_seconds() / seconds * (WIDTH - 2 * MARGIN)

    def y(pnl: float) -> float:
        return MARGIN + (high - pnl) / rise * (HEIGHT - 2 * MARGIN)

    figures = [point.pnl for point in points if point.pnl is not None]
    return Curve(
        width=WIDTH,
        height=HEIGHT,
        lines=tuple(" ".join(f"{x(at):.1f},{y(pnl):.1f}" for at, pnl in _widened(run)) for run in _runs(points)),
        zero_y=round(y(0.0), 1),
        highest=rupees(max(figures)),
        lowest=rupees(min(figures)),
        last=rupees(figures[-1]),
        first_at=f"{starts.astimezone(IST):%H:%M:%S}",
        last_at=f"{ends.astimezone(IST):%H:%M:%S}",
    )


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[datetime, float]]]:
    run: list[tuple[datetime, float]] = []
    for point in points:
        if point.pnl is not None:
            run.append((point.slot_at, float(point.pnl)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _widened(run: list[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """A single point is drawn as a line to itself, which a round cap makes a dot."""
    return run * 2 if len(run) == 1 else run
