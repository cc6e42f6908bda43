"""Second factors that an earlier release kept as plain text come over, encrypted, and their tables go."""

from base64 import b32encode
from typing import Any

from django.db import migrations
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

AUTHENTICATORS, CODES, HOLDERS = "otp_totp_totpdevice", "otp_static_statictoken", "otp_static_staticdevice"
FORMER_APPLICATIONS = ("otp_totp", "otp_static")


def encrypt(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    connection = schema_editor.connection
    if AUTHENTICATORS not in connection.introspection.table_names():
        return
    authenticator = apps.get_model("mcube", "Authenticator")
    recovery_codes = apps.get_model("mcube", "RecoveryCodes")
    for user, name, confirmed, key, drift, last_t in _rows(
        connection, f"SELECT user_id, name, confirmed, key, drift, last_t FROM {AUTHENTICATORS}"
    ):
        authenticator.objects.create(
            user_id=user,
            name=name,
            confirmed=bool(confirmed),
            key=b32encode(bytes.fromhex(key)).decode(),
            drift=drift,
            last_t=last_t,
        )
    codes: dict[int, list[str]] = {}
    for user, code in _rows(
        connection, f"SELECT user_id, token FROM {CODES} JOIN {HOLDERS} ON device_id = {HOLDERS}.id ORDER BY {CODES}.id"
    ):
        codes.setdefault(user, []).append(code)
    for user, left in codes.items():
        recovery_codes.objects.create(user_id=user, name="recovery codes", codes=" ".join(left))
    with connection.cursor() as cursor:
        for table in (CODES, HOLDERS, AUTHENTICATORS):
            cursor.execute(f"DROP TABLE {table}")
        cursor.execute("DELETE FROM django_migrations WHERE app IN (%s, %s)", FORMER_APPLICATIONS)


def _rows(connection: BaseDatabaseWrapper, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


class Migration(migrations.Migration):
    dependencies = [("mcube", "0001_second_factors")]
    operations = [migrations.RunPython(encrypt, migrations.RunPython.noop)]
