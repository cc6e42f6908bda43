"""The record of who used what is kept as long as it must be, and no longer."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from axes.models import AccessAttempt, AccessLog
from django.db import DatabaseError, connection, transaction

from brokers.clock import SystemClock
from credentials import retention
from credentials.models import CredentialAccess
from mcube import environment
from tasks.housekeeping import forget_accesses

pytestmark = pytest.mark.django_db

NOW = SystemClock().now()
DAY = timedelta(days=1)
FIVE_YEARS = timedelta(days=1827)


def access(action: str, at: datetime) -> CredentialAccess:
    return CredentialAccess.objects.create(
        at=at, action=action, service="breeze", name="default", actor="user asha", purpose="test"
    )


def kept() -> set[tuple[str, int]]:
    """Action and age in days of what is left."""
    return {(row.action, (NOW - row.at).days) for row in CredentialAccess.objects.all()}


def test_readings_go_after_90_days_and_all_else_after_five_years() -> None:
    for days in (0, 89, 91, 1820, 1830):
        for action in CredentialAccess.Action:
            access(action, NOW - days * DAY)
    forget_accesses()
    assert kept() == {("READ", 0), ("READ", 89)} | {
        (action, days) for action in ("CHANGE", "SESSION", "DELETE") for days in (0, 89, 91, 1820)
    }


def test_logins_are_kept_five_years_and_failures_90_days() -> None:
    for days in (0, 89, 91, 1820, 1830):
        who = {"username": "asha", "ip_address": "127.0.0.1", "user_agent": str(days)}
        for row in (AccessAttempt.objects.create(**who, failures_since_start=1), AccessLog.objects.create(**who)):
            type(row).objects.filter(pk=row.pk).update(attempt_time=NOW - days * DAY)
    forget_accesses()
    assert {row.user_agent for row in AccessAttempt.objects.all()} == {"0", "89"}
    assert {row.user_agent for row in AccessLog.objects.all()} == {"0", "89", "91", "1820"}


@pytest.mark.parametrize(("action", "days"), [("READ", 29), ("CHANGE", 1820), ("SESSION", 1820), ("DELETE", 1820)])
def test_the_database_refuses_to_forget_early_and_to_change_anything(action: str, days: int) -> None:
    row = access(action, NOW - days * DAY)
    for statement in ("DELETE FROM {} WHERE id = %s", "UPDATE {} SET actor = 'nobody' WHERE id = %s"):
        with (
            pytest.raises(DatabaseError, match="the record of accesses is"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(CredentialAccess._meta.db_table), [row.pk])
    assert CredentialAccess.objects.filter(actor="user asha").count() == 1


def test_keeping_less_than_the_database_allows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    access("READ", NOW - 10 * DAY)
    with pytest.raises(DatabaseError, match="readings 30 days"), transaction.atomic():
        retention.forget(NOW, keep_reads=5 * DAY, keep_others=FIVE_YEARS)
    for variable, least in (("MCUBE_KEEP_READS_DAYS", 30), ("MCUBE_KEEP_AUDIT_DAYS", 1827)):
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(least - 1))
            with pytest.raises(SystemExit, match=f"{variable}: .*{least}"):
                environment.load()


def test_a_long_record_is_thinned_in_parts() -> None:
    CredentialAccess.objects.bulk_create(
        CredentialAccess(at=NOW - 100 * DAY, action="READ", service="breeze", name="default", actor="a", purpose="p")
        for _ in range(retention.BATCH * 2 + 1)
    )

    def forget(batches: int = 20) -> int:
        return retention.forget(NOW, keep_reads=90 * DAY, keep_others=FIVE_YEARS, batches=batches)

    assert [forget(1), forget(), forget()] == [retention.BATCH, retention.BATCH + 1, 0]
