"""One simulator for the run; for every test a broker, and an account nobody has used."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from brokers.discovery import specs
from brokers.domain.capabilities import Operation
from brokers.interfaces import AdapterSpec
from brokers.simulator import accounts
from tests.contract.gtt_desk import Desk
from tests.contract.world import Catalogue, NoCatalogue, Simulator, Trader

_numbers = itertools.count(101)


@pytest.fixture(autouse=True)
def logins_cost_nothing() -> None:
    """They are counted here, where every test has an account of its own."""


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator(tmp_path_factory.mktemp("contract"))
    try:
        running.start()
        for broker in running.urls:
            running.ask(broker, "POST", "settings", {"moving": False})
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session", params=list(specs()))
def spec(request: pytest.FixtureRequest) -> AdapterSpec:
    """Each broker in turn."""
    return specs()[request.param]


@pytest.fixture(scope="session")
def catalogue(spec: AdapterSpec, simulator: Simulator) -> Catalogue:
    """The broker's instruments, read once through its own adapter."""
    reader = Trader(spec, simulator, accounts.numbered(spec.name, 100), NoCatalogue())
    read = Catalogue(spec, reader.adapter.read_master())
    reader.close()
    return read


@pytest.fixture
def trader(spec: AdapterSpec, simulator: Simulator, catalogue: Catalogue) -> Iterator[Trader]:
    made = Trader(spec, simulator, accounts.numbered(spec.name, next(_numbers)), catalogue)
    yield made
    simulator.ask(spec.name, "DELETE", "faults")
    made.close()


@pytest.fixture
def desk(trader: Trader) -> Iterator[Desk]:
    """A trader at a broker that keeps GTTs, whose price is let go afterwards."""
    trader.needs(Operation.GTT_SINGLE)
    made = Desk(trader)
    yield made
    made.move(None)
