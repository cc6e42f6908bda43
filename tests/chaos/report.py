"""What a run found, for people and for machines."""

from __future__ import annotations

import json
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.chaos.checker import VERDICTS
from tests.chaos.labels import LABELS
from tests.chaos.plan import Plan
from tests.support.processes import CHECKOUT

PACKAGES = ("Django", "celery", "kombu", "redis", "httpx", "httpcore", "psycopg", "breeze-connect", "kotakneoapi")


def points(folder: Path) -> dict[str, dict[str, int]]:
    """How often each labelled point was passed, killed at and frozen at."""
    return {
        label.name: {kind: _size(folder / kind / label.name) for kind in ("passes", "kill", "stop")} for label in LABELS
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def missed(counted: dict[str, dict[str, int]], quota: int) -> list[str]:
    """Points that were not hit often enough: killed at, or frozen and killed or woken."""
    return [name for name, counts in counted.items() if counts["kill"] < quota]


def versions() -> dict[str, str]:
    """What the run ran on."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return {
        "mcube": revision.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in PACKAGES},
    }


def checks(result: dict[str, Any]) -> list[tuple[str, bool]]:
    """What a run shows, each with whether it holds: no verdict of any kind, and each point hit often enough."""
    return [
        *((f"no {name}", not count) for name, count in result["violations"].items()),
        *((f"{name} was hit often enough", name not in result["points_missed"]) for name in result["points"]),
        ("every strategy came to its end, and every book was read at last", not result["trouble"]),
    ]


def write(result: dict[str, Any], path: Path) -> None:
    """``path`` with ``.json`` and ``.md``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(result) + "\n")


def markdown(result: dict[str, Any]) -> str:
    """The report to read."""
    plan: Plan = Plan(**{name: result["plan"][name] for name in Plan.__dataclass_fields__ if name != "accounts"})
    lines = [
        f"# Chaos on {plan.database}, seed {plan.seed}",
        "",
        f"{plan.intents} wishes a broker in {plan.storm_seconds:g} s of storm; scale {plan.scale:g}: books are visible "
        f"within {plan.visible_within:g} s (V = {plan.visibility_seconds:g} s). {result['seconds']:.0f} s in all"
        + "".join(f", {name} {seconds:.0f} s" for name, seconds in result["phases"].items())
        + ".",
        "",
        ", ".join(f"{name} {value}" for name, value in result["versions"].items()),
        "",
        "| verdict | count | meaning |",
        "|---|---:|---|",
        *(f"| {name} | {result['violations'][name]} | {meaning} |" for name, meaning in VERDICTS.items()),
        "",
        "| | " + " | ".join(result["brokers"]) + " |",
        "|---|" + "---:|" * len(result["brokers"]),
    ]
    figures = (
        "intents",
        "attempts",
        "requests",
        "requests_spoiled",
        "orders_at_broker",
        "orders_of_people",
        "human_share",
    )
    lines += [_row(name.replace("_", " "), [each[name] for each in result["brokers"].values()]) for name in figures]
    for name in ("kinds", "states"):
        lines.append(_row(name, [_counts(each[name]) for each in result["brokers"].values()]))
    for state in ("WORKING", "ABSENT", "NEEDS_HUMAN"):
        cells = [_counts(each["seconds_to_truth"][state]) for each in result["brokers"].values()]
        lines.append(_row(f"UNKNOWN to {state}, s", cells))
    lines += ["", "| point | passed | killed | frozen |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {counts['passes']} | {counts['kill']} | {counts['stop']} |"
        for name, counts in result["points"].items()
    ]
    lines += ["", f"The machine gave {result['processor_share']:.0%} of a processor (median)."]
    lines += ["", "Blows: " + _counts(result["blows"]) + ".", "Restarts: " + _counts(result["restarts"]) + "."]
    for broker, hits in result["faults"].items():
        lines.append(f"Faults at {broker}: {_counts(hits)}.")
    lines += [f"- {trouble}" for trouble in result["trouble"]]
    lines += [f"- {name}: hit less than {plan.quota} times" for name in result["points_missed"]]
    lines += [f"- {each['verdict']}: {each['key']}: {each['sentence']}" for each in result["findings"][:50]]
    return "\n".join(lines)


def _row(name: str, cells: Sequence[object]) -> str:
    return f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |"


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
