"""A pytest plugin that runs each named test without its bugs and then with each of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.sowing import Mutant, sown


class Gate:
    """Fills ``caught`` with the error that gave each mutant away, and ``wrong`` with what is not as it should be."""

    def __init__(self, mutants: Sequence[Mutant]) -> None:
        self.mutants = mutants
        self.caught: dict[str, str] = {}
        self.wrong: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            if error := _run(item):
                self.wrong.append(f"{item.nodeid} fails without any bug: {error}")
                continue
            for mutant in self.mutants:
                if item.nodeid == mutant.test:
                    self._try(mutant, item)
        run = {item.nodeid for item in session.items}
        self.wrong += [
            f"{mutant.name}: there is no test {mutant.test}" for mutant in self.mutants if mutant.test not in run
        ]
        return True

    def _try(self, mutant: Mutant, item: pytest.Item) -> None:
        # Imported here, since pytest wants to rewrite its plugins before anybody imports them.
        from pytest_django.plugin import blocking_manager_key

        try:
            with item.config.stash[blocking_manager_key].unblock(), sown(mutant):
                error = _run(item)
        except LookupError as stale:
            self.wrong.append(f"{mutant.name}: {stale}")
            return
        if mutant.is_harmless:
            self.wrong += [f"{mutant.name}: {item.nodeid} fails with what is no bug: {error}"] if error else []
        elif error:
            self.caught[mutant.name] = error
        else:
            self.wrong.append(f"{mutant.name}: {item.nodeid} does not notice it")


def _run(item: pytest.Item) -> str:
    """Run a test, and tear down all but what the session shares; the first line of what failed, empty for nothing."""
    item._initrequest()  # type: ignore[attr-defined]
    for report in runtestprotocol(item, nextitem=item.session, log=False):  # type: ignore[arg-type]
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            lines = (crash.message if crash else str(report.longrepr)).strip().splitlines()
            return lines[0] if lines else "failed"
    return ""
