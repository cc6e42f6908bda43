"""What a task leaves behind that is broken off in the middle."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import CHECKOUT, clean_environment

#: A worker's child whose time limit strikes when the database has begun a transaction and Django does not know it yet.
CHILD = """
import django
django.setup()
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from mcube.celery import app

@app.task
def cut_off(ending):
    connection.ensure_connection()
    connection.connection.execute("CREATE TABLE IF NOT EXISTS number (value)")
    connection.connection.executemany("INSERT INTO number VALUES (?)", [(each,) for each in range(1000)])
    connection.connection.execute("BEGIN IMMEDIATE")
    if ending == "within a query":
        global cursor
        cursor = connection.connection.execute("SELECT value FROM number")
        cursor.fetchone()
    if ending != "swallowed":
        raise SoftTimeLimitExceeded()

if {watched}:
    signals.worker_process_init.send(sender=None)
cut_off.apply(kwargs={{"ending": {ending!r}}})
print("done", flush=True)
input()
with transaction.atomic():
    pass
print("again", flush=True)
"""


@pytest.mark.parametrize("ending", ["raised", "swallowed", "within a query"])
@pytest.mark.parametrize("watched", [True, False], ids=["in a worker", "without care"])
def test_a_time_limit_inside_begin_leaves_no_lock_behind(tmp_path: Path, watched: bool, ending: str) -> None:
    environment = clean_environment() | {"MCUBE_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "mcube.settings"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(watched=watched, ending=ending)],
        cwd=CHECKOUT,
        env=environment | {"PYTHONPATH": os.fspath(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        with closing(sqlite3.connect(tmp_path / "mcube.sqlite3", timeout=0)) as other:
            if watched:
                other.execute("BEGIN IMMEDIATE")
            else:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.read() == ("again\n" if watched else "")
