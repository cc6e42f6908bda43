"""pytest-celery's own set-up, on local processes where there is no container engine and on containers where there is one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from pytest_celery import CELERY_REDIS_BACKEND, CELERY_REDIS_BROKER, CeleryTestSetup, RedisTestBackend, ping
from pytest_celery.vendors.worker.tasks import add

from tests.support.celery_nodes import LocalRedis, LocalWorker, engine

RESULT_SECONDS = 30

if engine() == "local":

    @pytest.fixture
    def default_redis_broker(tmp_path: Path) -> LocalRedis:
        return LocalRedis(tmp_path / "broker")

    @pytest.fixture
    def default_redis_backend(tmp_path: Path) -> LocalRedis:
        return LocalRedis(tmp_path / "backend")

    @pytest.fixture
    def default_worker_container(
        tmp_path: Path,
        default_worker_initial_content: dict[str, bytes],
        default_worker_command: list[str],
        default_worker_env: dict[str, Any],
    ) -> LocalWorker:
        return LocalWorker(
            tmp_path / "worker",
            content=default_worker_initial_content,
            command=default_worker_command,
            environment=default_worker_env,
        )


@pytest.fixture(params=[CELERY_REDIS_BROKER])
def celery_broker(request: pytest.FixtureRequest) -> Any:
    """Redis only: mcube runs on nothing else."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[CELERY_REDIS_BACKEND])
def celery_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def celery_redis_backend(default_redis_backend: Any) -> Iterator[RedisTestBackend]:
    """The plugin's, without its ``isinstance`` over every live object, which wakes Django's lazy ones."""
    backend = RedisTestBackend(default_redis_backend)
    yield backend
    for one in gc.get_objects():
        if issubclass(type(one), AsyncResult):
            one.backend = None
    default_redis_backend.teardown()


def test_a_task_makes_the_round_trip(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(ping=True, control=True, docker=False)
    assert add.s(1, 2).apply_async().get(timeout=RESULT_SECONDS) == 3


def test_a_killed_worker_works_again_after_its_restart(celery_setup: CeleryTestSetup) -> None:
    celery_setup.worker.kill()
    waiting = ping.s().apply_async()
    celery_setup.worker.restart()

    assert waiting.get(timeout=RESULT_SECONDS) == "pong"


def test_a_queue_server_that_restarts_keeps_what_it_was_given(celery_setup: CeleryTestSetup) -> None:
    celery_setup.worker.kill()
    waiting = ping.s().apply_async()
    celery_setup.broker.restart()
    celery_setup.worker.restart()

    assert waiting.get(timeout=RESULT_SECONDS) == "pong"
