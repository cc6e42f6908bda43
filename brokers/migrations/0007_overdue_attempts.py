from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("brokers", "0006_alert_delivery_and_permissions"),
    ]

    operations = [
        migrations.AlterField(
            model_name="bookread",
            name="finished_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="bookread",
            name="ok",
            field=models.BooleanField(default=False),
        ),
        migrations.AlterField(
            model_name="humandecision",
            name="kind",
            field=models.CharField(
                choices=[
                    ("APPROVE", "send it"),
                    ("DECLINE", "do not send it"),
                    ("ADOPT", "it is this broker order"),
                    ("NOT_PLACED", "the broker does not have it"),
                    ("RESEND", "send it once more"),
                    ("DEAD", "its sender is gone"),
                ],
                max_length=10,
            ),
        ),
    ]
