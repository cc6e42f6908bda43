"""The databases of a run: a PostgreSQL cluster of its own, which may be killed, or the SQLite file. And their rows."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from tests.support.processes import free_port, wait_for

#: Tables of the ledger's application that the checker reads.
TABLES = (
    "brokeraccount", "orderintent", "orderattempt", "brokerorder", "orderevent", "bookread", "orderbooksnapshot",
    "humandecision", "alert",
)  # fmt: skip
#: Columns that hold JSON, which SQLite gives as text.
JSON_COLUMNS = {"evidence", "positions", "target_before"}
NOT_ROOT = "postgres"


class Database(Protocol):
    """What a run needs of a database."""

    url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def disturb(self, seconds: float) -> str:
        """Have it fail for a while; say what was done."""

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Rows, as the database gives them, without the product."""


class SQLite:
    """The file in the run's home. Its server cannot be restarted; a stranger holds the write lock instead."""

    def __init__(self, home: Path) -> None:
        self.url = ""
        self._path = home / "mcube.sqlite3"

    def start(self) -> None:
        """Nothing: the product makes the file."""

    def stop(self) -> None:
        """Nothing: the home is removed."""

    def disturb(self, seconds: float) -> str:
        with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        return f"the write lock was held for {seconds:g} s"

    def query(self, statement: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=60)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]


class Postgres:
    """A cluster of its own on loopback, owned by a user who is not root, ended by its process id."""

    def __init__(self) -> None:
        self._user = pwd.getpwnam(NOT_ROOT) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self._folder = Path(tempfile.mkdtemp(prefix="mcube-chaos-pg-"))
        os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self.url = f"postgres://{NOT_ROOT}:{self._password}@127.0.0.1:{self.port}/{NOT_ROOT}"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        return _program("initdb") is not None

    def start(self) -> None:
        data = self._folder / "data"
        if not data.exists():
            secret = self._folder / "password"
            secret.write_text(self._password)
            os.chown(secret, self._user.pw_uid, self._user.pw_gid)
            options = ["-U", NOT_ROOT, "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--locale", "C"]
            self._run([str(_program("initdb")), "-D", str(data), *options]).check_returncode()
        command = [str(_program("postgres")), "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-k", str(self._folder)],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._who,
            )
        wait_for(self._answers, "PostgreSQL to answer", seconds=60)

    def stop(self) -> None:
        self._end(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def disturb(self, seconds: float) -> str:
        """Kill every process of the server, leave it away, start it again: it recovers from its log."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        time.sleep(seconds)
        self.start()
        return f"the server was killed and away for {seconds:g} s"

    def query(self, statement: str) -> list[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return list(connection.cursor(row_factory=dict_row).execute(statement))

    @property
    def _who(self) -> dict[str, Any]:
        if os.getuid():
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=120, **self._who)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.query("SELECT 1 AS one")
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _program(name: str) -> Path | None:
    """A program of the newest PostgreSQL here: on the path, or where Debian puts it."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name) or next((str(path / name) for path in folders if (path / name).exists()), None)
    return Path(found) if found else None


@contextmanager
def running(kind: str, home: Path) -> Iterator[Database]:
    """The database of a run."""
    database: Database = Postgres() if kind == "postgresql" else SQLite(home)
    try:
        database.start()
        yield database
    finally:
        database.stop()


def dump(database: Database, path: Path) -> None:
    """Write the ledger's rows, by table, as JSON."""
    tables = {name: [_plain(row) for row in database.query(f"SELECT * FROM brokers_{name}")] for name in TABLES}
    path.write_text(json.dumps(tables))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in row.items()}


def _value(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value
