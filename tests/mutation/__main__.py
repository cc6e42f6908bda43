"""``python -m tests.mutation [words]``: sow each bug whose name has the words, and print which test caught it."""

from __future__ import annotations

import sys

import pytest

from tests.mutation.gate import Gate
from tests.mutation.mutants import MUTANTS


def main(words: str) -> int:
    """0 when every bug was caught."""
    chosen = [mutant for mutant in MUTANTS if words in mutant.name]
    gate = Gate(chosen)
    tests = list(dict.fromkeys(mutant.test for mutant in chosen))
    status = pytest.main(["-q", "--no-header", "--no-summary", "-p", "no:xdist", *tests], plugins=[gate])
    for mutant in chosen:
        if mutant.name in gate.caught:
            print(f"{mutant.name}\n    caught by {mutant.test}\n    {gate.caught[mutant.name][:150]}")
    for line in gate.wrong:
        print(f"NOT CAUGHT  {line}")
    bugs = [mutant for mutant in chosen if not mutant.is_harmless]
    print(f"{len(gate.caught)} of {len(bugs)} bugs were caught.")
    return 1 if gate.wrong or not chosen or status not in (0, pytest.ExitCode.NO_TESTS_COLLECTED) else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
