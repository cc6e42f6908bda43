"""``manage.py import_credentials --from PATH``: bring credentials over from the old applications."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from credentials.access import acting_as
from credentials.commands import setup_command
from credentials.importing.sources import OldData, SourceError, read
from credentials.importing.writing import ImportRefused, Outcome, bring_over


class Command(BaseCommand):
    help = (
        "Bring credentials over from an old application's db.sqlite3, its database URL, or a file of "
        "`dumpdata core.CredentialStore`. The old data is only read; what mcube holds already is never overwritten; "
        "running it again changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="source", required=True, metavar="PATH", help="File or database URL.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done and write nothing.")
        parser.add_argument("--json", action="store_true", help="Answer in JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with acting_as("command import_credentials"):
                data = read(options["source"])
                outcomes = bring_over(data, dry_run=options["dry_run"])
        except (SourceError, ImportRefused) as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(f"{' '.join(error.messages)} Nothing was written.") from None
        if options["json"]:
            self.stdout.write(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
        else:
            self.stdout.write(_report(data, outcomes, dry_run=options["dry_run"]))


def _report(data: OldData, outcomes: list[Outcome], *, dry_run: bool) -> str:
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.credential} (from {outcome.origin}): {outcome.action}")
        if outcome.written:
            lines.append(f"  written, encrypted: {', '.join(outcome.written)}")
        if outcome.conflicts:
            lines.append(f"  mcube holds other values, which stay: {', '.join(outcome.conflicts)}")
        lines += [f"  {note}" for note in outcome.notes]
        if outcome.missing:
            service, _, name = outcome.credential.partition("/")
            lines.append(
                f"  still missing: {', '.join(outcome.missing)}; enter them with `{setup_command(service, name)}`"
            )
    lines.append(
        f"{len(data.accounts)} accounts and {len(data.positions)} open positions kept for reference, in the admin."
    )
    if dry_run:
        lines.append("This was a dry run: nothing was written.")
    return "\n".join(lines)
