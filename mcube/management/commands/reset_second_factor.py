"""``manage.py reset_second_factor USER``: for somebody who lost their authenticator and their recovery codes."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcube.access import second_factor

log = logging.getLogger("mcube.access")


class Command(BaseCommand):
    help = "Take a person's second factor away, so that they can enrol anew."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["user"]
        user = get_user_model()._default_manager.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}; the admin lists them under Users.")
        if not second_factor.remove(user):
            raise CommandError(f"{name} has no second factor; nothing was changed.")
        log.warning("a second factor was removed by command", extra={"user": name})
        self.stdout.write(f"The second factor of {name} is gone. They log in with the password and enrol anew.")
