"""Every sown bug is caught by the test that is named for it. ``python -m tests.mutation`` prints which."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brokers.ledger import settlement
from tests.mutation.mutants import MUTANTS
from tests.mutation.sowing import Mutant, sown
from tests.support.processes import CHECKOUT, clean_environment


@pytest.mark.timeout(400)
def test_every_bug_is_caught_by_its_test() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation"],
        cwd=CHECKOUT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    bugs = sum(not mutant.is_harmless for mutant in MUTANTS)
    assert bugs >= 12
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"{bugs} of {bugs} bugs were caught." in done.stdout
    print(done.stdout)


def test_a_bug_is_there_only_while_it_is_sown() -> None:
    code = settlement.classify.__code__
    mutant = Mutant(
        name="x", test="", module="brokers.ledger.settlement", old="cause=error.message", new="cause='sown'"
    )
    with sown(mutant):
        assert settlement.classify.__code__ is not code
    assert settlement.classify.__code__ is code


@pytest.mark.parametrize("old", ["text that is nowhere", "settle", '"""Writes what is proven of an attempt.'])
def test_a_mutant_that_no_longer_fits_the_code_is_told(old: str) -> None:
    mutant = Mutant(name="stale", test="", module="brokers.ledger.settlement", old=old, new='"""Other')
    with pytest.raises(LookupError, match="stale"), sown(mutant):
        pass
