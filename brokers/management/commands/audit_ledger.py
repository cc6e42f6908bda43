"""``manage.py audit_ledger``: hold the ledger against its invariants. Asks no broker and changes nothing."""

from argparse import ArgumentParser
from datetime import date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from brokers.audit import audit
from brokers.clock import configured_clock, trading_day
from brokers.models import OrderIntent


class Command(BaseCommand):
    help = "Check every intent of the last days against the ledger's invariants I1 to I8; status 1 when one is broken."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=7, help="How many trading days back, today included.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["days"] < 1:
            raise CommandError(f"--days {options['days']} is not at least 1.")
        since: date = trading_day(configured_clock().now()) - timedelta(days=options["days"] - 1)
        findings = list(audit(since))
        for finding in findings:
            self.stdout.write(f"{finding.invariant.name}  intent {finding.intent_id}  {finding.sentence}")
        checked = OrderIntent.objects.filter(trading_day__gte=since).count()
        if findings:
            raise CommandError(f"{len(findings)} breaches in {checked} intents since {since:%d %b %Y}.")
        self.stdout.write(f"{checked} intents since {since:%d %b %Y}: I1 to I8 hold.")
