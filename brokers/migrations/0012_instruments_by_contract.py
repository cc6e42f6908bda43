from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("brokers", "0011_tags_of_histories"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="instrumentrecord",
            index=models.Index(
                fields=["edition", "underlying", "kind", "expiry", "exchange", "strike"], name="instrument_by_contract"
            ),
        ),
    ]
