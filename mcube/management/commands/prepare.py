"""``manage.py prepare``: everything that must be there before the processes start. Safe to repeat."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from brokers.domain.enums import Mode
from credentials import store
from mcube import market_time

ADMIN = "admin"
#: Secrets that do not open are named up to here.
NAMED = 3


class Command(BaseCommand):
    help = "Migrate, collect static files, seed the schedule and the groups, and make the first admin user."
    requires_system_checks = []
    stealth_options = ("tell",)

    def handle(self, *args: Any, tell: Callable[[str], None] | None = None, **options: Any) -> None:
        say = tell or self.stdout.write
        say("Migrating the database")
        call_command("migrate", interactive=False, verbosity=0)
        say("Collecting static files")
        call_command("collectstatic", interactive=False, verbosity=0)
        say("Seeding the schedule and the groups")
        call_command("seed_schedule", verbosity=0)
        call_command("seed_groups", verbosity=0)
        if settings.MODE is Mode.SIMULATED:
            say("Seeding the simulated accounts")
            call_command("seed_simulated", verbosity=0)
            market_time.settle()
        for sentence in store.unreadable()[:NAMED]:
            say(f"A key is missing: {sentence}")
        if password := make_admin():
            say(
                f"Admin user {ADMIN}, password {password} (shown once; `manage.py changepassword {ADMIN}` sets another)"
            )


def make_admin() -> str:
    """Make the first admin user, and return its password if that was generated now; else nothing.

    :raises CommandError: the configured password is too weak for people.
    """
    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists():
        return ""
    configured = settings.ENV.admin_password.get_secret_value()
    if configured:
        try:
            validate_password(configured)
        except ValidationError as error:
            raise CommandError(f"MCUBE_ADMIN_PASSWORD is refused: {' '.join(error.messages)}") from error
    password = configured or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    return "" if configured else password
