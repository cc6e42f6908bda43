import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("brokers", "0013_snapshots_by_cadence"),
    ]

    operations = [
        migrations.CreateModel(
            name="FeedSubscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("exchange", models.CharField(max_length=8)),
                ("symbol", models.CharField(max_length=64)),
                ("expiry", models.DateField(blank=True, null=True)),
                ("subscriber", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "account",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="brokers.brokeraccount"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("account", "exchange", "symbol", "subscriber"),
                        name="one_wish_per_subscriber_and_instrument",
                    )
                ],
            },
        ),
    ]
