"""The list of kinds of alerts, which the admin filters by without asking the table, names each that is raised."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

from brokers.alerts.kinds import AlertKind
from tests.architecture.sources import Source, production_sources

#: What raises, closes or looks for alerts by their kind, and what passes a kind on.
BY_KIND = frozenset({"raise_alert", "close_alert", "was_raised", "open_keys"})
PASSING_ON = "stop"


def kinds_in(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            given = [keyword.value for keyword in node.keywords if called == PASSING_ON and keyword.arg == "kind"]
            for kind in node.args[:1] if called in BY_KIND else given:
                yield from _value(source, kind)
        elif isinstance(node, ast.FunctionDef) and node.name == PASSING_ON:
            for usual in filter(None, node.args.kw_defaults):
                yield from _value(source, usual)


def _value(source: Source, kind: ast.expr) -> Iterator[str]:
    """A text as it stands or behind a name of its module; that of an argument is looked for where it is given."""
    if isinstance(kind, ast.Constant):
        yield str(kind.value)
    elif isinstance(kind, ast.Name | ast.Attribute):
        held: object = importlib.import_module(".".join(source.path.with_suffix("").parts).removesuffix(".__init__"))
        for name in ast.unparse(kind).split("."):
            held = getattr(held, name, None)
        if isinstance(held, str):
            yield held


def test_every_kind_of_alert_is_in_the_list_and_the_list_holds_no_other() -> None:
    raised = {kind for source in production_sources() for kind in kinds_in(source)}
    assert raised == set(AlertKind)
