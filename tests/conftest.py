"""Fixtures for every test. The surroundings are settled by ``tests.support.environment`` before this is read."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The tests' own queue server."""
    return os.environ["MCUBE_REDIS_URL"]
