"""Credentials of the old applications come over whole, encrypted, and as often as one likes."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils.dateparse import parse_datetime

from brokers.models import BrokerAccount
from credentials.importing.sources import COLUMNS
from credentials.models import CredentialAccess, CredentialStore, ImportedReference
from tests.support.environment import USED
from tests.support.stack import drop_database, make_database

pytestmark = pytest.mark.django_db

PRESENT, LEGACY = "credential_store", "tools_credentialstore"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzeW50aGV0aWMifQ.c3ludGhldGljLXNpZ25hdHVyZQ"
BREEZE = {"service": "breeze", "api_key": "old-key-1", "api_secret": "old-secret-1", "session_token": "50112233"}
KOTAK = {
    "service": "kotak_neo",
    "api_key": "consumer-key-1",
    "api_secret": "consumer-secret-1",
    "username": "ABCDE1234F",
    "password": "old-password-1",
    "session_token": "482913",
    "neo_password": "482913",
    "sid": JWT,
}


def old_database(path: Path, *rows: Mapping[str, str], table: str = PRESENT) -> Path:
    """A database as the old application left it."""
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")
        for row in rows:
            full = {"name": "default", "created_at": "2025-03-01 04:05:06", "last_session_update": None, **row}
            names = ", ".join(full)
            marks = ", ".join("?" * len(full))
            database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(full.values()))
    database.close()
    return path


def bring(source: Path | str, *options: str) -> str:
    out = StringIO()
    call_command("import_credentials", "--from", str(source), *options, stdout=out)
    return out.getvalue()


def everything() -> list[tuple[Any, ...]]:
    return list(CredentialStore.objects.order_by("pk").values_list())


@pytest.mark.parametrize("table", [PRESENT, LEGACY])
def test_both_old_layouts_come_over_into_the_right_columns(tmp_path: Path, table: str) -> None:
    told = bring(old_database(tmp_path / "db.sqlite3", BREEZE, KOTAK, table=table))
    breeze = CredentialStore.objects.get(service="breeze")
    assert (breeze.api_key, breeze.api_secret, breeze.session_token) == ("old-key-1", "old-secret-1", "50112233")
    kotak = CredentialStore.objects.get(service="kotakneo")
    assert (kotak.pan, kotak.neo_password, kotak.sid) == ("ABCDE1234F", "482913", JWT)
    assert kotak.username == kotak.session_token == ""
    assert {"ucc", "totp_secret"} <= set(told.partition("still missing: ")[2].partition(";")[0].split(", "))
    assert "--setup-kotakneo" in told
    assert {(row.broker, row.name) for row in BrokerAccount.objects.all()} == {
        ("breeze", "default"),
        ("kotakneo", "default"),
    }


@pytest.mark.skipif(USED != "real", reason="needs a PostgreSQL server; this run has SQLite alone")
@pytest.mark.parametrize("table", [PRESENT, LEGACY])
def test_an_old_database_on_postgresql_comes_over_and_is_only_read(table: str) -> None:
    server = os.environ["DATABASE_URL"]
    url = make_database(server)
    row = {"name": "prod", "created_at": "2025-03-01 04:05:06+00", "last_session_update": None, **BREEZE}
    try:
        with psycopg.connect(url) as old:
            columns = ", ".join(f"{name} text" for name in COLUMNS if not name.endswith(("_at", "_update")))
            old.execute(
                f"CREATE TABLE {table} (id serial PRIMARY KEY, {columns}, created_at timestamptz, "
                "last_session_update timestamptz)"
            )
            names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            old.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        bring(url)
        bring(url)
    finally:
        drop_database(server, url)
    breeze = CredentialStore.objects.get()
    assert (breeze.service, breeze.name, breeze.api_secret) == ("breeze", "prod", "old-secret-1")
    assert breeze.created_at == parse_datetime("2025-03-01T04:05:06Z")


def test_times_are_kept(tmp_path: Path) -> None:
    bring(old_database(tmp_path / "db.sqlite3", BREEZE | {"last_session_update": "2025-12-16 03:31:00.250000"}))
    row = CredentialStore.objects.get()
    assert row.created_at == parse_datetime("2025-03-01T04:05:06Z")
    assert row.last_session_update == parse_datetime("2025-12-16T03:31:00.250000Z")


def test_a_number_in_username_is_the_mobile_number(tmp_path: Path) -> None:
    bring(old_database(tmp_path / "db.sqlite3", KOTAK | {"username": "9876543210", "pan": "ABCDE1234F"}))
    assert CredentialStore.objects.get().mobile_number == "+919876543210"


def test_a_token_is_never_taken_for_the_mpin(tmp_path: Path) -> None:
    told = bring(old_database(tmp_path / "db.sqlite3", KOTAK | {"session_token": JWT, "neo_password": "not-six"}))
    row = CredentialStore.objects.get()
    assert row.session_token == JWT
    assert row.neo_password == ""
    assert "not six digits" in told
    assert "neo_password" in told.partition("still missing:")[2]


def test_contradictions_are_told(tmp_path: Path) -> None:
    told = bring(
        old_database(tmp_path / "db.sqlite3", KOTAK | {"neo_password": "111222", "pan": "ZZZZZ9999Z"}),
    )
    assert "different six digits" in told
    assert "different PANs" in told
    assert CredentialStore.objects.get().neo_password == "482913"


def test_no_secret_is_printed_or_stored_in_the_clear(tmp_path: Path) -> None:
    database = old_database(tmp_path / "db.sqlite3", BREEZE, KOTAK)
    told = bring(database) + bring(database, "--json")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM credentials_credentialstore")
        told += repr(cursor.fetchall())
    told += repr(list(CredentialAccess.objects.values()))
    for row in (BREEZE, KOTAK):
        for column, value in row.items():
            assert column == "service" or value not in told, column


def test_twice_is_once(tmp_path: Path) -> None:
    database = old_database(tmp_path / "db.sqlite3", BREEZE, KOTAK)
    bring(database)
    before = everything()
    told = bring(database)
    assert everything() == before
    assert told.count("unchanged") == 2


def test_what_mcube_holds_is_completed_and_never_overwritten(tmp_path: Path) -> None:
    row = CredentialStore(service="breeze", name="default")
    row.api_key = "new-key"
    row.save()
    told = bring(old_database(tmp_path / "db.sqlite3", BREEZE))
    row = CredentialStore.objects.get()
    assert (row.api_key, row.api_secret) == ("new-key", "old-secret-1")
    assert "mcube holds other values, which stay: api_key" in told


def test_the_present_row_goes_before_the_older_one(tmp_path: Path) -> None:
    database = old_database(tmp_path / "db.sqlite3", BREEZE)
    old_database(database, BREEZE | {"api_key": "older-key"}, table=LEGACY)
    assert "another row of the same service and name" in bring(database)
    assert CredentialStore.objects.get().api_key == "old-key-1"


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    database = old_database(tmp_path / "db.sqlite3", BREEZE, KOTAK)
    told = bring(database, "--dry-run")
    assert not CredentialStore.objects.exists()
    assert not BrokerAccount.objects.exists()
    assert told.replace("This was a dry run: nothing was written.", "").strip() == bring(database).strip()


def test_a_dumpdata_file_comes_over(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    fields = {"name": "default", **KOTAK, "created_at": "2025-03-01T04:05:06.123Z"}
    path.write_text(json.dumps([{"model": "core.credentialstore", "pk": 1, "fields": fields}]))
    bring(path)
    row = CredentialStore.objects.get()
    assert row.pan == "ABCDE1234F"
    assert row.created_at == parse_datetime("2025-03-01T04:05:06.123Z")


def test_accounts_and_open_positions_are_kept_for_reference(tmp_path: Path) -> None:
    path = old_database(tmp_path / "db.sqlite3", BREEZE)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE broker_accounts (id, broker, account_number, allocated_capital)")
        database.execute("INSERT INTO broker_accounts VALUES (1, 'ICICI', 'SYNTH01', 12000000)")
        database.execute("CREATE TABLE positions (id, instrument, quantity, status)")
        database.execute("INSERT INTO positions VALUES (7, 'SBIN', 20, 'ACTIVE'), (8, 'SBIN', 20, 'CLOSED')")
    database.close()
    assert "1 accounts and 1 open positions" in bring(path)
    bring(path)
    kept = {(row.kind, row.key): row.content for row in ImportedReference.objects.all()}
    assert set(kept) == {("account", "SYNTH01"), ("position", "7")}
    assert kept["account", "SYNTH01"]["allocated_capital"] == "12000000"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path / "nothing.sqlite3", "There is no file"),
        (lambda path: path, "There is no file"),
        (lambda path: _file(path, b"plain text"), "neither a SQLite database nor a JSON file"),
        (lambda path: _file(path, b"SQLite format 3\x00" + b"\xff" * 300), "cannot be read"),
        (lambda path: _file(path, b"[{broken"), "is not JSON"),
        (lambda path: _file(path, b'[{"model": "auth.user", "fields": {}}]'), "holds no core.credentialstore"),
        (lambda path: _other_tables(path), "has no table credential_store or tools_credentialstore"),
        (lambda path: _other_columns(path), "lacks"),
        (lambda path: "mysql://user:secret@127.0.0.1/x", "read from PostgreSQL, SQLite or a JSON file"),
        (lambda path: "postgres://user:secret@127.0.0.1:1/x", "cannot be read"),
        (lambda path: _half_filled(path), "half-filled: api_secret is missing"),
    ],
)
def test_what_cannot_be_read_is_one_clear_sentence_and_nothing_is_written(
    tmp_path: Path, make: object, sentence: str
) -> None:
    assert callable(make)
    with pytest.raises(CommandError, match=sentence) as refusal:
        bring(make(tmp_path))
    assert "secret@" not in str(refusal.value)
    assert not CredentialStore.objects.exists()


def test_a_locked_file_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credentials.importing.sources.LOCK_SECONDS", 0.1)
    path = old_database(tmp_path / "db.sqlite3", BREEZE)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(CommandError, match="locked by another program"):
            bring(path)
    finally:
        other.close()
    assert not CredentialStore.objects.exists()


def test_the_old_file_is_only_read(tmp_path: Path) -> None:
    path = old_database(tmp_path / "db.sqlite3", BREEZE)
    before = path.read_bytes()
    bring(path)
    assert path.read_bytes() == before


def test_a_thousand_rows_take_less_than_ten_seconds(tmp_path: Path) -> None:
    path = old_database(tmp_path / "db.sqlite3", *(KOTAK | {"name": f"account{n}"} for n in range(1000)))
    began = time.process_time()
    bring(path)
    assert time.process_time() - began < 10
    assert CredentialStore.objects.count() == 1000


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


def _other_tables(folder: Path) -> Path:
    with sqlite3.connect(folder / "db") as database:
        database.execute("CREATE TABLE orders (id)")
    database.close()
    return folder / "db"


def _other_columns(folder: Path) -> Path:
    with sqlite3.connect(folder / "db") as database:
        database.execute("CREATE TABLE credential_store (id, name, service)")
    database.close()
    return folder / "db"


def _half_filled(folder: Path) -> Path:
    return old_database(folder / "db", KOTAK, {"service": "breeze", "api_key": "only-the-key"})
