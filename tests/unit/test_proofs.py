"""A run whose tests showed something else than what is kept of them fails; a run of some of a file's tests does not."""

from __future__ import annotations

import pytest

from tests.support.proofs import CHECKOUT

pytest_plugins = ["pytester"]

SHOWS_A_QUOTE = """
import pytest
from brokers.domain.capabilities import Operation

@pytest.mark.proves(Operation.QUOTE)
@pytest.mark.parametrize("spec", ["breeze", "kotakneo"])
def test_a_quote(spec):
    if spec == "kotakneo":
        pytest.skip("nothing is shown")

def test_something_else():
    pass
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_shown=SHOWS_A_QUOTE)
    plugins = ("-p", "tests.support.proofs", "-p", "no:cacheprovider")
    return pytester.runpytest_inprocess(*plugins, *options)


@pytest.fixture(autouse=True)
def _from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(
    "processes", [(), ("-p", "xdist", "-n", "2", "--dist", "loadfile")], ids=["one process", "two"]
)
def test_what_is_shown_and_not_kept_fails_the_run(processes: tuple[str, ...], pytester: pytest.Pytester) -> None:
    ended = run(pytester, *processes)
    ended.assert_outcomes(passed=2, skipped=1)
    assert ended.ret == pytest.ExitCode.TESTS_FAILED
    ended.stdout.fnmatch_lines(["*--write-proofs*", "not kept: breeze Operation QUOTE yes test_shown.py::test_a_quote"])
    ended.stdout.no_fnmatch_line("*kotakneo*")


@pytest.mark.parametrize("choice", [("-k", "quote"), ("test_shown.py::test_a_quote",)], ids=["by word", "by name"])
def test_a_run_of_some_tests_is_not_held_against_what_is_kept(
    choice: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    assert run(pytester, *choice).ret == pytest.ExitCode.OK


def test_a_run_of_some_tests_keeps_nothing(pytester: pytest.Pytester) -> None:
    ended = run(pytester, "--write-proofs", "-k", "quote")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
