"""Writes the documents that are made from the code (docs/settings.md, docs/capabilities.md, docs/order-states.md)
and the index of decisions (docs/decisions/README.md).

``python scripts/write_docs.py`` writes them; with ``--check`` it changes nothing and ends with status 1
if one is not current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from brokers.discovery import specs  # noqa: E402
from brokers.domain.capabilities import KINDS, Capabilities, Operation  # noqa: E402
from brokers.domain.invariants import Invariant  # noqa: E402
from brokers.domain.order_states import INITIAL_STATES, TRANSITIONS, Actor  # noqa: E402
from mcube.environment import Environment, variable_name  # noqa: E402

NOTE = "<!-- Made by scripts/write_docs.py; `make docs` writes it anew. -->"
#: Which tests showed which capability of which broker; kept by pytest --write-proofs.
PROOFS = CHECKOUT / "docs" / "evidence" / "capabilities.json"
#: The folders of tests that must each show a capability, or that it is refused.
SUITES = (("tests/contract/", "the contract suite"), ("tests/acceptance/", "a task"))
DECISIONS = CHECKOUT / "docs" / "decisions"
#: How the note of a decision begins.
DECISION = re.compile(
    r"# (?P<number>\d{4}) (?P<title>.+)\n\n"
    r"Date: (?P<date>\d{4}-\d\d-\d\d)\. "
    r"Status: (?P<status>(?:accepted|superseded by \[\d{4}\]\(\S+\.md\))(?:\. .+)?)\.\n\n"
    r"## Question\n(?:(?!## ).*\n)+## Decision\n"
)


def settings_page() -> str:
    """Every variable, its default and what it does."""
    rows = [
        (f"`{variable_name(name)}`", _default(name, field.default), field.description or "")
        for name, field in Environment.model_fields.items()
    ]
    rows += [
        (
            f"`MCUBE_{broker.upper()}_URL`",
            "the simulator's address in simulated mode",
            f"Where the SDK of {spec.verbose_name} is pointed; empty in live mode means the broker's own hosts.",
        )
        for broker, spec in specs().items()
    ]
    return _page(
        "Settings",
        "Every setting comes from the environment and is checked at the start; a bad value stops it with one line that\n"
        "names the variable. A secret may also be given as a file: `MCUBE_SECRET_KEY_FILE=/run/secrets/key` stands for\n"
        "`MCUBE_SECRET_KEY`. Lists are separated by commas; switches are `0` or `1`; ports are TCP ports of 127.0.0.1.",
        _table(("Variable", "Default", "Effect"), rows),
    )


def capabilities_page() -> str:
    """What each broker can do, side by side, and whether that was shown."""
    brokers = [spec.verbose_name for spec in specs().values()]
    said = [spec.capabilities for spec in specs().values()]
    offered = [
        _table(
            (_kind_words(kind), *brokers),
            [
                _row(kind.__name__, member.name, _member_words(member), [each.offers(member) for each in said], SUITES)
                for member in kind
            ],
        )
        for kind in KINDS
    ]
    stated = [field for field in fields(Capabilities) if field.name not in KINDS.values()]
    properties = [
        _row("Property", field.name, _words(field.name), [getattr(each, field.name) for each in said], SUITES[:1])
        for field in stated
        if field.type is bool
    ]
    figures = [
        (_words(field.name), *(_shown(getattr(each, field.name)) for each in said))
        for field in stated
        if field.type is not bool
    ]
    return _page(
        "What the brokers can do",
        "What each adapter's `SPEC` says, held against tests that passed, which are named in\n"
        f"[{PROOFS.name}](evidence/{PROOFS.name}). A yes or a no without more was shown twice: by the contract suite, through\n"
        "the broker's own SDK over loopback, and by a task that a worker ran. Whoever asks for what a broker does not offer\n"
        "gets `UnsupportedFeature` before anything is sent. A market order is taken, and sent as a protected limit order.\n\n"
        + "\n\n".join(offered)
        + "\n\nProperties, shown by the contract suite:\n\n"
        + _table(("Property", *brokers), properties)
        + "\n\nFigures of the brokers:",
        _table(("Figure", *brokers), figures),
    )


def _row(kind: str, name: str, words: str, said: Iterable[bool], suites: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """What is said of one capability, broker by broker, and by which of the suites that was not shown."""
    cells = []
    for broker, each in zip(specs(), said, strict=True):
        tests = _proofs().get(broker, {}).get(kind, {}).get(name, {}).get(_shown(each), [])
        missing = [suite for folder, suite in suites if not any(test.startswith(folder) for test in tests)]
        cells.append(f"{_shown(each)}, not shown by {' or '.join(missing)}" if missing else _shown(each))
    return words, *cells


@cache
def _proofs() -> Any:
    return json.loads(PROOFS.read_text())


def _kind_words(kind: type[StrEnum]) -> str:
    """``Order type``"""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).capitalize()


def _member_words(member: StrEnum) -> str:
    return member.words if isinstance(member, Operation) else member.value


def _words(name: str) -> str:
    return name.replace("_", " ")


def order_states_page() -> str:
    """Every move of an intent and who may make it, and the invariants that hold whatever happens."""
    starts = [("nothing", state.value, _actors(actors)) for state, actors in INITIAL_STATES.items()]
    moves = [(old.value, new.value, _actors(actors)) for (old, new), actors in TRANSITIONS.items()]
    arrows = [f"    [*] --> {state.value}" for state in INITIAL_STATES]
    arrows += [f"    {old.value} --> {new.value}" for old, new in TRANSITIONS]
    diagram = "\n".join(("```mermaid", "stateDiagram-v2", *arrows, "```"))
    invariants = _table(("Name", "What always holds"), [(member.name, member.value) for member in Invariant])
    return _page(
        "How an intent moves",
        "What each state means is in the [glossary](glossary.md#states-of-an-intent). A move that is not in the table is\n"
        f"refused, whoever tries it.\n\n{diagram}\n\n{invariants}",
        _table(("From", "To", "Who"), starts + moves),
    )


def decisions_page(folder: Path) -> str:
    """Every decision by its number; ends the program at a note that is not in the form of the others."""
    rows = []
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        note = DECISION.match(path.read_text())
        if note is None or not path.name.startswith(f"{note['number']}-"):
            raise SystemExit(
                f"{path.name} is not in the form of the other decisions. Begin it with `# NNNN Title`, the number that of "
                "its name, `Date: YYYY-MM-DD. Status: accepted.` (or `superseded by [NNNN](NNNN-title.md)`), `## Question` "
                "and `## Decision`, then run `make docs`."
            )
        rows.append((f"[{note['number']}]({path.name})", note["title"], note["date"], note["status"]))
    return _page(
        "Decisions",
        "What was decided at a cost: the question, the answer, what was not done instead, and when to look again.",
        _table(("Number", "Title", "Date", "Status"), rows),
    )


def _actors(actors: frozenset[Actor]) -> str:
    return ", ".join(sorted(actor.value.lower() for actor in actors))


def _default(name: str, value: Any) -> str:
    if value is None or value == "":
        return "empty"
    if name == "home":
        return "`var` in the checkout"
    if hasattr(value, "get_secret_value"):
        return f"`{value.get_secret_value()}`" if value.get_secret_value() else "empty"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit stated"
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        return ", ".join(f"{limit} in {seconds} s" for limit, seconds in value) or "none stated"
    return str(value)


def _page(title: str, text: str, table: str) -> str:
    return f"# {title}\n\n{NOTE}\n\n{text}\n\n{table}\n"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    pages = {
        "docs/settings.md": settings_page(),
        "docs/capabilities.md": capabilities_page(),
        "docs/order-states.md": order_states_page(),
        "docs/decisions/README.md": decisions_page(DECISIONS),
    }
    stale = []
    for name, text in pages.items():
        path = CHECKOUT / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text)
    if stale and "--check" in arguments:
        sys.stderr.write(f"Not current: {', '.join(stale)}; run `make docs`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
