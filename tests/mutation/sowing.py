"""Puts a bug into running code, and takes it out again.

A mutant is a change of a module's text. The functions that it touches get the code compiled from the changed
text, so that whoever holds such a function runs the bug; nothing is written to disk.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug. ``test`` is the node id of a test that fails with it and passes without."""

    name: str
    test: str
    #: The module with the bug, the text to take out and what to put in.
    module: str = ""
    old: str = ""
    new: str = ""
    #: A database index to drop instead.
    index: str = ""
    #: No bug at all, so that the test must pass: shows that the gate does not cry at every change.
    is_harmless: bool = False


@contextmanager
def sown(mutant: Mutant) -> Iterator[None]:
    """Inside, the bug is there.

    :raises LookupError: the text is not there exactly once, or is in no function; the mutant has to be brought up
        to date with the code.
    """
    undo = _drop(mutant.index) if mutant.index else _replace(mutant)
    try:
        yield
    finally:
        undo()


def _replace(mutant: Mutant) -> Any:
    module = import_module(mutant.module)
    path = Path(inspect.getfile(module))
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: {mutant.old!r} is {text.count(mutant.old)} times in {mutant.module}.")
    before, after = _functions(text, path), _functions(text.replace(mutant.old, mutant.new), path)
    changed = [name for name, code in after.items() if name in before and not _same(code, before[name])]
    if not changed:
        raise LookupError(f"{mutant.name}: the change of {mutant.module} changes no function.")
    kept = []
    for name in changed:
        function = _live(module, name)
        kept.append((function, function.__code__))
        function.__code__ = after[name]

    def undo() -> None:
        for function, code in kept:
            function.__code__ = code

    return undo


def _functions(text: str, path: Path) -> dict[str, CodeType]:
    """The code of every function and method, by its name within the module; what is inside one is part of it."""
    top = compile(ast.parse(text), str(path), "exec", flags=_FUTURE, dont_inherit=True)
    found: dict[str, CodeType] = {}

    def visit(code: CodeType, prefix: str) -> None:
        for constant in code.co_consts:
            if not isinstance(constant, CodeType) or constant.co_name.startswith("<"):
                continue
            name = f"{prefix}{constant.co_name}"
            if constant.co_flags & inspect.CO_OPTIMIZED:
                found[name] = constant
            else:
                visit(constant, f"{name}.")

    visit(top, "")
    return found


_FUTURE = __import__("__future__").annotations.compiler_flag


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether two functions do the same, wherever they stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    pairs = list(zip(one.co_consts, other.co_consts, strict=False))
    return len(one.co_consts) == len(other.co_consts) and all(
        _same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else a == b for a, b in pairs
    )


def _live(module: ModuleType, name: str) -> FunctionType:
    found: Any = module
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    found = getattr(found, "__func__", None) or getattr(found, "fget", None) or found
    function = inspect.unwrap(found)
    assert isinstance(function, FunctionType), f"{name} of {module.__name__} is {function!r}"
    return function


def _drop(index: str) -> Any:
    from django.db import connection

    table = "sqlite_master WHERE name" if connection.vendor == "sqlite" else "pg_indexes WHERE indexname"
    column = "sql" if connection.vendor == "sqlite" else "indexdef"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} = %s", [index])
        row = cursor.fetchone()
        if row is None:
            raise LookupError(f"There is no index {index}.")
        definition = row[0]
        cursor.execute(f"DROP INDEX {index}")

    def undo() -> None:
        with connection.cursor() as cursor:
            cursor.execute(definition)

    return undo
