"""``manage.py doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from mcube.diagnosis import Finding, Level, all_checks, examine


class Command(BaseCommand):
    help = "Look at everything and say what is wrong and what to do; exit status 1 when something does not work."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON array instead of lines.")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        checks, on_tables = all_checks()
        for finding in examine(checks, on_tables=on_tables):
            findings.append(finding)
            if not options["json"]:
                self._tell(finding)
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        else:
            self.stdout.write(_verdict(findings))
        if any(finding.level is Level.FAIL for finding in findings):
            sys.exit(1)

    def _tell(self, finding: Finding) -> None:
        styles: dict[Level, Callable[[str], str]] = {
            Level.OK: self.style.SUCCESS,
            Level.WARN: self.style.WARNING,
            Level.FAIL: self.style.ERROR,
        }
        remedy = f". {finding.remedy}" if finding.remedy else ""
        self.stdout.write(f"{styles[finding.level](f'{finding.level:4}')}  {finding.name}: {finding.detail}{remedy}")


def _verdict(findings: list[Finding]) -> str:
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    if not failed and not warned:
        return "All is well."
    return f"{failed} do not work, {warned} need a look."
