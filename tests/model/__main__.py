"""``python -m tests.model``: every variant with its number of states, and every mutant's counter-examples."""

from __future__ import annotations

from tests.model.variants import MUST_HOLD, MUTANTS

if __name__ == "__main__":
    for variant in [*MUST_HOLD, *MUTANTS]:
        _, found = variant.run()
        kept = variant.holds - found.counter_examples.keys() == variant.holds
        verdict = f"breaks {', '.join(sorted(variant.breaks))}" if variant.breaks else "holds" if kept else "BROKEN"
        print(f"{variant.name}: {found.states} states, {found.steps} steps: {verdict}")
        for name in sorted(variant.breaks):
            print(f"  {name}: " + " / ".join(found.counter_examples.get(name, ["NOT FOUND"])))
