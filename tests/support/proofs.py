"""Which test showed which cell of the capability matrix: docs/evidence/capabilities.json, held against every run.

``@pytest.mark.proves(Operation.QUOTE)`` says what a test shows of the broker it runs for, which its parameter ``spec`` or
``broker`` names: that the broker offers it, or that asking is refused by name. ``proves("echoes_client_tag")`` says that a
property of Capabilities is as stated. A test that is skipped shows nothing.

A file whose tests all ran and passed must have shown what is kept of it, or the run fails. ``--write-proofs`` keeps what
was shown instead; scripts/write_docs.py makes docs/capabilities.md of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from brokers.discovery import specs
from brokers.domain.capabilities import Capabilities

CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = CHECKOUT / "docs" / "evidence" / "capabilities.json"
MARKER = "proves"


class Proof(NamedTuple):
    """One test that passed showed one cell of one broker."""

    broker: str
    #: The cell's enumeration and member, e.g. ``Operation`` and ``QUOTE``, or ``Property`` and the property's name.
    kind: str
    cell: str
    #: What the broker's SPEC said then, and the test with it: ``yes`` or ``no``.
    said: str
    #: ``tests/contract/test_reads.py::test_a_quote_is_the_exchanges``: of all brokers and parameters the same.
    test: str

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-proofs", action="store_true", help=f"keep what was shown of the capabilities in {KEPT.name}"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}(*cells): cells of the capability matrix that the test shows")
    if config.getoption("--write-proofs") and _is_partial(config):
        raise pytest.UsageError("--write-proofs keeps what whole files show; leave out -k, -m, --deselect and ::names.")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write into the reports what each test shows: they alone come from the processes of pytest-xdist."""
    for item in items:
        for marker in item.iter_markers(MARKER):
            parameters = item.callspec.params  # type: ignore[attr-defined]
            spec = specs()[parameters["spec"] if "spec" in parameters else parameters["broker"]]
            for cell in marker.args:
                item.user_properties.append((MARKER, [spec.name, *_said(spec.capabilities, cell)]))


class Ledger:
    """What a run showed, in the process that hears of every test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._files: set[str] = set()
        self._shown: set[Proof] = set()
        self._differences: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        self._files.add(test.partition("::")[0])
        if report.when == "call" and report.passed:
            values = [cast(list[str], value) for name, value in report.user_properties if name == MARKER]
            self._shown |= {Proof(broker, kind, cell, said, test) for broker, kind, cell, said in values}

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus != pytest.ExitCode.OK or _is_partial(self._config):
            return
        before = kept()
        if self._config.getoption("--write-proofs"):
            others = {proof for proof in before if proof.file not in self._files and (CHECKOUT / proof.file).exists()}
            keep(self._shown | others)
            return
        of_these = {proof for proof in before if proof.file in self._files}
        self._differences = [
            *(f"not kept: {' '.join(proof)}" for proof in sorted(self._shown - of_these)),
            *(f"kept and not shown: {' '.join(proof)}" for proof in sorted(of_these - self._shown)),
        ]
        if self._differences:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._differences:
            terminalreporter.section(f"{KEPT.name} is out of date: run these files with --write-proofs, then make docs")
            for line in self._differences:
                terminalreporter.line(line)


def kept() -> set[Proof]:
    """What the repository keeps."""
    return {
        Proof(broker, kind, cell, said, test)
        for broker, kinds in json.loads(KEPT.read_text()).items()
        for kind, cells in kinds.items()
        for cell, answers in cells.items()
        for said, tests in answers.items()
        for test in tests
    }


def keep(proofs: Iterable[Proof]) -> None:
    """Write the file: sorted, and nothing in it that changes from run to run."""
    written: dict[str, Any] = {}
    for broker, kind, cell, said, test in sorted(proofs):
        cells = written.setdefault(broker, {}).setdefault(kind, {})
        cells.setdefault(cell, {}).setdefault(said, []).append(test)
    KEPT.write_text(json.dumps(written, indent=2) + "\n")


def _said(capabilities: Capabilities, cell: StrEnum | str) -> tuple[str, str, str]:
    """A cell's kind and name, and what stands in it."""
    if isinstance(cell, StrEnum):
        return type(cell).__name__, cell.name, "yes" if capabilities.offers(cell) else "no"
    return "Property", cell, "yes" if getattr(capabilities, cell) else "no"


def _is_partial(config: pytest.Config) -> bool:
    """Whether some tests of the files may have been left out."""
    options = ("keyword", "markexpr", "deselect")
    return any(config.getoption(name) for name in options) or any("::" in argument for argument in config.args)
