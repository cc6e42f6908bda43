"""People's decisions and changes of limits are append-only: the database itself refuses to change or delete one."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLES = ("brokers_humandecision", "brokers_riskchange")


def refuse_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for table in TABLES:
        refusal = f"{table} is append-only"
        if schema_editor.connection.vendor == "sqlite":
            for what in ("UPDATE", "DELETE"):
                schema_editor.execute(
                    f"CREATE TRIGGER {table}_no_{what.lower()} BEFORE {what} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END",
                    params=None,
                )
        else:
            schema_editor.execute(
                f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$",
                params=None,
            )
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
                params=None,
            )


def allow_changes(_apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for table in TABLES:
        if schema_editor.connection.vendor == "sqlite":
            for what in ("update", "delete"):
                schema_editor.execute(f"DROP TRIGGER {table}_no_{what}", params=None)
        else:
            schema_editor.execute(f"DROP TRIGGER {table}_no_change ON {table}", params=None)
            schema_editor.execute(f"DROP FUNCTION {table}_refuse()", params=None)


class Migration(migrations.Migration):
    dependencies = [("brokers", "0004_order_safety")]
    operations = [migrations.RunPython(refuse_changes, allow_changes)]
