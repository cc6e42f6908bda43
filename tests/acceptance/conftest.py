"""Fixtures of the acceptance tests: real processes, ended by process id."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.support.processes import Child, Valkey, wait_for
from tests.support.queue_marks import Marks, WorkerOn


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "queue")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture
def worker_on(server: Valkey, tmp_path: Path) -> Iterator[WorkerOn]:
    started: list[Child] = []

    def start(transport: str, slots: int = 2) -> Child:
        worker = Child(
            "worker",
            [
                *(sys.executable, "-m", "celery", "-A", "tests.support.queue_app", "worker"),
                *("--concurrency", str(slots), "--without-gossip", "--without-mingle"),
            ],
            log=tmp_path / "worker.log",
            environment={
                "QUEUE_URL": server.url,
                "QUEUE_FOLDER": str(tmp_path),
                "QUEUE_TRANSPORT": transport,
                "MCUBE_HOME": str(tmp_path / "home"),
            },
        )
        worker.start()
        started.append(worker)
        wait_for(lambda: "ready." in worker.read_log(), "the worker to be ready")
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def producer(server: Valkey) -> Celery:
    return Celery("producer", broker=server.url, set_as_current=False)
