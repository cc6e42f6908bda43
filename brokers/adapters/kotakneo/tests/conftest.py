from collections.abc import Iterator

import pytest

from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.adapters.kotakneo.tests.stub import Stub, adapter_at, grant_for


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub().running() as running:
        yield running


@pytest.fixture
def adapter(stub: Stub) -> Iterator[NeoAPI]:
    """An adapter with a session in use."""
    made = adapter_at(stub.url)
    made.use_session(grant_for(stub.url))
    yield made
    made.close()
