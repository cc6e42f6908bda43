"""``manage.py up``: the whole system in one process tree, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from mcube import stack
from mcube.supervisor import StartFailed


class Command(BaseCommand):
    help = "Start everything on 127.0.0.1 and watch over it; Ctrl-C stops it."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False, soft_wrap=True)
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: ended.set())
        try:
            with stack.running(console, interrupted=ended.is_set):
                console.out(stack.overview())
                console.out("Ctrl-C stops everything.")
                while not ended.wait(3600):
                    pass
                console.out("\nStopping; orders under way are finished first.")
        except (stack.CannotStart, StartFailed) as error:
            raise CommandError(str(error)) from error
        console.out("Everything is stopped.")
