"""``manage.py alerts``: what people are asked to look at; try a channel; acknowledge without the admin."""

from __future__ import annotations

import getpass
import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from brokers.alerts import acknowledge
from brokers.alerts.trial import try_channel
from brokers.clock import IST, configured_clock
from brokers.domain.redaction import scrub
from brokers.models import Alert, AlertChannel, Severity


class Command(BaseCommand):
    help = "Show the open alerts and the channels they go to, the gravest first."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--test", metavar="CHANNEL", help="Send a trial message to this channel now.")
        what.add_argument("--acknowledge", metavar="NUMBER", type=int, help="Say that you take care of this one.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["test"] is not None:
            self._try(options["test"])
        elif options["acknowledge"] is not None:
            self._acknowledge(options["acknowledge"])
        else:
            self._list()

    def _list(self) -> None:
        alerts = Alert.objects.filter(acknowledged_at__isnull=True).select_related("account")
        for alert in alerts.order_by("-severity", "-last_at"):
            account = f" {alert.account}" if alert.account else ""
            times = f", seen {alert.count} times" if alert.count > 1 else ""
            self.stdout.write(
                f"{alert.pk} {Severity(alert.severity).label.upper()}{account} "
                f"{alert.last_at.astimezone(IST):%d %b %H:%M:%S} IST{times}"
            )
            for words in (alert.happened, alert.meaning, alert.to_do):
                self.stdout.write(f"    {scrub(words)}")
        if not alerts:
            self.stdout.write("No alert is open.")
        channels = list(AlertChannel.objects.order_by("name"))
        for channel in channels:
            state = (scrub(channel.last_problem) or "in order") if channel.is_active else "switched off"
            self.stdout.write(f"channel {channel.name}, from {Severity(channel.minimum_severity).label}: {state}")
        if not channels:
            self.stdout.write("No channel is configured, so nobody is told: add one in the admin under Alert channels.")

    def _try(self, name: str) -> None:
        channel = AlertChannel.objects.filter(name=name).first()
        if channel is None:
            known = ", ".join(AlertChannel.objects.order_by("name").values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no channel {name!r}; there is {known}.")
        if problem := try_channel(channel):
            raise CommandError(f"{name}: {problem}")
        self.stdout.write(f"{name} took the message; see whether it arrived.")

    def _acknowledge(self, number: int) -> None:
        by = f"{_user()} at the command line"
        if not acknowledge(Alert.objects.filter(pk=number), by=by, at=configured_clock().now()):
            raise CommandError(f"There is no open alert {number}; run `manage.py alerts` for those that are.")
        self.stdout.write(f"{number} is acknowledged by {by}.")


def _user() -> str:
    """Who runs this; a container may know no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
