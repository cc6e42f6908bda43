"""The tests' own surroundings, in place before Django's settings are read (``-p tests.support.environment``).

``MCUBE_TEST_SERVERS`` says what the tests run on: ``embedded`` (SQLite and an embedded Valkey, the default)
or ``real`` (PostgreSQL and Redis: DATABASE_URL and MCUBE_REDIS_URL, else the standard ports of loopback).
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from hypothesis import settings as properties
from redis import Redis

from tests.support.processes import Valkey

POSTGRES = "postgres://postgres@127.0.0.1:5432/mcube_tests"
#: A database number of the tests' own, so that nothing else on the server is touched.
REDIS = "redis://127.0.0.1:6379"
REDIS_DATABASE = 11
#: Of each of pytest-xdist's processes; 12 and 13 belong to the stacks that tests start.
PROCESS_DATABASES = {"gw0": 14, "gw1": 15}
USED = os.environ.get("MCUBE_TEST_SERVERS", "embedded")


def real_servers() -> tuple[str, str] | None:
    """The addresses of PostgreSQL and Redis, if both are configured or answer on loopback."""
    database = os.environ.get("DATABASE_URL") or POSTGRES
    number = PROCESS_DATABASES.get(os.environ.get("PYTEST_XDIST_WORKER", ""), REDIS_DATABASE)
    redis = urlsplit(os.environ.get("MCUBE_REDIS_URL") or REDIS)._replace(path=f"/{number}").geturl()
    if not database.startswith("postgres") or not (_listens(database, 5432) and _listens(redis, 6379)):
        return None
    return database, redis


def _listens(url: str, port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or port), timeout=1):
            return True
    except OSError:
        return False


def _settle() -> None:
    real = real_servers() if USED == "real" else None
    if USED == "real" and real is None:
        raise SystemExit(
            "MCUBE_TEST_SERVERS: 'real' needs PostgreSQL and Redis; set DATABASE_URL and MCUBE_REDIS_URL, or start "
            "them on the standard ports of 127.0.0.1."
        )
    for name in [name for name in os.environ if name.startswith("MCUBE_") and not name.startswith("MCUBE_TEST_")]:
        del os.environ[name]
    os.environ.pop("DATABASE_URL", None)
    home = Path(tempfile.mkdtemp(prefix="mcube-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["MCUBE_HOME"] = str(home)
    if real is not None:
        _wait_for_turn()
        os.environ["DATABASE_URL"], os.environ["MCUBE_REDIS_URL"] = real
        _forget_earlier_runs(real[1])
        return
    server = Valkey(home / "queue")
    server.start()
    atexit.register(server.stop)
    os.environ["MCUBE_REDIS_URL"] = server.url


def _wait_for_turn() -> None:
    """One run at a time on a machine's servers: their databases have the same names in every run."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    path = Path(tempfile.gettempdir()) / f"mcube-tests-on-servers.{os.getuid()}.lock"
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("Waiting for another test run on the same PostgreSQL and Redis.\n")
        fcntl.flock(file, fcntl.LOCK_EX)
    # Held, and open, until this process ends.
    atexit.register(file.close)


def _forget_earlier_runs(redis_url: str) -> None:
    """Drop what mcube kept in the tests' database, above all the calls counted for a day."""
    with Redis.from_url(redis_url) as client:
        for key in client.scan_iter("mcube:*"):
            client.delete(key)


def pytest_report_header() -> str:
    if USED == "real":
        database, redis = (urlsplit(os.environ[name]) for name in ("DATABASE_URL", "MCUBE_REDIS_URL"))
        return (
            f"servers: PostgreSQL {database.hostname}:{database.port}{database.path}, "
            f"Redis {redis.hostname}:{redis.port}{redis.path}"
        )
    return f"servers: SQLite in {os.environ['MCUBE_HOME']}, embedded Valkey at port {urlsplit(os.environ['MCUBE_REDIS_URL']).port}"


if "PYTEST_VERSION" in os.environ:
    _settle()

# How long one example takes says more of the machine than of the code.
properties.register_profile("any machine", deadline=None)
properties.load_profile("any machine")
