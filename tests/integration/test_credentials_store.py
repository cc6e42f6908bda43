"""The credential store: what a user relies on when secrets lie in a database and in dumps."""

from __future__ import annotations

import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ValidationError
from django.core.management import call_command
from django.core.serializers.base import DeserializationError
from django.db import connection, transaction
from django.db.models import F

from brokers.domain.errors import CredentialsNotFound
from credentials import access, store
from credentials.fields import secret_fields
from credentials.keyring import DecryptError
from credentials.models import CredentialAccess, CredentialStore

pytestmark = pytest.mark.django_db

JWT = "eyJhbGciOiJIUzI1NiJ9." + "x" * 2000 + ".signature"
BREEZE = {"api_key": "planted-key", "api_secret": "planted-secret"}


def create(service: str = "breeze", name: str = "default", **secrets: str) -> CredentialStore:
    return CredentialStore.objects.create(service=service, name=name, **secrets)


def raw_columns() -> dict[str, Any]:
    """The newest row as the database holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM credentials_credentialstore ORDER BY id DESC")
        row = cursor.fetchone()
        return dict(zip([column[0] for column in cursor.description], row, strict=True))


def everything_in_the_database() -> str:
    text = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            text.append(repr(cursor.fetchall()))
    return "\n".join(text)


def test_a_secret_is_ciphertext_in_the_database_and_text_when_read() -> None:
    create(**BREEZE, session_token=JWT)
    row = CredentialStore.objects.filter(service="breeze").first()
    assert row is not None
    assert (row.api_key, row.api_secret, row.session_token, row.password) == ("planted-key", "planted-secret", JWT, "")
    assert "planted" not in everything_in_the_database()
    assert raw_columns()["password"] is None


def test_every_secret_column_round_trips_and_none_is_readable_at_rest() -> None:
    planted = {name: f"planted-{name}" for name in secret_fields(CredentialStore)}
    create("kotakneo", **planted)
    row = CredentialStore.objects.get()
    assert {name: getattr(row, name) for name in planted} == planted
    assert "planted" not in everything_in_the_database()
    assert set(planted) >= {"totp_secret", "neo_password", "pan", "mobile_number", "ucc", "sid", "static_ip"}


def test_the_default_account_comes_first() -> None:
    for name in ("alpha", "zulu", "default"):
        create(name=name, api_key=name)
    first = CredentialStore.objects.filter(service="breeze").first()
    assert first is not None
    assert (first.name, first.api_key) == ("default", "default")


def test_repr_str_dict_and_pickle_show_no_secret() -> None:
    fresh = CredentialStore(service="breeze", **BREEZE)
    assert "planted" not in f"{fresh!r} {fresh} {fresh.__dict__}"
    with pytest.raises(TypeError, match="save the credential first"):
        pickle.dumps(fresh)
    fresh.save()
    stored = CredentialStore.objects.get()
    assert (
        "planted" not in f"{stored!r} {stored} {stored.__dict__} {store.secrets_of('breeze', 'default', purpose='t')!r}"
    )
    assert b"planted" not in pickle.dumps(stored)
    assert "planted" not in repr(CredentialStore.objects.values())


def test_a_lost_key_is_an_error_that_names_the_field_and_what_to_do(settings: Any) -> None:
    create(**BREEZE)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    row = CredentialStore.objects.get()
    assert row.service == "breeze"
    with pytest.raises(DecryptError, match=r"CredentialStore\.api_key of breeze/default .*MCUBE_ENCRYPTION_KEYS"):
        _ = row.api_key
    assert len(store.unreadable()) == 2


def test_keys_rotate_while_readers_go_on_and_the_old_key_can_then_go(settings: Any) -> None:
    old, new = settings.ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    for name in ("default", "prod"):
        create(name=name, **BREEZE)
    settings.ENCRYPTION_KEYS = [new, old]
    before = CredentialStore.objects.get(name="prod").updated_at
    assert CredentialStore.objects.get(name="prod").api_key == "planted-key"
    assert store.rotate() == 2
    assert store.rotate() == 0
    settings.ENCRYPTION_KEYS = [new]
    assert [row.api_secret for row in CredentialStore.objects.all()] == ["planted-secret"] * 2
    assert CredentialStore.objects.get(name="prod").updated_at == before


def test_a_row_saved_after_a_new_key_came_is_wholly_under_the_new_key(settings: Any) -> None:
    old, new = settings.ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    create(**BREEZE)
    settings.ENCRYPTION_KEYS = [new, old]
    row = CredentialStore.objects.get()
    row.session_token = "today"
    row.save(update_fields=["session_token"])
    settings.ENCRYPTION_KEYS = [new]
    row = CredentialStore.objects.get()
    assert (row.api_key, row.session_token) == ("planted-key", "today")


def test_a_secret_moved_to_another_column_or_row_does_not_open() -> None:
    create(**BREEZE)
    create(name="other", api_key="other-key")
    CredentialStore.objects.filter(name="default").update(password=F("api_secret"))
    with pytest.raises(DecryptError, match="holds the secret of"):
        _ = CredentialStore.objects.get(name="default").password
    CredentialStore.objects.filter(name="other").update(
        api_key=CredentialStore.objects.get(name="default").sealed("api_key")
    )
    with pytest.raises(DecryptError, match="breeze/default"):
        _ = CredentialStore.objects.get(name="other").api_key


def test_service_and_name_do_not_change_under_a_stored_secret() -> None:
    create(**BREEZE)
    row = CredentialStore.objects.get()
    row.name = "prod"
    with pytest.raises(ValueError, match="set up breeze/prod anew"):
        row.save()


def test_secrets_cannot_be_searched_nor_written_past_the_encryption() -> None:
    create(**BREEZE)
    for lookup in ("api_key", "api_key__contains", "api_key__startswith", "api_key__in"):
        with pytest.raises(FieldError, match="only `isnull` works"):
            CredentialStore.objects.filter(**{lookup: "planted-key"})
    assert CredentialStore.objects.filter(api_key__isnull=False, password__isnull=True).count() == 1
    with pytest.raises(TypeError, match="assign it to the object"), transaction.atomic():
        CredentialStore.objects.update(api_key="plain")
    row = CredentialStore.objects.get()
    row.api_key = "plain"
    with pytest.raises(TypeError, match="assign it to the object"), transaction.atomic():
        CredentialStore.objects.bulk_update([row], ["api_key"])
    assert CredentialStore.objects.get().api_key == "planted-key"


def test_bulk_import_and_update_or_create_encrypt_too() -> None:
    secrets = [{"api_key": f"planted-{i}"} for i in range(3)]
    CredentialStore.objects.bulk_create(
        [CredentialStore(service="breeze", name=f"n{i}", **values) for i, values in enumerate(secrets)]
    )
    more: Any = {"api_secret": "planted-s"}
    CredentialStore.objects.update_or_create(service="breeze", name="n1", defaults=more)
    assert [row.api_key for row in CredentialStore.objects.all()] == ["planted-0", "planted-1", "planted-2"]
    assert CredentialStore.objects.get(name="n1").api_secret == "planted-s"
    assert "planted" not in everything_in_the_database()


def test_deferred_secrets_and_refresh_work() -> None:
    create(**BREEZE)
    row = CredentialStore.objects.only("service", "name").get()
    assert row.api_key == "planted-key"
    row.api_key = "other"
    row.refresh_from_db()
    assert row.api_key == "planted-key"


@pytest.mark.parametrize("bad", ["two\r\nX-Injected: 1", "nul\x00", "line\u2028", "x" * 10_000])
def test_control_characters_and_oversized_values_are_refused(bad: str) -> None:
    with pytest.raises(ValidationError) as caught:
        create(api_key=bad)
    assert bad not in str(caught.value)
    assert not CredentialStore.objects.exists()


@pytest.mark.parametrize(
    ("column", "bad", "good"),
    [
        ("pan", "abcde1234f", "ABCDE1234F"),
        ("neo_password", "12345", "123456"),
        ("totp_secret", "123456", "JBSWY3DPEHPK3PXP"),
        ("mobile_number", "9876543210", "+919876543210"),
        ("static_ip", "300.1.1.1", "203.0.113.7"),
    ],
)
def test_values_are_checked_for_what_they_are(column: str, bad: str, good: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CredentialStore(service="kotakneo", **{column: bad}).full_clean()
    assert list(caught.value.message_dict) == [column]
    assert bad not in str(caught.value)
    CredentialStore(service="kotakneo", **{column: good}).full_clean()
    with pytest.raises(ValidationError):
        CredentialStore(service="nobody").full_clean()


def dump() -> str:
    out = io.StringIO()
    call_command("dumpdata", "credentials.CredentialStore", stdout=out)
    return out.getvalue()


def test_a_dump_holds_ciphertext_and_loads_back(tmp_path: Path) -> None:
    create(**BREEZE, session_token=JWT)
    text = dump()
    assert "planted" not in text
    assert "***" not in text
    CredentialStore.objects.all().delete()
    path = tmp_path / "dump.json"
    path.write_text(text)
    call_command("loaddata", str(path), verbosity=0)
    row = CredentialStore.objects.get()
    assert (row.api_key, row.session_token, row.password) == ("planted-key", JWT, "")
    assert json.loads(dump()) == json.loads(text)


def test_a_dump_opens_on_another_installation_that_is_given_the_keys(tmp_path: Path, settings: Any) -> None:
    create(**BREEZE)
    path = tmp_path / "dump.json"
    path.write_text(dump())
    given, own = settings.ENCRYPTION_KEYS, [Fernet.generate_key().decode()]
    CredentialStore.objects.all().delete()
    settings.ENCRYPTION_KEYS = own
    create("kotakneo", api_key="its own")
    call_command("loaddata", str(path), verbosity=0)
    with pytest.raises(DecryptError, match="cannot be decrypted with any key"):
        _ = CredentialStore.objects.get(service="breeze").api_key
    settings.ENCRYPTION_KEYS = [*own, *given]
    assert CredentialStore.objects.get(service="breeze").api_key == "planted-key"
    store.rotate()
    settings.ENCRYPTION_KEYS = own
    assert [row.api_key for row in CredentialStore.objects.order_by("service")] == ["planted-key", "its own"]


@pytest.mark.parametrize("value", ["***", "a plain secret"])
def test_a_mask_or_a_plain_secret_in_a_fixture_is_not_loaded_as_one(tmp_path: Path, value: str) -> None:
    create(**BREEZE)
    content = json.loads(dump())
    content[0]["fields"]["api_key"] = value
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DeserializationError, match="setup_credentials"):
        call_command("loaddata", str(path), verbosity=0)
    assert CredentialStore.objects.get().api_key == "planted-key"


def test_missing_credentials_name_the_command_and_what_is_missing() -> None:
    with pytest.raises(
        CredentialsNotFound, match=r"^Credentials not found: run `python manage.py setup_credentials --setup-breeze`"
    ):
        store.secrets_of("breeze", "default", purpose="test")
    create(name="prod", api_key="k")
    with pytest.raises(CredentialsNotFound, match=r"--setup-breeze --name prod.* lack api_secret"):
        store.secrets_of("breeze", "prod", purpose="test")


def test_handing_secrets_out_is_recorded_with_who_and_why(caplog: pytest.LogCaptureFixture) -> None:
    create(**BREEZE)
    with access.acting_as("task tasks.sessions.refresh_session"):
        secrets = store.secrets_of("breeze", "default", purpose="login")
    assert (secrets["api_key"], secrets["totp_secret"], dict(secrets)["api_secret"]) == (
        "planted-key",
        "",
        "planted-secret",
    )
    row = CredentialAccess.objects.filter(action="READ").get()
    assert (row.actor, row.purpose, row.columns) == (
        "task tasks.sessions.refresh_session",
        "login",
        ["api_key", "api_secret"],
    )
    with caplog.at_level(logging.INFO, logger="credentials"):
        assert CredentialStore.objects.get().api_key == "planted-key"
    assert [record.__dict__["secret"] for record in caplog.records] == [
        "credentials.CredentialStore.api_key of breeze/default"
    ]
    assert "planted" not in caplog.text


def test_secrets_handed_out_earlier_follow_a_change_that_the_process_has_seen() -> None:
    create(**BREEZE)
    held = store.secrets_of("breeze", "default", purpose="test")
    row = CredentialStore.objects.get()
    row.api_secret = "planted-new"
    row.save()
    store.find("breeze", "default")
    assert held["api_secret"] == "planted-new"


def test_changes_and_deletions_are_recorded_and_the_record_cannot_be_edited() -> None:
    row = create(**BREEZE)
    row.api_key = "new"
    row.save()
    CredentialStore.objects.all().delete()
    records = list(CredentialAccess.objects.order_by("id").values_list("action", "columns"))
    assert records == [("CHANGE", ["api_key", "api_secret"]), ("CHANGE", ["api_key"]), ("DELETE", [])]
    record = CredentialAccess.objects.first()
    assert record is not None
    for forbidden in (
        record.save,
        record.delete,
        CredentialAccess.objects.all().delete,
        lambda: CredentialAccess.objects.update(actor="somebody else"),
    ):
        with pytest.raises(TypeError, match="append-only"):
            forbidden()
