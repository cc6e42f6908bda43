from collections.abc import Iterator

import pytest

from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.adapters.kotakneo.tests.stub import Stub, adapter_at, grant_for, made


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub().running() as running:
        yield running


@pytest.fixture(autouse=True)
def _sockets_closed() -> Iterator[None]:
    """Let no socket be found open by the garbage collector, which would fail whatever test runs then."""
    yield
    while made:
        made.pop().close()


@pytest.fixture
def adapter(stub: Stub) -> NeoAPI:
    """An adapter with a session in use."""
    ready = adapter_at(stub.url)
    ready.use_session(grant_for(stub.url))
    return ready
