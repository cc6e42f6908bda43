from django.db import migrations, models

from brokers.calendar_seed import seed


def name_phases(apps, schema_editor):
    """Until now a special session was one of continuous trading."""
    days = apps.get_model("brokers", "SpecialDay").objects
    days.filter(kind="SESSION").update(phase="CONTINUOUS")
    days.filter(kind="HOLIDAY").update(start_time=None, end_time=None)


def mark_unverified(apps, schema_editor):
    """Until now the words of the source said so."""
    for model in ("SessionRule", "SpecialDay"):
        rows = apps.get_model("brokers", model).objects
        rows.filter(models.Q(source__contains="verify") | models.Q(source__startswith="provisional")).update(
            is_verified=False
        )


def add(apps, schema_editor):
    seed(*(apps.get_model("brokers", name) for name in ("SessionRule", "SpecialDay", "HolidayList")))


class Migration(migrations.Migration):
    dependencies = [("brokers", "0016_fed_depth")]

    operations = [
        migrations.CreateModel(
            name="HolidayList",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("exchange", models.CharField(max_length=8)),
                ("year", models.PositiveSmallIntegerField()),
                ("source", models.CharField(max_length=300)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("exchange", "year"), name="one_holiday_list_per_exchange_and_year")
                ],
            },
        ),
        migrations.RemoveConstraint(model_name="specialday", name="one_special_day_per_exchange_date_kind"),
        migrations.AddField(
            model_name="specialday",
            name="phase",
            field=models.CharField(blank=True, default="", max_length=16),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="specialday",
            name="share_class",
            field=models.CharField(
                blank=True,
                choices=[("FNO", "shares that have derivatives"), ("OTHER", "all other shares")],
                default="",
                max_length=8,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="sessionrule",
            name="is_verified",
            field=models.BooleanField(default=True, verbose_name="verified"),
        ),
        migrations.AddField(
            model_name="specialday",
            name="is_verified",
            field=models.BooleanField(default=True, verbose_name="verified"),
        ),
        migrations.RunPython(mark_unverified, migrations.RunPython.noop, elidable=False),
        migrations.RunPython(name_phases, migrations.RunPython.noop, elidable=False),
        migrations.AddConstraint(
            model_name="specialday",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "HOLIDAY")),
                fields=("exchange", "date"),
                name="one_holiday_per_exchange_and_date",
            ),
        ),
        migrations.AddConstraint(
            model_name="specialday",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "SESSION")),
                fields=("exchange", "date", "phase", "share_class", "start_time"),
                name="one_special_phase_per_date_class_and_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="specialday",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("end_time", None),
                        ("kind", "HOLIDAY"),
                        ("phase", ""),
                        ("share_class", ""),
                        ("start_time", None),
                    ),
                    models.Q(
                        ("kind", "SESSION"),
                        ("start_time__lt", models.F("end_time")),
                        models.Q(("phase", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="a_holiday_has_no_hours_and_a_session_has",
            ),
        ),
        migrations.RunPython(add, migrations.RunPython.noop, elidable=False),
    ]
