"""Reads never fill a worker: a cancel or an exit always finds a slot."""

from __future__ import annotations

from celery import Celery

from tests.support.processes import wait_for
from tests.support.queue_marks import Marks, WorkerOn

SLOTS = 4
READS = [f"read-{number}" for number in range(6)]


def _running(marks: Marks) -> list[str]:
    return [name for name in READS if marks.count(f"{name}.started") and not marks.count(f"{name}.ended")]


def test_an_order_starts_at_once_while_more_reads_wait_than_there_are_slots(
    worker_on: WorkerOn, producer: Celery, marks: Marks
) -> None:
    for name in READS:
        producer.send_task("read", kwargs={"name": name}, priority=9)
    worker_on("mcube", slots=SLOTS)
    wait_for(lambda: len(_running(marks)) == SLOTS // 2, "half of the slots to read")

    for name in ("cancel", "exit"):
        producer.send_task("order", kwargs={"name": name}, priority=0)
        # The reads run until they are let go, so that it starts beside them however long that takes.
        wait_for(lambda name=name: marks.count(f"{name}.started"), "the order to start")  # type: ignore[misc]

    assert len(_running(marks)) == SLOTS // 2


def test_every_read_has_its_turn_when_one_before_it_ends(worker_on: WorkerOn, producer: Celery, marks: Marks) -> None:
    for name in READS:
        producer.send_task("read", kwargs={"name": name}, priority=9)
    worker_on("mcube", slots=SLOTS)

    for done in range(len(READS)):
        running = wait_for(lambda: _running(marks), "a read to run")
        assert len(running) <= SLOTS // 2
        marks.let_go(running[0])
        wait_for(lambda name=running[0]: marks.count(f"{name}.ended"), f"read {done} to end")  # type: ignore[misc]

    assert [marks.count(f"{name}.started") for name in READS] == [1] * len(READS)


def test_kombu_alone_would_fill_every_slot_with_reads(worker_on: WorkerOn, producer: Celery, marks: Marks) -> None:
    """Why the transport leaves reads in the queue."""
    for name in READS:
        producer.send_task("read", kwargs={"name": name}, priority=9)
    worker_on("kombu", slots=SLOTS)

    wait_for(lambda: len(_running(marks)) == SLOTS, "reads in every slot")
