"""The record of accesses is append-only: the database itself refuses to change a row."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLE = "credentials_credentialaccess"
REFUSAL = "the record of accesses is append-only"

SQLITE = [
    f"CREATE TRIGGER credentialaccess_no_update BEFORE UPDATE ON {TABLE} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
]
SQLITE_UNDO = ["DROP TRIGGER credentialaccess_no_update"]
POSTGRESQL = [
    f"CREATE FUNCTION credentialaccess_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    f"CREATE TRIGGER credentialaccess_no_update BEFORE UPDATE ON {TABLE} "
    "FOR EACH ROW EXECUTE FUNCTION credentialaccess_refuse()",
]
POSTGRESQL_UNDO = [f"DROP TRIGGER credentialaccess_no_update ON {TABLE}", "DROP FUNCTION credentialaccess_refuse()"]


def refuse_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL:
        schema_editor.execute(statement, params=None)


def allow_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE_UNDO if schema_editor.connection.vendor == "sqlite" else POSTGRESQL_UNDO:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("credentials", "0001_initial")]
    operations = [migrations.RunPython(refuse_changes, allow_changes)]
