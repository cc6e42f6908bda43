"""``manage.py holidays``: enters the exchanges' list of holidays of a year, from a file or typed."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, FileType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from brokers import holiday_lists
from brokers.domain.enums import Exchange


class Command(BaseCommand):
    help = "Enter a year's holidays, one a line: 2027-01-26 Republic Day. Days that are there stay as they are."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("year", type=int)
        parser.add_argument("file", nargs="?", type=FileType(), default=sys.stdin, help="Standard input without one.")
        parser.add_argument("--source", required=True, help="The exchange's circular, e.g. NSE/CMTR/71775.")
        parser.add_argument(
            "--exchange", action="append", choices=[each.value for each in Exchange], help="All four without one."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            days = holiday_lists.days_in(options["file"].read(), options["year"])
            for exchange in options["exchange"] or [each.value for each in Exchange]:
                added = holiday_lists.enter(exchange, options["year"], days, options["source"])
                self.stdout.write(f"{exchange}: {options['year']} is known, {added} holidays added.")
        except ValueError as error:
            raise CommandError(str(error)) from error
