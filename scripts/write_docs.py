"""Writes the documents that are made from the code (docs/settings.md, docs/capabilities.md, docs/order-states.md,
docs/tasks.md) and the index of decisions (docs/decisions/README.md).

``python scripts/write_docs.py`` writes them; with ``--check`` it changes nothing and ends with status 1
if one is not current.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import django

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
django.setup()

from brokers.discovery import specs  # noqa: E402
from brokers.domain.capabilities import KINDS, Capabilities, Operation  # noqa: E402
from brokers.domain.enums import Exchange, OrderType, Product, TimeInForce  # noqa: E402
from brokers.domain.invariants import Invariant  # noqa: E402
from brokers.domain.order_states import INITIAL_STATES, TRANSITIONS, Actor  # noqa: E402
from brokers.ledger.identity import MAX_KEY_LENGTH  # noqa: E402
from brokers.ledger.operations import APPROVAL_LIFETIME, ENTRY_LIFETIME, EXIT_LIFETIME  # noqa: E402
from brokers.plans.recording import LEG_WORDS  # noqa: E402
from mcube.environment import Environment, variable_name  # noqa: E402
from tasks import account, answers, gtts, market, orders, plans  # noqa: E402

NOTE = "<!-- Made by scripts/write_docs.py; `make docs` writes it anew. -->"
#: Which tests showed which capability of which broker; kept by pytest --write-proofs.
PROOFS = CHECKOUT / "docs" / "evidence" / "capabilities.json"
#: The folders of tests that must each show a capability, or that it is refused.
SUITES = (("tests/contract/", "the contract suite"), ("tests/acceptance/", "a task"))
DECISIONS = CHECKOUT / "docs" / "decisions"
#: (task, what it is called here beside its name, the function that takes its words).
TASKS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (orders.place_order, "", orders._place),
    (orders.modify_order, "", orders._modify),
    (orders.cancel_order, "", orders._cancel),
    (orders.place_basket, "", plans._basket),
    (orders.close_position, "", plans._close),
    (orders.close_all_positions, "", plans._close_all),
    (gtts.place_gtt, ", single", gtts._single),
    (gtts.place_gtt, ", three legs", gtts._three_leg),
    (gtts.modify_gtt, "", gtts._change),
    (gtts.cancel_gtt, "", gtts._cancel),
)
#: What callers do not give.
OWN_WORDS = ("has_own_key", "how")
#: What each word means; of one task, where it means something else there.
MEANINGS: Mapping[str, str] = {
    "broker": " or ".join(f"`{broker}`" for broker in specs()),
    "account": "the account's name",
    "symbol": "the exchange's trading symbol, e.g. `RELIANCE`",
    "action": "`BUY` or `SELL`, also `B` or `S`",
    "quantity": "units, never lots",
    "client_order_id": f"your own key, 1 to {MAX_KEY_LENGTH} characters",
    "order_type": ", ".join(f"`{each}`" for each in OrderType),
    "price": "limit price, rupees a unit",
    "trigger_price": "rupees a unit",
    "exchange": ", ".join(f"`{each}`" for each in Exchange) + "; NSE's where both list the symbol",
    "product": ", ".join(f"`{each}`" for each in Product) + "; without it the account's default",
    "close_position.product": "closes what is held in this product only",
    "time_in_force": ", ".join(f"`{each}`" for each in TimeInForce),
    "strategy": "whose it is; limits and the kill switch can name it",
    "not_after": "a time of today with its offset; what is not sent by then is not sent",
    "reduce_only": "an exit: refused where it would open or turn a position; it passes most limits and a REDUCING switch",
    "order_id": "the broker's number of the order",
    "legs": "dicts of " + ", ".join(f"`{word}`" for word in sorted(LEG_WORDS)),
    "lots_per_order": "lots in one slice; without it what suits the broker",
    "pace_seconds": "seconds between slices; without it what suits the broker",
    "gtt_order_id": "the broker's number of the GTT",
    "target_trigger_price": "the target's, rupees a unit",
    "target_price": "the target's limit price",
    "stop_trigger_price": "the stop's, rupees a unit",
    "stop_price": "the stop's limit price",
}
#: The modules of the tasks that read.
READS = (market, account, gtts)
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


def tasks_page() -> str:
    """What each task takes that a strategy calls, and what becomes of it."""
    parts = []
    for task, kind, taker in TASKS:
        module, _, name = task.name.rpartition(".")
        rows = [
            (
                f"`{word.name}`",
                _type_words(word),
                _default_words(word, task),
                MEANINGS.get(f"{name}.{word.name}") or MEANINGS[word.name],
            )
            for word in inspect.signature(taker).parameters.values()
            if word.name not in OWN_WORDS
        ]
        table = _table(("Word", "Type", "Default", "Meaning"), rows)
        parts.append(f"## `{name}`{kind}\n`from {module} import {name}`. {_first_line(task)}\n\n{table}")
    reads = [
        (f"`{module.__name__}`", f"`{name}`", ", ".join(_call_words(task)) or "nothing more", _first_line(task))
        for module in READS
        for name, task in vars(module).items()
        if isinstance(task, answers.AnsweredTask)
    ]
    return _page(
        "What the tasks take",
        "A strategy calls these with `.delay(...)`; every word is given by its name.\n\n"
        "**What `.delay` returns.** When it returns, the order is in the ledger, and a worker sends it. What it returns has\n"
        "`intent_id`, `client_order_id` and `broker`; of a basket or a closing it has `plan_id` in place of `intent_id`. What\n"
        "became of the order is in the ledger alone: `OrderIntent.objects.get(pk=order.intent_id).state`, and of plans\n"
        "`brokers.plans.status.progress`. `.delay` raises `OrderDenied`, with the reason, when the order breaks a rule of the\n"
        "instrument or of the broker; then nothing is recorded. Limits and market hours are checked by the worker: an order\n"
        "that does not keep them ends DENIED, and its row says why.\n\n"
        "**Calling again.** The same `client_order_id` with the same content is the same order, however often it is called.\n"
        "With other content, or on another day, `.delay` raises `IdempotencyConflict`. Where the default is *made up*, a call\n"
        "without one is an order of its own; the same order once more within the cool-down of the limits, or before the outcome\n"
        "of the first is known, is taken for a second click and refused.\n\n"
        f"**How long an order may wait.** What was not sent within {_seconds(ENTRY_LIFETIME)} ends LAPSED and is never sent; orders\n"
        f"with `reduce_only` and cancels have {_seconds(EXIT_LIFETIME)}. Where a person is to approve an account's orders, they have\n"
        f"{_seconds(APPROVAL_LIFETIME)}, in which the person must have said yes; exits and cancels wait for nobody. `not_after` sets\n"
        "another time, sooner or later, of the same trading day. A basket has the time that its slices need and some more, at\n"
        "most until the market closes. How long a broker keeps a GTT is the broker's rule.\n\n"
        'Prices are rupees a unit, written as text (`"100.5"`) so that they stay exact. A time is ISO text with its offset\n'
        "(`2026-11-23T10:15:00+05:30`) or an aware `datetime`.\n\n" + "\n\n".join(parts) + "\n\n## Reads\n"
        'Each also takes `broker`, `account` (`"default"`) and `max_age_seconds`, which says how much older than the question the\n'
        "answer may be. `.latest(...)` with the same words gives the newest answer: [an example](quick-start.md#2-ask-a-broker).",
        _table(("Module", "Task", "Takes", "What it reads"), reads),
    )


def _call_words(task: Any) -> list[str]:
    words = inspect.signature(task.run).parameters.values()
    return [
        f"`{word.name}: {word.annotation}{'' if word.default is word.empty else f' = {_text(word.default)}'}`".replace(
            "|", "\\|"
        )
        for word in words
        if word.name not in ("broker", "account", *OWN_WORDS)
    ]


def _seconds(lifetime: timedelta) -> str:
    return f"{lifetime.total_seconds():.0f} s"


def _type_words(word: inspect.Parameter) -> str:
    return f"`{word.annotation}`".replace("|", "\\|")


def _default_words(word: inspect.Parameter, task: Any) -> str:
    """An order or a closing that brings no key of its own gets one; a basket does not."""
    if word.name == "client_order_id" and task is not orders.place_basket:
        return "made up"
    return "needed" if word.default is word.empty else f"`{_text(word.default)}`"


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def _first_line(task: Any) -> str:
    words = inspect.getdoc(task.run)
    if words is None:
        sys.exit(f"{task.name} has no docstring; say in a line what it does.")
    return words.partition("\n")[0].replace("``", "`")


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
        "docs/tasks.md": tasks_page(),
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
