"""``manage.py run_feeds``: the live feeds of all accounts, each in a process of its own, until it is told to end."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from brokers.domain.errors import AccountNotFound, CredentialsNotFound
from mcube import feeds


class Command(BaseCommand):
    help = "Keep the live feeds of all accounts, or of one, until Ctrl-C."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", metavar="BROKER/NAME", help="Only this account, in this process.")

    def handle(self, *args: Any, **options: Any) -> None:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: ended.set())
        if options["account"] is None:
            feeds.watch(ended, redis_url=settings.REDIS_URL)
            return
        try:
            feeds.keep(options["account"], ended.is_set)
        except (AccountNotFound, CredentialsNotFound) as error:
            raise CommandError(str(error)) from error
