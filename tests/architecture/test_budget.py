"""Sizes. A longer function or file hides an idea that has not been found yet."""

from __future__ import annotations

import ast
from statistics import median, quantiles

from tests.architecture.sources import production_sources

LONGEST_FILE = 400
LONGEST_FUNCTION = 50
MEDIAN_FUNCTION, NINTH_DECILE_FUNCTION = 10, 30
#: Lines of the folder that every order's safety rests on, so that a person can read it in an hour.
LEDGER_LINES = 1500
#: Broad handlers in all of the code; each re-raises or translates with ``from``.
BROAD_HANDLERS = 3


def functions() -> list[tuple[str, int]]:
    """Where each function is, and its length in lines with its docstring."""
    return [
        (f"{source.path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for source in production_sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def handlers() -> list[tuple[str, ast.ExceptHandler]]:
    """Every handler of all exceptions."""
    return [
        (f"{source.path}:{node.lineno}", node)
        for source in production_sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]


def test_no_file_is_too_long() -> None:
    long = {str(source.path): source.lines for source in production_sources() if source.lines > LONGEST_FILE}
    assert not long


def test_the_ledger_can_be_read_in_one_go() -> None:
    lines = sum(source.lines for source in production_sources() if "brokers/ledger/" in source.path.as_posix())
    assert 0 < lines <= LEDGER_LINES


def test_no_function_is_too_long() -> None:
    long = [(place, length) for place, length in functions() if length > LONGEST_FUNCTION]
    assert not long


def test_functions_are_short_as_a_rule() -> None:
    lengths = [length for _place, length in functions()]
    assert median(lengths) <= MEDIAN_FUNCTION
    assert quantiles(lengths, n=10)[-1] <= NINTH_DECILE_FUNCTION


def test_broad_handlers_are_few_and_none_swallows() -> None:
    found = handlers()
    swallowing = [
        place
        for place, handler in found
        if handler.type is None or not any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    ]
    assert not swallowing
    # Cleaning up and raising again, whatever it is, hides nothing.
    translating = [place for place, handler in found if handler.type and ast.unparse(handler.type) == "Exception"]
    assert len(translating) <= BROAD_HANDLERS, translating
