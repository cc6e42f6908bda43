from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("brokers", "0015_gtt_orders"),
    ]

    operations = [
        migrations.AddField(
            model_name="feedsubscription",
            name="depth",
            field=models.BooleanField(default=False),
        ),
    ]
