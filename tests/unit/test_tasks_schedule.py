"""The beat table."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from mcube import schedule
from mcube.celery import app
from mcube.processes import OWN_QUEUE


def test_every_row_names_a_task_that_exists_and_expires_before_it_is_due_again() -> None:
    app.loader.import_default_modules()
    for entry in schedule.TABLE:
        assert entry.task in app.tasks
        assert (entry.every is None) != (entry.at is None)
        if entry.every is not None:
            assert entry.expires <= entry.every
    assert len({entry.name for entry in schedule.TABLE}) == len(schedule.TABLE)


@pytest.mark.django_db
def test_seeding_writes_the_table_in_indias_time() -> None:
    assert schedule.seed() == len(schedule.TABLE)

    rows = {row.name: row for row in PeriodicTask.objects.all()}
    assert set(rows) == {entry.name for entry in schedule.TABLE}
    assert {row.queue for row in rows.values()} == {OWN_QUEUE}
    crontab = rows["sessions before the market"].crontab
    assert (crontab.hour, crontab.minute, str(crontab.timezone)) == ("8", "30", "Asia/Kolkata")


@pytest.mark.django_db
def test_seeding_again_keeps_what_people_changed() -> None:
    schedule.seed()
    changed = PeriodicTask.objects.get(name="snapshots")
    changed.interval = IntervalSchedule.objects.create(every=5, period=IntervalSchedule.MINUTES)
    changed.enabled = False
    changed.save()
    PeriodicTask.objects.filter(name="alerts").delete()

    call_command("seed_schedule", verbosity=0)

    kept = PeriodicTask.objects.get(name="snapshots")
    assert (kept.interval.every, kept.interval.period, kept.enabled) == (5, IntervalSchedule.MINUTES, False)
    assert PeriodicTask.objects.filter(name="alerts").exists()
    assert PeriodicTask.objects.count() == len(schedule.TABLE)
