"""What the mended transport is for: a worker outlives its queue server, and a poll runs once."""

from __future__ import annotations

from celery import Celery

from tests.support.processes import Child, Valkey, wait_for
from tests.support.queue_marks import Marks, WorkerOn


def _hold_a_read(worker_on: WorkerOn, producer: Celery, marks: Marks, transport: str) -> Child:
    worker = worker_on(transport)
    producer.send_task("read", kwargs={"name": "poll"}, priority=9)
    wait_for(lambda: marks.count("poll.started"), "the poll to run")
    return worker


def test_a_worker_outlives_its_queue_server_and_runs_the_poll_it_holds_once(
    server: Valkey, worker_on: WorkerOn, producer: Celery, marks: Marks
) -> None:
    worker = _hold_a_read(worker_on, producer, marks, "mcube")

    server.kill()
    wait_for(lambda: "Connection to broker lost" in worker.read_log(), "the worker to notice")
    marks.let_go("poll")
    wait_for(lambda: marks.count("poll.ended"), "the poll to end while the server is away")
    server.start()
    producer.send_task("order", kwargs={"name": "next"}, priority=0)

    wait_for(lambda: marks.count("next.started"), "the worker to consume again", seconds=20)
    marks.let_go("next")
    wait_for(lambda: marks.count("next.ended"), "the next task to end")
    assert worker.is_running()
    assert marks.count("poll.started") == 1


def test_without_the_mended_transport_that_worker_exits(
    server: Valkey, worker_on: WorkerOn, producer: Celery, marks: Marks
) -> None:
    """Why mcube.transport exists. When this fails, kombu is mended: take the fix out."""
    worker = _hold_a_read(worker_on, producer, marks, "kombu")

    server.kill()
    wait_for(lambda: "Connection to broker lost" in worker.read_log(), "the worker to notice")
    server.start()
    marks.let_go("poll")

    wait_for(lambda: not worker.is_running(), "the worker to exit")
    assert "AttributeError" in worker.read_log()
