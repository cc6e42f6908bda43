"""Reads an old application's rows: from its SQLite file, its database, or a JSON file of ``dumpdata``.

Nothing is written there: SQLite is opened read-only, PostgreSQL with read-only transactions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dj_database_url
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from django.utils.dateparse import parse_datetime
from django.views.decorators.debug import sensitive_variables

#: The credential tables of the two old layouts, the present application's first.
CREDENTIAL_TABLES = ("credential_store", "tools_credentialstore")
#: The model of the present application in a ``dumpdata`` file.
DUMPED_MODEL = "core.credentialstore"
#: Every column that both layouts have.
COLUMNS = (
    "name",
    "service",
    "api_key",
    "api_secret",
    "session_token",
    "username",
    "password",
    "pan",
    "neo_password",
    "sid",
    "created_at",
    "last_session_update",
)
LOCK_SECONDS = 5


class SourceError(Exception):
    """The old data cannot be read: one sentence for the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OldCredential:
    """One row of the old store. Its repr shows no secret."""

    origin: str
    service: str
    name: str
    #: Column -> text as it was; absent ones are missing.
    secrets: Mapping[str, str] = field(repr=False)
    created_at: datetime | None
    last_session_update: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OldData:
    """What was found. Accounts and positions are kept for reference only."""

    credentials: list[OldCredential]
    accounts: list[dict[str, Any]] = field(default_factory=list)
    positions: list[dict[str, Any]] = field(default_factory=list)


def read(source: str) -> OldData:
    """Read a path to a SQLite or JSON file, or a database URL.

    :raises SourceError: it is not there, locked, or nothing of the two old layouts.
    """
    if "://" in source:
        return _read_database(_url_settings(source), source.partition("://")[0] + " database")
    path = Path(source).expanduser()
    if not path.is_file():
        raise SourceError(f"There is no file {path}; give the old db.sqlite3, a dumpdata file, or a database URL.")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}).") from error
    if start == b"SQLite format 3\x00":
        name = f"file:{path.resolve()}?mode=ro"
        options = {"timeout": LOCK_SECONDS}
        return _read_database({"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}, path.name)
    if start.lstrip()[:1] in (b"[", b"{"):
        return _read_json(path)
    raise SourceError(f"{path} is neither a SQLite database nor a JSON file of dumpdata.")


def _url_settings(url: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError as error:
        raise SourceError("The database URL is not one; write postgres://user:password@host:port/name.") from error
    if not settings["ENGINE"].endswith(("postgresql", "sqlite3")):
        raise SourceError("Old data is read from PostgreSQL, SQLite or a JSON file of dumpdata only.")
    if settings["ENGINE"].endswith("sqlite3"):
        raise SourceError("Give the path of a SQLite file, not a URL.")
    settings["OPTIONS"] = {"connect_timeout": LOCK_SECONDS, "options": "-c default_transaction_read_only=on"}
    return settings


def _read_database(settings: dict[str, Any], label: str) -> OldData:
    with _connected(settings, label) as connection:
        tables = connection.introspection.table_names()
        present = [table for table in CREDENTIAL_TABLES if table in tables]
        if not present:
            raise SourceError(
                f"{label} has no table {' or '.join(CREDENTIAL_TABLES)}; it is not a database of the old applications."
            )
        found = [row for table in present for row in _credentials(connection, table)]
        return OldData(
            credentials=found,
            accounts=_rows(connection, "broker_accounts") if "broker_accounts" in tables else [],
            positions=[
                row
                for row in (_rows(connection, "positions") if "positions" in tables else [])
                if row.get("status") == "ACTIVE"
            ],
        )


@contextmanager
def _connected(settings: dict[str, Any], label: str) -> Iterator[BaseDatabaseWrapper]:
    handler = ConnectionHandler({"default": settings})
    connection = handler["default"]
    try:
        yield connection
    except DatabaseError as error:
        if "locked" in str(error):
            raise SourceError(
                f"{label} is locked by another program; stop the old application and try again."
            ) from error
        # The driver's words may repeat the password of the address.
        raise SourceError(f"{label} cannot be read ({type(error).__name__}); check that it is whole.") from None
    finally:
        connection.close()


@sensitive_variables()
def _credentials(connection: BaseDatabaseWrapper, table: str) -> Iterator[OldCredential]:
    with connection.cursor() as cursor:
        columns = {column.name for column in connection.introspection.get_table_description(cursor, table)}
    if missing := [column for column in COLUMNS[:10] if column not in columns]:
        raise SourceError(f"Table {table} lacks {', '.join(missing)}; it is not the layout of the old applications.")
    for row in _rows(connection, table):
        yield _credential(table, row)


@sensitive_variables()
def _rows(connection: BaseDatabaseWrapper, table: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        # The table is one of the names above, never the user's.
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


@sensitive_variables()
def _read_json(path: Path) -> OldData:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path.name} is not JSON ({type(error).__name__}); make it with dumpdata.") from None
    entries = content if isinstance(content, list) else []
    found = [
        _credential(DUMPED_MODEL, entry["fields"])
        for entry in entries
        if isinstance(entry, dict)
        and str(entry.get("model", "")).lower() == DUMPED_MODEL
        and isinstance(entry.get("fields"), dict)
    ]
    if not found:
        raise SourceError(f"{path.name} holds no {DUMPED_MODEL}; make it with `dumpdata core.CredentialStore`.")
    return OldData(credentials=found)


@sensitive_variables()
def _credential(origin: str, row: Mapping[str, Any]) -> OldCredential:
    texts = {column: str(row.get(column) or "").strip() for column in COLUMNS[:10]}
    return OldCredential(
        origin=origin,
        service=texts["service"],
        name=texts["name"],
        secrets={column: text for column, text in texts.items() if text and column not in ("service", "name")},
        created_at=_moment(row.get("created_at")),
        last_session_update=_moment(row.get("last_session_update")),
    )


def _moment(value: object) -> datetime | None:
    """A stored time; the old applications stored UTC."""
    moment = value if isinstance(value, datetime) else parse_datetime(value) if isinstance(value, str) else None
    if moment is None:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
