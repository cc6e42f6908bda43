"""Seed the session rules, holidays and special sessions that are known."""

from django.db import migrations

from brokers.calendar_seed import seed


def add(apps, schema_editor):
    seed(apps.get_model("brokers", "SessionRule"), apps.get_model("brokers", "SpecialDay"))


class Migration(migrations.Migration):
    dependencies = [("brokers", "0002_append_only")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop, elidable=False)]
