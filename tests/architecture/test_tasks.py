"""Every task takes keywords only, so that two versions of the code can share a queue."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mcube.celery import app

app.loader.import_default_modules()
OWN_TASKS = {name: task for name, task in app.tasks.items() if name.startswith("tasks.")}


def test_there_are_tasks() -> None:
    assert OWN_TASKS


@pytest.mark.parametrize("name", sorted(OWN_TASKS))
def test_a_task_takes_keywords_only(name: str) -> None:
    run: Any = OWN_TASKS[name].run
    positional = [
        parameter.name
        for parameter in inspect.signature(run).parameters.values()
        if parameter.kind not in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    ]
    assert not positional
