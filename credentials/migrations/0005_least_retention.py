"""The database refuses to delete a row of the record of accesses before its time."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLE = "credentials_credentialaccess"
REFUSAL = "the record of accesses is kept: readings 30 days, all else five years"

SQLITE = [
    f"CREATE TRIGGER credentialaccess_no_early_delete BEFORE DELETE ON {TABLE} "
    "WHEN OLD.at > datetime('now', CASE OLD.action WHEN 'READ' THEN '-30 days' ELSE '-5 years' END) "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
]
SQLITE_UNDO = ["DROP TRIGGER credentialaccess_no_early_delete"]
POSTGRESQL = [
    f"CREATE FUNCTION credentialaccess_refuse_early() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    f"CREATE TRIGGER credentialaccess_no_early_delete BEFORE DELETE ON {TABLE} FOR EACH ROW "
    "WHEN (OLD.at > now() - CASE OLD.action WHEN 'READ' THEN interval '30 days' ELSE interval '5 years' END) "
    "EXECUTE FUNCTION credentialaccess_refuse_early()",
]
POSTGRESQL_UNDO = [
    f"DROP TRIGGER credentialaccess_no_early_delete ON {TABLE}",
    "DROP FUNCTION credentialaccess_refuse_early()",
]


def refuse_early_deletion(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL:
        schema_editor.execute(statement, params=None)


def allow_deletion(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE_UNDO if schema_editor.connection.vendor == "sqlite" else POSTGRESQL_UNDO:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("credentials", "0004_use_permission")]
    operations = [migrations.RunPython(refuse_early_deletion, allow_deletion)]
