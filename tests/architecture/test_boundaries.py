"""What belongs to a broker stays in its folder. Made from each ``SPEC``, so that a third broker is covered."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from brokers.discovery import specs
from tests.architecture.sources import ADAPTERS, Source, production_sources


def imported_packages(source: Source) -> Iterator[str]:
    """The top-level package of every import, also of those made by name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (str(name.value).split(".")[0] for name in node.args[:1] if isinstance(name, ast.Constant))


def code_words(source: Source) -> Iterator[tuple[int, str]]:
    """Names and strings of the code, docstrings left out."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("broker", specs())
def test_an_sdk_is_imported_by_its_sdk_module_only(broker: str) -> None:
    allowed = ADAPTERS / broker / "sdk.py"
    packages = specs()[broker].sdk_packages
    offenders = {
        f"{source.path} imports {package}"
        for source in production_sources()
        if source.path != allowed
        for package in imported_packages(source)
        if package in packages
    }
    assert not offenders, sorted(offenders)


@pytest.mark.parametrize("broker", specs())
def test_a_brokers_name_is_not_written_outside_its_folder(broker: str) -> None:
    spec = specs()[broker]
    folder = ADAPTERS / broker
    # Part of a word is enough for the name; an alias may also be part of another firm's name, or of a column's.
    names = re.compile("|".join(re.escape(name) for name in sorted({spec.name, *spec.sdk_packages})))
    aliases = {spec.verbose_name.lower(), *(alias.lower() for alias in spec.aliases)}
    offenders = [
        f"{source.path}:{line}: {word[:60]!r}"
        for source in production_sources()
        if folder not in source.path.parents
        for line, word in code_words(source)
        if names.search(word.lower()) or word.lower() in aliases
    ]
    assert not offenders, offenders


@pytest.mark.parametrize("broker", specs())
def test_a_brokers_host_is_not_written_outside_its_folder(broker: str) -> None:
    folder = ADAPTERS / broker
    offenders = [
        f"{source.path}: {host}"
        for source in production_sources()
        if folder not in source.path.parents
        for host in specs()[broker].hosts
        if host in source.text
    ]
    assert not offenders, offenders


def test_a_planted_import_and_name_are_found() -> None:
    broker, spec = next(iter(specs().items()))
    package = sorted(spec.sdk_packages)[0]
    text = f'"""{broker}"""\ndef late():\n    import {package}.sub\nNAME = "{broker}"\n'
    planted = Source(path=ADAPTERS, text=text, tree=ast.parse(text))
    assert list(imported_packages(planted)) == [package]
    assert (4, broker) in list(code_words(planted))
    assert (1, broker) not in list(code_words(planted))
