"""Order events are append-only: the database itself refuses to change or delete one."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLE = "brokers_orderevent"
REFUSAL = "order events are append-only"

SQLITE = [
    f"CREATE TRIGGER orderevent_no_update BEFORE UPDATE ON {TABLE} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER orderevent_no_delete BEFORE DELETE ON {TABLE} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
]
SQLITE_UNDO = ["DROP TRIGGER orderevent_no_update", "DROP TRIGGER orderevent_no_delete"]
POSTGRESQL = [
    f"CREATE FUNCTION orderevent_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    f"CREATE TRIGGER orderevent_no_change BEFORE UPDATE OR DELETE ON {TABLE} "
    "FOR EACH ROW EXECUTE FUNCTION orderevent_refuse()",
]
POSTGRESQL_UNDO = [f"DROP TRIGGER orderevent_no_change ON {TABLE}", "DROP FUNCTION orderevent_refuse()"]


def refuse_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL:
        schema_editor.execute(statement, params=None)


def allow_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in SQLITE_UNDO if schema_editor.connection.vendor == "sqlite" else POSTGRESQL_UNDO:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("brokers", "0001_initial")]
    operations = [migrations.RunPython(refuse_changes, allow_changes)]
