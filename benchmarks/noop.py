"""A Celery task that does nothing: what the queue itself costs, measured beside the orders."""

from celery import shared_task


@shared_task(name="benchmarks.noop", ignore_result=True, acks_late=False)
def noop(**_: object) -> None:
    """Do nothing."""
