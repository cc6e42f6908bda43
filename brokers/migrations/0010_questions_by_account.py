from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("brokers", "0009_what_is_open_summed_up"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="orderintent",
            name="intent_by_state",
        ),
        migrations.AddIndex(
            model_name="orderintent",
            index=models.Index(fields=["state", "account"], name="intent_by_state"),
        ),
    ]
