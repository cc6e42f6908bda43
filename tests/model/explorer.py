"""Walks every interleaving of a model, breadth first, so that a counter-example is the shortest there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

W = TypeVar("W", bound=Hashable)


class Step(NamedTuple, Generic[W]):
    """What may happen next."""

    what: str
    #: It happens sooner or later if it stays possible: time, the exchange, and our own clean-up. Kills, losses and
    #: what people do are not certain.
    certain: bool
    world: W


@dataclass(slots=True)
class Exploration(Generic[W]):
    """What was found. A verdict's counter-example is the steps that lead to it."""

    states: int = 0
    steps: int = 0
    #: Worlds in which nothing can happen any more.
    ends: list[W] = field(default_factory=list)
    counter_examples: dict[str, list[str]] = field(default_factory=dict)


def explore(
    starts: Iterable[W],
    steps: Callable[[W], Iterator[Step[W]]],
    broken: Callable[[W], Iterable[str]],
    settled: Callable[[W], bool],
    *,
    until: frozenset[str] = frozenset(),
    limit: int = 1_000_000,
) -> Exploration[W]:
    """Visit every world that can be reached; say which verdicts were broken, and how.

    ``broken`` names what a world breaks. ``FORGOTTEN`` is added where no certain steps lead to a ``settled`` world.
    It ends early when everything in ``until`` is broken.

    :raises RuntimeError: there are more worlds than ``limit``.
    """
    found: Exploration[W] = Exploration()
    came_from: dict[W, tuple[W, str] | None] = dict.fromkeys(starts)
    certainly_before: dict[W, list[W]] = {}
    queue = deque(came_from)
    while queue:
        world = queue.popleft()
        for verdict in broken(world):
            found.counter_examples.setdefault(verdict, _path(came_from, world))
        if until and until <= found.counter_examples.keys():
            found.states = len(came_from)
            return found
        last = True
        for step in steps(world):
            last = False
            found.steps += 1
            if step.certain:
                certainly_before.setdefault(step.world, []).append(world)
            if step.world not in came_from:
                came_from[step.world] = (world, step.what)
                queue.append(step.world)
        if last:
            found.ends.append(world)
        if len(came_from) > limit:
            raise RuntimeError(f"More than {limit} states; make the model smaller.")
    found.states = len(came_from)
    reached = {world for world in came_from if settled(world)}
    back = deque(reached)
    while back:
        for world in certainly_before.get(back.popleft(), ()):
            if world not in reached:
                reached.add(world)
                back.append(world)
    stuck = next((world for world in came_from if world not in reached), None)
    if stuck is not None:
        found.counter_examples["FORGOTTEN"] = _path(came_from, stuck)
    return found


def _path(came_from: dict[W, tuple[W, str] | None], world: W) -> list[str]:
    steps = []
    while (before := came_from[world]) is not None:
        world, what = before
        steps.append(what)
    return steps[::-1]
