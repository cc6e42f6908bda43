"""The composition root: settings, the Celery app, and the processes that make up an installation."""

from mcube.celery import app as celery_app

__all__ = ["celery_app"]
