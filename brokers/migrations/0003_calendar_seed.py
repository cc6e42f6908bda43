"""Nothing: the calendar is seeded when its tables have all their columns, by 0017."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("brokers", "0002_append_only")]
    operations = []
